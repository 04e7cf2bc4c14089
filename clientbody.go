package relayapi

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// clientBody is the body of a client's request. It counts what is read, and
// knows whether the body was read to its end: over HTTP/1, what is left of a
// body would be taken for the next request on its connection.
type clientBody struct {
	io.ReadCloser
	rt     *route
	length int64 // -1 means unknown
	read   atomic.Int64
	ended  atomic.Bool // read to its end
	broke  atomic.Bool // the client did not deliver it

	mu      sync.Mutex // held while it is read
	stopped bool
}

// bodiless reports whether a request that a server received has no body. The
// body itself does not tell: Caddy wraps the empty one too.
func bodiless(r *http.Request) bool { return r.Body == nil || r.ContentLength == 0 }

// watchBody replaces the request's body by a [clientBody]. Until that
// has been read to its end, every answer over HTTP/1 closes the connection.
//
// net/http would do so itself. It goes by the type of the body, however, which
// Caddy replaces with one that has an idle timeout.
func (rt *route) watchBody(w http.ResponseWriter, r *http.Request) {
	rt.writer = w
	if bodiless(r) {
		return
	}
	rt.client = clientBody{ReadCloser: r.Body, rt: rt, length: r.ContentLength}
	r.Body = &rt.client
	if r.ProtoMajor == 1 {
		rt.closes = true
		w.Header().Set("Connection", "close")
	}
}

func (b *clientBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.stopped {
		return 0, http.ErrBodyReadAfterClose
	}
	n, err := b.ReadCloser.Read(p)
	read := b.read.Add(int64(n))
	b.rt.bytesIn.Add(int64(n))

	switch {
	case err == io.EOF || b.length >= 0 && read >= b.length:
		b.ended.Store(true)
	case err != nil:
		b.broke.Store(true)
	}
	return n, err
}

// drainTime is how long the rest of a short body may take that nobody will read.
const drainTime = time.Second

// drain reads what is left of a short body, so that its connection can be kept.
func (rt *route) drain(r *http.Request) {
	if !rt.closes || r.ContentLength > smallBody || r.ContentLength < 0 || r.Header.Get("Expect") != "" {
		return
	}
	overdue := time.AfterFunc(drainTime, func() { _ = rt.client.interrupt() })
	_, _ = io.CopyN(io.Discard, &rt.client, smallBody) // what is left over closes the connection
	if !overdue.Stop() {
		rt.client.ended.Store(false) // its deadline would end what comes next
	}
}

// stop ends the reading of the body when its handler is done: the transport may
// still read it, and the server uses it again.
func (b *clientBody) stop() {
	if b.rt == nil || b.rt.socket || b.ended.Load() || b.interrupt() != nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.stopped = true
}

// keepConnection lets the connection serve another request if the body was read
// to its end, and otherwise makes sure that it does not. It comes right before
// the header of an answer is written.
func (rt *route) keepConnection() {
	switch {
	case !rt.closes:
	case rt.client.ended.Load():
		delete(rt.writer.Header(), "Connection")
		rt.closes = false
	default:
		closeAfter(rt.writer)
	}
}

// closeAfter makes the server close an HTTP/1 connection after the answer. The
// server then closes its own side first and waits for a moment: with a body on
// its way, the client would lose the answer to a reset of the connection.
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

// closeUnlessRead is for handlers that read no body: it closes the connection
// of a request that has one.
func closeUnlessRead(w http.ResponseWriter, r *http.Request) {
	if r.ProtoMajor == 1 && !bodiless(r) {
		closeAfter(w)
	}
}

// How long a client may take to send a body that is read before its call is
// counted. Bodies that never end must not fill the memory for all of them, and
// a call that is counted must not wait for its body.
const (
	bodyPatience = 30 * time.Second
	bodyPace     = 64 << 10 // bytes per second, after that
)

var errBodyTooSlow = errors.New("the request's body came too slowly: it may take 30 seconds, and one more for each 64 KiB")

// inTime runs read, which reads the body, and ends it when the client takes too
// long or the call ends.
func (b *clientBody) inTime(read func() error) error {
	watch := patience{body: b, begun: time.Now()}
	watch.timer = time.AfterFunc(bodyPatience, watch.check)
	done := context.AfterFunc(b.rt, func() { _ = b.interrupt() })

	err := read()

	switch inTime, underWay := watch.timer.Stop(), done(); {
	case !underWay:
		return context.Cause(b.rt)
	case !inTime && watch.over.Load():
		return errBodyTooSlow
	}
	return err
}

// patience watches how fast a body comes.
type patience struct {
	body  *clientBody
	begun time.Time
	timer *time.Timer
	over  atomic.Bool
}

// check ends the reading of a body that took longer than it may, counting what
// has come of it by now.
func (p *patience) check() {
	allowed := bodyPatience + time.Duration(p.body.read.Load()/bodyPace)*time.Second
	if left := allowed - time.Since(p.begun); left > 0 {
		p.timer.Reset(left)
		return
	}
	p.over.Store(true)
	_ = p.body.interrupt()
}

// interrupt ends every read of the body. It only ever moves the deadline into
// the past, so that no shorter one of the operator's is extended.
// Where no deadline can be set, the server's timeouts hold.
func (b *clientBody) interrupt() error {
	return http.NewResponseController(b.rt.writer).SetReadDeadline(time.Unix(1, 0))
}
