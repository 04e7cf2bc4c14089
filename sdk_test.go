package relayapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/anthropics/anthropic-sdk-go"
	anthropicoption "github.com/anthropics/anthropic-sdk-go/option"
	"github.com/caddyserver/caddy/v2"
	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/responses"
	"github.com/relayapi/caddy-relayapi/grant"
	"github.com/relayapi/caddy-relayapi/internal/headers"
	"github.com/relayapi/caddy-relayapi/internal/realkey"
	"google.golang.org/genai"
)

// The SDKs are what they are: these tests set a base URL and put the token where
// the API key goes, and nothing else.

// sdkConfig is a relay with the presets of the three SDKs, all at one upstream.
func sdkConfig(upstream, prefix string) string {
	var providers strings.Builder
	for _, name := range []string{"openai", "anthropic", "gemini"} {
		fmt.Fprintf(&providers, "provider %s %s {\n\t\t\t\tapi_key {env.RELAYAPI_TEST_KEY}\n\t\t\t}\n\t\t\t", name, upstream)
	}
	block := "relayapi"
	if prefix != "" {
		block = "relayapi {\n\t\t\tprefix " + prefix + "\n\t\t}"
	}
	return `{
		{global}
		relayapi {
			store sqlite {dir}/relayapi.db
			private_key {dir}/relay.pem
			issuer backend {
				public_key {dir}/backend.pub.pem
				providers openai anthropic gemini
			}
			` + providers.String() + `
		}
	}
	http://127.0.0.1:{port} {
		log
		` + block + `
	}`
}

