package dialect

import (
	"reflect"
	"strings"
	"testing"
)

// read returns what a meter reads of an answer to a POST.
func read(t testing.TB, d *Dialect, path, contentType, answer string) Reading {
	t.Helper()
	m := meterOf(t, d, path, contentType, nil)
	_, _ = m.Write([]byte(answer))
	return m.Reading()
}

// events writes the data of events as a stream.
func events(data ...string) string { return "data: " + strings.Join(data, "\n\ndata: ") + "\n\n" }

func TestMeter_EdgeCases(t *testing.T) {
	for name, c := range map[string]struct {
		d                    *Dialect
		path, kind, answer   string
		want                 Usage
		known, failed, ended bool
	}{
		"iterations in an earlier delta": {anthropic, "/v1/messages", "text/event-stream",
			events(`{"type":"message_delta","usage":{"input_tokens":5,"output_tokens":1,"iterations":[{"type":"compaction","input_tokens":100,"output_tokens":10},{"type":"message","input_tokens":5,"output_tokens":1}]}}`,
				`{"type":"message_delta","usage":{"output_tokens":2}}`),
			Usage{Input: 105, Output: 12}, true, false, false},
		"cut within [DONE]": {openai, "/v1/chat/completions", "text/event-stream",
			"data: {\"choices\":[],\"usage\":{\"prompt_tokens\":42,\"completion_tokens\":2}}\n\ndata: [DONE]\n", Usage{Input: 42, Output: 2}, true, false, true},
		"an error in a whole answer": {openai, "/v1/responses", "application/json", `{"error":{"message":"x"},"usage":null}`,
			Usage{}, false, true, true},
		"an error and usage in one event": {openai, "/v1/responses", "text/event-stream",
			events(`{"type":"response.in_progress","response":{"usage":{"input_tokens":1,"output_tokens":1}}}`, `{"type":"response.failed","response":{"error":{"message":"x"},"usage":{"input_tokens":4,"output_tokens":2}}}`),
			Usage{Input: 4, Output: 2}, true, true, true},
		"an error after the usage": {anthropic, "/v1/messages", "text/event-stream",
			events(`{"type":"message_delta","usage":{"input_tokens":5,"output_tokens":1}}`, `{"type":"error","error":{"message":"x"}}`),
			Usage{Input: 5, Output: 1}, true, true, false},
		"no error in an answer": {openai, "/v1/responses", "application/json", `{"error":null}`, Usage{}, false, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			c.want.Requests = 1
			got := read(t, c.d, c.path, c.kind, c.answer)
			if got.Usage != c.want || got.Known != c.known || got.Failed != c.failed || got.Done != c.ended {
				t.Errorf("got %+v, want %+v, known %t, failed %t, done %t", got, c.want, c.known, c.failed, c.ended)
			}
		})
	}
}

// What a client or a model wrote is not taken for the provider's usage.
func TestMeter_IsNotTakenIn(t *testing.T) {
	for name, answer := range map[string]string{
		"text":             `{"choices":[{"message":{"content":"{\"usage\":{\"prompt_tokens\":9}}"}}]}`,
		"a tool's input":   `{"content":[{"type":"tool_use","input":{"usage":{"prompt_tokens":9}}}]}`,
		"metadata":         `{"metadata":{"usage":{"prompt_tokens":9}}}`,
		"a longer name":    `{"usages":{"prompt_tokens":9}}`,
		"a negative count": `{"usage":{"prompt_tokens":-9}}`,
		"an absurd count":  `{"usage":{"prompt_tokens":1000000000001,"completion_tokens":1e99}}`,
		"a text":           `{"usage":{"prompt_tokens":"nine"}}`,
		"null":             `{"usage":{"prompt_tokens":null}}`,
		"a list":           `{"usage":[{"prompt_tokens":9}]}`,
		"an empty object":  `{"usage":{}}`,
		"cut short":        `{"usage":{"prompt_tokens":9,`,
	} {
		if got := read(t, openai, "/v1/chat/completions", "application/json", answer); got.Known || got.Input != 0 {
			t.Errorf("%s: got %+v, want nothing known", name, got)
		}
	}
}

