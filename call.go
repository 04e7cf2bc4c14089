package relayapi

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/relayapi/caddy-relayapi/dialect"
	"github.com/relayapi/caddy-relayapi/grant"
	"github.com/relayapi/caddy-relayapi/internal/adminapi"
	"github.com/relayapi/caddy-relayapi/internal/bodies"
	"github.com/relayapi/caddy-relayapi/internal/carrier"
	"github.com/relayapi/caddy-relayapi/internal/metering"
	"github.com/relayapi/caddy-relayapi/internal/metrics"
	"github.com/relayapi/caddy-relayapi/internal/ratelimit"
	"github.com/relayapi/caddy-relayapi/internal/realkey"
	"github.com/relayapi/caddy-relayapi/internal/registry"
	"github.com/relayapi/caddy-relayapi/internal/telemetry"
	"github.com/relayapi/caddy-relayapi/internal/ws"
	"github.com/relayapi/caddy-relayapi/tokenstore"
)

// call is one request on its way. The handler's steps fill it in order. The handler
// makes it the request's context, where the transport finds it. It is not one of
// Caddy's variables, which any placeholder can print.
type call struct {
	context.Context // of the request; once registered, it ends with the call

	relay  *relay              // whose store the request holds; nil means none
	writer http.ResponseWriter // to the client
	start  time.Time           // of the request
	found  carrier.Found       // the token in the request
	permit *permit             // what the token allows; nil until it is opened

	target   target   // method, path and key of the request to send
	spending spending // what it may use of its budgets, and has used
	held     held     // released when the call ends
	outcome  outcome  // what became of the call

	stats     *metrics.Caller  // of the token; nil means that it is not opened
	trace     telemetry.Trace  // for Caddy's tracing, logs and handlers
	waits     atomic.Bool      // the relay reads the usage even if the client has left
	rateLimit ratelimit.Header // zero means that the token's rate is not limited
}

// target is the request that may be sent, and its key. The transport enforces it.
type target struct {
	asked   grant.Request   // as the grant has checked it
	request dialect.Request // as the dialect reads it, see [call.asked]
	key     *realkey.Key    // the real key

	method, path, rawPath string // of the request that may be sent

	socket   bool   // the client asked for a WebSocket
	protocol string // the first WebSocket subprotocol that the client offered, except secrets; may be empty
	lists    bool   // the answer is a list of models, which is filtered
	unnamed  bool   // the handshake of the WebSocket names no model

	countedAt  time.Time // when the call was counted against its token's rate
	windowEnds time.Time // end of the first window that the call is charged in; zero means never

	address address // of the relay, as the client called it
}

// address is the address at which a client reached the relay.
type address struct {
	prefix, host string
	secure       bool // over HTTPS
}

// held is everything that [call.release] releases.
type held struct {
	slot     ratelimit.Slot[string] // of limits.concurrency
	shared   *tokenstore.Slot       // of it, among several relays; nil means none
	cancel   context.CancelCauseFunc
	unfollow func() bool                                      // stops the call from ending with its parent
	client   bodies.Client                                    // the body as the client sends it
	body     *bodies.Body                                     // in memory; nil means that it streams
	reader   *bodies.Reader                                   // of body, for the next handlers
	messages *ws.Guard                                        // of a WebSocket; nil means that messages are not checked
	check    func(message []byte) (changed []byte, err error) // of messages
	charges  []tokenstore.Charge                              // written under the mutex of the registry
}

// outcome is what became of a call. The transport and the tap set it, at times from
// other goroutines than the handler's.
type outcome struct {
	connected atomic.Bool  // the call got a connection to the provider
	conn      net.Conn     // to the provider, if no other call uses it
	answered  bool         // the provider's answer is being passed on
	status    atomic.Int32 // of the answer to the client; 0 means none so far
	stream    atomic.Bool  // the answer is a stream of events
	code      string       // of the refusal that the client got; empty means none
	provider  int          // status of the provider's answer; 0 means none
	sent      time.Time    // when the call got a connection to the provider
	bytesIn   atomic.Int64 // of the request's body, sent on
	bytesOut  atomic.Int64 // of the answer's body, passed on
	complaint string       // of the provider, about the key

	model atomic.Pointer[string] // as the request or the answer names it; nil means unknown so far
}

// named records the model, for the list of calls.
func (o *outcome) named(model string) {
	if model != "" {
		o.model.Store(&model)
	}
}

// newCall begins a request.
func newCall(w http.ResponseWriter, r *http.Request) *call {
	c := &call{Context: r.Context(), writer: w, start: time.Now()}
	c.found = carrier.Found{Bare: true} // before findToken, it may show a token
	c.held.client.Watch(w, r, &c.outcome.bytesIn)
	return c
}

// provider returns the provider of the call's token, or nil.
func (c *call) provider() *Provider {
	if c.permit == nil {
		return nil
	}
	return c.permit.provider
}

