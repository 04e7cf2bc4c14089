package relayapi

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/relayapi/caddy-relayapi/dialect"
	"github.com/relayapi/caddy-relayapi/grant"
)

func newShare() share { return share{new(atomic.Int64), new(atomic.Int64)} }

// The memory of a body is the next one's. Whatever becomes of a call, no provider may
// receive a piece of another's body.
func TestHeldBodiesAreNotMixed(t *testing.T) {
	t.Setenv("RELAYAPI_TEST_KEY", realKey)
	const clients, each = 8, 40
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch rand.IntN(4) {
		case 0: // answers before it reads
			_ = http.NewResponseController(w).EnableFullDuplex()
			w.WriteHeader(200)
			flush(t, w)
		case 1: // answers and does not read
			fmt.Fprint(w, "ok")
			return
		case 2: // breaks off
			_, _ = io.CopyN(io.Discard, r.Body, 1<<15)
			panic(http.ErrAbortHandler)
		}
		body, err := io.ReadAll(r.Body)
		mark := r.Header.Get("X-Mark")
		_, rest, _ := strings.Cut(string(body), `"x":"`)
		rest = strings.ReplaceAll(rest, mark, "")
		if rest != `"}` && (err == nil || len(rest) > len(mark)+2) {
			t.Errorf("call %s brings %d bytes that are not its own", mark, len(rest))
		}
		fmt.Fprint(w, "ok")
	}))
	t.Cleanup(up.Close)
	relay := startRelay(t, replaceOnce(t, modelConfig(up.URL), "\t\tlog\n", ""))
	set := func(c *grant.Claims) { c.Set = &grant.Set{Model: "small"} }
	kinds := []struct {
		token, path, start string
	}{
		{relay.mintAs("backend", forProvider("openai"), models("small")), "/v1/chat/completions", `{"model":"small",`},
		{relay.mintAs("backend", forProvider("openai"), set), "/v1/chat/completions", `{"model":"large",`},
		{relay.mintAs("backend", forProvider("gemini"), set), "/v1beta/models/large:generateContent", `{`},
		{relay.mintAs("backend", forProvider("deepgram"), set), "/v1/read?model=large", `{`},
	}
	var wg sync.WaitGroup
	for client := range clients {
		wg.Go(func() {
			for n := range each {
				kind := kinds[n%len(kinds)]
				mark := fmt.Sprintf("<%d-%d>", client, n)
				body := kind.start + `"x":"` + strings.Repeat(mark, smallBody/2+rand.IntN(smallBody)) + `"}`
				ctx, abort := context.WithCancel(t.Context())
				if rand.IntN(4) == 0 {
					time.AfterFunc(time.Duration(rand.IntN(2000))*time.Microsecond, abort)
				}
				res, err := relay.client.Do(relay.request(bearer(kind.token), target("POST", kind.path), text(body), header("X-Mark", mark)).WithContext(ctx))
				if err == nil {
					_, _ = io.Copy(io.Discard, res.Body)
					res.Body.Close()
				}
				abort()
			}
		})
	}
	wg.Wait()
	if !eventually(func() bool { return activeApp(t).ledger.bodies.Load() == 0 }) {
		t.Error("bodies are still held")
	}
}

// Where a model is written into the path, the body goes on as it came: in memory that
// is still its own.
func TestHeldBodyThatIsNotRewrittenIsStillHeld(t *testing.T) {
	for _, body := range []string{"{" + strings.Repeat(" ", smallBody) + "}", "{}"} {
		r := httptest.NewRequest("POST", "/v1beta/models/large:generateContent", strings.NewReader(body))
		r.ContentLength = -1
		rt := watched(httptest.NewRecorder(), r)
		if refused := rt.holdBody(r, newShare()); refused != nil {
			t.Fatal(refused)
		}
		buffer := rt.body.buffer
		gemini, _ := dialect.Lookup("gemini")
		request := &dialect.Request{Path: r.URL.Path, Body: rt.body.bytes}
		if err := gemini.Write(request, "small"); err != nil {
			t.Fatal(err)
		}
		rewrite(r, request, rt)
		if buffer == nil || rt.body.buffer != buffer {
			t.Error("its memory was given away")
		}
		if got, err := io.ReadAll(r.Body); string(got) != body || err != nil || r.URL.Path != "/v1beta/models/small:generateContent" {
			t.Errorf("%s %q, %v", r.URL.Path, got, err)
		}
	}
}

