package dialect

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// What a request may have at most, so that what it takes to read it is bounded by
// its length.
const (
	maxMembers = 1000    // of the object itself
	maxValues  = 100_000 // in one that is looked into
	maxNames   = 100     // of models
	maxParts   = 1000    // of a form
)

// indirect are members that stand for a model which the request does not name:
// it is written in what the account has stored. Azure's data sources use one for
// embeddings. In small letters.
var indirect = []string{"assistant", "assistant_id", "agent", "agent_id", "preset", "agent_reference", "input_file_id", "data_sources"}

// schemas are members of tools below which is the caller's own: a schema may
// well have a property that is called model. "parameters" are those of a
// function, in which names are objects, or of a hosted tool, in which they are
// texts.
var schemas = []string{
	"parametersJsonSchema", "parameters_json_schema", "input_schema", "input_examples", "inputSchema",
	"json_schema", "responseSchema", "response_schema", "responseJsonSchema", "response_json_schema", "response", "schema",
}

// readJSON finds the names in a JSON object. Texts that parsers could read in
// two ways are refused: doubled names, invalid UTF-8, a byte order mark, more
// than one value.
func (d *Dialect) readJSON(data []byte) (body, error) {
	r := &reader{d: d}
	members := 0
	err := eachMember(data, func(name string, start, end int) error {
		members++
		return r.top(name, data[start:end], start)
	})
	if err != nil {
		return r.body, err
	}
	if r.model == "" {
		r.start = bytes.IndexByte(data, '{') + 1
		r.end, r.absent = r.start, `"`+d.writes()+`":%s`
		if members > 0 {
			r.absent += ","
		}
	}
	return r.body, nil
}

// ReadMessage finds the names in a WebSocket's message, and tells whether one of
// them is what the provider takes for the session's. Its errors are [*Unclear].
func (d *Dialect) ReadMessage(data []byte) (names []string, named bool, err error) {
	message := *d
	message.containers = slices.Concat(d.messages, d.containers)
	b, err := message.readJSON(data)
	if err != nil {
		return nil, false, err
	}
	if b.model != "" {
		b.others = append(b.others, b.model)
	}
	return b.others, b.named, nil
}

// reader reads one JSON text.
type reader struct {
	body
	d    *Dialect
	dec  *jsontext.Decoder // of a value that is looked into
	into string            // the member whose value that is
}

var errNotJSON = unclear("the body is not JSON that every parser reads alike (RFC 7493)")

// top reads a member of the text's own object, whose value is at a place.
func (r *reader) top(name string, value []byte, at int) error {
	primary, other, err := r.d.names(name)
	switch {
	case err != nil:
		return err
	case primary:
		return r.primary(name, value, at)
	}
	container := other
	for _, c := range r.d.containers {
		if name != c && strings.EqualFold(name, c) {
			return unclear("%s is spelled in another case, which some servers take for the same", c)
		}
		container = container || name == c
	}
	if stands(name, jsontext.Value(value).Kind()) {
		return unclear("%s stands for a model that the request does not name", name)
	}
	if !container {
		return nil
	}
	if bytes.Count(value, []byte{','}) > maxValues {
		return unclear("%s has more in it than anybody needs", name)
	}
	r.dec = jsontext.NewDecoder(bytes.NewBuffer(value))
	if other {
		return r.others()
	}
	return r.enter(name)
}

// enter looks for names in a container. Within a session, a tool is a tool.
func (r *reader) enter(name string) error {
	defer func(outer string) { r.into = outer }(r.into)
	r.into = name
	if isFallbacks(name) {
		return r.fallbacks()
	}
	return r.look()
}

func isFallbacks(name string) bool { return strings.HasSuffix(name, "fallbacks") }

// stands reports whether a member stands for a model, however it is spelled.
func stands(name string, kind jsontext.Kind) bool {
	name = strings.ToLower(name)
	return slices.Contains(indirect, name) && kind != 'n' || name == "prompt" && kind == '{' || isFallbacks(name) && kind == '"'
}

