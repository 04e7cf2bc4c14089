package grant

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// Routes is a set of path patterns, each with or without a method.
type Routes struct {
	exact    map[string][]string // path → methods; "" is any method
	patterns []pattern
}

type pattern struct {
	method   string   // "" is any
	segments []string // each may hold '*'
	below    bool     // ended in "/**": everything below matches too
}

// ParseRoutes compiles patterns of the form "[METHOD ]/path". In a path, '*'
// stands for one or more characters of one segment, and a last segment "**" for
// everything below.
func ParseRoutes(patterns ...string) (*Routes, error) {
	r := new(Routes)
	for _, s := range patterns {
		method, path, ok := strings.Cut(s, " ")
		if !ok {
			method, path = "", s
		}
		switch {
		case !strings.HasPrefix(path, "/"):
			return nil, fmt.Errorf("pattern %q does not start with a slash", s)
		case method != strings.ToUpper(method) || strings.ContainsAny(path, " ?#%\\"):
			return nil, fmt.Errorf("pattern %q is not of the form [METHOD ]/path", s)
		case CheckPath(strings.ReplaceAll(path, "*", "x"), "") != nil:
			return nil, fmt.Errorf("pattern %q has an empty or dot segment", s)
		}
		if !strings.Contains(path, "*") {
			if r.exact == nil {
				r.exact = make(map[string][]string)
			}
			r.exact[path] = append(r.exact[path], method)
			continue
		}
		base, below := strings.CutSuffix(path, "/**")
		if strings.Contains(base, "**") {
			return nil, fmt.Errorf("pattern %q has ** elsewhere than as its last segment", s)
		}
		p := pattern{method: method, below: below}
		if base != "" {
			p.segments = strings.Split(base[1:], "/")
		}
		r.patterns = append(r.patterns, p)
	}
	return r, nil
}

// Match reports whether a method and a path, decoded once and checked by
// [CheckPath], match one of the routes.
func (r *Routes) Match(method, path string) bool {
	for _, m := range r.exact[path] {
		if m == "" || m == method {
			return true
		}
	}
	for i := range r.patterns {
		if p := &r.patterns[i]; (p.method == "" || p.method == method) && p.match(path) {
			return true
		}
	}
	return false
}

func (p *pattern) match(path string) bool {
	rest := path
	for _, want := range p.segments {
		if rest == "" {
			return false
		}
		segment, tail := rest[1:], ""
		if i := strings.IndexByte(segment, '/'); i >= 0 {
			segment, tail = segment[:i], segment[i:]
		}
		if !matchSegment(want, segment) {
			return false
		}
		rest = tail
	}
	if p.below {
		return rest != ""
	}
	return rest == ""
}

// matchSegment matches a segment against literals with stars between them, each
// star for one or more characters. Taking every literal as far left as it goes
// is enough, so the time is linear whatever issuer and client come up with.
func matchSegment(want, s string) bool {
	literal, want, starred := strings.Cut(want, "*")
	if !starred {
		return s == literal
	}
	if !strings.HasPrefix(s, literal) {
		return false
	}
	s = s[len(literal):]
	for {
		literal, want, starred = strings.Cut(want, "*")
		if !starred {
			return len(s) > len(literal) && strings.HasSuffix(s, literal)
		}
		if s == "" {
			return false
		}
		i := strings.Index(s[1:], literal)
		if i < 0 {
			return false
		}
		s = s[1+i+len(literal):]
	}
}

// CheckPath refuses a path that a provider could read as another one than the
// policy did: dot and empty segments, a backslash, control characters, an
// encoded slash or backslash, and a percent sign that is left after decoding
// once. escaped is the path as it came on the wire, or empty.
func CheckPath(path, escaped string) error {
	if !strings.HasPrefix(path, "/") {
		return errors.New("the path does not start with a slash")
	}
	if strings.Contains(path, "//") {
		return errors.New("the path has an empty segment")
	}
	for segment := range strings.SplitSeq(path, "/") {
		// Some servers cut parameters off before they resolve dots.
		segment, _, _ = strings.Cut(segment, ";")
		if segment == "." || segment == ".." {
			return errors.New("the path has a dot segment")
		}
	}
	for i := range len(path) {
		if c := path[i]; c < ' ' || c == 0x7f || c == '\\' || c == '%' {
			return errors.New("the path has an encoded or control character")
		}
	}
	if lower := strings.ToLower(escaped); strings.Contains(lower, "%2f") || strings.Contains(lower, "%5c") {
		return errors.New("the path has an encoded slash")
	}
	return nil
}

// CheckURLPath is [CheckPath] for a request's URL.
func CheckURLPath(u *url.URL) error {
	if u.Opaque != "" { // the target was "http:v1/x", which is sent instead of the path
		return errors.New("the request target has no path")
	}
	return CheckPath(u.Path, u.RawPath)
}
