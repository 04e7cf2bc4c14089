package relayapi

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"github.com/relayapi/caddy-relayapi/internal/realkey"
)

func init() {
	caddy.RegisterModule(Transport{})
}

// Transport puts the real key into a request and makes the round trip: the last
// thing before the wire, because reverse_proxy logs the request that it hands
// to its transport. It takes the settings of the `http` transport, but for
// `tls.server_name` and `proxy_protocol`; scheme, host and TLS server name are
// the provider's. By default it keeps 256 idle connections to each.
type Transport struct {
	reverseproxy.HTTPTransport
	h2c bool // to providers over http
}

// smallBody is the largest body that is always read into memory before its call
// is counted: a client cannot have calls counted now and send their bodies later.
// The standard library sends header and body in one write only when it knows
// the body to be in memory; two writes cost a fifth of the CPU of a small call.
const smallBody = 16 << 10

// idleConns is how many connections to a provider are kept that nobody uses at
// present. Caddy's default of 32 is for upstreams next door: with more calls at
// once than that, every answer closes a connection and every call opens one.
const idleConns = 256

// CaddyModule returns the Caddy module information.
func (Transport) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.reverse_proxy.transport.relayapi",
		New: func() caddy.Module { return new(Transport) },
	}
}

// Provision sets up the HTTP transport.
func (t *Transport) Provision(ctx caddy.Context) error {
	switch {
	case t.TLS != nil && t.TLS.ServerName != "":
		return errors.New("tls server_name: leave it out, it is the host of each provider")
	case t.ProxyProtocol != "":
		return errors.New("proxy_protocol: a provider must not learn a client's address")
	}
	if t.KeepAlive == nil {
		t.KeepAlive = new(reverseproxy.KeepAlive)
	}
	if t.KeepAlive.MaxIdleConnsPerHost == 0 {
		t.KeepAlive.MaxIdleConnsPerHost = idleConns
	}
	t.h2c = slices.Contains(t.Versions, "h2c")
	return t.HTTPTransport.Provision(ctx)
}

// UnmarshalCaddyfile parses the block of `transport http`.
func (t *Transport) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	if err := t.HTTPTransport.UnmarshalCaddyfile(d); err != nil {
		return err
	}
	switch {
	case t.TLS != nil && t.TLS.ServerName != "":
		return d.Err("tls_server_name: leave it out, it is the host of each provider")
	case t.ProxyProtocol != "":
		return d.Err("proxy_protocol: leave it out, a provider must not learn a client's address")
	}
	return nil
}

// RoundTrip sends the request to the provider of its route, at most once, and
// returns the cleaned answer. An error of type *refusal says what to answer
// instead.
func (t *Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	rt := routeOf(r.Context())
	if rt == nil {
		return nil, errNoRoute
	}
	if rt.connected.Load() {
		return nil, errors.New("relayapi: a call that may have reached its provider is not sent again")
	}
	if method(r) != rt.method || r.URL.Path != rt.path || r.URL.RawPath != rt.rawPath {
		// Only a config that was not written as a Caddyfile can do this.
		return nil, errors.New("relayapi: the request was rewritten after its token was held against it")
	}
	if why := ended(rt); why != nil {
		return nil, why
	}
	out := rt.outgoing(r)
	rt.h2c = t.h2c
	res, err := t.HTTPTransport.RoundTrip(rt.once(out))
	if f := ended(r.Context()); f != nil && err != nil {
		return nil, f
	}
	if err != nil {
		return nil, &maskedError{err, rt.secret}
	}
	rt.body.answer()
	rt.closeAfterNoContent(res)
	rt.keepConnection()
	return rt.incoming(r.Context(), res)
}

var errNotAsked = errors.New("the provider switched protocols without having been asked")

// maskedError is an error without the key: reverse_proxy logs it, and the
// standard library quotes what it cannot parse of an answer.
type maskedError struct {
	error
	key *realkey.Key
}

func (e *maskedError) Error() string { return e.key.Mask(e.error.Error()) }
func (e *maskedError) Unwrap() error { return e.error }

// Timeout implements net.Error, which reverse_proxy asks without unwrapping.
func (e *maskedError) Timeout() bool {
	var netErr net.Error
	return errors.As(e.error, &netErr) && netErr.Timeout()
}

// Temporary implements net.Error.
func (e *maskedError) Temporary() bool { return false }

// outgoing makes the request that goes over the wire. A body that is in memory is
// sent in one write with the header.
func (rt *route) outgoing(r *http.Request) *http.Request {
	out := new(http.Request)
	*out = *r
	out.Header = rt.outgoingHeader(r.Header)
	out.Trailer = nil
	out.Host = rt.provider.base.Host
	out.URL = rt.outgoingURL(r.URL)
	switch {
	case bodiless(r):
		return out
	case rt.body.bytes == nil:
		// It streams, without reverse_proxy's wrappers if that has not buffered it:
		// they race when an answer comes while the body is still read. The server
		// closes it.
		if rt.client.read.Load() == 0 {
			out.Body = io.NopCloser(&rt.client)
		}
		return out
	}
	rt.bytesIn.Store(int64(len(rt.body.bytes)))
	rt.memory = bodyReader{&rt.body, 0}
	out.Body = &rt.memory
	delete(out.Header, "Expect") // there is nothing left to wait for
	return out
}