// primary reads the name of the model that the request wants.
func (r *reader) primary(name string, value []byte, at int) error {
	if value[0] != '"' {
		return unclear("%s is not a text", name)
	}
	model, err := r.text(value)
	if err != nil {
		return err
	}
	if r.model != "" && r.model != model {
		return unclear("it names two different models")
	}
	r.model, r.start, r.end = model, at, at+len(value)
	return nil
}

// object reads an object in a container, where whatever names a model names
// another one.
func (r *reader) object() error {
	return r.within('}', func() error {
		token, err := r.dec.ReadToken()
		if err != nil {
			return errNotJSON
		}
		return r.member(token.String())
	})
}

func (r *reader) member(name string) error {
	primary, other, err := r.d.names(name)
	switch {
	case err != nil:
		return err
	case primary || other:
		before := len(r.body.others)
		err := r.others()
		r.named = r.named || primary && len(r.body.others) > before && slices.Contains(r.d.messages, r.into)
		return err
	case stands(name, r.dec.PeekKind()):
		return unclear("%s stands for a model that the request does not name", name)
	case slices.Contains(schemas, name):
		return r.skip()
	case name == "parameters":
		return r.parameters()
	case isFallbacks(name), slices.Contains(r.d.containers, name):
		return r.enter(name)
	}
	return r.look()
}

// fallbacks reads what to ask instead: names, requests of their own, or a list of
// names by that of what they stand in for.
func (r *reader) fallbacks() error {
	switch r.dec.PeekKind() {
	case '"':
		return r.others()
	case '[':
		return r.within(']', r.fallbacks)
	case '{':
		return r.within('}', func() error {
			token, err := r.dec.ReadToken()
			if err != nil {
				return errNotJSON
			}
			if name := token.String(); r.dec.PeekKind() != '[' || r.ofRequest(name) {
				return r.member(name)
			}
			return r.fallbacks()
		})
	}
	return r.skip()
}

// ofRequest reports whether a list of this name is a request's own, and no list of
// fallbacks.
func (r *reader) ofRequest(name string) bool {
	return name == "stop" || name == "stop_sequences" || stands(name, '[') || slices.Contains(schemas, name) || slices.Contains(r.d.containers, name)
}

// parameters reads those of a tool.
func (r *reader) parameters() error {
	if r.dec.PeekKind() != '{' {
		return r.skip()
	}
	return r.within('}', func() error {
		token, err := r.dec.ReadToken()
		if err != nil {
			return errNotJSON
		}
		primary, other, err := r.d.names(token.String())
		switch {
		case err != nil:
			return err
		case (primary || other) && r.dec.PeekKind() != '{':
			return r.others()
		}
		return r.skip()
	})
}

// look looks for further names in a value.
func (r *reader) look() error {
	switch r.dec.PeekKind() {
	case '{':
		return r.object()
	case '[':
		return r.within(']', r.look)
	}
	return r.skip()
}

// others reads the names of further models: a text, or texts in whatever form.
func (r *reader) others() error {
	switch r.dec.PeekKind() {
	case '"':
		raw, err := r.dec.ReadValue()
		if err != nil {
			return errNotJSON
		}
		model, err := r.text(raw)
		if r.body.others = append(r.body.others, model); len(r.body.others) > maxNames {
			return unclear("it names more models than anybody needs")
		}
		return err
	case '[':
		return r.within(']', r.others)
	case '{':
		return r.within('}', func() error {
			if _, err := r.dec.ReadToken(); err != nil {
				return errNotJSON
			}
			return r.others()
		})
	}
	return r.skip() // a number or a truth names nothing
}

// within reads an object or an array, to the bracket that ends it.
func (r *reader) within(end jsontext.Kind, read func() error) error {
	if _, err := r.dec.ReadToken(); err != nil {
		return errNotJSON
	}
	for r.dec.PeekKind() != end {
		if err := read(); err != nil {
			return err
		}
	}
	if _, err := r.dec.ReadToken(); err != nil {
		return errNotJSON
	}
	return nil
}

// text reads a text that names a model.
func (r *reader) text(raw []byte) (string, error) {
	model, err := unquote(raw)
	switch {
	case err != nil:
		return "", errNotJSON
	case model == "":
		return "", unclear("the name of a model is empty")
	}
	return r.d.trim(model), nil
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
