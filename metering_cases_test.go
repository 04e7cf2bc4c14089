package relayapi

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"mime/multipart"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/andybalholm/brotli"
	"github.com/coder/websocket"
	"github.com/klauspost/compress/zstd"
	"github.com/relayapi/caddy-relayapi/grant"
	"github.com/relayapi/caddy-relayapi/tokenstore"
)

// meteringCase is a call through a running relay: what is asked, what the provider
// answers, what the client does, and what must come of it. The fields of the first four
// groups have a usual value, which their zero value means.
type meteringCase struct {
	provider string // demo
	path     string // /v1/chat/completions
	body     string // askBody, or streamBody if the answer is a stream
	kind     string // content type of the body: JSON
	budget   string // "usd 1", "tokens 100"; "none" means no budget; default: usd 1
	config   string // lines of the global option
	cancels  bool   // the site has on_disconnect cancel

	status int      // of the answer; -1 means no answer; default: 200
	answer []string // its body, in pieces; several are events of a stream
	events string   // content type of a stream: text/event-stream
	coding string   // content coding of the answer
	breaks bool     // the connection breaks after the answer

	// The client leaves when it has read so many pieces: 0 means that it stays, and -1
	// that it leaves before the head of the answer. The rest comes when it has left.
	leaves int

	says []string // messages on a WebSocket; each is answered by a piece of the answer

	calls    int // that many at once; 1
	admitted int // how many of them reach the provider; all

	reads   string // what the client reads, if that is not what the provider sent
	used    tokenstore.Usage
	cost    int64            // in nano-USD, reported, and charged to a budget in dollars
	tokens  int64            // charged to a budget in tokens
	held    int64            // in nano-USD, before the answer; 0 is not compared
	costs   map[string]int64 // by model, where several have a share
	crashes bool             // what is on disk when the answer has passed is what a crash leaves
}

// Prices of the tables below, in dollars for a million tokens: those of the model m,
// and of models that a report names.
const casePrices = `
price demo m input 2 cache_read 1 output 10
price openai m input 2 cache_read 1 output 10
price anthropic m input 2 cache_read 1 cache_write 3 output 10
price gemini m input 2 cache_read 1 output 10
price mistral m input 2 cache_read 1 output 10
price bedrock m input 2 cache_read 1 cache_write 3 output 10
price vllm m input 2 output 10
price cohere m input 2 output 10
price openrouter m input 2 output 10
price anthropic writer input 5 cache_write 6.25 cache_write_1h 10 output 25
price openai voice input 4 output 16 audio_input 32 audio_cache_read 0.4 audio_output 64
price openai hearing audio_input 6 output 10
price demo vector input 0.02`

// Answers and requests that several rows have.
const (
	bill22     = `{"prompt_tokens":22,"completion_tokens":4,"total_tokens":26,"prompt_tokens_details":{"cached_tokens":15}}`
	told22     = `{"model":"m","usage":` + bill22 + `}`
	bareChunk  = `{"id":"c","object":"chat.completion.chunk","model":"m","choices":[{"index":0,"delta":{"content":"hi"}}]}`
	last       = `{"id":"c","object":"chat.completion.chunk","model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}`
	called     = `{"id":"c","object":"chat.completion.chunk","model":"m","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"t","function":{"name":"f","arguments":"{}"}}]},"finish_reason":"tool_calls"}],"usage":null}`
	askingBody = `{"stream_options":{"include_usage":true},"model":"m","stream":true,"max_tokens":10,"messages":[{"role":"user","content":"hello"}]}`

	claudeBody   = `{"model":"m","max_tokens":10,"stream":true,"messages":[{"role":"user","content":"hello"}]}`
	geminiBody   = `{"contents":[{"parts":[{"text":"hello"}]}],"generationConfig":{"maxOutputTokens":10}}`
	geminiStream = "/v1beta/models/m:streamGenerateContent?alt=sse"
	geminiTwo    = `{"contents":[{"parts":[{"text":"hello"}]}],"generationConfig":{"maxOutputTokens":10,"candidateCount":2}}`
	geminiFirst  = `{"candidates":[{"content":{"parts":[{"text":"a"}]},"finishReason":"STOP","index":0}],"usageMetadata":{"promptTokenCount":9,"candidatesTokenCount":4,"totalTokenCount":13},"modelVersion":"m"}`
	geminiSecond = `{"candidates":[{"content":{"parts":[{"text":"b"}]},"finishReason":"STOP","index":1}],"usageMetadata":{"promptTokenCount":9,"candidatesTokenCount":8,"totalTokenCount":17},"modelVersion":"m"}`
	replyBody    = `{"model":"m","stream":true,"max_output_tokens":10,"input":"hello"}`
	vectorBody   = `{"model":"vector","input":"hello"}`
	createReply  = `{"type":"response.create","model":"m","max_output_tokens":100,"input":"hi"}`
)

var (
	used22   = tokenstore.Usage{Input: 7, CacheRead: 15, Output: 4}
	untold   = tokenstore.Usage{Unmetered: 1}
	usual22  = []string{chunk, chunk, usageChunk, "[DONE]"}
	seen22   = sse(bareChunk, bareChunk, "[DONE]")
	reserved = asReserved(streamBody)

	// Input may be written to the cache, and be served in the US only, for 1.1 times.
	claudeHeld = (int64(len(claudeBody))*3000 + 10*outputNano) * 11 / 10
)

// sse writes the data of events as a stream.
func sse(data ...string) (all string) {
	for _, d := range data {
		all += "data: " + d + "\n\n"
	}
	return all
}

// named writes events with names as a stream's pieces.
func named(events ...string) (pieces []string) {
	for _, e := range events {
		name, data, _ := strings.Cut(e, " ")
		pieces = append(pieces, "event: "+name+"\ndata: "+data+"\n\n")
	}
	return pieces
}

// frames writes events as messages of Amazon's event streams
// (https://smithy.io/2.0/aws/amazon-eventstream.html).
func frames(events ...string) (pieces []string) {
	for _, e := range events {
		kind, payload, _ := strings.Cut(e, " ")
		var head []byte
		for _, h := range [][2]string{{":event-type", kind}, {":content-type", "application/json"}, {":message-type", "event"}} {
			head = append(append(head, byte(len(h[0]))), h[0]...)
			head = append(binary.BigEndian.AppendUint16(append(head, 7), uint16(len(h[1]))), h[1]...)
		}
		m := binary.BigEndian.AppendUint32(nil, uint32(16+len(head)+len(payload)))
		m = binary.BigEndian.AppendUint32(m, uint32(len(head)))
		m = binary.BigEndian.AppendUint32(m, crc32.ChecksumIEEE(m))
		m = append(append(m, head...), payload...)
		pieces = append(pieces, string(binary.BigEndian.AppendUint32(m, crc32.ChecksumIEEE(m))))
	}
	return pieces
}

