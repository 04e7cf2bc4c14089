package relayapi

import (
	"cmp"
	"crypto/rand"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/relayapi/caddy-relayapi/internal/ratelimit"
	"github.com/relayapi/caddy-relayapi/tokenstore"
)

var smugglingRuns = flag.Int("smuggling.runs", 1, "how often to try each way in TestConnectionStaysInStep")

// smuggler is a provider that answers before it has read the body.
type smuggler struct {
	*httptest.Server
	stray  atomic.Int64  // requests that came out of another's body
	closed chan struct{} // when the test is over
}

func newSmuggler(t *testing.T, http2 bool) *smuggler {
	t.Helper()
	s := &smuggler{closed: make(chan struct{})}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(s.serve))
	if http2 {
		s.EnableHTTP2 = true
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(func() { close(s.closed); s.CloseClientConnections(); s.Close() })
	return s
}

func (s *smuggler) serve(w http.ResponseWriter, r *http.Request) {
	switch _, way, _ := strings.Cut(r.URL.Path, "/v1/"); way {
	case "smuggled":
		s.stray.Add(1)
	case "413", "429", "401", "200":
		status := http.StatusOK
		_, _ = fmt.Sscan(way, &status)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, `{"error":{"message":"early"}}`)
	case "withheld":
		w.Header().Set("X-Echo", realKey)
	case "breaks":
		w.Header().Set("Content-Length", "100")
		_, _ = io.WriteString(w, "{")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	case "silent":
		select {
		case <-r.Context().Done():
		case <-s.closed:
		}
	case "redirect":
		http.Redirect(w, r, "/v1/elsewhere", http.StatusTemporaryRedirect)
	}
}

// smugglingConfig is a relay with all endpoints and with other handlers before
// it; idle is the server's read_body_idle, or empty.
func smugglingConfig(upstream, idle string) string {
	return simple(upstream,
		inServers(section("timeouts", line("read_body_idle", idle))),
		func(c *testConfig) {
			c.issuers = section("issuer office", "secret {env.RELAYAPI_TEST_SECRET}", "providers demo")
		},
		inSite(
			section("basic_auth /v1/auth", "a $2a$14$Zkx19XLiW6VYouLHR5NmfOFU0z2GTNmpkT/5qqR7hx4IjWJPDhjvG"),
			"respond /v1/respond 403",
			section("request_body /v1/limited", "max_size 100KB")),
		inDirective("token_status /token", "mint /mint"),
		inTransport("tls_insecure_skip_verify", "write_timeout 1s"))
}

// Over HTTP/1.1, whatever ends a request before its body was read to the end,
// the rest of the body is never taken for requests: there is one answer, which
// says that the connection closes, and the connection is closed.
func TestConnectionStaysInStep(t *testing.T) {
	slow(t)
	t.Setenv("RELAYAPI_TEST_SECRET", "a-secret-of-more-than-16-characters")
	for _, idle := range []string{"", "-1s", "5s"} {
		for _, http2 := range []bool{false, true} {
			t.Run(fmt.Sprintf("read_body_idle=%s/http2=%v", idle, http2), func(t *testing.T) {
				up := newSmuggler(t, http2)
				relay := startRelay(t, smugglingConfig(up.URL, idle))
				for _, way := range waysOut(relay) {
					if way.over1 && http2 {
						continue
					}
					t.Run(way.name, func(t *testing.T) {
						for range *smugglingRuns {
							activeApp(t).ledger.guesses = ratelimit.New[netip.Prefix](time.Minute, guessClients)
							if relay.smuggle(t, way); way.once {
								break
							}
						}
						if n := up.stray.Swap(0); n > 0 {
							t.Errorf("the provider received %d stray requests", n)
						}
					})
				}
			})
		}
	}
}

// wayOut is a request that is answered before its body was read.
type wayOut struct {
	name   string
	method string // POST if empty
	target string
	header string // lines
	status int    // 0: any, or none
	length int64  // of the body; 8 MiB if 0
	once   bool   // it takes long
	over1  bool   // only to a provider over HTTP/1.1
	ends   bool   // its token is revoked when a part of the body was sent
}

