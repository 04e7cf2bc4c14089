package redact

import (
	"net/http"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// Bearer returns the secret in `Authorization: Bearer`, or "" unless there is exactly
// one.
func Bearer(r *http.Request) string {
	values := r.Header["Authorization"]
	if len(values) != 1 {
		return ""
	}
	scheme, secret, _ := strings.Cut(values[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(secret)
}

// HoldsSecret reports whether a text holds a piece of a secret, escaped or not.
func HoldsSecret(text, secret string) bool {
	var secrets Pieces
	secrets.Of([]string{secret})
	return secrets.In(Unescape(text))
}

// ShowsSecret reports whether Caddy's access log would show a token or a piece of a
// secret. By default, it leaves out the values of Authorization.
func ShowsSecret(r *http.Request, secret string) bool {
	shows := func(text string) bool { return HoldsSecret(text, secret) }
	if Shows(r) || shows(r.RequestURI) || shows(r.Host) {
		return true
	}
	for name, values := range r.Header {
		if name != "Authorization" && (shows(name) || slices.ContainsFunc(values, shows)) {
			return true
		}
	}
	return false
}

// LogShows reports whether the access log of the server that received a request would show
// a secret. Caddy leaves out Authorization by default.
func LogShows(r *http.Request, secret string) bool {
	server, _ := r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	return server != nil && server.Logs != nil && server.Logs.ShouldLogCredentials || ShowsSecret(r, secret)
}
