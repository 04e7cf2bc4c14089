package dialect

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// indirect are members that stand for a model which the request does not name:
// it is written in what the account has stored. Azure's data sources use one for
// embeddings.
var indirect = []string{"assistant", "assistant_id", "agent", "agent_id", "preset", "input_file_id", "data_sources"}

// schemas are members of tools below which is the caller's own: a schema may
// well have a property that is called model.
var schemas = []string{
	"parameters", "parametersJsonSchema", "parameters_json_schema", "input_schema", "input_examples", "inputSchema",
	"json_schema", "responseSchema", "response_schema", "responseJsonSchema", "response_json_schema", "response", "schema",
}

// readJSON finds the names in a JSON object. Texts that parsers could read in
// two ways are refused: doubled names, invalid UTF-8, a byte order mark, more
// than one value. jsontext refuses these by itself (RFC 7493).
func (d *Dialect) readJSON(data []byte) (body, error) {
	r := &reader{d: d, dec: jsontext.NewDecoder(bytes.NewBuffer(data))}
	if r.dec.PeekKind() != '{' {
		return r.body, unclear("the body is not a JSON object")
	}
	if err := r.object(0); err != nil {
		return r.body, err
	}
	if len(bytes.TrimLeft(data[r.dec.InputOffset():], " \t\r\n")) > 0 {
		return r.body, unclear("there is more after the JSON object")
	}
	if r.model == "" {
		r.start = bytes.IndexByte(data, '{') + 1
		r.end, r.absent = r.start, `"`+d.writes()+`":%s`
		if r.members > 0 {
			r.absent += ","
		}
	}
	return r.body, nil
}

// ReadMessage finds the names in a WebSocket's message. Its errors are [*Unclear].
func (d *Dialect) ReadMessage(data []byte) ([]string, error) {
	message := *d
	message.containers = d.messages
	b, err := message.readJSON(data)
	if err != nil {
		return nil, err
	}
	if b.model != "" {
		b.others = append(b.others, b.model)
	}
	return b.others, nil
}

// reader reads one JSON text.
type reader struct {
	body
	d       *Dialect
	dec     *jsontext.Decoder
	members int // of the object itself
}

var errNotJSON = unclear("the body is not JSON that every parser reads alike (RFC 7493)")

// object reads an object, at a depth of 0 the text's own and else one within a
// container, where whatever names a model names another one.
func (r *reader) object(depth int) error {
	if _, err := r.dec.ReadToken(); err != nil {
		return errNotJSON
	}
	for r.dec.PeekKind() != '}' {
		token, err := r.dec.ReadToken()
		if err != nil {
			return errNotJSON
		}
		if depth == 0 {
			r.members++
		}
		if err := r.member(token.String(), depth); err != nil {
			return err
		}
	}
	if _, err := r.dec.ReadToken(); err != nil {
		return errNotJSON
	}
	return nil
}

func (r *reader) member(name string, depth int) error {
	if strings.ContainsFunc(name, func(c rune) bool { return c < ' ' || c == 0x7f }) {
		return unclear("a name in the body has a control character")
	}
	primary, other, err := r.d.names(name)
	switch {
	case err != nil:
		return err
	case primary && depth == 0:
		return r.primary(name)
	case primary || other:
		return r.others(name)
	}
	for _, container := range r.d.containers {
		if depth == 0 && name != container && strings.EqualFold(name, container) {
			return unclear("%s is spelled in another case, which some servers take for the same", container)
		}
	}
	kind := r.dec.PeekKind()
	switch {
	case slices.Contains(indirect, name) && kind != 'n', name == "prompt" && kind == '{':
		return unclear("%s stands for a model that the request does not name", name)
	case depth == 0 && !slices.Contains(r.d.containers, name), depth > 0 && slices.Contains(schemas, name):
		return r.skip()
	}
	return r.look(depth + 1)
}

// look looks for further names in a value.
func (r *reader) look(depth int) error {
	switch r.dec.PeekKind() {
	case '{':
		return r.object(depth)
	case '[':
		return r.each(func() error { return r.look(depth) })
	}
	return r.skip()
}

// primary reads the name of the model that the request wants.
func (r *reader) primary(name string) error {
	if r.dec.PeekKind() != '"' {
		return unclear("%s is not a text", name)
	}
	value, length, err := r.text()
	if err != nil {
		return err
	}
	if r.model != "" && r.model != value {
		return unclear("it names two different models")
	}
	r.model, r.end = value, int(r.dec.InputOffset())
	r.start = r.end - length
	return nil
}

// others reads the names of further models: a text, or texts in whatever form.
func (r *reader) others(name string) error {
	switch r.dec.PeekKind() {
	case '"':
		value, _, err := r.text()
		r.body.others = append(r.body.others, value)
		return err
	case '[':
		return r.each(func() error { return r.others(name) })
	case '{':
		if _, err := r.dec.ReadToken(); err != nil {
			return errNotJSON
		}
		for r.dec.PeekKind() != '}' {
			if _, err := r.dec.ReadToken(); err != nil {
				return errNotJSON
			}
			if err := r.others(name); err != nil {
				return err
			}
		}
		if _, err := r.dec.ReadToken(); err != nil {
			return errNotJSON
		}
		return nil
	}
	return r.skip() // a number or a truth names nothing
}

// each reads an array.
func (r *reader) each(value func() error) error {
	if _, err := r.dec.ReadToken(); err != nil {
		return errNotJSON
	}
	for r.dec.PeekKind() != ']' {
		if err := value(); err != nil {
			return err
		}
	}
	if _, err := r.dec.ReadToken(); err != nil {
		return errNotJSON
	}
	return nil
}

// text reads a text that names a model, and tells how long it is in JSON.
func (r *reader) text() (value string, length int, err error) {
	raw, err := r.dec.ReadValue()
	if err != nil {
		return "", 0, errNotJSON
	}
	unquoted, err := jsontext.AppendUnquote(nil, raw)
	switch {
	case err != nil:
		return "", 0, errNotJSON
	case len(unquoted) == 0:
		return "", 0, unclear("the name of a model is empty")
	}
	return r.d.trim(string(unquoted)), len(raw), nil
}

func (r *reader) skip() error {
	if r.dec.SkipValue() != nil {
		return errNotJSON
	}
	return nil
}

// quoted is a text in JSON.
func quoted(s string) string {
	data, err := json.Marshal(s)
	if err != nil {
		panic(err) // texts marshal
	}
	return string(data)
}
