// Package bodies keeps the bodies of requests in memory, within a budget.
//
// A [Body] is a counted reference to a buffer. Its owner and each [Reader] hold
// one. The buffer is used again for another body when the last of them lets go,
// and not before, so that no reader can see another's body.
package bodies

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
)

var (
	// ErrTooLong means that a body is longer than permitted.
	ErrTooLong = errors.New("the body is longer than a body whose model is read")

	// ErrFull means that there is no memory left for a body.
	ErrFull = errors.New("too many request bodies are buffered, in total or for this token")
)

// Body is a body in memory. Its bytes never change.
type Body struct {
	bytes  []byte
	refs   atomic.Int32
	buffer *bytes.Buffer // that the bytes are in; nil means an array of their own
	share  Share
	took   int64 // counted in share
}

// Of returns a body of bytes that nobody else changes. It has one reference and
// is not counted.
func Of(p []byte) *Body {
	b := &Body{bytes: p}
	b.refs.Store(1)
	return b
}

// With returns a body with other bytes, counted in the same share. It copies them,
// because they may be a part of b's. The new body has one reference.
func (b *Body) With(p []byte) *Body {
	other := Of(bytes.Clone(p))
	other.share, other.took = b.share, int64(len(p))
	other.share.Take(other.took)
	return other
}

// Read reads a body of at most so many bytes, and counts the memory that it takes
// before it takes it. The length is a hint; -1 means unknown. The body has one
// reference.
//
// The error is [ErrTooLong], [ErrFull] or the reader's.
func Read(r io.Reader, length, most int64, share Share) (*Body, error) {
	b := &Body{buffer: newBuffer(length, most), share: share}
	b.refs.Store(1)
	_, err := b.buffer.ReadFrom(&meter{Reader: r, body: b, most: most})
	if err != nil {
		b.Release()
		return nil, err
	}
	b.bytes = b.buffer.Bytes()
	return b, nil
}

// Bytes returns the content. It may be read until the caller's reference is
// released.
func (b *Body) Bytes() []byte { return b.bytes }

// InArray reports whether the content has an array of its own, which is never
// used for another body.
func (b *Body) InArray() bool { return b.buffer == nil }

// Release gives up one reference. With the last one, the buffer is used again.
func (b *Body) Release() {
	switch refs := b.refs.Add(-1); {
	case refs > 0:
		return
	case refs < 0:
		panic("bodies: a reference was released twice")
	}
	b.share.Take(-b.took)
	if b.buffer != nil {
		keepBuffer(b.buffer)
	}
	b.bytes, b.buffer = nil, nil
}

// Reader returns a reader of the whole body. It holds a reference until it is closed.
// After the last reference was released, it is a closed one.
func (b *Body) Reader() *Reader {
	for refs := b.refs.Load(); refs > 0; refs = b.refs.Load() {
		if b.refs.CompareAndSwap(refs, refs+1) {
			return &Reader{body: b}
		}
	}
	return new(Reader)
}

// Reader reads a [Body] from its beginning. Its methods may be called
// concurrently: a transport may read while another goroutine closes.
type Reader struct {
	mu   sync.Mutex
	body *Body // nil once closed
	at   int
}

// Read implements [io.Reader]. It fails with [http.ErrBodyReadAfterClose] once the
// reader is closed.
func (r *Reader) Read(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()

	switch {
	case r.body == nil:
		return 0, http.ErrBodyReadAfterClose
	case r.at == len(r.body.bytes):
		return 0, io.EOF
	}
	n := copy(p, r.body.bytes[r.at:])
	r.at += n
	return n, nil
}

// Close releases the reader's reference. It may be called again.
func (r *Reader) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()

	if r.body != nil {
		r.body.Release()
		r.body = nil
	}
	return nil
}

// meter counts the memory of the buffer that a body is read into.
type meter struct {
	io.Reader
	body *Body
	read int64
	most int64
}

func (m *meter) Read(p []byte) (int, error) {
	// p is all the room that the buffer has left. With what is in it, that is the
	// memory it takes.
	more := m.read + int64(len(p)) - m.body.took
	m.body.took += more
	if !m.body.share.Take(more) {
		return 0, ErrFull
	}

	n, err := m.Reader.Read(p)
	if m.read += int64(n); m.read > m.most {
		return n, ErrTooLong
	}
	return n, err
}

const (
	leastRoom = 64 << 10  // of a new buffer
	mostKept  = 256 << 10 // longer buffers are not used again, so that a short body does not take much more than its length
	mostAhead = 2 << 20   // of a length that is believed before the body has come
)

// buffers holds buffers for long bodies. Without it, clearing and collecting a
// buffer for each body costs more than looking into the body (BenchmarkRead).
var buffers sync.Pool

// newBuffer returns a buffer with room for a body of a length, as far as the length
// is known and believed before the body has come.
func newBuffer(length, most int64) *bytes.Buffer {
	b, ok := buffers.Get().(*bytes.Buffer)
	if !ok {
		b = bytes.NewBuffer(make([]byte, 0, leastRoom))
	}
	b.Reset()
	b.Grow(int(min(max(0, length), most, mostAhead)) + bytes.MinRead) // that much more, or it grows to see the end
	return b
}

// keepBuffer keeps a buffer that has no more references.
func keepBuffer(b *bytes.Buffer) {
	if b.Cap() <= mostKept {
		buffers.Put(b)
	}
}
