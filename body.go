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
	// smallBody is the largest body that is read into memory before sending, in bytes.
	// So a client cannot have a call counted now and send its body later. The standard
	// library sends header and body in one write only if it knows that the body is in
	// memory. A second write costs a fifth of the CPU of a small call.
	smallBody = 16 << 10

	// maxBody is the longest body that the relay searches for the model, in bytes. All
	// of it must be in memory, because the name may be at its end.
	maxBody = 32 << 20
)

// readBody buffers a body before the call is counted if it is short, or if the relay
// must search it. Any other body streams.
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

// short reports whether a request has a short body of a stated length.
func short(r *http.Request) bool {
	return !bodies.None(r) && 0 < r.ContentLength && r.ContentLength <= smallBody
}

// holdShortBody buffers a short body as it is. The budget of memory does not count it,
// because it takes little more memory than its connection. So short calls are served
// even when large bodies have used up the budget.
func (c *call) holdShortBody(r *http.Request) *refusal {
	p := make([]byte, r.ContentLength)
	err := c.held.client.InTime(func() error {
		_, err := io.ReadFull(r.Body, p)
		return err
	})
	return c.setBody(r, bodies.Of(p), err)
}

// holdBody buffers the whole body and decodes its content coding. The relay sends it
// decoded, because a second decoder might read it differently.
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
		defer plain.Close() // Read has returned its error, if any

		body, err = bodies.Read(plain, r.ContentLength, maxBody, share)
		return err
	})
	delete(r.Header, "Content-Encoding")
	return c.setBody(r, body, err)
}

// setBody replaces the request's body with the buffered one, unless reading it failed.
func (c *call) setBody(r *http.Request, body *bodies.Body, err error) *refusal {
	c.outcome.bytesIn.Store(0) // bytes count when they are sent
	if err != nil || c.held.client.Broke() {
		if body != nil {
			body.Release()
		}
		return c.unread(err)
	}
	c.replaceBody(r, body)
	return nil
}

// replaceBody replaces the request's body with one in memory.
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
	return refuse(codeInvalidRequest, "the request body does not decode")
}
