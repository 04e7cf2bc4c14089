package relayapi

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/relayapi/caddy-relayapi/internal/bodies"
	"github.com/relayapi/caddy-relayapi/internal/coding"
)

const (
	// smallBody is the largest body that is read into memory before sending, in
	// bytes. So a client cannot have calls counted now and send their bodies later.
	// The standard library sends header and body in one write only when it knows the
	// body to be in memory. Two writes cost a fifth of the CPU of a small call.
	smallBody = 16 << 10

	// maxBody is the longest body that is looked into for its model, in bytes. All
	// of it must be in memory, because the name may be at its end.
	maxBody = 32 << 20
)

// clientBody is the body of a client's request. It counts what is read, and knows
// whether the body was read to its end. Over HTTP/1, the rest of a body would be
// taken for the next request on its connection.
type clientBody struct {
	io.ReadCloser
	call   *call // nil means that there is no body
	length int64 // -1 means unknown
	closes bool  // the answer says that the connection will be closed
	read   atomic.Int64
	ended  atomic.Bool // read to its end
	broke  atomic.Bool // the client did not deliver it

	mu      sync.Mutex // held while the body is read
	stopped bool
}

// bodiless reports whether a request that a server received has no body. The body
// itself does not tell, because Caddy wraps the empty one too.
func bodiless(r *http.Request) bool { return r.Body == nil || r.ContentLength == 0 }

// watchBody replaces the request's body by a [clientBody]. Until it is read to its
// end, every answer over HTTP/1 closes the connection.
//
// The standard library would do so by itself. It goes by the type of the body,
// however, which Caddy replaces by one with an idle timeout.
func (c *call) watchBody(r *http.Request) {
	if bodiless(r) {
		return
	}
	b := &c.held.client
	b.ReadCloser, b.call, b.length = r.Body, c, r.ContentLength
	r.Body = b
	if r.ProtoMajor == 1 {
		b.closes = true
		c.writer.Header().Set("Connection", "close")
	}
}

// Read implements [io.Reader].
func (b *clientBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.stopped {
		return 0, http.ErrBodyReadAfterClose
	}

	n, err := b.ReadCloser.Read(p)
	read := b.read.Add(int64(n))
	b.call.outcome.bytesIn.Add(int64(n))
	switch {
	case err == io.EOF || b.length >= 0 && read >= b.length:
		b.ended.Store(true)
	case err != nil:
		b.broke.Store(true)
	}
	return n, err
}

// stop ends the reading of the body when its handler is done. The transport may
// still read it, and the server uses it again.
func (b *clientBody) stop() {
	if b.call == nil || b.call.target.socket || b.ended.Load() || b.interrupt() != nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.stopped = true
}

// interrupt ends every read of the body. It only moves the deadline into the past,
// so it never extends a shorter one of the operator's. Where no deadline can be set,
// the server's timeouts hold.
func (b *clientBody) interrupt() error {
	return http.NewResponseController(b.call.writer).SetReadDeadline(time.Unix(1, 0))
}

// drainTime is how long the rest of a short body may take that nobody will read.
const drainTime = time.Second

// drain reads the rest of a short body, so that its connection can be kept.
func (c *call) drain(r *http.Request) {
	b := &c.held.client
	if !b.closes || r.ContentLength > smallBody || r.ContentLength < 0 || r.Header.Get("Expect") != "" {
		return
	}
	overdue := time.AfterFunc(drainTime, func() { _ = b.interrupt() })
	_, _ = io.CopyN(io.Discard, b, smallBody) // what is left over closes the connection
	if !overdue.Stop() {
		b.ended.Store(false) // the deadline would end the next request
	}
}

// keepConnection lets the connection serve another request if the body was read to
// its end. Otherwise it makes sure that the connection is closed. It must be called
// right before the header of an answer is written.
func (c *call) keepConnection() {
	b := &c.held.client
	switch {
	case !b.closes:
	case b.ended.Load():
		delete(c.writer.Header(), "Connection")
		b.closes = false
	default:
		closeAfter(c.writer)
	}
}

// closeAfter makes the server close an HTTP/1 connection after the answer. The
// server then closes its own side first and waits for a moment. Otherwise a client
// that still sends its body would lose the answer to a reset of the connection.
func closeAfter(w http.ResponseWriter) {
	w.Header().Set("Connection", "close")
	for {
		wrapper, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			break
		}
		w = wrapper.Unwrap()
	}

	// A body over its limit is how net/http is asked for this, see [http.MaxBytesReader].
	tooLong := http.MaxBytesReader(w, io.NopCloser(strings.NewReader("x")), 0)
	_, _ = tooLong.Read(make([]byte, 1))
}

