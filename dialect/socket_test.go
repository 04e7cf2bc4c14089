package dialect

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// socketFixtures are what providers say on WebSockets, a message in each line, and what it
// means. Their pages are those of [fixtures].
var socketFixtures = []struct {
	file, path string
	want       []Settlement
}{
	{"openai/realtime.socket", "/v1/realtime", []Settlement{
		{Transcribed, Reading{Usage: Usage{AudioInput: 13, Output: 9}, Model: "gpt-4o-transcribe", Known: true, Done: true}, ""},
		{Began, Reading{Model: "gpt-realtime"}, "resp_1"},
		{Ended, Reading{Usage: Usage{Input: 10, AudioInput: 200, AudioCacheRead: 800, Output: 30, AudioOutput: 80}, Model: "gpt-realtime", Known: true, Done: true}, "resp_1"},
	}},
	{"openai/responses.socket", "/v1/responses", []Settlement{
		{Ended, Reading{Usage: Usage{Input: 5, Output: 1}, Model: "m", Known: true, Done: true}, "a"},
		{Ended, Reading{Usage: Usage{Input: 7, Output: 2}, Model: "m", Known: true, Done: true}, "b"},
		{Ended, Reading{Model: "m", Failed: true, Done: true}, "c"},
		{Refused, Reading{Model: "m", Failed: true}, ""},
	}},
	{"azure/realtime.socket", "/openai/realtime", []Settlement{
		{Transcribed, Reading{Usage: Usage{Milliseconds: 1500}, Model: "whisper-1", Known: true, Done: true}, ""},
	}},
	{"gemini/live.socket", "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent", []Settlement{
		{Ended, Reading{Usage: Usage{Input: 10, AudioInput: 90, AudioOutput: 50}, Known: true, Done: true}, ""},
	}},
	{"deepgram/listen.socket", "/v1/listen", []Settlement{
		{Ended, Reading{Usage: Usage{Milliseconds: 27_330}, Known: true, Done: true}, ""},
	}},
}

// Each message is cut in two at every byte.
func TestSocketMeter_SettlesEachResponse(t *testing.T) {
	for _, f := range socketFixtures {
		t.Run(f.file, func(t *testing.T) {
			d, messages := dialectOf(t, f.file), bytes.SplitAfter(bytes.TrimSpace(fixture(t, f.file)), []byte("\n"))
			longest := 0
			for i, m := range messages {
				messages[i] = bytes.TrimSpace(m)
				longest = max(longest, len(m))
			}
			for i := range f.want {
				f.want[i].Requests = 1
			}
			for at := range longest {
				m := d.NewSocketMeter(&Request{Method: "GET", Path: f.path, WebSocket: true})
				var got []Settlement
				for _, message := range messages {
					cut := min(at, len(message))
					_, _ = m.Write(message[:cut])
					_, _ = m.Write(message[cut:])
					if s := m.EndMessage(); s.Happening != Nothing {
						got = append(got, s)
					}
				}
				if !slices.Equal(got, f.want) {
					t.Fatalf("cut at %d: got  %+v\nwant %+v", at, got, f.want)
				}
			}
		})
	}
}

func TestSocketMeter_IsNilWhereNothingIsTold(t *testing.T) {
	m := elevenlabs.NewSocketMeter(&Request{Path: "/v1/unknown", WebSocket: true})
	if _, _ = m.Write([]byte("{}")); m != nil || m.EndMessage().Happening != Nothing {
		t.Errorf("got a meter %v, want none", m)
	}
}

