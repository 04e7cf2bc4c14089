package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
)

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
