package relayapi

import (
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/coder/websocket"
)

// agentCall is a request of a tool, and what of it the provider must receive as it is.
type agentCall struct {
	provider, method, target string
	carriers                 []string // where the tool puts its key: headers, or "?" and a query parameter
	header                   map[string]string
	body                     string
}

// Where tools put their keys.
const (
	inBearer = "Authorization"
	inXAPI   = "X-Api-Key"
	inAzure  = "Api-Key"
	inGoogle = "X-Goog-Api-Key"
	inKey    = "?key"
)

// plus returns headers with further ones.
func plus(common map[string]string, more ...string) map[string]string {
	all := maps.Clone(common)
	for pair := range slices.Chunk(more, 2) {
		all[pair[0]] = pair[1]
	}
	return all
}

// agentCalls are the first requests of coding agents, as their sources send them. The
// first ten of a tool are of fewer kinds than ten, because each turn repeats the call of
// the turn before. Each kind is here once.
var agentCalls = map[string][]agentCall{
	"claude":   claudeCalls,
	"codex":    codexCalls,
	"gemini":   geminiCalls,
	"aider":    aiderCalls,
	"opencode": opencodeCalls,
	"continue": continueCalls,
}

// Claude Code 2.1.197, from the script in npm's @anthropic-ai/claude-code-linux-x64. It
// asks HEAD of the base URL first, without a key: TestAgents_Probe. The first message
// learns the account's limits. Then there are the title of the session, which asks the
// small model, and one call for each turn.
//
// The key is ANTHROPIC_AUTH_TOKEN as a bearer, or ANTHROPIC_API_KEY in X-Api-Key. Both are
// sent if both are set, except for the list of models, which only
// CLAUDE_CODE_ENABLE_GATEWAY_MODEL_DISCOVERY asks for.
var (
	claudeHeader = map[string]string{
		"Accept": "application/json", "User-Agent": "claude-cli/2.1.197 (external, cli)", "X-App": "cli",
		"X-Claude-Code-Session-Id": "5f0c6f0e-8a44-4f0e-9a0b-6d1d7a4c2b11", "Anthropic-Version": "2023-06-01",
		"Anthropic-Dangerous-Direct-Browser-Access": "true",
		"X-Stainless-Lang":                          "js", "X-Stainless-Runtime": "node", "X-Stainless-Retry-Count": "0", "X-Stainless-Timeout": "600",
	}
	claudeTurn  = "claude-code-20250219,interleaved-thinking-2025-05-14,context-management-2025-06-27,prompt-caching-scope-2026-01-05,effort-2025-11-24"
	claudeCalls = []agentCall{
		{"anthropic", "POST", "/v1/messages?beta=true", []string{inBearer}, plus(claudeHeader, "Anthropic-Beta", "interleaved-thinking-2025-05-14"),
			`{"model":"claude-haiku-4-5-20251001","max_tokens":1,"messages":[{"role":"user","content":"quota"}],"metadata":{"user_id":"u"}}`},
		{"anthropic", "POST", "/v1/messages?beta=true", []string{inBearer}, plus(claudeHeader, "Anthropic-Beta", "interleaved-thinking-2025-05-14,structured-outputs-2025-12-15"),
			`{"model":"claude-haiku-4-5-20251001","max_tokens":32000,"messages":[{"role":"user","content":[{"type":"text","text":"hi"}]}],"stream":true}`},
		{"anthropic", "POST", "/v1/messages?beta=true", []string{inBearer}, plus(claudeHeader, "Anthropic-Beta", claudeTurn),
			`{"model":"claude-opus-4-5","max_tokens":32000,"system":[{"type":"text","text":"s","cache_control":{"type":"ephemeral"}}],"messages":[{"role":"user","content":[{"type":"text","text":"hi"}]}],"thinking":{"type":"enabled","budget_tokens":31999},"diagnostics":{"previous_message_id":null},"stream":true}`},
		{"anthropic", "POST", "/v1/messages?beta=true", []string{inXAPI}, plus(claudeHeader, "Anthropic-Beta", claudeTurn), ""},
		{"anthropic", "POST", "/v1/messages?beta=true", []string{inBearer, inXAPI}, plus(claudeHeader, "Anthropic-Beta", claudeTurn), ""},
		// A subagent's.
		{"anthropic", "POST", "/v1/messages?beta=true", []string{inBearer}, plus(claudeHeader, "Anthropic-Beta", claudeTurn,
			"X-Claude-Code-Agent-Id", "a1", "X-Claude-Code-Parent-Agent-Id", "a0"), ""},
		{"anthropic", "POST", "/v1/messages/count_tokens?beta=true", []string{inBearer}, plus(claudeHeader, "Anthropic-Beta",
			"claude-code-20250219,interleaved-thinking-2025-05-14,context-management-2025-06-27,token-counting-2024-11-01"),
			`{"model":"claude-opus-4-5","messages":[{"role":"user","content":"foo"}],"tools":[]}`},
		{"anthropic", "GET", "/v1/models?limit=1000", []string{inBearer}, map[string]string{
			"Anthropic-Version": "2023-06-01", "User-Agent": "claude-code/2.1.197 (cli)"}, ""},
		{"anthropic", "GET", "/v1/models?limit=1000", []string{inXAPI}, map[string]string{"Anthropic-Version": "2023-06-01"}, ""},
	}
)

