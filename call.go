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

// call is one request on its way. The handler's steps fill it in order. From the
// handler on it is the request's context, where the transport finds it. It is not
// among Caddy's variables, which any placeholder can print.
type call struct {
	context.Context // of the request; once registered, it ends with the call

	relay  *relay              // whose store the request holds; nil means none
	writer http.ResponseWriter // to the client
	start  time.Time           // of the request
	found  carrier.Found       // the token in the request
	permit *permit             // what the token allows; nil until it is opened

	target   target   // what is sent where, with which key
	spending spending // what it may use of its budgets
	held     held     // what is given back when the call is over
	outcome  outcome  // what became of the call

	stats     *metrics.Caller  // of the token; nil means that it is not opened
	trace     telemetry.Trace  // for Caddy's tracing, logs and handlers
	waits     atomic.Bool      // the usage is read also when the client has left
	rateLimit ratelimit.Header // zero means that the token's rate is not limited
}

// target is what is sent where. The transport compares the request with it.
type target struct {
	asked   grant.Request   // as the grant was asked about it
	request dialect.Request // as the dialect reads it, see [call.asked]
	key     *realkey.Key    // the real key

	method, path, rawPath string // of the request that may be sent

	socket   bool   // a WebSocket was asked for
	protocol string // the WebSocket subprotocol that the client offered first, but for secrets; may be empty
	lists    bool   // the answer is a list of models, which is filtered
	unnamed  bool   // the handshake of the WebSocket names no model

	countedAt  time.Time // when the call was counted against its token's rate
	windowEnds time.Time // when the first window ends that the call is charged in; zero means never

	address address // of the relay, as the client called it
}

// address is where a client reached the relay.
type address struct {
	prefix, host string
	secure       bool // over HTTPS
}

// held is what a call has taken and gives back in [call.release].
type held struct {
	slot     ratelimit.Slot[string] // of limits.concurrency
	shared   *tokenstore.Slot       // of it, among several relays; nil means none
	cancel   context.CancelCauseFunc
	unfollow func() bool                                      // stops the call from ending with its parent
	client   bodies.Client                                    // the body as the client sends it
	body     *bodies.Body                                     // in memory; nil means that it streams
	reader   *bodies.Reader                                   // of body, that the next handlers read
	messages *ws.Guard                                        // of a WebSocket; nil means that messages are not looked into
	check    func(message []byte) (changed []byte, err error) // of messages
	charges  []tokenstore.Charge                              // written under the mutex of the registry
}

// outcome is what became of a call. The transport and the tap set it, at times from
// other goroutines than the handler's.
type outcome struct {
	connected atomic.Bool  // a connection to the provider was had
	conn      net.Conn     // to the provider, if no other call is on it
	answered  bool         // the provider's answer is being passed on
	status    atomic.Int32 // of the answer to the client; 0 means none so far
	stream    atomic.Bool  // the answer is a stream of events
	code      string       // of the refusal that was the answer; empty means none
	provider  int          // status of the provider's answer; 0 means none
	sent      time.Time    // when the call had a connection to the provider
	bytesIn   atomic.Int64 // of the request's body, sent on
	bytesOut  atomic.Int64 // of the answer's body, passed on
	complaint string       // of the provider, about the key

	model atomic.Pointer[string] // as the request or the answer names it; nil means not known so far
}

// named notes the model, for the list of calls.
func (o *outcome) named(model string) {
	if model != "" {
		o.model.Store(&model)
	}
}

// newCall begins a request.
func newCall(w http.ResponseWriter, r *http.Request) *call {
	c := &call{Context: r.Context(), writer: w, start: time.Now()}
	c.found = carrier.Found{Bare: true} // until somebody has looked, it may show a token
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
	if !c.target.socket { // over HTTP/2, an interrupted body resets the stream, and a close frame must pass
		_ = c.held.client.Interrupt()
	}
}

// stillPermitted asks again, right before the call is written, everything that
// depends on time or on the operator. A revocation ends the call's context, which
// is asked as well.
func (c *call) stillPermitted(now time.Time) *refusal {
	if err := c.permit.ValidAt(now); err != nil {
		return denied(err)
	}
	if ends := c.target.windowEnds; !ends.IsZero() && !now.Before(ends) {
		return refuse(codeBusy, "the call waited for a connection until the day ended in which it is counted")
	}
	return c.recountRate(now)
}

// release gives back what the call has taken of what calls share.
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

// releaseBody gives up the body in memory. Transports that still read it hold it by
// themselves.
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
// relayapi handler before it. There is nowhere to go, and no key.
var errNoCall = errors.New("relayapi: the request has not passed a relayapi handler")

func callOf(ctx context.Context) *call {
	c, _ := ctx.Value(callKey{}).(*call)
	return c
}

// live holds the calls that are under way on one store, so that they end with
// their tokens, whichever config they came in by.
type live struct{ registry.Set[*call] }

// Why calls are ended by the relay.
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

// shown returns a call that is registered as the admin API shows it.
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

// charged notes what a call was charged.
func (l *live) charged(c *call, charges []tokenstore.Charge) {
	l.Locked(func() { c.held.charges = charges })
}

// leave ends a call whose client has left. If it waits, it goes on for a while, so that
// its usage can be read.
func (c *call) leave(why error) {
	if c.waits.Load() {
		select {
		case <-time.After(metering.Linger):
		case <-c.Done():
		}
	}
	c.held.cancel(why)
}

// end ends the calls of the tokens that match, and returns how many they were.
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
// has come too slowly. Looking at all calls costs less than timers for each.
const watchEvery = 500 * time.Millisecond

// watch ends the calls of tokens that expire, and the reads of bodies that come too
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
