package relayapi

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/relayapi/caddy-relayapi/eccrypto"
	"github.com/relayapi/caddy-relayapi/grant"
)

func header(name, value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Add(name, value) }
}

// Every place that a client can put the token in is found and emptied, and the
// provider sees exactly the real key and nothing of the token.
func TestTokenInEveryCarrier(t *testing.T) {
	up := newUpstream(t, nil)
	relay := startRelay(t, simple(up.URL, withOtherPlacements))
	token := relay.mint()
	for name, put := range everyCarrier(token) {
		t.Run(name, func(t *testing.T) {
			up.mu.Lock()
			up.seen = nil
			up.mu.Unlock()
			if res, body := relay.do(relay.request(put)); res.StatusCode != 200 {
				t.Fatalf("got %d %s", res.StatusCode, body)
			}
			checkCredential(t, up.one(t), token)
		})
	}
}

// withOtherPlacements adds providers that read their keys elsewhere.
func withOtherPlacements(c *testConfig) {
	c.providers += section("provider other https://127.0.0.1", "credential header Xi-Api-Key", "api_key none") +
		section("provider another https://127.0.0.1", "credential query auth", "api_key none")
}

// everyCarrier returns every way to put a token in a request to a relay of
// whose providers one reads Xi-Api-Key and one the parameter auth.
func everyCarrier(token string) map[string]func(*http.Request) {
	query := func(q string) func(*http.Request) { return asking("POST", "/v1/x?"+q) }
	return map[string]func(*http.Request){
		"Authorization: Bearer":             header("Authorization", "Bearer "+token),
		"Authorization: bearer":             header("Authorization", "bearer "+token),
		"Authorization: Token":              header("Authorization", "Token "+token),
		"Authorization: Key":                header("Authorization", "Key "+token),
		"Authorization without scheme":      header("Authorization", token),
		"X-API-Token":                       header("X-API-Token", token),
		"x-api-key":                         header("x-api-key", token),
		"x-goog-api-key":                    header("x-goog-api-key", token),
		"api-key":                           header("api-key", token),
		"a configured provider's header":    header("xi-api-key", token),
		"query key":                         query("key=" + token),
		"query token":                       query("a=1&token=" + token + "&b=%20x"),
		"query with a scheme":               query("token=Bearer%20" + token),
		"a configured provider's parameter": query("auth=" + token),
		"query, escaped":                    query("key=" + strings.ReplaceAll(token, ".", "%2E")),
		"WebSocket subprotocol":             header("Sec-WebSocket-Protocol", "realtime, openai-insecure-api-key."+token+", v1"),
		"subprotocol as Deepgram's SDK":     header("Sec-WebSocket-Protocol", "token, "+token),
		"two places": func(r *http.Request) {
			header("Authorization", "Bearer "+token)(r)
			query("key=" + token)(r)
		},
		"a dummy in a second place": func(r *http.Request) {
			header("Authorization", "Bearer "+token)(r)
			header("x-api-key", "unused")(r)
		},
		"copies elsewhere": func(r *http.Request) {
			header("X-API-Token", token)(r)
			header("Referer", "https://app.example/?t="+token)(r)
			query("continue=" + token + "&a=1")(r)
		},
		"an escaped copy elsewhere": func(r *http.Request) {
			header("Authorization", "Bearer "+token)(r)
			query("ref=%65" + token[1:])(r)
		},
	}
}

