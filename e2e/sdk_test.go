// Package e2e tests the relay with the official clients. It is a module of its
// own, because their dependencies would otherwise take part in the version
// selection of every build that includes the relay.
package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/anthropics/anthropic-sdk-go"
	anthropicoption "github.com/anthropics/anthropic-sdk-go/option"
	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/responses"
	"github.com/relayapi/caddy-relayapi/grant"
	"google.golang.org/genai"
)

// The SDKs are what they are: these tests set a base URL and put the token where
// the API key goes, and nothing else.

// overBothForms runs a test against a relay without a prefix and one with it.
func overBothForms(t *testing.T, up *upstream, test func(t *testing.T, relay *relay)) {
	clearSDKEnvironment(t)
	for name, prefix := range map[string]string{"without prefix": "", "with prefix": "/api"} {
		t.Run(name, func(t *testing.T) { test(t, startRelay(t, up, prefix)) })
	}
}

// clearSDKEnvironment hides the variables that SDKs read from them.
func clearSDKEnvironment(t *testing.T) {
	t.Helper()
	for _, entry := range os.Environ() {
		name, _, _ := strings.Cut(entry, "=")
		for _, prefix := range []string{"OPENAI_", "ANTHROPIC_", "GEMINI_", "GOOGLE_"} {
			if strings.HasPrefix(name, prefix) {
				t.Setenv(name, "") // to have it back afterwards
				_ = os.Unsetenv(name)
			}
		}
	}
}

func openaiClient(base, token string) openai.Client {
	return openai.NewClient(option.WithBaseURL(base+"/v1"), option.WithAPIKey(token))
}

func anthropicClient(base, token string) anthropic.Client {
	return anthropic.NewClient(anthropicoption.WithBaseURL(base), anthropicoption.WithAPIKey(token))
}

func anthropicBearerClient(base, token string) anthropic.Client {
	return anthropic.NewClient(anthropicoption.WithBaseURL(base), anthropicoption.WithAuthToken(token))
}

func geminiClient(ctx context.Context, base, token, version string) (*genai.Client, error) {
	return genai.NewClient(ctx, &genai.ClientConfig{APIKey: token, Backend: genai.BackendGeminiAPI,
		HTTPOptions: genai.HTTPOptions{BaseURL: base, APIVersion: version}})
}

func openaiChat(ctx context.Context, base, token string) (string, error) {
	client := openaiClient(base, token)
	res, err := client.Chat.Completions.New(ctx, openai.ChatCompletionNewParams{
		Model: "gpt-x", Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage("hello relay")},
	})
	if err != nil {
		return "", err
	}
	return fmt.Sprint(res.Choices[0].Message.Content, " ", res.Usage.TotalTokens), nil
}

func openaiChatStream(ctx context.Context, base, token string) (string, error) {
	client := openaiClient(base, token)
	stream := client.Chat.Completions.NewStreaming(ctx, openai.ChatCompletionNewParams{
		Model: "gpt-x", Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage("hello relay")},
		StreamOptions: openai.ChatCompletionStreamOptionsParam{IncludeUsage: openai.Bool(true)},
	})
	defer stream.Close()
	var all openai.ChatCompletionAccumulator
	for stream.Next() {
		all.AddChunk(stream.Current())
	}
	if stream.Err() != nil {
		return "", stream.Err()
	}
	return fmt.Sprint(all.Choices[0].Message.Content, " ", all.Usage.TotalTokens), nil
}

func openaiResponse(ctx context.Context, base, token string) (string, error) {
	client := openaiClient(base, token)
	res, err := client.Responses.New(ctx, responses.ResponseNewParams{
		Model: "gpt-x", Input: responses.ResponseNewParamsInputUnion{OfString: openai.String("hello relay")},
	})
	if err != nil {
		return "", err
	}
	return fmt.Sprint(res.OutputText(), " ", res.Usage.TotalTokens), nil
}

