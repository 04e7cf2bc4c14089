package relayapi

import (
	"bytes"
	"compress/gzip"
	"io"
	"mime/multipart"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/relayapi/caddy-relayapi/dialect"
	"github.com/relayapi/caddy-relayapi/grant"
	"github.com/relayapi/caddy-relayapi/provider"
)

// modelConfig has a provider for each dialect, all at one upstream, and an issuer
// whose tokens may name small models only.
func modelConfig(upstream string, options ...option) string {
	names := strings.Join(dialect.Names(), " ")
	base := func(c *testConfig) {
		c.grants, c.issuer, c.provider = names, "", ""
		c.issuers = section("issuer narrow", "public_key {dir}/backend.pub.pem", "providers "+names, "models small small-*")
		for _, name := range dialect.Names() {
			c.providers += section("provider "+name+" "+upstream,
				"credential header Authorization Bearer", "api_key {env.RELAYAPI_TEST_KEY}", "dialect "+name)
		}
	}
	return simple("", append([]option{base}, options...)...)
}

func models(names ...string) func(*grant.Claims) { return allowing(grant.Allow{Models: names}) }

// withForm makes the request a form of a recording and a field.
func withForm(field, value string) func(*http.Request) {
	return func(r *http.Request) {
		var b bytes.Buffer
		w := multipart.NewWriter(&b)
		file, _ := w.CreateFormFile("file", "a.mp3")
		_, _ = file.Write(bytes.Repeat([]byte{0, '\r', '\n', '-'}, 1<<10))
		_ = w.WriteField(field, value)
		_ = w.Close()
		r.Header.Set("Content-Type", w.FormDataContentType())
		withBody(&b, int64(b.Len()))(r)
	}
}

func text(body string) func(*http.Request) {
	return withBody(strings.NewReader(body), int64(len(body)))
}

// modelPlaces are all places in which a request can name its model.
var modelPlaces = []struct {
	name, provider string
	edits          func(model string) []func(*http.Request)
}{
	{"JSON", "openai", func(m string) []func(*http.Request) {
		return []func(*http.Request){text(`{"model":"` + m + `"}`)}
	}},
	{"JSON, at the end", "openai", func(m string) []func(*http.Request) {
		body := `{"messages":[{"content":"` + strings.Repeat("x", 2<<20) + `"}],"model":"` + m + `"}`
		return []func(*http.Request){text(body)}
	}},
	{"JSON of unknown length", "openai", func(m string) []func(*http.Request) {
		return []func(*http.Request){withBody(strings.NewReader(`{"model":"`+m+`"}`), -1)}
	}},
	{"JSON, zipped", "openai", func(m string) []func(*http.Request) {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		_, _ = io.WriteString(w, `{"model":"`+m+`"}`)
		_ = w.Close()
		return []func(*http.Request){withBody(&b, int64(b.Len())), header("Content-Encoding", "gzip")}
	}},
	{"JSON, as zstd", "openai", func(m string) []func(*http.Request) {
		w, _ := zstd.NewWriter(nil)
		b := w.EncodeAll([]byte(`{"model":"`+m+`"}`), nil)
		return []func(*http.Request){withBody(bytes.NewReader(b), int64(len(b))), header("Content-Encoding", "zstd")}
	}},
	{"a hosted tool", "openai", func(m string) []func(*http.Request) {
		return []func(*http.Request){text(`{"model":"small","tools":[{"type":"image_generation","model":"` + m + `"}]}`)}
	}},
	{"a fallback", "openai", func(m string) []func(*http.Request) {
		return []func(*http.Request){text(`{"model":"small","models":["small","` + m + `"]}`)}
	}},
	{"form", "openai", func(m string) []func(*http.Request) {
		return []func(*http.Request){asking("POST", "/v1/audio/transcriptions"), withForm("model", m)}
	}},
	{"JSON", "anthropic", func(m string) []func(*http.Request) {
		return []func(*http.Request){asking("POST", "/v1/messages"), text(`{"max_tokens":1,"model":"` + m + `"}`)}
	}},
	{"path", "gemini", func(m string) []func(*http.Request) {
		return []func(*http.Request){asking("POST", "/v1beta/models/"+m+":generateContent"), text(`{}`)}
	}},
	{"escaped path", "gemini", func(m string) []func(*http.Request) {
		return []func(*http.Request){asking("POST", "/v1beta/models/%"+hex(m[0])+m[1:]+":generateContent"), text(`{}`)}
	}},
	{"requests in a body", "gemini", func(m string) []func(*http.Request) {
		body := `{"requests":[{"model":"models/` + m + `"}]}`
		return []func(*http.Request){asking("POST", "/v1beta/models/small:batchEmbedContents"), text(body)}
	}},
	{"deployment", "azure", func(m string) []func(*http.Request) {
		return []func(*http.Request){asking("POST", "/openai/deployments/"+m+"/chat/completions?api-version=1"), text(`{}`)}
	}},
	{"path", "bedrock", func(m string) []func(*http.Request) {
		return []func(*http.Request){asking("POST", "/model/"+m+"/converse"), text(`{}`)}
	}},
	{"query", "deepgram", func(m string) []func(*http.Request) {
		return []func(*http.Request){asking("POST", "/v1/listen?model="+m), text("RIFF"), func(r *http.Request) { r.Header.Set("Content-Type", "audio/wav") }}
	}},
	{"JSON", "elevenlabs", func(m string) []func(*http.Request) {
		return []func(*http.Request){asking("POST", "/v1/text-to-speech/voice"), text(`{"model_id":"` + m + `"}`)}
	}},
}

