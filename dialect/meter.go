package dialect

import (
	"bytes"
	"net/http"
	"strings"
	"unicode/utf8"
)

// Answer is the head of an answer.
type Answer struct {
	Status      int
	ContentType string
	Header      http.Header // may be nil
	Several     bool        // the request asked for several answers in one
}

// Meter reads the usage from an answer in pieces of any length. It delays nothing, and
// its memory does not grow with the answer. It is not safe for concurrent use.
type Meter struct {
	sink  sink
	walk  walker
	lines lines  // for event streams
	frame frames // for Amazon's event streams
	form  bodyForm

	seen       bool   // whether the answer has a body
	header     counts // from the header of the answer
	characters int64  // of the text to speak in the request
}

// bodyForm is the framing of an answer.
type bodyForm uint8

const (
	opaque bodyForm = iota // audio, or text without usage
	jsonBody
	jsonLines // a sequence of JSON values
	eventBody
	amazonBody
)

// bodyForms maps media types to framings.
var bodyForms = map[string]bodyForm{
	"application/json":                   jsonBody,
	"application/x-ndjson":               jsonLines,
	"application/ndjson":                 jsonLines,
	"application/jsonl":                  jsonLines,
	"application/stream+json":            jsonLines,
	"text/event-stream":                  eventBody,
	"application/vnd.amazon.eventstream": amazonBody,
}

// form returns the framing of the answer.
func (a *Answer) form() bodyForm {
	kind, _, _ := strings.Cut(a.ContentType, ";")
	kind = strings.ToLower(strings.TrimSpace(kind))
	if strings.HasPrefix(kind, "application/") && strings.HasSuffix(kind, "+json") && kind != "application/stream+json" {
		return jsonBody
	}
	return bodyForms[kind]
}

// NewMeter returns a meter for an answer. Pass the decoded bytes of the body to
// [Meter.Write]. NewMeter returns nil if the answer reports no usage. A nil Meter does
// nothing, and its reading is not known. The request needs its body only on routes that
// speak text.
func (d *Dialect) NewMeter(r *Request, a Answer) *Meter {
	row := d.routeOf(r)
	if row == nil || a.Status < 200 || a.Status > 299 {
		return nil
	}
	f := row.form
	m := &Meter{sink: sink{form: f, several: a.Several}}
	buildGraphs()
	m.walk.root, m.walk.sink = f.watched, &m.sink
	m.walk.reset()

	m.form = a.form()
	if f == invokeForm {
		m.readBedrockHeader(a.Header)
	}
	if f.speaks {
		m.characters = spokenCharacters(r, a.Header)
	}
	return m
}

// readBedrockHeader reads the usage in the header of an answer to InvokeModel.
func (m *Meter) readBedrockHeader(h http.Header) {
	for _, row := range bedrockHeader {
		if n, ok := parseDecimal([]byte(h.Get(row.name)), 0, maxTokens); ok {
			m.header.set(row.quantity, n)
		}
	}
}

// Write reads the next piece of the answer. It never fails.
func (m *Meter) Write(p []byte) (int, error) {
	if m == nil || len(p) == 0 {
		return len(p), nil
	}
	m.seen = true
	switch m.form {
	case jsonBody, jsonLines:
		m.walk.write(p)
	case eventBody:
		m.lines.write(p, m)
	case amazonBody:
		m.frame.write(p, m)
	}
	return len(p), nil
}

// End tells the meter that the answer came to its end, and did not break off.
func (m *Meter) End() {
	if m != nil {
		m.sink.ended = true
	}
}

// Model returns the model that the answer has named so far; empty means none.
func (m *Meter) Model() string {
	if m == nil {
		return ""
	}
	return m.sink.model
}

// Reading returns what the answer has reported so far.
func (m *Meter) Reading() Reading {
	if m == nil {
		return Reading{}
	}
	r := m.sink.reading()
	switch {
	case m.sink.form.free:
		return Reading{Model: r.Model, Known: true, Failed: r.Failed, Done: m.seen}
	case !r.Known && m.header.has != 0:
		r.Usage, r.Known = m.header.usage(m.sink.form), true
	}
	if !r.Known && m.characters > 0 {
		r.Characters, r.Known = m.characters, true
	}
	if m.form == jsonBody {
		r.Done = m.walk.done && !m.sink.cut
	}
	return r
}

// Texts that make an event relevant. The first is the beginning of the names of usage
// objects.
var (
	usageMark = []byte(`"usage`)
	errorMark = []byte(`"error"`)
	modelMark = []byte(`"model"`)
	nullUsage = []byte(`"usage":null`) // in every chunk if a client asked for usage
)

// event parses the data of an event if it is relevant.
func (m *Meter) event(data []byte) {
	if m.concerns(data) {
		m.walk.write(data)
	}
}

// concerns reports whether the data of an event may be relevant. Most events are a piece
// of text and are not parsed.
func (m *Meter) concerns(data []byte) bool {
	if i := bytes.Index(data, usageMark); i >= 0 {
		rest, null := bytes.CutPrefix(data[i:], nullUsage)
		if !null || bytes.Contains(rest, usageMark) {
			return true
		}
	}
	if bytes.Contains(data, errorMark) || m.sink.model == "" && bytes.Contains(data, modelMark) {
		return true
	}
	for _, mark := range m.sink.form.marks {
		if bytes.Contains(data, mark) {
			return true
		}
	}
	return false
}

// endEvent ends an event.
func (m *Meter) endEvent() { m.walk.reset() }

// spokenCharacters returns the characters of the text to speak. ElevenLabs and Deepgram
// report them in a header of the answer. Otherwise the request has the text.
func spokenCharacters(r *Request, h http.Header) int64 {
	for _, name := range []string{"character-cost", "dg-char-count"} {
		if n, ok := parseDecimal([]byte(h.Get(name)), 0, maxTokens); ok {
			return n
		}
	}
	var n int64
	_ = eachMember(r.Body, func(name string, start, end int) error {
		if value := r.Body[start:end]; (name == "input" || name == "text") && value[0] == '"' {
			text, err := unquote(value)
			if err == nil {
				n = int64(utf8.RuneCountInString(text))
			}
		}
		return nil
	})
	return n
}