// Codex, https://github.com/openai/codex, below codex-rs: login/src/auth/default_client.rs
// (originator, User-Agent), model-provider-info/src/lib.rs (version),
// codex-api/src/requests/headers.rs (session-id, thread-id), core/src/client.rs (the rest),
// and codex-api/src/endpoint for the paths.
//
// A provider of the user's own, as in docs/agents.md, makes POST /v1/responses for each
// turn and nothing else before: the models are built in, and models-manager/src/manager.rs
// asks for a list only if a command gives the key. supports_websockets or the built-in
// provider begin with the WebSocket: TestAgents_CodexWebSocket. Not open are
// /v1/alpha/search and /v1/memories/trace_summarize, which OpenAI's reference does not have.
var (
	codexHeader = map[string]string{
		"Originator": "codex_cli_rs", "User-Agent": "codex_cli_rs/0.171.0 (Ubuntu 24.4.0; x86_64) xterm-256color", "Version": "0.171.0",
		"Session-Id": "01990b6e-2a7c-7d20-9f8c-2f0a3d7f1c55", "Thread-Id": "01990b6e-2a7c-7d20-9f8c-2f0a3d7f1c55",
		"X-Client-Request-Id": "01990b6e-2a7c-7d20-9f8c-2f0a3d7f1c55", "X-Codex-Window-Id": "01990b6e-2a7c-7d20-9f8c-2f0a3d7f1c55:0",
		"X-Codex-Beta-Features": "multi_agent", "X-Codex-Turn-Metadata": `{"turn_id":"01990b6e","sandbox":"seccomp"}`,
	}
	codexBody  = `{"model":"gpt-5","instructions":"i","input":[{"type":"message","role":"user","content":[{"type":"input_text","text":"hi"}]}],"tools":[],"tool_choice":"auto","parallel_tool_calls":true,"reasoning":{"effort":"medium","summary":"auto"},"store":false,"stream":true,"include":["reasoning.encrypted_content"],"prompt_cache_key":"01990b6e","client_metadata":{"x-codex-installation-id":"i"}}`
	codexCalls = []agentCall{
		{"openai", "POST", "/v1/responses", []string{inBearer}, plus(codexHeader, "Accept", "text/event-stream"), codexBody},
		// The turn goes on: the provider's routing comes back to it.
		{"openai", "POST", "/v1/responses", []string{inBearer}, plus(codexHeader, "Accept", "text/event-stream", "X-Codex-Turn-State", "ts-1"), codexBody},
		{"openai", "POST", "/v1/responses", []string{inBearer}, plus(codexHeader, "Accept", "text/event-stream", "X-Openai-Subagent", "review"), codexBody},
		{"openai", "POST", "/v1/responses/compact", []string{inBearer}, codexHeader, `{"model":"gpt-5","input":[],"instructions":"i"}`},
		{"openai", "GET", "/v1/models?client_version=0.171.0", []string{inBearer}, map[string]string{"Originator": "codex_cli_rs"}, ""},
		{"openai", "POST", "/v1/images/generations", []string{inBearer}, codexHeader, `{"prompt":"p","background":"opaque","model":"gpt-image-1.5","quality":"medium","size":"1024x1536"}`},
		{"openai", "POST", "/v1/images/edits", []string{inBearer}, codexHeader, `{"images":[{"image_url":"data:image/png;base64,Zm9v"}],"prompt":"p","model":"gpt-image-1.5"}`},
	}
)

