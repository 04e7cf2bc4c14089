package dialect

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"mime/multipart"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// wav is a recording in WAV of so many seconds.
func wav(seconds int) []byte {
	const rate = 8000
	data := []byte("RIFF\x00\x00\x00\x00WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00")
	data = binary.LittleEndian.AppendUint32(data, rate)
	data = binary.LittleEndian.AppendUint32(data, 2*rate)
	data = append(data, 2, 0, 16, 0)
	data = append(data, "data\x00\x00\x00\x00"...)
	return append(data, make([]byte, seconds*rate*2)...)
}

// upload is a form with a file and fields, which are pairs.
func upload(t testing.TB, name string, file []byte, fields ...string) (contentType string, body []byte) {
	t.Helper()
	var buffer bytes.Buffer
	w := multipart.NewWriter(&buffer)
	part, err := w.CreateFormFile(name, "file.bin")
	if err == nil {
		_, err = part.Write(file)
	}
	for i := 0; i < len(fields); i += 2 {
		if e := w.WriteField(fields[i], fields[i+1]); e != nil {
			err = e
		}
	}
	if e := w.Close(); e != nil || err != nil {
		t.Fatal(err, e)
	}
	return w.FormDataContentType(), buffer.Bytes()
}

func TestBound_OfRequests(t *testing.T) {
	const (
		chat      = "/v1/chat/completions"
		responses = "/v1/responses"
		messages  = "/v1/messages"
		gem       = "/v1beta/models/gemini-3.8-flash:generateContent"
		converse  = "/model/m/converse"
	)
	picture := strings.Repeat("A", 5000)
	length := func(body string) int64 { return int64(len(body)) }
	for name, c := range map[string]struct {
		d     *Dialect
		path  string
		body  string
		extra int64 // of the input, beyond the length of the body
		want  Usage // besides the input
		cap   Cap
		cases int
		tier  string
	}{
		"chat": {openai, chat, `{"model":"gpt-5.4","messages":[{"role":"user","content":"hi"}],"max_completion_tokens":100}`, 0,
			Usage{Output: 100}, Cap{Field: "max_completion_tokens", Limit: 100, Times: 1}, 2, ""},
		"chat without a cap":            {openai, chat, `{"model":"gpt-5.4","messages":[]}`, 0, Usage{}, Cap{Field: "max_completion_tokens", Times: 1}, 2, ""},
		"chat of another maker's model": {openai, chat, `{"model":"mistral-small","messages":[]}`, 0, Usage{}, Cap{Field: "max_tokens", Times: 1}, 2, ""},
		"chat of a deployment":          {azure, "/openai/deployments/d/chat/completions", `{"messages":[]}`, 0, Usage{}, Cap{Field: "max_completion_tokens", Times: 1}, 2, ""},
		"several answers": {openai, chat, `{"model":"gpt-4o","messages":[],"max_tokens":100,"n":3,"service_tier":"flex"}`, 0,
			Usage{Output: 300}, Cap{Field: "max_tokens", Limit: 100, Times: 3}, 2, "flex"},
		"two caps": {openai, chat, `{"messages":[],"max_tokens":100,"max_completion_tokens":50}`, 0,
			Usage{Output: 100}, Cap{Field: "max_completion_tokens", Limit: 100, Times: 1}, 2, ""},
		"a cap that some do not know": {openai, chat, `{"model":"x/llama","messages":[],"max_completion_tokens":50}`, 0,
			Usage{Output: 50}, Cap{Field: "max_completion_tokens", Limit: 50, Times: 1, Rewrite: true}, 2, ""},
		"nulls": {openai, chat, `{"messages":[],"max_tokens":null,"audio":null,"web_search_options":null,"unheard_of":null}`, 0,
			Usage{}, Cap{Field: "max_tokens", Times: 1}, 2, ""},
		"functions": {openai, chat, `{"messages":[{"role":"assistant","content":null,"tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{\"url\":\"x\"}"}}]},{"role":"tool","tool_call_id":"c","content":"1"}],"tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object","properties":{"file_id":{"type":"string"}}}}}]}`, toolsTokens,
			Usage{}, Cap{Field: "max_tokens", Times: 1}, 2, ""},
		"a picture": {openai, chat, `{"messages":[{"role":"user","content":[{"type":"text","text":"?"},{"type":"image_url","image_url":{"url":"data:image\/png;base64,` + picture + `"}}]}]}`,
			imageTokens - 5025, Usage{}, Cap{Field: "max_tokens", Times: 1}, 2, ""},
		"a picture for a small model": {openai, chat, `{"model":"gpt-4o-mini","messages":[{"role":"user","content":[{"type":"image_url","image_url":{"detail":"low","url":"data:image/jpeg;base64,` + picture + `"}}]}]}`,
			miniImageTokens - 5025, Usage{}, Cap{Field: "max_completion_tokens", Times: 1}, 2, ""},
		"kept in the cache": {openai, chat, `{"messages":[],"prompt_cache_retention":"24h"}`, 0, Usage{}, Cap{Field: "max_tokens", Times: 1}, 3, ""},

		"completions": {openai, "/v1/completions", `{"prompt":["a","b"],"max_tokens":16,"n":2,"best_of":4}`, 0,
			Usage{Output: 128}, Cap{Field: "max_tokens", Limit: 16, Times: 8}, 1, ""},
		"completions of tokens": {openai, "/v1/completions", `{"prompt":[1,2,3],"max_tokens":16}`, 0,
			Usage{Output: 16}, Cap{Field: "max_tokens", Limit: 16, Times: 1}, 1, ""},

		"responses": {openai, responses, `{"model":"gpt-5.4","input":"hi","max_output_tokens":64,"background":false,"previous_response_id":null}`, 0,
			Usage{Output: 64}, Cap{Field: "max_output_tokens", Limit: 64, Times: 1}, 2, ""},
		"responses with items": {openai, responses, `{"input":[{"role":"user","content":[{"type":"input_text","text":"?"},{"type":"input_image","image_url":"data:image/webp;base64,` + picture + `"}]},{"type":"reasoning","id":"rs_1","summary":[],"encrypted_content":"gAAA"},{"type":"function_call","call_id":"c","name":"f","arguments":"{}"},{"type":"function_call_output","call_id":"c","output":"1"}],"tools":[{"type":"function","name":"f","parameters":{}}]}`,
			toolsTokens + imageTokens - 5025, Usage{}, Cap{Field: "max_output_tokens", Times: 1}, 2, ""},

		"messages": {anthropic, messages, `{"model":"claude-opus-4-8","max_tokens":1024,"messages":[{"role":"user","content":"hi"}],"system":[{"type":"text","text":"x"}],"service_tier":"auto"}`, 0,
			Usage{Output: 1024}, Cap{Field: "max_tokens", Limit: 1024, Times: 1}, 1, ""},
		"messages with a cache": {anthropic, messages, `{"max_tokens":1,"messages":[],"system":[{"type":"text","text":"x","cache_control":{"type":"ephemeral"}}]}`, 0,
			Usage{Output: 1}, Cap{Field: "max_tokens", Limit: 1, Times: 1}, 2, ""},
		"messages with a longer cache": {anthropic, messages, `{"max_tokens":1,"messages":[],"cache_control":{"type":"ephemeral","ttl":"1h"}}`, 0,
			Usage{Output: 1}, Cap{Field: "max_tokens", Limit: 1, Times: 1}, 3, ""},
		"messages with tools": {anthropic, messages, `{"max_tokens":1,"messages":[{"role":"assistant","content":[{"type":"tool_use","id":"t","name":"f","input":{"type":"file","file_id":"x"}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"t","content":[{"type":"image","source":{"type":"base64","media_type":"image/png","data":"` + picture + `"}},{"type":"document","source":{"type":"text","media_type":"text/plain","data":"x"}}]}]}],"tools":[{"name":"f","input_schema":{"type":"object"},"cache_control":{"type":"ephemeral"}},{"type":"bash_20250124","name":"bash"}]}`,
			toolsTokens + ownToolTokens + claudeImageTokens - 5002, Usage{Output: 1}, Cap{Field: "max_tokens", Limit: 1, Times: 1}, 2, ""},
		"messages of a compatible provider": {openai, "/anthropic/v1/messages", `{"max_tokens":5,"messages":[]}`, 0, Usage{Output: 5}, Cap{Field: "max_tokens", Limit: 5, Times: 1}, 1, ""},

		"gemini": {gemini, gem, `{"contents":[{"role":"user","parts":[{"text":"hi"},{"functionResponse":{"name":"f","response":{"fileData":1}}}]}],"generationConfig":{"maxOutputTokens":200,"candidateCount":2,"responseModalities":["TEXT"],"thinkingConfig":{"thinkingBudget":-1}},"tools":[{"functionDeclarations":[{"name":"f"}]}]}`, toolsTokens,
			Usage{Output: 400}, Cap{Field: "generationConfig.maxOutputTokens", Limit: 200, Times: 2}, 1, ""},
		"gemini in the other spelling": {gemini, gem, `{"contents":[{"parts":[{"inline_data":{"mime_type":"image/png","data":"` + picture + `"}}]}],"generation_config":{"temperature":1}}`, geminiImageTokens - 5002,
			Usage{}, Cap{Field: "generation_config.maxOutputTokens", Times: 1}, 1, ""},
		"gemini with sound": {gemini, gem, `{"contents":[{"parts":[{"inlineData":{"mimeType":"audio/wav","data":"` + base64.StdEncoding.EncodeToString(wav(2)) + `"}}]}]}`, -int64(base64.StdEncoding.EncodedLen(len(wav(2)))) - 2,
			Usage{AudioInput: 66}, Cap{Field: "generationConfig.maxOutputTokens", Times: 1}, 1, ""},

		"converse": {bedrock, converse, `{"messages":[{"role":"user","content":[{"text":"hi"},{"image":{"format":"png","source":{"bytes":"` + picture + `"}}},{"cachePoint":{"type":"default"}}]}],"inferenceConfig":{"maxTokens":50},"toolConfig":{"tools":[{"toolSpec":{"name":"f","inputSchema":{"json":{"type":"object"}}}}]},"serviceTier":{"type":"priority"}}`,
			toolsTokens + imageTokens - 5002, Usage{Output: 50}, Cap{Field: "inferenceConfig.maxTokens", Limit: 50, Times: 1}, 2, "priority"},
		"converse without a cap": {bedrock, converse + "-stream", `{"messages":[]}`, 0, Usage{}, Cap{Field: "inferenceConfig.maxTokens", Times: 1}, 1, ""},
		"invoke": {bedrock, "/model/m/invoke", `{"anthropic_version":"bedrock-2023-05-31","max_tokens":9,"messages":[]}`, 0,
			Usage{Output: 9}, Cap{Field: "max_tokens", Limit: 9, Times: 1}, 1, ""},

		"embeddings":           {openai, "/v1/embeddings", `{"model":"m","input":["a","b"]}`, 0, Usage{}, Cap{}, 1, ""},
		"embeddings of gemini": {gemini, "/v1beta/models/m:batchEmbedContents", `{"requests":[{"model":"models/m","content":{"parts":[{"text":"a"}]}}]}`, 0, Usage{}, Cap{}, 1, ""},
		"images": {openai, "/v1/images/generations", `{"model":"gpt-image-1","prompt":"a cat","n":2,"size":"1024x1024","quality":"high","partial_images":3}`, 0,
			Usage{Images: 2, ImageOutput: 2 * (6240 + 300)}, Cap{}, 1, ""},
		"speech": {openai, "/v1/audio/speech", `{"model":"tts-1","voice":"alloy","input":"Grüße"}`, 0,
			Usage{Characters: 5, AudioOutput: 1100}, Cap{}, 1, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := c.d.Bound(&Request{Method: "POST", Path: c.path, Body: []byte(c.body)})
			if err != nil {
				t.Fatal(err)
			}
			c.want.Requests, c.want.Input = 1, length(c.body)+c.extra
			if got.Usage != c.want || got.Cap != c.cap || len(got.Cases()) != c.cases || got.Tier != c.tier {
				t.Errorf("got  %+v with %d cases\nwant %+v, %+v, tier %q, %d cases", got, len(got.Cases()), c.want, c.cap, c.tier, c.cases)
			}
		})
	}
}

