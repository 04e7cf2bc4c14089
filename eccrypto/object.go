package eccrypto

import (
	"bytes"
	"errors"
	"slices"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// object is a JSON object with its names exactly as they were spelled.
//
// A struct and encoding/json would not do for a header: encoding/json matches
// names in any case, takes the last of several equal names and ignores unknown
// names. Two readers of one header could then disagree.
type object map[string]jsontext.Value

// parseObject parses data, which must be one JSON object. It refuses duplicate
// names at every depth and data after the object.
func parseObject(data []byte) (object, error) {
	if dec := jsontext.NewDecoder(bytes.NewReader(data)); dec.PeekKind() != '{' {
		return nil, refuse("not a JSON object")
	}

	var o object
	err := json.Unmarshal(data, &o)
	var syntax *jsontext.SyntacticError
	switch {
	case err == nil:
		return o, nil
	case errors.Is(err, jsontext.ErrDuplicateName) && errors.As(err, &syntax):
		return nil, refuse("member %s appears twice", printable(syntax.JSONPointer.LastToken()))
	}
	return nil, refuse("not JSON")
}

func (o object) has(name string) bool {
	_, ok := o[name]
	return ok
}

// only refuses members that are not among names.
func (o object) only(names ...string) error {
	// The least unknown name, so that a rule does not depend on the order of maps.
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

// text returns the member name, which must be a string.
func (o object) text(name string) (string, error) {
	raw, ok := o[name]
	if !ok {
		return "", refuse("member %s missing", name)
	}
	if raw.Kind() != '"' {
		return "", refuse("member %s not a string", name)
	}
	s, err := jsontext.AppendUnquote(nil, raw)
	if err != nil {
		return "", refuse("member %s not a string", name)
	}
	return string(s), nil
}

// oneOf returns the member name, which must be one of the accepted strings.
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

// binary returns the member name, which must be canonical base64url of size bytes.
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