// recordingForm is a transcription of 9 seconds of silence, 16 bit at 8 kHz.
func recordingForm() (body, kind string) {
	var b bytes.Buffer
	form := multipart.NewWriter(&b)
	_ = form.WriteField("model", "whisper-1")
	file, _ := form.CreateFormFile("file", "a.wav")
	const bytesOfSound = 9 * 16_000
	head := binary.LittleEndian.AppendUint32([]byte("RIFF"), 36+bytesOfSound)
	head = append(head, "WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00\x40\x1f\x00\x00\x80\x3e\x00\x00\x02\x00\x10\x00data"...)
	_, _ = file.Write(binary.LittleEndian.AppendUint32(head, bytesOfSound))
	_, _ = file.Write(make([]byte, bytesOfSound))
	_ = form.Close()
	return b.String(), form.FormDataContentType()
}

// meteringCases are calls that others have counted wrongly, each with the right value.
// Where a row is one of a report, its name begins with the report's number in the list
// of known cases; the others cite the provider's page.
var meteringCases = map[string]meteringCase{
	// Co-Contribute/claude-code#187
	"1 a cached part of the prompt":           {answer: []string{told22}, used: used22, cost: usageNano},
	"1 the same, of a budget in tokens":       {budget: "tokens 1000", answer: []string{told22}, used: used22, cost: usageNano, tokens: 26},
	"1 the same, without a budget":            {budget: "none", answer: []string{told22}, used: used22, cost: usageNano},
	"1 a cached part larger than the prompt":  {answer: []string{strings.Replace(told22, "15", "23", 1)}, used: tokenstore.Usage{Input: 22, Output: 4}, cost: 22*inputNano + 4*outputNano},
	"1 a prompt without a split, in a stream": {answer: []string{chunk, strings.Replace(usageChunk, `"cached_tokens":15`, "", 1), "[DONE]"}, reads: sse(bareChunk, "[DONE]"), used: tokenstore.Usage{Input: 22, Output: 4}, cost: 22*inputNano + 4*outputNano},

	// ferro-labs/ai-gateway#281
	"2 a stream that was not asked for its usage": {answer: usual22, reads: seen22, used: used22, cost: usageNano},
	"2 one that was":                                  {body: askingBody, answer: usual22, used: used22, cost: usageNano},
	"2 a server that ignores the wish":                {answer: []string{bareChunk, last, "[DONE]"}, used: untold, cost: reserved},
	"2 a stream without a budget, and without asking": {budget: "none", answer: []string{bareChunk, last, "[DONE]"}, used: untold},
	"2 a stream without a budget that was asked":      {budget: "none", body: askingBody, answer: usual22, used: used22, cost: usageNano},
	"2 metering that always asks":                     {budget: "none", config: "meter always", answer: usual22, reads: seen22, used: used22, cost: usageNano},
	"2 metering that always asks, of a long body":     {budget: "none", config: "meter always", body: strings.Replace(streamBody, "hello", strings.Repeat("hello", 9000), 1), answer: usual22, reads: seen22, used: used22, cost: usageNano},
	"2 metering that always asks, and was asked":      {budget: "none", config: "meter always", body: askingBody, answer: usual22, used: used22, cost: usageNano},
	"2 a budget of the subject":                       {budget: "none", config: "limit subject tokens 1000 per day", answer: usual22, reads: seen22, used: used22, cost: usageNano},

	// BerriAI/litellm#36008, QuantumNous/new-api#5235
	"3 the client leaves before the usage":           {answer: usual22, leaves: 1, used: used22, cost: usageNano},
	"3 the client leaves at the head":                {answer: append([]string{""}, usual22...), leaves: 1, used: used22, cost: usageNano},
	"3 the same, and the usage never comes":          {answer: []string{chunk, chunk}, leaves: 1, used: untold, cost: reserved},
	"3 the same, and the rest is not read":           {answer: usual22, leaves: 1, cancels: true, used: untold, cost: reserved},
	"3 the same, and the provider dies":              {answer: []string{chunk, chunk}, leaves: 1, breaks: true, used: untold, cost: reserved},
	"3 the client leaves a whole answer in the dark": {answer: []string{told22}, leaves: -1, used: used22, cost: usageNano},

	"3 the client leaves in the middle of JSON": {body: askBody, events: "application/json", answer: []string{`{"model":"m",`, `"usage":` + bill22 + `}`}, leaves: 1, used: used22, cost: usageNano},
	"3 the client leaves a response": {path: "/v1/responses", body: replyBody, leaves: 1, answer: named(
		`response.created {"type":"response.created","response":{"id":"r","model":"m","status":"in_progress","usage":null}}`,
		`response.completed {"type":"response.completed","response":{"id":"r","model":"m","status":"completed","usage":{"input_tokens":11,"output_tokens":3,"total_tokens":14}}}`),
		used: tokenstore.Usage{Input: 11, Output: 3}, cost: 11*inputNano + 3*outputNano},
	"3 the client leaves Anthropic's first event": {provider: "anthropic", path: "/v1/messages", body: claudeBody, leaves: 1, answer: named(
		`message_start {"type":"message_start","message":{"model":"m","usage":{"input_tokens":9,"output_tokens":1}}}`,
		`message_delta {"type":"message_delta","usage":{"output_tokens":16}}`, `message_stop {"type":"message_stop"}`),
		used: tokenstore.Usage{Input: 9, Output: 16}, cost: 9*2000 + 16*10_000},
	"3 the same, and the provider dies there": {provider: "anthropic", path: "/v1/messages", body: claudeBody, leaves: 1, breaks: true, answer: named(
		`message_start {"type":"message_start","message":{"model":"m","usage":{"input_tokens":9,"output_tokens":1}}}`),
		used: tokenstore.Usage{Input: 9, Output: 1, Unmetered: 1}, cost: claudeHeld},

	// yinxulai/one-switch#3
	"4 the client ends the stream after a tool call": {body: askingBody, answer: []string{chunk, called, usageChunk, "[DONE]"}, leaves: 2, used: used22, cost: usageNano},

	// https://www.otari.ai/docs: a reservation leaks if the client leaves at the end
	"5 the client leaves at [DONE]": {body: askingBody, answer: append(usual22, ": the end\n\n"), leaves: 4, used: used22, cost: usageNano},

	// Each of several candidates finishes by itself, and the stream has no other end.
	"11 two candidates of Gemini's": {provider: "gemini", path: geminiStream, body: geminiTwo, answer: []string{geminiFirst, geminiSecond},
		used: tokenstore.Usage{Input: 9, Output: 8}, cost: 9*2000 + 8*10_000},
	"11 the same, and the stream breaks after the first": {provider: "gemini", path: geminiStream, body: geminiTwo, answer: []string{geminiFirst}, breaks: true,
		used: tokenstore.Usage{Input: 9, Output: 4, Unmetered: 1}, cost: 2 * (int64(len(geminiTwo))*2000 + 2*10*10_000)}, // the tier may cost twice as much
	"11 the client leaves after the first": {provider: "gemini", path: geminiStream, body: geminiTwo, leaves: 1, answer: []string{geminiFirst, geminiSecond},
		used: tokenstore.Usage{Input: 9, Output: 8}, cost: 9*2000 + 8*10_000},

	// QuantumNous/new-api#4168
	"6 gone before any byte, and no head comes": {answer: []string{}, status: -1, leaves: -1, used: untold},
	"6 no head comes": {answer: []string{}, status: -1, used: untold},
	"6 gone when the head is there, and nothing more":     {answer: []string{""}, breaks: true, used: untold, cost: reserved - 10*outputNano},
	"6 the same, with a prompt of 2 367 361 tokens":       {budget: "usd 10", body: strings.Replace(streamBody, "hello", strings.Repeat("x", 2_367_361), 1), answer: []string{""}, breaks: true, used: untold, cost: reserved - 10*outputNano + (2_367_361-5)*inputNano},
	"6 refused by the provider with 400":                  {status: 400, answer: []string{`{"error":{}}`}},
	"6 refused by the provider with 429":                  {status: 429, answer: []string{`{"error":{}}`}},
	"6 refused by the provider with 500, and with tokens": {budget: "tokens 1000", status: 500, answer: []string{`{"error":{}}`}},

	// BerriAI/litellm#37992
	"7 an explicit zero":              {answer: []string{`{"model":"m","usage":{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0}}`}},
	"7 an explicit zero, in a stream": {body: askingBody, answer: []string{chunk, `{"model":"m","choices":[],"usage":{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0}}`, "[DONE]"}},

	"7 an explicit zero, Anthropic's": {provider: "anthropic", path: "/v1/messages", body: claudeBody, answer: []string{`{"model":"m","usage":{"input_tokens":0,"output_tokens":0}}`}},
	"7 an explicit zero, Gemini's":    {provider: "gemini", path: "/v1beta/models/m:generateContent", body: geminiBody, answer: []string{`{"modelVersion":"m","usageMetadata":{"promptTokenCount":0,"candidatesTokenCount":0,"totalTokenCount":0}}`}},

	// envoyproxy/ai-gateway#2236
	"8 Anthropic: zeros in a delta": {provider: "anthropic", path: "/v1/messages", body: claudeBody, answer: named(
		`message_start {"type":"message_start","message":{"model":"m","usage":{"input_tokens":9,"cache_read_input_tokens":5,"cache_creation_input_tokens":2,"output_tokens":1}}}`,
		`message_delta {"type":"message_delta","usage":{"input_tokens":0,"cache_read_input_tokens":0,"cache_creation_input_tokens":0,"output_tokens":16}}`, `message_stop {"type":"message_stop"}`),
		used: tokenstore.Usage{Input: 9, CacheRead: 5, CacheWrite: 2, Output: 16}, cost: 9*2000 + 5*1000 + 2*3000 + 16*10_000},

	// PostHog/posthog-python 7.75
	"9 Anthropic: a server's tools, two deltas": {provider: "anthropic", path: "/v1/messages", budget: "none",
		body: strings.Replace(claudeBody, "{", `{"tools":[{"type":"web_search_20250305","name":"web_search"}],`, 1), answer: named(
			`message_start {"type":"message_start","message":{"model":"m","usage":{"input_tokens":100,"output_tokens":1}}}`,
			`message_delta {"type":"message_delta","usage":{"input_tokens":100,"output_tokens":50}}`,
			`message_delta {"type":"message_delta","usage":{"input_tokens":700,"output_tokens":120}}`, `message_stop {"type":"message_stop"}`),
		used: tokenstore.Usage{Input: 700, Output: 120}, cost: 700*2000 + 120*10_000},

	// earendil-works/pi#5738
	"10 Anthropic: cache writes of two lifetimes": {provider: "anthropic", path: "/v1/messages", budget: "none", body: `{"model":"writer","max_tokens":10,"messages":[]}`,
		answer: []string{`{"model":"writer","usage":{"input_tokens":0,"output_tokens":0,"cache_creation_input_tokens":1000000,"cache_creation":{"ephemeral_5m_input_tokens":600000,"ephemeral_1h_input_tokens":400000}}}`},
		used:   tokenstore.Usage{CacheWrite: 600_000, CacheWriteHour: 400_000}, cost: 3_750_000_000 + 4_000_000_000},

	// Wei-Shaw/sub2api#554
	"11 Gemini: thoughts": {provider: "gemini", path: "/v1beta/models/m:generateContent", body: geminiBody,
		answer: []string{`{"modelVersion":"m","usageMetadata":{"promptTokenCount":55021,"candidatesTokenCount":923,"thoughtsTokenCount":785,"totalTokenCount":56729}}`},
		used:   tokenstore.Usage{Input: 55_021, Output: 1708, Reasoning: 785}, cost: 55_021*2000 + 1708*10_000},

	// Joouis/agent-maestro#190
	"12 Gemini: usage in every chunk": {provider: "gemini", path: "/v1beta/models/m:streamGenerateContent?alt=sse", body: geminiBody, answer: []string{
		`{"candidates":[{"content":{"parts":[{"text":"a"}]}}],"usageMetadata":{"promptTokenCount":219,"totalTokenCount":219},"modelVersion":"m"}`,
		`{"candidates":[{"content":{"parts":[{"text":"b"}]}}],"usageMetadata":{"promptTokenCount":219,"candidatesTokenCount":2,"thoughtsTokenCount":167,"totalTokenCount":388},"modelVersion":"m"}`,
		`{"candidates":[{"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":219,"candidatesTokenCount":4,"thoughtsTokenCount":167,"totalTokenCount":390},"modelVersion":"m"}`},
		used: tokenstore.Usage{Input: 219, Output: 171, Reasoning: 167}, cost: 219*2000 + 171*10_000},

	// github/gh-aw-firewall#1550. The answers are cut within what the coding makes one.
	"13 JSON in gzip":              {coding: "gzip", answer: []string{told22}, used: used22, cost: usageNano},
	"13 JSON in br":                {coding: "br", answer: []string{told22}, used: used22, cost: usageNano},
	"13 JSON in zstd":              {coding: "zstd", answer: []string{told22}, used: used22, cost: usageNano},
	"13 a stream in gzip":          {coding: "gzip", body: askingBody, answer: usual22, used: used22, cost: usageNano},
	"13 a stream in br":            {coding: "br", body: askingBody, answer: usual22, used: used22, cost: usageNano},
	"13 a stream in zstd, unasked": {coding: "zstd", answer: usual22, reads: seen22, used: used22, cost: usageNano},

	// mozilla-ai/otari#256
	"14 Anthropic's API of a compatible server": {provider: "vllm", path: "/v1/messages", body: claudeBody, answer: named(
		`message_start {"type":"message_start","message":{"model":"m","usage":{"input_tokens":0,"output_tokens":0}}}`,
		`message_delta {"type":"message_delta","usage":{"input_tokens":42,"output_tokens":2}}`, `message_stop {"type":"message_stop"}`),
		used: tokenstore.Usage{Input: 42, Output: 2}, cost: 42*2000 + 2*10_000},

	// BerriAI/litellm#40002, with gpt-5.4 of the table: $5 and $22.50 above 272 000
	"15 a prompt of 300 000 tokens": {provider: "openai", budget: "usd 10", body: `{"model":"gpt-5.4","service_tier":"default","max_tokens":1000,"messages":[{"role":"user","content":"` + strings.Repeat("x", 299_896) + `"}]}`,
		answer: []string{`{"model":"gpt-5.4","service_tier":"default","usage":{"prompt_tokens":300000,"completion_tokens":1000,"total_tokens":301000}}`},
		used:   tokenstore.Usage{Input: 300_000, Output: 1000}, cost: 1_522_500_000, held: 1_522_500_000},

	// langwatch/langwatch#7048
	"16 Realtime: cached audio": {provider: "openai", path: "/v1/realtime?model=voice", budget: "none", says: []string{`{"type":"response.create","surprise":true}`},
		answer: []string{`{"type":"response.done","response":{"id":"r","status":"completed","usage":{"total_tokens":1000,"input_tokens":1000,"output_tokens":0,"input_token_details":{"text_tokens":0,"audio_tokens":1000,"cached_tokens":800,"cached_tokens_details":{"text_tokens":0,"audio_tokens":800}}}}}`},
		used:   tokenstore.Usage{AudioInput: 200, CacheRead: 800, Requests: 1}, cost: 6_720_000},

	"16 Realtime: cached audio, under a budget": {provider: "openai", path: "/v1/realtime?model=voice", budget: "usd 10",
		says: []string{`{"type":"session.update","session":{"type":"realtime","max_output_tokens":100,"audio":{"input":{"turn_detection":null}}}}`, `{"type":"response.create"}`},
		answer: []string{`{"type":"session.updated","session":{"type":"realtime","model":"voice"}}`,
			`{"type":"response.done","response":{"id":"r","status":"completed","usage":{"total_tokens":1000,"input_tokens":1000,"output_tokens":0,"input_token_details":{"text_tokens":0,"audio_tokens":1000,"cached_tokens":800,"cached_tokens_details":{"text_tokens":0,"audio_tokens":800}}}}}`},
		used: tokenstore.Usage{AudioInput: 200, CacheRead: 800, Requests: 1}, cost: 6_720_000},

	// theopenco/llmgateway#3231
	"17 Realtime: a transcription by another model": {provider: "openai", path: "/v1/realtime?model=voice", budget: "none", says: []string{`{"type":"session.update"}`, `{"type":"input_audio_buffer.commit"}`, `{"type":"response.create"}`},
		answer: []string{
			`{"type":"session.created","session":{"type":"realtime","model":"voice","audio":{"input":{"transcription":{"model":"hearing"}}}}}`,
			`{"type":"conversation.item.input_audio_transcription.completed","item_id":"i","transcript":"hi","usage":{"type":"tokens","total_tokens":22,"input_tokens":13,"input_token_details":{"text_tokens":0,"audio_tokens":13},"output_tokens":9}}`,
			`{"type":"response.done","response":{"id":"r","status":"completed","usage":{"total_tokens":20,"input_tokens":10,"output_tokens":10,"input_token_details":{"text_tokens":10},"output_token_details":{"text_tokens":10}}}}`},
		used: tokenstore.Usage{Input: 10, AudioInput: 13, Output: 19, Requests: 2}, cost: 13*6000 + 9*10_000 + 10*4000 + 10*16_000,
		costs: map[string]int64{"voice": 10*4000 + 10*16_000, "hearing": 13*6000 + 9*10_000}},

	"17 the same, under a budget": {provider: "openai", path: "/v1/realtime?model=voice", budget: "usd 10",
		says: []string{`{"type":"session.update","session":{"type":"realtime","max_output_tokens":100,"audio":{"input":{"turn_detection":null,"transcription":{"model":"hearing"}}}}}`,
			`{"type":"input_audio_buffer.append","audio":"` + strings.Repeat("A", 3200) + `"}`, `{"type":"response.create"}`},
		answer: []string{
			`{"type":"session.updated","session":{"type":"realtime","model":"voice","audio":{"input":{"transcription":{"model":"hearing"}}}}}`,
			`{"type":"conversation.item.input_audio_transcription.completed","item_id":"i","transcript":"hi","usage":{"type":"tokens","total_tokens":12,"input_tokens":3,"input_token_details":{"text_tokens":0,"audio_tokens":3},"output_tokens":9}}`,
			`{"type":"response.done","response":{"id":"r","status":"completed","usage":{"total_tokens":20,"input_tokens":10,"output_tokens":10,"input_token_details":{"text_tokens":10},"output_token_details":{"text_tokens":10}}}}`},
		used: tokenstore.Usage{Input: 10, AudioInput: 3, Output: 19, Requests: 2}, cost: 3*6000 + 9*10_000 + 10*4000 + 10*16_000,
		costs: map[string]int64{"voice": 10*4000 + 10*16_000, "hearing": 3*6000 + 9*10_000}},

	// fawney19/Aether#730
	"18 Responses: three on a WebSocket": {provider: "openai", path: "/v1/responses", says: []string{createReply, createReply, createReply},
		answer: []string{
			`{"type":"response.completed","response":{"id":"a","model":"m","status":"completed","usage":{"input_tokens":10,"output_tokens":5,"total_tokens":15}}}`,
			`{"type":"response.incomplete","response":{"id":"b","model":"m","status":"incomplete","usage":{"input_tokens":11,"output_tokens":100,"total_tokens":111}}}`,
			`{"type":"response.completed","response":{"id":"c","model":"m","status":"completed","usage":{"input_tokens":12,"output_tokens":6,"total_tokens":18}}}`},
		used: tokenstore.Usage{Input: 33, Output: 111, Requests: 3}, cost: 33*inputNano + 111*outputNano},

	// BerriAI/litellm#36646
	"19 embeddings": {path: "/v1/embeddings", body: vectorBody, answer: []string{`{"model":"vector","usage":{"prompt_tokens":14,"total_tokens":14}}`},
		used: tokenstore.Usage{Input: 14}, cost: 280},

	// wso2/api-platform#2932
	"20 thirty calls at once against 36 tokens, of 150 each": {budget: "tokens 36", path: "/v1/embeddings", body: vectorBody, calls: 30, admitted: 1,
		answer: []string{`{"model":"vector","usage":{"prompt_tokens":150,"total_tokens":150}}`}, used: tokenstore.Usage{Input: 150}, cost: 3000, tokens: 150},

	// BerriAI/litellm#40095
	"21 the eight first calls of a subject with too little": {budget: "none", config: "limit subject usd 0.000000001", calls: 8, admitted: -1, answer: []string{told22}},

	// BerriAI/litellm#42206
	"22 the provider's own cost": {provider: "openrouter", answer: []string{strings.Replace(told22, `}}}`, `},"cost":0.000123}}`, 1)}, used: used22, cost: 123_000},
	"22 a cost of zero":          {provider: "openrouter", answer: []string{strings.Replace(told22, `}}}`, `},"cost":0}}`, 1)}, used: used22},

	// BerriAI/litellm#27639
	"23 a crash between answer and settlement": {body: askingBody, answer: usual22, crashes: true, used: used22, cost: usageNano},

	// https://developers.openai.com/api/reference/resources/responses/streaming-events
	"a response that is incomplete": {path: "/v1/responses", body: replyBody, answer: named(
		`response.created {"type":"response.created","response":{"id":"r","model":"m","status":"in_progress","usage":null}}`,
		`response.incomplete {"type":"response.incomplete","response":{"id":"r","model":"m","status":"incomplete","incomplete_details":{"reason":"max_output_tokens"},"usage":{"input_tokens":11,"output_tokens":10,"output_tokens_details":{"reasoning_tokens":10},"total_tokens":21}}}`),
		used: tokenstore.Usage{Input: 11, Output: 10, Reasoning: 10}, cost: 11*inputNano + 10*outputNano},
	"a response that fails, and tells its usage": {path: "/v1/responses", body: replyBody, answer: named(
		`response.failed {"type":"response.failed","response":{"id":"r","model":"m","status":"failed","error":{"code":"server_error","message":"x"},"usage":{"input_tokens":11,"output_tokens":3,"total_tokens":14}}}`),
		used: tokenstore.Usage{Input: 11, Output: 3}, cost: 11*inputNano + 3*outputNano},
	"a response that fails, and tells none": {path: "/v1/responses", body: replyBody, answer: named(
		`response.failed {"type":"response.failed","response":{"id":"r","model":"m","status":"failed","error":{"code":"server_error","message":"x"},"usage":null}}`),
		used: untold, cost: int64(len(replyBody))*inputNano + 10*outputNano},
	"a response that breaks": {path: "/v1/responses", body: replyBody, breaks: true, answer: named(
		`response.created {"type":"response.created","response":{"id":"r","model":"m","status":"in_progress","usage":null}}`),
		used: untold, cost: int64(len(replyBody))*inputNano + 10*outputNano},

	// An error in a stream of status 200: what was made before it, nobody tells.
	"an error in a stream":             {answer: []string{bareChunk, `{"error":{"message":"overloaded"}}`}, used: untold, cost: reserved},
	"an error instead of a stream":     {answer: []string{`{"error":{"message":"overloaded"}}`, "[DONE]"}, used: untold, cost: reserved},
	"an error in JSON, with a 200":     {answer: []string{`{"error":{"message":"overloaded"}}`}, used: untold, cost: asReserved(askBody)},
	"a stream that breaks":             {answer: []string{bareChunk, bareChunk}, breaks: true, used: untold, cost: reserved},
	"JSON without usage":               {answer: []string{`{"model":"m"}`}, used: untold, cost: asReserved(askBody)},
	"[DONE], and no usage before":      {body: askingBody, answer: []string{chunk, "[DONE]"}, used: untold, cost: int64(len(askingBody))*inputNano + 10*outputNano},
	"more than was reserved":           {answer: []string{`{"model":"m","usage":{"prompt_tokens":1000,"completion_tokens":500,"total_tokens":1500}}`}, used: tokenstore.Usage{Input: 1000, Output: 500, Overrun: 7_000_000 - asReserved(askBody)}, cost: 7_000_000},
	"a stream of a budget in tokens":   {budget: "tokens 1000", answer: usual22, reads: seen22, used: used22, cost: usageNano, tokens: 26},
	"a broken one of it":               {budget: "tokens 1000", answer: []string{bareChunk}, breaks: true, used: untold, tokens: (reserved-10*outputNano)/inputNano + 10},
	"an unknown model in the answer":   {answer: []string{strings.Replace(told22, `"m"`, `"m-0314"`, 1)}, used: used22, cost: usageNano},
	"a model without a price, passive": {budget: "none", body: `{"model":"new","messages":[]}`, answer: []string{strings.Replace(told22, `"m"`, `"new"`, 1)}, used: used22},

	// https://platform.claude.com/docs/en/build-with-claude/streaming#error-events
	"Anthropic: an error after some text": {provider: "anthropic", path: "/v1/messages", body: claudeBody, answer: named(
		`message_start {"type":"message_start","message":{"model":"m","usage":{"input_tokens":9,"output_tokens":1}}}`,
		`content_block_delta {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hello"}}`,
		`error {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}`),
		used: tokenstore.Usage{Input: 9, Output: 1, Unmetered: 1}, cost: claudeHeld},

	// https://docs.mistral.ai/api: usage comes in the last chunk, unasked
	"Mistral: usage beside the last words": {provider: "mistral", body: strings.Replace(streamBody, `"max_tokens":10,`, `"max_tokens":10,"n":1,`, 1), answer: []string{bareChunk,
		`{"id":"c","model":"m","choices":[{"index":0,"delta":{"content":""},"finish_reason":"stop"}],"usage":{"prompt_tokens":22,"total_tokens":26,"completion_tokens":4,"prompt_tokens_details":{"cached_tokens":15}}}`, "[DONE]"},
		used: used22, cost: usageNano},

	// https://docs.cohere.com/reference/chat-stream
	"Cohere: billed units at the end of a stream": {provider: "cohere", path: "/v2/chat", budget: "none", body: `{"model":"m","stream":true,"messages":[]}`, answer: []string{
		`{"type":"content-delta","index":0,"delta":{"message":{"content":{"text":"hi"}}}}`,
		`{"type":"message-end","delta":{"finish_reason":"COMPLETE","usage":{"billed_units":{"input_tokens":17,"output_tokens":12},"tokens":{"input_tokens":83,"output_tokens":14}}}}`},
		used: tokenstore.Usage{Input: 17, Output: 12}, cost: 17*2000 + 12*10_000},

	// https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStreamMetadataEvent.html
	"Bedrock: the metadata of a ConverseStream": {provider: "bedrock", path: "/model/m/converse-stream", events: "application/vnd.amazon.eventstream",
		body: `{"messages":[{"role":"user","content":[{"text":"hello"}]}],"inferenceConfig":{"maxTokens":10}}`, answer: frames(
			`messageStart {"role":"assistant"}`, `contentBlockDelta {"contentBlockIndex":0,"delta":{"text":"hi"}}`, `messageStop {"stopReason":"end_turn"}`,
			`metadata {"usage":{"inputTokens":3,"outputTokens":2,"totalTokens":15,"cacheReadInputTokens":4,"cacheWriteInputTokens":6},"metrics":{"latencyMs":7}}`),
		used: tokenstore.Usage{Input: 3, CacheRead: 4, CacheWrite: 6, Output: 2}, cost: 3*2000 + 4*1000 + 6*3000 + 2*10_000},

	// https://ai.google.dev/api/generate-content#UsageMetadata
	"Gemini: what hosted tools read, and a cache": {provider: "gemini", path: "/v1beta/models/m:generateContent", budget: "none", body: `{"contents":[],"tools":[{"urlContext":{}}]}`,
		answer: []string{`{"candidates":[{"finishReason":"STOP"}],"modelVersion":"m","usageMetadata":{"promptTokenCount":100,"cachedContentTokenCount":40,"candidatesTokenCount":20,"toolUsePromptTokenCount":300,"thoughtsTokenCount":5,"totalTokenCount":425}}`},
		used:   tokenstore.Usage{Input: 360, CacheRead: 40, Output: 25, Reasoning: 5}, cost: 360*2000 + 40*1000 + 25*10_000},

	// https://developers.openai.com/api/docs/guides/audio
	"audio in a chat": {provider: "openai", budget: "none", body: `{"model":"voice","modalities":["text","audio"],"messages":[]}`,
		answer: []string{`{"model":"voice","usage":{"prompt_tokens":100,"completion_tokens":80,"total_tokens":180,"prompt_tokens_details":{"audio_tokens":60,"cached_tokens":0},"completion_tokens_details":{"audio_tokens":70,"reasoning_tokens":0}}}`},
		used:   tokenstore.Usage{Input: 40, AudioInput: 60, Output: 10, AudioOutput: 70}, cost: 40*4000 + 60*32_000 + 10*16_000 + 70*64_000},

	// https://developers.openai.com/api/docs/guides/priority-processing, with gpt-5 of
	// the table: $1.25 and $10, twice that at priority
	"a service tier that was not served": {provider: "openai", body: `{"model":"gpt-5","service_tier":"priority","max_tokens":10,"messages":[]}`,
		answer: []string{`{"model":"gpt-5","service_tier":"default","usage":{"prompt_tokens":100,"completion_tokens":10,"total_tokens":110}}`},
		used:   tokenstore.Usage{Input: 100, Output: 10}, cost: 1250*100 + 10_000*10, held: 2500*73 + 20_000*10},

	// https://platform.claude.com/docs/en/api/service-tiers, with claude-haiku-4-5 of
	// the table: $1 and $5
	"Anthropic: the batch tier": {provider: "anthropic", path: "/v1/messages", budget: "none", body: `{"model":"claude-haiku-4-5","max_tokens":10,"messages":[]}`,
		answer: []string{`{"model":"claude-haiku-4-5","usage":{"input_tokens":1000,"output_tokens":10,"service_tier":"batch"}}`}, used: tokenstore.Usage{Input: 1000, Output: 10}, cost: 1000*500 + 10*2500},
	"Anthropic: the priority tier": {provider: "anthropic", path: "/v1/messages", budget: "none", body: `{"model":"claude-haiku-4-5","max_tokens":10,"messages":[]}`,
		answer: []string{`{"model":"claude-haiku-4-5","usage":{"input_tokens":1000,"output_tokens":10,"service_tier":"priority"}}`}, used: tokenstore.Usage{Input: 1000, Output: 10}, cost: 1000*1000 + 10*5000},

	// https://developers.openai.com/api/docs/guides/image-generation#cost-and-latency,
	// with gpt-image-1 of the table: $5, $10 and $40
	"an image": {provider: "openai", path: "/v1/images/generations", body: `{"model":"gpt-image-1","prompt":"a cat"}`,
		answer: []string{`{"created":1,"data":[{"b64_json":"AAAA"}],"usage":{"total_tokens":1100,"input_tokens":50,"output_tokens":1050,"input_tokens_details":{"text_tokens":10,"image_tokens":40}}}`},
		used:   tokenstore.Usage{Input: 10, ImageInput: 40, ImageOutput: 1050}, cost: 10*5000 + 40*10_000 + 1050*40_000},

	// https://developers.openai.com/api/docs/pricing: whisper-1 at $0.006 for a minute
	"a transcription by its length": {provider: "openai", path: "/v1/audio/transcriptions", body: "recording", answer: []string{`{"text":"hi","usage":{"type":"duration","seconds":9}}`},
		used: tokenstore.Usage{Milliseconds: 9000}, cost: 900_000},

	// https://developers.openai.com/api/reference/resources/completions: both n and
	// best_of make that many completions
	"four answers": {body: `{"model":"m","n":4,"max_tokens":10,"messages":[]}`, answer: []string{told22}, used: used22, cost: usageNano, held: 49*inputNano + 40*outputNano},
	"the best of five": {path: "/v1/completions", body: `{"model":"m","best_of":5,"max_tokens":10,"prompt":"hello"}`,
		answer: []string{`{"model":"m","usage":{"prompt_tokens":5,"completion_tokens":50,"total_tokens":55}}`}, used: tokenstore.Usage{Input: 5, Output: 50}, cost: 5*inputNano + 50*outputNano, held: 58*inputNano + 50*outputNano},

	// https://developers.openai.com/api/docs/guides/predicted-outputs: rejected tokens
	// are among the completion's
	"a prediction, most of it rejected": {budget: "none", body: `{"model":"m","messages":[],"prediction":{"type":"content","content":"x"}}`,
		answer: []string{`{"model":"m","usage":{"prompt_tokens":20,"completion_tokens":100,"total_tokens":120,"completion_tokens_details":{"reasoning_tokens":0,"accepted_prediction_tokens":10,"rejected_prediction_tokens":80}}}`},
		used:   tokenstore.Usage{Input: 20, Output: 100}, cost: 20*inputNano + 100*outputNano},

	// https://ai.google.dev/api/live
	"Gemini Live": {provider: "gemini", path: "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent", budget: "none",
		says: []string{`{"setup":{"model":"models/m"}}`, `{"clientContent":{"turns":[],"turnComplete":true}}`, `{"clientContent":{"turns":[],"turnComplete":true}}`},
		answer: []string{`{"setupComplete":{}}`,
			`{"serverContent":{"turnComplete":true},"usageMetadata":{"promptTokenCount":100,"responseTokenCount":50,"totalTokenCount":150,"promptTokensDetails":[{"modality":"TEXT","tokenCount":100}],"responseTokensDetails":[{"modality":"TEXT","tokenCount":50}]}}`,
			`{"serverContent":{"turnComplete":true},"usageMetadata":{"promptTokenCount":160,"responseTokenCount":10,"totalTokenCount":170}}`},
		used: tokenstore.Usage{Input: 260, Output: 60, Requests: 2}, cost: 260*2000 + 60*10_000},
}

