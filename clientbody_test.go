package relayapi

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/relayapi/caddy-relayapi/internal/bodies"
	"github.com/relayapi/caddy-relayapi/tokenstore"
)

// watched is a registered call whose client sends its body with r.
func watched(t *testing.T, w http.ResponseWriter, r *http.Request) *call {
	t.Helper()
	var calls live
	done := make(chan struct{})
	c := newCall(w, r)
	c.permit = &permit{token: &tokenstore.Token{ExpiresAt: time.Now().Add(time.Hour)}}
	calls.add(c)
	go calls.watch(done)
	t.Cleanup(func() {
		calls.remove(c)
		close(done)
	})
	return c
}

// trickle is a client that sends a byte of its body at a time, until its
// connection's read deadline is over.
type trickle struct {
	http.ResponseWriter
	body  string
	pause time.Duration

	mu   sync.Mutex
	over bool
}

func (c *trickle) Read(p []byte) (int, error) {
	time.Sleep(c.pause)
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.over:
		return 0, context.DeadlineExceeded
	case c.body == "":
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), 1)], c.body)
	c.body = c.body[n:]
	return n, nil
}

func (c *trickle) SetReadDeadline(until time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over = !until.IsZero() && !until.After(time.Now())
	return nil
}

func zipped(text string) string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write([]byte(text))
	_ = z.Close()
	return b.String()
}

// Every body that is read before its call is counted has a deadline, which counts
// what comes over the wire: neither its length nor its coding extends it.
func TestBody_IsReadInTime(t *testing.T) {
	const text = `{"model":"m"}`
	for name, tc := range map[string]struct {
		body     string
		encoding string
		length   int64
		pause    time.Duration
		late     bool
	}{
		"short":                            {body: text, length: 13, pause: time.Second},
		"short, too slow":                  {body: text, length: 13, pause: 3 * time.Second, late: true},
		"unknown length":                   {body: text, length: -1, pause: time.Second},
		"unknown length, too slow":         {body: text, length: -1, pause: 3 * time.Second, late: true},
		"gzip":                             {body: zipped(text), encoding: "gzip", length: -1, pause: time.Second / 2},
		"gzip whose header trickles":       {body: zipped(text), encoding: "gzip", length: -1, pause: 10 * time.Second, late: true},
		"zstd whose header trickles":       {body: "\x28\xb5\x2f\xfd\x04\x00", encoding: "zstd", length: -1, pause: 10 * time.Second, late: true},
		"one that decodes to much":         {body: zipped(strings.Repeat(" ", 8<<20)), encoding: "gzip", length: -1, pause: time.Second, late: true},
		"short, and nothing comes":         {body: text, length: 13, pause: 31 * time.Second, late: true},
		"longer than short, nothing comes": {body: text, length: smallBody + 1, pause: 31 * time.Second, late: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client := &trickle{ResponseWriter: httptest.NewRecorder(), body: tc.body, pause: tc.pause}
				r := httptest.NewRequest("POST", "/", client)
				r.ContentLength = tc.length
				if tc.encoding != "" {
					r.Header.Set("Content-Encoding", tc.encoding)
				}
				c := watched(t, client, r)
				begun := time.Now()
				refused := c.holdBody(r, newShare())
				if late := refused != nil && refused.rule == bodies.ErrTooSlow.Error(); late != tc.late || !late && refused != nil {
					t.Errorf("refused with %v, want too slow: %v", refused, tc.late)
				}
				if took := time.Since(begun); took > bodies.Patience+tc.pause+watchEvery {
					t.Errorf("it took %v", took)
				}
			})
		})
	}
}

// A client that keeps the pace may take longer than the patience.
func TestBody_MayTakeLongAtPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const chunk = 100 << 10
		reader, writer := io.Pipe()
		client := &trickle{ResponseWriter: httptest.NewRecorder()}
		r := httptest.NewRequest("POST", "/", reader)
		r.ContentLength = 60 * chunk
		c := watched(t, client, r)
		go func() {
			for range 60 {
				time.Sleep(time.Second)
				_, _ = writer.Write(make([]byte, chunk))
			}
			writer.Close()
		}()
		if refused := c.holdBody(r, newShare()); refused != nil || client.over {
			t.Errorf("refused with %v", refused)
		}
		c.releaseBody()
	})
}

// The read of a body ends with its call, at once.
func TestBody_EndsWithItsCall(t *testing.T) {
	for name, length := range map[string]int64{"short": 10, "long": smallBody + 1, "unknown length": -1} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client := &trickle{ResponseWriter: httptest.NewRecorder(), body: strings.Repeat("x", 100), pause: 2 * time.Second}
				r := httptest.NewRequest("POST", "/", client)
				r.ContentLength = length
				c := watched(t, client, r)
				time.AfterFunc(5*time.Second, func() { c.end(endRevoked) })
				begun := time.Now()
				if refused := c.holdBody(r, newShare()); refused != endRevoked {
					t.Errorf("refused with %v, want %v", refused, endRevoked)
				}
				if took := time.Since(begun); took > 6*time.Second {
					t.Errorf("it ended after %v", took)
				}
			})
		})
	}
}

// What came of a body that broke off is not the body, should it be asked for again.
func TestBody_ThatBreaksOffIsNotHeld(t *testing.T) {
	r := httptest.NewRequest("POST", "/", strings.NewReader("abc"))
	r.ContentLength = 10
	c := watched(t, httptest.NewRecorder(), r)
	if refused := c.holdShortBody(r); refused == nil || refused.code != codeInvalidRequest || c.held.body != nil {
		t.Errorf("refused with %v, and held: %t; want %s, and not", refused, c.held.body != nil, codeInvalidRequest)
	}
}