// What a client can add to a request does not reach the provider, beside the
// token or instead of it.
func TestStrippedFromRequest(t *testing.T) {
	up := newUpstream(t, nil)
	relay := startRelay(t, simple(up.URL))
	token := relay.mint()
	relay.do(relay.request(bearer(token),
		header("Cookie", "a=b"), header("Proxy-Authorization", "Basic eDp5"),
		header("OpenAI-Organization", "org-1"), header("OpenAI-Project", "proj-1"), header("X-Goog-User-Project", "p"),
		header("X-HTTP-Method-Override", "DELETE"), header("X-Method-Override", "DELETE"),
		header("X-Api-Key", "mine"), header("X-Forwarded-For", "1.2.3.4"), header("Forwarded", "for=1.2.3.4"),
		header("X-Real-Ip", "1.2.3.4"), header("Via", "1.1 mine"),
		header("Connection", "X-Secret, close"), header("X-Secret", "s"),
		header("X-Kept", "yes"), header("Idempotency-Key", "yes"), asking("POST", "/v1/x?b=2&key=plain&a=1%2f+&c")))
	got := up.one(t)
	checkCredential(t, got, token)
	for _, name := range []string{"Cookie", "Proxy-Authorization", "Openai-Organization", "Openai-Project", "X-Goog-User-Project",
		"X-Http-Method-Override", "X-Method-Override", "X-Api-Key", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto",
		"Forwarded", "X-Real-Ip", "Via", "X-Secret"} {
		if got.Header.Get(name) != "" {
			t.Errorf("%s reaches the provider", name)
		}
	}
	for _, name := range []string{"X-Kept", "Idempotency-Key"} {
		if value := got.Header.Get(name); value != "yes" {
			t.Errorf("the provider received %s %q, want \"yes\"", name, value)
		}
	}
	// "key" is neither the token nor this provider's credential: it is the API's own.
	if want := "/v1/x?b=2&key=plain&a=1%2f+&c"; got.RequestURI != want {
		t.Errorf("the provider received %s, want %s", got.RequestURI, want)
	}
	if u, _ := url.Parse(up.URL); got.Host != u.Host {
		t.Errorf("the provider received Host %s", got.Host)
	}
}

