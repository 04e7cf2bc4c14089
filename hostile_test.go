package relayapi

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"github.com/relayapi/caddy-relayapi/grant"
	"github.com/relayapi/caddy-relayapi/internal/realkey"
)

// send writes a request as it is and returns the answer and its body.
func (r *testRelay) send(raw string) (*http.Response, string) {
	r.t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(r.URL, "http://"))
	if err != nil {
		r.t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, raw); err != nil {
		r.t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		r.t.Fatal(err)
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(res.Body)
	r.canary.answered(res, body)
	return res, string(body)
}

// What is sent is what the policy has seen, whatever form the target has and
// whatever a handler before the relay makes of it.
func TestTargetWithoutPath(t *testing.T) {
	up := newUpstream(t, nil)
	relay := startRelay(t, simple(up.URL, inSite("rewrite * /v1/chat/completions")))
	token := relay.mint()
	for _, target := range []string{"http:v1/files", "http:v1/files?x=1"} {
		res, body := relay.send(fmt.Sprintf("POST %s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
			target, strings.TrimPrefix(relay.URL, "http://"), token))
		if res.StatusCode/100 != 4 || len(up.requests()) != 0 {
			t.Errorf("%s: %d %s", target, res.StatusCode, body)
		}
	}
}

// A JSON config can make reverse_proxy rewrite what was permitted.
func TestRewriteAfterPolicyGoesNowhere(t *testing.T) {
	up := newUpstream(t, nil)
	for _, rewrite := range []string{`{"uri":"/v1/files"}`, `{"method":"DELETE"}`, `{"strip_path_prefix":"/v1"}`} {
		relay := newTestRelay(t)
		config, err := adapt(relay.fill(simple(up.URL)))
		if err != nil {
			t.Fatal(err)
		}
		rewriting := replaceOnce(t, string(config), `"handler":"reverse_proxy"`, `"handler":"reverse_proxy","rewrite":`+rewrite)
		if err := relay.run([]byte(rewriting)); err != nil {
			t.Fatal(err)
		}
		if res, body := relay.do(relay.request(bearer(relay.mint()))); res.StatusCode != 502 || len(up.requests()) != 0 {
			t.Errorf("%s: %d %s", rewrite, res.StatusCode, body)
		}
	}
}

// Whoever is on the way can send early data again, and every time it would be
// a call.
func TestEarlyDataIsNotACall(t *testing.T) {
	relay := startRelay(t, simple(newUpstream(t, nil).URL))
	h := &Handler{app: activeApp(t), carriers: new(App).carriers(), logger: nopLogger(), access: nopLogger()}
	token := relay.mint(calls(1))
	r := newServerRequest(t)
	r.Header.Set("Authorization", "Bearer "+token)
	r.TLS = &tls.ConnectionState{HandshakeComplete: false}
	rec := newRecorder()
	if err := h.ServeHTTP(rec, r, nil); err != nil {
		t.Fatal(err)
	}
	wantRefusal(t, rec.Result(), rec.Body.String(), codeTooEarly)
	if res, body := relay.do(relay.request(bearer(token))); res.StatusCode != 200 {
		t.Errorf("the call was charged: %s", body)
	}
}

func activeApp(t *testing.T) *App {
	t.Helper()
	app, err := caddy.ActiveContext().App("relayapi")
	if err != nil {
		t.Fatal(err)
	}
	return app.(*App)
}

// Only a WebSocket switches protocols: what follows another upgrade are
// requests that nobody has looked at.
func TestOtherUpgradesDoNotHappen(t *testing.T) {
	up := newUpstream(t, nil)
	relay := startRelay(t, simple(up.URL))
	token := relay.mint()
	for name, edits := range map[string][]func(*http.Request){
		"h2c":               {asking("GET", "/v1/x"), header("Upgrade", "h2c")},
		"websocket by POST": {header("Upgrade", "websocket")},
	} {
		before := len(up.requests())
		relay.do(relay.request(append(edits, bearer(token), header("Connection", "Upgrade"))...))
		seen := up.requests()
		if len(seen) != before+1 || seen[before].Header.Get("Upgrade") != "" || seen[before].Header.Get("Connection") != "" {
			t.Errorf("%s: the provider received %d requests, the last with Upgrade %q", name, len(seen)-before, seen[len(seen)-1].Header.Get("Upgrade"))
		}
	}
}