// Gemini CLI 0.61.0, npm's @google/gemini-cli-core, dist/src/core/contentGenerator.js and
// baseLlmClient.js, and @google/genai 1.30.0 for the paths. A turn streams. What chooses the
// model before it, and compresses the chat, does not. Tokens are counted where the prompt
// has media. The bearer is GEMINI_API_KEY_AUTH_MECHANISM.
var (
	geminiHeader = map[string]string{
		"User-Agent":                      "GeminiCLI/0.61.0/gemini-2.5-pro (linux; x64; terminal)",
		"X-Goog-Api-Client":               "google-genai-sdk/1.30.0 gl-node/v22.18.0",
		"X-Gemini-Api-Privileged-User-Id": "6f1b2f5a-5d3c-4a39-8a87-6f2c6d0a4f10",
	}
	geminiTurn  = `{"contents":[{"role":"user","parts":[{"text":"hi"}]}],"generationConfig":{"temperature":1,"topP":0.95,"topK":64}}`
	geminiCalls = []agentCall{
		{"gemini", "POST", "/v1beta/models/gemini-2.5-flash-lite:generateContent", []string{inGoogle}, geminiHeader, geminiTurn},
		{"gemini", "POST", "/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse", []string{inGoogle}, geminiHeader, geminiTurn},
		{"gemini", "POST", "/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse", []string{inGoogle, inBearer}, geminiHeader, geminiTurn},
		{"gemini", "POST", "/v1beta/models/gemini-2.5-pro:countTokens", []string{inGoogle}, geminiHeader, `{"contents":[{"role":"user","parts":[{"text":"hi"}]}]}`},
		{"gemini", "POST", "/v1beta/models/gemini-embedding-001:batchEmbedContents", []string{inGoogle}, geminiHeader,
			`{"requests":[{"content":{"parts":[{"text":"hi"}]},"model":"models/gemini-embedding-001"}]}`},
	}
)

// aider, https://github.com/Aider-AI/aider, aider/models.py: every turn is one streamed call
// of litellm, and the message of a commit is one of the weak model that does not stream.
// The headers for Claude are in aider/resources/model-settings.yml, requirements.txt has
// litellm 1.82.3 and openai 2.28.0. litellm (https://github.com/BerriAI/litellm) makes the
// calls: litellm/llms/anthropic/common_utils.py (x-api-key, or a bearer from
// ANTHROPIC_AUTH_TOKEN), _check_custom_proxy in litellm/llms/vertex_ai/vertex_llm_base.py for
// Gemini, and responses_api_bridge_check for models that only have the Responses API.
var (
	aiderOpenAI = map[string]string{
		"User-Agent": "OpenAI/Python 2.28.0", "X-Stainless-Lang": "python", "X-Stainless-Package-Version": "2.28.0",
		"X-Stainless-Raw-Response": "true", "X-Stainless-Retry-Count": "0", "X-Stainless-Async": "false",
	}
	aiderAnthropic = map[string]string{"User-Agent": "litellm/1.82.3", "Accept": "application/json", "Anthropic-Version": "2023-06-01",
		"Anthropic-Beta": "prompt-caching-2024-07-31,pdfs-2024-09-25,output-128k-2025-02-19"}
	aiderCalls = []agentCall{
		{"openai", "POST", "/v1/chat/completions", []string{inBearer}, aiderOpenAI, `{"messages":[{"role":"user","content":"hi"}],"model":"gpt-4o","stream":true,"temperature":0}`},
		{"openai", "POST", "/v1/chat/completions", []string{inBearer}, aiderOpenAI, `{"messages":[{"role":"user","content":"hi"}],"model":"gpt-4o-mini","stream":false,"temperature":0}`},
		{"openai", "POST", "/v1/responses", []string{inBearer}, map[string]string{"User-Agent": "litellm/1.82.3"}, `{"model":"gpt-5-codex","input":[],"stream":true}`},
		{"anthropic", "POST", "/v1/messages", []string{inXAPI}, aiderAnthropic, `{"model":"claude-sonnet-4-20250514","messages":[{"role":"user","content":"hi"}],"max_tokens":64000,"stream":true}`},
		{"anthropic", "POST", "/v1/messages", []string{inBearer}, aiderAnthropic, ""},
		{"gemini", "POST", "/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse", []string{inGoogle}, nil, geminiTurn},
		{"gemini", "POST", "/v1beta/models/gemini-2.5-flash:generateContent", []string{inGoogle}, nil, geminiTurn},
	}
)

