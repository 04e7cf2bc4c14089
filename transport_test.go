package relayapi

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/relayapi/caddy-relayapi/grant"
	"github.com/relayapi/caddy-relayapi/internal/realkey"
	"github.com/relayapi/caddy-relayapi/tokenstore"
)

// Browsers refuse an answer with two. A site that knows its only page may say so,
// with a header that is set last.
func TestAnswerAllowsOneOrigin(t *testing.T) {
	up := newUpstream(t, nil)
	for directive, want := range map[string]string{
		"": "*",
		"header Access-Control-Allow-Origin https://app.example":  "*",
		"header >Access-Control-Allow-Origin https://app.example": "https://app.example",
	} {
		relay := startRelay(t, simple(up.URL, inSite(directive)))
		for _, token := range []string{relay.mint(), "none"} {
			res, _ := relay.do(relay.request(bearer(token)))
			if got := res.Header.Values("Access-Control-Allow-Origin"); len(got) != 1 || got[0] != want {
				t.Errorf("%s: %d with %v", directive, res.StatusCode, got)
			}
		}
	}
}

func TestRedirectIsPassedOnNotFollowed(t *testing.T) {
	up := newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
	})
	relay := startRelay(t, simple(up.URL))
	res, _ := relay.do(relay.request(bearer(relay.mint())))
	if res.StatusCode != 307 || res.Header.Get("Location") != "/elsewhere" || len(up.requests()) != 1 {
		t.Errorf("got %d %s after %d requests", res.StatusCode, res.Header.Get("Location"), len(up.requests()))
	}
}

func TestKeyInTrailerBreaksTheStream(t *testing.T) {
	relay := startRelay(t, simple(newUpstream(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Trailer", "X-Debug")
		_, _ = io.WriteString(w, "data")
		w.Header().Set("X-Debug", realKey)
	}).URL))
	res, err := relay.client.Do(relay.request(bearer(relay.mint())))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if _, err := io.ReadAll(res.Body); err == nil {
		t.Error("the stream ends well")
	}
	if res.Trailer.Get("X-Debug") != "" {
		t.Error("the trailer passes")
	}
}

func TestProviderRefusesKey(t *testing.T) {
	relay := startRelay(t, simple(newUpstream(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(401)
		_, _ = io.WriteString(w, `{"error":"Incorrect API key provided: `+realKey+`"}`)
	}).URL))
	res, body := relay.do(relay.request(bearer(relay.mint(id("refused")))))
	wantRefusal(t, res, body, "provider_refused_key")
	if leak(body, realKey, realkey.PieceSize) || strings.Contains(body, "RELAYAPI_TEST_KEY") || res.Header.Get("X-Should-Retry") != "false" {
		t.Errorf("got %s %v", body, res.Header)
	}
	if !relay.logged(`"level":"warn"`, "answered 401 to the key of {env.RELAYAPI_TEST_KEY}", "Incorrect API key provided: ***") {
		t.Error("the log does not say which key")
	}
	page, err := activeApp(t).ledger.Tokens(t.Context(), tokenstore.Filter{Limit: 1})
	if err != nil || len(page.Records) != 1 || page.Records[0].Usage.ProviderErrors != 1 {
		t.Errorf("counted as %+v, %v", page, err)
	}
	if said, _ := activeApp(t).ledger.keyRefusals.Get("backend/refused"); !strings.Contains(said.Message, "Incorrect API key provided: ***") {
		t.Errorf("kept is %+v", said)
	}
}

// The provider's interim responses are not passed on: nobody has cleaned them.
func TestInterimResponsesStopHere(t *testing.T) {
	relay := startRelay(t, simple(newUpstream(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Link", "</"+realKey+">; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Del("Link")
		_, _ = io.WriteString(w, "ok")
	}).URL))
	req := relay.request(bearer(relay.mint()))
	req = req.WithContext(httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{
		Got1xxResponse: func(code int, header textproto.MIMEHeader) error {
			t.Errorf("the client gets a %d", code)
			return nil
		},
	}))
	if _, body := relay.do(req); body != "ok" {
		t.Errorf("got %s", body)
	}
}

func noBody(r *http.Request) { r.Body, r.ContentLength = http.NoBody, 0 }

