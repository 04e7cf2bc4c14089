package grant

import (
	"net/url"
	"path"
	"regexp"
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
		{"/v1/*", "GET", "/v1/", true}, // as in Caddy
		{"/v1/*", "GET", "/v1", false},
		{"/v1/*", "GET", "/v10", false},
		{"/v1/*", "GET", "/v1/x/y", true},
		{"/v1/*", "GET", "/v1/x/y/", true},
		{"/v1/*", "GET", "/V1/x", false}, // Caddy ignores case
		{"POST /v1/*", "POST", "/v1/x/y", true},
		{"POST /v1/*", "GET", "/v1/x/y", false},
		{"/*", "GET", "/", true},
		{"/*", "GET", "/v1/x", true},
		{"GET /*", "GET", "/a/b", true},
		{"GET /*", "POST", "/a/b", false},
		{"/v1/*/*", "GET", "/v1/x/y/z", true},
		{"/v1/*/*", "GET", "/v1/x", false},
		{"/v1/*/z", "GET", "/v1/x/z", true},
		{"/v1/*/z", "GET", "/v1/x/y/z", false},
		{"/v1/*/z", "GET", "/v1//z", false},
		{"/v1/models*", "GET", "/v1/models", true},
		{"/v1/models*", "GET", "/v1/models2", true},
		{"/v1/models*", "GET", "/v1/model", false},
		{"/v1/models*", "GET", "/v1/models/x", false}, // for Caddy it would be one
		{"/v1/models*", "GET", "/v1/models%2Fx", false},
		{"/v1/a*b*", "GET", "/v1/axb", true},
		{"/v1/a*b*", "GET", "/v1/axbc", true},
		{"/v1/a*b*", "GET", "/v1/ab", false},
		{"/v1/{id}", "GET", "/v1/x", true},
		{"/v1/{id}", "GET", "/v1/", false},
		{"/v1/{id}", "GET", "/v1", false},
		{"/v1/{id}", "GET", "/v1/x/y", false},
		{"/v1/{id}", "GET", "/v1/x%2Fy", false},
		{"/v1/{id}/z", "GET", "/v1/x/z", true},
		{"/v1/{id}/z", "GET", "/v1/x%2Fy/z", false},
		{"/v1/{id}/*", "GET", "/v1/x/y/z", true},
		{"/m/*:generate", "POST", "/m/gemini:generate", true},
		{"/m/*:generate", "POST", "/m/:generate", false},
		{"/m/*:generate", "POST", "/m/a:generate:delete", false},
		{"/m/*:generate", "POST", "/m/a:x:generate", true},
		{"/m/*:generate", "POST", "/m/a%2Fb:generate", true},
		{"/m/*:generate", "POST", "/m/a:generate%2Fb", false},
		{"/m/a*b*c", "POST", "/m/a1b2c", true},
		{"/m/a*b*c", "POST", "/m/abbc", false},
		{"/m/a*b*c", "POST", "/m/axbbxc", true},
		{"/model/*/converse", "POST", "/model/a%2Fb/converse", true},
		{"/model/*/converse", "POST", "/model/a%2Fb%2Fc/converse", true},
		{"/model/*/converse", "POST", "/model/a/b/converse", false},
		{"/model/*/converse", "POST", "/model%2Fa/converse", false},
		{"/model/*/converse", "POST", "/model/a%2Fconverse", false},
		{"/model/x/converse", "POST", "/model%2Fx/converse", false},
		{"/v1/*", "POST", "/v1/a%2Fb", false},
		{"/*", "POST", "/v1/a%2Fb", false},
		{"/x/*/below/*", "POST", "/x/a%2Fb/below/y", true},
		{"/x/*/below/*", "POST", "/x/a/below/y%2Fz", false},
		{"/v1/{+id}", "GET", "/v1/x%2Fy", true},
		{"/v1/{+id}", "GET", "/v1/x", true},
		{"/v1/{+id}", "GET", "/v1/x/y", false},
		{"/v1/{+id}", "GET", "/v1/", false},
		{"/v1/{+id}/z", "GET", "/v1/x%2Fy/z", true},
		{"/v1/*", "POST", "/v1%2Fa", false},
		{"/v1/*2Fx", "POST", "/v1/a%2Fx", false}, // an escape is one character
	} {
		if got := mustRoutes(t, tc.pattern).Match(tc.method, tc.path, false); got != tc.want {
			t.Errorf("%q matches %s %s: %t", tc.pattern, tc.method, tc.path, got)
		}
	}
}

