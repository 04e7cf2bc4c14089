package relayapi

import (
	"errors"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/relayapi/caddy-relayapi/grant"
)

// tapConn is the tap of a WebSocket: reverse_proxy reads from it what the
// provider says, and writes to it what the client says. When a call is ended from
// here, the client is told why, in a close frame.
type tapConn struct {
	*tap
	conn     io.ReadWriteCloser // to the provider
	messages *messageGuard      // nil: what the client says is not looked into

	writing  sync.Mutex
	closing  sync.Once
	leaving  sync.Once
	left     chan struct{} // closed when the client has closed its side
	said     frameTracker  // by the provider
	holdsKey bool          // what it said
	farewell []byte        // what is left to be said to the client
	parting  bool          // it is being said
}

// newTapConn returns the tap of a connection, or nil where there is none.
func newTapConn(t *tap, res *http.Response) *tapConn {
	conn, ok := res.Body.(io.ReadWriteCloser)
	if !ok || res.StatusCode != http.StatusSwitchingProtocols {
		return nil
	}
	c := &tapConn{tap: t, conn: conn, messages: t.rt.messages, left: make(chan struct{})}
	finder := t.rt.secret.Finder()
	c.said.payload = func(p []byte) { c.holdsKey = c.holdsKey || finder.Find(p) }
	return c
}

// afterFarewell is how long a client may take to answer a close frame. If its
// connection were closed at once, it could lose the frame.
const afterFarewell = 500 * time.Millisecond

var errKeyInMessage = errors.New("relayapi: a message of the provider's holds the key")

func (c *tapConn) Read(p []byte) (int, error) {
	if !c.parting {
		between := c.said.between()
		n, err := c.tap.Read(p)
		c.said.follow(p[:n])
		if c.holdsKey { // what was read does not pass, and the client is told only where a frame can begin
			c.rt.end(refuse(codeAnswerWithheld, "a message of the provider's holds the key"))
			n, err = 0, errKeyInMessage
		} else {
			between = c.said.between()
		}
		f := ended(c.ctx)
		if err == nil || n > 0 || f == nil || !between {
			return n, err
		}
		c.parting, c.farewell = true, closeFrame(closePolicy, f.code+": "+answers[f.code].message)
	}
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

func (c *tapConn) Write(p []byte) (int, error) {
	c.writing.Lock() // reverse_proxy writes a close frame of its own when it is unloaded
	defer c.writing.Unlock()
	if ended(c.ctx) != nil {
		return len(p), nil // the client goes on until it has read the close frame
	}
	if c.messages == nil {
		return c.conn.Write(p)
	}
	pass, refused := c.messages.look(p)
	if refused != nil {
		c.rt.end(refused)
		return len(p), nil
	}
	if _, err := c.conn.Write(pass); err != nil {
		return 0, err
	}
	return len(p), nil
}

// CloseWrite passes a half-close on, where the connection knows one.
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

// messageGuard looks at what a client says on a WebSocket, and lets nothing pass
// that names a model which the token does not permit, nor anything before one is
// named. A message passes when it is complete.
type messageGuard struct {
	permit *permit
	rt     *route
	share  share
	path   string // of the socket
	named  bool
	failed *refusal // once refused, nothing passes any more

	held    []byte // what has not passed
	seen    int    // of it, what was frames that are complete
	took    int64  // the memory of all, counted in the share
	message []byte // that they say so far
	within  bool   // a message
}

// maxMessage is how long a message may be that is looked into.
const maxMessage = 16 << 20

// slack is how much more than a message may be held: its frames' headers, and what
// is said between them.
const slack = 64 << 10

// look takes what the client sent and returns what may pass.
func (g *messageGuard) look(p []byte) (pass []byte, refused *refusal) {
	if g.failed == nil {
		pass, g.failed = g.pass(p)
	}
	if g.failed != nil {
		g.held, g.message, pass = nil, nil, nil
	}
	g.account()
	return pass, g.failed
}

// account counts what is held.
func (g *messageGuard) account() {
	if took := int64(cap(g.held) + cap(g.message)); took != g.took {
		g.share.take(took - g.took)
		g.took = took // which is let go when the call is over
	}
}

func (g *messageGuard) pass(p []byte) (pass []byte, refused *refusal) {
	g.held = append(g.held, p...)
	passed := 0
	for {
		h, size := parseFrameHeader(g.held[g.seen:])
		switch {
		case size > 0 && !g.permits(h):
			return nil, refuse(codeInvalidRequest, "a WebSocket frame that RFC 6455, section 5, does not permit")
		case h.length > maxMessage || len(g.message) > maxMessage || len(g.held)-passed > maxMessage+slack:
			return nil, refuse(codeTooLarge, "the message is longer than one whose model is read")
		case len(g.held) > slack && !g.share.within():
			return nil, refuse(codeBusy, errBodiesFull.Error())
		case size == 0 || uint64(len(g.held)-g.seen-size) < h.length: // there is more to come
			pass = g.held[:passed]
			g.held, g.seen = g.held[passed:], g.seen-passed
			if len(g.held) == 0 { // what passes is nobody else's
				g.held = nil
			}
			return pass, nil
		}
		payload := g.held[g.seen+size:][:h.length]
		g.seen += size + len(payload)
		if refused := g.take(h, payload); refused != nil {
			return nil, refused
		}
		if !g.within {
			passed = g.seen
		}
	}
}

// permits reports whether a client may send a frame now (RFC 6455, sections 5.1,
// 5.4 and 5.5).
func (g *messageGuard) permits(h frameHeader) bool {
	switch h.opcode {
	case opContinuation:
		return h.masked && !h.reserved && g.within
	case opText, opBinary:
		return h.masked && !h.reserved && !g.within
	}
	return h.masked && !h.reserved && h.opcode >= opClose && h.opcode <= opPong && h.final && h.length <= 125
}

// take takes a frame into its message, and looks at that when it is complete.
func (g *messageGuard) take(h frameHeader, payload []byte) *refusal {
	if h.opcode >= opClose {
		return nil
	}
	for i, c := range payload {
		g.message = append(g.message, c^h.mask[i%4])
	}
	if g.within = !h.final; g.within {
		return nil
	}
	names, named, err := g.permit.provider.dialect.ReadMessageOn(g.path, g.message)
	if g.message = g.message[:0]; cap(g.message) > slack {
		g.message = nil
	}
	switch g.named = g.named || named; {
	case err != nil:
		return unclear(err)
	case !g.named:
		return refuse(string(grant.NoModel), "neither the handshake nor the first message names a model")
	}
	return g.permit.permitNames(names...)
}
