package headers

import (
	"net/http"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// Method returns the method that the provider will see. Over HTTP/2 and HTTP/3 a
// WebSocket comes as an extended CONNECT (RFC 8441, RFC 9220). reverse_proxy turns that
// into a GET.
func Method(r *http.Request) string {
	if r.Method == http.MethodConnect && (r.Header.Get(":protocol") == "websocket" || r.Proto == "websocket") {
		return http.MethodGet
	}
	return r.Method
}

// AsksForWebSocket reports whether a request asks for a WebSocket, over any version of
// HTTP.
func AsksForWebSocket(r *http.Request) bool {
	return Method(r) == http.MethodGet && (r.Method == http.MethodConnect ||
		strings.EqualFold(r.Header.Get("Upgrade"), "websocket") && r.Header.Get("Sec-Websocket-Key") != "" &&
			httpguts.HeaderValuesContainsToken(r.Header["Connection"], "upgrade"))
}
