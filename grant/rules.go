package grant

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

// rule is one compiled list of [Allow].
type rule struct {
	reason Reason

	// denies returns what the list does not allow of a request, or "". The text
	// completes «does not allow …».
	denies func(Request) string
}

// rules are the lists of [Allow]. All but models apply before the body of a
// request is read.
var rules = []struct {
	claim   string
	of      func(*Allow) []string
	reason  Reason
	compile func(values []string) (denies func(Request) string, err error)
}{
	{"methods", func(a *Allow) []string { return a.Methods }, NoMethod, compileMethods},
	{"paths", func(a *Allow) []string { return a.Paths }, NoPath, compilePaths},
	{"ips", func(a *Allow) []string { return a.IPs }, NoIP, compileIPs},
	{"origins", func(a *Allow) []string { return a.Origins }, NoOrigin, compileOrigins},
	{"models", func(a *Allow) []string { return a.Models }, NoModel, func(values []string) (func(Request) string, error) {
		_, err := compileModels(values)
		return nil, err
	}},
}

var errEmpty = errors.New("is empty")

// Validate checks the values. The error starts with the name of the claim.
func (a *Allow) Validate() error {
	_, err := a.compile()
	return err
}

// Or returns a's lists, and in place of those that it lacks the other's.
func (a Allow) Or(other Allow) Allow {
	for _, list := range []struct{ to, from *[]string }{
		{&a.Models, &other.Models}, {&a.Paths, &other.Paths}, {&a.Methods, &other.Methods}, {&a.IPs, &other.IPs}, {&a.Origins, &other.Origins},
	} {
		if len(*list.to) == 0 {
			*list.to = *list.from
		}
	}
	return a
}

// compile compiles the lists that are present.
func (a *Allow) compile() (compiled []rule, err error) {
	if a == nil {
		return nil, nil
	}
	for _, r := range rules {
		values := r.of(a)
		if values == nil {
			continue
		}
		if len(values) == 0 {
			return nil, fmt.Errorf("%s %w", r.claim, errEmpty)
		}

		denies, err := r.compile(values)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", r.claim, err)
		}
		if denies != nil {
			compiled = append(compiled, rule{r.reason, denies})
		}
	}
	return slices.Clone(compiled), nil // without spare capacity: every token in use has its own
}

func compilePaths(values []string) (func(Request) string, error) {
	routes, err := ParseRoutes(values...)
	if err != nil {
		return nil, err
	}
	routes.narrows = true
	return func(r Request) string {
		if routes.permits(r) {
			return ""
		}
		return r.target()
	}, nil
}

var methodName = regexp.MustCompile(`^[A-Z]{1,20}$`)

func compileMethods(values []string) (func(Request) string, error) {
	for _, v := range values {
		if !methodName.MatchString(v) {
			return nil, fmt.Errorf("%q is not a method in capitals", printable(v))
		}
	}
	return func(r Request) string {
		permits := func(m string) bool { return matchMethod(m, r.Method, r.WebSocket) }
		switch {
		case slices.ContainsFunc(values, permits):
			return ""
		case r.WebSocket:
			return "the method " + r.Method + " as a WebSocket"
		}
		return "the method " + r.Method
	}, nil
}

func compileIPs(values []string) (func(Request) string, error) {
	var prefixes []netip.Prefix
	for _, v := range values {
		p, err := parsePrefix(v)
		if err != nil {
			return nil, fmt.Errorf("%q is neither an address nor a prefix such as 203.0.113.0/24 or 2001:db8::/32", v)
		}
		prefixes = append(prefixes, p)
	}
	return func(r Request) string {
		ip := r.ClientIP.Unmap().WithZone("")
		for _, p := range prefixes {
			if p.Contains(ip) {
				return ""
			}
		}
		return "the address " + ip.String()
	}, nil
}

// parsePrefix parses an address or a prefix. It refuses host bits that are not 0,
// which are likely a mistake.
func parsePrefix(s string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(s); err == nil && addr.Zone() == "" && !addr.Is4In6() {
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err == nil && (p != p.Masked() || p.Addr().Is4In6()) {
		err = errors.New("has host bits")
	}
	return p, err
}

// origin is a scheme, a host and an optional port, as browsers serialize them
// (https://html.spec.whatwg.org/#ascii-serialisation-of-an-origin). Desktop and
// mobile shells use schemes such as app:// and capacitor://.
var origin = regexp.MustCompile(`^[a-z][a-z0-9+.-]*://[a-z0-9.:\[\]_-]+$`)

func compileOrigins(values []string) (func(Request) string, error) {
	for _, v := range values {
		if !origin.MatchString(v) || strings.HasPrefix(v, "https://") && strings.HasSuffix(v, ":443") ||
			strings.HasPrefix(v, "http://") && strings.HasSuffix(v, ":80") {
			return nil, fmt.Errorf("%.200q is not an origin as browsers send it: https://app.example.com, in small letters, without path and usual port", v)
		}
	}
	return func(r Request) string {
		switch {
		case slices.Contains(values, r.Origin):
			return ""
		case r.Origin == "":
			return "a request without Origin"
		}
		return "the origin " + fmt.Sprintf("%.200q", r.Origin)
	}, nil
}

// models is a compiled list of models.
type models struct{ exact, prefixes []string }

func validModel(s string) bool {
	return s != "" && len(s) <= 256 && ValidSubject(s) && !strings.Contains(s, "*")
}

func compileModels(values []string) (*models, error) {
	m := new(models)
	for _, v := range values {
		prefix, isPrefix := strings.CutSuffix(v, "*")
		switch {
		case prefix != "" && !validModel(prefix) || v == "":
			return nil, fmt.Errorf("%.200q is neither the name of a model nor the beginning of one with a * after it", v)
		case isPrefix:
			m.prefixes = append(m.prefixes, prefix)
		default:
			m.exact = append(m.exact, v)
		}
	}
	return m, nil
}

func (m *models) match(name string) bool {
	return slices.Contains(m.exact, name) || slices.ContainsFunc(m.prefixes, func(p string) bool { return strings.HasPrefix(name, p) })
}
