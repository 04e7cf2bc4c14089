package bodies

import (
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Client is the body of a client's request. It counts what is read, and knows
// whether the body was read to its end. Over HTTP/1, the rest of a body would be
// taken for the next request on its connection.
type Client struct {
	io.ReadCloser
	writer http.ResponseWriter // to the client; nil means that there is no body
	count  *atomic.Int64       // of the bytes that are read
	length int64               // -1 means unknown
	closes bool                // the answer says that the connection will be closed
	read   atomic.Int64
	ended  atomic.Bool // read to its end
	broke  atomic.Bool // the client did not deliver it

	awaited atomic.Int32 // whether it is, see [Client.InTime]
	since   time.Time    // when the wait began

	mu      sync.Mutex // held while the body is read
	stopped bool

	ending sync.Mutex // held while the deadline is moved
	over   bool       // the handler is done, and the connection may be another request's
}

// None reports whether a request that a server received has no body. The body
// itself does not tell, because Caddy wraps the empty one too.
func None(r *http.Request) bool { return r.Body == nil || r.ContentLength == 0 }

// Watch replaces the body of a request, and counts what is read of it. Until it is read
// to its end, every answer over HTTP/1 closes the connection.
//
// The standard library would do so by itself. It goes by the type of the body,
// however, which Caddy replaces by one with an idle timeout.
func (b *Client) Watch(w http.ResponseWriter, r *http.Request, count *atomic.Int64) {
	if None(r) {
		return
	}
	b.ReadCloser, b.writer, b.count, b.length = r.Body, w, count, r.ContentLength
	r.Body = b
	if r.ProtoMajor == 1 {
		b.closes = true
		w.Header().Set("Connection", "close")
	}
}

// Read implements [io.Reader].
func (b *Client) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.stopped {
		return 0, http.ErrBodyReadAfterClose
	}

	n, err := b.ReadCloser.Read(p)
	read := b.read.Add(int64(n))
	b.count.Add(int64(n))
	switch {
	case err == io.EOF || b.length >= 0 && read >= b.length:
		b.ended.Store(true)
	case err != nil:
		b.broke.Store(true)
	}
	return n, err
}

// Stop ends the reading of the body when its handler is done. The transport may
// still read it, and the server uses it again.
func (b *Client) Stop() {
	if b.writer == nil {
		return
	}
	interrupted := !b.ended.Load() && b.Interrupt() == nil
	b.ending.Lock()
	b.over = true
	b.ending.Unlock()
	if !interrupted {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.stopped = true
}

// Interrupt ends every read of the body, unless it was read to its end or stopped. It only moves
// the deadline into the past, so it never extends a shorter one of the operator's.
// Where no deadline can be set, the server's timeouts hold.
func (b *Client) Interrupt() error {
	b.ending.Lock()
	defer b.ending.Unlock()
	if b.writer == nil || b.ended.Load() || b.over {
		return nil
	}
	return http.NewResponseController(b.writer).SetReadDeadline(time.Unix(1, 0))
}

// drainTime is how long the rest of a short body may take that nobody will read.
const drainTime = time.Second

// Drain reads the rest of a body of at most some bytes, so that its connection can be
// kept.
func (b *Client) Drain(r *http.Request, most int64) {
	if !b.closes || r.ContentLength > most || r.ContentLength < 0 || r.Header.Get("Expect") != "" {
		return
	}
	overdue := time.AfterFunc(drainTime, func() { _ = b.Interrupt() })
	_, _ = io.CopyN(io.Discard, b, most) // what is left over closes the connection
	if !overdue.Stop() {
		b.ended.Store(false) // the deadline would end the next request
	}
}

// KeepConnection lets the connection serve another request if the body was read to
// its end. Otherwise it makes sure that the connection is closed. It must be called
// right before the header of an answer is written.
func (b *Client) KeepConnection() {
	switch {
	case !b.closes:
	case b.ended.Load():
		delete(b.writer.Header(), "Connection")
		b.closes = false
	default:
		closeAfter(b.writer)
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

// Untouched reports whether nothing of the body was read.
func (b *Client) Untouched() bool { return b.read.Load() == 0 }

// Broke reports whether the client did not deliver the body.
func (b *Client) Broke() bool { return b.broke.Load() }