func TestMeter_UnescapesNames(t *testing.T) {
	answer := `{"us\u0061ge":{"prompt_tokens":9},"model":"\u0061\"b"}`
	if got := read(t, openai, "/v1/chat/completions", "application/json", answer); got.Input != 9 || got.Model != `a"b` {
		t.Errorf("got %+v, want 9 tokens of a\"b", got)
	}
}

func TestMeter_CountsSpokenCharacters(t *testing.T) {
	r := &Request{Method: "POST", Path: "/v1/audio/speech", Body: []byte(`{"model":"tts-1","input":"Grüße, \u4e16界"}`)}
	m := openai.NewMeter(r, Answer{Status: 200, ContentType: "audio/mpeg"})
	_, _ = m.Write([]byte{0xff, 0xf3})
	if got := m.Reading(); got.Characters != 9 || !got.Known {
		t.Errorf("got %d characters, known %t; want 9, true", got.Characters, got.Known)
	}

	r = &Request{Method: "POST", Path: "/v1/text-to-speech/voice/stream"}
	m = elevenlabs.NewMeter(r, Answer{Status: 200, ContentType: "audio/mpeg", Header: map[string][]string{"Character-Cost": {"42"}}})
	if got := m.Reading(); got.Characters != 42 || !got.Known {
		t.Errorf("got %d characters, known %t; want 42, true", got.Characters, got.Known)
	}
}

func TestMeter_KnowsWhatTellsNoUsage(t *testing.T) {
	post := func(path string) *Request { return &Request{Method: "POST", Path: path} }
	ok := Answer{Status: 200, ContentType: "application/json"}
	for name, c := range map[string]struct {
		d     *Dialect
		r     *Request
		a     Answer
		meter bool
		known bool
	}{
		"models":           {openai, &Request{Method: "GET", Path: "/v1/models"}, ok, false, false},
		"an error":         {openai, post("/v1/chat/completions"), Answer{Status: 429, ContentType: "application/json"}, false, false},
		"a socket":         {openai, post("/v1/realtime"), Answer{Status: 101}, false, false},
		"an unknown path":  {openai, post("/v1/unknown"), ok, false, false},
		"a count of input": {anthropic, post("/v1/messages/count_tokens"), ok, true, true},
		"free of charge":   {openai, post("/v1/responses/input_tokens"), ok, true, true},
	} {
		m := c.d.NewMeter(c.r, c.a)
		_, _ = m.Write([]byte(`{"input_tokens":7}`))
		if got := m.Reading(); (m != nil) != c.meter || got.Known != c.known || got.Input != 0 || got.Requests != 0 {
			t.Errorf("%s: got meter %t and %+v; want meter %t, known %t", name, m != nil, got, c.meter, c.known)
		}
	}
}

func TestParseDecimal(t *testing.T) {
	for _, c := range []struct {
		text  string
		scale int
		want  int64
		ok    bool
	}{
		{"0", 0, 0, true},
		{"42", 0, 42, true},
		{"5.0", 0, 5, true},
		{"5.1", 0, 6, true},
		{"1e3", 0, 1000, true},
		{"12.5e-1", 0, 2, true},
		{"0.00014", 9, 140_000, true},
		{"0.95", 9, 950_000_000, true},
		{"1.05e-7", 9, 105, true},
		{"0.0000000001", 9, 1, true},
		{"8.470000267028809", 3, 8471, true},
		{"1000000000000", 0, 1_000_000_000_000, true},
		{"0.00000000000000000000000000000000000001", 0, 1, true},
		{"0e999", 0, 0, true},
		{"123456789012345678901234567890e-27", 0, 124, true},
		{"1000000000001", 0, 0, false},
		{"1e13", 0, 0, false},
		{"1e99999999", 0, 0, false},
		{"99999999999999999999", 0, 0, false},
		{"-1", 0, 0, false},
		{"-0.5", 9, 0, false},
		{"", 0, 0, false},
		{".", 0, 0, false},
		{"1.2.3", 0, 0, false},
		{"1e", 0, 1, true}, // a walker does not validate
		{"true", 0, 0, false},
		{"null", 0, 0, false},
	} {
		if got, ok := parseDecimal([]byte(c.text), c.scale, maxTokens); got != c.want || ok != c.ok {
			t.Errorf("%q times 10^%d: got %d, %t; want %d, %t", c.text, c.scale, got, ok, c.want, c.ok)
		}
	}
}

