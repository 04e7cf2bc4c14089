// Package headers says which header fields cross the relay, and cleans the others
// out.
package headers

import (
	"fmt"
	"net/http"
	"net/textproto"
	"slices"
	"strings"
)

// Foreign has the fields of a request that are stripped unread: other credentials,
// fields that select an account to charge, and those that turn one method or path
// into another.
var Foreign = []string{
	"Cookie", "Proxy-Authorization",
	"Openai-Organization", "Openai-Project", "X-Goog-User-Project",
	"X-Goog-Iam-Authorization-Token", "X-Goog-Iam-Authority-Selector",
	"X-Http-Method-Override", "X-Http-Method", "X-Method-Override",
	"X-Original-Url", "X-Rewrite-Url",
}

// Carriers has the fields in which clients put what they take for an API key. Only
// the first is kept out of Caddy's logs.
var Carriers = []string{"Authorization", "X-Api-Token", "X-Api-Key", "X-Goog-Api-Key", "Api-Key"}

// Private reports whether a field of a request never goes to a provider, by its
// canonical name.
func Private(name string) bool {
	hasPrefix := func(prefix string) bool { return strings.HasPrefix(name, prefix) }
	return private[name] || slices.ContainsFunc(privatePrefixes, hasPrefix) && !hasPrefix("Sec-Websocket-")
}

// private has carriers and foreign credentials, which the handler strips and a
// header_up may bring back; what reverse_proxy and others add about the client; and
// what a browser says about the page and itself.
//
// A page cannot set the latter. The browser addresses them to the server of the
// request, which is the relay
// (https://fetch.spec.whatwg.org/#forbidden-request-header). A provider would take
// the call for one to itself: Ollama and Anthropic refuse an unknown Origin. No
// preset's provider needs one.
var private = func() map[string]bool {
	m := map[string]bool{
		"Via": true, "Forwarded": true, "X-Real-Ip": true, "Early-Data": true,
		"Origin": true, "Referer": true, "Dnt": true, "Cookie2": true, "Upgrade-Insecure-Requests": true,
	}
	for _, name := range slices.Concat(Carriers, Foreign) {
		m[name] = true
	}
	return m
}()

// privatePrefixes has prefixes of private fields. Sec- is the browser's own
// (Sec-Fetch-*, Sec-CH-UA*, Sec-GPC, Sec-Purpose), except in a WebSocket's
// handshake.
var privatePrefixes = []string{"X-Forwarded-", "Access-Control-Request-", "Proxy-", "Sec-"}

// How much of a request is looked at. Real clients send far less. A request with more
// is refused before any of it is parsed.
const (
	MaxHead       = 32 << 10 // bytes of the target and the header, without cookies
	MaxFields     = 256      // values in the header
	MaxParameters = 256      // in the query
	MaxListed     = 64       // subprotocols; options of Connection
)

// Oversized returns what a request has too much of, or "". It only counts.
func Oversized(r *http.Request) string {
	size, fields := len(r.RequestURI)+len(r.URL.RawQuery), 0
	for name, values := range r.Header {
		for _, value := range values {
			if name != "Cookie" { // never looked into
				size += len(name) + len(value)
			}
		}
		if fields += len(values); size > MaxHead || fields > MaxFields {
			break
		}
	}
	switch {
	case size > MaxHead:
		return fmt.Sprintf("the target and the header are longer than %d bytes", MaxHead)
	case fields > MaxFields:
		return fmt.Sprintf("the header has more than %d fields", MaxFields)
	case strings.Count(r.URL.RawQuery, "&") >= MaxParameters:
		return fmt.Sprintf("the query has more than %d parameters", MaxParameters)
	case listed(r.Header["Sec-Websocket-Protocol"]) > MaxListed:
		return fmt.Sprintf("more than %d WebSocket subprotocols are offered", MaxListed)
	case listed(r.Header["Connection"]) > MaxListed:
		return fmt.Sprintf("Connection has more than %d options", MaxListed)
	}
	return ""
}

// listed counts the members of a list in a header.
func listed(values []string) int {
	n := len(values)
	for _, value := range values {
		n += strings.Count(value, ",")
	}
	return n
}

// StripConnection removes the headers that the client's Connection header
// names, which are not meant for the provider (RFC 9110, section 7.6.1).
func StripConnection(header http.Header) {
	for _, value := range header["Connection"] {
		for name := range strings.SplitSeq(value, ",") {
			name = textproto.CanonicalMIMEHeaderKey(strings.TrimSpace(name))
			if name != "Upgrade" && name != "Connection" && name != "Te" {
				delete(header, name)
			}
		}
	}
}

// StripUpgrade removes a request to switch protocols. After any upgrade but a
// WebSocket's, requests would follow that nobody has checked.
func StripUpgrade(header http.Header) {
	if header["Upgrade"] != nil {
		delete(header, "Upgrade")
		delete(header, "Connection")
	}
}
