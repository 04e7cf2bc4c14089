package relayapi

import (
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/relayapi/caddy-relayapi/grant"
	"github.com/relayapi/caddy-relayapi/internal/redact"
)

// pageHeaders are what a browser adds to a page's request.
var pageHeaders = []string{"Origin", "Referer", "Sec-Fetch-Site", "Sec-Fetch-Mode", "Sec-Ch-Ua-Platform", "Access-Control-Request-Headers"}

func fromPage(r *http.Request) {
	for _, name := range pageHeaders {
		r.Header.Set(name, "https://app.example")
	}
}

func TestPageIsNotShownToProvider(t *testing.T) {
	up := newUpstream(t, nil)
	relay := startRelay(t, simple(up.URL))
	token := relay.mint()
	for name, edits := range map[string][]func(*http.Request){
		"POST":        {fromPage},
		"a stream":    {fromPage, header("Accept", "text/event-stream")},
		"GET":         {fromPage, asking("GET", "/v1/models")},
		"a WebSocket": {fromPage, asking("GET", "/v1/realtime"), webSocket},
		"OPTIONS":     {fromPage, asking("OPTIONS", "/v1/x")},
	} {
		t.Run(name, func(t *testing.T) {
			before := len(up.requests())
			res, body := relay.do(relay.request(append(edits, bearer(token))...))
			seen := up.requests()
			if len(seen) != before+1 {
				t.Fatalf("got %d %s, and the provider %d requests", res.StatusCode, body, len(seen)-before)
			}
			for _, header := range pageHeaders {
				if value := seen[before].Header.Get(header); value != "" {
					t.Errorf("the provider received %s: %s", header, value)
				}
			}
		})
	}
}

// webSocket makes a request the handshake of one.
func webSocket(r *http.Request) {
	header("Connection", "Upgrade")(r)
	header("Upgrade", "websocket")(r)
	header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")(r)
	header("Sec-WebSocket-Version", "13")(r)
	r.Body, r.ContentLength = http.NoBody, 0
}

// newToken mints a token that no relay knows.
func newToken(t testing.TB) string {
	t.Helper()
	r := &testRelay{t: t, relayKey: newKey(t), issuerKey: newKey(t)}
	return r.mint()
}

// incoming makes a request as a server has read it.
func incoming(t testing.TB, edits ...func(*http.Request)) *http.Request {
	t.Helper()
	r := httptest.NewRequest("POST", "/v1/x", nil)
	for _, edit := range edits {
		edit(r)
	}
	return r
}

// uri sets the target of a request that a server has read.
func uri(target string) func(*http.Request) {
	return func(r *http.Request) {
		u, err := url.ParseRequestURI(target)
		if err != nil {
			panic(err)
		}
		r.URL, r.RequestURI = u, target
	}
}