// A call costs what its provider bills: what it has used, in which kinds, what is charged
// to its budget, and what its client reads.
func TestMetering_Cases(t *testing.T) {
	stages := make(map[string]map[string]meteringCase)
	for name, tc := range meteringCases {
		lines := tc.config
		if tc.cancels {
			lines += "|on_disconnect cancel"
		}
		if stages[lines] == nil {
			stages[lines] = make(map[string]meteringCase)
		}
		stages[lines][name] = tc.filled()
	}
	for lines, rows := range stages {
		app, directive, _ := strings.Cut(lines, "|")
		t.Run("config "+lines, func(t *testing.T) {
			s := newMeteringStage(t, app, directive, rows)
			for _, name := range slices.Sorted(maps.Keys(rows)) {
				t.Run(name, func(t *testing.T) { s.play(t, name, rows[name]) })
			}
		})
	}
}

// filled has the usual values in place of those that are zero.
func (tc meteringCase) filled() meteringCase {
	tc.provider, tc.path, tc.budget = cmp.Or(tc.provider, "demo"), cmp.Or(tc.path, "/v1/chat/completions"), cmp.Or(tc.budget, "usd 1")
	tc.kind, tc.status, tc.calls = cmp.Or(tc.kind, "application/json"), cmp.Or(tc.status, 200), cmp.Or(tc.calls, 1)
	streams := len(tc.answer) != 1 || tc.breaks || strings.HasPrefix(tc.answer[0], "event:")
	tc.answer = slices.Clone(tc.answer)
	for i, piece := range tc.answer {
		if streams && tc.says == nil && tc.events == "" && (strings.HasPrefix(piece, "{") || piece == "[DONE]") {
			tc.answer[i] = sse(piece)
		}
	}
	switch {
	case tc.body == "recording":
		tc.body, tc.kind = recordingForm()
	case streams:
		tc.body = cmp.Or(tc.body, streamBody)
	default:
		tc.body = cmp.Or(tc.body, askBody)
	}
	if !streams {
		tc.events = "application/json"
	}
	tc.events, tc.reads = cmp.Or(tc.events, "text/event-stream"), cmp.Or(tc.reads, strings.Join(tc.answer, ""))
	switch tc.admitted {
	case 0:
		tc.admitted = tc.calls
	case -1:
		tc.admitted = 0
	}
	return tc
}