func openaiResponseStream(ctx context.Context, base, token string) (string, error) {
	client := openaiClient(base, token)
	stream := client.Responses.NewStreaming(ctx, responses.ResponseNewParams{
		Model: "gpt-x", Input: responses.ResponseNewParamsInputUnion{OfString: openai.String("hello relay")},
	})
	defer stream.Close()
	var text string
	var total int64
	for stream.Next() {
		switch event := stream.Current(); event.Type {
		case "response.output_text.delta":
			text += event.Delta
		case "response.completed":
			total = event.Response.Usage.TotalTokens
		}
	}
	return fmt.Sprint(text, " ", total), stream.Err()
}

func openaiEmbedding(ctx context.Context, base, token string) (string, error) {
	client := openaiClient(base, token)
	res, err := client.Embeddings.New(ctx, openai.EmbeddingNewParams{
		Model: "embed-x", Input: openai.EmbeddingNewParamsInputUnion{OfArrayOfStrings: []string{"one", "two"}},
	})
	if err != nil {
		return "", err
	}
	return fmt.Sprint(len(res.Data), res.Data[1].Embedding), nil
}

// audio is more than what is read ahead, so that the upload is streamed.
var audio = bytes.Repeat([]byte("\x00\xff\r\n--boundary"), 8<<10)

func openaiTranscription(ctx context.Context, base, token string) (string, error) {
	client := openaiClient(base, token)
	res, err := client.Audio.Transcriptions.New(ctx, openai.AudioTranscriptionNewParams{
		Model: "whisper-1", File: openai.File(bytes.NewReader(audio), "speech.mp3", "audio/mpeg"),
	})
	if err != nil {
		return "", err
	}
	return res.Text, nil
}

var helloClaude = anthropic.MessageNewParams{
	Model: "claude-x", MaxTokens: 16,
	Messages: []anthropic.MessageParam{anthropic.NewUserMessage(anthropic.NewTextBlock("hello relay"))},
}

func anthropicMessage(connect func(base, token string) anthropic.Client) sdkCall {
	return func(ctx context.Context, base, token string) (string, error) {
		client := connect(base, token)
		res, err := client.Messages.New(ctx, helloClaude)
		if err != nil {
			return "", err
		}
		return fmt.Sprint(res.Content[0].Text, " ", res.Usage.InputTokens+res.Usage.OutputTokens), nil
	}
}

func anthropicMessageStream(connect func(base, token string) anthropic.Client) sdkCall {
	return func(ctx context.Context, base, token string) (string, error) {
		client := connect(base, token)
		stream := client.Messages.NewStreaming(ctx, helloClaude)
		defer stream.Close()
		var message anthropic.Message
		for stream.Next() {
			if err := message.Accumulate(stream.Current()); err != nil {
				return "", err
			}
		}
		if stream.Err() != nil {
			return "", stream.Err()
		}
		return fmt.Sprint(message.Content[0].Text, " ", message.Usage.InputTokens+message.Usage.OutputTokens), nil
	}
}

func geminiContent(version string) sdkCall {
	return func(ctx context.Context, base, token string) (string, error) {
		client, err := geminiClient(ctx, base, token, version)
		if err != nil {
			return "", err
		}
		res, err := client.Models.GenerateContent(ctx, "gemini-x", genai.Text("hello relay"), nil)
		if err != nil {
			return "", err
		}
		return fmt.Sprint(res.Text(), " ", res.UsageMetadata.TotalTokenCount), nil
	}
}

func geminiContentStream(version string) sdkCall {
	return func(ctx context.Context, base, token string) (string, error) {
		client, err := geminiClient(ctx, base, token, version)
		if err != nil {
			return "", err
		}
		var text string
		var total int32
		for res, err := range client.Models.GenerateContentStream(ctx, "gemini-x", genai.Text("hello relay"), nil) {
			if err != nil {
				return "", err
			}
			text += res.Text()
			total = res.UsageMetadata.TotalTokenCount
		}
		return fmt.Sprint(text, " ", total), nil
	}
}