func TestBound_OfForms(t *testing.T) {
	kind, body := upload(t, "file", wav(10), "model", "whisper-1", "response_format", "json")
	got, err := openai.Bound(&Request{Method: "POST", Path: "/v1/audio/transcriptions", ContentType: kind, Body: body})
	if want := int64(10_003); err != nil || got.Usage.Milliseconds != want || got.Usage.AudioInput != 322 || got.Usage.Output != 1320 || got.Usage.Input > 1000 {
		t.Errorf("transcription: got %+v, %v; want %d ms", got, err, want)
	}

	kind, body = upload(t, "image[]", []byte("\x89PNG"), "prompt", "a cat", "n", "2")
	got, err = openai.Bound(&Request{Method: "POST", Path: "/v1/images/edits", ContentType: kind, Body: body})
	if err != nil || got.Usage.Images != 2 || got.Usage.ImageInput != imageTokens || got.Usage.ImageOutput != 12_480 {
		t.Errorf("edit: got %+v, %v; want two images", got, err)
	}

	for name, c := range map[string]struct{ path, part, field string }{
		"a recording in another form": {"/v1/audio/transcriptions", "file", "file"},
		"an unknown part":             {"/v1/audio/transcriptions", "known_speaker_references[]", "known_speaker_references[]"},
		"a form for a chat":           {"/v1/chat/completions", "messages", "body"},
	} {
		kind, body = upload(t, c.part, []byte("fLaC"))
		_, err = openai.Bound(&Request{Method: "POST", Path: c.path, ContentType: kind, Body: body})
		if u := new(Unbounded); !errors.As(err, &u) || u.Field != c.field {
			t.Errorf("%s: got %v, want an error about %s", name, err, c.field)
		}
	}
}

