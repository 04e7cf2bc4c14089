package prefix

import (
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
