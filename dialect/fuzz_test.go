package dialect

import (
	"bytes"
	"encoding/json"
	"io"
	"mime"
	"mime/multipart"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// readings are what servers of different makes could take for the model of a
// JSON body: the last or the first of several, in any case or in one.
var readings = map[string]func([]byte) string{
	"Go, any case, the last": func(data []byte) string {
		var v struct{ Model string }
		_ = json.NewDecoder(bytes.NewReader(data)).Decode(&v) // and whatever follows
		return v.Model
	},
	"exact, the last": func(data []byte) string {
		var v map[string]any
		_ = json.Unmarshal(data, &v)
		s, _ := v["model"].(string)
		return s
	},
	"exact, the first": func(data []byte) string {
		dec := json.NewDecoder(bytes.NewReader(data))
		_, _ = dec.Token()
		for dec.More() {
			name, err := dec.Token()
			if err != nil {
				return ""
			}
			var value any
			if dec.Decode(&value) != nil {
				return ""
			}
			if s, ok := value.(string); ok && name == "model" {
				return s
			}
		}
		return ""
	},
	"C, up to a NUL": func(data []byte) string {
		var v map[string]any
		_ = json.Unmarshal(data, &v)
		for name, value := range v {
			if s, ok := value.(string); ok && strings.Split(name, "\x00")[0] == "model" && name != "model" {
				return s
			}
		}
		return ""
	},
	"after a byte order mark": func(data []byte) string {
		var v struct{ Model string }
		_ = json.Unmarshal(bytes.TrimPrefix(data, []byte("\ufeff")), &v)
		return v.Model
	},
}

// Whatever passes, every server reads the model that was read here, or none.
func FuzzJSONIsReadAlike(f *testing.F) {
	for _, seed := range []string{
		`{"model":"a"}`, `{"model":"a","model":"b"}`, `{"Model":"b","model":"a"}`, `{"mod\u0065l":"a"}`, "\ufeff" + `{"model":"a"}`,
		`{"model":"a"}{"model":"b"}`, `{"model\u0000":"b","model":"a"}`, `{"ſ":1,"model":"a"}`, `{"x":{"model":"b"},"model":"a"}`,
		`{"model":"a","tools":[{"model":"b"}]}`, `{"model":["a"]}`, `{"model":"a",}`, `{"\uD83Dmodel":"a"}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, d := range []*Dialect{openai, generic, gemini} {
			got, err := d.Read(&Request{Path: "/v1/chat/completions", ContentType: "application/json", Body: data})
			if err != nil || len(data) == 0 {
				continue
			}
			for server, read := range readings {
				if theirs := d.trim(read(data)); theirs != "" && theirs != got.Model {
					t.Errorf("%s reads %q, and the relay %q", server, theirs, got.Model)
				}
			}
		}
	})
}

// What is written over is what every server reads.
func FuzzWrittenIsRead(f *testing.F) {
	f.Add([]byte(`{"model":"a","x":1}`), "b")
	f.Add([]byte(`{}`), "b\"c")
	f.Fuzz(func(t *testing.T, data []byte, model string) {
		r := &Request{Path: "/v1/chat/completions", ContentType: "application/json", Body: data}
		want, _ := json.Marshal(model)
		var plain string
		_ = json.Unmarshal(want, &plain) // as text: other bytes cannot be written
		if err := openai.Write(r, plain); err != nil || plain == "" {
			return
		}
		for server, read := range readings {
			if theirs := read(r.Body); theirs != "" && theirs != plain {
				t.Errorf("%s reads %q, and %q was written", server, theirs, plain)
			}
		}
		if got, err := openai.Read(r); err != nil || got.Model != plain {
			t.Errorf("reads %q, %v", got.Model, err)
		}
	})
}

func FuzzFormIsReadAlike(f *testing.F) {
	for _, seed := range []string{
		form(recording, field("model", "a")), form(field("model", "a"), field("model", "b")), form(field("x", "y\n--XX\nz")),
		"--XX\r\n\r\n--XX--", "--XX--", "--XX\r\n\r\n\r\n--XX--\r\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := openai.Read(&Request{Path: "/x", ContentType: "multipart/form-data; boundary=XX", Body: data})
		if err != nil || len(data) == 0 {
			return
		}
		parts := multipart.NewReader(bytes.NewReader(data), "XX")
		for {
			part, err := parts.NextRawPart()
			if err != nil {
				return
			}
			value, _ := io.ReadAll(part)
			if strings.EqualFold(part.FormName(), "model") && string(value) != got.Model {
				t.Errorf("mime/multipart reads %q, and the relay %q", value, got.Model)
			}
		}
	})
}

// dispositions are how servers find a part's name in its Content-Disposition.
var dispositions = map[string]func(string) string{
	"mime": func(value string) string {
		_, parameters, _ := mime.ParseMediaType(value)
		return parameters["name"]
	},
	"the first name=": func(value string) string { // formidable
		m := regexp.MustCompile(`(?i)\bname=("([^"]*)"|([^()<>@,;:\\"/\[\]?={}\s]+))`).FindStringSubmatch(value)
		if m == nil {
			return ""
		}
		return m[2] + m[3]
	},
	"the last name=": func(value string) string { // old Rack
		m := regexp.MustCompile(`(?i).*;\s*name=("(?:\\"|[^"])*"|[^\s()<>,;:\\"/\[\]?=]+)`).FindStringSubmatch(value)
		if m == nil {
			return ""
		}
		return strings.Trim(m[1], `"`)
	},
	"cut at semicolons outside of quotes of both kinds": func(value string) (name string) { // PHP
		for value != "" {
			end, quote := len(value), byte(0)
			for i := 0; i < len(value) && end == len(value); i++ {
				switch c := value[i]; {
				case quote != 0 && c == '\\' && i+1 < len(value) && value[i+1] == quote:
					i++
				case quote != 0 && c == quote:
					quote = 0
				case quote == 0 && (c == '"' || c == '\''):
					quote = c
				case quote == 0 && c == ';':
					end = i
				}
			}
			key, text, _ := strings.Cut(value[:end], "=")
			if strings.EqualFold(strings.TrimSpace(key), "name") {
				name = strings.Trim(text, `"'`)
			}
			value = value[min(end+1, len(value)):]
		}
		return name
	},
	"cut at semicolons outside of quotes, without escapes": func(value string) (name string) {
		quoted := false
		for piece := range strings.FieldsFuncSeq(value, func(c rune) bool {
			if c == '"' {
				quoted = !quoted
			}
			return c == ';' && !quoted
		}) {
			key, text, _ := strings.Cut(piece, "=")
			if strings.EqualFold(strings.TrimSpace(key), "name") {
				name = strings.Trim(text, `"`)
			}
		}
		return name
	},
}

// Whatever passes, every server reads the same name of a part.
func FuzzDispositionIsReadAlike(f *testing.F) {
	for _, seed := range []string{
		`form-data; name=model`, `form-data;name="model"`, `Form-Data; Name="model"; FileName=a.mp3`, `form-data; filename="a"; name="model"`,
		`form-data; name="x"; filename="a\"b"`, `form-data; name="x"; filename="a\"; name=\"model"`, `form-data; filename="; name=model"; name=x`,
		`form-data; filename="a\\"; name="model"`, `form-data; name="x"; filename*=UTF-8''a%20b`, `form-data; name="x"; name*=UTF-8''model`,
		`form-data; filename=a'b; name="model"`, `form-data; name="x"; filename="C:\a\b"; filename*=UTF-8''a`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		name, _, err := readDisposition(value)
		if err != nil || strings.ContainsAny(value, "\r\n") || name == "" || strings.Trim(name, `'" `) != name {
			return
		}
		for server, read := range dispositions {
			if theirs := read(value); theirs != name && (strings.Contains(theirs, "model") || strings.Contains(name, "model")) {
				t.Errorf("%q: %s reads %q, and the relay %q", value, server, theirs, name)
			}
		}
	})
}