// overBothForms runs a test against a relay without a prefix and one with; base
// makes a provider's base URL.
func overBothForms(t *testing.T, upstream string, test func(t *testing.T, relay *testRelay, base func(provider string) string)) {
	clearSDKEnvironment(t)
	t.Run("without prefix", func(t *testing.T) {
		relay := startRelay(t, sdkConfig(upstream, ""))
		test(t, relay, func(string) string { return relay.URL })
	})
	t.Run("with prefix", func(t *testing.T) {
		relay := startRelay(t, sdkConfig(upstream, "/api"))
		test(t, relay, func(provider string) string { return relay.URL + "/api/" + provider })
	})
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

func forProvider(name string) func(*grant.Claims) {
	return func(c *grant.Claims) { c.Provider = name }
}

// checkPlacement checks that the provider received its key where it reads it,
// and in no other place, and nothing of the token.
func checkPlacement(t *testing.T, got received, provider, token string) {
	t.Helper()
	place, value := "Authorization", "Bearer "+realKey
	switch provider {
	case "anthropic":
		place, value = "X-Api-Key", realKey
	case "gemini":
		place, value = "X-Goog-Api-Key", realKey
	}
	for _, name := range headers.Carriers {
		want := []string(nil)
		if name == place {
			want = []string{value}
		}
		if !slices.Equal(got.Header.Values(name), want) {
			t.Errorf("the provider received %s %d times, or with another value than the key's", name, len(got.Header.Values(name)))
		}
	}
	if n := strings.Count(got.raw, realKey); n != 1 {
		t.Errorf("the provider received the key %d times", n)
	}
	if leak(got.raw, token, 16) {
		t.Error("the provider received a piece of the token")
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
	overBothForms(t, up.URL, func(t *testing.T, relay *testRelay, base func(string) string) {
		var tokens []string
		for _, tc := range cases {
			t.Run(tc.provider+" "+tc.name, func(t *testing.T) {
				before := len(up.requests())
				token := relay.mint(forProvider(tc.provider))
				tokens = append(tokens, token)
				got, err := tc.call(t.Context(), base(tc.provider), token)
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
		if err := caddy.Stop(); err != nil { // the log is complete
			t.Fatal(err)
		}
		log := relay.log()
		for _, token := range tokens {
			if leak(log, token, 32) {
				t.Error("the log holds a piece of a token")
			}
		}
		if leak(log, realKey, realkey.PieceSize) {
			t.Error("the log holds a piece of the key")
		}
	})
}

// A refusal is shown by each SDK with the relay's own words, and no SDK tries
// again what cannot succeed.
func TestSDKsShowRefusals(t *testing.T) {
	sdks := []struct {
		name, provider string
		call, stream   sdkCall
		closed         sdkCall // a call to a path that is not open
		shown          func(err error) (message string, status int)
	}{
		{"openai", "openai", openaiChat, openaiChatStream,
			func(ctx context.Context, base, token string) (string, error) {
				client := openaiClient(base, token)
				_, err := client.Files.List(ctx, openai.FileListParams{})
				return "", err
			},
			func(err error) (string, int) {
				var e *openai.Error
				if !errors.As(err, &e) {
					return "", 0
				}
				return e.Message, e.StatusCode
			}},
		{"anthropic", "anthropic", anthropicMessage(anthropicClient), anthropicMessageStream(anthropicClient),
			func(ctx context.Context, base, token string) (string, error) {
				client := anthropicClient(base, token)
				_, err := client.Messages.Batches.List(ctx, anthropic.MessageBatchListParams{})
				return "", err
			},
			func(err error) (string, int) {
				var e *anthropic.Error
				if !errors.As(err, &e) {
					return "", 0
				}
				return e.Error(), e.StatusCode
			}},
		{"gemini", "gemini", geminiContent(""), geminiContentStream(""),
			func(ctx context.Context, base, token string) (string, error) {
				client, err := geminiClient(ctx, base, token, "")
				if err != nil {
					return "", err
				}
				_, err = client.Files.List(ctx, nil)
				return "", err
			},
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
	overBothForms(t, up.URL, func(t *testing.T, relay *testRelay, base func(string) string) {
		for _, sdk := range sdks {
			spent := relay.mint(forProvider(sdk.provider), calls(1))
			_, _ = sdk.call(t.Context(), base(sdk.provider), spent) // for a 401 of the provider's
			expired := relay.mint(forProvider(sdk.provider), func(c *grant.Claims) {
				c.IssuedAt, c.ExpiresAt = ago(time.Now(), 60), ago(time.Now(), 1)
			})
			for _, tc := range []struct {
				name   string
				call   sdkCall
				token  string
				code   string
				status int
				calls  int // that reach the provider
			}{
				{"calls used up", sdk.call, spent, "calls_exhausted", 403, 0},
				{"calls used up, stream", sdk.stream, spent, "calls_exhausted", 403, 0},
				{"expired", sdk.call, expired, "token_expired", 401, 0},
				{"path closed", sdk.closed, relay.mint(forProvider(sdk.provider)), "path_not_permitted", 403, 0},
				{"provider refuses the key", sdk.call, relay.mint(forProvider(sdk.provider)), "provider_refused_key", 424, 1},
				{"provider refuses the key, stream", sdk.stream, relay.mint(forProvider(sdk.provider)), "provider_refused_key", 424, 1},
			} {
				t.Run(sdk.name+" "+tc.name, func(t *testing.T) {
					refused, received := strings.Count(relay.log(), `"msg":"refused"`), len(up.requests())
					_, err := tc.call(t.Context(), base(sdk.provider), tc.token)
					message, status := sdk.shown(err)
					if want := answers[tc.code].message; status != tc.status || !strings.Contains(message, want) {
						t.Errorf("shows %d %q (%v), want %d %q", status, message, err, tc.status, want)
					}
					if leak(fmt.Sprint(err, message), realKey, realkey.PieceSize) {
						t.Error("shows the key")
					}
					// The line is written before the answer.
					if n := strings.Count(relay.log(), `"msg":"refused"`) - refused; n != 1 {
						t.Errorf("the relay refused %d requests for one call", n)
					}
					if n := len(up.requests()) - received; n != tc.calls {
						t.Errorf("the provider received %d requests, want %d", n, tc.calls)
					}
				})
			}
		}
	})
}

// fakeProviders answers as OpenAI, Anthropic and Gemini do, with what it was
// asked.
func fakeProviders(t *testing.T) http.HandlerFunc {
	mux := http.NewServeMux()
	handle := func(pattern string, answer func(w http.ResponseWriter, r *http.Request) error) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			if err := answer(w, r); err != nil {
				t.Errorf("%s: %v", r.URL.Path, err)
				w.WriteHeader(http.StatusBadRequest)
			}
		})
	}
	handle("POST /v1/chat/completions", fakeChat)
	handle("POST /v1/responses", fakeResponses)
	handle("POST /v1/embeddings", fakeEmbeddings)
	handle("POST /v1/audio/transcriptions", fakeTranscriptions)
	handle("POST /v1/messages", fakeMessages)
	handle("POST /v1beta/models/{call}", fakeContent)
	handle("POST /v1/models/{call}", fakeContent)
	return mux.ServeHTTP
}

func answerJSON(w http.ResponseWriter, format string, args ...any) error {
	w.Header().Set("Content-Type", "application/json")
	_, err := fmt.Fprintf(w, format, args...)
	return err
}

// answerEvents sends a stream of events; those with a type have it in an event
// line too, as with Anthropic and the Responses API.
func answerEvents(w http.ResponseWriter, events ...string) error {
	w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	for _, event := range events {
		var typed struct{ Type string }
		_ = json.Unmarshal([]byte(event), &typed) // "[DONE]" is none
		if typed.Type != "" {
			fmt.Fprintf(w, "event: %s\n", typed.Type)
		}
		fmt.Fprintf(w, "data: %s\n\n", event)
		if err := http.NewResponseController(w).Flush(); err != nil {
			return err
		}
	}
	return nil
}

func fakeChat(w http.ResponseWriter, r *http.Request) error {
	var q struct {
		Model         string
		Stream        bool
		StreamOptions map[string]bool `json:"stream_options"`
		Messages      []struct{ Role, Content string }
	}
	if err := json.NewDecoder(r.Body).Decode(&q); err != nil || len(q.Messages) != 1 {
		return fmt.Errorf("%d messages: %w", len(q.Messages), err)
	}
	const head = `{"id":"chatcmpl-1","created":1,"model":"gpt-x","object":"chat.completion`
	const usage = `"usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7}`
	if !q.Stream {
		return answerJSON(w, head+`","choices":[{"index":0,"finish_reason":"stop","message":{"role":"assistant","content":"%s got %s"}}],`+usage+`}`,
			q.Model, q.Messages[0].Content)
	}
	if !q.StreamOptions["include_usage"] {
		return fmt.Errorf("stream_options are %v", q.StreamOptions)
	}
	const chunk = head + `.chunk","choices":[{"index":0,"finish_reason":%s,"delta":%s}]}`
	return answerEvents(w,
		fmt.Sprintf(chunk, "null", `{"role":"assistant","content":""}`),
		fmt.Sprintf(chunk, "null", `{"content":"`+q.Model+` got "}`),
		fmt.Sprintf(chunk, "null", `{"content":"`+q.Messages[0].Content+`"}`),
		fmt.Sprintf(chunk, `"stop"`, `{}`),
		head+`.chunk","choices":[],`+usage+`}`,
		"[DONE]")
}

func fakeResponses(w http.ResponseWriter, r *http.Request) error {
	var q struct {
		Model, Input string
		Stream       bool
	}
	if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
		return err
	}
	res := func(status string) string {
		return fmt.Sprintf(`{"id":"resp_1","object":"response","created_at":1,"status":%q,"model":%q,"output":[{"type":"message","id":"msg_1",`+
			`"status":"completed","role":"assistant","content":[{"type":"output_text","text":"%s got %s","annotations":[]}]}],`+
			`"usage":{"input_tokens":3,"output_tokens":4,"total_tokens":7}}`, status, q.Model, q.Model, q.Input)
	}
	if !q.Stream {
		return answerJSON(w, "%s", res("completed"))
	}
	const delta = `{"type":"response.output_text.delta","sequence_number":1,"item_id":"msg_1","output_index":0,"content_index":0,"delta":"`
	return answerEvents(w,
		`{"type":"response.created","sequence_number":0,"response":`+res("in_progress")+`}`,
		delta+q.Model+` got "}`,
		delta+q.Input+`"}`,
		`{"type":"response.completed","sequence_number":3,"response":`+res("completed")+`}`)
}

func fakeEmbeddings(w http.ResponseWriter, r *http.Request) error {
	var q struct{ Input []string }
	if err := json.NewDecoder(r.Body).Decode(&q); err != nil || !slices.Equal(q.Input, []string{"one", "two"}) {
		return fmt.Errorf("input %v: %w", q.Input, err)
	}
	return answerJSON(w, `{"object":"list","model":"embed-x","usage":{"prompt_tokens":2,"total_tokens":2},"data":[`+
		`{"object":"embedding","index":0,"embedding":[0.25,-0.5]},{"object":"embedding","index":1,"embedding":[1.5,-2]}]}`)
}

func fakeTranscriptions(w http.ResponseWriter, r *http.Request) error {
	file, header, err := r.FormFile("file")
	if err != nil {
		return err
	}
	defer file.Close()
	if got, err := io.ReadAll(file); err != nil || !bytes.Equal(got, audio) {
		return fmt.Errorf("another file, of %d bytes: %w", len(got), err)
	}
	return answerJSON(w, `{"text":"%s got %s","usage":{"type":"duration","seconds":1}}`, r.FormValue("model"), header.Filename)
}

func fakeMessages(w http.ResponseWriter, r *http.Request) error {
	var q struct {
		Model    string
		Stream   bool
		Messages []struct{ Content []struct{ Text string } }
	}
	if err := json.NewDecoder(r.Body).Decode(&q); err != nil || len(q.Messages) != 1 || r.Header.Get("Anthropic-Version") == "" {
		return fmt.Errorf("%d messages for version %q: %w", len(q.Messages), r.Header.Get("Anthropic-Version"), err)
	}
	text := q.Messages[0].Content[0].Text
	const head = `{"id":"msg_1","type":"message","role":"assistant","model":"claude-x",`
	if !q.Stream {
		return answerJSON(w, head+`"content":[{"type":"text","text":"%s got %s"}],"stop_reason":"end_turn","stop_sequence":null,`+
			`"usage":{"input_tokens":3,"output_tokens":4}}`, q.Model, text)
	}
	const delta = `{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"`
	return answerEvents(w,
		`{"type":"message_start","message":`+head+`"content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":3,"output_tokens":1}}}`,
		`{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}`,
		`{"type":"ping"}`,
		delta+q.Model+` got "}}`,
		delta+text+`"}}`,
		`{"type":"content_block_stop","index":0}`,
		`{"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":4}}`,
		`{"type":"message_stop"}`)
}

func fakeContent(w http.ResponseWriter, r *http.Request) error {
	var q struct {
		Contents []struct{ Parts []struct{ Text string } }
	}
	if err := json.NewDecoder(r.Body).Decode(&q); err != nil || len(q.Contents) != 1 {
		return fmt.Errorf("%d contents: %w", len(q.Contents), err)
	}
	model, method, _ := strings.Cut(r.PathValue("call"), ":")
	part := func(text, more string) string {
		return fmt.Sprintf(`{"candidates":[{"content":{"parts":[{"text":%q}],"role":"model"}%s,"index":0}],`+
			`"usageMetadata":{"promptTokenCount":3,"candidatesTokenCount":4,"totalTokenCount":7},"modelVersion":%q}`, text, more, model)
	}
	text := q.Contents[0].Parts[0].Text
	switch {
	case method == "generateContent":
		return answerJSON(w, "%s", part(model+" got "+text, `,"finishReason":"STOP"`))
	case method == "streamGenerateContent" && r.URL.Query().Get("alt") == "sse":
		return answerEvents(w, part(model+" got ", ""), part(text, `,"finishReason":"STOP"`))
	}
	return fmt.Errorf("unknown method %q", method)
}

// What a developer tries first.
func TestCurl(t *testing.T) {
	large := filepath.Join(t.TempDir(), "large.json")
	content := `{"model":"gpt-x","messages":[{"role":"user","content":"` + strings.Repeat("x", 2<<20) + `"}]}`
	if err := os.WriteFile(large, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	up := newUpstream(t, fakeProviders(t))
	relay := startRelay(t, sdkConfig(up.URL, "/api"))
	token := relay.mint(forProvider("openai"))
	small := `{"model":"gpt-x","messages":[{"role":"user","content":"hello"}]}`
	chat, closed := relay.URL+"/api/openai/v1/chat/completions", relay.URL+"/api/openai/v1/files"
	for name, tc := range map[string]struct {
		args      []string
		want      string
		exit      int
		forwarded int
	}{
		"plain":      {[]string{"-H", "X-API-Token: " + token, "-d", small, chat}, "gpt-x got hello", 0, 1},
		"bearer":     {[]string{"-H", "Authorization: Bearer " + token, "-d", small, chat}, "gpt-x got hello", 0, 1},
		"large file": {[]string{"-H", "X-API-Token: " + token, "-d", "@" + large, chat}, "gpt-x got xxx", 0, 1},
		"stream": {[]string{"-N", "-H", "X-API-Token: " + token, "-d",
			replaceOnce(t, small, "{", `{"stream":true,"stream_options":{"include_usage":true},`), chat}, "data: [DONE]\n", 0, 1},
		"closed path": {[]string{"-H", "X-API-Token: " + token, "-d", small, closed}, `"code":"path_not_permitted"`, 22, 0},
		"no token":    {[]string{"-d", small, chat}, `"code":"invalid_token"`, 22, 0},
	} {
		t.Run(name, func(t *testing.T) {
			before := len(up.requests())
			args := append([]string{"-q", "-sS", "--fail-with-body", "--noproxy", "*", "-m", "30", "-H", "Content-Type: application/json"}, tc.args...)
			cmd := exec.CommandContext(t.Context(), "curl", args...)
			out, err := cmd.Output()
			if cmd.ProcessState == nil {
				t.Fatal(err)
			}
			if exit := cmd.ProcessState.ExitCode(); exit != tc.exit || !strings.Contains(string(out), tc.want) {
				t.Errorf("curl ends with %d and %.300q, want %d and %q", exit, out, tc.exit, tc.want)
			}
			seen := up.requests()[before:]
			if len(seen) != tc.forwarded {
				t.Fatalf("the provider received %d requests, want %d", len(seen), tc.forwarded)
			}
			for _, got := range seen {
				checkPlacement(t, got, "openai", token)
			}
		})
	}
}
