package carrier

import (
	"encoding/base64"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/relayapi/caddy-relayapi/eccrypto"
	"github.com/relayapi/caddy-relayapi/grant"
	"github.com/relayapi/caddy-relayapi/internal/headers"
	"github.com/relayapi/caddy-relayapi/internal/mint"
	"github.com/relayapi/caddy-relayapi/internal/redact"
	"github.com/relayapi/caddy-relayapi/provider"
)

// testPlaces are those of the presets that read keys in many places, and of two custom
// providers.
func testPlaces(t testing.TB) *Places {
	t.Helper()
	places := []provider.Placement{{Query: "Auth"}, provider.BasicPlacement("AC0")}
	for _, name := range []string{"openai", "anthropic", "deepgram", "elevenlabs", "gemini", "azure-openai"} {
		preset, ok := provider.Lookup(name)
		if !ok {
			t.Fatalf("no preset %s", name)
		}
		places = append(append(places, preset.AlsoReads...), preset.Credential)
	}
	return New(places)
}

// newToken mints a token that no relay knows.
func newToken(t testing.TB) string {
	t.Helper()
	key, err := eccrypto.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	m := mint.Minter{Issuer: grant.Issuer{Name: "backend", Providers: []string{"demo"}, MaxTTL: time.Hour}, Signer: key, Recipient: key.Public()}
	minted, err := m.Mint(&grant.Claims{Provider: "demo", Subject: "alice"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return minted.Token
}

func header(name, value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Add(name, value) }
}

func bearer(token string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }
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

// leak reports whether a text has a piece of a secret.
func leak(text, secret string, size int) bool {
	for i := 0; i+size <= len(secret); i++ {
		if strings.Contains(text, secret[i:i+size]) {
			return true
		}
	}
	return false
}

// holds reports whether a request still holds a piece of a token.
func holds(r *http.Request, token string) bool {
	var b strings.Builder
	_ = r.Header.Write(&b)
	b.WriteString(r.RequestURI + r.URL.String())
	return leak(b.String(), token, redact.PieceSize) || leak(b.String(), base64.StdEncoding.EncodeToString([]byte(":"+token)), redact.PieceSize)
}

func TestCutQuery(t *testing.T) {
	for query, want := range map[string]string{
		"":                    "",
		"a=1":                 "a=1",
		"key=x":               "",
		"a=1&key=x&b=2":       "a=1&b=2",
		"key":                 "",
		"%6bey=x&a=%20":       "a=%20",
		"a=b+c&key=x&key=y":   "a=b+c",
		"a=&&key=x":           "a=&",
		"akey=x&keya=y":       "akey=x&keya=y",
		"a=1;key=x":           "error",
		"a=%zz":               "error",
		"a=1#key=x":           "error",
		"a=1 HTTP/1.1&key=xy": "error",
	} {
		r := httptest.NewRequest("GET", "/x", nil)
		r.URL.RawQuery = query
		err := CutQuery(r, func(name, _ string) bool { return name == "key" })
		got := r.URL.RawQuery
		if err != nil {
			got = "error"
		}
		if got != want {
			t.Errorf("CutQuery(%q) leaves %q, want %q", query, got, want)
		}
		if err == nil && want != query && r.RequestURI != r.URL.RequestURI() {
			t.Errorf("CutQuery(%q) leaves the request URI %q, want %q", query, r.RequestURI, r.URL.RequestURI())
		}
	}
}

// TestTakeFindsToken has places of every kind in which providers read keys.
func TestTakeFindsToken(t *testing.T) {
	c, token := testPlaces(t), newToken(t)
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
			f := c.Take(r)
			if f.Token != token || f.Problem != "" {
				t.Errorf("found %t, problem %q", f.Token == token, f.Problem)
			}
			if r.Header.Get("Authorization") != "" || r.URL.User != nil || holds(r, token) {
				t.Error("a piece of the token is left in the request")
			}
			if authorized := strings.HasPrefix(name, "Basic") && !strings.Contains(name, " in "); !authorized && !f.Bare && name != "basic in small letters" {
				t.Error("the access log would show it")
			}
		})
	}
}