// rowHeader names the row of a request. It passes the relay like any other field.
const rowHeader = "X-Row"

// meteringStage is a relay before providers that answer as the row of a request says.
type meteringStage struct {
	relay *testRelay
	rows  map[string]*meteringRow
}

// meteringRow is what goes on in a row.
type meteringRow struct {
	meteringCase
	left    chan struct{} // closed when the client has left
	settled chan struct{} // closed when the row may end

	mu    sync.Mutex
	calls int      // that reached the provider
	told  []string // what the provider received
}

// receive notes what reached the provider.
func (row *meteringRow) receive(calls int, told ...string) {
	row.mu.Lock()
	defer row.mu.Unlock()
	row.calls, row.told = row.calls+calls, append(row.told, told...)
}

// received returns what reached the provider.
func (row *meteringRow) received() (calls int, told []string) {
	row.mu.Lock()
	defer row.mu.Unlock()
	return row.calls, slices.Clone(row.told)
}

// meteringProviders are the providers of the rows. They are all at one address.
var meteringProviders = []string{"demo", "openai", "anthropic", "gemini", "mistral", "bedrock", "vllm", "cohere", "openrouter"}

func newMeteringStage(t *testing.T, app, directive string, rows map[string]meteringCase) *meteringStage {
	t.Helper()
	s := &meteringStage{rows: make(map[string]*meteringRow)}
	for name, tc := range rows {
		s.rows[name] = &meteringRow{meteringCase: tc, left: make(chan struct{}), settled: make(chan struct{})}
	}
	up := newUpstream(t, func(w http.ResponseWriter, r *http.Request) { s.rows[r.Header.Get(rowHeader)].answerTo(t, w, r) })
	s.relay = startRelay(t, simple(up.URL, inApp(casePrices, app), inDirective(directive), func(c *testConfig) {
		c.grants = strings.Join(meteringProviders, " ")
		c.provider = ""
		for _, name := range meteringProviders {
			preset := ""
			if name == "demo" {
				preset = "preset openai-compatible"
			}
			c.providers += section("provider "+name+" "+up.URL, preset, "api_key {env.RELAYAPI_TEST_KEY}")
		}
	}))
	return s
}