func TestBound_RefusesByName(t *testing.T) {
	for name, c := range map[string]struct {
		d                 *Dialect
		path, body, field string
	}{
		"an unknown member":         {openai, "/v1/chat/completions", `{"messages":[],"unheard_of":1}`, "unheard_of"},
		"a member in another case":  {openai, "/v1/chat/completions", `{"messages":[],"Max_Tokens":1}`, "Max_Tokens"},
		"search":                    {openai, "/v1/chat/completions", `{"messages":[],"web_search_options":{}}`, "web_search_options"},
		"speech":                    {openai, "/v1/chat/completions", `{"messages":[],"modalities":["text","audio"]}`, "modalities"},
		"a prediction":              {openai, "/v1/chat/completions", `{"messages":[],"prediction":{"type":"content","content":"x"}}`, "prediction"},
		"many answers":              {openai, "/v1/chat/completions", `{"messages":[],"n":1000}`, "n"},
		"a negative cap":            {openai, "/v1/chat/completions", `{"messages":[],"max_tokens":-1}`, "max_tokens"},
		"half a cap":                {openai, "/v1/chat/completions", `{"messages":[],"max_tokens":1.5}`, "max_tokens"},
		"a cap of zero":             {openai, "/v1/chat/completions", `{"messages":[],"max_tokens":0}`, "max_tokens"},
		"a picture elsewhere":       {openai, "/v1/chat/completions", `{"messages":[{"content":[{"type":"image_url","image_url":{"url":"https://x"}}]}]}`, "image_url"},
		"a picture without address": {openai, "/v1/chat/completions", `{"messages":[{"content":[{"type":"image_url","image_url":{}}]}]}`, "image_url"},
		"a document as a picture":   {openai, "/v1/chat/completions", `{"messages":[{"content":[{"type":"image_url","image_url":{"url":"data:application/pdf;base64,AA"}}]}]}`, "image_url"},
		"a file":                    {openai, "/v1/chat/completions", `{"messages":[{"content":[{"type":"file","file":{"file_id":"x"}}]}]}`, "type"},
		"earlier speech":            {openai, "/v1/chat/completions", `{"messages":[{"role":"assistant","audio":{"id":"audio_1"}}]}`, "audio"},
		"sound of unknown length":   {openai, "/v1/chat/completions", `{"messages":[{"content":[{"type":"input_audio","input_audio":{"data":"T2dnUw==","format":"ogg"}}]}]}`, "input_audio"},
		"a hosted tool":             {openai, "/v1/responses", `{"input":"x","tools":[{"type":"web_search"}]}`, "tools"},
		"an earlier response":       {openai, "/v1/responses", `{"input":"x","previous_response_id":"resp_1"}`, "previous_response_id"},
		"a conversation":            {openai, "/v1/responses", `{"input":"x","conversation":"conv_1"}`, "conversation"},
		"a stored prompt":           {openai, "/v1/responses", `{"prompt":{"id":"pmpt_1"}}`, "prompt"},
		"in the background":         {openai, "/v1/responses", `{"input":"x","background":true}`, "background"},
		"a stored item":             {openai, "/v1/responses", `{"input":[{"id":"msg_1"}]}`, "input.id"},
		"stored reasoning":          {openai, "/v1/responses", `{"input":[{"type":"reasoning","id":"rs_1","summary":[]}]}`, "input.id"},
		"a reference":               {openai, "/v1/responses", `{"input":[{"type":"item_reference","id":"msg_1"}]}`, "type"},
		"a picture by its id":       {openai, "/v1/responses", `{"input":[{"role":"user","content":[{"type":"input_image","file_id":"file_1"}]}]}`, "file_id"},
		"Anthropic's search":        {anthropic, "/v1/messages", `{"max_tokens":1,"messages":[],"tools":[{"type":"web_search_20250305","name":"web_search"}]}`, "tools"},
		"an MCP server":             {anthropic, "/v1/messages", `{"max_tokens":1,"messages":[],"mcp_servers":[]}`, "mcp_servers"},
		"a PDF":                     {anthropic, "/v1/messages", `{"messages":[{"content":[{"type":"document","source":{"type":"base64","media_type":"application/pdf","data":"AA"}}]}]}`, "source"},
		"a document elsewhere":      {anthropic, "/v1/messages", `{"messages":[{"content":[{"type":"document","source":{"type":"url","url":"https://x"}}]}]}`, "source.url"},
		"Anthropic's file":          {anthropic, "/v1/messages", `{"messages":[{"content":[{"type":"image","source":{"type":"file","file_id":"x"}}]}]}`, "source"},
		"fast mode":                 {anthropic, "/v1/messages", `{"messages":[],"speed":"fast"}`, "speed"},
		"compaction":                {anthropic, "/v1/messages", `{"messages":[],"context_management":{"edits":[{"type":"clear_thinking_20251015"},{"type":"compact_20260112"}]}}`, "context_management"},
		"other management":          {anthropic, "/v1/messages", `{"messages":[],"context_management":{"edits":[],"summary":{}}}`, "context_management.summary"},
		"an edit without a type":    {anthropic, "/v1/messages", `{"messages":[],"context_management":{"edits":[{}]}}`, "context_management"},
		"a hosted tool in a group":  {openai, "/v1/responses", `{"input":"x","tools":[{"type":"namespace","name":"a","tools":[{"type":"function","name":"f"},{"type":"web_search"}]}]}`, "tools"},
		"a group without tools":     {openai, "/v1/responses", `{"input":"x","tools":[{"type":"namespace","name":"a"}]}`, "tools"},
		"Gemini's cache":            {gemini, "/v1beta/models/m:generateContent", `{"contents":[],"cachedContent":"cachedContents/1"}`, "cachedContent"},
		"Gemini's file":             {gemini, "/v1beta/models/m:generateContent", `{"contents":[{"parts":[{"fileData":{"fileUri":"x"}}]}]}`, "fileData"},
		"Gemini's search":           {gemini, "/v1beta/models/m:generateContent", `{"contents":[],"tools":[{"googleSearch":{}}]}`, "tools.googleSearch"},
		"Gemini's pictures":         {gemini, "/v1beta/models/m:generateContent", `{"contents":[],"generationConfig":{"responseModalities":["TEXT","IMAGE"]}}`, "responseModalities"},
		"a video":                   {gemini, "/v1beta/models/m:generateContent", `{"contents":[{"parts":[{"inlineData":{"mimeType":"video/mp4","data":"AA"}}]}]}`, "inlineData.mimeType"},
		"media of a function":       {gemini, "/v1beta/models/m:generateContent", `{"contents":[{"parts":[{"functionResponse":{"name":"f","response":{},"parts":[{"inlineData":{}}]}}]}]}`, "functionResponse.parts"},
		"an unknown setting":        {gemini, "/v1beta/models/m:generateContent", `{"contents":[],"generationConfig":{"speechConfig":{}}}`, "generationConfig.speechConfig"},
		"a picture in S3":           {bedrock, "/model/m/converse", `{"messages":[{"content":[{"image":{"format":"png","source":{"s3Location":{"uri":"s3://x"}}}}]}]}`, "image.source"},
		"a document":                {bedrock, "/model/m/converse", `{"messages":[{"content":[{"document":{"format":"pdf","name":"x","source":{"bytes":"AA"}}}]}]}`, "document"},
		"a guardrail":               {bedrock, "/model/m/converse", `{"messages":[],"guardrailConfig":{}}`, "guardrailConfig"},
		"a model's own cap":         {bedrock, "/model/m/converse", `{"messages":[],"additionalModelRequestFields":{"max_tokens":9}}`, "additionalModelRequestFields.max_tokens"},
		"another model's body":      {bedrock, "/model/m/invoke", `{"inputText":"x"}`, "inputText"},
		"an image of another size":  {openai, "/v1/images/generations", `{"prompt":"x","size":"4096x4096"}`, "size"},
		"a batch":                   {openai, "/v1/batches", `{}`, "path"},
		"an unknown path":           {generic, "/some/thing", `{}`, "path"},
		"a search":                  {openai, "/v1/rerank", `{}`, "path"},
		"too deep":                  {openai, "/v1/chat/completions", `{"messages":` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + `}`, "messages"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := c.d.Bound(&Request{Method: "POST", Path: c.path, Body: []byte(c.body)})
			if u := new(Unbounded); !errors.As(err, &u) || u.Field != c.field || u.Rule == "" {
				t.Errorf("got %v, want an error about %s", err, c.field)
			}
		})
	}
}

