package bodies

import (
	"bytes"
	"io"
)

// Outgoing returns a reader of a body in memory. The standard library sends a body with
// the header in one write if it knows by the reader's type that it is in memory. That is
// so for bodies of at most some bytes.
func (b *Body) Outgoing(most int) io.ReadCloser {
	if b.InArray() && len(b.Bytes()) <= most {
		return io.NopCloser(bytes.NewReader(b.Bytes()))
	}
	return b.Reader()
}

// Empty is a body without content that the standard library does not know to be empty.
type Empty struct{}

func (Empty) Read([]byte) (int, error) { return 0, io.EOF }

// Close implements [io.Closer].
func (Empty) Close() error { return nil }
