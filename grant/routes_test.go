package grant

import (
	"strings"
	"testing"
)

func mustRoutes(t *testing.T, patterns ...string) *Routes {
	t.Helper()
	r, err := ParseRoutes(patterns...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestRoutesMatch(t *testing.T) {
	for _, tc := range []struct {
		pattern, method, path string
		want                  bool
	}{
		{"POST /v1/x", "POST", "/v1/x", true},
		{"POST /v1/x", "post", "/v1/x", false},
		{"POST /v1/x", "GET", "/v1/x", false},
		{"/v1/x", "GET", "/v1/x", true},
		{"/v1/x", "GET", "/v1/x/", false},
		{"/v1/x", "GET", "/v1/X", false},
		{"/v1/*", "GET", "/v1/x", true},
		{"/v1/*", "GET", "/v1/", false},
		{"/v1/*", "GET", "/v1", false},
		{"/v1/*", "GET", "/v1/x/y", false},
		{"/v1/*/z", "GET", "/v1/x/z", true},
		{"/v1/*/z", "GET", "/v1/x/y/z", false},
		{"/v1/*/z", "GET", "/v1//z", false},
		{"/m/*:generate", "POST", "/m/gemini:generate", true},
		{"/m/*:generate", "POST", "/m/:generate", false},
		{"/m/*:generate", "POST", "/m/a:generate:delete", false},
		{"/m/*:generate", "POST", "/m/a:x:generate", true},
		{"/m/a*b*c", "POST", "/m/a1b2c", true},
		{"/m/a*b*c", "POST", "/m/abbc", false},
		{"/m/a*b*c", "POST", "/m/axbbxc", true},
		{"/v1/**", "GET", "/v1/x/y", true},
		{"/v1/**", "GET", "/v1/", true},
		{"/v1/**", "GET", "/v1", false},
		{"/v1/**", "GET", "/v10", false},
		{"/v1/*/**", "GET", "/v1/x/y/z", true},
		{"/v1/*/**", "GET", "/v1/x", false},
		{"/**", "GET", "/", true},
		{"GET /**", "GET", "/a/b", true},
		{"GET /**", "POST", "/a/b", false},
	} {
		if got := mustRoutes(t, tc.pattern).Match(tc.method, tc.path); got != tc.want {
			t.Errorf("%q matches %s %s: %t", tc.pattern, tc.method, tc.path, got)
		}
	}
}

func TestParseRoutesRefuses(t *testing.T) {
	for _, pattern := range []string{
		"", "v1", "POST", "POST v1", "post /v1", "/v1//x", "/v1/../x", "/v1/./x", "/a b", "/v1?x", "/v1#x", "/%2e",
		`/a\b`, "/**/x", "/a**", "/x**/y",
	} {
		if _, err := ParseRoutes(pattern); err == nil {
			t.Errorf("pattern %q is accepted", pattern)
		}
	}
}

func TestCheckPath(t *testing.T) {
	for _, tc := range []struct {
		path, escaped string
		ok            bool
	}{
		{"/", "", true},
		{"/v1/x", "", true},
		{"/v1/x/", "", true},
		{"/v1/models/gemini:generate", "/v1/models/gemini%3Agenerate", true},
		{"/v1/…", "", true},
		{"", "", false},
		{"v1", "", false},
		{"//v1", "", false},
		{"/v1//x", "", false},
		{"/v1/./x", "", false},
		{"/v1/..", "", false},
		{"/../v1", "", false},
		{"/v1/..;/admin", "", false},
		{"/v1/.;x=1/admin", "", false},
		{"/v1/a;b=1/admin", "", true},
		{"/v1/%2e%2e/x", "", false}, // was %252e
		{"/v1/a\\b", "", false},
		{"/v1/a\x00b", "", false},
		{"/v1/a\nb", "", false},
		{"/v1/a\x7fb", "", false},
		{"/v1/a/b", "/v1/a%2Fb", false},
		{"/v1/a/b", "/v1/a%2fb", false},
		{`/v1/ab`, "/v1/%5cab", false},
	} {
		if err := CheckPath(tc.path, tc.escaped); (err == nil) != tc.ok {
			t.Errorf("CheckPath(%q, %q) = %v", tc.path, tc.escaped, err)
		}
	}
}

// The linear match agrees with the definition of a match.
func FuzzMatchSegment(f *testing.F) {
	f.Add("a*b*c", "a1b2c")
	f.Fuzz(func(t *testing.T, pattern, s string) {
		if strings.Contains(pattern, "**") || strings.Count(pattern, "*") > 4 || len(s) > 40 {
			return
		}
		if got, want := matchSegment(pattern, s), backtrack(pattern, s); got != want {
			t.Errorf("%q matches %q: %t, want %t", pattern, s, got, want)
		}
	})
}

// backtrack is the definition of a match, tried in every way.
func backtrack(pattern, s string) bool {
	literal, rest, starred := strings.Cut(pattern, "*")
	if !starred {
		return s == literal
	}
	if !strings.HasPrefix(s, literal) {
		return false
	}
	s = s[len(literal):]
	for i := 1; i <= len(s); i++ {
		if backtrack(rest, s[i:]) {
			return true
		}
	}
	return false
}
