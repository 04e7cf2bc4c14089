package provider

import (
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
)

var (
	nameForm        = regexp.MustCompile(`^[a-z0-9-]+$`)
	envForm         = regexp.MustCompile(`^[A-Z0-9_]+$`)
	placeholderForm = regexp.MustCompile(`\{([a-z]+)\}`)
	headerForm      = regexp.MustCompile(`^[A-Za-z0-9-]+$`)
	routeForm       = regexp.MustCompile(`^(GET|POST|WS) (/[A-Za-z0-9._:@*{}+/-]+)$`)
)

func TestTable(t *testing.T) {
	if !slices.IsSortedFunc(presets, func(a, b Preset) int { return strings.Compare(a.Name, b.Name) }) {
		t.Error("the table is not sorted by name")
	}
	seen := map[string]bool{}
	for _, p := range presets {
		t.Run(p.Name, func(t *testing.T) {
			if seen[p.Name] || !nameForm.MatchString(p.Name) {
				t.Errorf("name %q is not unique or not of the form %s", p.Name, nameForm)
			}
			seen[p.Name] = true
			if p.Title == "" {
				t.Error("no title")
			}
			if u, err := url.Parse(p.Docs); err != nil || u.Scheme != "https" || u.Host == "" {
				t.Errorf("docs %q is not an https URL", p.Docs)
			}
			if p.Env != "" && !envForm.MatchString(p.Env) {
				t.Errorf("env %q", p.Env)
			}
			if p.NoKey && p.Env != "" {
				t.Error("needs no key, but names a variable for one")
			}
			checkBaseURL(t, p)
			checkPlacement(t, p.Credential)
			for _, place := range p.AlsoReads {
				checkPlacement(t, place)
				if place == p.Credential {
					t.Errorf("%+v is the credential's own place", place)
				}
			}
			checkRoutes(t, p.Routes)
		})
	}
}

func checkBaseURL(t *testing.T, p Preset) {
	t.Helper()
	var placeholders []string
	for _, m := range placeholderForm.FindAllStringSubmatch(p.BaseURL, -1) {
		placeholders = append(placeholders, m[1])
	}
	inRoutes := strings.Join(p.Routes, " ")
	for _, account := range p.Accounts {
		if !slices.Contains(placeholders, account) && !strings.Contains(inRoutes, "{"+account+"}") {
			t.Errorf("nothing has the account %s", account)
		}
	}
	if slices.ContainsFunc(placeholders, func(name string) bool { return !slices.Contains(p.Accounts, name) }) {
		t.Errorf("placeholders %q, accounts %q", placeholders, p.Accounts)
	}
	if p.BaseURL == "" && p.Name == "openai-compatible" {
		return
	}
	u, err := url.Parse(placeholderForm.ReplaceAllString(p.BaseURL, "x"))
	if err != nil {
		t.Fatal(err)
	}
	local := p.NoKey && u.Scheme == "http" && u.Hostname() == "127.0.0.1"
	if u.Scheme != "https" && !local {
		t.Errorf("base URL %q is not https", p.BaseURL)
	}
	if u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.HasSuffix(u.Path, "/") {
		t.Errorf("base URL %q is more or less than scheme, host and path", p.BaseURL)
	}
}

func checkPlacement(t *testing.T, p Placement) {
	t.Helper()
	if (p.Header == "") == (p.Query == "") {
		t.Errorf("%+v: want exactly one of header and query", p)
	}
	if p.Header != "" && !headerForm.MatchString(p.Header) {
		t.Errorf("header name %q", p.Header)
	}
	if p.Prefix != "" && (p.Header == "" || !strings.HasSuffix(p.Prefix, " ")) {
		t.Errorf("prefix %q of %+v", p.Prefix, p)
	}
	if p.Basic && (p.Header != "Authorization" || p.Prefix != "") || p.User != "" && !p.Basic || !ValidUser(p.User) {
		t.Errorf("%+v is no placement of HTTP Basic", p)
	}
}

