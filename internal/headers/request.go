// Package headers says which header fields cross the relay, and cleans the others
// out.
package headers

import (
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
