package headers

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// Below returns the URL of a path and a query below a base URL. It is made anew, because
// the grant was asked about nothing else that u may have.
func Below(base, u *url.URL) *url.URL {
	below := &url.URL{Scheme: base.Scheme, Host: base.Host, Path: u.Path, RawPath: u.RawPath, RawQuery: u.RawQuery}
	if base.Path != "" {
		below.Path = base.Path + u.Path
		below.RawPath = base.EscapedPath() + u.EscapedPath()
	}
	return below
}

// addresses are the fields of an answer in which a client is told where to go on.
var addresses = []string{"Location", "Content-Location", "X-Goog-Upload-Url", "X-Goog-Upload-Control-Url",
	"Operation-Location", "Azure-Asyncoperation"}

// HasAddress reports whether the header of an answer has an address to rewrite.
func HasAddress(header http.Header) bool {
	return slices.ContainsFunc(addresses, func(name string) bool { return len(header[name]) == 1 })
}

// Addresses rewrites addresses at a provider to addresses at the relay.
type Addresses struct {
	Base    *url.URL                    // of the provider
	Sent    *url.URL                    // where the request went
	Relay   string                      // scheme and host of the relay
	Prefix  string                      // of the provider's paths at the relay; may be empty
	Selects func(parameter string) bool // reports whether a parameter selects a credential
}

// Rewrite rewrites the addresses in the header of an answer.
func (a *Addresses) Rewrite(header http.Header) {
	for _, name := range addresses {
		if values := header[name]; len(values) == 1 {
			header[name] = []string{a.rewrite(values[0])}
		}
	}
}

func (a *Addresses) rewrite(address string) string {
	to, err := a.Sent.Parse(address)
	if err != nil || to.Host != a.Base.Host || to.Scheme != a.Base.Scheme || to.User != nil {
		return address
	}
	path, below := strings.CutPrefix(to.EscapedPath(), a.Base.EscapedPath())
	if !below || path != "" && path[0] != '/' {
		return address
	}
	relative := !strings.Contains(address, "//")
	if relative && (a.Prefix == "" && a.Base.Path == "" || !strings.HasPrefix(address, "/")) {
		return address // it is the same at the relay
	}

	rewritten := a.Prefix + path
	if query := a.withoutCredential(to.RawQuery); query != "" {
		rewritten += "?" + query
	}
	if to.Fragment != "" {
		rewritten += "#" + to.EscapedFragment()
	}
	if relative {
		return rewritten
	}
	return a.Relay + rewritten
}

// withoutCredential cuts out of a query what selects a credential.
func (a *Addresses) withoutCredential(query string) string {
	var kept []string
	for pair := range strings.SplitSeq(query, "&") {
		name, _, _ := strings.Cut(pair, "=")
		if plain, err := url.QueryUnescape(name); err != nil || !a.Selects(plain) {
			kept = append(kept, pair)
		}
	}
	return strings.Join(kept, "&")
}
