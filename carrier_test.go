package relayapi

import (
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/relayapi/caddy-relayapi/grant"
	"github.com/relayapi/caddy-relayapi/internal/headers"
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

func TestPreflightOfPrivateNetwork(t *testing.T) {
	for name, tc := range map[string]struct{ header, value, answer, want string }{
		"asked":               {"Access-Control-Request-Private-Network", "true", "Access-Control-Allow-Private-Network", "true"},
		"asked as a draft":    {"Access-Control-Request-Local-Network", "true", "Access-Control-Allow-Local-Network", "true"},
		"asked otherwise":     {"Access-Control-Request-Private-Network", "KO", "Access-Control-Allow-Private-Network", ""},
		"not asked":           {"X-Other", "true", "Access-Control-Allow-Private-Network", ""},
		"asked for the other": {"Access-Control-Request-Local-Network", "true", "Access-Control-Allow-Private-Network", ""},
	} {
		t.Run(name, func(t *testing.T) {
			r, w := newServerRequest(t), newRecorder()
			r.Method = http.MethodOptions
			r.Header.Set("Origin", "https://app.example")
			r.Header.Set("Access-Control-Request-Method", "POST")
			r.Header.Set(tc.header, tc.value)
			if !preflight(newCall(w, r), r) || w.Code != http.StatusNoContent {
				t.Fatalf("answers %d", w.Code)
			}
			if got := w.Header().Get(tc.answer); got != tc.want {
				t.Errorf("%s is %q, want %q", tc.answer, got, tc.want)
			}
		})
	}
}

// testCarriers are those of the presets that read keys in many places, and of two
// custom providers.
func testCarriers(t testing.TB) *carriers {
	t.Helper()
	providers := map[string]*Provider{
		"openai": {}, "anthropic": {}, "deepgram": {}, "elevenlabs": {}, "gemini": {},
		"azure":  {Preset: "azure-openai", Accounts: []string{"mine"}},
		"twilio": {BaseURL: "https://x.example", Credential: &Credential{Basic: true, User: "AC0"}},
		"custom": {BaseURL: "https://x.example", Credential: &Credential{Query: "Auth"}},
	}
	for name, p := range providers {
		p.NoAPIKey = true
		if err := p.provision(name, nopLogger()); err != nil {
			t.Fatal(err)
		}
	}
	return newCarriers(providers)
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

// holds reports whether a request still holds a piece of a token.
func holds(r *http.Request, token string) bool {
	var b strings.Builder
	_ = r.Header.Write(&b)
	b.WriteString(r.RequestURI + r.URL.String())
	return leak(b.String(), token, redact.PieceSize) || leak(b.String(), base64.StdEncoding.EncodeToString([]byte(":"+token)), redact.PieceSize)
}

// TestTakeFindsToken has places of every kind in which providers read keys.
func TestTakeFindsToken(t *testing.T) {
	c, token := testCarriers(t), newToken(t)
	for name, put := range map[string]func(*http.Request){
		"azure's query":              uri("/openai/realtime?api-version=1&api-key=" + token),
		"azure's query, capitals":    uri("/openai/realtime?API-Key=" + token),
		"azure's query, Bearer":      uri("/openai/realtime?Authorization=Bearer%20" + token),
		"azure's gateway's query":    uri("/x?subscription-key=" + token),
		"azure's gateway's header":   header("Ocp-Apim-Subscription-Key", token),
		"elevenlabs' query":          uri("/x?xi-api-key=" + token),
		"elevenlabs' header":         header("xi-api-key", token),
		"elevenlabs' authorization":  uri("/x?authorization=Bearer+" + token),
		"elevenlabs' single use":     uri("/x?single_use_token=" + token),
		"a query's name as a header": header("single_use_token", token),
		"deepgram's access token":    uri("/x?access_token=" + token),
		"gemini's query":             uri("/x?%24key=" + token),
		"gemini's oauth":             uri("/x?oauth_token=" + token),
		"a custom query":             uri("/x?auth=" + token),
		"Basic, password":            header("Authorization", basic("AC0", token)),
		"Basic, user":                header("Authorization", basic(token, "")),
		"Basic, user and dummy":      header("Authorization", basic(token, "x")),
		"Basic, no user":             header("Authorization", basic("", token)),
		"basic in small letters":     header("Authorization", strings.Replace(basic("api", token), "Basic", "basic", 1)),
		"Basic without padding":      header("Authorization", strings.TrimRight(basic("api", token), "=")),
		"Basic, token as it is":      header("Authorization", "Basic "+token),
		"Basic in another carrier":   header("X-Api-Key", basic("api", token)),
		"Basic in the query":         uri("/x?authorization=" + url.QueryEscape(basic("api", token))),
		"user information":           uri("https://relay.example/v1/x?a=1"),
		"user information, user":     uri("https://" + token + "@relay.example/v1/x"),
		"user information, both":     uri("https://user:" + token + "@relay.example/v1/x"),
		"user information, no user":  uri("https://:" + token + "@relay.example/v1/x"),
	} {
		t.Run(name, func(t *testing.T) {
			r := incoming(t, put)
			if name == "user information" {
				r.URL.User = url.UserPassword("x", token)
			}
			f := c.take(r)
			if f.token != token || f.refused != nil {
				t.Errorf("found %t, refused %v", f.token == token, f.refused)
			}
			if r.Header.Get("Authorization") != "" || r.URL.User != nil || holds(r, token) {
				t.Error("a piece of the token is left in the request")
			}
			if authorized := strings.HasPrefix(name, "Basic") && !strings.Contains(name, " in "); !authorized && !f.bare && name != "basic in small letters" {
				t.Error("the access log would show it")
			}
		})
	}
}

// TestOptionsAreNoCarriers has places that select something else than a credential.
// They are emptied, and a token there is not the request's.
func TestOptionsAreNoCarriers(t *testing.T) {
	c, token := testCarriers(t), newToken(t)
	for name, put := range map[string]func(*http.Request){
		"a project":     header("OpenAI-Project", token),
		"a workspace":   header("anthropic-workspace-id", token),
		"a quota":       uri("/x?$userProject=" + token),
		"an address":    uri("/x?callback=https://evil.example/" + token),
		"a method":      header("X-HTTP-Method-Override", token),
		"a page":        header("Referer", "https://app.example/?key="+token),
		"a custom name": header("X-Session", token),
	} {
		t.Run(name, func(t *testing.T) {
			r := incoming(t, put)
			f := c.take(r)
			if f.token != "" || f.refused == nil || f.refused.code != string(grant.Invalid) {
				t.Errorf("found %t, refused %v", f.token == token, f.refused)
			}
			if !f.bare || holds(r, token) {
				t.Error("the request holds the token, or the log would show it")
			}
		})
	}
}

// TestTakeSaysWhatIsWrong has values that are nearly a token, and two of them.
func TestTakeSaysWhatIsWrong(t *testing.T) {
	c, token, other := testCarriers(t), newToken(t), newToken(t)
	for name, tc := range map[string]struct {
		put  []func(*http.Request)
		says string
	}{
		"in quotes":        {[]func(*http.Request){bearer(`"` + token + `"`)}, "Authorization has a token in quotes"},
		"a comma":          {[]func(*http.Request){header("X-Api-Key", token+",")}, "X-Api-Key has a token with a comma after it"},
		"cut in half":      {[]func(*http.Request){bearer(token[:len(token)/2])}, "Authorization has a token that was cut off"},
		"percent-encoded":  {[]func(*http.Request){bearer(strings.ReplaceAll(token, ".", "%2E"))}, "Authorization has a percent-encoded token"},
		"with a space":     {[]func(*http.Request){bearer(token[:200] + " " + token[200:])}, "Authorization has a token with a line break or a space in it"},
		"in the query":     {[]func(*http.Request){uri("/x?key=" + url.QueryEscape(`"`+token+`"`))}, "the query parameter key has a token in quotes"},
		"in Basic":         {[]func(*http.Request){header("Authorization", basic("api", token+","))}, "Authorization has a token with a comma after it"},
		"in a subprotocol": {[]func(*http.Request){header("Sec-WebSocket-Protocol", "realtime, "+carrierPrefix+token[:300])}, "the WebSocket subprotocols has a token that was cut off"},
		"two tokens": {[]func(*http.Request){bearer(token), uri("/x?key=" + other)},
			"two different tokens: in Authorization and in the query parameter key"},
		"two tokens in one value": {[]func(*http.Request){bearer(token + " " + other)}, "two different tokens in Authorization"},
		"two tokens in a pair":    {[]func(*http.Request){header("Authorization", basic(token, other))}, "two different tokens in Authorization"},
	} {
		t.Run(name, func(t *testing.T) {
			r := incoming(t, tc.put...)
			f := c.take(r)
			if f.refused == nil || f.refused.code != string(grant.Invalid) || f.refused.rule != tc.says || !f.refused.shown {
				t.Fatalf("refuses %+v, want %q", f.refused, tc.says)
			}
			if body := string([]byte(f.refused.error().Message)); !strings.Contains(body, tc.says) {
				t.Errorf("the client is told %s", body)
			}
			if holds(r, token) || holds(r, other) {
				t.Error("a piece of a token is left in the request")
			}
		})
	}
	for name, put := range map[string]func(*http.Request){
		"nothing":        header("X-Other", "x"),
		"a dummy":        bearer("sk-unused"),
		"Basic of words": header("Authorization", basic("user", "password")),
		"other base64":   bearer("eyJ1c2VyIjoiYWxpY2UiLCJwYWdlIjo3fQ"),
	} {
		t.Run(name, func(t *testing.T) {
			if f := c.take(incoming(t, put)); f.refused == nil || f.refused.shown || f.refused.rule != "no token in any of its places" {
				t.Errorf("refuses %+v", f.refused)
			}
		})
	}
}

// TestTakeRefusesTokenElsewhere has parts of a request that cannot be stripped.
func TestTakeRefusesTokenElsewhere(t *testing.T) {
	c, token, other := testCarriers(t), newToken(t), newToken(t)
	for name, put := range map[string]func(*http.Request){
		"in the path":            uri("/v1/" + token),
		"half in the path":       uri("/v1/" + token[len(token)/2:]),
		"another in the path":    uri("/v1/" + other + "/x"),
		"in Host":                func(r *http.Request) { r.Host = token },
		"in Host with a port":    func(r *http.Request) { r.Host = other + ":80" },
		"in the method":          func(r *http.Request) { r.Method = token },
		"in the protocol":        func(r *http.Request) { r.Proto = token },
		"escaped in the path":    uri("/v1/%2565yJ" + token[3:]),
		"a piece of it in Host":  func(r *http.Request) { r.Host = token[500:520] + ".example" },
		"a piece in the method":  func(r *http.Request) { r.Method = token[500:530] },
		"in a path below others": uri("/v1/x/y/" + other[:80]),
	} {
		t.Run(name, func(t *testing.T) {
			f := c.take(incoming(t, bearer(token), put))
			if f.refused == nil || f.refused.code != codeInvalidRequest || !f.bare {
				t.Errorf("refused %v, bare %v", f.refused, f.bare)
			}
			if f.refused != nil && (leak(f.refused.rule, token, redact.PieceSize) || leak(f.refused.rule, other, redact.PieceSize)) {
				t.Error("the rule quotes the token")
			}
		})
	}
}

// TestTakeStripsCopies has headers and parameters that do not go to the provider.
func TestTakeStripsCopies(t *testing.T) {
	c, token, other := testCarriers(t), newToken(t), newToken(t)
	jws := "eyJhbGciOiJFUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJlc2lnbmF0dXJl"
	for name, tc := range map[string]struct {
		value string
		kept  bool
	}{
		"the token":             {token, false},
		"another token":         {other, false},
		"half of another":       {other[:len(other)/2], false},
		"the end of the token":  {token[len(token)-40:], false},
		"sixteen characters":    {"x=" + token[300:316] + ";", false},
		"percent-encoded":       {"%65%79%4A" + other[3:], false},
		"encoded twice":         {"%2565%2579%254a" + token[3:], false},
		"escaped as in JSON":    {`{"t":"\u0065yJ` + other[3:] + `"}`, false},
		"escaped twice":         {`\\u0065yJ` + token[3:], false},
		"in base64":             {base64.StdEncoding.EncodeToString([]byte(other)), false},
		"in a sentence":         {"my token is " + other + ", really", false},
		"a signed JWT":          {jws, true},
		"JSON in base64":        {"eyJ1c2VyIjoiYWxpY2UiLCJwYWdlIjo3fQ", true},
		"a trace":               {"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", true},
		"a percent sign":        {"100%", true},
		"fifteen characters":    {"x=" + token[300:315] + ";", true},
		"letters of the header": {token[:12], true},
	} {
		t.Run(name, func(t *testing.T) {
			r := incoming(t, bearer(token), header("X-Other", tc.value), uri("/x?a=1&other="+url.QueryEscape(tc.value)+"&b=2"))
			f := c.take(r)
			if f.refused != nil || f.token != token {
				t.Fatalf("refused %v", f.refused)
			}
			if got := r.Header.Get("X-Other") != ""; got != tc.kept {
				t.Errorf("the header is kept: %v, want %v", got, tc.kept)
			}
			if got := r.URL.Query().Has("other"); got != tc.kept || r.URL.Query().Get("a")+r.URL.Query().Get("b") != "12" {
				t.Errorf("the query is %s", redact.Text(r.URL.RawQuery, token, other))
			}
			if !tc.kept && !f.bare {
				t.Error("the access log would show it")
			}
		})
	}
}

// oversizedRequests have too much of something, in few bytes on the wire.
var oversizedRequests = map[string]func(*http.Request){
	"subprotocols": func(r *http.Request) {
		for range 4 { // as HTTP/2 refers four times to one indexed field
			r.Header.Add("Sec-WebSocket-Protocol", strings.Repeat("a,", 2000))
		}
	},
	"Connection":    func(r *http.Request) { r.Header.Set("Connection", strings.Repeat("a,", 8000)) },
	"parameters":    uri("/x?" + strings.Repeat("a&", 8000)),
	"fields":        func(r *http.Request) { r.Header["X-Many"] = make([]string, 5000) },
	"percent signs": func(r *http.Request) { r.Header["X-Long"] = []string{strings.Repeat("%", 100_000)} },
	"a long target": uri("/" + strings.Repeat("a", 100_000)),
	"long values": func(r *http.Request) {
		value := strings.Repeat("eyJ.", 1000)
		for range 30 {
			r.Header.Add("X-Api-Key", value)
		}
	},
}

func TestTakeCountsFirst(t *testing.T) {
	c, token := testCarriers(t), newToken(t)
	for name, put := range oversizedRequests {
		t.Run(name, func(t *testing.T) {
			r := incoming(t, bearer(token), put)
			f := c.take(r)
			if f.refused == nil || f.refused.code != codeInvalidRequest || f.token != "" || !f.bare {
				t.Errorf("refused %v, found %v, bare %v", f.refused, f.token != "", f.bare)
			}
			if len(r.Header) > 0 || r.URL.RawQuery != "" {
				t.Error("the request is not emptied")
			}
		})
	}
	many := func(n int, text string) string {
		return strings.TrimSuffix(strings.Repeat(text, n), text[len(text)-1:])
	}
	for name, put := range map[string]func(*http.Request){
		"subprotocols": header("Sec-WebSocket-Protocol", many(headers.MaxListed, "a,")),
		"Connection":   header("Connection", many(headers.MaxListed, "a,")),
		"parameters":   uri("/x?" + many(headers.MaxParameters, "a&")),
		"fields":       func(r *http.Request) { r.Header["X-Many"] = make([]string, headers.MaxFields-1) },
	} {
		t.Run("as many as may be, "+name, func(t *testing.T) {
			if f := c.take(incoming(t, bearer(token), put)); f.refused != nil || f.token != token {
				t.Errorf("refused %v", f.refused)
			}
		})
	}
}

// BenchmarkTake is what it costs to find the token of an ordinary call, and to refuse
// what has too much of something. The rest is what may come just below the bounds.
func BenchmarkTake(b *testing.B) {
	c, token := testCarriers(b), newToken(b)
	ordinary := func(r *http.Request) {
		bearer(token)(r)
		for name, value := range map[string]string{
			"Accept": "application/json", "Accept-Encoding": "gzip, deflate", "Accept-Language": "en", "Content-Type": "application/json",
			"Content-Length": "120", "User-Agent": "OpenAI/JS 6.9.1 (linux; x64) node/v22.14.0", "X-Stainless-Os": "Linux",
			"X-Stainless-Runtime-Version": "v22.14.0", "X-Stainless-Package-Version": "6.9.1", "Origin": "https://app.example.com",
			"Referer": "https://app.example.com/chat/0123456789", "Sec-Fetch-Mode": "cors",
		} {
			r.Header.Set(name, value)
		}
	}
	cases := map[string]func(*http.Request){
		"ordinary": ordinary,
		"below/subprotocols": func(r *http.Request) {
			r.Header.Set("Sec-WebSocket-Protocol", strings.Repeat("a,", headers.MaxListed-1))
		},
		"below/Connection":    header("Connection", strings.Repeat("a,", headers.MaxListed-1)),
		"below/parameters":    uri("/x?" + strings.Repeat("a&", headers.MaxParameters-1)),
		"below/percent signs": func(r *http.Request) { r.Header["X-Long"] = []string{strings.Repeat("%", headers.MaxHead-1000)} },
		"below/near tokens": func(r *http.Request) {
			r.Header["X-Api-Key"] = []string{strings.Repeat("eyJ.", headers.MaxHead/4-1000)}
		},
		"below/token blocks": func(r *http.Request) {
			ordinary(r)
			r.Header["X-Long"] = []string{strings.Repeat(token[40:55]+"!", (headers.MaxHead-8000)/16)}
		},
	}
	for name, put := range oversizedRequests {
		cases["over/"+name] = put
	}
	for name, put := range cases {
		b.Run(name, func(b *testing.B) {
			made := incoming(b, put)
			header := make(http.Header)
			for b.Loop() {
				r, u := *made, *made.URL
				r.Header, r.URL = copyInto(header, made.Header), &u
				c.take(&r)
			}
		})
	}
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
	for line, want := range map[string]string{
		"credential basic":                    basic(realKey, ""),
		"credential basic api":                basic("api", realKey),
		"credential basic {env.TEST_ACCOUNT}": basic("AC0123", realKey),
	} {
		t.Run(strings.Map(func(r rune) rune {
			if strings.ContainsRune("{}", r) { // a directory has the name, and a Caddyfile the directory
				return -1
			}
			return r
		}, line), func(t *testing.T) {
			up := newUpstream(t, nil)
			relay := startRelay(t, strings.Replace(simple(up.URL), "credential header Authorization Bearer", line, 1))
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