// inTime runs read, which reads the body, and ends it when the client takes too long
// or the call ends.
func (b *clientBody) inTime(read func() error) error {
	return bodies.InTime(b.call, b.read.Load, func() { _ = b.interrupt() }, read)
}

// readBody reads a body that must be there before the call is counted: a short one,
// or one whose model is looked into. Any other body streams.
func (h *Handler) readBody(c *call, r *http.Request) *refusal {
	switch {
	case bodiless(r), c.target.socket: // over HTTP/2, the body of a WebSocket's handshake is its messages
		return nil
	case c.looksInto(r), h.app.MeterAlways && c.permit.provider.dialect.AsksUsage(c.asked(r)):
		return c.holdBody(r, c.relay.ledger.shareOf(c.permit))
	case short(r):
		return c.holdShortBody(r)
	}
	c.held.stopInterrupt = context.AfterFunc(c, func() { _ = c.held.client.interrupt() })
	return nil
}

// short reports whether a request has a body that is short, and as long as it says.
func short(r *http.Request) bool {
	return !bodiless(r) && 0 < r.ContentLength && r.ContentLength <= smallBody
}

// holdShortBody reads a short body as it is. It is not counted, because it takes
// little more memory than its connection. So it is served even when others have
// taken all memory for bodies.
func (c *call) holdShortBody(r *http.Request) *refusal {
	p := make([]byte, r.ContentLength)
	err := c.held.client.inTime(func() error {
		_, err := io.ReadFull(r.Body, p)
		return err
	})
	return c.setBody(r, bodies.Of(p), err)
}

// holdBody reads the whole body and undoes its content coding. It goes on decoded:
// a second decoder might make something else of it.
func (c *call) holdBody(r *http.Request, share bodies.Share) *refusal {
	codings := r.Header["Content-Encoding"]
	if short(r) && len(codings) == 0 {
		return c.holdShortBody(r)
	}

	if coding.IsZstd(codings) {
		defer share.Take(-coding.ZstdWindow)
		if !share.Take(coding.ZstdWindow) {
			return refuse(codeBusy, bodies.ErrFull.Error())
		}
	}
	var body *bodies.Body
	err := c.held.client.inTime(func() error {
		plain, err := coding.Request(r.Body, codings)
		if err != nil {
			return err
		}
		defer plain.Close() // what it could say was said when it was read

		body, err = bodies.Read(plain, r.ContentLength, maxBody, share)
		return err
	})
	delete(r.Header, "Content-Encoding")
	return c.setBody(r, body, err)
}

// setBody makes what was read the body of the request, unless reading it failed.
func (c *call) setBody(r *http.Request, body *bodies.Body, err error) *refusal {
	c.outcome.bytesIn.Store(0) // it is counted when it is sent
	if err != nil || c.held.client.broke.Load() {
		if body != nil {
			body.Release()
		}
		return c.unread(err)
	}
	c.replaceBody(r, body)
	return nil
}

// replaceBody replaces the request's body by one in memory.
func (c *call) replaceBody(r *http.Request, body *bodies.Body) {
	c.releaseBody()
	c.held.body, c.held.reader = body, body.Reader()

	length := len(body.Bytes())
	if _, ok := r.Header["Content-Length"]; ok && r.ContentLength != int64(length) {
		r.Header["Content-Length"] = []string{strconv.Itoa(length)}
	}
	r.Body, r.ContentLength, r.TransferEncoding = c.held.reader, int64(length), nil
}

// unread turns an error of reading a body into a refusal.
func (c *call) unread(err error) *refusal {
	var refused *refusal
	switch {
	case errors.As(err, &refused):
		return refused
	case errors.Is(err, bodies.ErrTooSlow), errors.Is(err, coding.ErrUnknown):
		return refuse(codeInvalidRequest, err.Error())
	case errors.Is(err, bodies.ErrTooLong), statusOf(err, http.StatusRequestEntityTooLarge):
		return refuse(codeTooLarge, bodies.ErrTooLong.Error())
	case errors.Is(err, bodies.ErrFull):
		return refuse(codeBusy, bodies.ErrFull.Error())
	case c.held.client.broke.Load():
		return refuse(codeInvalidRequest, "the request's body broke off")
	}
	return refuse(codeInvalidRequest, "the request's body does not decode")
}
