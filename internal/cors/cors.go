// Package cors has what browsers ask of answers: whether a page may read them, and what
// they may do when they are shown as a page.
package cors

import "net/http"

// AllowAnyOrigin lets a page of any origin read a response. What a page may do is
// decided by its token.
func AllowAnyOrigin(header http.Header) {
	header.Set("Access-Control-Allow-Origin", "*")
	header.Set("Access-Control-Expose-Headers", "*")
}

// AllowOrigin lets only pages of one origin read a response. It follows [Preflight], if
// the response is the answer to one.
func AllowOrigin(header http.Header, origin string) {
	AllowAnyOrigin(header)
	header.Set("Access-Control-Allow-Origin", origin)
	header.Add("Vary", "Origin")
}

// echoes has headers of a preflight that are answered by another one if they are true.
// Both are of drafts (https://wicg.github.io/private-network-access/). Local Network
// Access, which follows them, asks the user instead and sends no header.
var echoes = []struct{ request, answer string }{
	{"Access-Control-Request-Private-Network", "Access-Control-Allow-Private-Network"},
	{"Access-Control-Request-Local-Network", "Access-Control-Allow-Local-Network"},
}

// maxAsked is the longest list of header names that the answer to a preflight
// repeats, in bytes.
const maxAsked = 8 << 10

// Preflight reports whether a browser asks whether a page may send a request
// (https://fetch.spec.whatwg.org/#cors-preflight-request). It then sets the header of the
// answer. A browser asks without the token.
func Preflight(header http.Header, r *http.Request) bool {
	if r.Method != http.MethodOptions || r.Header.Get("Origin") == "" || r.Header.Get("Access-Control-Request-Method") == "" {
		return false
	}
	AllowAnyOrigin(header)
	header.Set("Access-Control-Allow-Methods", "GET, HEAD, POST, PUT, PATCH, DELETE")
	vary := "Access-Control-Request-Headers"

	// A star would leave out Authorization.
	asked := r.Header.Get("Access-Control-Request-Headers")
	if asked != "" && len(asked) <= maxAsked {
		header.Set("Access-Control-Allow-Headers", asked)
	}
	for _, echo := range echoes {
		vary += ", " + echo.request
		if r.Header.Get(echo.request) == "true" {
			header.Set(echo.answer, "true")
		}
	}

	header.Set("Access-Control-Max-Age", "7200") // the longest that Chromium believes
	header.Set("Vary", vary)
	return true
}

// Sandbox keeps an answer from being a page of the relay's origin, which may also be an
// app's (https://www.w3.org/TR/CSP3/#directive-sandbox). Otherwise the holder of a token
// could lead others to a page of the provider's making, by a link with the token. The
// page does not tell others the link as its referrer, unless it says so itself.
func Sandbox(header http.Header) {
	header.Add("Content-Security-Policy", "sandbox")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Referrer-Policy", "no-referrer")
}
