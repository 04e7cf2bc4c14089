package relayapi

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"github.com/relayapi/caddy-relayapi/internal/bodies"
	"github.com/relayapi/caddy-relayapi/internal/headers"
	"github.com/relayapi/caddy-relayapi/internal/redact"
)

func init() {
	caddy.RegisterModule(Transport{})
	caddy.RegisterModule(Upstreams{})
}

// Upstreams tells reverse_proxy to connect to the provider of the request's token.
// It is part of what the `relayapi` directive expands to.
type Upstreams struct{}

// CaddyModule returns the Caddy module information.
func (Upstreams) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.reverse_proxy.upstreams.relayapi",
		New: func() caddy.Module { return new(Upstreams) },
	}
}

// GetUpstreams returns the provider of the request's token. The value is new for
// each request, because reverse_proxy writes to it.
func (Upstreams) GetUpstreams(r *http.Request) ([]*reverseproxy.Upstream, error) {
	c := callOf(r.Context())
	if c == nil {
		return nil, errNoCall
	}
	return []*reverseproxy.Upstream{{Dial: c.permit.provider.dial}}, nil
}

// Transport adds the real key to a request and makes the round trip. It is the last
// step before the wire, because reverse_proxy logs the request that it hands to its
// transport. It takes the settings of the `http` transport, except for
// `tls.server_name` and `proxy_protocol`. Scheme, host and TLS server name are the
// provider's. Unlike `http`, it keeps 256 idle connections to each provider by
// default.
type Transport struct {
	reverseproxy.HTTPTransport
	h2c bool // calls to providers over http share a connection
}

// idleConns is how many idle connections to each provider the relay keeps by default.
// Caddy's default of 32 suits upstreams nearby. With more concurrent calls than that,
// every answer closes a connection and every call opens one.
const idleConns = 256

// CaddyModule returns the Caddy module information.
func (Transport) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.reverse_proxy.transport.relayapi",
		New: func() caddy.Module { return new(Transport) },
	}
}

// UnmarshalCaddyfile parses the block of `transport http`.
func (t *Transport) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	if err := t.HTTPTransport.UnmarshalCaddyfile(d); err != nil {
		return err
	}
	if err := t.check(); err != nil {
		return d.Err(err.Error())
	}
	return nil
}

// check refuses settings that do not fit a relay.
func (t *Transport) check() error {
	switch {
	case t.TLS != nil && t.TLS.ServerName != "":
		return errors.New("tls_server_name: leave it out; it is the host of each provider")
	case t.ProxyProtocol != "":
		return errors.New("proxy_protocol: leave it out; a provider must not learn a client's address")
	}
	return nil
}

// Provision sets up the HTTP transport.
func (t *Transport) Provision(ctx caddy.Context) error {
	if err := t.check(); err != nil {
		return err
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

// RoundTrip sends the request to the provider of its call, at most once, and returns
// the cleaned answer. An error of type *refusal is the answer to the client.
func (t *Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	c := callOf(r.Context())
	if c == nil {
		return nil, errNoCall
	}
	if c.outcome.connected.Load() {
		return nil, errors.New("relayapi: a call that may have reached its provider is not sent again")
	}
	if headers.Method(r) != c.target.method || r.URL.Path != c.target.path || r.URL.RawPath != c.target.rawPath {
		// Only a JSON config can do this, not a Caddyfile.
		return nil, errors.New("relayapi: the request was rewritten after its token was checked")
	}
	if why := ended(c); why != nil {
		return nil, why
	}

	out := t.once(c, c.outgoing(r))
	if err := c.sign(r, out); err != nil {
		return nil, err
	}
	res, err := t.HTTPTransport.RoundTrip(out)
	if f := ended(r.Context()); f != nil && err != nil {
		return nil, f
	}
	if err != nil {
		return nil, c.target.key.MaskError(err)
	}
	defer c.releaseBody() // the request is never sent again
	c.closeAfterNoContent(res)
	c.held.client.KeepConnection()
	return c.incoming(r.Context(), c.asked(r), res)
}

// outgoing makes the request that goes over the wire.
func (c *call) outgoing(r *http.Request) *http.Request {
	out := new(http.Request)
	*out = *r
	out.Header = headers.Outgoing(r.Header, c.target.key, c.permit.provider.credential.Header)
	out.Trailer = nil
	out.Host = c.permit.provider.base.Host
	out.URL = headers.Below(c.permit.provider.base, r.URL)
	out.URL.RawQuery = c.target.key.AppendQuery(out.URL.RawQuery)

	switch {
	case bodies.None(r):
	case c.held.body != nil:
		c.outcome.bytesIn.Store(int64(len(c.held.body.Bytes())))
		delete(out.Header, "Expect") // the relay does not wait for 100 Continue
	case c.held.client.Untouched():
		// The body streams. reverse_proxy's wrappers around it race if an answer
		// arrives while the body is still being read. If reverse_proxy has buffered it,
		// the wrappers hold what was read. The server closes it.
		out.Body = io.NopCloser(&c.held.client)
	}
	return out
}

// sign signs the request, if the provider wants a signature instead of a key. After
// that, the request must not change.
func (c *call) sign(r, out *http.Request) (err error) {
	switch {
	case !c.target.key.Signs():
		return nil
	case c.held.body != nil:
		c.target.key, err = c.target.key.Sign(out, c.held.body.Bytes(), time.Now())
	case bodies.None(r), c.target.socket:
		c.target.key, err = c.target.key.Sign(out, nil, time.Now())
	default:
		err = errors.New("relayapi: a request whose body is not in memory cannot be signed")
	}
	return err
}

// once makes the standard library send a request again only if nothing of it was
// written, or if the provider said over HTTP/2 that it did not process it (RFC 9113,
// section 8.7). By default, the standard library replays idempotent requests without a
// body, and requests whose body it can get again.
func (t *Transport) once(c *call, out *http.Request) *http.Request {
	trace := &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) { c.gotConn(info, t.h2c) }}
	out = out.WithContext(&retraced{out.Context(), trace})

	replayed := out.Method == "GET" || out.Method == "HEAD" || out.Method == "OPTIONS" || out.Method == "TRACE"
	switch {
	case replayed && bodies.None(out):
		out.Body, out.GetBody = bodies.Empty{}, nil
		out.TransferEncoding = []string{"identity"} // otherwise net/http waits for the body, to see whether it is empty
	case !bodies.None(out) && c.held.body != nil:
		body := c.held.body
		out.Body = body.Outgoing(smallBody)
		if !replayed {
			out.GetBody = func() (io.ReadCloser, error) { return body.Outgoing(smallBody), nil }
		}
	}
	return out
}