// Each refusal reaches the client with its status, code and headers, leaves one
// line in the log that names the broken rule, and is counted.
func TestRefusals(t *testing.T) {
	wording := newGolden(t, "refusals/handler.golden")
	up := newUpstream(t, nil)
	relay := startRelay(t, simple(up.URL, func(c *testConfig) { c.routes = `paths "POST /v1/*"` }))
	now := time.Now()
	stranger := *relay
	stranger.issuerKey = newKey(t)
	elsewhere := *relay
	elsewhere.relayKey = newKey(t)
	edit := func(f func(*grant.Claims)) string { return relay.mint(f) }
	raw := func(extra string) string {
		return relay.seal(fmt.Sprintf(`{"iss":"backend","aud":%q,"jti":"raw","iat":%d,"exp":%d,"provider":"demo"%s}`,
			relay.relayKey.Public().ID(), now.Unix(), now.Unix()+60, extra))
	}
	used := relay.mint(calls(1), id("used"))
	relay.do(relay.request(bearer(used)))
	first := relay.mint(id("conflict"), calls(5))
	relay.do(relay.request(bearer(first)))

	for name, tc := range map[string]struct {
		edits []func(*http.Request)
		code  string
		about string // is named in the rule
	}{
		"no token":         {nil, "invalid_token", ""},
		"not a token":      {[]func(*http.Request){bearer("sk-1234")}, "invalid_token", ""},
		"two tokens":       {[]func(*http.Request){bearer(relay.mint()), header("X-Api-Token", relay.mint())}, "invalid_token", "X-Api-Token"},
		"shape of a token": {[]func(*http.Request){bearer("eyJhIjoxfQ..AAAA.AAAA.AAAA")}, "invalid_token", ""},
		"unknown issuer":   {[]func(*http.Request){bearer(stranger.mint())}, "invalid_token", ""},
		"another relay's":  {[]func(*http.Request){bearer(elsewhere.mint())}, "invalid_token", "kid"},
		"unknown claim":    {[]func(*http.Request){bearer(raw(`,"admin":true`))}, "invalid_token", "admin"},
		"method not its":   {[]func(*http.Request){bearer(edit(allowing(grant.Allow{Methods: []string{"GET"}})))}, "method_not_permitted", "POST"},
		"address not its":  {[]func(*http.Request){bearer(edit(allowing(grant.Allow{IPs: []string{"192.0.2.0/24"}})))}, "ip_not_permitted", "127.0.0.1"},
		"forged address": {[]func(*http.Request){bearer(edit(allowing(grant.Allow{IPs: []string{"192.0.2.0/24"}}))), header("X-Forwarded-For", "192.0.2.1")},
			"ip_not_permitted", "127.0.0.1"},
		"no origin": {[]func(*http.Request){bearer(edit(allowing(grant.Allow{Origins: []string{"https://a.example"}})))}, "origin_not_permitted", "Origin"},
		"another origin": {[]func(*http.Request){bearer(edit(allowing(grant.Allow{Origins: []string{"https://a.example"}}))), header("Origin", "https://b.example")},
			"origin_not_permitted", "https://b.example"},
		"expired":               {[]func(*http.Request){bearer(edit(func(c *grant.Claims) { c.IssuedAt, c.ExpiresAt = ago(now, 60), ago(now, 1) }))}, "token_expired", ""},
		"not yet valid":         {[]func(*http.Request){bearer(edit(func(c *grant.Claims) { c.NotBefore = ago(now, -600) }))}, "token_not_yet_valid", ""},
		"lives too long":        {[]func(*http.Request){bearer(edit(func(c *grant.Claims) { c.ExpiresAt = ago(now, -31*86400) }))}, "issuer_not_permitted", "issuer backend"},
		"provider unknown":      {[]func(*http.Request){bearer(edit(func(c *grant.Claims) { c.Provider = "openai" }))}, "provider_not_permitted", "issuer backend may not grant provider openai"},
		"path closed":           {[]func(*http.Request){bearer(relay.mint()), asking("POST", "/v2/x")}, "path_not_permitted", "POST /v2/x"},
		"method closed":         {[]func(*http.Request){bearer(relay.mint()), asking("DELETE", "/v1/x")}, "path_not_permitted", "DELETE /v1/x"},
		"path not allowed":      {[]func(*http.Request){bearer(edit(func(c *grant.Claims) { c.Allow = &grant.Allow{Paths: []string{"/v1/y"}} }))}, "path_not_permitted", "POST /v1/chat/completions"},
		"dots in the path":      {[]func(*http.Request){bearer(relay.mint()), asking("POST", "/v1/%2e%2e/v2")}, "invalid_request", ""},
		"slash in the path":     {[]func(*http.Request){bearer(relay.mint()), asking("POST", "/v1/a%2fb")}, "invalid_request", "provider demo"},
		"double encoding":       {[]func(*http.Request){bearer(relay.mint()), asking("POST", "/v1/%252e%252e/v2")}, "invalid_request", ""},
		"broken query":          {[]func(*http.Request){bearer(relay.mint()), asking("POST", "/v1/x?a=%zz")}, "invalid_request", "query"},
		"query that ends twice": {[]func(*http.Request){bearer(relay.mint()), asking("POST", "/v1/x"), func(r *http.Request) { r.URL.RawQuery = "a=1#&key=2" }}, "invalid_request", "query"},
		"semicolon query":       {[]func(*http.Request){bearer(relay.mint()), asking("POST", "/v1/x?a=1;key=2")}, "invalid_request", "query"},
		"calls used up":         {[]func(*http.Request){bearer(used)}, "calls_exhausted", "1"},
		"other claims":          {[]func(*http.Request){bearer(relay.mint(id("conflict"), calls(50)))}, "token_conflict", ""},
		"before the store": {[]func(*http.Request){bearer(edit(func(c *grant.Claims) { calls(5)(c); c.IssuedAt = ago(now, 3600) }))},
			"token_predates_store", "iat"},
	} {
		t.Run(name, func(t *testing.T) {
			count := len(up.requests())
			rules := len(relay.rules())
			before := testutil.ToFloat64(stats.Refusals(tc.code))
			res, body := relay.do(relay.request(tc.edits...))
			wantRefusal(t, res, body, tc.code)
			if res.Header.Get("Cache-Control") != "no-store" || res.Header.Get("Access-Control-Allow-Origin") != "*" ||
				res.Header.Get("X-Should-Retry") != "false" {
				t.Errorf("the refusal has headers %v", res.Header)
			}
			if got := testutil.ToFloat64(stats.Refusals(tc.code)); got != before+1 {
				t.Errorf("counted %v times", got-before)
			}
			if !relay.logged(`"refused"`, `"code":"`+tc.code+`"`) || len(relay.rules()) != rules+1 {
				t.Fatalf("the log tells of %d refusals, want 1 with %s", len(relay.rules())-rules, tc.code)
			}
			rule := relay.rules()[rules]
			wording.says(name, strings.Replace(rule, "in X-Api-Token and in Authorization", "in Authorization and in X-Api-Token", 1)) // in any order
			if !strings.Contains(rule, tc.about) {
				t.Errorf("the rule is %q, want one about %q", rule, tc.about)
			}
			if len(up.requests()) != count {
				t.Error("the provider received the request")
			}
		})
	}
}

func allowing(a grant.Allow) func(*grant.Claims) {
	return func(c *grant.Claims) { c.Allow = &a }
}