func TestRoutes_MatchOfWebSockets(t *testing.T) {
	for _, tc := range []struct {
		pattern, method string
		plain, socket   bool
	}{
		{"WS /v1/x", "GET", false, true},
		{"GET /v1/x", "GET", true, true},
		{"/v1/x", "GET", true, true},
		{"POST /v1/x", "GET", false, false},
		{"WS /v1/*", "GET", false, true},
		{"WS /v1/x", "POST", false, false}, // no such WebSocket
		{"WS /v1/x", "WS", false, false},   // a method of that name is another thing
	} {
		r := mustRoutes(t, tc.pattern)
		if got := r.Match(tc.method, "/v1/x", false); got != tc.plain {
			t.Errorf("%q matches %s: %t, want %t", tc.pattern, tc.method, got, tc.plain)
		}
		if got := r.Match(tc.method, "/v1/x", true); got != tc.socket {
			t.Errorf("%q matches %s as a WebSocket: %t, want %t", tc.pattern, tc.method, got, tc.socket)
		}
	}
}

func TestParseRoutesRefuses(t *testing.T) {
	for pattern, want := range map[string]string{
		"": "[METHOD ]/path", "v1": "[METHOD ]/path", "POST": "[METHOD ]/path", "POST v1": "[METHOD ]/path",
		"post /v1": "[METHOD ]/path", " /v1": "[METHOD ]/path", "/a b": "[METHOD ]/path", "/v1?x": "[METHOD ]/path",
		"/v1#x": "[METHOD ]/path", "/%2e": "[METHOD ]/path", `/a\b`: "[METHOD ]/path",
		"*": "write /* for all paths", "POST *": "write /* for all paths",
		"/v1//x": "empty segment", "/v1/../x": "dot segment", "/v1/./x": "dot segment", "/v1/a./x": "ends in a dot",
		"/**": "write /* instead of /**", "/v1/**": "write /v1/* instead of /v1/**",
		"POST /v1/**": "write /v1/* instead of /v1/**", "/v1/*/**": "write /v1/*/* instead of /v1/*/**",
		"/**/x": "two stars", "/a**": "two stars", "/x**/y": "two stars", "/v1/***": "two stars",
		"/v1/{": "{name}", "/v1/{}": "{name}", "/v1/a{id}": "{name}", "/v1/{ID}": "{name}", "/v1/{++id}": "{name}", "/v1/{+}": "{name}", "/v1/{id}:run": "{name}",
	} {
		if _, err := ParseRoutes(pattern); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("pattern %q: %v, want …%s…", pattern, err, want)
		}
	}
}

func TestPolicyPath(t *testing.T) {
	for target, want := range map[string]string{ // "": refused
		"/":                                   "/",
		"/v1/x":                               "/v1/x",
		"/v1/x/":                              "/v1/x/",
		"/v1/models/gemini%3Agenerate":        "/v1/models/gemini:generate",
		"/v1/%63hat":                          "/v1/chat",
		"/v1/a%20b":                           "/v1/a b",
		"/v1/a;b=1/admin":                     "/v1/a;b=1/admin",
		"/v1/a..b/.c":                         "/v1/a..b/.c",
		"/v1/%E2%80%A6":                       "/v1/…",
		"/v1/m%C3%BCnchen":                    "/v1/münchen",
		"/v1/%E6%A8%A1%E5%9E%8B":              "/v1/模型",
		"/model/arn%3Aaws%3Ax%2Fabc/converse": "/model/arn:aws:x%2Fabc/converse",
		"/model/a%2fb/converse":               "/model/a%2Fb/converse",
		"/v1%2Fchat":                          "/v1%2Fchat",
		"/v1/a%2Fb%2Fc":                       "/v1/a%2Fb%2Fc",
	} {
		checkPolicyPath(t, target, want)
	}
}