// retraced is a context in which our client trace replaces reverse_proxy's, which would
// pass the provider's 1xx headers to the client uncleaned.
type retraced struct {
	context.Context
	trace *httptrace.ClientTrace
}

// Value implements [context.Context].
func (c *retraced) Value(key any) any {
	value := c.Context.Value(key)
	if _, ok := value.(*httptrace.ClientTrace); ok {
		return c.trace
	}
	return value
}

// settleTime is how long an HTTP/1.1 connection to a provider rests between two calls.
// If the provider sent more than its answer, the standard library notices that
// meanwhile and closes the connection. Without the pause, the next call might read the
// excess as its own answer.
const settleTime = 500 * time.Microsecond

// gotConn checks once more whether the call may be made. The call may have waited for
// its connection, and nothing of it has been written yet.
func (c *call) gotConn(info httptrace.GotConnInfo, h2c bool) {
	if c.exclusive(info.Conn, h2c) {
		c.outcome.conn = info.Conn
		redact.StandardLog()
		if info.WasIdle && info.IdleTime < settleTime {
			time.Sleep(settleTime - info.IdleTime)
		}
	}
	if why := c.stillPermitted(time.Now()); why != nil {
		c.end(why)
	}
	if c.Err() == nil {
		c.outcome.sent = time.Now()
		c.outcome.connected.Store(true)
		return
	}

	// Over HTTP/2 and HTTP/3, the standard library checks the context before it writes.
	// Over HTTP/1.1 it does not.
	if c.outcome.conn != nil {
		c.outcome.conn.Close()
	}
}

// exclusive reports whether a connection to the provider carries one call at a time, as
// over HTTP/1.1.
func (c *call) exclusive(conn net.Conn, h2c bool) bool {
	if secure, ok := conn.(*tls.Conn); ok {
		return secure.ConnectionState().NegotiatedProtocol != "h2"
	}
	return c.permit.provider.base.Scheme == "http" && !h2c
}

// closeAfterNoContent closes the connection to a provider after an answer over
// HTTP/1.1 that has no body. If the provider sends one all the same, it would be read
// as the answer to the next call.
func (c *call) closeAfterNoContent(res *http.Response) {
	if c.outcome.conn == nil {
		return
	}
	switch {
	case c.target.method == http.MethodHead, res.StatusCode == http.StatusNoContent, res.StatusCode == http.StatusNotModified:
		c.outcome.conn.Close()
	}
}

// Interface guards
var (
	_ reverseproxy.UpstreamSource = (*Upstreams)(nil)
	_ caddy.Provisioner           = (*Transport)(nil)
	_ caddy.CleanerUpper          = (*Transport)(nil)
	_ http.RoundTripper           = (*Transport)(nil)
	_ caddyfile.Unmarshaler       = (*Transport)(nil)
)