func ago(now time.Time, seconds int64) grant.NumericDate {
	return grant.NumericDate(now.Unix() - seconds)
}

// One body for all tokens that do not verify. TestTakeSaysWhatIsWrong has what is
// told of values that are nearly tokens.
func TestNoOracle(t *testing.T) {
	relay := startRelay(t, simple(newUpstream(t, nil).URL))
	good := relay.mint()
	var bodies []string
	for _, token := range []string{"", "x", good[:len(good)-4] + "AAAA", replaceOnce(t, good, "..", ".AAAA."), strings.Replace(good, ".", "A.", 1), strings.Repeat("A", 9000)} {
		res, body := relay.do(relay.request(bearer(token)))
		bodies = append(bodies, fmt.Sprint(res.StatusCode, res.Header.Get("Content-Length"), body))
	}
	for _, body := range bodies {
		if body != bodies[0] {
			t.Errorf("%s differs from %s", body, bodies[0])
		}
	}
}

func TestEveryReasonOfTheGrantHasAnAnswer(t *testing.T) {
	for _, reason := range []grant.Reason{grant.Invalid, grant.Expired, grant.NotYetValid, grant.BeyondGrant, grant.NoProvider,
		grant.NoPath, grant.NoMethod, grant.BadPath, grant.NoUpgrade, grant.NeedsUpgrade, grant.NoModel, grant.NoIP, grant.NoOrigin} {
		if answers[string(reason)].status == 0 {
			t.Errorf("%s has none", reason)
		}
	}
}

func TestPrefixNamesTheProvider(t *testing.T) {
	up := newUpstream(t, nil)
	relay := startRelay(t, simple(up.URL+"/base", inDirective("prefix /api")))
	token := relay.mint()
	for path, want := range map[string]string{
		"/api/demo/v1/x":         "/base/v1/x",
		"/api/demo/v1/a:b%20c?q": "/base/v1/a:b%20c?q",
		"/api/demo/":             "/base/",
		"/api/other/v1/x":        "provider_not_permitted",
		"/api/demo":              "path_not_permitted",
		"/api/":                  "path_not_permitted",
		"/api/d%65mo/v1/x":       "path_not_permitted",
		"/api/demo/v1/../x":      "invalid_request",
		"/api//demo/v1/x":        "path_not_permitted",
	} {
		t.Run(path, func(t *testing.T) {
			before := len(up.requests())
			req := relay.request(bearer(token))
			req.URL.Opaque = relay.URL[len("http:"):] + path // as it is, not cleaned
			res, body := relay.do(req)
			switch seen := up.requests(); {
			case !strings.HasPrefix(want, "/"):
				if res.StatusCode/100 != 4 || !strings.Contains(body, want) || len(seen) != before {
					t.Errorf("got %d %s", res.StatusCode, body)
				}
			case len(seen) != before+1:
				t.Errorf("got %d %s", res.StatusCode, body)
			case seen[before].RequestURI != want:
				t.Errorf("the provider received %s, want %s", seen[before].RequestURI, want)
			}
		})
	}
}

// A limit holds exactly however many clients use the token at once.
func TestThreeCallsForFiftyClients(t *testing.T) {
	up := newUpstream(t, nil)
	relay := startRelay(t, simple(up.URL))
	token := relay.mint(calls(3))
	var wg sync.WaitGroup
	statuses := make([]int, 50)
	for i := range statuses {
		wg.Go(func() {
			res, _ := relay.do(relay.request(bearer(token)))
			statuses[i] = res.StatusCode
		})
	}
	wg.Wait()
	count := map[int]int{}
	for _, status := range statuses {
		count[status]++
	}
	if len(up.requests()) != 3 || count[200] != 3 || count[403] != 47 {
		t.Errorf("%d calls reached the provider; statuses %v", len(up.requests()), count)
	}
}

// A refreshed token goes on counting where the first one stopped.
func TestRefreshSharesTheCount(t *testing.T) {
	relay := startRelay(t, simple(newUpstream(t, nil).URL))
	first := relay.mint(calls(2), id("r"))
	relay.do(relay.request(bearer(first)))
	second := relay.mint(calls(2), id("r"), func(c *grant.Claims) { c.ExpiresAt += 600 })
	if res, body := relay.do(relay.request(bearer(second))); res.StatusCode != 200 {
		t.Fatalf("the refreshed token is refused: %s", body)
	}
	for _, token := range []string{first, second} {
		res, body := relay.do(relay.request(bearer(token)))
		wantRefusal(t, res, body, "calls_exhausted")
	}
}

