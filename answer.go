package relayapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/relayapi/caddy-relayapi/dialect"
	"github.com/relayapi/caddy-relayapi/grant"
	"github.com/relayapi/caddy-relayapi/internal/carrier"
	"github.com/relayapi/caddy-relayapi/internal/coding"
	"github.com/relayapi/caddy-relayapi/internal/errorform"
	"github.com/relayapi/caddy-relayapi/internal/events"
	"github.com/relayapi/caddy-relayapi/internal/headers"
	"github.com/relayapi/caddy-relayapi/internal/metering"
	"github.com/relayapi/caddy-relayapi/internal/ratelimit"
)

// incoming cleans the provider's answer on its way back.
func (c *call) incoming(ctx context.Context, asked *dialect.Request, res *http.Response) (*http.Response, error) {
	status := res.StatusCode
	c.outcome.provider = status
	if status == http.StatusUnauthorized || status == http.StatusTooManyRequests {
		c.target.key.Rest(time.Now())
	}
	if refused := c.unacceptable(res); refused != nil {
		res.Body.Close()
		return nil, refused
	}
	if err := c.filterModels(res); err != nil {
		return nil, err
	}
	c.rewriteAddresses(res.Header)
	if name := headers.Clean(res.Header, c.target.key); name != "" {
		res.Body.Close()
		return nil, refuse(codeAnswerWithheld, "its header "+name+" holds the key")
	}
	c.searchBody(res)
	c.meterAnswer(ctx, asked, res)

	if c.rateLimit.Limit > 0 { // the client gets the relay's
		delete(res.Header, ratelimit.Field)
		delete(res.Header, ratelimit.PolicyField)
	}
	c.outcome.status.Store(int32(status))
	metering.StripHeader(res.Header) // another relay's
	if c.target.protocol != "" && status == http.StatusSwitchingProtocols && res.Header.Get(carrier.ProtocolHeader) == "" {
		// Browsers treat an answer without one as a failure
		// (https://websockets.spec.whatwg.org/#the-websocket-interface).
		res.Header.Set(carrier.ProtocolHeader, c.target.protocol)
	}
	res.Body, c.outcome.answered = c.tapped(ctx, res), true
	return res, nil
}

var errNotAsked = errors.New("the provider switched protocols without having been asked")

// unacceptable returns why the relay withholds the whole answer, or nil.
func (c *call) unacceptable(res *http.Response) error {
	status := res.StatusCode
	switch {
	case status == http.StatusUnauthorized:
		c.outcome.complaint = c.target.key.Excerpt(res.Body)
		return refuse(codeProviderRefusedKey, "the provider answered 401 to "+c.target.key.Source()+": "+c.outcome.complaint)
	case c.target.unnamed && status != http.StatusSwitchingProtocols && status < 400:
		return refuse(string(grant.NoModel), "the handshake made no WebSocket, and the request names no model")
	case status == http.StatusSwitchingProtocols && (!c.target.socket || !strings.EqualFold(res.Header.Get("Upgrade"), "websocket")):
		return errNotAsked
	}
	return nil
}

// rewriteAddresses rewrites addresses under the provider's base URL to the relay's,
// because a client has no key for the provider.
func (c *call) rewriteAddresses(header http.Header) {
	if !headers.HasAddress(header) {
		return
	}
	p, relay := c.permit.provider, c.target.address
	addresses := headers.Addresses{
		Base: p.base, Sent: headers.Below(p.base, &url.URL{Path: c.target.path, RawPath: c.target.rawPath}),
		Relay: "http://" + relay.host, Selects: p.readsInQuery,
	}
	if relay.secure {
		addresses.Relay = "https://" + relay.host
	}
	if relay.prefix != "" {
		addresses.Prefix = relay.prefix + "/" + p.name
	}
	addresses.Rewrite(header)
}

// maxDecoded bounds the decoded length of an encoded body, in bytes.
const maxDecoded = 256 << 20

