package dialect

import (
	"bytes"
	"slices"
	"strconv"
	"strings"
)

// newModels are the prefixes of models that accept max_completion_tokens. Some of them
// refuse max_tokens, which is the only cap of many other models
// (https://developers.openai.com/api/reference/resources/chat).
var newModels = []string{"gpt-", "o1", "o3", "o4", "chatgpt", "codex"}

// capPath returns the path of the field that caps the output of a model.
func (d *Dialect) capPath(caps []string, model string) string {
	last := caps[len(caps)-1]
	if last != "max_completion_tokens" || d == azure {
		return last
	}
	name := model[strings.LastIndexByte(model, '/')+1:]
	if slices.ContainsFunc(newModels, func(start string) bool { return strings.HasPrefix(name, start) }) {
		return last
	}
	return "max_tokens"
}

// misread reports whether the provider may ignore a request's cap. Many compatible
// providers ignore max_completion_tokens.
func misread(data []byte, caps []string, preferred string) bool {
	if preferred != "max_tokens" || caps[len(caps)-1] == preferred {
		return false
	}
	at, err := memberAt(data, []string{preferred})
	return err == nil && (at.value() == nil || string(at.value()) == "null")
}

// SetCap sets the cap of a request's output in every field that has one, or else in the
// field that the provider reads. The rest of the body keeps its bytes. SetCap returns the
// name of the field, which is empty for routes without a cap. Its errors are those of
// [Dialect.Bound].
func (d *Dialect) SetCap(r *Request, limit int64) (field string, err error) {
	row := d.routeOf(r)
	if row == nil || row.bounds == nil || len(row.bounds.caps) == 0 {
		return "", nil
	}
	members, form, err := d.bodyMembers(r)
	if err != nil {
		return "", err
	}
	if form {
		return "", unbounded("body", "the cost of a form has no bound; send JSON")
	}

	caps := row.bounds.caps
	preferred := d.capPath(caps, d.modelOf(r, members, form))
	data, field, err := setCaps(r.Body, caps, limit)
	if err == nil && (field == "" || misread(data, caps, preferred)) {
		field = insertable(data, caps, preferred)
		data, err = setMember(data, strings.Split(field, "."), strconv.AppendInt(nil, limit, 10))
	}
	if err != nil {
		return "", err
	}
	r.Body = data
	return field, nil
}

// setCaps overrides the caps in a body.
func setCaps(data []byte, caps []string, limit int64) ([]byte, string, error) {
	field := ""
	for _, path := range caps {
		names := strings.Split(path, ".")
		at, err := memberAt(data, names)
		if err != nil {
			return nil, "", err
		}
		if at.value() == nil || string(at.value()) == "null" {
			continue
		}
		field = path
		if data, err = setMember(data, names, strconv.AppendInt(nil, limit, 10)); err != nil {
			return nil, "", err
		}
	}
	return data, field, nil
}

// insertable returns the path at which to insert a cap. It is the preferred path, unless
// the body has the parent object of another path.
func insertable(data []byte, caps []string, preferred string) string {
	for _, path := range slices.Backward(caps) {
		object, _, nested := strings.Cut(path, ".")
		if !nested {
			break
		}
		if at, err := memberAt(data, []string{object}); err == nil && at.value() != nil {
			return path
		}
	}
	return preferred
}

// memberPlace is the range of a member's value.
type memberPlace struct {
	data       []byte
	start, end int // end 0 means that the member is absent
}

// value returns the member's value, or nil.
func (p memberPlace) value() []byte {
	if p.end == 0 {
		return nil
	}
	return p.data[p.start:p.end]
}

// memberAt finds the member at a path.
func memberAt(data []byte, path []string) (memberPlace, error) {
	found := memberPlace{data: data}
	err := eachMember(data, func(name string, start, end int) error {
		if name == path[0] {
			found.start, found.end = start, end
		}
		return nil
	})
	if err != nil || len(path) == 1 || found.end == 0 || data[found.start] != '{' {
		if len(path) > 1 {
			found.end = 0
		}
		return found, err
	}

	inner, err := memberAt(data[found.start:found.end], path[1:])
	if err != nil || inner.end == 0 {
		return memberPlace{}, err
	}
	return memberPlace{data, found.start + inner.start, found.start + inner.end}, nil
}

// setMember sets the member at a path and creates missing objects. The rest keeps its
// bytes.
func setMember(data []byte, path []string, value []byte) ([]byte, error) {
	at, err := memberAt(data, path[:1])
	if err != nil {
		return nil, err
	}
	old := at.value()
	if len(path) > 1 {
		object := old
		if object == nil || string(object) == "null" {
			object = []byte("{}")
		}
		if value, err = setMember(object, path[1:], value); err != nil {
			return nil, err
		}
	}
	if old != nil {
		return slices.Concat(data[:at.start], value, data[at.end:]), nil
	}

	start := bytes.IndexByte(data, '{') + 1
	inserted := slices.Concat([]byte(quoted(path[0])), []byte{':'}, value)
	if rest := bytes.TrimLeft(data[start:], " \t\r\n"); rest[0] != '}' {
		inserted = append(inserted, ',')
	}
	return slices.Concat(data[:start], inserted, data[start:]), nil
}

// AsksUsage reports whether [Dialect.AskUsage] may change a request. It does not look
// into the body.
func (d *Dialect) AsksUsage(r *Request) bool {
	row := d.routeOf(r)
	return row != nil && (row.bounds == chatBounds || row.bounds == completionBounds) && !r.WebSocket
}

// AskUsage sets stream_options.include_usage in a streaming request for Chat Completions
// or Completions. It reports whether it changed the request. If so, filter the answer with
// a [Withholder]. Its errors are [*Unclear].
func (d *Dialect) AskUsage(r *Request) (added bool, err error) {
	if !d.AsksUsage(r) {
		return false, nil
	}
	if boundary, err := formBoundary(r.ContentType); err != nil || boundary != "" {
		return false, err
	}
	stream, err := memberAt(r.Body, []string{"stream"})
	if err != nil || string(stream.value()) != "true" {
		return false, err
	}

	path := []string{"stream_options", "include_usage"}
	if options, err := memberAt(r.Body, path[:1]); err != nil || options.value() != nil && options.value()[0] != '{' && options.value()[0] != 'n' {
		return false, err
	}
	asked, err := memberAt(r.Body, path)
	if err != nil || string(asked.value()) == "true" {
		return false, err
	}
	data, err := setMember(r.Body, path, []byte("true"))
	if err != nil {
		return false, err
	}
	r.Body = data
	return true, nil
}