// OpenCode, https://github.com/anomalyco/opencode, below packages/opencode/src:
// session/llm/request.ts (User-Agent, to which the SDKs append, and the session),
// provider/provider.ts (the beta header) and provider/discover.ts (the list of models of a
// compatible server, which has no other headers). npm's @ai-sdk/anthropic 3.0.140,
// @ai-sdk/openai 3.0.141, @ai-sdk/google 3.0.141 and @ai-sdk/openai-compatible 2.0.92 have
// the paths and the keys. Everything streams: first the title, with a small model.
var (
	opencodeHeader = map[string]string{
		"User-Agent":         "opencode/1.18.33 ai/6.0.326 ai-sdk/provider-utils/4.0.66 runtime/bun/1.3.0",
		"X-Session-Affinity": "ses_6a1f", "X-Session-Id": "ses_6a1f",
	}
	opencodeAnthropic = plus(opencodeHeader, "Anthropic-Version", "2023-06-01",
		"Anthropic-Beta", "interleaved-thinking-2025-05-14,fine-grained-tool-streaming-2025-05-14")
	opencodeCalls = []agentCall{
		{"anthropic", "POST", "/v1/messages", []string{inXAPI}, opencodeAnthropic, `{"model":"claude-haiku-4-5","max_tokens":32000,"messages":[{"role":"user","content":[{"type":"text","text":"hi"}]}],"stream":true}`},
		// A subagent's.
		{"anthropic", "POST", "/v1/messages", []string{inXAPI}, plus(opencodeAnthropic, "X-Parent-Session-Id", "ses_6a1e"), `{"model":"claude-sonnet-4-5","max_tokens":32000,"messages":[],"tools":[],"stream":true}`},
		{"openai", "POST", "/v1/responses", []string{inBearer}, opencodeHeader, `{"model":"gpt-5","input":[{"role":"user","content":[{"type":"input_text","text":"hi"}]}],"store":false,"stream":true}`},
		{"openai", "POST", "/v1/chat/completions", []string{inBearer}, opencodeHeader, `{"model":"gpt-4o","messages":[{"role":"user","content":"hi"}],"stream":true,"stream_options":{"include_usage":true}}`},
		{"openai", "GET", "/v1/models", []string{inBearer}, nil, ""},
		{"gemini", "POST", "/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse", []string{inGoogle}, opencodeHeader, geminiTurn},
	}
)

