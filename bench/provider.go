package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"time"

	"github.com/coder/websocket"
)

const (
	providerCommand = "provider"                  // the hidden subcommand that runs the provider
	realKey         = "sk-bench-5f0c1e7ab2d94836" // what the provider wants, and no caller of a Caddy has
)

// The protocols to the provider: TLS and HTTP/2, TLS and HTTP/1.1, and http.
const overH2, overH1, overPlain = "h2", "h1", "plain"

var protocols = []string{overH2, overH1, overPlain}

// Paths of the provider.
const (
	smallPath  = "/v1/small"
	largePath  = "/v1/large"
	streamPath = "/v1/stream" // ?events=<n>&every=<duration>; without events: one, and no more
	echoPath   = "/v1/echo"   // a WebSocket
)

// Events begin with eventStart and the time of sending in nanoseconds.
const eventStart, eventEnd = `data: {"sent":`, `,"choices":[{"index":0,"delta":{"content":" word"},"finish_reason":null}]}` + "\n\n"

// bodies and answers are by path.
var (
	smallBody = `{"model":"bench-1","messages":[{"role":"user","content":"Good morning!"}]}`
	largeBody = `{"model":"bench-1","messages":[{"role":"user","content":"` + strings.Repeat("word ", 100<<10/5) + `"}]}`
	bodies    = map[string]string{smallPath: smallBody, largePath: largeBody, streamPath: smallBody}
	answers   = map[string]string{largePath: largeBody, smallPath: `{"model":"bench-1","choices":[{"message":{"role":"assistant","content":"Good morning."}}]}`}
)

// serveProvider prints a URL for each protocol, and serves until the bench ends it.
func serveProvider() {
	mux := http.NewServeMux()
	mux.HandleFunc("/", answer)
	mux.HandleFunc(streamPath, stream)
	mux.HandleFunc(echoPath, echo)

	for _, protocol := range protocols {
		server := httptest.NewUnstartedServer(onlyWithKey(protocol, mux))
		server.EnableHTTP2 = protocol == overH2
		if protocol == overPlain {
			server.Start()
		} else {
			server.StartTLS()
		}
		fmt.Println(server.URL)
	}
	select {}
}

// onlyWithKey refuses requests without exactly the real key, or over another
// protocol than expected.
func onlyWithKey(protocol string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got := r.Header["Authorization"]
		if len(got) != 1 || got[0] != "Bearer "+realKey || (r.ProtoMajor == 2) != (protocol == overH2) {
			http.Error(w, "the provider wants exactly the real key, over "+protocol, http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func answer(w http.ResponseWriter, r *http.Request) {
	body := answers[r.URL.Path]
	if _, err := io.Copy(io.Discard, r.Body); err == nil {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		_, _ = io.WriteString(w, body) // the caller checks what it got
	}
}

// stream sends events, each with the time of its sending.
func stream(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	events, _ := strconv.Atoi(r.URL.Query().Get("events"))
	every, _ := time.ParseDuration(r.URL.Query().Get("every"))
	w.Header().Set("Content-Type", "text/event-stream")

	begin := time.Now()
	for i := range max(events, 1) {
		time.Sleep(time.Until(begin.Add(time.Duration(i) * every)))
		if _, err := fmt.Fprint(w, eventStart, time.Now().UnixNano(), eventEnd); err != nil {
			return
		}
		w.(http.Flusher).Flush()
	}
	if events == 0 {
		<-r.Context().Done()
	}
}

func echo(w http.ResponseWriter, r *http.Request) {
	conn, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	defer conn.CloseNow()
	for {
		kind, message, err := conn.Read(r.Context())
		if err != nil || conn.Write(r.Context(), kind, message) != nil {
			return
		}
	}
}
