package relayapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/relayapi/caddy-relayapi/eccrypto"
	"github.com/relayapi/caddy-relayapi/grant"
	"github.com/relayapi/caddy-relayapi/tokenstore"
)

func init() {
	caddy.RegisterModule(adminAPI{})
}

// adminAPI adds the relay's endpoints to Caddy's admin API:
//
//	POST   /relayapi/tokens                mints a token; the body has its claims
//	GET    /relayapi/tokens                lists the tokens that were used, by issuer, subject, provider, status
//	GET    /relayapi/tokens/{issuer}/{id}  tells about one
//	PATCH  /relayapi/tokens/{issuer}/{id}  changes its limit or its label, disables or enables it
//	DELETE /relayapi/tokens/{issuer}/{id}  revokes it, also before it is used
//	POST   /relayapi/revocations           revokes the tokens of a subject, of an issuer, or all
//	GET    /relayapi/limits                lists the operator's limits
//	PUT    /relayapi/limits                sets one, for all or for one
//	DELETE /relayapi/limits                removes one that was set
//	GET    /relayapi/usage                 tells what was used, by day, provider, issuer and subject
//	GET    /relayapi/keys                  tells the relay's public keys and the issuers' key ids
//	POST   /relayapi/inspect               tells what a token says and whether it is accepted; the body is the token
//
// A path without {issuer} means the relay's own issuer. Whoever reaches the
// admin endpoint can mint.
type adminAPI struct{}

// CaddyModule returns the Caddy module information.
func (adminAPI) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "admin.api.relayapi",
		New: func() caddy.Module { return new(adminAPI) },
	}
}

// Routes returns the relay's admin routes. Their patterns have no methods, so
// that a wrong one is refused in JSON, as all else.
func (adminAPI) Routes() []caddy.AdminRoute {
	token := adminMethods{
		http.MethodGet: adminShow, http.MethodPatch: adminUpdate, http.MethodDelete: adminRevoke,
	}
	return []caddy.AdminRoute{
		{Pattern: "/relayapi/tokens", Handler: adminMethods{http.MethodGet: adminList, http.MethodPost: adminMint}},
		{Pattern: "/relayapi/tokens/{id}", Handler: token},
		{Pattern: "/relayapi/tokens/{issuer}/{id}", Handler: token},
		{Pattern: "/relayapi/revocations", Handler: adminMethods{http.MethodPost: adminRevokeMany}},
		{Pattern: "/relayapi/limits", Handler: adminMethods{
			http.MethodGet: adminLimits, http.MethodPut: adminSetLimit, http.MethodDelete: adminRemoveLimit,
		}},
		{Pattern: "/relayapi/usage", Handler: adminMethods{http.MethodGet: adminUsage}},
		{Pattern: "/relayapi/keys", Handler: adminMethods{http.MethodGet: adminKeys}},
		{Pattern: "/relayapi/inspect", Handler: adminMethods{http.MethodPost: adminInspect}},
	}
}

// maxAdminBody bounds what the admin endpoints read: a token or its claims.
const maxAdminBody = 64 << 10

// adminRequest is a request to the admin endpoint, and the relay it is for.
type adminRequest struct {
	*http.Request
	app   *App
	relay *relay
	body  []byte
}

// adminMethods are what answers a path, by method. The answers become JSON.
type adminMethods map[string]func(*adminRequest) (answer any, err error)

// ServeHTTP implements [caddy.AdminHandler].
func (m adminMethods) ServeHTTP(w http.ResponseWriter, r *http.Request) error {
	handle := m[r.Method]
	if handle == nil {
		methods := strings.Join(slices.Sorted(maps.Keys(m)), ", ")
		w.Header().Set("Allow", methods)
		return apiError(http.StatusMethodNotAllowed, fmt.Errorf("use %s", methods))
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxAdminBody+1))
	switch {
	case err != nil:
		return apiError(http.StatusBadRequest, errors.New("the request body broke off"))
	case len(body) > maxAdminBody:
		return apiError(http.StatusRequestEntityTooLarge, fmt.Errorf("the request body is longer than %d bytes", maxAdminBody))
	}
	app, relay, err := runningRelay()
	if err != nil {
		return apiError(http.StatusServiceUnavailable, err)
	}
	defer relay.ledger.release()
	answer, err := handle(&adminRequest{r, app, relay, body})
	var refused caddy.APIError
	switch {
	case errors.As(err, &refused):
		return refused
	case errors.Is(err, tokenstore.ErrUnavailable):
		return apiError(http.StatusServiceUnavailable, err)
	case err != nil:
		return apiError(http.StatusInternalServerError, err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	return json.NewEncoder(w).Encode(answer)
}

// runningRelay finds the running relay, whose ledger is then to be released.
// That is done late: routers are provisioned before apps, and outlive them.
func runningRelay() (*App, *relay, error) {
	value, err := caddy.ActiveContext().AppIfConfigured("relayapi")
	if err != nil {
		return nil, nil, errors.New("no relay is configured: the running config has no relayapi directive")
	}
	app := value.(*App)
	relay := app.relay.Load()
	if relay == nil || !relay.ledger.hold() {
		return nil, nil, errors.New("the relay has not started or is shutting down")
	}
	return app, relay, nil
}

// parameters are the parameters of the query. One that is not known or is there
// twice is refused: a filter that is passed over would select too much.
func (r *adminRequest) parameters(known ...string) (url.Values, error) {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, apiError(http.StatusBadRequest, errors.New("the query does not parse"))
	}
	for name, all := range values {
		if !slices.Contains(known, name) {
			return nil, apiError(http.StatusBadRequest, fmt.Errorf("unknown query parameter: there are %s", strings.Join(known, ", ")))
		}
		if len(all) > 1 {
			return nil, apiError(http.StatusBadRequest, fmt.Errorf("%s is given twice", name))
		}
	}
	return values, nil
}

