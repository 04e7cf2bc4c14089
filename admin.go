package relayapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/relayapi/caddy-relayapi/grant"
)

func init() {
	caddy.RegisterModule(adminAPI{})
}

// adminAPI adds the relay's endpoints to Caddy's admin API:
//
//	POST /relayapi/tokens   mints a token; the body has its claims
//	POST /relayapi/inspect  tells what a token says and whether it is accepted; the body is the token
//
// Whoever reaches the admin endpoint can mint.
type adminAPI struct{}

// CaddyModule returns the Caddy module information.
func (adminAPI) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "admin.api.relayapi",
		New: func() caddy.Module { return new(adminAPI) },
	}
}

// Routes returns the relay's admin routes.
func (adminAPI) Routes() []caddy.AdminRoute {
	return []caddy.AdminRoute{
		{Pattern: "/relayapi/tokens", Handler: caddy.AdminHandlerFunc(adminMint)},
		{Pattern: "/relayapi/inspect", Handler: caddy.AdminHandlerFunc(adminInspect)},
	}
}

// maxAdminBody bounds what the admin endpoints read: a token or its claims.
const maxAdminBody = 64 << 10

// adminRequest checks the method, reads the body and finds the running relay.
// That is done late: routers are provisioned before apps, and outlive them.
func adminRequest(r *http.Request, method string) (*App, *relay, []byte, error) {
	if r.Method != method {
		return nil, nil, nil, apiError(http.StatusMethodNotAllowed, fmt.Errorf("use %s", method))
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxAdminBody+1))
	switch {
	case err != nil:
		return nil, nil, nil, apiError(http.StatusBadRequest, errors.New("the request body broke off"))
	case len(body) > maxAdminBody:
		return nil, nil, nil, apiError(http.StatusRequestEntityTooLarge, fmt.Errorf("the request body is longer than %d bytes", maxAdminBody))
	}
	value, err := caddy.ActiveContext().AppIfConfigured("relayapi")
	if err != nil {
		return nil, nil, nil, apiError(http.StatusServiceUnavailable, errors.New("no relay is configured: the running config has no relayapi directive"))
	}
	app := value.(*App)
	relay := app.relay.Load()
	if relay == nil {
		return nil, nil, nil, apiError(http.StatusServiceUnavailable, errors.New("the relay has not started"))
	}
	return app, relay, body, nil
}

func adminMint(w http.ResponseWriter, r *http.Request) error {
	app, relay, body, err := adminRequest(r, http.MethodPost)
	if err != nil {
		return err
	}
	draft, err := grant.ParseDraft(body)
	if err != nil {
		return apiError(http.StatusBadRequest, err)
	}
	switch {
	case draft.Issuer != "" && draft.Issuer != relayIssuer:
		return apiError(http.StatusBadRequest, fmt.Errorf("iss: the admin endpoint mints as %q only", relayIssuer))
	case draft.Audience != "":
		return apiError(http.StatusBadRequest, errors.New("aud: leave it out, it is this relay"))
	case app.Providers[draft.Provider] == nil:
		return apiError(http.StatusBadRequest, fmt.Errorf("provider %q: the relay has %s",
			draft.Provider, strings.Join(slices.Sorted(maps.Keys(app.Providers)), ", ")))
	}
	m, err := relay.mint.mint(draft, time.Now())
	if err != nil {
		return apiError(http.StatusBadRequest, err)
	}
	// What the relay would refuse it does not hand out.
	if _, err := app.open(r, m.Token); err != nil {
		return apiError(http.StatusBadRequest, err)
	}
	return writeJSON(w, m)
}

func adminInspect(w http.ResponseWriter, r *http.Request) error {
	app, _, body, err := adminRequest(r, http.MethodPost)
	if err != nil {
		return err
	}
	return writeJSON(w, inspect(func(token string) (*grant.Claims, error) { return app.open(r, token) },
		strings.TrimSpace(string(body))))
}

// open opens a token as a request would, path aside. It returns the claims also
// of one that is refused, as far as they verified.
func (a *App) open(r *http.Request, token string) (*grant.Claims, error) {
	tokens := a.relay.Load().tokens
	permit, claims, err := tokens.compile(r.Context(), token)
	if err != nil {
		return claims, err
	}
	return claims, permit.ValidAt(time.Now())
}

// apiError makes an error of the admin API. For a denial only the rule is said.
func apiError(status int, err error) error {
	var d *grant.Denial
	if errors.As(err, &d) {
		err = errors.New(d.Rule)
	}
	return caddy.APIError{HTTPStatus: status, Err: err}
}

func writeJSON(w http.ResponseWriter, v any) error {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	return json.NewEncoder(w).Encode(v)
}

// Interface guards
var _ caddy.AdminRouter = (*adminAPI)(nil)
