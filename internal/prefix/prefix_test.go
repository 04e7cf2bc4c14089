package prefix

import (
	"net/http/httptest"
	"net/url"
	"testing"
)

func TestCut(t *testing.T) {
	for path, want := range map[string][2]string{
		"/api/openai/v1/x": {"openai", "/v1/x"},
		"/api/openai/":     {"openai", "/"},
		"/api/openai":      {},
		"/api//v1":         {},
		"/api":             {},
		"/apix/openai/v1":  {},
		"/v1/api/openai/x": {},
	} {
		name, rest, ok := Cut(path, "/api")
		if !ok {
			name, rest = "", ""
		}
		if got := [2]string{name, rest}; got != want {
			t.Errorf("Cut(%q) = %q, want %q", path, got, want)
		}
	}
}

func TestStrip(t *testing.T) {
	for _, tc := range []struct {
		path, prefix, name, want string // an empty want is an error
	}{
		{"/api/openai/v1/x", "/api", "openai", "/v1/x"},
		{"/api/openai/v1/a%2Fb", "/api", "openai", "/v1/a%2Fb"},
		{"/v1/x", "", "", "/v1/x"},
		{"/v1/x", "/api", "", ""},
		{"/api/open%61i/a%2Fb", "/api", "", ""},
		{"/%61pi/openai/a%2Fb", "/api", "", ""},
	} {
		u, err := url.Parse(tc.path)
		if err != nil {
			t.Fatal(err)
		}
		name, err := Strip(u, tc.prefix)
		if err != nil != (tc.want == "") || name != tc.name || err == nil && u.EscapedPath() != tc.want {
			t.Errorf("Strip(%q, %q) = %q, %v and leaves %s, want %q and %q", tc.path, tc.prefix, name, err, u.EscapedPath(), tc.name, tc.want)
		}
	}
}

func TestProbe(t *testing.T) {
	for name, tc := range map[string]struct {
		prefix, method, target, header string
		want                           bool
	}{
		"HEAD":                    {"", "HEAD", "/", "", true},
		"OPTIONS":                 {"", "OPTIONS", "/", "", true},
		"hello":                   {"", "HEAD", "/api/hello", "", true},
		"GET":                     {"", "GET", "/", "", false},
		"a path of the API":       {"", "HEAD", "/v1/models", "", false},
		"a query":                 {"", "HEAD", "/?key=x", "", false},
		"a key":                   {"", "HEAD", "/", "Authorization", false},
		"another key":             {"", "HEAD", "/", "X-Api-Key", false},
		"below a prefix":          {"/api", "HEAD", "/api/anthropic", "", true},
		"below it, with a slash":  {"/api", "HEAD", "/api/anthropic/", "", true},
		"hello below a prefix":    {"/api", "HEAD", "/api/anthropic/api/hello", "", true},
		"a path below a prefix":   {"/api", "HEAD", "/api/anthropic/v1", "", false},
		"not below the prefix":    {"/api", "HEAD", "/", "", false},
		"hello beside the prefix": {"/x", "HEAD", "/api/hello", "", false},
	} {
		r := httptest.NewRequest(tc.method, tc.target, nil)
		if tc.header != "" {
			r.Header.Set(tc.header, "x")
		}
		if got := Probe(r, tc.prefix); got != tc.want {
			t.Errorf("%s: Probe = %t, want %t", name, got, tc.want)
		}
	}
}