// Continue, https://github.com/continuedev/continue. Its command makes one streamed call for
// each turn, with packages/openai-adapters/src/apis: OpenAI.ts (OpenAI's SDK 5, and keys in
// two headers for what the SDK does not have), AnthropicUtils.ts, and Gemini.ts (@google/genai,
// which has its URL from GOOGLE_GEMINI_BASE_URL and not from apiBase). Its editors also
// have core/llm/llms: OpenAI.ts, which sends the key as a bearer and in api-key, and Gemini.ts,
// which sends it in the query. They add completions and embeddings.
var (
	continueSDK = map[string]string{
		"Accept": "application/json", "User-Agent": "OpenAI/JS 5.23.2",
		"X-Stainless-Lang": "js", "X-Stainless-Package-Version": "5.23.2", "X-Stainless-Runtime": "node", "X-Stainless-Retry-Count": "0",
	}
	continueAnthropic = map[string]string{"Accept": "application/json", "Anthropic-Version": "2023-06-01"}
	continueCalls     = []agentCall{
		{"openai", "POST", "/v1/chat/completions", []string{inBearer}, continueSDK, `{"model":"gpt-4o","messages":[{"role":"user","content":"hi"}],"stream":true,"stream_options":{"include_usage":true}}`},
		{"openai", "POST", "/v1/chat/completions", []string{inBearer, inAzure}, nil, `{"messages":[{"role":"user","content":"hi"}],"model":"gpt-4o","stream":true}`},
		{"openai", "POST", "/v1/responses", []string{inBearer, inAzure}, nil, `{"model":"gpt-5","input":[],"stream":true}`},
		{"openai", "POST", "/v1/completions", []string{inBearer, inAzure}, nil, `{"model":"gpt-3.5-turbo-instruct","prompt":"p","stream":true}`},
		{"openai", "POST", "/v1/embeddings", []string{inBearer}, continueSDK, `{"input":["a"],"model":"text-embedding-3-small","encoding_format":"base64"}`},
		{"openai", "GET", "/v1/models", []string{inBearer}, continueSDK, ""},
		{"mistral", "POST", "/v1/fim/completions", []string{inBearer, inXAPI}, map[string]string{"Accept": "application/json"},
			`{"model":"codestral-latest","prompt":"p","suffix":"s","stream":true}`},
		{"anthropic", "POST", "/v1/messages", []string{inXAPI}, continueAnthropic, `{"messages":[],"model":"claude-sonnet-4-5","max_tokens":8192,"stream":true}`},
		{"anthropic", "POST", "/v1/messages", []string{inXAPI}, plus(continueAnthropic, "Anthropic-Beta", "prompt-caching-2024-07-31"), ""},
		{"gemini", "POST", "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse", []string{inGoogle}, nil, geminiTurn},
		{"gemini", "POST", "/v1beta/models/gemini-2.5-flash:streamGenerateContent", []string{inKey}, nil, geminiTurn},
		{"gemini", "POST", "/v1beta/models/gemini-embedding-001:batchEmbedContents", []string{inGoogle}, nil, `{"requests":[]}`},
	}
)

// bring puts a token where a tool puts its key.
func bring(r *http.Request, carrier, token string) {
	if name, query := strings.CutPrefix(carrier, "?"); query {
		r.URL.RawQuery = name + "=" + token
		return
	}
	if carrier == inBearer {
		token = "Bearer " + token
	}
	r.Header.Set(carrier, token)
}

// startForAgents starts a relay with the providers of coding agents at one server.
func startForAgents(t *testing.T, up *upstream) *testRelay {
	var providers []string
	for _, name := range []string{"anthropic", "openai", "gemini", "mistral"} {
		providers = append(providers, section("provider "+name+" "+up.URL, "api_key {env.RELAYAPI_TEST_KEY}"))
	}
	return startRelay(t, simple(up.URL, inApp(providers...), func(c *testConfig) { c.grants = "anthropic openai gemini mistral" }))
}

// Coding agents' requests are open by default, and what they say to the provider
// reaches it, with the real key once and nothing of the token.
func TestAgents_ReachTheirProviders(t *testing.T) {
	up := newUpstream(t, nil)
	relay := startForAgents(t, up)
	for agent, kinds := range agentCalls {
		for _, tc := range kinds {
			t.Run(agent+" "+tc.method+" "+tc.target, func(t *testing.T) {
				token := relay.mint(forProvider(tc.provider))
				body := tc.body
				if body == "" && tc.method == "POST" {
					body = `{"model":"m","max_tokens":1,"messages":[]}`
				}
				before := len(up.requests())
				res, answer := relay.do(relay.request(asking(tc.method, tc.target), func(r *http.Request) {
					r.Body, r.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
					if body == "" {
						r.Body = http.NoBody
					}
					for _, carrier := range tc.carriers {
						bring(r, carrier, token)
					}
					for name, value := range tc.header {
						r.Header.Set(name, value)
					}
				}))
				seen := up.requests()[before:]
				if res.StatusCode != http.StatusOK || len(seen) != 1 {
					t.Fatalf("got %d %s and %d requests at the provider, want 200 and 1", res.StatusCode, answer, len(seen))
				}

				got := seen[0]
				if got.Method != tc.method || got.RequestURI != tc.target || string(got.body) != body {
					t.Errorf("the provider got %s %s %s, want %s %s %s", got.Method, got.RequestURI, got.body, tc.method, tc.target, body)
				}
				wantAgentHeader(t, got, tc.header, token)
			})
		}
	}
}