func hex(b byte) string { return string("0123456789abcdef"[b>>4]) + string("0123456789abcdef"[b&15]) }

// Every constraint on models holds in every place where a model can be named.
func TestModelsInEveryPlace(t *testing.T) {
	up := newUpstream(t, nil)
	relay := startRelay(t, modelConfig(up.URL))
	constraints := map[string]func(*grant.Claims){
		"by name":       models("small", "other"),
		"by beginning":  models("smal*"),
		"by the issuer": nil,
	}
	for _, place := range modelPlaces {
		for constraint, edit := range constraints {
			for _, model := range []string{"small", "large"} {
				t.Run(place.provider+"/"+place.name+"/"+constraint+"/"+model, func(t *testing.T) {
					token := relay.mintAs("backend", forProvider(place.provider), edit)
					if edit == nil {
						token = relay.mintAs("narrow", forProvider(place.provider))
					}
					before := len(up.requests())
					req := relay.request(append([]func(*http.Request){bearer(token)}, place.edits(model)...)...)
					res, body := relay.do(req)
					seen := up.requests()[before:]
					if model == "large" {
						wantRefusal(t, res, body, "model_not_permitted")
						if len(seen) > 0 {
							t.Error("it reached the provider")
						}
						return
					}
					if res.StatusCode != 200 || len(seen) != 1 {
						t.Fatalf("got %d %s", res.StatusCode, body)
					}
					checkCredential(t, seen[0], token)
					if !strings.Contains(seen[0].URL.String()+seen[0].URL.Path+string(seen[0].body), "small") || seen[0].Header.Get("Content-Encoding") != "" {
						t.Error("the provider cannot read the model where it was")
					}
				})
			}
		}
	}
	if !eventually(func() bool { return activeApp(t).ledger.bodies.Used() == 0 }) {
		t.Error("bodies are still held")
	}
}