func checkRoutes(t *testing.T, routes []string) {
	t.Helper()
	if len(routes) == 0 {
		t.Error("no routes")
	}
	seen := map[string]bool{}
	for _, r := range routes {
		if seen[r] {
			t.Errorf("route %q is there twice", r)
		}
		seen[r] = true
		if !routeForm.MatchString(r) {
			t.Errorf("route %q does not parse", r)
		}
		for _, bad := range []string{"//", "..", "?", "**"} {
			if strings.Contains(r, bad) {
				t.Errorf("route %q contains %q", r, bad)
			}
		}
		if strings.HasSuffix(r, "/") {
			t.Errorf("route %q ends in a slash", r)
		}
		if strings.HasSuffix(r, "*") && !listsModels[r] {
			t.Errorf("route %q ends in *", r)
		}
	}
}

// listsModels are the only routes that end in a *, which is everything below.
// There it is a model's id, which may have slashes.
var listsModels = map[string]bool{
	"GET /v1/models/*":            true,
	"GET /v1beta/openai/models/*": true,
}

// parameterForm finds {name} and {+name} in a quoted pattern.
var parameterForm = regexp.MustCompile(`\\{(\\\+)?[a-z]+\\}`)

// matches says whether any route of the preset covers the call. It is written
// for this test alone: each pattern becomes an anchored expression.
func matches(t *testing.T, preset, call string) bool {
	t.Helper()
	p, ok := Lookup(preset)
	if !ok {
		t.Fatalf("no preset %q", preset)
	}
	return slices.ContainsFunc(p.Routes, func(route string) bool { return expression(route).MatchString(call) })
}

var expressions sync.Map // of routes, because many calls are asked of each

func expression(route string) *regexp.Regexp {
	if known, ok := expressions.Load(route); ok {
		return known.(*regexp.Regexp)
	}
	pattern := regexp.QuoteMeta(route)
	if base, below := strings.CutSuffix(pattern, `/\*`); below {
		pattern = base + `/.*`
	}
	pattern = parameterForm.ReplaceAllString(strings.ReplaceAll(pattern, `\*`, `[^/]+`), `[^/]+`)
	compiled := regexp.MustCompile(`^` + pattern + `$`)
	expressions.Store(route, compiled)
	return compiled
}