func basic(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

// TestTokensAreNotLogged sends tokens where nobody looks for them to every endpoint,
// with logs at DEBUG, and searches logs, answers and what the provider received.
func TestTokensAreNotLogged(t *testing.T) {
	up := newUpstream(t, nil)
	relay := startStatus(t, up)
	token, other := relay.mint(), newToken(t)
	model := relay.mint(func(c *grant.Claims) { c.Allow = &grant.Allow{Models: []string{"m"}} })
	naming := func(model string) func(*http.Request) {
		return func(r *http.Request) { withBody(strings.NewReader(`{"model":"`+model+`"}`), int64(len(model)+12))(r) }
	}
	requests := map[string][]func(*http.Request){
		"health, query":    {asking("GET", "/health?key="+token)},
		"health, header":   {asking("GET", "/health"), header("X-Other", token)},
		"jwks, header":     {asking("GET", "/.well-known/jwks.json"), header("X-Api-Token", token)},
		"jwks, POST":       {asking("POST", "/.well-known/jwks.json?token="+token)},
		"status, header":   {asking("GET", "/status"), header("X-Other", token), bearer(token)},
		"unknown header":   {bearer(token), header("X-Other", other)},
		"unknown query":    {bearer(token), asking("POST", "/v1/x?a=1&other="+other)},
		"escaped":          {bearer(token), asking("POST", "/v1/x?other=%2565yJ"+other[3:])},
		"referer":          {bearer(token), header("Referer", "https://app.example/?t="+token)},
		"origin":           {bearer(relay.mint(allowing(grant.Allow{Origins: []string{"https://a.example"}}))), header("Origin", token)},
		"path":             {bearer(token), asking("POST", "/v1/"+other)},
		"half in the path": {bearer(token), asking("POST", "/v1/"+token[200:240])},
		"model":            {bearer(model), naming(other)},
		"piece of a model": {bearer(model), naming(model[300:330])},
		"escaped model":    {bearer(model), naming(`\u0065yJ` + other[3:])},
		"method":           {bearer(token), func(r *http.Request) { r.Method = other[:30] }}, // Caddy itself refuses, and logs, longer ones
		"piece as method":  {bearer(token), func(r *http.Request) { r.Method = token[300:330] }},
		"two tokens":       {bearer(token), header("X-Api-Key", other)},
		"in quotes":        {bearer(`"` + token + `"`)},
		"Basic":            {header("Authorization", basic("api", token)), header("X-Basic", basic(other, ""))},
	}
	var answers strings.Builder
	for _, edits := range requests {
		res, body := relay.do(relay.request(edits...))
		_ = res.Header.Write(&answers)
		answers.WriteString(body)
	}
	host := strings.TrimPrefix(relay.URL, "http://")
	for _, line := range []string{"http://u:" + token + "@" + host + "/v1/x", "http://" + other + "@" + host + "/health"} {
		_, body := relay.send("GET " + line + " HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\n\r\n")
		answers.WriteString(body)
	}

	if !relay.logged("upstream roundtrip") || !eventually(func() bool { return strings.Count(relay.log(), `"handled request"`) >= len(requests) }) {
		t.Fatal("the log has too few lines to tell")
	}
	var received strings.Builder
	for _, got := range up.requests() {
		received.WriteString(got.raw)
	}
	for where, text := range map[string]string{"log": relay.log(), "answers": answers.String(), "requests": received.String()} {
		for i, secret := range []string{token, other, model, strings.TrimPrefix(basic(other, ""), "Basic ")} {
			if leak(text, secret, redact.PieceSize) {
				t.Errorf("a piece of token %d is in the %s", i, where)
			}
		}
	}
}

// TestBasicCredentialGoesOut has a provider that reads its key in HTTP Basic.
func TestBasicCredentialGoesOut(t *testing.T) {
	t.Setenv("TEST_ACCOUNT", "AC0123")
	for place, want := range map[string]string{
		"basic":                    basic(realKey, ""),
		"basic api":                basic("api", realKey),
		"basic {env.TEST_ACCOUNT}": basic("AC0123", realKey),
	} {
		t.Run(strings.Map(func(r rune) rune {
			if strings.ContainsRune("{}", r) { // a directory has the name, and a Caddyfile the directory
				return -1
			}
			return r
		}, place), func(t *testing.T) {
			up := newUpstream(t, nil)
			relay := startRelay(t, simple(up.URL, func(c *testConfig) { c.place = place }))
			for name, put := range map[string]func(token string) func(*http.Request){
				"bearer": bearer,
				"basic":  func(token string) func(*http.Request) { return header("Authorization", basic("AC0123", token)) },
			} {
				before := len(up.requests())
				res, body := relay.do(relay.request(put(relay.mint())))
				seen := up.requests()
				if len(seen) != before+1 {
					t.Fatalf("%s: got %d %s", name, res.StatusCode, body)
				}
				if got := seen[before].Header.Values("Authorization"); len(got) != 1 || got[0] != want {
					t.Errorf("%s: the provider did not receive the key in its place alone", name)
				}
			}
		})
	}
}