// Requests without a body go out as plain as they came.
func TestBodilessRequest(t *testing.T) {
	up := newUpstream(t, nil)
	relay := startRelay(t, simple(up.URL))
	token := relay.mint()
	for n, method := range []string{"GET", "HEAD", "DELETE", "OPTIONS", "POST"} {
		relay.do(relay.request(bearer(token), asking(method, "/v1/models"), noBody))
		seen := up.requests()
		if len(seen) != n+1 {
			t.Fatalf("%s: the provider has received %d requests, want %d", method, len(seen), n+1)
		}
		if got := seen[n]; len(got.TransferEncoding) != 0 || len(got.body) != 0 || got.Method != method {
			t.Errorf("%s goes out as %s with %v and %d bytes", method, got.Method, got.TransferEncoding, len(got.body))
		}
	}
}

// staleProvider serves one request per connection and then breaks it: right
// away, or when the next request has arrived on it.
func staleProvider(t *testing.T, afterRequest bool) (address string, received func() int) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	arrived := make(chan struct{}, 100)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				r := bufio.NewReader(conn)
				for n := 0; ; n++ {
					req, err := http.ReadRequest(r)
					if err != nil {
						return
					}
					_, _ = io.Copy(io.Discard, req.Body)
					arrived <- struct{}{}
					if n == 1 {
						return // without an answer
					}
					fmt.Fprint(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
					if !afterRequest {
						return
					}
				}
			}()
		}
	}()
	return "http://" + l.Addr().String(), func() int { return len(arrived) }
}

// On a pooled connection that breaks after a request was written, the provider
// may have done the work: the request is not sent again, whatever its method
// and its Idempotency-Key say.
func TestNoReplayOnceWritten(t *testing.T) {
	for _, edits := range [][]func(*http.Request){
		{},
		{header("Idempotency-Key", "k")},
		{asking("GET", "/v1/models"), noBody},
		{asking("GET", "/v1/models")},
		{asking("PUT", "/v1/x"), header("X-Idempotency-Key", "k")},
	} {
		address, received := staleProvider(t, true)
		relay := startRelay(t, simple(address))
		token := relay.mint(calls(10))
		req := func() *http.Request { return relay.request(append(edits, bearer(token))...) }
		if res, body := relay.do(req()); res.StatusCode != 200 {
			t.Fatalf("got %d %s", res.StatusCode, body)
		}
		res, body := relay.do(req())
		wantRefusal(t, res, body, "provider_unreachable")
		if n := received(); n != 2 {
			t.Errorf("the provider received %d requests for 2 calls", n)
		}
	}
}

// On a pooled connection that the provider has closed, nothing was written and
// another connection is made.
func TestStaleConnectionIsReplaced(t *testing.T) {
	address, received := staleProvider(t, false)
	relay := startRelay(t, simple(address))
	token := relay.mint(calls(10))
	for i := range 5 {
		if res, body := relay.do(relay.request(bearer(token))); res.StatusCode != 200 {
			t.Fatalf("call %d: got %d %s", i, res.StatusCode, body)
		}
		// Until the relay has seen the provider's FIN, the connection is not stale.
		time.Sleep(20 * time.Millisecond)
	}
	if n := received(); n != 5 {
		t.Errorf("the provider received %d requests for 5 calls", n)
	}
}

// A provider over TLS gets its own name in SNI and Host, also when several
// stand behind one relay.
func TestSeveralProvidersOverTLS(t *testing.T) {
	seen := make(chan string, 10)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		seen <- fmt.Sprint(r.TLS.ServerName, " ", r.Host, " ", r.Proto, " ", r.Header.Get("Authorization") == "Bearer "+realKey)
	}))
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	_, port, _ := net.SplitHostPort(server.Listener.Addr().String())
	relay := startRelay(t, simple("https://localhost:"+port, inTransport("tls_insecure_skip_verify"), func(c *testConfig) {
		c.grants = "demo second"
		c.providers = section("provider second https://ip6-localhost:"+port,
			"credential header Authorization Bearer", "api_key {env.RELAYAPI_TEST_KEY}")
	}))
	relay.do(relay.request(bearer(relay.mint())))
	if got, want := <-seen, "localhost localhost:"+port+" HTTP/2.0 true"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	res, body := relay.do(relay.request(bearer(relay.mint(func(c *grant.Claims) { c.Provider = "second" }))))
	select {
	case got := <-seen:
		if want := "ip6-localhost ip6-localhost:" + port + " HTTP/2.0 true"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	default:
		// Not every machine knows the second name; then nothing else may be dialled.
		wantRefusal(t, res, body, "provider_unreachable")
	}
}