// Coding agents send these without being asked.
func TestBound_OfCodingAgents(t *testing.T) {
	for name, c := range map[string]struct {
		d          *Dialect
		path, body string
	}{
		"Claude Code": {anthropic, "/v1/messages", `{"max_tokens":1,"messages":[],"diagnostics":{"previous_message_id":"msg_1"},"context_management":{"edits":[{"type":"clear_thinking_20251015","keep":"all"},{"type":"clear_tool_uses_20250919"}]}}`},
		"Codex":       {openai, "/v1/responses", `{"input":[],"max_output_tokens":1,"client_metadata":{"a":"b"},"tools":[{"type":"function","name":"f"},{"type":"namespace","name":"a","tools":[{"type":"function","name":"g"}]}]}`},
	} {
		if _, err := c.d.Bound(&Request{Method: "POST", Path: c.path, Body: []byte(c.body)}); err != nil {
			t.Errorf("%s: got %v, want a bound", name, err)
		}
	}
}

// A body that parsers could read in two ways has no bound.
func TestBound_RefusesUnclearBodies(t *testing.T) {
	for _, body := range []string{
		``, `[]`, `{"max_tokens":1,"max_tokens":9}`, `{"messages":[{"a":1,"a":2}]}`, `{"messages":[]}{}`, `{"messages":[{]}`, "\ufeff{}",
	} {
		_, err := openai.Bound(&Request{Method: "POST", Path: "/v1/chat/completions", Body: []byte(body)})
		if u := new(Unclear); !errors.As(err, &u) {
			t.Errorf("%q: got %v, want an unclear body", body, err)
		}
	}
}