// A meter reads the same however an answer is cut, holds little, and does not
// panic, whatever the answer is.
func FuzzMeter(f *testing.F) {
	for i, row := range fixtures {
		f.Add(uint8(i), fixture(f, row.file), uint16(17))
	}
	f.Add(uint8(0), []byte(`{"usage":{"prompt_tokens":1e,"completion_tokens":[{}]]}}`), uint16(3))
	f.Add(uint8(1), []byte("data:{\"usage\":\ndata: {\"prompt_tokens\":1}}\n\r\ndata: {\n"), uint16(5))
	f.Fuzz(func(t *testing.T, which uint8, data []byte, size uint16) {
		row := fixtures[int(which)%len(fixtures)]
		d, kind := dialectOf(t, row.file), contentTypes[filepath.Ext(row.file)]
		whole, pieces := meterOf(t, d, row.path, kind, nil), meterOf(t, d, row.path, kind, nil)
		_, _ = whole.Write(data)
		for p := data; len(p) > 0; p = p[min(len(p), int(size)+1):] {
			_, _ = pieces.Write(p[:min(len(p), int(size)+1)])
		}

		got, want := pieces.Reading(), whole.Reading()
		if got != want {
			t.Errorf("in pieces of %d: got %+v, want %+v", int(size)+1, got, want)
		}
		if held := cap(pieces.lines.held); held > 4*maxHeldLine {
			t.Errorf("got %d bytes held, want at most %d", held, 4*maxHeldLine)
		}
		if held := cap(pieces.frame.held) + cap(pieces.frame.decoded) + cap(pieces.walk.kept); held > 4*maxAmazonFrame {
			t.Errorf("got %d bytes held, want at most %d", held, 4*maxAmazonFrame)
		}
		if len(got.Model)+len(got.Tier) > 2*maxScalar {
			t.Errorf("got names of %d and %d bytes, want at most %d", len(got.Model), len(got.Tier), maxScalar)
		}
		for _, n := range []int64{got.Input, got.CacheRead, got.CacheWrite, got.CacheWriteHour, got.Output, got.Reasoning, got.AudioInput,
			got.AudioCacheRead, got.AudioOutput, got.ImageInput, got.ImageCacheRead, got.ImageOutput, got.Milliseconds, got.Cost} {
			if n < 0 {
				t.Errorf("got a negative number in %+v", got)
			}
		}
	})
}

