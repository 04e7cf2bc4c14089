package relayapi

import (
	"errors"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/relayapi/caddy-relayapi/dialect"
	"github.com/relayapi/caddy-relayapi/internal/metering"
	"github.com/relayapi/caddy-relayapi/internal/ws"
	"github.com/relayapi/caddy-relayapi/tokenstore"
	"go.uber.org/zap"
)

// tapConn is the tap of a WebSocket. reverse_proxy reads the provider's messages from
// it, and writes the client's messages to it. If the relay ends the call, tapConn sends
// the reason to the client in a close frame.
type tapConn struct {
	*tap
	conn io.ReadWriteCloser // to the provider

	writing  sync.Mutex
	closing  sync.Once
	leaving  sync.Once
	left     chan struct{} // closed when the client has closed its side
	said     ws.Tracker    // of the provider's messages
	holdsKey bool          // a message of the provider holds the key
	parting  bool          // the close frame is being sent
	farewell []byte        // the rest of it
}

// newTapConn returns the tap of a connection, or nil where there is none.
func newTapConn(t *tap, res *http.Response) *tapConn {
	conn, ok := res.Body.(io.ReadWriteCloser)
	if !ok || res.StatusCode != http.StatusSwitchingProtocols {
		return nil
	}
	c := &tapConn{tap: t, conn: conn, left: make(chan struct{})}
	finder := t.call.target.key.Finder()
	c.said.Payload = func(p []byte) { c.holdsKey = c.holdsKey || finder.Find(p) }
	if socket := t.call.spending.socket; socket != nil && res.Header.Get("Sec-Websocket-Extensions") == "" {
		c.said.Data, c.said.Message = socket.Provider, socket.EndMessage
	}
	return c
}

// meterSocket meters the messages of a WebSocket, and bounds them under a budget.
func (h *Handler) meterSocket(c *call, r *http.Request, request *dialect.Request) *refusal {
	s, p := &c.spending, c.permit.provider
	meter := p.dialect.NewSocketMeter(request)
	if meter == nil && !s.limited() {
		return nil
	}

	var session *dialect.Session
	if s.limited() {
		var err error
		if session, err = p.dialect.NewSession(request); err != nil {
			return unquoted(err)
		}
	}
	s.socket = metering.NewSocket(account{h, c}, p.tariff, meter, session, s.dollars)
	named, _ := c.permit.namedBy(request) // an unclear one has no price
	s.socket.Named(named.Model)
	c.outcome.named(named.Model)
	names := p.dialect.NamesInMessages(request)
	switch {
	case session != nil:
		c.guardMessages(r, c.checkMessageCost(request.Path, names))
	case names:
		s.first = ws.NewFirst(func(message []byte) { _ = c.nameModel(request.Path, message, true) })
	}
	return nil
}

// nameModel records the model in a WebSocket message, if messages name models.
func (c *call) nameModel(path string, message []byte, names bool) error {
	models, named, err := c.permit.provider.dialect.ReadMessageOn(path, message)
	if names && named && len(models) > 0 {
		c.spending.socket.Named(models[len(models)-1])
	}
	return err
}

// checkMessageCost returns a check of the client's messages on a WebSocket under a
// budget. It reserves the most that each message can cost.
func (c *call) checkMessageCost(path string, names bool) func(message []byte) ([]byte, error) {
	return func(message []byte) ([]byte, error) {
		if err := c.nameModel(path, message, names); err != nil {
			return nil, unclear(err)
		}
		changed, err := c.spending.socket.Client(message)
		if err != nil {
			return nil, unquoted(err)
		}
		return changed, nil
	}
}

// account charges the responses on a WebSocket to the budgets of its call.
type account struct {
	h *Handler
	c *call
}

// Reserve implements [metering.Account].
func (a account) Reserve(q *metering.Quote) (metering.Reservation, error) {
	r, _, err := a.c.pay(q, 0, time.Now())
	if err != nil {
		return r, uncharged(a.c, err)
	}
	return r, nil
}

// Settle implements [metering.Account].
func (a account) Settle(r metering.Reservation, used metering.Amounts) {
	if err := a.c.relay.ledger.Settle(r.Charges, tokenstore.Amounts{Tokens: used.Tokens, NanoUSD: used.NanoUSD}); err != nil {
		a.h.logger.Error("settling a response", zap.String("token_id", a.c.permit.ID), zap.Error(err))
	}
}

// Observe implements [metering.Account].
func (a account) Observe(b metering.Bill) {
	a.c.observe(b.Model, b.Usage)
}

// End implements [metering.Account].
func (a account) End(why error) { a.c.end(unquoted(why)) }

// afterFarewell is how long a client may take to answer a close frame. Closing its
// connection at once could lose the frame.
const afterFarewell = 500 * time.Millisecond

var errKeyInMessage = errors.New("relayapi: a message of the provider's holds the key")

// Read returns the provider's messages, and a close frame if the relay ends the call.
func (c *tapConn) Read(p []byte) (int, error) {
	if c.parting {
		return c.part(p)
	}

	between := c.said.Between()
	n, err := c.tap.Read(p)
	c.said.Follow(p[:n])
	if c.holdsKey {
		// The relay drops what it has read. It can tell the client why only where a
		// frame can begin.
		c.call.end(refuse(codeAnswerWithheld, "a message of the provider's holds the key"))
		n, err = 0, errKeyInMessage
	} else {
		between = c.said.Between()
	}

	f := ended(c.ctx)
	if err == nil || n > 0 || f == nil || !between {
		return n, err
	}
	c.parting, c.farewell = true, ws.CloseFrame(ws.ClosePolicy, f.code+": "+answers[f.code].message)
	return c.part(p)
}

// part sends the close frame, and waits for the client to answer it.
func (c *tapConn) part(p []byte) (int, error) {
	n := copy(p, c.farewell)
	c.farewell = c.farewell[n:]
	if n > 0 {
		return n, nil
	}

	select {
	case <-c.left:
	case <-time.After(afterFarewell):
	}
	return 0, ended(c.ctx)
}

// Write passes on the client's messages, as far as its token permits.
func (c *tapConn) Write(p []byte) (int, error) {
	c.writing.Lock() // reverse_proxy writes a close frame of its own when it is unloaded
	defer c.writing.Unlock()

	if ended(c.ctx) != nil {
		return len(p), nil // the client goes on until it has read the close frame
	}
	c.call.spending.first.Follow(p)
	pass := p
	if guard := c.call.held.messages; guard != nil {
		var err error
		if pass, err = guard.Pass(p); err != nil {
			c.call.end(refusedMessage(err))
			return len(p), nil
		}
	}
	if _, err := c.conn.Write(pass); err != nil {
		return 0, err
	}
	return len(p), nil
}

// refusedMessage turns an error of the guard into a refusal.
func refusedMessage(err error) *refusal {
	var refused *refusal
	switch {
	case errors.As(err, &refused):
		return refused
	case errors.Is(err, ws.ErrTooLong):
		return refuse(codeTooLarge, err.Error())
	case errors.Is(err, ws.ErrFull):
		return refuse(codeBusy, err.Error())
	}
	return refuse(codeInvalidRequest, err.Error())
}

// CloseWrite passes on a half-close, if the connection supports it.
func (c *tapConn) CloseWrite() error {
	c.leaving.Do(func() { close(c.left) })
	if half, ok := c.conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return c.Close()
}

// Close closes the connection to the provider, at the latest when the context
// ends: reverse_proxy sees to that.
func (c *tapConn) Close() (err error) {
	c.closing.Do(func() { err = c.conn.Close() })
	return err
}
