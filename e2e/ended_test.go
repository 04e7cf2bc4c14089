package e2e

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	anthropicsdk "github.com/anthropics/anthropic-sdk-go"
	anthropicoption "github.com/anthropics/anthropic-sdk-go/option"
	openaisdk "github.com/openai/openai-go/v3"
	openaioption "github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/responses"
	"github.com/relayapi/caddy-relayapi/dialect"
	"google.golang.org/genai"
)

const endedMessage = "the budget of this token is used up"

// events is a stream of server-sent events with these data.
func events(data ...string) string {
	return "data: " + strings.Join(data, "\n\ndata: ") + "\n\n"
}

// Streams of each form, cut where a budget ends them, as the SDKs of their
// providers read them.
func TestBudgetEnded_IsThrownBySDKs(t *testing.T) {
	chat := events(`{"id":"c","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"a"}}]}`)
	for name, c := range map[string]struct {
		dialect    string
		path, kind string
		stream     string
		ask        func(ctx context.Context, base string) (events int, err error)
	}{
		"Chat Completions": {"openai", "/v1/chat/completions", "text/event-stream", chat, func(ctx context.Context, base string) (n int, err error) {
			client := sdkOfOpenAI(base)
			stream := client.Chat.Completions.NewStreaming(ctx, openaisdk.ChatCompletionNewParams{Model: "m", Messages: []openaisdk.ChatCompletionMessageParamUnion{openaisdk.UserMessage("hi")}})
			for stream.Next() {
				n++
			}
			return n, stream.Err()
		}},
		"Responses": {"openai", "/v1/responses", "text/event-stream", "event: response.output_text.delta\n" + events(`{"type":"response.output_text.delta","delta":"a"}`), func(ctx context.Context, base string) (n int, err error) {
			client := sdkOfOpenAI(base)
			stream := client.Responses.NewStreaming(ctx, responses.ResponseNewParams{Model: "m"})
			for stream.Next() {
				n++
			}
			return n, stream.Err()
		}},
		"Messages": {"anthropic", "/v1/messages", "text/event-stream", "event: content_block_delta\n" + events(`{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"a"}}`), func(ctx context.Context, base string) (n int, err error) {
			client := anthropicsdk.NewClient(anthropicoption.WithBaseURL(base), anthropicoption.WithAPIKey("x"), anthropicoption.WithMaxRetries(0))
			stream := client.Messages.NewStreaming(ctx, anthropicsdk.MessageNewParams{Model: "m", MaxTokens: 1, Messages: []anthropicsdk.MessageParam{anthropicsdk.NewUserMessage(anthropicsdk.NewTextBlock("hi"))}})
			for stream.Next() {
				n++
			}
			return n, stream.Err()
		}},
		"streamGenerateContent": {"gemini", "/v1beta/models/m:streamGenerateContent", "text/event-stream", events(`{"candidates":[{"content":{"parts":[{"text":"a"}],"role":"model"}}]}`), func(ctx context.Context, base string) (n int, err error) {
			client, err := genai.NewClient(ctx, &genai.ClientConfig{APIKey: "x", Backend: genai.BackendGeminiAPI, HTTPOptions: genai.HTTPOptions{BaseURL: base}})
			if err != nil {
				return 0, err
			}
			for _, err := range client.Models.GenerateContentStream(ctx, "m", genai.Text("hi"), nil) {
				if err != nil {
					return n, err
				}
				n++
			}
			return n, nil
		}},
	} {
		t.Run(name, func(t *testing.T) {
			d, ok := dialect.Lookup(c.dialect)
			if !ok {
				t.Fatalf("no dialect %s", c.dialect)
			}
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != c.path {
					t.Errorf("asked for %s, want %s", r.URL.Path, c.path)
				}
				w.Header().Set("Content-Type", c.kind)
				_, _ = w.Write([]byte(c.stream))
				_, _ = w.Write(d.BudgetEnded(&dialect.Request{Method: "POST", Path: c.path}, dialect.Answer{Status: 200, ContentType: c.kind}, "budget_used_up", endedMessage))
			}))
			defer server.Close()
			n, err := c.ask(t.Context(), server.URL)
			if n != 1 || err == nil || !strings.Contains(err.Error(), endedMessage) {
				t.Errorf("got %d events and %v; want one, and that the budget is used up", n, err)
			}
		})
	}
}

func sdkOfOpenAI(base string) openaisdk.Client {
	return openaisdk.NewClient(openaioption.WithBaseURL(base+"/v1"), openaioption.WithAPIKey("x"), openaioption.WithMaxRetries(0))
}