// dangerous are calls that a token must not make: they hand out what the relay
// protects, or act on the account instead of asking a model.
var dangerous = map[string][]string{
	// Asked of every preset, below /v1 and below other OpenAI-shaped prefixes.
	"": {
		"POST /realtime/client_secrets",
		"POST /realtime/translations/client_secrets",
		"POST /realtime/sessions",
		"POST /realtime/transcription_sessions",
		"POST /realtime/calls",
		"POST /realtime/calls/rtc_1/accept",
		"POST /chatkit/sessions",
		"POST /models",
		"DELETE /models/ft:gpt-4o:acme::1",
		"GET /realtime",
		"GET /responses",
		"GET /responses/resp_1",
		"GET /responses/resp_1/input_items",
		"DELETE /responses/resp_1",
		"POST /responses/resp_1/cancel",
		"GET /chat/completions",
		"GET /chat/completions/chatcmpl_1",
		"POST /chat/completions/chatcmpl_1",
		"DELETE /chat/completions/chatcmpl_1",
		"POST /conversations",
		"GET /conversations/conv_1/items",
		"GET /files",
		"POST /files",
		"GET /files/file_1/content",
		"DELETE /files/file_1",
		"POST /uploads",
		"POST /batches",
		"GET /batches/batch_1",
		"POST /fine_tuning/jobs",
		"GET /vector_stores",
		"POST /vector_stores/vs_1/search",
		"POST /assistants",
		"POST /threads",
		"POST /threads/runs",
		"GET /threads/thread_1/messages",
		"POST /containers",
		"GET /videos/video_1/content",
		"POST /audio/voices",
		"GET /organization/projects",
		"POST /organization/admin_api_keys",
	},
	"anthropic": {
		"POST /v1/messages/batches",
		"GET /v1/messages/batches/b_1/results",
		"POST /v1/files",
		"GET /v1/files/f_1/content",
		"POST /v1/skills",
		"POST /v1/agents",
		"POST /v1/sessions",
		"POST /v1/organizations/invites",
		"POST /v1/organizations/api_keys/k_1",
		"POST /v1/tunnels/t_1/reveal_token",
		"POST /v1/oauth/token",
	},
	"azure-openai": {
		"GET /openai/deployments",
		"PUT /openai/deployments/d",
		"GET /openai/deployments/d",
		"GET /openai/models/m/x",
		"DELETE /openai/models/m",
		"POST /openai/files",
		"POST /openai/batches",
		"POST /openai/assistants",
		"POST /openai/threads",
		"GET /openai/responses/resp_1",
		"DELETE /openai/responses/resp_1",
		"POST /openai/realtimeapi/sessions",
		"POST /openai/realtime/client_secrets",
		"POST /openai/deployments/a/b/chat/completions",
	},
	"bedrock": {
		"POST /model/m/async-invoke",
		"POST /async-invoke",
		"GET /async-invoke",
		"GET /foundation-models",
		"GET /v1/models",
		"POST /model/m/invoke-with-bidirectional-stream",
		"POST /model/a/b/invoke",
		"GET /openai/v1/responses/resp_1",
		"DELETE /openai/v1/responses/resp_1",
	},
	"dashscope": {
		"POST /api/v1/tokens",
		"POST /v1/uploads",
	},
	"deepgram": {
		"POST /v1/auth/grant",
		"GET /v1/auth/token",
		"GET /v1/projects",
		"POST /v1/projects/p_1/keys",
		"GET /v1/projects/p_1/requests",
		"GET /v1/projects/p_1/models",
		"GET /v1/listen",
		"GET /v2/listen",
		"GET /v1/speak",
	},
	"deepseek": {
		"GET /user/balance",
		"POST /anthropic/v1/files",
	},
	"elevenlabs": {
		"POST /v1/single-use-token/realtime_scribe",
		"POST /v1/tokens",
		"GET /v1/user",
		"GET /v1/history",
		"GET /v1/voices",
		"POST /v1/voices/add",
		"DELETE /v1/voices/v_1",
		"GET /v1/speech-to-text/transcripts/t_1",
		"DELETE /v1/speech-to-text/transcripts/t_1",
		"GET /v1/convai/conversation/token",
		"GET /v1/convai/conversation/get-signed-url",
		"GET /v1/text-to-speech/v_1",
		"POST /v1/text-to-speech/v_1/x",
		"POST /v1/speech-to-speech/v_1/x/y",
		"GET /v1/text-to-speech/v_1/stream-input",
		"POST /v1/service-accounts/s_1/api-keys",
		"POST /v1/workspace/invites/add",
	},
	"gemini": {
		"POST /v1alpha/auth_tokens",
		"POST /v1beta/auth_tokens",
		"POST /v1beta/authTokens",
		"GET /v1beta/models/m/operations/o",
		"GET /v1/models/m/operations",
		"GET /v1beta/tunedModels",
		"GET /v1beta/files",
		"POST /upload/v1beta/files",
		"GET /v1beta/files/f_1:download",
		"POST /v1beta/cachedContents",
		"GET /v1beta/cachedContents",
		"POST /v1beta/models/m:batchGenerateContent",
		"POST /v1beta/models/m:asyncBatchEmbedContent",
		"POST /v1beta/models/m:predictLongRunning",
		"POST /v1beta/tunedModels",
		"POST /v1beta/tunedModels/t:generateContent",
		"POST /v1beta/corpora/c:query",
		"POST /v1beta/fileSearchStores",
		"GET /v1beta/operations/o",
		"GET /v1beta/interactions/i_1",
		"DELETE /v1beta/interactions/i_1",
		"POST /v1beta/webhooks",
		"POST /v1beta/openai/files",
		"POST /v1beta/openai/batches",
		"WS /ws/google.ai.generativelanguage.v1alpha.GenerativeService.BidiGenerateContentConstrained",
		"GET /ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent",
	},
	"mistral": {
		"POST /v1/agents",
		"POST /v1/agents/completions",
		"POST /v1/conversations",
		"POST /v1/batch/jobs",
		"POST /v1/libraries",
		"GET /v1/files/f_1/url",
	},
	"moonshot": {
		"GET /v1/users/me/balance",
		"POST /v1/caching",
	},
	"ollama": {
		"POST /api/pull",
		"POST /api/push",
		"POST /api/create",
		"POST /api/copy",
		"DELETE /api/delete",
		"POST /api/blobs/sha256:0",
		"POST /api/show",
		"GET /api/ps",
	},
	"openrouter": {
		"GET /v1/key",
		"GET /v1/keys",
		"POST /v1/keys",
		"POST /v1/auth/keys",
		"GET /v1/credits",
		"GET /v1/generation",
		"WS /v1/responses",
	},
	"together": {
		"POST /v1/fine-tunes",
		"POST /v1/endpoints",
		"GET /whoami",
		"POST /tci/execute",
	},
	"xai": {
		"GET /v1/api-key",
		"GET /v1/stt",
		"GET /v1/chat/deferred-completion/r_1",
		"GET /v1/videos/r_1",
		"POST /v1/documents/search",
	},
}