func checkPolicyPath(t *testing.T, target, want string) {
	t.Helper()
	u, err := url.ParseRequestURI(target)
	if err != nil {
		t.Fatalf("%q: %v", target, err)
	}
	got, err := PolicyPath(u)
	switch {
	case want != "" && err != nil:
		t.Errorf("PolicyPath(%q) is refused: %v", target, err)
	case got != want:
		t.Errorf("PolicyPath(%q) = %q, want %q", target, got, want)
	}
}

func TestPolicyPath_Refuses(t *testing.T) {
	for kind, targets := range map[string][]string{
		"empty segments":        {"//v1", "/v1//x", "/v1/%2Fx", "/v1/a%2F/x", "/v1/a%2F%2Fb", "/v1/a%2F", "/%2F"},
		"dot segments":          {"/v1/./x", "/v1/..", "/../v1", "/v1/%2e%2e/x", "/v1/.%2E/x", "/v1/.../x"},
		"dots with spaces":      {"/v1/.%20/x", "/v1/..%20/x", "/v1/%20../x", "/v1/%20/x", "/v1/.%20./x", "/v1/..%c2%a0/x", "/v1/%e3%80%80../x"},
		"parameters":            {"/v1/..;/x", "/v1/..;x/y", "/v1/;../x", "/v1/.;x=1/y", "/v1/a;../x", "/v1/;x/y", "/v1/..%3Bx/y", "/v1/..%20;x/y"},
		"stripped by Windows":   {"/v1/x.", "/v1/x../y", "/v1/x%20/y", "/v1/x%20.", "/v1/x.%20"},
		"around encoded slash":  {"/v1/a%2F..%2Fb", "/v1/a%2F..", "/v1/..%2Fb", "/v1/a%2F.%2Fb", "/v1/a%2F%20/b", "/v1/a%2F..;x", "/v1/a.%2Fb"},
		"escaped twice":         {"/v1/a%252Fb", "/v1/%252e%252e/x", "/v1/a%25", "/v1/a%2Fb%252F"},
		"backslashes":           {"/v1/a%5Cb", "/v1/a%5cb", "/v1/a%2Fb%5C..", "/v1/%5c"},
		"ends of the path":      {"/v1/a%3Fb", "/v1/a%23b", "/model/x%3Fy/converse"},
		"controls":              {"/v1/a%00b", "/v1/a%0ab", "/v1/a%7Fb", "/v1/a%C2%80b", "/v1/a%C2%85", "/v1/a%C2%9Fb", "/v1/a%E2%80%A8b"},
		"without a width":       {"/v1/.%E2%80%8B./x", "/v1/..%EF%BB%BF/x", "/v1/a%C2%ADb", "/v1/a%E2%80%AEb"},
		"not UTF-8":             {"/v1/%c0%ae%c0%ae/x", "/v1/%c0%af", "/v1/%ff", "/v1/%e0%80%ae/x", "/v1/%ed%a0%80", "/v1/%c3"},
		"folded to a dot":       {"/v1/%ef%bc%8e%ef%bc%8e/x", "/v1/%e2%80%a5/x", "/v1/%e2%80%a4%e2%80%a4/x", "/v1/%ef%b9%92/x"},
		"folded to a slash":     {"/v1/a%ef%bc%8fb", "/v1/a%e2%88%95b", "/v1/a%e2%81%84b", "/v1/a%e2%84%85b"},
		"folded to a backslash": {"/v1/a%ef%bc%bcb", "/v1/a%c2%a5b", "/v1/a%e2%82%a9b", "/v1/a%e2%88%96b"},
		"folded to another":     {"/v1/a%ef%bc%85b", "/v1/a%ef%bc%9fb", "/v1/a%ef%bc%83b", "/v1/..%ef%bc%9bx"},
	} {
		t.Run(kind, func(t *testing.T) {
			for _, target := range targets {
				u, err := url.ParseRequestURI(target)
				if err != nil {
					t.Fatalf("%q: %v", target, err)
				}
				if got, err := PolicyPath(u); err == nil {
					t.Errorf("PolicyPath(%q) = %q", target, got)
				}
			}
		})
	}

	for _, u := range []*url.URL{{}, {Path: "v1"}, {Opaque: "v1/x"}, {Path: "*"}, {Path: "/v1", RawPath: "%2Fv1"}} {
		if got, err := PolicyPath(u); err == nil {
			t.Errorf("PolicyPath(%#v) = %q", u, got)
		}
	}
}

