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

	// What the grant was asked about, for the transport to compare.
	method, path, rawPath string

	connected   atomic.Bool  // a connection to the provider was had
	clientBroke atomic.Bool  // the client did not deliver the request's body
	status      atomic.Int32 // that the provider answered with; 0: it did not answer
	received    atomic.Int64 // bytes of the request's body
	sent        atomic.Int64 // bytes of the answer's body that were passed on
}

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