// A token that was put nearly where it belongs is refused, and is in no log
// either: that is when an operator looks at logs, and shows them around.
func TestMisplacedTokenIsNotLogged(t *testing.T) {
	relay := startRelay(t, simple(newUpstream(t, nil).URL))
	token := relay.mint()
	for name, edits := range map[string][]func(*http.Request){
		"query with a line break":    {asking("POST", "/v1/x?key="+token+"%0A")},
		"query in quotes":            {asking("POST", "/v1/x?token=%22"+token+"%22")},
		"another parameter":          {asking("POST", "/v1/x?access_token="+token)},
		"an escaped parameter":       {asking("POST", "/v1/x?access_token=%65%79%4A"+token[3:])},
		"another provider's header":  {header("Xi-Api-Key", token)},
		"named by Connection":        {header("X-Api-Token", token), header("Connection", "X-Api-Token")},
		"cut off":                    {header("X-Api-Token", token[:200])},
		"in the path":                {header("X-Api-Token", token), asking("POST", "/v1/"+token+"/x")},
		"in the path, and no token":  {asking("POST", "/v1/"+token+"/x")},
		"in a header of a user's":    {header("X-My-Token", "token="+token)},
		"two tokens in one carrier":  {header("X-Api-Token", token), header("X-Api-Token", relay.mint())},
		"a key instead of the token": {header("X-Api-Key", "sk-ant-0123456789abcdef")},
	} {
		t.Run(name, func(t *testing.T) {
			res, body := relay.do(relay.request(edits...))
			if res.StatusCode/100 != 4 || leak(body, token, 16) {
				t.Errorf("got %d %s", res.StatusCode, body)
			}
		})
	}
	if !eventually(func() bool { return strings.Count(relay.log(), `"handled request"`) == 12 }) {
		t.Errorf("%d lines for 12 requests", strings.Count(relay.log(), `"handled request"`))
	}
	if log := relay.log(); leak(log, token, 16) || strings.Contains(log, "sk-ant-") {
		t.Error("the log shows a token or a key")
	}
}

// With a prefix, the provider's name is what the client writes.
func TestProviderSegmentIsNotQuoted(t *testing.T) {
	relay := startRelay(t, simple(newUpstream(t, nil).URL, inDirective("prefix /api")))
	token := relay.mint()
	for _, path := range []string{"/api/" + token + "/v1/x", "/api/" + token[:64] + "/v1/x"} {
		res, body := relay.do(relay.request(header("X-Api-Token", token), asking("POST", path)))
		if res.StatusCode/100 != 4 || leak(body, token, 16) {
			t.Errorf("got %d %s", res.StatusCode, body)
		}
	}
	if leak(relay.log(), token, 16) {
		t.Error("the log shows a piece of the token")
	}
}