func TestSoundLength(t *testing.T) {
	tagged := append([]byte("ID3\x04\x00\x00\x00\x00\x00\x05xxxxx"), 0xff, 0xfb, 0x90, 0)
	for name, c := range map[string]struct {
		data []byte
		want int64
		ok   bool
	}{
		"WAV":                    {wav(3), 3003, true},
		"WAV with another chunk": {slices.Concat(wav(0)[:12], []byte("JUNK\x03\x00\x00\x00abc\x00"), wav(1)[12:]), 1004, true},
		"MP3":                    {append([]byte{0xff, 0xfb, 0x90, 0}, make([]byte, 996)...), 1000, true},
		"MP3 with a tag":         {tagged, 19, true},
		"a tag before FLAC":      {[]byte("ID3\x04\x00\x00\x00\x00\x00\x01xfLaC"), 0, false},
		"MP3 of any bit rate":    {[]byte{0xff, 0xfb, 0x00, 0}, 0, false},
		"WAV of a low rate":      {append([]byte("RIFF\x00\x00\x00\x00WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00\x01\x00\x00\x00\x01\x00\x00\x00\x01\x00\x08\x00"), 1), 0, false},
		"WAV without PCM":        {[]byte("RIFF\x00\x00\x00\x00WAVEfmt \x10\x00\x00\x00\x11\x00\x01\x00\x40\x1f\x00\x00\x00\x00\x00\x00\x01\x00\x08\x00"), 0, false},
		"WAV without a format":   {[]byte("RIFF\x00\x00\x00\x00WAVEdata\xff\xff\xff\x7f"), 0, false},
		"WAV cut in its format":  {[]byte("RIFF\x00\x00\x00\x00WAVEfmt \x10\x00\x00\x00\x01"), 0, false},
		"FLAC":                   {[]byte("fLaC"), 0, false},
		"nothing":                {nil, 0, false},
	} {
		if got, ok := soundLength(c.data); got != c.want || ok != c.ok {
			t.Errorf("%s: got %d ms, %t; want %d, %t", name, got, ok, c.want, c.ok)
		}
	}
}

