package relayapi

import (
	"context"
	"errors"
	"net/http/httptrace"
	"net/url"
	"sync/atomic"

	"github.com/relayapi/caddy-relayapi/grant"
	"github.com/relayapi/caddy-relayapi/tokenstore"
)

// route is what the handler decided about one request, and what became of it.
// It is the request's context from the handler on, and not among Caddy's
// variables: those can be printed by any placeholder.
//
// What a call needs on its way is part of it instead of being allocated piece by
// piece.
type route struct {
	context.Context // of the call; ended when the call is
	cancel          context.CancelCauseFunc
	live            liveCall

	grant    *grant.Grant
	token    *tokenstore.Token
	provider *Provider
	secret   *secret // the real key; only the transport reads it

	known     []string        // tokens in the request, of which no piece is quoted
	rateLimit rateLimitHeader // zero: the token's rate is not limited
	messages  *messageGuard   // nil: no message is looked into
	protocol  string          // of the WebSocket's, that the client offered first; empty: none but secrets
	pace      *pace           // in which the call has a slot; nil: in none

	charges []tokenstore.Charge
	room    [2]tokenstore.Charge // for them; more are rare

	request grant.Request // as the grant was asked about it

	// Of it, for the transport to compare.
	method, path, rawPath string

	body heldBody // where it was read

	// For the transport.
	url      url.URL
	trace    httptrace.ClientTrace
	retraced retraced
	sent     clientBody
	memory   bodyReader // of body
	tap      tap
	headers  ownHeaders

	socket      bool         // a WebSocket was asked for
	answered    bool         // the provider's answer is being passed on
	connected   atomic.Bool  // a connection to the provider was had
	clientBroke atomic.Bool  // the client did not deliver the request's body
	status      atomic.Int32 // that the provider answered with; 0: it did not answer
	bytesIn     atomic.Int64 // of the request's body
	bytesOut    atomic.Int64 // of the answer's body, that were passed on
}

// end ends the call.
func (rt *route) end(why *refusal) { rt.cancel(why) }

type routeKey struct{}

// Value implements [context.Context].
func (rt *route) Value(key any) any {
	if key == (routeKey{}) {
		return rt
	}
	return rt.Context.Value(key)
}

// errNoRoute means that our transport or upstreams stand in a reverse_proxy
// that has no relayapi handler before it. There is nowhere to go, and no key.
var errNoRoute = errors.New("relayapi: the request has not passed a relayapi handler")

func routeOf(ctx context.Context) *route {
	rt, _ := ctx.Value(routeKey{}).(*route)
	return rt
}
