package relayapi

import (
	"context"
	"fmt"
	"io"
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
	"github.com/relayapi/caddy-relayapi/internal/bodies"
)

func newShare() bodies.Share {
	return (&bodies.Budget{Most: maxBodies}).ShareOf(new(atomic.Int64))
}

// The memory of a body is the next one's. Whatever becomes of a call, no provider may
// receive a piece of another's body.
func TestHeldBodiesAreNotMixed(t *testing.T) {
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
	relay := startRelay(t, modelConfig(up.URL, quiet))
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
				res, err := relay.client.Do(relay.request(bearer(kind.token), asking("POST", kind.path), text(body), header("X-Mark", mark)).WithContext(ctx))
				if err == nil {
					_, _ = io.Copy(io.Discard, res.Body)
					res.Body.Close()
				}
				abort()
			}
		})
	}
	wg.Wait()
	if !eventually(func() bool { return activeApp(t).ledger.bodies.Used() == 0 }) {
		t.Error("bodies are still held")
	}
}

// Where a model is written into the path, the body goes on as it came: in memory that
// is still its own.
func TestHeldBodyThatIsNotRewrittenIsStillHeld(t *testing.T) {
	for _, body := range []string{"{" + strings.Repeat(" ", smallBody) + "}", "{}"} {
		r := httptest.NewRequest("POST", "/v1beta/models/large:generateContent", strings.NewReader(body))
		r.ContentLength = -1
		rt := watched(t, httptest.NewRecorder(), r)
		if refused := rt.holdBody(r, newShare()); refused != nil {
			t.Fatal(refused)
		}
		held := rt.held.body
		gemini, _ := dialect.Lookup("gemini")
		request := &dialect.Request{Path: r.URL.Path, Body: rt.held.body.Bytes()}
		if err := gemini.Write(request, "small"); err != nil {
			t.Fatal(err)
		}
		rt.rewrite(r, request)
		if rt.held.body != held {
			t.Error("the body was replaced")
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
			if !eventually(func() bool { return activeApp(t).ledger.bodies.Used() == 0 }) {
				t.Error("it is still held")
			}
			close(more)
		})
	}
}
