package headers

import (
	"mime"
	"net/http"
	"slices"
	"strings"

	"github.com/relayapi/caddy-relayapi/internal/realkey"
)

// withheld has the fields of an answer that stop at the relay, and why: they would
// speak for the relay's own site, or tell of its account. A name that ends in a
// hyphen is a prefix.
var withheld = map[string]string{
	"Access-Control-":                     "CORS is between the page and the relay (Fetch standard)",
	"Timing-Allow-Origin":                 "as CORS (Resource Timing)",
	"Set-Cookie":                          "sets state of the relay's site (RFC 6265)",
	"Clear-Site-Data":                     "clears state of the relay's site (W3C Clear Site Data)",
	"Secure-Session-":                     "sets state of the relay's site (Device Bound Session Credentials)",
	"Set-Login":                           "sets state of the relay's site (FedCM)",
	"Activate-Storage-Access":             "opens state of the relay's site (Storage Access Headers)",
	"Alt-Svc":                             "sends clients past the relay (RFC 7838)",
	"Strict-Transport-Security":           "a policy of the relay's host (RFC 6797)",
	"Public-Key-Pins":                     "a policy of the relay's host (RFC 7469)",
	"Public-Key-Pins-Report-Only":         "a policy of the relay's host (RFC 7469)",
	"Expect-Ct":                           "a policy of the relay's host (RFC 9163)",
	"Nel":                                 "reports on the relay's host (W3C Network Error Logging)",
	"Report-To":                           "reports on the relay's site (W3C Reporting)",
	"Reporting-Endpoints":                 "reports on the relay's site (W3C Reporting)",
	"Content-Security-Policy":             "a policy of the relay's pages (W3C CSP)",
	"Content-Security-Policy-Report-Only": "a policy of the relay's pages (W3C CSP)",
	"Permissions-Policy":                  "a policy of the relay's pages (W3C Permissions Policy)",
	"Permissions-Policy-Report-Only":      "a policy of the relay's pages (W3C Permissions Policy)",
	"Feature-Policy":                      "a policy of the relay's pages, formerly",
	"Document-Policy":                     "a policy of the relay's pages (WICG Document Policy)",
	"Document-Policy-Report-Only":         "a policy of the relay's pages (WICG Document Policy)",
	"Require-Document-Policy":             "a policy of the relay's pages (WICG Document Policy)",
	"Integrity-Policy":                    "a policy of the relay's pages (W3C SRI)",
	"Integrity-Policy-Report-Only":        "a policy of the relay's pages (W3C SRI)",
	"Cross-Origin-":                       "a policy of the relay's pages, which pages elsewhere depend on (HTML and Fetch standards)",
	"Origin-Agent-Cluster":                "a policy of the relay's origin (HTML standard)",
	"Referrer-Policy":                     "a policy of the relay's pages (W3C Referrer Policy)",
	"X-Frame-Options":                     "a policy of the relay's pages (HTML standard)",
	"X-Permitted-Cross-Domain-Policies":   "a policy of the relay's site",
	"Service-Worker-Allowed":              "scripts of the relay's origin (W3C Service Workers)",
	"Refresh":                             "sends a page elsewhere (HTML standard)",
	"Speculation-Rules":                   "makes a page load others (HTML standard)",
	"Supports-Loading-Mode":               "lets pages be loaded ahead (HTML standard)",
	"No-Vary-Search":                      "a rule of the relay's cache (WICG No-Vary-Search)",
	"X-Dns-Prefetch-Control":              "makes a page look names up",
	"Sourcemap":                           "makes tools load another address (ECMA-426)",
	"X-Sourcemap":                         "makes tools load another address (ECMA-426)",
	"Accept-Ch":                           "asks clients for more about themselves (RFC 8942)",
	"Critical-Ch":                         "asks clients for more about themselves (Client Hint Reliability)",
	"Accept-Ch-Lifetime":                  "asks clients for more about themselves, formerly",
	"Observe-Browsing-Topics":             "tells of the relay's visitors (Topics API)",
	"Attribution-Reporting-":              "reports on the relay's visitors (Attribution Reporting)",
	"Proxy-":                              "is between the relay and the provider (RFC 9110)",
	"Openai-Organization":                 "tells of the relay's account",
	"Openai-Project":                      "tells of the relay's account",
	"Anthropic-Organization-Id":           "tells of the relay's account",
	"X-Goog-User-Project":                 "tells of the relay's account",
}

// Withheld reports whether a field of an answer stops at the relay, by its
// canonical name.
func Withheld(name string) bool {
	if _, ok := withheld[name]; ok {
		return true
	}
	for at := strings.IndexByte(name, '-'); at >= 0; {
		if _, ok := withheld[name[:at+1]]; ok {
			return true
		}
		next := strings.IndexByte(name[at+1:], '-')
		if next < 0 {
			break
		}
		at += next + 1
	}
	return false
}

// Clean removes from an answer's header or trailer what must not be passed on,
// including fields that hold a piece of the key. It returns the name of a field
// that holds the whole key, or "".
func Clean(header http.Header, key *realkey.Key) (whole string) {
	for name, values := range header {
		switch {
		case Withheld(name), key.PieceIn(name):
			delete(header, name)
		case slices.ContainsFunc(values, key.In):
			whole = name
		case slices.ContainsFunc(values, key.PieceIn):
			delete(header, name)
		case name == "Link":
			keepLinks(header, values)
		}
	}
	return whole
}

// loading has the relations of links that make a browser load something for a page
// (https://html.spec.whatwg.org/#linkTypes). Others, such as next, pass.
var loading = []string{"preload", "modulepreload", "prefetch", "preconnect", "dns-prefetch", "prerender", "stylesheet",
	"icon", "manifest", "compression-dictionary", "expect", "serviceworker"}

// keepLinks removes the values of Link (RFC 8288) that make a browser load
// something.
func keepLinks(header http.Header, values []string) {
	kept := slices.DeleteFunc(slices.Clone(values), func(value string) bool {
		lower := strings.ToLower(value)
		return slices.ContainsFunc(loading, func(rel string) bool { return strings.Contains(lower, rel) })
	})
	if header["Link"] = kept; len(kept) == 0 {
		delete(header, "Link")
	}
}

// textTypes has the types of bodies that are text, besides text/*.
var textTypes = []string{"application/x-www-form-urlencoded", "application/javascript", "application/x-ndjson",
	"application/xml", "application/problem", "application/graphql", "application/yaml", "application/x-yaml", "application/toml"}

// IsText reports whether a body of a type is text. A body without a type may be.
func IsText(contentType string) bool {
	kind, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		return true
	}
	return strings.HasPrefix(kind, "text/") || strings.Contains(kind, "json") || strings.HasSuffix(kind, "+xml") ||
		slices.Contains(textTypes, kind)
}