// sdkCall makes one call with an SDK and says what came of it.
type sdkCall func(ctx context.Context, base, token string) (string, error)

func TestSDKs(t *testing.T) {
	up := newUpstream(t, fakeProviders(t))
	cases := []struct {
		name, provider string
		call           sdkCall
		uri            string
		want           string
	}{
		{"chat", "openai", openaiChat, "/v1/chat/completions", "gpt-x got hello relay 7"},
		{"chat stream", "openai", openaiChatStream, "/v1/chat/completions", "gpt-x got hello relay 7"},
		{"responses", "openai", openaiResponse, "/v1/responses", "gpt-x got hello relay 7"},
		{"responses stream", "openai", openaiResponseStream, "/v1/responses", "gpt-x got hello relay 7"},
		{"embeddings", "openai", openaiEmbedding, "/v1/embeddings", "2 [1.5 -2]"},
		{"transcription", "openai", openaiTranscription, "/v1/audio/transcriptions", "whisper-1 got speech.mp3"},
		{"messages", "anthropic", anthropicMessage(anthropicClient), "/v1/messages", "claude-x got hello relay 7"},
		{"messages stream", "anthropic", anthropicMessageStream(anthropicClient), "/v1/messages", "claude-x got hello relay 7"},
		{"messages with a bearer", "anthropic", anthropicMessage(anthropicBearerClient), "/v1/messages", "claude-x got hello relay 7"},
		{"messages stream with a bearer", "anthropic", anthropicMessageStream(anthropicBearerClient), "/v1/messages", "claude-x got hello relay 7"},
		{"content", "gemini", geminiContent(""), "/v1beta/models/gemini-x:generateContent", "gemini-x got hello relay 7"},
		{"content stream", "gemini", geminiContentStream(""), "/v1beta/models/gemini-x:streamGenerateContent?alt=sse", "gemini-x got hello relay 7"},
		{"content of v1", "gemini", geminiContent("v1"), "/v1/models/gemini-x:generateContent", "gemini-x got hello relay 7"},
		{"content stream of v1", "gemini", geminiContentStream("v1"), "/v1/models/gemini-x:streamGenerateContent?alt=sse", "gemini-x got hello relay 7"},
	}
	overBothForms(t, up, func(t *testing.T, relay *relay) {
		for _, tc := range cases {
			t.Run(tc.provider+" "+tc.name, func(t *testing.T) {
				before := len(up.requests())
				token := relay.mint(tc.provider)
				got, err := tc.call(t.Context(), relay.base(tc.provider), token)
				if err != nil || got != tc.want {
					t.Errorf("got %q, %v, want %q", got, err, tc.want)
				}
				seen := up.requests()[before:]
				if len(seen) != 1 {
					t.Fatalf("the provider received %d requests", len(seen))
				}
				if seen[0].RequestURI != tc.uri || seen[0].Method != "POST" {
					t.Errorf("the provider received %s %s, want %s", seen[0].Method, seen[0].RequestURI, tc.uri)
				}
				checkPlacement(t, seen[0], tc.provider, token)
			})
		}
	})
}

