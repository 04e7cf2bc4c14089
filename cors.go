package relayapi

import "net/http"

// ownHeaders is room for the values of the headers that the relay adds to an
// answer. Each answer has its own: whoever changes one changes no other. They
// stand in the answer before it is the provider's, of which the same are withheld.
type ownHeaders struct{ allow, expose, policy, limit [1]string }

// allowAnyOrigin lets a page of any origin read a response: what it may do is
// decided by its token, not by where it comes from.
func (o *ownHeaders) allowAnyOrigin(header http.Header) {
	o.allow[0], o.expose[0] = "*", "*"
	header["Access-Control-Allow-Origin"], header["Access-Control-Expose-Headers"] = o.allow[:], o.expose[:]
}

func allowAnyOrigin(header http.Header) { new(ownHeaders).allowAnyOrigin(header) }

// preflightEchoes are headers of a preflight that are answered with another one
// where they say true. The second name is that of a draft of the first
// (https://wicg.github.io/private-network-access/). Local Network Access, which
// follows it, asks the user instead and sends no header.
var preflightEchoes = []struct{ request, answer string }{
	{"Access-Control-Request-Private-Network", "Access-Control-Allow-Private-Network"},
	{"Access-Control-Request-Local-Network", "Access-Control-Allow-Local-Network"},
}

// maxAsked is the longest list of header names that a preflight is answered with.
const maxAsked = 8 << 10

// preflight answers a browser that asks whether a page may send a request
// (https://fetch.spec.whatwg.org/#cors-preflight-request). It asks without the
// token, and a request without one is refused anyway.
func preflight(w http.ResponseWriter, r *http.Request) bool {
	if r.Method != http.MethodOptions || r.Header.Get("Origin") == "" || r.Header.Get("Access-Control-Request-Method") == "" {
		return false
	}
	closeUnlessRead(w, r)
	header := w.Header()
	allowAnyOrigin(header)
	header.Set("Access-Control-Allow-Methods", "GET, HEAD, POST, PUT, PATCH, DELETE")
	vary := "Access-Control-Request-Headers"

	// A star would leave out Authorization.
	asked := r.Header.Get("Access-Control-Request-Headers")
	if asked != "" && len(asked) <= maxAsked {
		header.Set("Access-Control-Allow-Headers", asked)
	}
	for _, echo := range preflightEchoes {
		vary += ", " + echo.request
		if r.Header.Get(echo.request) == "true" {
			header.Set(echo.answer, "true")
		}
	}

	header.Set("Access-Control-Max-Age", "7200") // the longest that Chromium believes
	header.Set("Vary", vary)
	w.WriteHeader(http.StatusNoContent)
	return true
}

// sandbox keeps an answer from being a page of the relay's origin, which may be an
// app's too: whoever has a token and a provider that gives back what it was given
// could lead others to such a page, by a link with the token. Nothing else of what
// opens a page carries one (https://www.w3.org/TR/CSP3/#directive-sandbox). Nor does
// the page tell others the link as its referrer, unless it says itself that it does.
func sandbox(header http.Header) {
	header.Add("Content-Security-Policy", "sandbox")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Referrer-Policy", "no-referrer")
}
