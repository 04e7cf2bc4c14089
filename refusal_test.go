package relayapi

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/relayapi/caddy-relayapi/grant"
)

// TestRefusalForms has what the clients of each provider read of a refusal. The
// members are paths into the JSON.
func TestRefusalForms(t *testing.T) {
	message := answers[codeRevoked].message
	common := map[string]any{"type": "error", "error.type": authentication, "error.code": codeRevoked, "error.message": message}
	with := func(more map[string]any) map[string]any {
		for name, value := range common {
			more[name] = value
		}
		return more
	}
	google := map[string]any{"error.code": 401.0, "error.status": "UNAUTHENTICATED", "error.message": message}
	for name, tc := range map[string]struct {
		provider, path string
		want           map[string]any
		amazon         string
	}{
		"OpenAI":                 {"openai", "/v1/chat/completions", common, ""},
		"Anthropic":              {"anthropic", "/v1/messages", common, ""},
		"Gemini":                 {"gemini", "/v1beta/models/m:generateContent", google, ""},
		"Gemini by OpenAI's SDK": {"gemini", "/v1beta/openai/chat/completions", common, ""},
		"Bedrock":                {"bedrock", "/model/m/converse", with(map[string]any{"message": message}), "AccessDeniedException"},
		"Bedrock by OpenAI's":    {"bedrock", "/openai/v1/chat/completions", common, "AccessDeniedException"},
		"ElevenLabs":             {"elevenlabs", "/v1/text-to-speech/x", with(map[string]any{"detail.status": codeRevoked, "detail.message": message}), ""},
		"Deepgram":               {"deepgram", "/v1/listen", with(map[string]any{"err_code": codeRevoked, "err_msg": message, "message": message}), ""},
		"Ollama":                 {"ollama", "/api/chat", map[string]any{"error": message}, ""},
		"Ollama by OpenAI's":     {"ollama", "/v1/chat/completions", common, ""},
		"no provider":            {"", "/x", with(map[string]any{"message": message}), "AccessDeniedException"},
	} {
		t.Run(name, func(t *testing.T) {
			var p *Provider
			if tc.provider != "" {
				p = &Provider{NoAPIKey: true}
				if tc.provider == "bedrock" {
					p.Accounts = []string{"us-east-1"}
				}
				if err := p.provision(tc.provider, nopLogger()); err != nil {
					t.Fatal(err)
				}
			}
			w := newRecorder()
			refuse(codeRevoked, "").inForm(p, tc.path).write(w)
			var got any
			if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
				t.Fatal(err)
			}
			for member, want := range tc.want {
				value := got
				for key := range strings.SplitSeq(member, ".") {
					object, _ := value.(map[string]any)
					value = object[key]
				}
				if value != want {
					t.Errorf("%s is %v, want %v", member, value, want)
				}
			}
			if header := w.Header().Get("X-Amzn-Errortype"); header != tc.amazon || w.Code != 401 {
				t.Errorf("status %d, X-Amzn-Errortype %q, want %q", w.Code, header, tc.amazon)
			}
		})
	}
}

// TestFormNames has Google's and Amazon's names of every status that the relay
// refuses with.
func TestFormNames(t *testing.T) {
	for code, a := range answers {
		w := newRecorder()
		refuse(code, "").inForm(nil, "/").write(w)
		amazon := w.Header().Get("X-Amzn-Errortype")
		var body googleError
		if err := json.Unmarshal((&refusal{code: code, form: googleForm}).body(), &body); err != nil {
			t.Fatal(err)
		}
		if body.Error.Code != a.status || body.Error.Status == "" || !strings.HasSuffix(amazon, "Exception") {
			t.Errorf("%s: Google's %d %q, Amazon's %q", code, body.Error.Code, body.Error.Status, amazon)
		}
		throttled := a.status == http.StatusTooManyRequests
		if (amazon == "ThrottlingException") != throttled || (body.Error.Status == "RESOURCE_EXHAUSTED") != throttled {
			t.Errorf("%s: status %d is %q and %q", code, a.status, body.Error.Status, amazon)
		}
	}
}

// TestLikelyProvider has refusals that come before a token is known.
func TestLikelyProvider(t *testing.T) {
	one, two := &Provider{name: "one"}, &Provider{name: "two"}
	for name, tc := range map[string]struct {
		prefix, path string
		all          map[string]*Provider
		token        *Provider
		want         *Provider
		below        string
	}{
		"the only one":        {"", "/v1/x", map[string]*Provider{"one": one}, nil, one, "/v1/x"},
		"several":             {"", "/v1/x", map[string]*Provider{"one": one, "two": two}, nil, nil, "/v1/x"},
		"the path's":          {"/api", "/api/two/v1/x", map[string]*Provider{"one": one, "two": two}, nil, two, "/v1/x"},
		"an unknown one":      {"/api", "/api/three/v1/x", map[string]*Provider{"one": one}, nil, nil, "/v1/x"},
		"the token's":         {"", "/v1/x", map[string]*Provider{"one": one, "two": two}, two, two, "/v1/x"},
		"the token's, below":  {"/api", "/v1/x", map[string]*Provider{"one": one, "two": two}, two, two, "/v1/x"},
		"the token's, before": {"/api", "/api/two/v1/x", map[string]*Provider{"one": one, "two": two}, two, two, "/v1/x"},
	} {
		t.Run(name, func(t *testing.T) {
			h := &Handler{Prefix: tc.prefix, app: &App{Providers: tc.all}}
			got, below := h.likelyProvider(incoming(t, uri(tc.path)), &route{provider: tc.token})
			if got != tc.want || below != tc.below {
				t.Errorf("is %v with %s, want %v with %s", got, below, tc.want, tc.below)
			}
		})
	}
}

// TestRefusalHidesKnown has a rule that quotes a token that is only known from the
// request.
func TestRefusalHidesKnown(t *testing.T) {
	token := newToken(t)
	f := refuse(string(grant.NoModel), "the token does not allow the model "+token[300:330])
	if !leak(f.rule, token, pieceSize) {
		t.Fatal("the piece is told by its shape, so this proves nothing")
	}
	hidden := f.hiding(token)
	if leak(hidden.rule+string(hidden.body()), token, pieceSize) || !strings.HasSuffix(hidden.rule, "***") {
		t.Errorf("the rule is %s", redact(hidden.rule, token))
	}
}
