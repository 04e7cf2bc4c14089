package eccrypto

import (
	"bytes"
	"io"
	"slices"

	"github.com/go-json-experiment/json/jsontext"
)

// object is a JSON object, its names exactly as they were spelled.
//
// encoding/json into a struct will not do for a header: it matches names
// case-insensitively, lets the last of several equal names win and drops the
// names that it does not know, and each of these gives two readers of one
// header two opinions.
type object map[string]jsontext.Value

// parseObject reads one JSON object, in which no name comes twice, with
// nothing after it.
func parseObject(data []byte) (object, error) {
	d := jsontext.NewDecoder(bytes.NewBuffer(data), jsontext.AllowDuplicateNames(true)) // which are refused below, by name
	if open, err := d.ReadToken(); err != nil || open.Kind() != '{' {
		return nil, refuse("not a JSON object")
	}
	o := object{}
	for d.PeekKind() != '}' {
		token, err := d.ReadToken()
		if err != nil {
			return nil, refuse("not JSON")
		}
		name := token.String()
		if o.has(name) {
			return nil, refuse("member %s comes twice", printable(name))
		}
		value, err := d.ReadValue()
		if err != nil {
			return nil, refuse("not JSON")
		}
		o[name] = value.Clone()
	}
	if _, err := d.ReadToken(); err != nil {
		return nil, refuse("not JSON")
	}
	if _, err := d.ReadToken(); err != io.EOF {
		return nil, refuse("not JSON")
	}
	return o, nil
}

func (o object) has(name string) bool {
	_, ok := o[name]
	return ok
}

// only refuses members other than those named.
func (o object) only(names ...string) error {
	// Not in map order: a rule is to read the same each time.
	var unknown []string
	for name := range o {
		if !slices.Contains(names, name) {
			unknown = append(unknown, name)
		}
	}
	if len(unknown) > 0 {
		return refuse("member %s not accepted", printable(slices.Min(unknown)))
	}
	return nil
}

// text returns the string that the member name has to be.
func (o object) text(name string) (string, error) {
	raw, ok := o[name]
	if !ok {
		return "", refuse("member %s missing", name)
	}
	// Asked first, because null unmarshals into a string.
	if raw[0] != '"' {
		return "", refuse("member %s not a string", name)
	}
	s, err := jsontext.AppendUnquote(nil, raw)
	if err != nil {
		return "", refuse("member %s not a string", name)
	}
	return string(s), nil
}

// oneOf returns the text of the member name, which has to be one of those accepted.
func (o object) oneOf(name string, accepted ...string) (string, error) {
	s, err := o.text(name)
	if err != nil {
		return "", err
	}
	if !slices.Contains(accepted, s) {
		return "", refuse("%s %s not accepted", name, printable(s))
	}
	return s, nil
}

// binary returns the member name, which has to be canonical base64url of size bytes.
func (o object) binary(name string, size int) ([]byte, error) {
	s, err := o.text(name)
	if err != nil {
		return nil, err
	}
	b, ok := decodeSegment(s)
	if !ok {
		return nil, refuse("member %s not canonical base64url", name)
	}
	if len(b) != size {
		return nil, refuse("member %s not %d bytes", name, size)
	}
	return b, nil
}
