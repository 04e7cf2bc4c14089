// Package strictjson reads JSON objects in which every member matters.
package strictjson

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// Object is the members of a JSON object, by name.
type Object map[string]jsontext.Value

// Parse reads an object. It refuses members that are unknown or given twice, invalid
// UTF-8, and anything after the object. Its errors quote no value.
func Parse(data []byte, known ...string) (Object, error) {
	dec := jsontext.NewDecoder(bytes.NewReader(data))
	if dec.PeekKind() != '{' {
		return nil, errors.New("the request body is not a JSON object")
	}
	if _, err := dec.ReadToken(); err != nil {
		return nil, parseError(err)
	}

	members := make(Object)
	for dec.PeekKind() != '}' {
		token, err := dec.ReadToken()
		if err != nil {
			return nil, parseError(err)
		}
		name := token.String()
		if !slices.Contains(known, name) {
			return nil, fmt.Errorf("unknown member; must be one of %s", strings.Join(known, ", "))
		}
		value, err := dec.ReadValue()
		if err != nil {
			return nil, parseError(err)
		}
		members[name] = value.Clone()
	}

	if _, err := dec.ReadToken(); err != nil {
		return nil, parseError(err)
	}
	if _, err := dec.ReadToken(); err != io.EOF {
		return nil, errors.New("there is something after the JSON object")
	}
	return members, nil
}

func parseError(err error) error {
	if errors.Is(err, jsontext.ErrDuplicateName) {
		return errors.New("a member is given twice")
	}
	return errors.New("the request body is not valid JSON")
}

// Text returns the members as texts. It refuses any other value.
func (o Object) Text() (map[string]string, error) {
	texts := make(map[string]string)
	for name, value := range o {
		token, err := jsontext.NewDecoder(bytes.NewReader(value)).ReadToken()
		if err != nil || token.Kind() != '"' {
			return nil, fmt.Errorf("%s must be a string", name)
		}
		texts[name] = token.String()
	}
	return texts, nil
}