func adminMint(r *adminRequest) (any, error) {
	draft, err := grant.ParseDraft(r.body)
	if err != nil {
		return nil, apiError(http.StatusBadRequest, err)
	}
	switch {
	case draft.Issuer != "" && draft.Issuer != relayIssuer:
		return nil, apiError(http.StatusBadRequest, fmt.Errorf("iss: the admin endpoint mints as %q only", relayIssuer))
	case draft.Audience != "":
		return nil, apiError(http.StatusBadRequest, errors.New("aud: leave it out, it is this relay"))
	case r.app.Providers[draft.Provider] == nil:
		return nil, apiError(http.StatusBadRequest, fmt.Errorf("provider %q: the relay has %s",
			draft.Provider, strings.Join(slices.Sorted(maps.Keys(r.app.Providers)), ", ")))
	}
	m, err := r.relay.mint.mint(draft, time.Now())
	if err != nil {
		return nil, apiError(http.StatusBadRequest, err)
	}
	// What the config would refuse is not handed out.
	if _, err := r.open(m.Token); err != nil {
		return nil, apiError(http.StatusBadRequest, err)
	}
	return m, nil
}

func adminInspect(r *adminRequest) (any, error) {
	return inspect(r.open, strings.TrimSpace(string(r.body))), nil
}

// open opens a token as a request would, path aside. It returns the claims also
// of one that is refused, as far as they verified.
func (r *adminRequest) open(token string) (*grant.Claims, error) {
	permit, claims, err := r.relay.tokens.compile(r.Context(), token)
	if err != nil {
		return claims, err
	}
	return claims, permit.ValidAt(time.Now())
}

// relayKey is a key that tokens are encrypted to.
type relayKey struct {
	ID      string          `json:"id"`
	Current bool            `json:"current"` // the one to encrypt to
	JWK     json.RawMessage `json:"jwk"`
}

// issuerKeys are the keys that verify an issuer's tokens.
type issuerKeys struct {
	Issuer string   `json:"issuer"`
	KeyIDs []string `json:"key_ids"`
}

func adminKeys(r *adminRequest) (any, error) {
	if _, err := r.parameters(); err != nil {
		return nil, err
	}
	public := r.relay.tokens.opener.Keys()
	data, err := eccrypto.MarshalJWKS(public...)
	if err != nil {
		return nil, err
	}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(data, &set); err != nil {
		return nil, err
	}
	var answer struct {
		Keys    []relayKey   `json:"keys"`
		Issuers []issuerKeys `json:"issuers"`
	}
	for i, key := range public {
		answer.Keys = append(answer.Keys, relayKey{ID: key.ID(), Current: i == 0, JWK: set.Keys[i]})
	}
	for _, name := range slices.Sorted(maps.Keys(r.app.grants)) {
		key := r.app.signers[name]
		if key == nil { // the relay's own issuer, and those for whom it mints
			key = r.relay.mint.signer.Public()
		}
		answer.Issuers = append(answer.Issuers, issuerKeys{name, []string{key.ID()}})
	}
	return answer, nil
}

// apiError makes an error of the admin API. For a denial only the rule is said.
func apiError(status int, err error) error {
	var d *grant.Denial
	if errors.As(err, &d) {
		err = errors.New(d.Rule)
	}
	return caddy.APIError{HTTPStatus: status, Err: err}
}

// Interface guards
var (
	_ caddy.AdminRouter  = (*adminAPI)(nil)
	_ caddy.AdminHandler = adminMethods(nil)
)