// A call is given back only when no connection was had.
func TestCallIsGivenBackWithoutConnection(t *testing.T) {
	up := newUpstream(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) })
	gone := "http://127.0.0.1:" + freePort(t)
	relay := startRelay(t, simple(gone))
	token := relay.mint(calls(2))
	for range 4 {
		res, body := relay.do(relay.request(bearer(token)))
		wantRefusal(t, res, body, "provider_unreachable")
	}
	relay.load(simple(up.URL))
	for range 2 {
		if res, body := relay.do(relay.request(bearer(token))); res.StatusCode != 500 {
			t.Errorf("got %d %s", res.StatusCode, body)
		}
	}
	res, body := relay.do(relay.request(bearer(token)))
	wantRefusal(t, res, body, "calls_exhausted") // an error of the provider's was a call
}

func TestCarriedKeyGoesOut(t *testing.T) {
	up := newUpstream(t, nil)
	relay := startRelay(t, simple(up.URL))
	token := relay.mint(func(c *grant.Claims) { c.APIKey = "sk-carried-0123456789" })
	relay.do(relay.request(bearer(token)))
	if got := up.one(t); got.Header.Get("Authorization") != "Bearer sk-carried-0123456789" || strings.Contains(got.raw, realKey) {
		t.Error("not the carried key alone reached the provider")
	}
}

func TestKeyPoolTakesTurnsAndRestsRefusedKeys(t *testing.T) {
	t.Setenv("RELAYAPI_TEST_KEY_2", "second-key")
	up := newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "Bearer second-key" {
			w.WriteHeader(http.StatusTooManyRequests)
		}
	})
	relay := startRelay(t, simple(up.URL, func(c *testConfig) { c.apiKey = "{env.RELAYAPI_TEST_KEY} {env.RELAYAPI_TEST_KEY_2}" }))
	token := relay.mint()
	for range 6 {
		relay.do(relay.request(bearer(token)))
	}
	count := map[string]int{}
	for _, got := range up.requests() {
		count[got.Header.Get("Authorization")]++
	}
	if count["Bearer second-key"] != 1 || count["Bearer "+realKey] != 5 {
		t.Errorf("the second key, which was refused, was used %d times of 6", count["Bearer second-key"])
	}
}

func TestEndpoints(t *testing.T) {
	relay := startRelay(t, simple(newUpstream(t, nil).URL))
	for _, tc := range []struct {
		method, path string
		status       int
		body         string
	}{
		{"GET", "/health", 200, `{"status":"ok"}`},
		{"HEAD", "/health", 200, ""},
		{"POST", "/health", 405, ""},
		{"GET", "/.well-known/jwks.json", 200, relay.relayKey.Public().ID()},
	} {
		res, body := relay.do(relay.request(asking(tc.method, tc.path)))
		if res.StatusCode != tc.status || !strings.Contains(body, tc.body) || res.Header.Get("Access-Control-Allow-Origin") != "*" {
			t.Errorf("%s %s: %d %s %v", tc.method, tc.path, res.StatusCode, body, res.Header)
		}
	}
	_, jwks := relay.do(relay.request(asking("GET", "/.well-known/jwks.json")))
	key, err := eccrypto.ParsePublicKey([]byte(jwks))
	if err != nil || key.ID() != relay.relayKey.Public().ID() || strings.Contains(jwks, `"d"`) {
		t.Errorf("the JWKS is %s", jwks)
	}
	if !json.Valid([]byte(jwks)) {
		t.Error("the JWKS is no JSON")
	}
}

// A request that comes before the app has started is told to come again.
func TestBeforeStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &Handler{app: new(App), carriers: new(App).carriers(), logger: nopLogger(), access: nopLogger()}
		rec := newRecorder()
		if err := h.ServeHTTP(rec, newServerRequest(t), nil); err != nil {
			t.Fatal(err)
		}
		if rec.Code != 503 || rec.Header().Get("Retry-After") == "" || !strings.Contains(rec.Body.String(), "not_ready") {
			t.Errorf("got %d %s", rec.Code, rec.Body)
		}
	})
}