// end ends the call, and every read of its body.
func (c *call) end(why *refusal) {
	c.held.cancel(why)
	if !c.target.socket { // over HTTP/2, interrupting the body resets the stream, which would lose the close frame
		_ = c.held.client.Interrupt()
	}
}

// stillPermitted repeats, right before the call is written, every check that depends on
// time or on the operator. It also checks the context, which a revocation ends.
func (c *call) stillPermitted(now time.Time) *refusal {
	if err := c.permit.ValidAt(now); err != nil {
		return denied(err)
	}
	if ends := c.target.windowEnds; !ends.IsZero() && !now.Before(ends) {
		return refuse(codeBusy, "the day in which the call is counted ended while the call waited for a connection")
	}
	return c.recountRate(now)
}

// release releases everything that the call holds.
func (c *call) release() {
	if !c.target.socket {
		c.held.client.Stop()
	}
	if c.held.cancel != nil {
		c.relay.ledger.live.remove(c)
	}
	c.held.slot.Leave()
	if c.held.shared != nil {
		c.held.shared.Release()
	}
	c.held.messages.Close()
	c.releaseBody()
}

// releaseBody releases the body in memory. Transports that still read it hold their own
// reference.
func (c *call) releaseBody() {
	if c.held.body != nil {
		c.held.reader.Close()
		c.held.body.Release()
		c.held.body, c.target.request.Body = nil, nil
	}
}

type callKey struct{}

// Value implements [context.Context].
func (c *call) Value(key any) any {
	if key == (callKey{}) {
		return c
	}
	return c.Context.Value(key)
}

// errNoCall means that our transport or upstreams are in a reverse_proxy without a
// relayapi handler before it. Then there is no provider and no key.
var errNoCall = errors.New("relayapi: the request has not passed a relayapi handler")

func callOf(ctx context.Context) *call {
	c, _ := ctx.Value(callKey{}).(*call)
	return c
}

// live holds the calls in flight on one store, whichever config admitted them, so that
// they end with their tokens.
type live struct{ registry.Set[*call] }

// Reasons for which the relay ends calls.
var (
	endRevoked = refuse(codeRevoked, "the token was revoked or disabled during the call")
	endExpired = refuse(string(grant.Expired), "the token expired during the call")
	endByHand  = refuse(codeEnded, "the operator ended the call")
)

// ended returns why the relay ended a call, or nil.
func ended(ctx context.Context) *refusal {
	if ctx.Err() == nil {
		return nil
	}
	var why *refusal
	errors.As(context.Cause(ctx), &why)
	return why
}

// shown returns a registered call as the admin API shows it.
func (c *call) shown(id string) adminapi.Call {
	out := &c.outcome
	shown := adminapi.NewCall(id, c.permit.token, c.start, out.model.Load(), c.found.Known)
	shown.WebSocket, shown.Status = c.target.socket, int(out.status.Load())
	shown.BytesIn, shown.BytesOut = out.bytesIn.Load(), out.bytesOut.Load()
	return shown
}

// add registers a call until [live.remove]. From now on its context can be ended.
func (l *live) add(c *call) {
	parent := c.Context
	c.Context, c.held.cancel = context.WithCancelCause(context.WithoutCancel(parent))
	c.held.unfollow = context.AfterFunc(parent, func() { c.leave(context.Cause(parent)) })
	l.Add(c)
}

func (l *live) remove(c *call) {
	l.Remove(c)
	c.held.unfollow()
	c.held.cancel(nil)
}

// charged records the charges of a call.
func (l *live) charged(c *call, charges []tokenstore.Charge) {
	l.Locked(func() { c.held.charges = charges })
}

// leave ends a call whose client has left. If the relay waits for its usage, the call
// goes on for a while.
func (c *call) leave(why error) {
	if c.waits.Load() {
		select {
		case <-time.After(metering.Linger):
		case <-c.Done():
		}
	}
	c.held.cancel(why)
}

// end ends the calls of the matching tokens, and returns their number.
func (l *live) end(why *refusal, matches func(*tokenstore.Token) bool) (n int) {
	l.Each(func(c *call) {
		if matches(c.permit.token) {
			c.end(why)
			n++
		}
	})
	return n
}

// watchEvery is how late a call may end after its token has expired, or after its body
// has become too slow. Looking at all calls costs less than timers for each.
const watchEvery = 500 * time.Millisecond

// watch ends the calls of expired tokens, and the reads of bodies that arrive too
// slowly, until done is closed.
func (l *live) watch(done <-chan struct{}) {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case now := <-tick.C:
			l.end(endExpired, func(t *tokenstore.Token) bool { return !now.Before(t.ExpiresAt) })
			l.Each(func(c *call) { c.held.client.Check(now) })
		case <-done:
			return
		}
	}
}