// What cannot be parsed of an answer is quoted by the standard library, in an
// error that reverse_proxy logs.
func TestKeyInBrokenAnswer(t *testing.T) {
	for name, tc := range map[string]struct {
		answer, logged string
		status         int // unless the connection breaks before it
	}{
		"header":  {"HTTP/1.1 200 OK\r\nX-Echo " + realKey + "\r\n\r\n", "malformed MIME header", 502},
		"trailer": {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Echo " + realKey + "\r\n\r\n", "malformed MIME header", 200},
		"chunk":   {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + realKey + "\r\n", "invalid byte in chunk length", 200},
	} {
		t.Run(name, func(t *testing.T) {
			up := newBareProvider(t, func(conn net.Conn, _ *http.Request, _ string) bool {
				_, _ = io.WriteString(conn, tc.answer)
				return false
			})
			relay := startRelay(t, simple(up.URL))
			if res, err := relay.client.Do(relay.request(bearer(relay.mint()))); err == nil {
				body, err := io.ReadAll(res.Body)
				res.Body.Close()
				if res.StatusCode != tc.status || res.StatusCode == 200 && err == nil || leak(string(body)+fmt.Sprint(err), realKey, realkey.PieceSize) {
					t.Errorf("got %d %s, %v", res.StatusCode, body, err)
				}
			}
			if !relay.logged(tc.logged) || leak(relay.log(), realKey, realkey.PieceSize) {
				t.Error("the log shows a piece of the key, or nothing of the error")
			}
		})
	}
}

// A switch of protocols that nobody asked for, or to another one, is no answer.
func TestUnaskedSwitchOfProtocols(t *testing.T) {
	up := newBareProvider(t, func(conn net.Conn, r *http.Request, _ string) bool {
		to := "websocket"
		if r.Header.Get("Upgrade") == to {
			to = "h2c"
		}
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: "+to+"\r\n\r\n")
		return false
	})
	relay := startRelay(t, simple(up.URL))
	for name, edits := range map[string][]func(*http.Request){
		"short body": nil,
		"long body":  {withBody(strings.NewReader(strings.Repeat("x", 64<<10)), 64<<10)}, // streams
		"h2c":        {header("Connection", "Upgrade"), header("Upgrade", "h2c")},
		"WebSocket": {asking("GET", "/v1/x"), withBody(http.NoBody, 0), header("Connection", "Upgrade"), header("Upgrade", "websocket"),
			header("Sec-WebSocket-Version", "13"), header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")},
	} {
		t.Run(name, func(t *testing.T) {
			res, body := relay.do(relay.request(append(edits, bearer(relay.mint()))...))
			wantRefusal(t, res, body, codeProviderUnreachable)
		})
	}
}

// A client that breaks off is not the provider's fault.
func TestClientThatBreaksOff(t *testing.T) {
	up := newUpstream(t, nil)
	relay := startRelay(t, simple(up.URL, inSite(section("request_body", "max_size 20"))))
	token := relay.mint()
	req := relay.request(bearer(token))
	req.Body, req.ContentLength = io.NopCloser(strings.NewReader(strings.Repeat("x", 100))), -1
	res, body := relay.do(req)
	wantRefusal(t, res, body, codeTooLarge)

	conn, err := net.Dial("tcp", strings.TrimPrefix(relay.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(conn, "POST /v1/x HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer %s\r\nContent-Length: 10\r\n\r\n12", token)
	_ = conn.(*net.TCPConn).CloseWrite()
	defer conn.Close()
	if !relay.logged(`"refused"`, codeInvalidRequest, "cut short") {
		t.Error("nothing in the log says that the client sent an incomplete body")
	}
}

// A store that admits nothing makes a relay that is not healthy.
func TestHealthFollowsTheStore(t *testing.T) {
	relay := startRelay(t, simple(newUpstream(t, nil).URL))
	if err := activeApp(t).ledger.Close(); err != nil {
		t.Fatal(err)
	}
	if res, body := relay.do(relay.request(asking("GET", "/health"))); res.StatusCode != 503 || !strings.Contains(body, "store unavailable") {
		t.Errorf("got %d %s", res.StatusCode, body)
	}
	res, body := relay.do(relay.request(bearer(relay.mint(calls(1)))))
	wantRefusal(t, res, body, codeStoreUnavailable)
}

// Nor does one whose store is away; it is healthy again when the store is back.
func TestHealthWhileTheStoreIsAway(t *testing.T) {
	relay := startRelay(t, simple(newUpstream(t, nil).URL))
	health := func() int {
		res, _ := relay.do(relay.request(asking("GET", "/health")))
		return res.StatusCode
	}
	path := filepath.Join(relay.dir, "relayapi.db")
	if err := os.Rename(path, path+".away"); err != nil {
		t.Fatal(err)
	}
	res, body := relay.do(relay.request(bearer(relay.mint(calls(1)))))
	wantRefusal(t, res, body, codeStoreUnavailable)
	if status := health(); status != 503 || !relay.logged(`"level":"error"`, codeStoreUnavailable, "the store is gone") {
		t.Errorf("health is %d, or no error in the log says why", status)
	}
	if err := os.Rename(path+".away", path); err != nil {
		t.Fatal(err)
	}
	if !eventually(func() bool { return health() == 200 }) {
		t.Error("health does not come back with the store")
	}
}

// A page of any origin can call the relay; the token decides what it may do.
func TestPreflight(t *testing.T) {
	up := newUpstream(t, nil)
	relay := startRelay(t, simple(up.URL))
	res, _ := relay.do(relay.request(asking("OPTIONS", "/v1/chat/completions"), header("Origin", "https://app.example"),
		header("Access-Control-Request-Method", "POST"), header("Access-Control-Request-Headers", "authorization,x-stainless-os")))
	if res.StatusCode != 204 || res.Header.Get("Access-Control-Allow-Origin") != "*" ||
		res.Header.Get("Access-Control-Allow-Headers") != "authorization,x-stainless-os" ||
		!strings.Contains(res.Header.Get("Access-Control-Allow-Methods"), "POST") || len(up.requests()) != 0 {
		t.Errorf("got %d %v", res.StatusCode, res.Header)
	}
	res, body := relay.do(relay.request(asking("OPTIONS", "/v1/chat/completions"), header("Origin", "https://app.example")))
	wantRefusal(t, res, body, string(grant.Invalid)) // an OPTIONS that is no preflight
}

// Two spellings of one store are one store, and placeholders are replaced.
func TestStorePath(t *testing.T) {
	up := newUpstream(t, nil)
	relay := newTestRelay(t)
	t.Setenv("TEST_DIR", relay.dir)
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(relay.dir, link); err != nil {
		t.Fatal(err)
	}
	relay.load(simple(up.URL))
	token := relay.mint(calls(1))
	relay.do(relay.request(bearer(token)))
	for _, path := range []string{link + "/relayapi.db", "{env.TEST_DIR}/relayapi.db"} {
		relay.load(simple(up.URL, func(c *testConfig) { c.store = path }))
		res, body := relay.do(relay.request(bearer(token)))
		wantRefusal(t, res, body, codeCallsExhausted)
	}
}

// HTTP/2 carries a space in the query; on the line of an HTTP/1 request it ends the
// query for some servers.
func TestSpaceInQueryIsRefused(t *testing.T) {
	up := newUpstream(t, nil)
	relay := startTLS(t, simple(up.URL, overTLS("h1 h2")))
	req := relay.request(bearer(relay.mint()))
	req.URL.RawQuery = "a=1 HTTP/1.1&b=2"
	res, body := relay.do(req)
	if wantRefusal(t, res, body, codeInvalidRequest); res.ProtoMajor != 2 || len(up.requests()) > 0 {
		t.Errorf("over %s, %d requests reached the provider", res.Proto, len(up.requests()))
	}
}

// What follows a CONNECT is not framed, and would be requests of the client's own on
// a connection that has the key; an answer to TRACE quotes the key.
func TestConnectAndTraceAreNotPassedOn(t *testing.T) {
	up := newBareProvider(t, func(net.Conn, *http.Request, string) bool { return false })
	relay := startTLS(t, simple(up.URL, overTLS("h1 h2 h3")))
	token := relay.mint()
	overQUIC := &http3.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	overQUIC.Dial = func(ctx context.Context, _ string, config *tls.Config, quicConfig *quic.Config) (*quic.Conn, error) {
		return quic.DialAddrEarly(ctx, "127.0.0.1:"+relay.port, config, quicConfig)
	}
	defer overQUIC.Close()
	smuggled := "POST /v1/x HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"
	for name, tc := range map[string]struct {
		method, protocol string
		over             http.RoundTripper
	}{
		"CONNECT over HTTP/2":          {http.MethodConnect, "", relay.client.Transport},
		"TRACE over HTTP/2":            {http.MethodTrace, "", relay.client.Transport},
		"CONNECT over HTTP/3":          {http.MethodConnect, "", overQUIC},
		"TRACE over HTTP/3":            {http.MethodTrace, "", overQUIC},
		"extended CONNECT over HTTP/3": {http.MethodConnect, "connect-udp", overQUIC},
	} {
		t.Run(name, func(t *testing.T) {
			req := relay.request(asking(tc.method, "/v1/x"), bearer(token), withBody(http.NoBody, 0))
			if tc.method == http.MethodConnect {
				withBody(strings.NewReader(smuggled), -1)(req)
			}
			req.Proto = tc.protocol
			res, err := tc.over.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			body, err := io.ReadAll(res.Body)
			if err != nil {
				t.Fatal(err)
			}
			if tc.protocol != "" || tc.method == http.MethodTrace {
				wantRefusal(t, res, string(body), string(grant.NoMethod))
			} else if res.StatusCode/100 != 4 { // it has no path
				t.Errorf("got %d %s", res.StatusCode, body)
			}
		})
	}
	if got := up.conns.Load(); got != 0 {
		t.Errorf("%d connections came to the provider", got)
	}
}