// decoded is JSON as a parser has it.
func decoded(t testing.TB, data []byte) map[string]any {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	var v map[string]any
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%s: %v", data, err)
	}
	return v
}

func TestSetCap_KeepsTheRest(t *testing.T) {
	for _, c := range []struct {
		d                       *Dialect
		path, body, field, want string
	}{
		{openai, "/v1/chat/completions", `{ "model":"gpt-5" , "messages":[] }`, "max_completion_tokens", `{"max_completion_tokens":16, "model":"gpt-5" , "messages":[] }`},
		{openai, "/v1/chat/completions", `{"model":"x/deepseek-chat"}`, "max_tokens", `{"max_tokens":16,"model":"x/deepseek-chat"}`},
		{openai, "/v1/chat/completions", `{"model":"openai/gpt-5"}`, "max_completion_tokens", `{"max_completion_tokens":16,"model":"openai/gpt-5"}`},
		{azure, "/openai/deployments/d/chat/completions", `{}`, "max_completion_tokens", `{"max_completion_tokens":16}`},
		{openai, "/v1/chat/completions", `{"a":1,"max_tokens": 900 ,"b":2}`, "max_tokens", `{"a":1,"max_tokens": 16 ,"b":2}`},
		{openai, "/v1/chat/completions", `{"max_completion_tokens":5,"max_tokens":900}`, "max_completion_tokens", `{"max_completion_tokens":16,"max_tokens":16}`},
		{openai, "/v1/chat/completions", `{"model":"x/llama","max_completion_tokens":5}`, "max_tokens", `{"max_tokens":16,"model":"x/llama","max_completion_tokens":16}`},
		{openai, "/v1/chat/completions", `{"model":"gpt-5","max_completion_tokens":5}`, "max_completion_tokens", `{"model":"gpt-5","max_completion_tokens":16}`},
		{openai, "/v1/chat/completions", `{"model":"m","max_tokens":null}`, "max_tokens", `{"model":"m","max_tokens":16}`},
		{openai, "/v1/completions", `{"prompt":"x"}`, "max_tokens", `{"max_tokens":16,"prompt":"x"}`},
		{openai, "/v1/responses", `{"input":"x"}`, "max_output_tokens", `{"max_output_tokens":16,"input":"x"}`},
		{anthropic, "/v1/messages", `{"max_tokens":9}`, "max_tokens", `{"max_tokens":16}`},
		{gemini, "/v1/models/m:generateContent", `{"contents":[]}`, "generationConfig.maxOutputTokens", `{"generationConfig":{"maxOutputTokens":16},"contents":[]}`},
		{gemini, "/v1/models/m:generateContent", `{"generationConfig": { } }`, "generationConfig.maxOutputTokens", `{"generationConfig": {"maxOutputTokens":16 } }`},
		{gemini, "/v1/models/m:generateContent", `{"generationConfig":null}`, "generationConfig.maxOutputTokens", `{"generationConfig":{"maxOutputTokens":16}}`},
		{gemini, "/v1/models/m:generateContent", `{"generation_config":{"max_output_tokens":9,"seed":1}}`, "generation_config.max_output_tokens", `{"generation_config":{"max_output_tokens":16,"seed":1}}`},
		{gemini, "/v1/models/m:generateContent", `{"generation_config":{"seed":1}}`, "generation_config.maxOutputTokens", `{"generation_config":{"maxOutputTokens":16,"seed":1}}`},
		{bedrock, "/model/m/converse", `{"inferenceConfig":{"topP":1}}`, "inferenceConfig.maxTokens", `{"inferenceConfig":{"maxTokens":16,"topP":1}}`},
		{openai, "/v1/embeddings", `{"input":"x"}`, "", `{"input":"x"}`},
	} {
		r := &Request{Method: "POST", Path: c.path, Body: []byte(c.body)}
		field, err := c.d.SetCap(r, 16)
		if err != nil || field != c.field || string(r.Body) != c.want {
			t.Errorf("%s: got %s, %q, %v; want %s, %q", c.body, r.Body, field, err, c.want, c.field)
		}
	}
}