// Credentials in the query go there, and a client's own is cut.
func TestQueryCredential(t *testing.T) {
	up := newUpstream(t, nil)
	relay := startRelay(t, simple(up.URL, func(c *testConfig) { c.place = "query key" }))
	token := relay.mint()
	relay.do(relay.request(asking("POST", "/v1/x?alt=sse&key=mine&%6bey="+token)))
	got := up.one(t)
	if want := "/v1/x?alt=sse&key=" + url.QueryEscape(realKey); got.RequestURI != want {
		t.Errorf("the provider received another query than %s", strings.ReplaceAll(want, url.QueryEscape(realKey), "…"))
	}
	if got.Header.Get("Authorization") != "" || leak(got.raw, token, 16) {
		t.Error("the provider received more than the key")
	}
}

// A reverse_proxy with our transport but without our handler has no key to give.
func TestTransportWithoutHandlerGoesNowhere(t *testing.T) {
	up := newUpstream(t, nil)
	relay := newTestRelay(t)
	config, err := adapt(relay.fill(simple(up.URL)))
	if err != nil {
		t.Fatal(err)
	}
	bare := replaceOnce(t, string(config), `{"handler":"relayapi"},`, "")
	if err := relay.run([]byte(bare)); err != nil {
		t.Fatal(err)
	}
	if res, body := relay.do(relay.request(bearer(relay.mint()))); res.StatusCode/100 != 5 || len(up.requests()) != 0 {
		t.Errorf("got %d %s", res.StatusCode, body)
	}
	if _, err := new(Transport).RoundTrip(relay.request()); !errors.Is(err, errNoCall) {
		t.Errorf("RoundTrip fails with %v", err)
	}
}

// A JSON config can ask reverse_proxy to retry; a call goes out once even so.
func TestNoSecondRoundTrip(t *testing.T) {
	c := &call{Context: context.Background(), target: target{key: realkey.None}}
	c.outcome.connected.Store(true)
	req := httptest.NewRequest("GET", "/", nil)
	if _, err := new(Transport).RoundTrip(req.WithContext(c)); err == nil {
		t.Error("the request is sent again")
	}
}

// header_up cannot bring a second credential back.
func TestOneCredentialDespiteHeaderUp(t *testing.T) {
	up := newUpstream(t, nil)
	relay := startRelay(t, simple(up.URL, quiet, inDirective(
		"header_up x-api-key another",
		"header_up Authorization another",
		"header_up X-Forwarded-For 1.2.3.4",
		"header_up X-Team blue")))
	token := relay.mint()
	relay.do(relay.request(bearer(token)))
	got := up.one(t)
	checkCredential(t, got, token)
	if strings.Contains(got.raw, "another") || got.Header.Get("X-Forwarded-For") != "" || got.Header.Get("X-Team") != "blue" {
		t.Errorf("the provider received %s", strings.ReplaceAll(got.raw, realKey, "…"))
	}
}

func TestSlowProviderTimesOut(t *testing.T) {
	release := make(chan struct{})
	up := newUpstream(t, func(http.ResponseWriter, *http.Request) { <-release })
	t.Cleanup(func() { close(release) }) // before the server's own, which waits for the handler
	relay := startRelay(t, simple(up.URL, quiet, inTransport("response_header_timeout 50ms")))
	res, body := relay.do(relay.request(bearer(relay.mint())))
	wantRefusal(t, res, body, "provider_timeout")
}

// Whoever follows a link with a token gets no page of the relay's origin, whatever the
// provider answers with.
func TestAnswerToALinkIsSandboxed(t *testing.T) {
	up := newUpstream(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Security-Policy", "img-src *")
		fmt.Fprint(w, "<script>alert(origin)</script>")
	})
	relay := startRelay(t, simple(up.URL))
	token := relay.mint()
	for name, tc := range map[string]struct {
		put    func(*http.Request)
		status int
		policy []string
	}{
		"in the query":    {asking("GET", "/v1/models?key="+token), 200, []string{"sandbox"}},
		"that is refused": {asking("GET", "/v1/models?key="+token[:len(token)-4]+"AAAA"), 401, []string{"sandbox"}},
		"in a header":     {bearer(token), 200, nil},
	} {
		res, body := relay.do(relay.request(tc.put))
		if policy := res.Header.Values("Content-Security-Policy"); res.StatusCode != tc.status || !slices.Equal(policy, tc.policy) {
			t.Errorf("%s: got %d %q with policy %q", name, res.StatusCode, body, policy)
		}
		for header, value := range map[string]string{"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"} {
			if set := res.Header.Get(header) == value; set == (name == "in a header") {
				t.Errorf("%s: %s is set: %v", name, header, set)
			}
		}
	}
}
