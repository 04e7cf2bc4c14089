package relayapi

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/relayapi/caddy-relayapi/grant"
	"github.com/relayapi/caddy-relayapi/tokenstore"
)

// route is what the handler decided about one request, and what became of it.
// It travels in the request's context, not among Caddy's variables: those can
// be printed by any placeholder.
type route struct {
	grant    *grant.Grant
	token    *tokenstore.Token
	provider *Provider
	secret   *secret // the real key; only the transport reads it

	rateLimit *rateLimitHeader // nil: the token's rate is not limited
	messages  *messageGuard    // nil: no message is looked into
	protocol  string           // of the WebSocket's, that the client offered first; empty: none but secrets

	body []byte // that was read for its model; nil: it was not
	held int64  // bytes that this takes

	cancel context.CancelCauseFunc // ends the call

	// What the grant was asked about, for the transport to compare.
	method, path, rawPath string

	answered    bool         // the provider's answer is being passed on
	connected   atomic.Bool  // a connection to the provider was had
	clientBroke atomic.Bool  // the client did not deliver the request's body
	status      atomic.Int32 // that the provider answered with; 0: it did not answer
	received    atomic.Int64 // bytes of the request's body
	sent        atomic.Int64 // bytes of the answer's body that were passed on
}

// end ends the call.
func (rt *route) end(why *refusal) { rt.cancel(why) }

type routeKey struct{}

// errNoRoute means that our transport or upstreams stand in a reverse_proxy
// that has no relayapi handler before it. There is nowhere to go, and no key.
var errNoRoute = errors.New("relayapi: the request has not passed a relayapi handler")

func withRoute(ctx context.Context, rt *route) context.Context {
	return context.WithValue(ctx, routeKey{}, rt)
}

func routeOf(ctx context.Context) *route {
	rt, _ := ctx.Value(routeKey{}).(*route)
	return rt
}