func TestAskUsage(t *testing.T) {
	for _, c := range []struct {
		path, body, want string
		added            bool
	}{
		{"/v1/chat/completions", `{"stream":true}`, `{"stream_options":{"include_usage":true},"stream":true}`, true},
		{"/v1/completions", `{"stream":true,"stream_options":null}`, `{"stream":true,"stream_options":{"include_usage":true}}`, true},
		{"/v1/chat/completions", `{"stream":true,"stream_options":{"x":1}}`, `{"stream":true,"stream_options":{"include_usage":true,"x":1}}`, true},
		{"/v1/chat/completions", `{"stream":true,"stream_options":{"include_usage":false}}`, `{"stream":true,"stream_options":{"include_usage":true}}`, true},
		{"/v1/chat/completions", `{"stream":true,"stream_options":{"include_usage":true}}`, "", false},
		{"/v1/chat/completions", `{"stream":true,"stream_options":"x"}`, "", false},
		{"/v1/chat/completions", `{"stream":false}`, "", false},
		{"/v1/chat/completions", `{}`, "", false},
		{"/v1/responses", `{"stream":true}`, "", false},
		{"/v1/messages", `{"stream":true}`, "", false},
	} {
		r := &Request{Method: "POST", Path: c.path, Body: []byte(c.body)}
		added, err := openai.AskUsage(r)
		want := c.want
		if !c.added {
			want = c.body
		}
		if err != nil || added != c.added || string(r.Body) != want {
			t.Errorf("%s: got %s, %t, %v; want %s, %t", c.body, r.Body, added, err, want, c.added)
		}
	}
}