// wantAgentHeader checks that the provider got a tool's headers as they were, the real key
// once and nothing of the token.
func wantAgentHeader(t *testing.T, got received, header map[string]string, token string) {
	t.Helper()
	for name, value := range header {
		if values := got.Header.Values(name); !slices.Equal(values, []string{value}) {
			t.Errorf("the provider got %s %q, want %q", name, values, value)
		}
	}
	if n := strings.Count(got.raw, realKey); n != 1 || leak(got.raw+string(got.body), token, 16) {
		t.Errorf("the provider got the real key %d times, want once and nothing of the token", n)
	}
}

// Codex opens a WebSocket before the first turn, offers compression, and says
// response.create to warm up and for each turn, which continues what was before
// (codex-rs/codex-api/src/endpoint/responses_websocket.rs, codex-rs/core/src/client.rs,
// codex-rs/core/tests/suite/client_websockets.rs).
func TestAgents_CodexWebSocket(t *testing.T) {
	up := newUpstream(t, echo(t, make(chan error, 1)))
	relay := startForAgents(t, up)
	token := relay.mint(forProvider("openai"))
	header := plus(codexHeader, "Openai-Beta", "responses_websockets=2026-02-06")
	conn, _, err := relay.dial("/v1/responses", wsBearer(token), func(o *websocket.DialOptions) {
		o.CompressionMode = websocket.CompressionContextTakeover
		for name, value := range header {
			o.HTTPHeader.Set(name, value)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, message := range []string{
		`{"type":"response.create","generate":false,` + codexBody[1:],
		`{"type":"response.create","previous_response_id":"resp_1",` + codexBody[1:],
	} {
		say(t, conn, message)
		if _, data, err := conn.Read(t.Context()); err != nil || string(data) != message {
			t.Fatalf("said %s, heard %s, %v", message, data, err)
		}
	}
	got := up.one(t)
	if got.RequestURI != "/v1/responses" {
		t.Errorf("the provider got %s, want /v1/responses", got.RequestURI)
	}
	wantAgentHeader(t, got, header, token)
}

// Tools that ask whether a server is there get an answer, with nothing counted, logged as
// refused or asked of a provider. A relay with a prefix has the provider in its base URL.
func TestAgents_Probe(t *testing.T) {
	for name, tc := range map[string]struct{ directive, base string }{"alone": {"", ""}, "prefix": {"prefix /api", "/api/demo"}} {
		t.Run(name, func(t *testing.T) {
			up := newUpstream(t, nil)
			relay := startRelay(t, simple(up.URL, inDirective(tc.directive)))
			for _, probe := range []struct{ method, path string }{{"HEAD", "/"}, {"HEAD", "/api/hello"}, {"OPTIONS", "/"}} {
				res, body := relay.do(relay.request(asking(probe.method, tc.base+probe.path), header("User-Agent", "Bun/1.4.0")))
				if res.StatusCode != 200 || body != "" {
					t.Errorf("%s %s: got %d %s, want an empty 200", probe.method, probe.path, res.StatusCode, body)
				}
			}
			res, _ := relay.do(relay.request(asking("HEAD", tc.base+"/v1/models")))
			if res.StatusCode != 401 {
				t.Errorf("HEAD of a path of the API: got %d, want 401", res.StatusCode)
			}
			if n, refused := len(up.requests()), len(relay.rules()); n != 0 || refused != 1 {
				t.Errorf("%d requests at the provider and %d refusals, want 0 and 1", n, refused)
			}
		})
	}
}