// searchBody blanks the key in the answer's body. In an error it blanks every piece
// of the key, because providers quote keys when they complain about them. In any other
// text it blanks the whole key. Recordings, images and the like are not searched.
func (c *call) searchBody(res *http.Response) {
	isError := res.StatusCode >= 400
	empty := c.target.method == http.MethodHead || res.ContentLength == 0 || res.StatusCode < 200
	if empty || !isError && !headers.IsText(res.Header.Get("Content-Type")) {
		return
	}

	body, decoded, err := coding.Answer(res.Body, res.Header["Content-Encoding"], maxDecoded)
	switch {
	case err != nil && !isError:
		return // the provider used a coding that was not requested and that the relay does not know
	case err != nil:
		c.replaceError(res, err)
		return
	case decoded:
		delete(res.Header, "Content-Encoding")
		delete(res.Header, "Content-Length")
		delete(res.Header, "Etag")
		res.ContentLength = -1
	}
	res.Body = &searched{c.target.key.Stream(body, isError), res.Body}
}

// searched is a body in which the relay blanks the key.
type searched struct {
	io.Reader
	body io.Closer
}

func (s *searched) Close() error { return s.body.Close() }

// replaceError replaces the body of an error that the relay cannot read. The status
// and Retry-After stay the provider's.
func (c *call) replaceError(res *http.Response, why error) {
	res.Body.Close()
	message := fmt.Sprintf("The provider answered %d. The relay withholds its message, which is %v.", res.StatusCode, why)
	body := errorform.Common.Body(errorform.Error{Status: res.StatusCode, Kind: ours, Code: codeAnswerUnreadable, Message: message})
	for _, name := range []string{"Content-Encoding", "Etag", "Content-Digest", "Repr-Digest"} {
		delete(res.Header, name)
	}
	res.Header.Set("Content-Type", "application/json")
	res.Header.Set("Content-Length", strconv.Itoa(len(body)))
	res.Body, res.ContentLength = io.NopCloser(strings.NewReader(string(body))), int64(len(body))
}

// tapped returns the body for the client: counted, with clean trailers, and with a
// reason at its end if the relay ends it.
func (c *call) tapped(ctx context.Context, res *http.Response) io.ReadCloser {
	t := &tap{ctx: ctx, body: res.Body, call: c, trailer: &res.Trailer}
	if conn := newTapConn(t, res); conn != nil {
		return conn
	}
	kind, _, _ := strings.Cut(res.Header.Get("Content-Type"), ";")
	t.events = kind == "text/event-stream" && res.Header.Get("Content-Encoding") == "" && res.ContentLength < 0
	c.outcome.stream.Store(t.events)
	return t
}

// tap is the body of an answer.
type tap struct {
	ctx     context.Context
	body    io.ReadCloser
	call    *call
	trailer *http.Header // complete when body is at its end

	events bool        // the body is a stream of events
	tail   events.Tail // of the stream
	last   []byte      // the rest of the relay's own last event; nil means none
}

var errTrailer = errors.New("relayapi: a trailer of the answer holds the key")

func (t *tap) Read(p []byte) (int, error) {
	if t.last != nil {
		n := copy(p, t.last)
		if t.last = t.last[n:]; n == 0 {
			return 0, io.EOF
		}
		return n, nil
	}
	n, err := t.body.Read(p)
	if t.call.outcome.bytesOut.Add(int64(n)) == int64(n) && n > 0 {
		t.call.stats.FirstByte(time.Since(t.call.outcome.sent))
	}
	if t.events {
		t.tail.Note(p[:n])
		if f := ended(t.ctx); f != nil && err != nil && err != io.EOF && t.tail.Between() {
			t.last = f.event(t.call.permit.provider.dialect.Name())
			return n, nil
		}
	}
	if err != nil && err != io.EOF && t.call.target.key.PieceIn(err.Error()) {
		err = t.call.target.key.MaskError(err) // the standard library quotes a trailer that it cannot parse
	}
	if err == io.EOF && headers.Clean(*t.trailer, t.call.target.key) != "" {
		*t.trailer = nil
		err = errTrailer // too late for a status; the stream breaks
	}
	return n, err
}

func (t *tap) Close() error { return t.body.Close() }
