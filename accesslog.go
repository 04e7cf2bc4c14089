package relayapi

import (
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
)

// fields identifies a request in the log: who, never with what.
func (h *Handler) fields(r *http.Request, rt *route) []zap.Field {
	clientIP, _ := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string)
	fields := []zap.Field{zap.String("method", redact(r.Method, rt.found.known...)), zap.String("client_ip", clientIP)}
	if g := rt.grant; g != nil {
		fields = append(fields, zap.String("issuer", g.Issuer), zap.String("token_id", g.ID),
			zap.String("subject", redact(g.Subject, rt.found.known...)), zap.String("provider", g.Provider))
	}
	return fields
}

// hideFromLog keeps the request out of the server's access log when that would
// show the token, and reports whether the relay owes the log a line instead.
// Caddy clones the request for its log before any handler runs, so there is
// nothing left to strip there.
func (h *Handler) hideFromLog(r *http.Request, bare bool) bool {
	if h.LogRequests {
		return false
	}
	server, _ := r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if server == nil || server.Logs == nil || !bare && !server.Logs.ShouldLogCredentials {
		return false
	}
	caddyhttp.SetVar(r.Context(), caddyhttp.LogSkipVar, true)
	return true
}

// logRequest writes the relay's own line for a request that Caddy's access log
// must not show.
func (h *Handler) logRequest(r *http.Request, rt *route) {
	if c := h.access.Check(zap.InfoLevel, "handled request"); c != nil {
		c.Write(append(h.fields(r, rt),
			zap.Int32("status", rt.status.Load()),
			zap.Int64("size", rt.bytesOut.Load()),
			zap.Duration("duration", time.Since(rt.start)))...)
	}
}