// prefixes are those of OpenAI-shaped APIs.
var prefixes = []string{
	"", "/v1", "/v1beta/openai", "/openai", "/openai/v1", "/anthropic/v1", "/ai/v1", "/compatibility/v1", "/inference", "/paas/v4",
	"/serving-endpoints", "/v1/openai",
}

func TestDangerousCallsAreNotRouted(t *testing.T) {
	for _, p := range All() {
		calls := slices.Clone(dangerous[p.Name])
		for _, call := range dangerous[""] {
			method, path, _ := strings.Cut(call, " ")
			for _, prefix := range prefixes {
				calls = append(calls, method+" "+prefix+path)
			}
		}
		for _, call := range calls {
			if matches(t, p.Name, call) {
				t.Errorf("%s: %s is routed", p.Name, call)
			}
		}
	}
	for name := range dangerous {
		if _, ok := Lookup(name); !ok && name != "" {
			t.Errorf("%q is no preset", name)
		}
	}
}

// needed are more calls that the provider's documentation or its SDK makes.
var needed = map[string][]string{
	"anthropic": {"POST /v1/messages", "POST /v1/messages/count_tokens", "GET /v1/models", "GET /v1/models/claude-x"},
	"azure-openai": {
		"POST /openai/deployments/my-gpt/chat/completions",
		"POST /openai/deployments/my-embedding/embeddings",
		"POST /openai/deployments/whisper/audio/transcriptions",
		"POST /openai/v1/chat/completions",
		"POST /openai/v1/responses",
		"WS /openai/v1/realtime",
		"WS /openai/realtime",
		"WS /openai/v1/responses",
		"GET /openai/models",
		"GET /openai/v1/models",
		"GET /openai/v1/models/gpt-x",
	},
	"bedrock": {
		"POST /model/us.anthropic.claude-3-5-haiku-20241022-v1:0/converse",
		"POST /model/amazon.nova-lite-v1:0/converse-stream",
		"POST /model/amazon.titan-embed-text-v2:0/invoke",
		"POST /model/m/invoke-with-response-stream",
		"POST /openai/v1/chat/completions",
	},
	"dashscope": {"POST /v1/chat/completions", "POST /v1/embeddings", "GET /v1/models"},
	"deepgram":  {"POST /v1/listen", "WS /v1/listen", "WS /v2/listen", "POST /v1/speak", "WS /v1/speak", "GET /v1/models"},
	"deepseek":  {"POST /chat/completions", "POST /v1/chat/completions", "POST /anthropic/v1/messages", "GET /models", "GET /v1/models"},
	"elevenlabs": {
		"POST /v1/text-to-speech/JBFqnCBsd6RMkjVDRZzb",
		"POST /v1/text-to-speech/JBFqnCBsd6RMkjVDRZzb/stream",
		"WS /v1/text-to-speech/JBFqnCBsd6RMkjVDRZzb/stream-input",
		"GET /v1/models",
		"POST /v1/speech-to-text",
	},
	"gemini": {
		"POST /v1beta/models/gemini-2.5-flash:generateContent",
		"POST /v1beta/models/gemini-2.5-flash:streamGenerateContent",
		"POST /v1/models/gemini-2.5-flash:generateContent",
		"POST /v1beta/models/gemini-embedding-001:batchEmbedContents",
		"POST /v1beta/models/gemini-2.5-flash:countTokens",
		"POST /v1beta/models/imagen-4.0-generate-001:predict",
		"POST /v1beta/openai/chat/completions",
		"GET /v1beta/models",
		"GET /v1beta/models/gemini-2.5-flash",
		"GET /v1beta/openai/models",
		"GET /v1beta/openai/models/models/gemini-2.5-flash",
		"WS /ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent",
	},
	"groq":     {"POST /v1/chat/completions", "POST /v1/audio/transcriptions", "GET /v1/models", "GET /v1/models/openai/gpt-x"},
	"mistral":  {"POST /v1/chat/completions", "POST /v1/fim/completions", "POST /v1/embeddings", "POST /v1/ocr", "GET /v1/models"},
	"moonshot": {"POST /v1/chat/completions", "GET /v1/models"},
	"ollama":   {"POST /api/chat", "POST /api/generate", "POST /api/embed", "POST /v1/chat/completions", "GET /api/tags", "GET /v1/models/hf.co/a/b"},
	"openai": {
		"POST /v1/chat/completions",
		"POST /v1/responses",
		"POST /v1/embeddings",
		"POST /v1/images/generations",
		"POST /v1/audio/speech",
		"POST /v1/audio/transcriptions",
		"POST /v1/moderations",
		"WS /v1/realtime",
		"WS /v1/responses",
		"GET /v1/models",
		"GET /v1/models/gpt-x",
	},
	"openai-compatible": {"POST /v1/chat/completions", "POST /v1/embeddings", "GET /v1/models", "GET /v1/models/org/name"},
	"openrouter":        {"POST /v1/chat/completions", "POST /v1/messages", "GET /v1/models", "GET /v1/models/org/name"},
	"together":          {"POST /v1/chat/completions", "POST /v1/rerank", "GET /v1/models"},
	"xai":               {"POST /v1/chat/completions", "POST /v1/responses", "WS /v1/realtime", "WS /v1/responses", "GET /v1/models"},
}

