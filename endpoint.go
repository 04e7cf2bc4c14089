package relayapi

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/relayapi/caddy-relayapi/eccrypto"
	"go.uber.org/zap"
)

func init() {
	caddy.RegisterModule(Endpoint{})
}

// Endpoint answers what a relay says of itself and of its tokens, and mints.
type Endpoint struct {
	// Which one: `health` says whether the relay admits calls, `jwks` serves the
	// public keys that tokens are encrypted to (RFC 7517, section 5),
	// `token_status` tells what is left of the token in the request, and `mint`
	// mints for a back-end that shows its issuer's secret.
	Name string `json:"endpoint"`

	// Leave requests that carry a token outside `Authorization` in Caddy's access
	// log. See the handler `relayapi`.
	LogRequests bool `json:"log_requests,omitempty"`

	app   *App
	serve http.HandlerFunc
}

// endpointNames are the endpoints, in the order of their routes.
var endpointNames = []string{"health", "jwks", "token_status", "mint"}

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
		e.serve = newDoor(e.app, ctx.Logger(), e.LogRequests).public(e.health, "no-store")
	case "jwks":
		e.serve = newDoor(e.app, ctx.Logger(), e.LogRequests).public(e.jwks, "public, max-age=300") // a new key is in use after that
	case "token_status":
		e.serve = newStatusEndpoint(e.app, ctx.Logger(), e.LogRequests).ServeHTTP
	case "mint":
		mint, err := newMintEndpoint(e.app, ctx.Logger())
		if err != nil {
			return err
		}
		e.serve = mint.ServeHTTP
	default:
		return fmt.Errorf("endpoint %q is none of %q", e.Name, endpointNames)
	}
	return nil
}

// ServeHTTP answers the request, whatever comes. It returns no error to Caddy,
// which would log the request with it.
func (e *Endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	e.serve(w, r)
	return nil
}

// newDoor returns a handler that finds tokens, refuses and logs for an endpoint as
// for a call.
func newDoor(app *App, logger *zap.Logger, logRequests bool) *Handler {
	return &Handler{
		LogRequests: logRequests,
		endpoint:    true,
		app:         app, logger: logger, access: logger.Named("access"), carriers: newCarriers(app.Providers),
	}
}

// public answers GET and HEAD with what everybody may know. It needs no token, but
// keeps one that comes all the same out of the log.
func (h *Handler) public(answer func() (status int, contentType string, body []byte), cacheControl string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		closeUnlessRead(w, r)
		rt := &route{start: time.Now(), found: h.carriers.take(r)}
		if h.hideFromLog(r, rt.found.bare) {
			defer h.logRequest(r, rt)
		}

		header := w.Header()
		allowAnyOrigin(header)
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			rt.status.Store(http.StatusMethodNotAllowed)
			header.Set("Allow", "GET, HEAD")
			w.WriteHeader(http.StatusMethodNotAllowed)
			return
		}

		status, contentType, body := answer()
		rt.status.Store(int32(status))
		header.Set("Content-Type", contentType)
		header.Set("Content-Length", strconv.Itoa(len(body)))
		header.Set("Cache-Control", "no-store")
		if status == http.StatusOK {
			header.Set("Cache-Control", cacheControl)
		}
		w.WriteHeader(status)
		if r.Method != http.MethodHead {
			n, _ := w.Write(body) // a client that is gone needs no answer
			rt.bytesOut.Store(int64(n))
		}
	}
}

func (e *Endpoint) health() (int, string, []byte) {
	relay := e.app.relay.Load()
	switch {
	case relay == nil:
		return http.StatusServiceUnavailable, "application/json", []byte(`{"status":"starting"}` + "\n")
	case relay.ledger.Health() != nil:
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

// writeJSON answers what is for one client only, and returns how many bytes of
// it were sent.
func writeJSON(w http.ResponseWriter, v any) (sent int64) {
	body, err := json.Marshal(v)
	if err != nil {
		panic(err) // strings, numbers and times of this era marshal
	}
	header := w.Header()
	header.Set("Content-Type", "application/json")
	header.Set("Content-Length", strconv.Itoa(len(body)+1))
	header.Set("Cache-Control", "no-store")
	n, _ := w.Write(append(body, '\n')) // a client that is gone needs no answer
	return int64(n)
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Endpoint)(nil)
	_ caddyhttp.MiddlewareHandler = (*Endpoint)(nil)
)
