package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
)

// realKey is what the upstream wants to see, and no client has.
const realKey = "sk-bench-5f0c1e7ab2d94836"

// Paths of the upstream.
const (
	smallPath  = "/v1/small"  // a small JSON answer
	largePath  = "/v1/large"  // an answer of about largeSize
	streamPath = "/v1/stream" // ?events=<n>&every=<duration>: server-sent events
	echoPath   = "/v1/echo"   // a WebSocket
	countsPath = "/counts"    // POST: what was counted, and counts anew
)

const largeSize = 100 << 10

var (
	smallAnswer = []byte(`{"id":"chatcmpl-bench","object":"chat.completion","model":"bench-1","choices":[{"index":0,` +
		`"message":{"role":"assistant","content":"Good morning."},"finish_reason":"stop"}],` +
		`"usage":{"prompt_tokens":9,"completion_tokens":3,"total_tokens":12}}`)
	largeBody = []byte(`{"model":"bench-1","messages":[{"role":"user","content":"` + strings.Repeat("word ", largeSize/5) + `"}]}`)
)

// upstream is the API behind the proxies. It watches over what reaches it.
type upstream struct {
	served, violations atomic.Int64
	broken             atomic.Value // of the last violation, the rule
}

// counts are what the upstream has seen since they were asked for last.
type counts struct {
	Served     int64  `json:"served"`
	Violations int64  `json:"violations"`
	Broken     string `json:"broken,omitempty"`
}

// serveUpstream is the hidden subcommand: it serves on address until the bench
// ends it.
func serveUpstream(address string) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	u := new(upstream)
	mux := http.NewServeMux()
	mux.HandleFunc(smallPath, u.answer(smallAnswer))
	mux.HandleFunc(largePath, u.answer(largeBody))
	mux.HandleFunc(streamPath, u.stream)
	mux.HandleFunc(echoPath, u.echo)
	mux.HandleFunc("POST "+countsPath, u.counts)
	return http.Serve(l, mux)
}

// check counts a request, and refuses one that a relay must not let through:
// without exactly the real key, or with anything that looks like a token.
func (u *upstream) check(w http.ResponseWriter, r *http.Request) bool {
	u.served.Add(1)
	broken := ""
	if got := r.Header["Authorization"]; len(got) != 1 || got[0] != "Bearer "+realKey {
		broken = "a request came without exactly the real key"
	}
	for name, values := range r.Header {
		for _, v := range values {
			if strings.Contains(v, tokenStart) {
				broken = "something that looks like a token came in " + name
			}
		}
	}
	if broken == "" {
		return true
	}
	u.violations.Add(1)
	u.broken.Store(broken)
	http.Error(w, broken, http.StatusUnauthorized)
	return false
}

func (u *upstream) answer(body []byte) http.HandlerFunc {
	length := []string{strconv.Itoa(len(body))}
	return func(w http.ResponseWriter, r *http.Request) {
		_, err := io.Copy(io.Discard, r.Body)
		if !u.check(w, r) || err != nil {
			return
		}
		w.Header()["Content-Type"] = []string{"application/json"}
		w.Header()["Content-Length"] = length
		_, _ = w.Write(body) // a client that is gone is the load generator's business
	}
}

// stream sends events, each with the time of its sending. Without a number of
// events it sends one, and then none until the client goes.
func (u *upstream) stream(w http.ResponseWriter, r *http.Request) {
	_, err := io.Copy(io.Discard, r.Body)
	if !u.check(w, r) || err != nil {
		return
	}
	events, _ := strconv.Atoi(r.FormValue("events"))
	every, _ := time.ParseDuration(r.FormValue("every"))
	w.Header().Set("Content-Type", "text/event-stream")
	flush := http.NewResponseController(w).Flush
	event := make([]byte, 0, 256)
	begin := time.Now()
	for i := range max(events, 1) {
		time.Sleep(time.Until(begin.Add(time.Duration(i) * every)))
		event = append(event[:0], eventPrefix...)
		event = strconv.AppendInt(event, time.Now().UnixNano(), 10)
		event = append(event, `,"choices":[{"index":0,"delta":{"content":" word"},"finish_reason":null}]}`+"\n\n"...)
		if _, err := w.Write(event); err != nil || flush() != nil {
			return
		}
	}
	if events == 0 {
		<-r.Context().Done()
	}
}

// eventPrefix is how every event begins; then comes the time of sending in
// nanoseconds, and a comma.
const eventPrefix = `data: {"object":"chat.completion.chunk","sent":`

func (u *upstream) echo(w http.ResponseWriter, r *http.Request) {
	if !u.check(w, r) {
		return
	}
	conn, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	defer conn.CloseNow()
	for {
		kind, message, err := conn.Read(context.Background())
		if err != nil || conn.Write(context.Background(), kind, message) != nil {
			return
		}
	}
}

func (u *upstream) counts(w http.ResponseWriter, _ *http.Request) {
	c := counts{Served: u.served.Swap(0), Violations: u.violations.Swap(0)}
	c.Broken, _ = u.broken.Load().(string)
	_ = json.NewEncoder(w).Encode(c)
}

// startUpstream starts the upstream as a process of its own, so that its CPU time
// is neither the bench's nor a subject's.
func startUpstream(ctx context.Context, dir string) (*process, string, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, "", err
	}
	address, err := freeAddr()
	if err != nil {
		return nil, "", err
	}
	p, err := start(ctx, "upstream", dir, nil, self, upstreamCommand, address)
	if err != nil {
		return nil, "", err
	}
	err = p.until(func() error { _, err := takeCounts(ctx, address); return err })
	return p, address, err
}

// upstreamCommand is the hidden subcommand that runs the upstream.
const upstreamCommand = "upstream"

// takeCounts asks what the upstream at an address has seen, and fails if that was
// anything it must not see.
func takeCounts(ctx context.Context, address string) (int64, error) {
	req, err := http.NewRequestWithContext(ctx, "POST", "http://"+address+countsPath, nil)
	if err != nil {
		return 0, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	var c counts
	if err := json.NewDecoder(res.Body).Decode(&c); err != nil {
		return 0, err
	}
	if c.Violations > 0 {
		return 0, fmt.Errorf("%d requests broke the rules at the upstream: %w", c.Violations, errors.New(c.Broken))
	}
	return c.Served, nil
}