// answerTo is the provider of a row.
func (row *meteringRow) answerTo(t *testing.T, w http.ResponseWriter, r *http.Request) {
	if row.says != nil {
		row.receive(1)
		row.converse(t, w, r)
		return
	}
	body, _ := io.ReadAll(r.Body)
	row.receive(1, string(body))
	if row.leaves < 0 {
		<-row.left
	}
	if row.status < 0 {
		panic(http.ErrAbortHandler)
	}
	w.Header().Set("Content-Type", row.events)
	if row.coding != "" {
		w.Header().Set("Content-Encoding", row.coding)
	}
	w.WriteHeader(row.status)
	row.send(w)
	if row.crashes {
		<-row.settled
	}
	if row.breaks {
		panic(http.ErrAbortHandler)
	}
}

// send sends the pieces of the answer. A coded one is cut wherever it happens to be.
func (row *meteringRow) send(w http.ResponseWriter) {
	if row.coding != "" {
		for coded := coded(row.coding, strings.Join(row.answer, "")); coded != ""; {
			n := min(7, len(coded))
			tell(w, coded[:n])
			coded = coded[n:]
		}
		return
	}
	for i, piece := range row.answer {
		if row.leaves > 0 && i == row.leaves {
			<-row.left
		}
		tell(w, piece)
	}
	if row.leaves >= len(row.answer) {
		<-row.left
	}
}