func TestNeededCallsAreRouted(t *testing.T) {
	for name, calls := range needed {
		for _, call := range calls {
			if !matches(t, name, call) {
				t.Errorf("%s: %s is not routed", name, call)
			}
		}
	}
}

func TestLookup(t *testing.T) {
	if p, ok := Lookup("groq"); !ok || p.BaseURL != "https://api.groq.com/openai" {
		t.Errorf("Lookup(groq) = %+v, %v", p, ok)
	}
	for _, name := range []string{"", "Groq", "gro", "groq "} {
		if p, ok := Lookup(name); ok {
			t.Errorf("Lookup(%q) found %s", name, p.Name)
		}
	}
}

func TestCopies(t *testing.T) {
	scribble := func(p Preset) {
		for _, s := range [][]string{p.Accounts, p.Routes} {
			for i := range s {
				s[i] = "x"
			}
		}
		for i := range p.AlsoReads {
			p.AlsoReads[i].Header = "x"
		}
	}
	for _, p := range All() {
		scribble(p)
		again, _ := Lookup(p.Name)
		scribble(again)
	}
	for _, p := range All() {
		if slices.Contains(p.Accounts, "x") || slices.Contains(p.Routes, "x") ||
			slices.ContainsFunc(p.AlsoReads, func(a Placement) bool { return a.Header == "x" }) {
			t.Errorf("%s: a caller changed the table", p.Name)
		}
	}
}