// gotConn asks once more whether the call may be made, because it may have
// waited for its connection, and nothing of it has been written yet.
func (rt *route) gotConn(info httptrace.GotConnInfo) {
	if rt.exclusive(info.Conn) {
		rt.conn = info.Conn
		redactStandardLog()
		if info.WasIdle && info.IdleTime < settleTime {
			time.Sleep(settleTime - info.IdleTime)
		}
	}
	if why := rt.stillPermitted(time.Now()); why != nil {
		rt.end(why)
	}
	if rt.Err() == nil {
		rt.connected.Store(true)
		return
	}

	// Over HTTP/2 and HTTP/3, net/http looks at the context before it writes. Over
	// HTTP/1.1 it does not.
	if rt.conn != nil {
		rt.conn.Close()
	}
}

// settleTime is how long a connection to a provider over HTTP/1.1 rests between
// two calls. If the provider sent more than its answer, net/http finds that in the
// meantime and closes the connection. Without the pause, the next call might take
// it for its own answer.
const settleTime = 500 * time.Microsecond

// exclusive reports whether a connection to the provider has no other call on
// it: whether it speaks HTTP/1.1.
func (rt *route) exclusive(conn net.Conn) bool {
	if secure, ok := conn.(*tls.Conn); ok {
		return secure.ConnectionState().NegotiatedProtocol != "h2"
	}
	return rt.provider.base.Scheme == "http" && !rt.h2c
}

// closeAfterNoContent closes the connection to a provider after an answer over
// HTTP/1.1 that has no body. If the provider sends one all the same, it would be
// read as the answer to the next call.
func (rt *route) closeAfterNoContent(res *http.Response) {
	if rt.conn == nil {
		return
	}
	switch {
	case rt.method == http.MethodHead, res.StatusCode == http.StatusNoContent, res.StatusCode == http.StatusNotModified:
		rt.conn.Close()
	}
}

// outgoingHeader copies the header without what the provider must not see and
// with exactly one credential. The copy matters: r's is logged afterwards.
func (rt *route) outgoingHeader(header http.Header) http.Header {
	out := make(http.Header, len(header)+1)
	place := rt.provider.credential
	for name, values := range header {
		// Compared in canonical form: reverse_proxy spells some names otherwise.
		switch canonical := http.CanonicalHeaderKey(name); {
		case canonical == place.Header, stopsHere(canonical):
			// left out
		case canonical == "Accept-Encoding":
			// replaced
		case canonical == "Idempotency-Key" || canonical == "X-Idempotency-Key":
			// In any other spelling the standard library does not take it for
			// leave to send a request twice; on the wire it means the same.
			out[strings.ToLower(name)] = values
		default:
			out[name] = values
		}
	}
	out["Accept-Encoding"] = unencoded
	rt.secret.SetHeader(out)
	return out
}

// unencoded asks for an answer that is not encoded, so that it can be searched for
// the key.
var unencoded = []string{"identity"}

func (rt *route) outgoingURL(u *url.URL) *url.URL {
	base := rt.provider.base
	// Made anew: whatever else u holds, the grant was not asked about it.
	out := &rt.url
	*out = url.URL{Scheme: base.Scheme, Host: base.Host, Path: u.Path, RawPath: u.RawPath, RawQuery: u.RawQuery}
	if base.Path != "" {
		out.Path = base.Path + u.Path
		out.RawPath = base.EscapedPath() + u.EscapedPath()
	}
	out.RawQuery = rt.secret.AppendQuery(out.RawQuery)
	return out
}

// once makes a request one that the standard library's transport sends again only
// if nothing of it was written, or if the provider has said over HTTP/2 that it saw to
// nothing of it (RFC 9113, section 8.7). By itself it replays requests without a body
// by their method, and those with a body if it can get it anew.
func (rt *route) once(out *http.Request) *http.Request {
	rt.trace.GotConn = rt.gotConn
	rt.retraced = retraced{out.Context(), &rt.trace}
	ctx := context.Context(&rt.retraced)
	if httptrace.ContextClientTrace(ctx) == nil { // there was none to stand in for
		ctx = httptrace.WithClientTrace(ctx, &rt.trace)
	}
	out = out.WithContext(ctx)
	switch replayed := out.Method == "GET" || out.Method == "HEAD" || out.Method == "OPTIONS" || out.Method == "TRACE"; {
	case replayed && bodiless(out):
		out.Body, out.GetBody = emptyBody{}, nil
		out.TransferEncoding = []string{"identity"} // or it would be read for a while, to see whether it is empty
	case out.Body == &rt.memory:
		out.Body = rt.body.lend()
		if !replayed {
			out.GetBody = func() (io.ReadCloser, error) { return rt.body.lend(), nil }
		}
	}
	return out
}

// emptyBody is a body without content that the standard library does not know
// to be one.
type emptyBody struct{}

func (emptyBody) Read([]byte) (int, error) { return 0, io.EOF }
func (emptyBody) Close() error             { return nil }

// retraced is a context in which our client trace stands in for reverse_proxy's,
// which would pass the provider's 1xx headers on to the client uncleaned.
type retraced struct {
	context.Context
	trace *httptrace.ClientTrace
}

func (c *retraced) Value(key any) any {
	value := c.Context.Value(key)
	if _, ok := value.(*httptrace.ClientTrace); ok {
		return c.trace
	}
	return value
}

// Interface guards
var (
	_ caddy.Provisioner     = (*Transport)(nil)
	_ caddy.CleanerUpper    = (*Transport)(nil)
	_ http.RoundTripper     = (*Transport)(nil)
	_ caddyfile.Unmarshaler = (*Transport)(nil)
)