func session(t testing.TB, path string) *Session {
	t.Helper()
	s, err := openai.NewSession(&Request{Method: "GET", Path: path, WebSocket: true})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSession_BoundsRealtimeResponses(t *testing.T) {
	s := session(t, "/v1/realtime")
	say := func(message string) ClientMessage {
		t.Helper()
		said, err := s.Client([]byte(message))
		if err != nil {
			t.Fatalf("%s: %v", message, err)
		}
		return said
	}

	update := `{"type":"realtime","instructions":"be kind","max_output_tokens":200,"audio":{"input":{"transcription":{"model":"whisper-1"}}}}`
	say(`{"type":"session.update","session":` + update + `}`)
	text := sessionTokens + int64(len(update))
	if bound, stands := s.Standing(); !stands || bound.Usage != (Usage{Requests: 1, Input: text, AudioOutput: 200}) {
		t.Errorf("got %+v, %t; want a standing bound with %d tokens of input", bound, stands, text)
	}

	// 24 000 bytes are 32 000 in base64, and at least three seconds.
	said := say(`{"type":"input_audio_buffer.append","audio":"` + strings.Repeat("A", 32_000) + `"}`)
	if said.Starts || said.HeardBy != "whisper-1" || said.Heard.Milliseconds != 3001 || said.Heard.AudioInput != 98 {
		t.Errorf("got %+v, want three seconds to transcribe", said)
	}

	item := `{"type":"conversation.item.create","item":{"type":"message","role":"user","content":[{"type":"input_text","text":"hi"}]}}`
	say(item)
	text += int64(len(item))
	create := `{"type":"response.create","response":{"max_output_tokens":50,"output_modalities":["audio"]}}`
	said = say(create)
	want := Usage{Requests: 1, Input: text + int64(len(create)), AudioInput: 98, AudioOutput: 50}
	if !said.Starts || said.Bound.Usage != want || said.Bound.Cap != (Cap{Field: "max_output_tokens", Limit: 50, Times: 1, Speech: true}) {
		t.Errorf("got %+v, want %+v", said, want)
	}

	s.Settled(&Settlement{Happening: Ended, Reading: Reading{Usage: Usage{Output: 30, AudioOutput: 80}}})
	say(`{"type":"session.update","session":{"turn_detection":null}}`)
	bound, stands := s.Standing()
	if stands || bound.Usage.AudioInput != 178 || bound.Usage.Input != text+30+int64(len(`{"turn_detection":null}`)) {
		t.Errorf("got %+v, %t; want the answer in the input, and nothing unasked", bound, stands)
	}
}

func TestSession_BoundsContinuedResponses(t *testing.T) {
	s := session(t, "/v1/responses")
	first := `{"type":"response.create","model":"m","input":"hi","max_output_tokens":20}`
	said, err := s.Client([]byte(first))
	if err != nil || !said.Starts || said.Bound.Usage.Input != int64(len(first)) || said.Bound.Usage.Output != 20 {
		t.Errorf("got %+v, %v; want an output of 20", said, err)
	}

	s.Settled(&Settlement{Happening: Ended, Reading: Reading{Usage: Usage{Input: 3, CacheRead: 4, Output: 5}}, ID: "resp_1"})
	next := `{"type":"response.create","model":"m","input":[],"previous_response_id":"resp_1"}`
	if said, err = s.Client([]byte(next)); err != nil || said.Bound.Usage.Input != int64(len(next))+12 {
		t.Errorf("got %+v, %v; want 12 tokens more than %d", said, err, len(next))
	}
	for i := range maxEarlier {
		s.Settled(&Settlement{Happening: Ended, ID: fmt.Sprint("later_", i)})
	}
	if _, err = s.Client([]byte(next)); err == nil {
		t.Error("got no error for a response that was forgotten")
	}
}

func TestSession_RefusesByName(t *testing.T) {
	for name, c := range map[string]struct{ path, message, field string }{
		"sound before a cap":       {"/v1/realtime", `{"type":"input_audio_buffer.append","audio":"AAAA"}`, "session.max_output_tokens"},
		"a turn before a cap":      {"/v1/realtime", `{"type":"input_audio_buffer.commit"}`, "session.max_output_tokens"},
		"an unknown message":       {"/v1/realtime", `{"type":"unheard_of"}`, "type"},
		"a hosted tool":            {"/v1/realtime", `{"type":"session.update","session":{"tools":[{"type":"mcp","server_url":"x"}]}}`, "tools"},
		"a stored prompt":          {"/v1/realtime", `{"type":"response.create","response":{"prompt":{"id":"x"}}}`, "prompt"},
		"a reference":              {"/v1/realtime", `{"type":"response.create","response":{"input":[{"type":"item_reference","id":"x"}]}}`, "type"},
		"an unknown transcription": {"/v1/realtime", `{"type":"session.update","session":{"input_audio_transcription":{}}}`, "transcription.model"},
		"an earlier response":      {"/v1/responses", `{"type":"response.create","input":"x","previous_response_id":"resp_9"}`, "previous_response_id"},
		"another message":          {"/v1/responses", `{"type":"response.delete"}`, "type"},
		"a warm-up":                {"/v1/responses", `{"type":"response.create","input":"x","generate":false}`, "generate"},
	} {
		_, err := session(t, c.path).Client([]byte(c.message))
		if u := new(Unbounded); !errors.As(err, &u) || u.Field != c.field {
			t.Errorf("%s: got %v, want an error about %s", name, err, c.field)
		}
	}

	_, err := gemini.NewSession(&Request{Path: "/ws/x.BidiGenerateContent", WebSocket: true})
	if u := new(Unbounded); !errors.As(err, &u) || u.Field != "path" {
		t.Errorf("Live: got %v, want an error about the path", err)
	}
}

func TestSession_SetCap(t *testing.T) {
	for _, c := range []struct{ path, message, want, field string }{
		{"/v1/realtime", `{"type":"response.create"}`, `{"response":{"max_output_tokens":16},"type":"response.create"}`, "response.max_output_tokens"},
		{"/v1/realtime", `{"type":"response.create","response":{"max_output_tokens":"inf"}}`, `{"type":"response.create","response":{"max_output_tokens":16}}`, "response.max_output_tokens"},
		{"/v1/realtime", `{"type":"session.update","session":{"voice":"alloy"}}`, `{"type":"session.update","session":{"max_response_output_tokens":16,"voice":"alloy"}}`, "session.max_response_output_tokens"},
		{"/v1/realtime", `{"type":"session.update","session":{"type":"realtime"}}`, `{"type":"session.update","session":{"max_output_tokens":16,"type":"realtime"}}`, "session.max_output_tokens"},
		{"/v1/realtime", `{"type":"response.cancel"}`, `{"type":"response.cancel"}`, ""},
		{"/v1/responses", `{"type":"response.create","input":"x"}`, `{"max_output_tokens":16,"type":"response.create","input":"x"}`, "max_output_tokens"},
	} {
		got, field, err := session(t, c.path).SetCap([]byte(c.message), 16)
		if err != nil || string(got) != c.want || field != c.field {
			t.Errorf("%s: got %s, %q, %v; want %s, %q", c.message, got, field, err, c.want, c.field)
		}
	}
}
