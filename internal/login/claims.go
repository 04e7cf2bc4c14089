package login

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/relayapi/caddy-relayapi/grant"
)

// object is the members of a JSON object, by name.
type object map[string]jsontext.Value

// parseObject reads one JSON object. It refuses duplicate names at every depth,
// invalid UTF-8, and data after the object. what names the members in errors.
func parseObject(data []byte, reason Reason, what string) (object, error) {
	dec := jsontext.NewDecoder(bytes.NewReader(data))
	if dec.PeekKind() != '{' {
		return nil, refuse(reason, "the %ss are not a JSON object", what)
	}

	value, err := dec.ReadValue()
	switch {
	case errors.Is(err, jsontext.ErrDuplicateName):
		return nil, refuse(reason, "a %s appears twice", what)
	case err != nil:
		return nil, refuse(reason, "the %ss are not valid JSON", what)
	}

	o := members(value)
	if _, err := dec.ReadToken(); err != io.EOF {
		return nil, refuse(reason, "there is data after the %ss", what)
	}
	return o, nil
}

// members returns the members of a value, or nil if it is not an object. The value
// must be valid JSON.
func members(value jsontext.Value) object {
	dec := jsontext.NewDecoder(bytes.NewReader(value))
	if token, err := dec.ReadToken(); err != nil || token.Kind() != '{' {
		return nil
	}

	o := make(object)
	for dec.PeekKind() == '"' {
		token, err := dec.ReadToken()
		if err != nil {
			return nil
		}
		name := token.String()
		member, err := dec.ReadValue()
		if err != nil {
			return nil
		}
		o[name] = member.Clone()
	}
	return o
}

// elements returns the elements of an array, or the value itself. The value must be
// valid JSON.
func elements(value jsontext.Value) (all []jsontext.Value) {
	if value.Kind() != '[' {
		return []jsontext.Value{value}
	}

	dec := jsontext.NewDecoder(bytes.NewReader(value))
	if _, err := dec.ReadToken(); err != nil {
		return nil
	}
	for dec.PeekKind() != ']' {
		element, err := dec.ReadValue()
		if err != nil {
			return all
		}
		all = append(all, element.Clone())
	}
	return all
}

// unquote returns the text of a JSON string. ok is false for any other value.
func unquote(value jsontext.Value) (text string, ok bool) {
	if value.Kind() != '"' {
		return "", false
	}
	data, err := jsontext.AppendUnquote(nil, value)
	return string(data), err == nil
}

// names returns the names of the members in order.
func (o object) names() []string { return slices.Sorted(maps.Keys(o)) }

// string returns a member that is a string.
func (o object) string(name string) (string, bool) { return unquote(o[name]) }

// text returns a claim that must be a string.
func (o object) text(name string) (string, error) {
	if o[name] == nil {
		return "", refuse(BadClaims, "claim %s is missing", name)
	}
	text, ok := o.string(name)
	if !ok {
		return "", refuse(BadClaims, "claim %s is not a string", name)
	}
	return text, nil
}

// find returns the claim at a path, or nil. A claim may be nested: "a.b" is the member
// b of the claim a. A claim's own name may contain dots, so the longest matching name
// wins.
func (o object) find(path string) jsontext.Value {
	if value, ok := o[path]; ok {
		return value
	}

	for at := strings.LastIndexByte(path, '.'); at > 0; at = strings.LastIndexByte(path[:at], '.') {
		value, ok := o[path[:at]]
		if !ok {
			continue
		}
		if found := members(value).find(path[at+1:]); found != nil {
			return found
		}
	}
	return nil
}

// maxSubject is the longest subject in bytes.
const maxSubject = 255

// subject returns the subject at a path.
func (o object) subject(path string) (string, error) {
	value := o.find(path)
	if value == nil {
		return "", refuse(BadSubject, "claim %s is missing", path)
	}

	subject, ok := unquote(value)
	switch {
	case !ok:
		return "", refuse(BadSubject, "claim %s is not a string", path)
	case subject == "":
		return "", refuse(BadSubject, "claim %s is empty", path)
	case !grant.ValidSubject(subject):
		return "", refuse(BadSubject, "claim %s must be printable and at most %d bytes", path, maxSubject)
	}
	return subject, nil
}

// date returns a claim that must be a time. It returns 0 if the claim is missing.
func (o object) date(name string) (grant.NumericDate, error) {
	value := o[name]
	if value == nil {
		return 0, nil
	}

	var date grant.NumericDate
	if value.Kind() != '0' || date.UnmarshalJSON(value) != nil {
		return 0, refuse(BadClaims, "claim %s is not a number of seconds since 1970", name)
	}
	return date, nil
}

// readTimes reads the times of a token.
func (c *Claims) readTimes(payload object) error {
	for _, claim := range []struct {
		name     string
		to       *time.Time
		required bool
	}{
		{"exp", &c.Expires, true}, {"iat", &c.IssuedAt, true}, {"nbf", &c.NotBefore, false},
	} {
		date, err := payload.date(claim.name)
		switch {
		case err != nil:
			return err
		case date == 0 && claim.required:
			return refuse(BadClaims, "claim %s is missing or 0", claim.name)
		}
		*claim.to = date.Time()
	}

	if !c.Expires.After(c.IssuedAt) {
		return refuse(BadClaims, "exp is not after iat")
	}
	return nil
}