func TestModelRefusals(t *testing.T) {
	up := newUpstream(t, nil)
	relay := startRelay(t, modelConfig(up.URL))
	bound := relay.mintAs("backend", forProvider("openai"), models("small"))
	var bomb bytes.Buffer
	w := gzip.NewWriter(&bomb)
	_, _ = io.CopyN(w, zeros{}, maxBody+1)
	_ = w.Close()
	for name, tc := range map[string]struct {
		edits []func(*http.Request)
		code  string
	}{
		"no model":      {[]func(*http.Request){text(`{"messages":[]}`)}, "model_not_permitted"},
		"no body":       {[]func(*http.Request){text("")}, "model_not_permitted"},
		"twice":         {[]func(*http.Request){text(`{"model":"small","model":"large"}`)}, "invalid_request"},
		"stored prompt": {[]func(*http.Request){text(`{"model":"small","prompt":{"id":"p"}}`)}, "invalid_request"},
		"body of a handshake": {[]func(*http.Request){asking("GET", "/v1/realtime?model=small"), header("Upgrade", "websocket"),
			header("Connection", "Upgrade"), header("Sec-Websocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="), text(`{"model":"large"}`)}, "invalid_request"},
		"two types":                {[]func(*http.Request){func(r *http.Request) { r.Header["Content-Type"] = []string{"application/json", "text/plain"} }}, "invalid_request"},
		"an encoding of its own":   {[]func(*http.Request){header("Content-Encoding", "br")}, "invalid_request"},
		"two encodings":            {[]func(*http.Request){header("Content-Encoding", "gzip, gzip")}, "invalid_request"},
		"not what it says":         {[]func(*http.Request){header("Content-Encoding", "gzip")}, "invalid_request"},
		"too long":                 {[]func(*http.Request){withBody(io.LimitReader(zeros{}, maxBody+1), maxBody+1)}, "request_too_large"},
		"too long when it is read": {[]func(*http.Request){withBody(&bomb, int64(bomb.Len())), header("Content-Encoding", "gzip")}, "request_too_large"},
	} {
		t.Run(name, func(t *testing.T) {
			res, body := relay.do(relay.request(append([]func(*http.Request){bearer(bound)}, tc.edits...)...))
			wantRefusal(t, res, body, tc.code)
		})
	}
	t.Run("too many at once", func(t *testing.T) {
		others := activeApp(t).ledger.bodies.ShareOf(new(atomic.Int64))
		others.Take(maxBodies)
		defer others.Take(-maxBodies)
		res, body := relay.do(relay.request(bearer(bound), text(`{"model":"small","x":"`+strings.Repeat("x", smallBody)+`"}`)))
		wantRefusal(t, res, body, "busy")
	})
	if n := len(up.requests()); n != 0 {
		t.Errorf("%d requests reached the provider", n)
	}
	if held := &activeApp(t).ledger.bodies; !eventually(func() bool { return held.Used() == 0 }) {
		t.Errorf("%d bytes are still held", held.Used())
	}
}

// The model that a token sets stands where the provider reads it, and the token's
// other rules see what is sent.
func TestTokenSetsModel(t *testing.T) {
	up := newUpstream(t, nil)
	relay := startRelay(t, modelConfig(up.URL))
	set := func(c *grant.Claims) { c.Set = &grant.Set{Model: "small"} }
	for name, tc := range map[string]struct {
		provider string
		edits    []func(*http.Request)
		claims   func(*grant.Claims)
		uri      string
		body     string // that the provider sees
		code     string // or of the refusal
	}{
		"over another":        {provider: "openai", edits: []func(*http.Request){text(`{"model":"large","n":1}`)}, body: `{"model":"small","n":1}`},
		"where there is none": {provider: "openai", edits: []func(*http.Request){text(`{"n":1}`)}, body: `{"model":"small","n":1}`},
		"in the path": {provider: "gemini", edits: []func(*http.Request){asking("POST", "/v1beta/models/large:generateContent?alt=sse"), text(`{}`)},
			uri: "/v1beta/models/small:generateContent?alt=sse", body: `{}`},
		"in a path that is not allowed": {provider: "gemini", edits: []func(*http.Request){asking("POST", "/v1beta/models/large:generateContent"), text(`{}`)},
			claims: allowing(grant.Allow{Paths: []string{"/v1beta/models/large:*"}}), code: "path_not_permitted"},
		"in the query": {provider: "deepgram", edits: []func(*http.Request){asking("POST", "/v1/listen?model=large&a=1"), text("RIFF")},
			uri: "/v1/listen?a=1&model=small", body: "RIFF"},
		"beside a further one": {provider: "openai", edits: []func(*http.Request){text(`{"model":"x","models":["large"]}`)}, code: "model_not_permitted"},
		"where it cannot":      {provider: "openai", edits: []func(*http.Request){text("")}, code: "invalid_request"},
	} {
		t.Run(name, func(t *testing.T) {
			token := relay.mintAs("backend", forProvider(tc.provider), set, tc.claims)
			before := len(up.requests())
			res, body := relay.do(relay.request(append([]func(*http.Request){bearer(token)}, tc.edits...)...))
			if tc.code != "" {
				wantRefusal(t, res, body, tc.code)
				return
			}
			seen := up.requests()[before:]
			if res.StatusCode != 200 || len(seen) != 1 {
				t.Fatalf("got %d %s", res.StatusCode, body)
			}
			if string(seen[0].body) != tc.body || tc.uri != "" && seen[0].RequestURI != tc.uri {
				t.Errorf("the provider received %s with %s", seen[0].RequestURI, seen[0].body)
			}
			checkCredential(t, seen[0], token)
		})
	}
}

