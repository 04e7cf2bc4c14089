package metering

import (
	"io"
	"time"

	"github.com/relayapi/caddy-relayapi/dialect"
)

// Linger is how long the relay reads the rest of an answer for its usage after the
// client has left.
const Linger = 10 * time.Second

// Reader is the body of an answer whose usage is read.
type Reader struct {
	// Lingers reports whether Close reads the rest of an unfinished body for its usage.
	// nil means that it does not.
	Lingers func() bool

	// Named is called once with the model, when the answer names it. It may be nil.
	Named func(model string)

	body       io.ReadCloser
	meter      *dialect.Meter
	withholder *dialect.Withholder // nil means that nothing is withheld

	begun bool   // a byte was read
	whole bool   // the body was read to its end
	raw   []byte // as read, before withholding
	rest  []byte // to be passed on
}

// NewReader returns a reader of a body. Usage that only the relay asked for is withheld
// from the client.
func NewReader(body io.ReadCloser, meter *dialect.Meter, withheld bool) *Reader {
	r := &Reader{body: body, meter: meter}
	if withheld {
		r.withholder = new(dialect.Withholder)
		r.raw = make([]byte, 32<<10)
	}
	return r
}

// Reading returns the usage that was read so far.
func (r *Reader) Reading() dialect.Reading { return r.meter.Reading() }

// Begun reports whether the body has any bytes.
func (r *Reader) Begun() bool { return r.begun }

// Read implements [io.Reader].
func (r *Reader) Read(p []byte) (n int, err error) {
	if r.withholder == nil {
		return r.read(p)
	}
	for len(r.rest) == 0 && err == nil {
		n, err = r.read(r.raw)
		if r.rest = r.withholder.Filter(r.rest[:0], r.raw[:n]); err != nil {
			r.rest = r.withholder.Rest(r.rest)
		}
	}
	n = copy(p, r.rest)
	if r.rest = r.rest[n:]; len(r.rest) > 0 {
		err = nil // the next Read returns it again
	}
	return n, err
}

func (r *Reader) read(p []byte) (int, error) {
	n, err := r.body.Read(p)
	_, _ = r.meter.Write(p[:n]) // it never fails
	if r.Named != nil && r.meter.Model() != "" {
		r.Named(r.meter.Model())
		r.Named = nil
	}
	r.begun = r.begun || n > 0
	if err == io.EOF && !r.whole {
		r.whole = true
		r.meter.End()
	}
	return n, err
}

// Close reads the rest of the answer if the client left before its end, and closes it.
func (r *Reader) Close() error {
	if r.Lingers != nil && !r.whole && r.Lingers() {
		overdue := time.AfterFunc(Linger, func() { r.body.Close() })
		defer overdue.Stop()
		scrap := make([]byte, 4<<10)
		for err := error(nil); err == nil && !r.meter.Reading().Done; {
			_, err = r.read(scrap)
		}
	}
	return r.body.Close()
}
