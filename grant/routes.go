package grant

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
)

// MethodWS is a method in patterns. It means a WebSocket, and not a GET without
// an upgrade.
const MethodWS = "WS"

// Routes is a set of path patterns, each with or without a method.
type Routes struct {
	exact    map[string][]string // path → methods; "" means any
	patterns []pattern

	// narrows is whether these routes narrow others, which decide about encoded
	// slashes. If so, a last "/*" matches an encoded slash as well: a provider that
	// decodes it still sees a path below.
	narrows bool
}

type pattern struct {
	method   string   // "" means any
	segments []string // literals, with stars or without, and parameters
	below    bool     // whether the pattern ends in "/*" and so matches everything below
}

// Segments that stand for "{name}" and "{+name}" in a [pattern].
const (
	parameter  = "{}"
	slashedOne = "{+}" // also matches encoded slashes
)

// parameterForm is the form of a parameter. The plus is from URI templates (RFC
// 6570, section 3.2.3), where it permits slashes.
var parameterForm = regexp.MustCompile(`^\{(\+?)[a-z][a-z0-9_-]*\}$`)

// ParseRoutes compiles patterns of the form "[METHOD ]/path". Paths are read as
// Caddy's path matcher reads them
// (https://caddyserver.com/docs/caddyfile/matchers#path), or more narrowly:
//
//   - "/v1/*", a last "/*", is everything below: /v1/ and /v1/x/y, not /v1.
//   - "*" elsewhere stays within one segment. It stands for one or more
//     characters, or for none at the very end: "/v1/models*" is /v1/models and
//     /v1/models2. For Caddy it would be /v1/models/x too.
//   - "{name}" is one whole segment, "{+name}" one that may hold encoded slashes.
//   - All else is literal, and its case matters.
//
// A star that stands for one value, with more of the pattern after it, also
// matches an encoded slash: "/model/*/converse" is /model/a%2Fb/converse as well. A
// provider that decodes it sees more segments in the place of the star, with the
// same beginning and the same end. "{name}", a star that ends the pattern and a
// last "/*" do not match an encoded slash: the end of the path would be open.
//
// The method [MethodWS] permits WebSockets only. GET permits them as well.
func ParseRoutes(patterns ...string) (*Routes, error) {
	r := new(Routes)
	for _, s := range patterns {
		method, path, err := parsePattern(s)
		if err != nil {
			return nil, err
		}
		if !strings.ContainsAny(path, "*{") {
			if r.exact == nil {
				r.exact = make(map[string][]string)
			}
			r.exact[path] = append(r.exact[path], method)
			continue
		}
		r.patterns = append(r.patterns, compilePattern(method, path))
	}
	return r, nil
}

var patternMethod = regexp.MustCompile(`^[A-Z][A-Z-]{0,19}$`)

// parsePattern splits a pattern into its method and its path, and checks both.
func parsePattern(s string) (method, path string, err error) {
	method, path, ok := strings.Cut(s, " ")
	if !ok {
		method, path = "", s
	}

	switch {
	case path == "*":
		return "", "", fmt.Errorf("pattern %q does not start with a slash; write /* for all paths", s)
	case !strings.HasPrefix(path, "/"):
		return "", "", fmt.Errorf("pattern %q does not start with a slash; write [METHOD ]/path", s)
	case ok && !patternMethod.MatchString(method) || strings.ContainsAny(path, " ?#%\\"):
		return "", "", fmt.Errorf("pattern %q is not of the form [METHOD ]/path", s)
	case strings.HasSuffix(path, "/**"):
		return "", "", fmt.Errorf("pattern %q ends in /**; write %s instead of %s", s, path[:len(path)-1], path)
	case strings.Contains(path, "**"):
		return "", "", fmt.Errorf("pattern %q has two stars together; write one", s)
	}

	for segment := range strings.SplitSeq(path, "/") {
		if strings.ContainsAny(segment, "{}") && !parameterForm.MatchString(segment) {
			return "", "", fmt.Errorf("pattern %q has a brace within a segment; write {name} for one whole segment, or *", s)
		}
	}
	if err := CheckPath(strings.ReplaceAll(path, "*", "x")); err != nil {
		return "", "", fmt.Errorf("pattern %q: %w", s, err)
	}
	return method, path, nil
}

func compilePattern(method, path string) pattern {
	base, below := strings.CutSuffix(path, "/*")
	p := pattern{method: method, below: below}
	if base == "" {
		return p
	}

	p.segments = strings.Split(base[1:], "/")
	for i, segment := range p.segments {
		if m := parameterForm.FindStringSubmatch(segment); m != nil {
			p.segments[i] = "{" + m[1] + "}"
		}
	}
	return p
}

// slashByte replaces an encoded slash while a path is matched. No path contains
// it, because [CheckPath] refuses control characters.
const slashByte = "\x00"

// Match reports whether a method and a path match one of the routes. The path is
// as [PolicyPath] returns it. The method of a WebSocket is GET.
func (r *Routes) Match(method, path string, webSocket bool) bool {
	if strings.IndexByte(path, '%') >= 0 {
		path = strings.ReplaceAll(path, encodedSlash, slashByte)
	}

	matches := func(m string) bool { return matchMethod(m, method, webSocket) }
	if slices.ContainsFunc(r.exact[path], matches) {
		return true
	}

	for i := range r.patterns {
		if p := &r.patterns[i]; matches(p.method) && p.match(path, r.narrows) {
			return true
		}
	}
	return false
}

// permits reports whether a request matches one of the routes.
func (r *Routes) permits(q Request) bool { return r.Match(q.Method, q.Path, q.WebSocket) }

// matchMethod reports whether a pattern's method, "" for any, permits a request's.
func matchMethod(want, method string, webSocket bool) bool {
	switch want {
	case "":
		return true
	case MethodWS:
		return webSocket && method == http.MethodGet
	}
	return want == method
}

func (p *pattern) match(path string, narrows bool) bool {
	rest := path
	for i, want := range p.segments {
		if rest == "" {
			return false
		}
		segment, tail := rest[1:], ""
		if j := strings.IndexByte(segment, '/'); j >= 0 {
			segment, tail = segment[:j], segment[j:]
		}
		last := i == len(p.segments)-1 && !p.below
		if !matchSegment(want, segment, last) {
			return false
		}
		rest = tail
	}
	if p.below {
		return rest != "" && (narrows || !strings.Contains(rest, slashByte))
	}
	return rest == ""
}

// matchSegment reports whether a segment of a path matches a segment of a pattern.
// last is whether it is the pattern's last.
func matchSegment(want, s string, last bool) bool {
	switch want {
	case parameter:
		return s != "" && !strings.Contains(s, slashByte)
	case slashedOne:
		return s != ""
	}
	base, open := strings.CutSuffix(want, "*")
	if !last || !open {
		return matchStars(want, s)
	}
	if strings.Contains(s, slashByte) {
		return false
	}
	return matchStars(want, s) || matchStars(base, s)
}

// matchStars matches s against literals with stars between them. Each star stands
// for one or more characters. Matching every literal as far left as possible is
// enough, so the time is linear for every pattern and path.
func matchStars(want, s string) bool {
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
