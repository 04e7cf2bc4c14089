package eccrypto

import (
	"bytes"
	"encoding/json"
	"slices"
	"unicode/utf8"
)

// object is a JSON object, its names exactly as they were spelled.
//
// encoding/json into a struct will not do for a header: it matches names
// case-insensitively, lets the last of several equal names win and drops the
// names that it does not know, and each of these gives two readers of one
// header two opinions.
type object map[string]json.RawMessage

// parseObject reads one JSON object, in which no name comes twice, with
// nothing after it.
func parseObject(data []byte) (object, error) {
	// Decoder is laxer than Valid about what follows, and both about UTF-8.
	if !utf8.Valid(data) || !json.Valid(data) {
		return nil, refuse("not JSON")
	}
	d := json.NewDecoder(bytes.NewReader(data))
	if open, err := d.Token(); err != nil || open != json.Delim('{') {
		return nil, refuse("not a JSON object")
	}
	o := object{}
	for d.More() {
		token, err := d.Token()
		if err != nil {
			return nil, refuse("not JSON")
		}
		name, _ := token.(string)
		if o.has(name) {
			return nil, refuse("member %s comes twice", printable(name))
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return nil, refuse("not JSON")
		}
		o[name] = value
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
	var s string
	if err := json.Unmarshal(raw, &s); err != nil {
		return "", refuse("member %s not a string", name)
	}
	return s, nil
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
