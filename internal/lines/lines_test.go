package lines

import (
	"fmt"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// values has what lines are read into.
type values struct {
	text     string
	flag     bool
	list     []string
	patterns []string
	number   *int64
	duration caddy.Duration
}

var readers = map[string]func(*values, *caddyfile.Dispenser) error{
	"text":     func(v *values, d *caddyfile.Dispenser) error { return Text(d, &v.text, "; remove one") },
	"flag":     func(v *values, d *caddyfile.Dispenser) error { return Flag(d, &v.flag) },
	"list":     func(v *values, d *caddyfile.Dispenser) error { return List(d, &v.list) },
	"patterns": func(v *values, d *caddyfile.Dispenser) error { return Patterns(d, &v.patterns) },
	"number":   func(v *values, d *caddyfile.Dispenser) error { return Number(d, &v.number) },
	"duration": func(v *values, d *caddyfile.Dispenser) error { return Duration(d, &v.duration) },
	"time":     func(_ *values, d *caddyfile.Dispenser) error { return CheckTime(d) },
	"path": func(v *values, d *caddyfile.Dispenser) (err error) {
		v.text, err = TakePath(d)
		return err
	},
	"prefix": func(v *values, d *caddyfile.Dispenser) (err error) {
		v.text, err = TakePath(d)
		return err
	},
	"name": func(v *values, d *caddyfile.Dispenser) (err error) {
		v.text, err = Name(d)
		return err
	},
}

// read reads the lines of a Caddyfile.
func read(input string) (v values, err error) {
	d := caddyfile.NewTestDispenser(input)
	for d.Next() && err == nil {
		err = readers[d.Val()](&v, d)
	}
	return v, err
}

func TestLines(t *testing.T) {
	for input, want := range map[string]string{
		"text a":                   "{a false [] [] 0 0}",
		"name my-1":                "{my-1 false [] [] 0 0}",
		"flag":                     "{ true [] [] 0 0}",
		"list a b\nlist c":         "{ false [a b c] [] 0 0}",
		"patterns POST\nflag":      "", // not a path
		"patterns /v1/*":           "{ false [] [/v1/*] 0 0}",
		"number -5":                "{ false [] [] -5 0}",
		"duration 90s":             "{ false [] [] 0 90000000000}",
		"time 0":                   "{ false [] [] 0 0}",
		"path /":                   "{/ false [] [] 0 0}",
		"prefix /api/":             "{/api/ false [] [] 0 0}",
		"prefix /":                 "",
		"path x":                   "",
		"path /x/*":                "",
		"path /x?a=1":              "",
		"path":                     "",
		"time 12h":                 "{ false [] [] 0 0}",
		"text":                     "",
		"text a b":                 "",
		"text a\ntext b":           "",
		"name":                     "",
		"name a/b":                 "",
		"flag yes":                 "",
		"list":                     "",
		"number":                   "",
		"number one":               "",
		"number 1\nnumber 1":       "",
		"duration":                 "",
		"duration 90":              "",
		"duration 1ms":             "",
		"duration 1s 2s":           "",
		"duration 1s\nduration 1s": "",
		"time":                     "",
		"time 90":                  "",
	} {
		v, err := read(input)
		number := int64(0)
		if v.number != nil {
			number = *v.number
		}
		got := fmt.Sprint("{", v.text, " ", v.flag, " ", v.list, " ", v.patterns, " ", number, " ", int64(v.duration), "}")
		switch {
		case want == "" && err == nil:
			t.Errorf("%q: got %s, want an error", input, got)
		case want != "" && (err != nil || got != want):
			t.Errorf("%q: got %s, %v, want %s", input, got, err, want)
		}
	}
}

func TestText_SaysWhatToDoInstead(t *testing.T) {
	_, err := read("text a\ntext b")
	if want := "text is given twice; remove one"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want an error with %q", err, want)
	}
}
