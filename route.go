package relayapi

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/relayapi/caddy-relayapi/grant"
	"github.com/relayapi/caddy-relayapi/internal/realkey"
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

	writer http.ResponseWriter // of the client
	start  time.Time           // of the request
	found  found               // in the request's carriers
	relay  *relay              // that the request is held by; nil: none
	permit *permit             // nil: no token was opened

	grant    *grant.Grant
	token    *tokenstore.Token
	provider *Provider
	secret   *realkey.Key // the real key

	rateLimit rateLimitHeader // zero: the token's rate is not limited
	messages  *messageGuard   // nil: no message is looked into
	protocol  string          // of the WebSocket's, that the client offered first; empty: none but secrets
	pace      *pace           // in which the call has a slot; nil: in none

	countedAt  time.Time // when the call was counted against its token's rate
	windowEnds time.Time // when the first window ends that the call was charged in; zero: there is none

	charges []tokenstore.Charge
	room    [2]tokenstore.Charge // for them; more are rare

	request grant.Request // as the grant was asked about it

	// Of it, for the transport to compare.
	method, path, rawPath string

	body heldBody // where it was read

	// For the transport.
	prefix, host string // of the relay, as the client called it
	secure       bool   // over HTTPS
	complaint    string // of the provider about the key

	url           url.URL
	trace         httptrace.ClientTrace
	retraced      retraced
	client        clientBody  // the body as the client sends it
	stopInterrupt func() bool // of client when the call ends; nil: it is not interrupted
	memory        bodyReader  // of body
	conn          net.Conn    // to the provider, if no other call is on it
	tap           tap
	headers       ownHeaders

	lists     bool         // the answer is a list of models, of which only some are permitted
	socket    bool         // a WebSocket was asked for
	closes    bool         // the answer says that the client's connection will be closed
	h2c       bool         // calls to providers over http share a connection
	answered  bool         // the provider's answer is being passed on
	connected atomic.Bool  // a connection to the provider was had
	status    atomic.Int32 // that the provider answered with; 0: it did not answer
	bytesIn   atomic.Int64 // of the request's body
	bytesOut  atomic.Int64 // of the answer's body, that were passed on
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