func waysOut(relay *testRelay) []wayOut {
	auth := func(token string) string { return "Authorization: Bearer " + token + "\r\n" }
	good := auth(relay.mint())
	spent := relay.mint(calls(1))
	relay.do(relay.request(bearer(spent), asking("POST", "/v1/200")))
	bound := auth(relay.mint(models("m")))
	preflight := "Origin: https://a.example\r\nAccess-Control-Request-Method: POST\r\n"
	return []wayOut{
		{name: "early 413", target: "/v1/413", header: good, status: 413},
		{name: "early 429", target: "/v1/429", header: good, status: 429},
		{name: "early 401", target: "/v1/401", header: good, status: 424},
		{name: "early 200", target: "/v1/200", header: good, status: 200},
		{name: "early redirect", target: "/v1/redirect", header: good, status: 307},
		{name: "withheld answer", target: "/v1/withheld", header: good, status: 502},
		{name: "answer that breaks off", target: "/v1/breaks", header: good},
		{name: "provider that does not read", target: "/v1/silent", header: good, over1: true, once: true},
		{name: "no token", target: "/v1/x", status: 401},
		{name: "bad token", target: "/v1/x", header: auth("eyJhIjoxfQ..AAAA.AAAA.AAAA"), status: 401},
		{name: "spent token", target: "/v1/x", header: auth(spent), status: 403},
		{name: "body too long for its model", target: "/v1/x", header: bound, length: maxBody + 128<<20, status: 413},
		{name: "CONNECT-like method", method: "TRACE", target: "/v1/x", header: good, status: 403},
		{name: "ended during the upload", target: "/v1/silent", ends: true},
		{name: "health", target: "/health", status: 405},
		{name: "health by GET", method: "GET", target: "/health", status: 200},
		{name: "jwks", method: "GET", target: "/.well-known/jwks.json", status: 200},
		{name: "token_status", method: "GET", target: "/token", header: good, status: 200},
		{name: "token_status without token", method: "GET", target: "/token", status: 401},
		{name: "mint without secret", target: "/mint", status: 401},
		{name: "mint with too many claims", target: "/mint", header: auth("a-secret-of-more-than-16-characters")},
		{name: "preflight", method: "OPTIONS", target: "/v1/x", header: preflight, status: 204},
		{name: "expecting a word", target: "/v1/413", header: good + "Expect: 100-continue\r\n"},
		{name: "basic_auth before", target: "/v1/auth", header: good, status: 401},
		{name: "respond before", target: "/v1/respond", header: good, status: 403},
		{name: "request_body before", target: "/v1/limited", header: good},
	}
}

// endCall ends the one call of a token.
func (r *testRelay) endCall(id string) {
	ledger := activeApp(r.t.(*testing.T)).ledger
	if !eventually(func() bool {
		return ledger.live.end(endRevoked, func(t *tokenstore.Token) bool { return t.ID == id }) == 1
	}) {
		r.t.Error("there was no call to end")
	}
}

// smuggle sends a request whose body is a row of requests, and checks that it
// gets one answer.
func (r *testRelay) smuggle(t *testing.T, way wayOut) {
	t.Helper()
	conn, err := net.Dial("tcp", "127.0.0.1:"+r.port)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(15 * time.Second))

	head, tokenID := way.header, rand.Text()
	if way.ends {
		head = "Authorization: Bearer " + r.mint(id(tokenID)) + "\r\n"
	}
	method := cmp.Or(way.method, "POST")
	inner := "POST /v1/smuggled HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer " + r.mint() + "\r\nContent-Length: 2\r\n\r\n{}"
	length := cmp.Or(way.length, 8<<20)
	go func() {
		_, _ = fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: 127.0.0.1\r\n%sContent-Length: %d\r\n\r\n%s", method, way.target, head, length, inner)
		if way.ends {
			r.endCall(tokenID)
		}
		row := strings.Repeat(inner, 40)
		for left := length - int64(len(inner)); left > 0; left -= int64(len(row)) {
			if _, err := io.WriteString(conn, row[:min(left, int64(len(row)))]); err != nil {
				return
			}
		}
	}()

	answer, _ := io.ReadAll(conn) // a reset after the answer is an end too
	text := strings.TrimPrefix(string(answer), "HTTP/1.1 100 Continue\r\n\r\n")
	first, _, _ := strings.Cut(text, "\r\n")
	switch {
	case strings.Count(text, "HTTP/1.1 ") > 1:
		t.Fatalf("there are %d answers", strings.Count(text, "HTTP/1.1 "))
	case way.status != 0 && !strings.HasPrefix(first, fmt.Sprintf("HTTP/1.1 %d", way.status)):
		t.Fatalf("got %q, want %d", first, way.status)
	case first != "" && !strings.Contains(text, "\r\nConnection: close\r\n"):
		t.Fatalf("%q does not say that the connection closes: %.600q", first, text)
	}
}