// coded returns a text in a content coding.
func coded(coding, text string) string {
	var b bytes.Buffer
	var w io.WriteCloser
	switch coding {
	case "gzip":
		w = gzip.NewWriter(&b)
	case "br":
		w = brotli.NewWriter(&b)
	default:
		w, _ = zstd.NewWriter(&b)
	}
	_, _ = io.WriteString(w, text)
	_ = w.Close()
	return b.String()
}

// converse answers each message on a WebSocket with a piece of the answer.
func (row *meteringRow) converse(t *testing.T, w http.ResponseWriter, r *http.Request) {
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true})
	if err != nil {
		t.Error(err)
		return
	}
	defer conn.CloseNow()
	for _, piece := range row.answer {
		_, said, err := conn.Read(r.Context())
		if err != nil {
			return
		}
		row.receive(0, string(said))
		if err := conn.Write(r.Context(), websocket.MessageText, []byte(piece)); err != nil {
			return
		}
	}
	_, _, _ = conn.Read(r.Context())
}

// play plays a row and compares what came of it.
func (s *meteringStage) play(t *testing.T, name string, tc meteringCase) {
	s.relay.t = t
	row := s.rows[name]
	tokenID := strings.Map(func(r rune) rune {
		if strings.ContainsRune(" :,[]'", r) {
			return '-'
		}
		return r
	}, name)
	tokenID = tokenID[:min(len(tokenID), 60)]
	token := s.relay.mint(forProvider(tc.provider), id(tokenID), subject(tokenID), withBudget(t, tc.budget))

	switch {
	case tc.says != nil:
		s.talk(t, name, token, tc)
	case tc.leaves != 0:
		s.leave(t, name, token, tc)
	case tc.crashes:
		s.crash(t, name, tokenID, token, tc)
	default:
		var group sync.WaitGroup
		for range tc.calls {
			group.Go(func() { s.ask(t, name, token, tc) })
		}
		group.Wait()
	}
	s.relay.wantCalls(tokenID, int64(tc.admitted))
	n, told := row.received()
	if n != tc.admitted {
		t.Errorf("the provider received %d calls, want %d", n, tc.admitted)
	}
	asked := []string{tc.body}
	if tc.says != nil {
		asked = tc.says
	}
	if n > 0 && tc.budget == "none" && tc.config == "" && !slices.Equal(told, asked) {
		t.Errorf("without a budget the provider received\n%q\nwant\n%q", told, asked)
	}
	s.wantUsed(t, tokenID, tc)
}