// The amount of memory does not depend on how long an answer is.
func TestMeter_HoldsLittle(t *testing.T) {
	long := []byte(strings.Repeat("lorem ipsum \\\"dolor\\\" ", 50_000))
	for name, c := range map[string]struct{ path, kind, before, after string }{
		"JSON":  {"/v1/chat/completions", "application/json", `{"choices":[{"message":{"content":"`, `"}}],"usage":{"prompt_tokens":3}}`},
		"event": {"/v1/responses", "text/event-stream", `data: {"response":{"output":[{"content":"`, `"}],"usage":{"input_tokens":3}}}` + "\n\n"},
	} {
		t.Run(name, func(t *testing.T) {
			m := meterOf(t, openai, c.path, c.kind, nil)
			_, _ = m.Write([]byte(c.before))
			for range 10 {
				for p := long; len(p) > 0; p = p[min(len(p), 4096):] {
					_, _ = m.Write(p[:min(len(p), 4096)])
				}
			}
			if held := cap(m.lines.held) + cap(m.frame.held); held > 2*maxHeldLine {
				t.Errorf("got %d bytes held, want at most %d", held, 2*maxHeldLine)
			}
			_, _ = m.Write([]byte(c.after))
			if got := m.Reading(); got.Input != 3 || !got.Known {
				t.Errorf("got %+v, want an input of 3", got)
			}
		})
	}
}

func TestMeter_PassesOverLongAmazonMessages(t *testing.T) {
	long := appendAmazon(nil, nil, []byte(strings.Repeat("x", maxAmazonFrame)))
	stream := append(long, fixture(t, "bedrock/converse.events")...)
	for _, size := range []int{len(stream), 1000, 7} {
		m := meterOf(t, bedrock, "/model/m/converse-stream", "application/vnd.amazon.eventstream", nil)
		for p := stream; len(p) > 0; p = p[min(len(p), size):] {
			_, _ = m.Write(p[:min(len(p), size)])
		}
		if got := m.Reading(); got.Output != 628 || !got.Done {
			t.Errorf("in pieces of %d: got %+v, want an output of 628", size, got)
		}
	}
}

func TestMeter_DistrustsBrokenAmazonStreams(t *testing.T) {
	whole := fixture(t, "bedrock/converse.events")
	for at := range whole {
		broken := []byte(string(whole))
		broken[at] ^= 1
		m := meterOf(t, bedrock, "/model/m/converse-stream", "application/vnd.amazon.eventstream", nil)
		_, _ = m.Write(broken)
		if got := m.Reading(); got.Known {
			t.Errorf("with byte %d changed: got %+v, want nothing known", at, got)
		}
	}
}

// Other packages convert a Usage to a struct of their own, which has the same fields
// in the same order.
func TestUsage_HasTheseFields(t *testing.T) {
	want := "Requests Input CacheRead CacheWrite CacheWriteHour Output Reasoning AudioInput AudioCacheRead AudioOutput " +
		"ImageInput ImageCacheRead ImageOutput Milliseconds Images Characters Searches"
	var names []string
	for _, f := range reflect.VisibleFields(reflect.TypeFor[Usage]()) {
		names = append(names, f.Name)
		if f.Type.Kind() != reflect.Int64 {
			t.Errorf("%s is of the type %s, want int64", f.Name, f.Type)
		}
	}
	if got := strings.Join(names, " "); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// What two usages add up to has every field of both.
func TestUsage_AddsUpAllFields(t *testing.T) {
	var one Usage
	v := reflect.ValueOf(&one).Elem()
	for i := range v.NumField() {
		v.Field(i).SetInt(int64(i) + 1)
	}
	sum := reflect.ValueOf(one.plus(one))
	for i := range sum.NumField() {
		if got, want := sum.Field(i).Int(), 2*(int64(i)+1); got != want {
			t.Errorf("%s: got %d, want %d", v.Type().Field(i).Name, got, want)
		}
	}
}
