package relayapi

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/relayapi/caddy-relayapi/grant"
)

// Coding agents' requests are open by default, and what they say to the provider
// reaches it. The sources are:
//
//   - Claude Code: https://code.claude.com/docs/en/llm-gateway-protocol
//   - Codex: https://github.com/openai/codex, codex-rs/codex-api
//   - Gemini CLI: https://github.com/googleapis/js-genai, src/models.ts
//   - aider: https://docs.litellm.ai/docs/providers/openai_compatible
//   - OpenCode: https://ai-sdk.dev/providers/ai-sdk-providers/anthropic
//   - Continue: https://github.com/continuedev/continue, packages/openai-adapters/src/apis
func TestAgents_ReachTheirProviders(t *testing.T) {
	up := newUpstream(t, nil)
	const key = "{\napi_key {env.RELAYAPI_TEST_KEY}\n}"
	relay := startRelay(t, simple(up.URL,
		inApp("provider anthropic "+up.URL+" "+key, "provider openai "+up.URL+" "+key, "provider gemini "+up.URL+" "+key),
		func(c *testConfig) { c.grants = "anthropic openai gemini" }))

	const bearers, xAPIKey, goog = "Authorization", "X-Api-Key", "X-Goog-Api-Key"
	for _, tc := range []struct {
		agent, provider, method, target string
		carriers                        []string
		header                          map[string]string // that must reach the provider
	}{
		{"claude", "anthropic", "POST", "/v1/messages?beta=true", []string{bearers, xAPIKey},
			map[string]string{"Anthropic-Beta": "claude-code-20250219,interleaved-thinking-2025-05-14", "Anthropic-Version": "2023-06-01", "X-App": "cli"}},
		{"claude", "anthropic", "POST", "/v1/messages?beta=true", []string{bearers}, map[string]string{"Anthropic-Version": "2023-06-01"}},
		{"claude", "anthropic", "POST", "/v1/messages/count_tokens?beta=true", []string{bearers},
			map[string]string{"Anthropic-Beta": "token-counting-2024-11-01"}},
		{"claude", "anthropic", "GET", "/v1/models?limit=1000", []string{bearers, xAPIKey}, map[string]string{"Anthropic-Version": "2023-06-01"}},
		{"opencode", "anthropic", "POST", "/v1/messages", []string{xAPIKey}, map[string]string{"Anthropic-Beta": "fine-grained-tool-streaming-2025-05-14"}},
		{"opencode", "anthropic", "POST", "/v1/messages", []string{xAPIKey}, map[string]string{"Anthropic-Beta": "claude-code-20250219,interleaved-thinking-2025-05-14,fine-grained-tool-streaming-2025-05-14"}},
		{"opencode", "openai", "POST", "/v1/responses", []string{bearers}, map[string]string{"User-Agent": "ai-sdk/openai/3.0.0"}},
		{"opencode", "openai", "POST", "/v1/chat/completions", []string{bearers}, nil},
		{"opencode", "gemini", "POST", "/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse", []string{goog}, nil},
		{"codex", "openai", "POST", "/v1/responses", []string{bearers}, map[string]string{"Originator": "codex_cli_rs", "Accept": "text/event-stream"}},
		{"codex", "openai", "POST", "/v1/responses/compact", []string{bearers}, nil},
		{"codex", "openai", "GET", "/v1/models?client_version=0.162.1", []string{bearers}, nil},
		{"codex", "openai", "POST", "/v1/responses", []string{bearers}, map[string]string{"Session-Id": "0198", "Thread-Id": "0198", "X-Client-Request-Id": "0198", "X-Codex-Turn-Metadata": "{}"}},
		{"codex", "openai", "POST", "/v1/images/generations", []string{bearers}, nil},
		{"codex", "openai", "POST", "/v1/images/edits", []string{bearers}, nil},
		{"aider", "openai", "POST", "/v1/chat/completions", []string{bearers}, map[string]string{"X-Stainless-Lang": "python"}},
		{"aider", "openai", "POST", "/v1/responses", []string{bearers}, nil},
		{"aider", "anthropic", "POST", "/v1/messages", []string{xAPIKey}, map[string]string{"Anthropic-Version": "2023-06-01", "Anthropic-Beta": "prompt-caching-2024-07-31"}},
		{"aider", "gemini", "POST", "/v1beta/models/gemini-2.5-pro:generateContent", []string{goog}, nil},
		{"continue", "openai", "POST", "/v1/chat/completions", []string{bearers}, map[string]string{"X-Stainless-Lang": "js"}},
		{"continue", "openai", "POST", "/v1/chat/completions", []string{bearers, xAPIKey}, nil}, // the headers that it sets by itself
		{"continue", "openai", "POST", "/v1/responses", []string{bearers}, nil},
		{"continue", "openai", "POST", "/v1/completions", []string{bearers}, nil},
		{"continue", "openai", "POST", "/v1/embeddings", []string{bearers}, nil},
		{"continue", "openai", "GET", "/v1/models", []string{bearers}, nil},
		{"continue", "anthropic", "POST", "/v1/messages", []string{xAPIKey}, map[string]string{"Anthropic-Version": "2023-06-01", "Anthropic-Beta": "prompt-caching-2024-07-31"}},
		{"continue", "gemini", "POST", "/v1beta/models/gemini-2.5-pro:batchEmbedContents", []string{goog}, nil},
		{"gemini", "gemini", "POST", "/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse", []string{goog}, map[string]string{"X-Goog-Api-Client": "google-genai-sdk/1.30.0"}},
		{"gemini", "gemini", "POST", "/v1beta/models/gemini-2.5-pro:generateContent", []string{goog}, nil},
		{"gemini", "gemini", "POST", "/v1beta/models/gemini-2.5-pro:countTokens", []string{goog}, nil},
	} {
		t.Run(tc.agent+" "+tc.method+" "+tc.target, func(t *testing.T) {
			token := relay.mint(func(c *grant.Claims) { c.Provider = tc.provider })
			before := len(up.requests())
			res, body := relay.do(relay.request(asking(tc.method, tc.target), func(r *http.Request) {
				for _, carrier := range tc.carriers {
					value := token
					if carrier == bearers {
						value = "Bearer " + token
					}
					r.Header.Set(carrier, value)
				}
				for name, value := range tc.header {
					r.Header.Set(name, value)
				}
			}))
			seen := up.requests()[before:]
			if res.StatusCode != http.StatusOK || len(seen) != 1 {
				t.Fatalf("got %d %s and %d requests at the provider, want 200 and 1", res.StatusCode, body, len(seen))
			}

			got := seen[0]
			if got.RequestURI != tc.target {
				t.Errorf("the provider got %s, want %s", got.RequestURI, tc.target)
			}
			for name, value := range tc.header {
				if values := got.Header.Values(name); !slices.Equal(values, []string{value}) {
					t.Errorf("the provider got %s %q, want %q", name, values, value)
				}
			}
			if n := strings.Count(got.raw, realKey); n != 1 || leak(got.raw, token, 16) {
				t.Errorf("the provider got the real key %d times, want once and nothing of the token", n)
			}
		})
	}
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
