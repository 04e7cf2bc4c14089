package relayapi

import (
	"errors"
	"io"
	"net/http"
	"strconv"

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

// readBody reads a body that must be there before the call is counted: a short one,
// or one whose model is looked into. Any other body streams.
func (h *Handler) readBody(c *call, r *http.Request) *refusal {
	switch {
	case bodies.None(r), c.target.socket: // over HTTP/2, the body of a WebSocket's handshake is its messages
		return nil
	case c.looksInto(r), c.permit.provider.signs, h.app.MeterAlways && c.permit.provider.dialect.AsksUsage(c.asked(r)):
		return c.holdBody(r, c.relay.ledger.shareOf(c.permit))
	case short(r):
		return c.holdShortBody(r)
	}
	return nil
}

// short reports whether a request has a body that is short, and as long as it says.
func short(r *http.Request) bool {
	return !bodies.None(r) && 0 < r.ContentLength && r.ContentLength <= smallBody
}

// holdShortBody reads a short body as it is. It is not counted, because it takes
// little more memory than its connection. So it is served even when others have
// taken all memory for bodies.
func (c *call) holdShortBody(r *http.Request) *refusal {
	p := make([]byte, r.ContentLength)
	err := c.held.client.InTime(func() error {
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
	err := c.held.client.InTime(func() error {
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
	if err != nil || c.held.client.Broke() {
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
	c.held.body, c.held.reader, c.target.request.Body = body, body.Reader(), body.Bytes()

	length := len(body.Bytes())
	if _, ok := r.Header["Content-Length"]; ok && r.ContentLength != int64(length) {
		r.Header["Content-Length"] = []string{strconv.Itoa(length)}
	}
	r.Body, r.ContentLength, r.TransferEncoding = c.held.reader, int64(length), nil
}

// unread turns an error of reading a body into a refusal.
func (c *call) unread(err error) *refusal {
	why := ended(c)
	switch {
	case why != nil:
		return why
	case errors.Is(err, bodies.ErrTooSlow), errors.Is(err, coding.ErrUnknown):
		return refuse(codeInvalidRequest, err.Error())
	case errors.Is(err, bodies.ErrTooLong), statusOf(err, http.StatusRequestEntityTooLarge):
		return refuse(codeTooLarge, bodies.ErrTooLong.Error())
	case errors.Is(err, bodies.ErrFull):
		return refuse(codeBusy, bodies.ErrFull.Error())
	case c.held.client.Broke():
		return refuse(codeInvalidRequest, "the request body was cut short")
	}
	return refuse(codeInvalidRequest, "the request's body does not decode")
}
