package relayapi

import (
	"fmt"
	"net/http"
	"strconv"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/relayapi/caddy-relayapi/eccrypto"
)

func init() {
	caddy.RegisterModule(Endpoint{})
}

// Endpoint answers what a relay says of itself, without a token.
type Endpoint struct {
	// Which one: `health` says whether the relay admits calls, `jwks` serves the
	// public keys that tokens are encrypted to (RFC 7517, section 5).
	Name string `json:"endpoint"`

	app    *App
	answer func() (status int, contentType string, body []byte)
}

// CaddyModule returns the Caddy module information.
func (Endpoint) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.relayapi_endpoint",
		New: func() caddy.Module { return new(Endpoint) },
	}
}

// Provision finds the relay that the endpoint speaks for.
func (e *Endpoint) Provision(ctx caddy.Context) error {
	app, err := ctx.App("relayapi")
	if err != nil {
		return err
	}
	e.app = app.(*App)
	switch e.Name {
	case "health":
		e.answer = e.health
	case "jwks":
		e.answer = e.jwks
	default:
		return fmt.Errorf("endpoint %q is neither health nor jwks", e.Name)
	}
	return nil
}

// ServeHTTP answers GET and HEAD.
func (e *Endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	header := w.Header()
	allowAnyOrigin(header)
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		header.Set("Allow", "GET, HEAD")
		w.WriteHeader(http.StatusMethodNotAllowed)
		return nil
	}
	status, contentType, body := e.answer()
	header.Set("Content-Type", contentType)
	header.Set("Content-Length", strconv.Itoa(len(body)))
	if e.Name == "jwks" && status == http.StatusOK {
		header.Set("Cache-Control", "public, max-age=300") // a new key is in use after that
	} else {
		header.Set("Cache-Control", "no-store")
	}
	w.WriteHeader(status)
	if r.Method == http.MethodHead {
		return nil
	}
	_, err := w.Write(body)
	return err
}

func (e *Endpoint) health() (int, string, []byte) {
	relay := e.app.relay.Load()
	switch {
	case relay == nil:
		return http.StatusServiceUnavailable, "application/json", []byte(`{"status":"starting"}` + "\n")
	case relay.ledger.Err() != nil:
		return http.StatusServiceUnavailable, "application/json", []byte(`{"status":"store unavailable"}` + "\n")
	}
	return http.StatusOK, "application/json", []byte(`{"status":"ok"}` + "\n")
}

func (e *Endpoint) jwks() (int, string, []byte) {
	relay := e.app.relay.Load()
	if relay == nil {
		return e.health()
	}
	keys, err := eccrypto.MarshalJWKS(relay.tokens.opener.Keys()...)
	if err != nil {
		return http.StatusInternalServerError, "application/json", []byte(`{"status":"error"}` + "\n")
	}
	return http.StatusOK, "application/jwk-set+json", keys
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Endpoint)(nil)
	_ caddyhttp.MiddlewareHandler = (*Endpoint)(nil)
)