// hostile are patterns of each kind, for the fuzzers.
var hostile = []string{
	"POST /v1/chat", "POST /model/*/converse", "POST /m/*:generate", "POST /t/{voice}", "POST /t/{voice}/stream",
	"POST /t/{+id}/stream", "POST /a*b*", "POST /below/*", "POST /x/*/below/*",
}

// FuzzPolicyPath holds what is matched against what a provider could make of it:
// one that decodes once more, cuts parameters off and resolves dots still sees
// the same beginning and ending around each star, and never another route.
func FuzzPolicyPath(f *testing.F) {
	for _, target := range []string{
		"/v1/chat", "/model/a%2Fb/converse", "/model/a%2F..%2Fb/converse", "/m/..%2f:generate", "/t/x%2Fstream",
		"/below/..%252f", "/x/%2e%2e/below/y", "/m/a%3F:generate", "/model/%c0%ae%c0%ae/converse", "/t/..;/stream", "/abc%20",
	} {
		f.Add(target)
	}
	f.Fuzz(func(t *testing.T, target string) {
		u, err := url.ParseRequestURI(target)
		if err != nil {
			return
		}
		policy, err := PolicyPath(u)
		if err != nil {
			return
		}
		seen, err := url.PathUnescape(u.Path)
		if err != nil || seen != u.Path {
			t.Fatalf("%q decodes to another path when decoded twice: %q, %v", target, seen, err)
		}
		if cleaned := path.Clean(seen); cleaned != strings.TrimSuffix(seen, "/") && seen != "/" {
			t.Fatalf("%q becomes %q when its dots are resolved", target, cleaned)
		}
		for _, pattern := range hostile {
			r, err := ParseRoutes(pattern)
			if err != nil {
				t.Fatal(err)
			}
			if r.Match("POST", policy, false) && !loosely(pattern).MatchString(seen) {
				t.Errorf("%q matches %q, but a provider may see %q", pattern, target, seen)
			}
		}
	})
}

// loosely is a pattern whose stars also stand for slashes, between the same
// beginning and ending.
func loosely(pattern string) *regexp.Regexp {
	_, p, _ := strings.Cut(pattern, " ")
	expr := strings.NewReplacer(`\*`, `.+`, `\{voice\}`, `[^/]+`, `\{\+id\}`, `.+`).Replace(regexp.QuoteMeta(p))
	if base, open := strings.CutSuffix(expr, ".+"); open {
		expr = base + "[^/]*" // of one segment
		if strings.HasSuffix(base, "/") {
			expr = base + ".*"
		}
	}
	return regexp.MustCompile("^(?s:" + expr + ")$")
}

// The linear match agrees with the definition of a match.
func FuzzMatchSegment(f *testing.F) {
	f.Add("a*b*c", "a1b2c")
	f.Fuzz(func(t *testing.T, pattern, s string) {
		if strings.Contains(pattern, "**") || strings.Count(pattern, "*") > 4 || len(s) > 40 {
			return
		}
		if got, want := matchStars(pattern, s), backtrack(pattern, s); got != want {
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
