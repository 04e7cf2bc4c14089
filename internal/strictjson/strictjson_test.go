package strictjson

import (
	"maps"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for name, tt := range map[string]struct {
		data string
		want string // of the error; empty means none
	}{
		"empty object":     {`{}`, ""},
		"members":          {` {"a": 1, "b": {"a": [null]}} `, ""},
		"array":            {`[]`, "not a JSON object"},
		"nothing":          {``, "not a JSON object"},
		"text":             {`"a"`, "not a JSON object"},
		"unknown member":   {`{"c": 1}`, "must be one of a, b"},
		"another case":     {`{"A": 1}`, "must be one of a, b"},
		"given twice":      {`{"a": 1, "a": 2}`, "twice"},
		"twice by escape":  {`{"a": 1, "\u0061": 2}`, "twice"},
		"twice inside":     {`{"a": {"x": 1, "x": 2}}`, "twice"},
		"cut off":          {`{"a": 1`, "not valid JSON"},
		"trailing comma":   {`{"a": 1,}`, "not valid JSON"},
		"comment":          {`{"a": 1 /* x */}`, "not valid JSON"},
		"invalid UTF-8":    {"{\"a\": \"\xff\"}", "not valid JSON"},
		"another object":   {`{"a": 1}{"b": 1}`, "after the JSON object"},
		"something behind": {`{"a": 1} x`, "after the JSON object"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse([]byte(tt.data), "a", "b")
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error is %v, want %q", err, tt.want)
			}
		})
	}
}

func TestObject_Text(t *testing.T) {
	o, err := Parse([]byte(`{"a": "x\u0041", "b": ""}`), "a", "b")
	if err != nil {
		t.Fatal(err)
	}
	got, err := o.Text()
	if want := map[string]string{"a": "xA", "b": ""}; err != nil || !maps.Equal(got, want) {
		t.Errorf("got %v, %v; want %v", got, err, want)
	}
	for _, value := range []string{"1", "null", "true", "[]", "{}"} {
		o, err := Parse([]byte(`{"a": `+value+`}`), "a")
		if err != nil {
			t.Fatal(err)
		}
		if got, err := o.Text(); err == nil {
			t.Errorf("Text of %s is %v, want an error", value, got)
		}
	}
}