// While an answer comes, nobody wants its question any more.
func TestHeldBodyIsLetGoWhenItsAnswerComes(t *testing.T) {
	for name, length := range map[string]int{"short": 100, "long": 1 << 20} {
		t.Run(name, func(t *testing.T) {
			more := make(chan struct{})
			up := newUpstream(t, func(w http.ResponseWriter, _ *http.Request) {
				flush(t, w)
				<-more
			})
			relay := startRelay(t, modelConfig(up.URL))
			token := relay.mintAs("backend", forProvider("openai"), models("small"))
			relay.open(relay.request(bearer(token), text(`{"model":"small","x":"`+strings.Repeat("x", length)+`"}`)))
			if !eventually(func() bool { return activeApp(t).ledger.bodies.Load() == 0 }) {
				t.Error("it is still held")
			}
			close(more)
		})
	}
}

// The standard library's transport may still read when its round trip is over, and
// must not when the call is: the memory is another body's then.
func TestHeldBodyIsReadUntilItIsGivenBack(t *testing.T) {
	r := httptest.NewRequest("POST", "/", strings.NewReader(strings.Repeat("x", smallBody+1)))
	rt, share := watched(httptest.NewRecorder(), r), newShare()
	if refused := rt.holdBody(r, share); refused != nil {
		t.Fatal(refused)
	}
	retried, late := rt.body.lend(), rt.body.lend()
	for range 2 {
		retried.Close()
		r.Body.Close()
	}
	rt.body.answer()
	if n, err := io.ReadFull(late, make([]byte, 10)); n != 10 || err != nil || share.all.Load() == 0 {
		t.Errorf("before it is closed %d bytes are read, %v", n, err)
	}
	rt.body.letGo()
	if n, err := late.Read(make([]byte, 10)); n != 0 || err != http.ErrBodyReadAfterClose || share.all.Load() != 0 {
		t.Errorf("after its call %d bytes are read, %v", n, err)
	}
	late.Close()
	if n := share.all.Load(); n != 0 {
		t.Errorf("%d bytes are held", n)
	}
}

// One token's bodies leave room for those of others, however many there are.
func TestShareLeavesRoomForOthers(t *testing.T) {
	all := new(atomic.Int64)
	greedy := share{all, new(atomic.Int64)}
	for greedy.take(1 << 20) {
	}
	if n := greedy.own.Load(); n < maxBodies/2 || n > maxBodies/2+1<<20 {
		t.Errorf("one token takes %d bytes", n)
	}
	others := share{all, new(atomic.Int64)}
	if !others.take(maxBody) {
		t.Error("another has no room")
	}
	if greedy.take(1) {
		t.Error("who has too much gets more")
	}
	if greedy.take(-maxBodies / 2); !greedy.take(1) {
		t.Error("who has let go gets none")
	}
}

// What counts is the memory that a body takes, and not how much has come.
func TestUnfinishedBodyCountsWithItsBuffer(t *testing.T) {
	reader, writer := io.Pipe()
	r := httptest.NewRequest("POST", "/", reader)
	r.ContentLength = maxBody
	rt, share := watched(httptest.NewRecorder(), r), newShare()
	done := make(chan *refusal)
	go func() { done <- rt.holdBody(r, share) }()
	_, _ = writer.Write([]byte("{")) // it returns when that is read
	if n := share.own.Load(); n < leastRoom<<(len(buffers)-1) {
		t.Errorf("%d bytes are counted", n)
	}
	writer.CloseWithError(io.ErrUnexpectedEOF)
	<-done
	rt.body.letGo()
	if n := share.own.Load() + share.all.Load(); n != 0 {
		t.Errorf("%d bytes are still counted", n)
	}
}

// What is said of a body's length gets it a buffer that it fits in, and not more than
// is kept for another.
func TestBufferFollowsTheLength(t *testing.T) {
	for _, tt := range []struct {
		length int64
		room   int
	}{
		{-1, 64 << 10}, {0, 64 << 10}, {64<<10 - bytes.MinRead, 64 << 10}, {64 << 10, 128 << 10}, {100 << 10, 128 << 10},
		{1 << 20, 2 << 20}, {maxBody, 2 << 20}, {math.MaxInt64, 2 << 20},
	} {
		b := newBuffer(tt.length)
		room := b.Cap() // one that was used before may have grown
		if room < tt.room || room >= 2*tt.room || b.Len() != 0 {
			t.Errorf("%d: room for %d, want %d", tt.length, room, tt.room)
		}
		if _, err := b.ReadFrom(io.LimitReader(zeros{}, min(tt.length, 2<<20-bytes.MinRead))); err != nil || b.Cap() != room {
			t.Errorf("%d: it grew to %d, %v", tt.length, b.Cap(), err)
		}
		keepBuffer(b)
	}
}