func TestNearest(t *testing.T) {
	for _, test := range []struct {
		name string
		want string // the first; "" for none at all
	}{
		{"opena", "openai"},
		{"OpenAI", "openai"},
		{"openia", "openai"},
		{"azure", "azure-openai"},
		{"openai-compatable", "openai"},
		{"OPENAI2", "openai"},
		{"antropic", "anthropic"},
		{"mistrla", "mistral"},
		{"grok", "groq"},
		{"open-router", "openrouter"},
		{"together-ai", "together"},
		{"compatible", ""},
		{"", ""},
		{"a", ""},
		{"xyz", ""},
		{"something-else", ""},
	} {
		got := Nearest(test.name)
		if len(got) > 3 {
			t.Errorf("Nearest(%q) = %q, more than three", test.name, got)
		}
		if first := strings.Join(got[:min(1, len(got))], ""); first != test.want {
			t.Errorf("Nearest(%q) = %q, want %q first", test.name, got, test.want)
		}
	}
}

func TestOneEdit(t *testing.T) {
	for _, test := range []struct {
		a, b string
		want bool
	}{
		{"groq", "groq", true},
		{"grok", "groq", true},
		{"groqq", "groq", true},
		{"goq", "groq", true},
		{"gorq", "groq", true},
		{"roq", "groq", true},
		{"", "g", true},
		{"rgqo", "groq", false},
		{"gr", "groq", false},
		{"grxx", "groq", false},
		{"qorg", "groq", false},
		{"", "gr", false},
	} {
		if got := oneEdit(test.a, test.b); got != test.want {
			t.Errorf("oneEdit(%q, %q) = %v, want %v", test.a, test.b, got, test.want)
		}
		if got := oneEdit(test.b, test.a); got != test.want {
			t.Errorf("oneEdit(%q, %q) = %v, want %v", test.b, test.a, got, test.want)
		}
	}
}

func TestPlacement_Value(t *testing.T) {
	for _, test := range []struct {
		place     Placement
		key, want string
	}{
		{Placement{Header: "x-api-key"}, "k1", "k1"},
		{bearer, "k1", "Bearer k1"},
		{Placement{Query: "key"}, "k1", "k1"},
		{BasicPlacement("AC1"), "k1", "Basic QUMxOmsx"},               // AC1:k1
		{BasicPlacement("api"), "key-1", "Basic YXBpOmtleS0x"},        // api:key-1
		{BasicPlacement("pk-lf-1"), "sk:1", "Basic cGstbGYtMTpzazox"}, // a password may have a colon
		{BasicPlacement(""), "sk_1", "Basic c2tfMTo="},                // sk_1:
	} {
		if got := test.place.Value(test.key); got != test.want {
			t.Errorf("%+v has %q, want %q", test.place, got, test.want)
		}
	}
}

func TestValidUser(t *testing.T) {
	for user, want := range map[string]bool{
		"": true, "api": true, "AC0123": true, "pk-lf-1": true, "a@b.example": true,
		"a:b": false, ":": false, "a b": false, "a\n": false, "é": false, "\x7f": false, strings.Repeat("a", 256): false,
	} {
		if got := ValidUser(user); got != want {
			t.Errorf("ValidUser(%q) = %v, want %v", user, got, want)
		}
	}
}
