package relayapi

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// maxBody is how long a body may be that is looked into for its model. It has to be in
// memory: the name may be the last thing in it.
const maxBody = 32 << 20

var errBodyTooLong = errors.New("the body is longer than a body whose model is read")

// heldBody is a request's body in memory. The memory of a long one is another's
// when nobody can want it any more: when the call is over, or before, when its
// answer has come and the transport has given it back. It is read by copy and under
// a lock, because the standard library's transport may read when its round trip is over.
type heldBody struct {
	mu       sync.Mutex
	bytes    []byte        // nil: none is held, or no more
	buffer   *bytes.Buffer // that they stand in; nil: they have an array of their own
	took     int64         // the memory of all; 0: it is not counted
	share    share         // in which that is counted
	answered bool
	lent     int32 // to how many readers that have not been closed
}

// giveBack lets go of the memory. The lock is held.
func (b *heldBody) giveBack() {
	b.bytes = nil
	b.giveBuffer()
	if b.took > 0 {
		b.share.take(-b.took)
		b.took = 0
	}
}

func (b *heldBody) giveBuffer() {
	if b.buffer != nil {
		keepBuffer(b.buffer)
		b.buffer = nil
	}
}

// letGo lets go of the body when the call is over.
func (b *heldBody) letGo() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.giveBack()
}

// answer notes that the answer has come: the body is not sent again.
func (b *heldBody) answer() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.answered = true; b.lent == 0 {
		b.giveBack()
	}
}

// lend returns what reads the body from its beginning, for the standard library's
// transport. It sends a body with its header in one write if it knows it to be in
// memory, and that must be the body's own then.
func (b *heldBody) lend() io.ReadCloser {
	if b.buffer == nil && len(b.bytes) <= smallBody {
		return io.NopCloser(bytes.NewReader(b.bytes))
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lent++
	return &lentBody{bodyReader: bodyReader{b, 0}}
}

// bodyReader reads a body that is held.
type bodyReader struct {
	*heldBody
	at int
}

func (r *bodyReader) Read(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.bytes == nil:
		return 0, http.ErrBodyReadAfterClose
	case r.at == len(r.bytes):
		return 0, io.EOF
	}
	n := copy(p, r.bytes[r.at:])
	r.at += n
	return n, nil
}

func (*bodyReader) Close() error { return nil }

// lentBody is a reader that counts until it is closed.
type lentBody struct {
	bodyReader
	closed bool
}

func (l *lentBody) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	l.closed = true
	if l.lent--; l.lent == 0 && l.answered {
		l.giveBack()
	}
	return nil
}

// replaceBody changes the body to what was made of it. Where nothing was, it is held
// as before: its memory must not be another's yet.
func (rt *route) replaceBody(r *http.Request, body []byte) {
	if len(body) == len(rt.body.bytes) && (len(body) == 0 || &body[0] == &rt.body.bytes[0]) {
		return
	}
	rt.body.bytes = body
	rt.body.giveBuffer()
	rt.setBody(r)
}

func (rt *route) setBody(r *http.Request) {
	length := len(rt.body.bytes)
	if _, ok := r.Header["Content-Length"]; ok && r.ContentLength != int64(length) {
		r.Header["Content-Length"] = []string{strconv.Itoa(length)}
	}
	rt.memory = bodyReader{&rt.body, 0}
	r.Body, r.ContentLength, r.TransferEncoding = &rt.memory, int64(length), nil
}

// zstdWindow is what decoders are given: what encoders use at their usual levels,
// and no more, because a few bytes are enough to claim all of it.
const zstdWindow = 2 << 20

// bodyMeter counts the memory of a buffer that a body is read into, before it is
// taken.
type bodyMeter struct {
	io.Reader
	body *heldBody
	read int64
}

func (m *bodyMeter) Read(p []byte) (int, error) {
	// p is all that the buffer has room for: with what is in it, that is what it takes.
	more := m.read + int64(len(p)) - m.body.took
	m.body.took += more
	if !m.body.share.take(more) {
		return 0, errBodiesFull
	}

	n, err := m.Reader.Read(p)
	if m.read += int64(n); m.read > maxBody {
		return n, errBodyTooLong
	}
	return n, err
}