// A refusal is shown by each SDK with the relay's own words, and no SDK tries
// again what cannot succeed.
func TestSDKsShowRefusals(t *testing.T) {
	sdks := []struct {
		name, provider string
		call, stream   sdkCall
		plainCall      string  // the request that call makes
		closed         sdkCall // a call to a path that is not open
		plainClosed    string
		shown          func(err error) (message string, status int)
	}{
		{"openai", "openai", openaiChat, openaiChatStream, "POST /v1/chat/completions",
			func(ctx context.Context, base, token string) (string, error) {
				client := openaiClient(base, token)
				_, err := client.Files.List(ctx, openai.FileListParams{})
				return "", err
			},
			"GET /v1/files",
			func(err error) (string, int) {
				var e *openai.Error
				if !errors.As(err, &e) {
					return "", 0
				}
				return e.Message, e.StatusCode
			}},
		{"anthropic", "anthropic", anthropicMessage(anthropicClient), anthropicMessageStream(anthropicClient), "POST /v1/messages",
			func(ctx context.Context, base, token string) (string, error) {
				client := anthropicClient(base, token)
				_, err := client.Messages.Batches.List(ctx, anthropic.MessageBatchListParams{})
				return "", err
			},
			"GET /v1/messages/batches",
			func(err error) (string, int) {
				var e *anthropic.Error
				if !errors.As(err, &e) {
					return "", 0
				}
				return e.Error(), e.StatusCode
			}},
		{"gemini", "gemini", geminiContent(""), geminiContentStream(""), "POST /v1beta/models/gemini-x:generateContent",
			func(ctx context.Context, base, token string) (string, error) {
				client, err := geminiClient(ctx, base, token, "")
				if err != nil {
					return "", err
				}
				_, err = client.Files.List(ctx, nil)
				return "", err
			},
			"GET /v1beta/files",
			func(err error) (string, int) {
				var e genai.APIError
				if !errors.As(err, &e) {
					return "", 0
				}
				if e.Status == "" || len(e.Details) != 1 { // not parsed as an error of Google's
					return "", e.Code
				}
				return e.Error(), e.Code
			}},
	}
	up := newUpstream(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = io.WriteString(w, `{"error":{"message":"Incorrect API key provided: `+realKey[:8]+`","code":"invalid_api_key"}}`)
	})
	overBothForms(t, up, func(t *testing.T, relay *relay) {
		for _, sdk := range sdks {
			base := relay.base(sdk.provider)
			spent := relay.mint(sdk.provider, func(c *grant.Claims) { c.Limits = &grant.Limits{Calls: new(int64(1))} })
			_, _ = sdk.call(t.Context(), base, spent) // for a 401 of the provider's
			expired := relay.mint(sdk.provider, func(c *grant.Claims) {
				c.IssuedAt, c.ExpiresAt = ago(60), ago(1)
			})
			for _, tc := range []struct {
				name   string
				call   sdkCall
				plain  string // the same request without the SDK
				token  string
				code   string
				status int
				calls  int // that reach the provider
			}{
				{"calls used up", sdk.call, sdk.plainCall, spent, "calls_exhausted", 403, 0},
				{"calls used up, stream", sdk.stream, sdk.plainCall, spent, "calls_exhausted", 403, 0},
				{"expired", sdk.call, sdk.plainCall, expired, "token_expired", 401, 0},
				{"path closed", sdk.closed, sdk.plainClosed, relay.mint(sdk.provider), "path_not_permitted", 403, 0},
				{"provider refuses the key", sdk.call, sdk.plainCall, relay.mint(sdk.provider), "provider_refused_key", 424, 1},
				{"provider refuses the key, stream", sdk.stream, sdk.plainCall, relay.mint(sdk.provider), "provider_refused_key", 424, 1},
			} {
				t.Run(sdk.name+" "+tc.name, func(t *testing.T) {
					want := relay.refusal(tc.plain, base, tc.token, tc.code)
					refused, received := relay.refusals(), len(relay.upstream.requests())
					_, err := tc.call(t.Context(), base, tc.token)
					message, status := sdk.shown(err)
					if status != tc.status || !strings.Contains(message, want) {
						t.Errorf("shows %d %q (%v), want %d %q", status, message, err, tc.status, want)
					}
					if piecesOf(keyPiece, realKey).in(fmt.Sprint(err, message)) {
						t.Error("shows the key")
					}
					// The line is written before the answer.
					if n := relay.refusals() - refused; n != 1 {
						t.Errorf("the relay refused %d requests for one call, want 1", n)
					}
					if n := len(relay.upstream.requests()) - received; n != tc.calls {
						t.Errorf("the provider received %d requests, want %d", n, tc.calls)
					}
				})
			}
		}
	})
}

func ago(seconds int64) grant.NumericDate { return grant.NumericDate(time.Now().Unix() - seconds) }
