package relayapi

import (
	"bufio"
	"context"
	"errors"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// direct makes round trips over HTTP/1.1 in the goroutine that asks for them. The
// standard library's transport has two goroutines for each connection and wakes
// both for every call; that costs more than all that the relay does itself.
//
// It is for the plain case: a request without a body, or with a short one that is
// in memory, to a provider that is reached over http without a proxy. All of it is
// written before anything is read, which waits only for a provider that does not
// read, and no longer than the call lasts. Whatever else there is, and TLS, over
// which providers speak HTTP/2, is the standard library's. So are the formats here:
// [http.Request.Write] and [http.ReadResponse].
//
// An answer must never be taken for another call's. So a connection is used again
// only if the answer before has been read to its end, said that more may follow,
// and nothing has come after it.
type direct struct {
	dial      func(ctx context.Context, network, address string) (net.Conn, error)
	maxIdle   int // connections to one address
	idleFor   time.Duration
	maxHeader int64 // bytes of an answer's header

	// One lock for all calls, as in the standard library's transport: it is held
	// while a slice grows or shrinks by one.
	mu     sync.Mutex
	idle   map[string][]*directConn // by address; what was used last stands last
	sweep  *time.Timer              // closes what has been idle for too long; nil: nothing is idle
	closed bool
}

// newDirect returns nil where the settings ask for what only the standard
// library's transport does.
func newDirect(t *reverseproxy.HTTPTransport) *direct {
	switch std := t.Transport; {
	case !knowsSilence,
		std.DisableKeepAlives, std.MaxConnsPerHost > 0, std.MaxIdleConns > 0, std.ResponseHeaderTimeout > 0,
		os.Getenv("HTTP_PROXY") != "", os.Getenv("http_proxy") != "",
		!slices.Contains(t.Versions, "1.1"), slices.Contains(t.Versions, "h2c"):
		return nil
	default:
		d := &direct{dial: std.DialContext, maxIdle: std.MaxIdleConnsPerHost, idleFor: std.IdleConnTimeout, maxHeader: std.MaxResponseHeaderBytes}
		if d.maxHeader <= 0 {
			d.maxHeader = 10 << 20 // as the standard library has it
		}
		return d
	}
}

// takes reports whether a call is one for it.
func (d *direct) takes(rt *route, r *http.Request) bool {
	if d == nil || rt.provider.base.Scheme != "http" || r.Header["Upgrade"] != nil {
		return false
	}
	switch r.Method {
	case "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE":
		return bodiless(r) || short(r)
	}
	return false
}

func bodiless(r *http.Request) bool { return r.Body == nil || r.Body == http.NoBody }

// roundTrip makes the round trip of a call.
func (d *direct) roundTrip(rt *route, out *http.Request) (*http.Response, error) {
	ctx := out.Context()
	c, err := d.conn(ctx, rt.provider.dial)
	switch {
	case err == nil:
		rt.connected.Store(true)
		rt.answer = directBody{ctx: ctx, conn: c}
		return c.exchange(out, &rt.answer)
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	}
	return nil, err
}

// directConn is a connection to a provider.
type directConn struct {
	net.Conn
	home    *direct
	address string
	r       *bufio.Reader
	w       *bufio.Writer
	room    int64 // how many bytes may be read before an answer's header must have ended

	raw       syscall.RawConn
	look      func(fd uintptr) bool // is c.lookAt, made once
	silent    bool                  // what it saw
	abort     func()                // closes the connection; made once
	idleSince time.Time
}

// conn returns a connection to an address: the idle one that was used last, or a
// new one.
func (d *direct) conn(ctx context.Context, address string) (*directConn, error) {
	for c := d.take(address); c != nil; c = d.take(address) {
		if c.isSilent() {
			return c, nil
		}
		c.Close()
	}
	conn, err := d.dial(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	c := &directConn{Conn: conn, home: d, address: address}
	c.r, c.w = bufio.NewReader(c), bufio.NewWriter(conn)
	c.look, c.abort = c.lookAt, func() { conn.Close() }
	if s, ok := conn.(syscall.Conn); ok {
		c.raw, _ = s.SyscallConn()
	}
	return c, nil
}

func (d *direct) take(address string) *directConn {
	d.mu.Lock()
	defer d.mu.Unlock()
	idle := d.idle[address]
	if len(idle) == 0 {
		return nil
	}
	c := idle[len(idle)-1]
	d.idle[address] = idle[:len(idle)-1]
	return c
}

// put keeps a connection for a next call, or closes it.
func (d *direct) put(c *directConn) {
	c.idleSince = time.Now()
	d.mu.Lock()
	keep := !d.closed && c.raw != nil && len(d.idle[c.address]) < d.maxIdle
	if keep {
		if d.idle == nil {
			d.idle = make(map[string][]*directConn)
		}
		d.idle[c.address] = append(d.idle[c.address], c)
		if d.sweep == nil {
			d.sweep = time.AfterFunc(d.idleFor, d.closeIdle)
		}
	}
	d.mu.Unlock()
	if !keep {
		c.Close()
	}
}

// closeIdle closes the connections that have been idle for too long.
func (d *direct) closeIdle() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sweep = nil
	for address, idle := range d.idle {
		old := 0
		for old < len(idle) && (d.closed || time.Since(idle[old].idleSince) >= d.idleFor) {
			idle[old].Close()
			old++
		}
		if idle = slices.Delete(idle, 0, old); len(idle) == 0 {
			delete(d.idle, address)
			continue
		}
		d.idle[address] = idle
		if next := d.idleFor - time.Since(idle[0].idleSince); d.sweep == nil {
			d.sweep = time.AfterFunc(next, d.closeIdle)
		} else {
			d.sweep.Reset(next)
		}
	}
}

// close closes what is idle now, and what else there is when its call has ended.
func (d *direct) close() {
	if d == nil {
		return
	}
	d.mu.Lock()
	d.closed = true
	if d.sweep != nil {
		d.sweep.Stop()
	}
	d.mu.Unlock()
	d.closeIdle()
}

var (
	errHeaderTooLong = errors.New("the header of the provider's answer is too long")
	errNotAsked      = errors.New("the provider switches protocols without having been asked")
	errNoAnswer      = errors.New("the provider sends interim responses and no answer")
)

// Read implements [io.Reader] for the buffer that answers are read from.
func (c *directConn) Read(p []byte) (int, error) {
	if c.room <= 0 {
		return 0, errHeaderTooLong
	}
	n, err := c.Conn.Read(p[:min(int64(len(p)), c.room)])
	c.room -= int64(n)
	return n, err
}

// exchange sends a request and returns the answer, with b as its body. The connection
// is that body's, which gives it back at its end, and closes it when its context ends
// before.
func (c *directConn) exchange(out *http.Request, b *directBody) (*http.Response, error) {
	b.release = context.AfterFunc(b.ctx, c.abort)
	c.room = c.home.maxHeader
	res, err := c.send(out)
	if err != nil {
		return nil, b.end(err)
	}
	c.room = math.MaxInt64
	b.more = !res.Close && !out.Close
	if b.ReadCloser = res.Body; res.Body == http.NoBody {
		_ = b.end(io.EOF)
		return res, nil
	}
	res.Body = b
	return res, nil
}

// whole is a buffer that [http.Request.Write] does not know to be one: it would flush
// the header before the body.
type whole struct{ *bufio.Writer }

// maxInterim is how many interim responses may come before an answer.
const maxInterim = 5

func (c *directConn) send(out *http.Request) (*http.Response, error) {
	if err := out.Write(whole{c.w}); err != nil {
		return nil, err
	}
	if err := c.w.Flush(); err != nil {
		return nil, err
	}
	for range maxInterim + 1 {
		res, err := http.ReadResponse(c.r, out)
		switch {
		case err != nil:
			return nil, err
		case res.StatusCode == http.StatusSwitchingProtocols:
			return nil, errNotAsked
		case res.StatusCode >= 200:
			return res, nil
		}
	}
	return nil, errNoAnswer
}

// directBody is the body of an answer.
type directBody struct {
	io.ReadCloser
	ctx     context.Context
	conn    *directConn
	release func() bool // lets the connection outlive ctx, unless ctx has ended
	more    bool        // another answer may follow on the connection
	over    atomic.Bool
	read    bool // to its end
}

var errBodyClosed = errors.New("read of the provider's answer after it was closed")

func (b *directBody) Read(p []byte) (int, error) {
	switch {
	case b.read:
		return 0, io.EOF
	case b.over.Load():
		return 0, errBodyClosed
	}
	n, err := b.ReadCloser.Read(p)
	b.read = err == io.EOF
	if err != nil {
		err = b.end(err)
	}
	return n, err
}

// Close implements [io.Closer]. A rest of the answer is not waited for.
func (b *directBody) Close() error {
	_ = b.end(errBodyClosed)
	return nil
}

// end gives the connection away after the last that there was to read, and returns
// why it ended: ctx may have closed it.
func (b *directBody) end(err error) error {
	if b.over.Swap(true) {
		return err
	}
	switch released := b.release(); {
	case err == io.EOF && released && b.more && b.conn.r.Buffered() == 0:
		b.conn.home.put(b.conn)
		return io.EOF
	case err != io.EOF && !released:
		err = context.Cause(b.ctx)
	}
	b.conn.Close()
	return err
}