// holdBody reads the whole body of a request into its route. One that was
// encoded goes on as it was read: what a second decoder made of it might be
// something else.
func (rt *route) holdBody(r *http.Request, share share) *refusal {
	if strings.EqualFold(r.Header.Get("Content-Encoding"), "zstd") {
		defer share.take(-zstdWindow)
		if !share.take(zstdWindow) {
			return refuse(codeBusy, errBodiesFull.Error())
		}
	}

	encodings := r.Header["Content-Encoding"]
	if short(r) && len(encodings) == 0 {
		// Not counted: it takes hardly more memory than its connection does, and is
		// served when others have taken all that there is.
		return rt.holdShortBody(r)
	}
	rt.body.share = share
	err := rt.client.inTime(func() error { return rt.readMetered(r, encodings) })
	return rt.held(r, err)
}

// holdShortBody reads a short body into its route as it is.
func (rt *route) holdShortBody(r *http.Request) *refusal {
	err := rt.client.inTime(func() error { return rt.readShort(r) })
	return rt.held(r, err)
}

// held makes what was read the body of the request.
func (rt *route) held(r *http.Request, err error) *refusal {
	rt.bytesIn.Store(0) // it is counted when it goes out
	if err != nil || rt.client.broke.Load() {
		return rt.notHeld(err)
	}
	rt.setBody(r)
	return nil
}

// notHeld turns an error of reading a body into a refusal.
func (rt *route) notHeld(err error) *refusal {
	var refused *refusal
	switch {
	case errors.As(err, &refused):
		return refused
	case errors.Is(err, errBodyTooSlow):
		return refuse(codeInvalidRequest, err.Error())
	case errors.Is(err, errBodyTooLong), statusOf(err, http.StatusRequestEntityTooLarge):
		return refuse(codeTooLarge, errBodyTooLong.Error())
	case errors.Is(err, errBodiesFull):
		return refuse(codeBusy, errBodiesFull.Error())
	case rt.client.broke.Load():
		return refuse(codeInvalidRequest, "the request's body broke off")
	}
	return refuse(codeInvalidRequest, "the request's body does not decode")
}

// short reports whether a request has a body that is short, and as long as it says.
func short(r *http.Request) bool {
	return !bodiless(r) && 0 < r.ContentLength && r.ContentLength <= smallBody
}

// readShort reads a short body.
func (rt *route) readShort(r *http.Request) error {
	body := make([]byte, r.ContentLength)
	if _, err := io.ReadFull(r.Body, body); err != nil {
		return err
	}
	rt.body.bytes = body
	// With the last byte, the server has begun to watch the connection in a goroutine
	// of its own. That has its turn here: to wake a thread that takes it takes longer.
	runtime.Gosched()
	return nil
}

// readMetered reads a body that is long, or that may become so, and undoes its
// content coding.
func (rt *route) readMetered(r *http.Request, encodings []string) error {
	plain, err := decoded(r.Body, encodings)
	if err != nil {
		return err
	}
	defer plain.Close() // whatever there was to say was said when it was read

	b := newBuffer(r.ContentLength)
	_, err = b.ReadFrom(&bodyMeter{Reader: plain, body: &rt.body})
	rt.body.buffer, rt.body.bytes = b, b.Bytes()
	delete(r.Header, "Content-Encoding")
	return err
}

// decoded undoes a content coding.
func decoded(body io.Reader, encodings []string) (io.ReadCloser, error) {
	switch encoding := strings.ToLower(strings.Join(encodings, ",")); encoding {
	case "", "identity":
		return io.NopCloser(body), nil
	case "gzip":
		return gzip.NewReader(body)
	case "zstd":
		zipped, err := zstd.NewReader(body, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(zstdWindow))
		if err != nil {
			return nil, err
		}
		return zipped.IOReadCloser(), nil
	}
	return nil, refuse(codeInvalidRequest, "the body is encoded otherwise than as gzip or zstd, and its model is to be read")
}
