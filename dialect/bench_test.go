package dialect

import (
	"fmt"
	"strings"
	"testing"
)

// BenchmarkRead is what it costs to find a model after so many messages.
func BenchmarkRead(b *testing.B) {
	for _, messages := range []int{1, 100, 1000} {
		message := `{"role":"user","content":"` + strings.Repeat(`some words, \"quoted\"\n`, 44) + `"},`
		body := []byte(`{"messages":[` + strings.Repeat(message, messages-1) + message[:len(message)-1] + `],"stream":true,"model":"gpt-x"}`)
		b.Run(fmt.Sprint(len(body)), func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			r := &Request{Path: "/v1/chat/completions", ContentType: "application/json", Body: body}
			for b.Loop() {
				if n, err := openai.Read(r); err != nil || n.Model != "gpt-x" {
					b.Fatal(n, err)
				}
			}
		})
	}
}

// BenchmarkMeter is what it costs to read the usage of a stream of 20 000 events,
// and of answers of other forms. The buffer is that of reverse_proxy.
func BenchmarkMeter(b *testing.B) {
	chat := `data: {"id":"chatcmpl-123","object":"chat.completion.chunk","created":1694268190,"model":"gpt-5.4-mini","service_tier":"default","system_fingerprint":"fp_44709d6fcb","choices":[{"index":0,"delta":{"content":" word"},"logprobs":null,"finish_reason":null}],"usage":null,"obfuscation":"Kj3b"}` + "\n\n"
	text := "event: content_block_delta\ndata: " + `{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":" word"}}` + "\n\n"
	part := `data: {"candidates":[{"content":{"parts":[{"text":"some words of an answer"}],"role":"model"},"index":0}],"usageMetadata":{"promptTokenCount":219,"candidatesTokenCount":2,"totalTokenCount":388,"promptTokensDetails":[{"modality":"TEXT","tokenCount":219}],"thoughtsTokenCount":167},"modelVersion":"gemini-2.5-flash"}` + "\n\n"
	for name, c := range map[string]struct {
		d          *Dialect
		path, kind string
		answer     string
	}{
		"chat events":       {openai, "/v1/chat/completions", "text/event-stream", strings.Repeat(chat, 20_000)},
		"Anthropic events":  {anthropic, "/v1/messages", "text/event-stream", strings.Repeat(text, 20_000)},
		"Gemini events":     {gemini, "/v1beta/models/m:streamGenerateContent", "text/event-stream", strings.Repeat(part, 20_000)},
		"Converse events":   {bedrock, "/model/m/converse-stream", "application/vnd.amazon.eventstream", strings.Repeat(string(fixture(b, "bedrock/converse.events")), 4000)},
		"small JSON":        {openai, "/v1/chat/completions", "application/json", string(fixture(b, "openai/chat.json"))},
		"long JSON":         {openai, "/v1/embeddings", "application/json", `{"data":[{"embedding":[` + strings.Repeat("-0.0069292834,", 100_000) + `0]}],"usage":{"prompt_tokens":5}}`},
		"JSON of a picture": {openai, "/v1/images/generations", "application/json", `{"data":[{"b64_json":"` + strings.Repeat("iVBORw0KGgoA", 100_000) + `"}],"usage":{"input_tokens":5}}`},
	} {
		b.Run(name, func(b *testing.B) {
			answer := []byte(c.answer)
			b.SetBytes(int64(len(answer)))
			b.ReportAllocs()
			for b.Loop() {
				m := meterOf(b, c.d, c.path, c.kind, nil)
				for p := answer; len(p) > 0; p = p[min(len(p), 32<<10):] {
					_, _ = m.Write(p[:min(len(p), 32<<10)])
				}
				m.Reading()
			}
		})
	}
}

// BenchmarkWithholder is what it costs to take the usage out of 20 000 events.
func BenchmarkWithholder(b *testing.B) {
	chat := `data: {"id":"chatcmpl-123","object":"chat.completion.chunk","created":1694268190,"model":"gpt-5.4-mini","choices":[{"index":0,"delta":{"content":" word"},"logprobs":null,"finish_reason":null}],"usage":null}` + "\n\n"
	stream := []byte(strings.Repeat(chat, 20_000))
	b.SetBytes(int64(len(stream)))
	b.ReportAllocs()
	var out []byte
	for b.Loop() {
		var w Withholder
		for p := stream; len(p) > 0; p = p[min(len(p), 32<<10):] {
			out = w.Filter(out[:0], p[:min(len(p), 32<<10)])
		}
	}
}