// A meter of a socket reads the same however a message is cut, and does not panic, whatever
// the provider says.
func FuzzSocketMeter(f *testing.F) {
	for i, row := range socketFixtures {
		for message := range bytes.Lines(fixture(f, row.file)) {
			f.Add(uint8(i), message, uint16(7))
		}
	}
	f.Fuzz(func(t *testing.T, which uint8, message []byte, size uint16) {
		row := socketFixtures[int(which)%len(socketFixtures)]
		request := &Request{Method: "GET", Path: row.path, WebSocket: true}
		d := dialectOf(t, row.file)
		whole, pieces := d.NewSocketMeter(request), d.NewSocketMeter(request)
		for range 2 { // the first message leaves nothing but names
			_, _ = whole.Write(message)
			for p := message; len(p) > 0; p = p[min(len(p), int(size)+1):] {
				_, _ = pieces.Write(p[:min(len(p), int(size)+1)])
			}
			got, want := pieces.EndMessage(), whole.EndMessage()
			if got != want {
				t.Errorf("in pieces of %d: got %+v, want %+v", int(size)+1, got, want)
			}
			if len(got.Model)+len(got.ID) > 2*maxScalar {
				t.Errorf("got names of %d and %d bytes, want at most %d", len(got.Model), len(got.ID), maxScalar)
			}
		}
	})
}