// A token that says nothing of models has its bodies streamed as they are.
func TestUnboundTokenHasNoBodyRead(t *testing.T) {
	up := newUpstream(t, nil)
	relay := startRelay(t, modelConfig(up.URL))
	token := relay.mintAs("backend", forProvider("openai"))
	const body = `{"model":"a","model":"b"} and more`
	res, _ := relay.do(relay.request(bearer(token), text(body), header("Content-Encoding", "br")))
	if got := up.one(t); res.StatusCode != 200 || string(got.body) != body || got.Header.Get("Content-Encoding") != "br" {
		t.Errorf("got %d, the provider received %q", res.StatusCode, got.body)
	}
}

func TestEveryPresetSpeaksADialect(t *testing.T) {
	for _, p := range provider.All() {
		if _, ok := dialect.Lookup(p.Dialect); !ok || p.Dialect == "" {
			t.Errorf("%s speaks %q", p.Name, p.Dialect)
		}
	}
}

// Whoever takes all memory for long bodies does not keep short ones out.
func TestShortBodyWhileMemoryIsFull(t *testing.T) {
	relay := startRelay(t, simple(newUpstream(t, nil).URL))
	others := activeApp(t).ledger.bodies.ShareOf(new(atomic.Int64))
	others.Take(maxBodies)
	defer others.Take(-maxBodies)
	body := `{"model":"small"}`
	res, answer := relay.do(relay.request(bearer(relay.mint(models("small"))), withBody(strings.NewReader(body), int64(len(body)))))
	if res.StatusCode != 200 || activeApp(t).ledger.bodies.Used() != maxBodies {
		t.Errorf("got %d %s, and %d are held", res.StatusCode, answer, activeApp(t).ledger.bodies.Used())
	}
}

// Bodies of one token take no more than what is left for the others.
func TestBodiesOfOneTokenLeaveRoom(t *testing.T) {
	relay := startRelay(t, simple(newUpstream(t, nil).URL))
	greedy, other := relay.mint(models("small")), relay.mint(models("small"))
	app := activeApp(t)
	permit, err := app.relay.Load().tokens.open(t.Context(), netip.Prefix{}, greedy, "")
	if err != nil {
		t.Fatal(err)
	}
	share := app.ledger.shareOf(permit)
	share.Take(maxBodies / 2)
	defer share.Take(-maxBodies / 2)
	short, long := `{"model":"small"}`, `{"model":"small","x":"`+strings.Repeat("x", smallBody)+`"}`
	for _, tc := range []struct {
		whose, token, body string
		status             int
	}{
		{"its long", greedy, long, 503},
		{"its short", greedy, short, 200},
		{"another's long", other, long, 200},
	} {
		res, answer := relay.do(relay.request(bearer(tc.token), withBody(strings.NewReader(tc.body), int64(len(tc.body)))))
		if res.StatusCode != tc.status {
			t.Errorf("%s: got %d %s", tc.whose, res.StatusCode, answer)
		}
	}
	if held := &app.ledger.bodies; !eventually(func() bool { return held.Used() == maxBodies/2 }) {
		t.Errorf("%d bytes are still held", held.Used())
	}
}

// With the path of a base URL, that of a request may be one that names a model.
func TestModelInPathBelowBaseURL(t *testing.T) {
	up := newUpstream(t, nil)
	relay := startRelay(t, modelConfig(up.URL+"/openai"))
	for _, tc := range []struct {
		path, model string
		status      int
	}{
		{"/deployments/small/chat/completions", "small", 200},
		{"/deployments/small/chat/completions", "", 200},
		{"/deployments/large/chat/completions", "", 403},
		{"/deployments/large/chat/completions", "large", 403},
		{"/deployments/large/chat/completions", "small", 400}, // two models
		{"/v1/chat/completions", "small", 200},
	} {
		for _, provider := range []string{"azure", "generic"} {
			body := `{}`
			if tc.model != "" {
				body = `{"model":"` + tc.model + `"}`
			}
			res, answer := relay.do(relay.request(bearer(relay.mint(forProvider(provider), models("small"))), asking("POST", tc.path),
				withBody(strings.NewReader(body), int64(len(body)))))
			if res.StatusCode != tc.status {
				t.Errorf("%s, %s for %s: got %d %s", provider, tc.path, tc.model, res.StatusCode, answer)
			}
		}
	}
}