// TestOptionsAreNoCarriers has places that select something else than a credential.
// They are emptied, and a token there is not the request's.
func TestOptionsAreNoCarriers(t *testing.T) {
	c, token := testPlaces(t), newToken(t)
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
			f := c.Take(r)
			if f.Token != "" || f.Problem == "" || f.Malformed {
				t.Errorf("found %t, problem %q", f.Token == token, f.Problem)
			}
			if !f.Bare || holds(r, token) {
				t.Error("the request holds the token, or the log would show it")
			}
		})
	}
}

// TestTakeSaysWhatIsWrong has values that are nearly a token, and two of them.
func TestTakeSaysWhatIsWrong(t *testing.T) {
	c, token, other := testPlaces(t), newToken(t), newToken(t)
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
		"in a subprotocol": {[]func(*http.Request){header("Sec-WebSocket-Protocol", "realtime, "+tokenPrefix+token[:300])}, "the WebSocket subprotocols has a token that was cut off"},
		"two tokens": {[]func(*http.Request){bearer(token), uri("/x?key=" + other)},
			"two different tokens: in Authorization and in the query parameter key"},
		"two tokens in one value": {[]func(*http.Request){bearer(token + " " + other)}, "two different tokens in Authorization"},
		"two tokens in a pair":    {[]func(*http.Request){header("Authorization", basic(token, other))}, "two different tokens in Authorization"},
	} {
		t.Run(name, func(t *testing.T) {
			r := incoming(t, tc.put...)
			f := c.Take(r)
			if f.Problem == "" || f.Malformed || f.Problem != tc.says || !f.Misshapen {
				t.Fatalf("problem %q, want %q", f.Problem, tc.says)
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
			if f := c.Take(incoming(t, put)); f.Malformed || f.Misshapen || f.Problem != "no token in any of its places" {
				t.Errorf("problem %q", f.Problem)
			}
		})
	}
}

// TestTakeRefusesTokenElsewhere has parts of a request that cannot be stripped.
func TestTakeRefusesTokenElsewhere(t *testing.T) {
	c, token, other := testPlaces(t), newToken(t), newToken(t)
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
			f := c.Take(incoming(t, bearer(token), put))
			if !f.Malformed || !f.Bare {
				t.Errorf("problem %q, bare %v", f.Problem, f.Bare)
			}
			if f.Problem != "" && (leak(f.Problem, token, redact.PieceSize) || leak(f.Problem, other, redact.PieceSize)) {
				t.Error("the rule quotes the token")
			}
		})
	}
}

// TestTakeStripsCopies has headers and parameters that do not go to the provider.
func TestTakeStripsCopies(t *testing.T) {
	c, token, other := testPlaces(t), newToken(t), newToken(t)
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
			f := c.Take(r)
			if f.Problem != "" || f.Token != token {
				t.Fatalf("problem %q", f.Problem)
			}
			if got := r.Header.Get("X-Other") != ""; got != tc.kept {
				t.Errorf("the header is kept: %v, want %v", got, tc.kept)
			}
			if got := r.URL.Query().Has("other"); got != tc.kept || r.URL.Query().Get("a")+r.URL.Query().Get("b") != "12" {
				t.Errorf("the query is %s", redact.Text(r.URL.RawQuery, token, other))
			}
			if !tc.kept && !f.Bare {
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
	c, token := testPlaces(t), newToken(t)
	for name, put := range oversizedRequests {
		t.Run(name, func(t *testing.T) {
			r := incoming(t, bearer(token), put)
			f := c.Take(r)
			if !f.Malformed || f.Token != "" || !f.Bare {
				t.Errorf("problem %q, found %v, bare %v", f.Problem, f.Token != "", f.Bare)
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
			if f := c.Take(incoming(t, bearer(token), put)); f.Problem != "" || f.Token != token {
				t.Errorf("problem %q", f.Problem)
			}
		})
	}
}

// BenchmarkTake is what it costs to find the token of an ordinary call, and to refuse
// what has too much of something. The rest is what may come just below the bounds.
func BenchmarkTake(b *testing.B) {
	c, token := testPlaces(b), newToken(b)
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
			for b.Loop() {
				r, u := *made, *made.URL
				r.Header, r.URL = maps.Clone(made.Header), &u
				c.Take(&r)
			}
		})
	}
}
