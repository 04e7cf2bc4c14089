package telemetry

import (
	"context"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/relayapi/caddy-relayapi/tokenstore"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
)

func to(ctx context.Context, path string) *http.Request {
	r := httptest.NewRequestWithContext(ctx, "POST", path, nil)
	r.Header.Set("User-Agent", "curl/8")
	return r
}

func always(text string) func() string { return func() string { return text } }

func TestTrace_DescribesACallOnItsSpan(t *testing.T) {
	token := "eyJhbGciOiJFQ0RILUVTIn0.." + strings.Repeat("aB3", 20)
	base := func(text string) *url.URL {
		u, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	for name, tc := range map[string]struct {
		path string
		call Call
		used []tokenstore.Usage
		want map[string]any
	}{
		"nothing": {"/", Call{}, nil, map[string]any{}},
		"a refusal before the token is open": {"/v1/chat/completions", Call{Error: "invalid_token"}, nil,
			map[string]any{"error.type": "invalid_token", "gen_ai.operation.name": "chat"}},
		"a chat": {"/v1/chat/completions",
			Call{TokenID: "t1", Issuer: "backend", Preset: "openai", Base: base("https://api.openai.com"),
				Asked: always("gpt-5"), Answered: always("gpt-5-2026-01-01")},
			[]tokenstore.Usage{{Input: 7, CacheRead: 15, Output: 4, Reasoning: 3}},
			map[string]any{"relayapi.token_id": "t1", "relayapi.issuer": "backend", "server.address": "api.openai.com", "server.port": int64(443),
				"gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.request.model": "gpt-5", "gen_ai.response.model": "gpt-5-2026-01-01",
				"gen_ai.usage.input_tokens": int64(22), "gen_ai.usage.cache_read.input_tokens": int64(15),
				"gen_ai.usage.output_tokens": int64(4), "gen_ai.usage.reasoning.output_tokens": int64(3)}},
		"a session of two responses": {"/v1/realtime",
			Call{Preset: "bedrock", Base: base("http://127.0.0.1:8080/x")},
			[]tokenstore.Usage{{Input: 1, AudioInput: 10, CacheWrite: 4, Output: 2}, {ImageInput: 100, CacheWriteHour: 5, AudioOutput: 20, ImageOutput: 200}},
			map[string]any{"server.address": "127.0.0.1", "server.port": int64(8080), "gen_ai.operation.name": "chat", "gen_ai.provider.name": "aws.bedrock",
				"gen_ai.usage.input_tokens": int64(120), "gen_ai.usage.cache_creation.input_tokens": int64(9), "gen_ai.usage.output_tokens": int64(222)}},
		"a token in the path": {"/v1/x/" + token, Call{Bare: true, Known: []string{token}}, nil,
			map[string]any{"url.path": "/v1/x/***", "user_agent.original": "curl/8", "client.address": "192.0.2.1", "server.address": "example.com"}},
		"a token in the host": {"http://" + token[30:60] + "/v1/x", Call{Bare: true, Known: []string{token}}, nil,
			map[string]any{"user_agent.original": "curl/8", "client.address": "192.0.2.1", "server.address": "***"}},
		"an API of another kind, which fails": {"/2010/Messages.json",
			Call{Status: 500, TokenID: "t1", Preset: "twilio", Base: base("http://api.example.com")}, nil,
			map[string]any{"relayapi.token_id": "t1", "error.type": "500", "server.address": "api.example.com", "server.port": int64(80)}},
	} {
		t.Run(name, func(t *testing.T) {
			recorder := tracetest.NewSpanRecorder()
			ctx, span := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder)).Tracer("").Start(t.Context(), "handler")
			var call Trace
			call.Begin(source(func() Call { return tc.call }), to(ctx, tc.path))
			call.Admitted()
			for _, u := range tc.used {
				call.Used(&u)
			}
			call.End()
			span.End()
			got := make(map[string]any)
			for _, kv := range recorder.Ended()[0].Attributes() {
				got[string(kv.Key)] = kv.Value.AsInterface()
			}
			if !maps.Equal(got, tc.want) {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
}

func TestOperationOf(t *testing.T) {
	for path, want := range map[string]string{
		"/v1/chat/completions": "chat",
		"/v1/responses":        "chat",
		"/v1/messages":         "chat",
		"/v2/chat":             "chat",
		"/model/anthropic.claude/converse-stream":        "chat",
		"/v1/completions":                                "text_completion",
		"/v1/embeddings":                                 "embeddings",
		"/v1beta/models/gemini-3:streamGenerateContent":  "generate_content",
		"/v1beta/models/gemini-embedding-2:embedContent": "embeddings",
		"/v1/audio/speech":                               "",
		"/v1/models":                                     "",
		"":                                               "",
	} {
		if got := operationOf(path); got != want {
			t.Errorf("%s: got %q, want %q", path, got, want)
		}
	}
}
