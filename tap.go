package relayapi

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
)

// tapped returns the answer's body as it is passed on: counted, ended in words where
// it is ended from here, and with trailers cleaned at its end.
func (rt *route) tapped(ctx context.Context, res *http.Response) io.ReadCloser {
	t := &rt.tap
	t.ctx, t.body, t.rt, t.trailer = ctx, res.Body, rt, &res.Trailer
	if conn := newTapConn(t, res); conn != nil {
		return conn
	}
	kind, _, _ := strings.Cut(res.Header.Get("Content-Type"), ";")
	t.events = kind == "text/event-stream" && res.Header.Get("Content-Encoding") == "" && res.ContentLength < 0
	return t
}

type tap struct {
	ctx     context.Context
	body    io.ReadCloser
	rt      *route
	trailer *http.Header // complete when body is at its end

	events bool    // it is a stream of events
	tail   [4]byte // the last bytes of it
	last   []byte  // what is left of an event of our own
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
	t.rt.bytesOut.Add(int64(n))
	if t.events {
		t.note(p[:n])
		if f := ended(t.ctx); f != nil && err != nil && err != io.EOF && t.betweenEvents() {
			t.last = f.event(t.rt.provider.dialect.Name())
			return n, nil
		}
	}
	if err != nil && err != io.EOF && t.rt.secret.PieceIn(err.Error()) {
		err = &maskedError{err, t.rt.secret} // the standard library quotes a trailer that it cannot parse
	}
	if err == io.EOF && cleanHeader(*t.trailer, t.rt.secret) != "" {
		*t.trailer = nil
		err = errTrailer // too late for a status; the stream breaks
	}
	return n, err
}

// note remembers how the stream ends so far.
func (t *tap) note(p []byte) {
	p = p[max(0, len(p)-len(t.tail)):]
	copy(t.tail[:], t.tail[len(p):])
	copy(t.tail[len(t.tail)-len(p):], p)
}

// betweenEvents reports whether an event of our own can come next
// (https://html.spec.whatwg.org/multipage/server-sent-events.html).
func (t *tap) betweenEvents() bool {
	end := string(t.tail[:])
	return end == "\r\n\r\n" || strings.HasSuffix(end, "\n\n") || strings.HasSuffix(end, "\r\r") || t.tail == [4]byte{}
}

func (t *tap) Close() error { return t.body.Close() }