// without returns a value without the members at these paths.
func without(v map[string]any, paths ...string) map[string]any {
	for _, path := range paths {
		object, names := v, strings.Split(path, ".")
		for _, name := range names[:len(names)-1] {
			inner, _ := object[name].(map[string]any)
			if inner == nil {
				break
			}
			object = inner
		}
		delete(object, names[len(names)-1])
		if len(names) > 1 && len(object) == 0 {
			delete(v, names[0])
		}
	}
	return v
}

// Whatever passes, parses to the same but for the cap and the wish for usage.
func FuzzEditsKeepTheRest(f *testing.F) {
	for _, seed := range []string{
		`{"model":"gpt-5","messages":[],"stream":true}`, `{"max_tokens":5,"stream":true,"stream_options":{"x":[1,2]}}`,
		`{"generationConfig":{"maxOutputTokens":1,"x":{"y":null}}}`, `{"generation_config":{}}`, `{"inferenceConfig":null}`,
		` { "a" : "\u0061" , "stream" : true } `, `{"max_output_tokens":1e3}`, `{"generationConfig":7}`,
	} {
		for i := range uint8(5) {
			f.Add(i, []byte(seed))
		}
	}
	f.Fuzz(func(t *testing.T, which uint8, data []byte) {
		c := []struct {
			d    *Dialect
			path string
		}{
			{openai, "/v1/chat/completions"}, {openai, "/v1/responses"}, {gemini, "/v1/models/m:generateContent"}, {bedrock, "/model/m/converse"}, {anthropic, "/v1/messages"},
		}[which%5]
		r := &Request{Method: "POST", Path: c.path, Body: bytes.Clone(data)}
		if _, err := c.d.SetCap(r, 16); err != nil {
			return
		}
		_, err := c.d.AskUsage(r)
		switch unclear := new(Unclear); {
		case !json.Valid(data): // what lies in a value is looked into only as far as it is edited
			if err != nil && !errors.As(err, &unclear) {
				t.Fatalf("%s: got %v, want no error or an unclear body", r.Body, err)
			}
			return
		case err != nil:
			t.Fatalf("%s: %v", r.Body, err)
		}
		caps := c.d.routeOf(r).bounds.caps
		paths := append(slices.Clone(caps), "stream_options.include_usage")
		got, want := decoded(t, r.Body), decoded(t, data)
		if w := fmt.Sprint(want["generationConfig"], want["generation_config"], want["inferenceConfig"], want["stream_options"]); strings.Contains(w, "map[]") {
			return // an empty object and none are the same here
		}
		for name, v := range want {
			if v == nil {
				delete(want, name)
			}
		}
		for name, v := range got {
			if v == nil {
				delete(got, name)
			}
		}
		if got, want := without(got, paths...), without(want, paths...); !reflect.DeepEqual(got, want) {
			t.Errorf("%s became %s", data, r.Body)
		}
	})
}