func withBudget(t *testing.T, budget string) func(*grant.Claims) {
	t.Helper()
	switch unit, amount, _ := strings.Cut(budget, " "); unit {
	case "usd":
		return dollars(amount)
	case "tokens":
		var n int64
		if _, err := fmt.Sscan(amount, &n); err != nil {
			t.Fatal(err)
		}
		return tokens(n)
	}
	return nil
}

func (s *meteringStage) request(name, token string, tc meteringCase) *http.Request {
	return s.relay.request(bearer(token), asking("POST", tc.path), chatting(tc.body), func(r *http.Request) {
		r.Header.Set("Content-Type", tc.kind)
		r.Header.Set(rowHeader, name)
	})
}

// ask makes a call and compares what the client reads.
func (s *meteringStage) ask(t *testing.T, name, token string, tc meteringCase) {
	res, err := s.relay.client.Do(s.request(name, token, tc))
	if err != nil {
		t.Error(err)
		return
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	s.relay.canary.answered(res, body)
	switch {
	case res.StatusCode == http.StatusForbidden && tc.calls > 1:
		return // how many were admitted is compared in the end
	case tc.status < 0:
		if res.StatusCode != http.StatusBadGateway {
			t.Errorf("the client reads %d %s, want 502", res.StatusCode, body)
		}
		return
	}
	if res.StatusCode != tc.status || string(body) != tc.reads || (err != nil) != tc.breaks {
		t.Errorf("the client reads %d, %v\n%s\nwant %d\n%s", res.StatusCode, err, body, tc.status, tc.reads)
	}
	if left := res.Header.Get("RelayAPI-Remaining-Usd"); tc.held != 0 && left != "" {
		budget, err := grant.ParseUSD(strings.TrimPrefix(tc.budget, "usd "))
		remaining, errLeft := grant.ParseUSD(left)
		if err != nil || errLeft != nil || int64(budget-remaining) != tc.held {
			t.Errorf("$%s of $%s remain, want %d nano-USD held", left, budget, tc.held)
		}
	}
}

// leave makes a call and leaves it. What the client has asked for comes to an end all
// the same.
func (s *meteringStage) leave(t *testing.T, name, token string, tc meteringCase) {
	row := s.rows[name]
	client := newClient(t)
	request := s.request(name, token, tc)
	if tc.leaves < 0 {
		ctx, cancel := context.WithCancel(t.Context())
		go func() { _, _ = client.Do(request.WithContext(ctx)) }()
		if !eventually(func() bool { n, _ := row.received(); return n == 1 }) {
			t.Fatal("the provider received no call")
		}
		cancel()
	} else {
		got, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		seen := strings.Join(tc.answer[:tc.leaves], "")
		if tc.reads != strings.Join(tc.answer, "") || tc.body == streamBody {
			seen = strings.ReplaceAll(seen, `,"usage":null`, "")
		}
		if _, err := io.ReadFull(got.Body, make([]byte, len(seen))); err != nil {
			t.Fatal(err)
		}
		got.Body.Close()
	}
	client.CloseIdleConnections()
	time.AfterFunc(50*time.Millisecond, func() { close(row.left) }) // the relay has heard of it by then, or reads on
}

// crash makes a call. When the client has read it all and it is not over, it copies the
// store, as a crash would leave it, and looks what is charged there.
func (s *meteringStage) crash(t *testing.T, name, tokenID, token string, tc meteringCase) {
	row := s.rows[name]
	res, err := s.relay.client.Do(s.request(name, token, tc))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if _, err := io.ReadFull(res.Body, make([]byte, len(tc.reads))); err != nil {
		t.Fatal(err)
	}

	held := int64(len(tc.body))*inputNano + 10*outputNano
	dir := t.TempDir()
	for _, suffix := range []string{"", "-wal"} {
		data, err := os.ReadFile(filepath.Join(s.relay.dir, "relayapi.db"+suffix))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "relayapi.db"+suffix), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 { // it is charged after a further start too, and not once more
		left, err := tokenstore.OpenSQLite(t.Context(), filepath.Join(dir, "relayapi.db"))
		if err != nil {
			t.Fatal(err)
		}
		counter := tokenstore.TokenCounter("backend", tokenID)
		counter.Unit = tokenstore.UnitNanoUSD
		if got, err := left.Used(t.Context(), counter); err != nil || got != held {
			t.Errorf("after a crash %d nano-USD are charged, %v; want the %d that were held", got, err, held)
		}
		if err := left.Close(); err != nil {
			t.Error(err)
		}
	}
	close(row.settled)
}

// talk says the messages of a row on a WebSocket and compares what is answered.
func (s *meteringStage) talk(t *testing.T, name, token string, tc meteringCase) {
	conn, _, err := s.relay.dial(tc.path, wsBearer(token), func(o *websocket.DialOptions) { o.HTTPHeader.Set(rowHeader, name) })
	if err != nil {
		t.Fatal(err)
	}
	for i, message := range tc.says {
		say(t, conn, message)
		if _, data, err := conn.Read(t.Context()); err != nil || string(data) != tc.answer[i] {
			t.Errorf("the client reads %s, %v; want %s", data, err, tc.answer[i])
		}
	}
	_ = conn.Close(websocket.StatusNormalClosure, "")
}

// wantUsed compares what is reported of a row's token and charged to its budget.
func (s *meteringStage) wantUsed(t *testing.T, tokenID string, tc meteringCase) {
	t.Helper()
	want := tc.used
	want.Cost = tc.cost
	got := s.relay.usage(tokenID)
	kinds := tokenstore.Usage{
		Input: got.Input, CacheRead: got.CacheRead, CacheWrite: got.CacheWrite, CacheWriteHour: got.CacheWriteHour, Output: got.Output,
		Reasoning: got.Reasoning, AudioInput: got.AudioInput, AudioOutput: got.AudioOutput, ImageInput: got.ImageInput, ImageOutput: got.ImageOutput,
		Milliseconds: got.Milliseconds, Cost: got.Cost, Unmetered: got.Unmetered, Overrun: got.Overrun,
	}
	if tc.says != nil {
		kinds.Requests = got.Requests
	}
	if want.Overrun == 0 {
		kinds.Overrun = 0 // the answers of these rows are larger than their requests could cause
	}
	if kinds != want {
		t.Errorf("used %+v\nwant %+v", kinds, want)
	}

	charged := map[tokenstore.Unit]int64{tokenstore.UnitTokens: tc.tokens}
	if strings.HasPrefix(tc.budget, "usd") {
		charged[tokenstore.UnitNanoUSD] = tc.cost
	}
	for unit, want := range charged {
		wantSpent(t, tokenID, unit, want)
	}
	if tc.costs == nil {
		return
	}
	rows, err := activeApp(t).ledger.UsageReport(t.Context(), tokenstore.UsageFilter{Token: tokenID, By: []tokenstore.Dimension{tokenstore.ByModel}})
	costs := make(map[string]int64)
	for _, row := range rows {
		if row.Cost > 0 {
			costs[row.Model] = row.Cost
		}
	}
	if err != nil || !maps.Equal(costs, tc.costs) {
		t.Errorf("the models cost %v, %v; want %v", costs, err, tc.costs)
	}
}
