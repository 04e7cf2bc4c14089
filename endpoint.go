package relayapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/relayapi/caddy-relayapi/eccrypto"
	"github.com/relayapi/caddy-relayapi/grant"
	"github.com/relayapi/caddy-relayapi/internal/adminapi"
	"github.com/relayapi/caddy-relayapi/internal/clientaddr"
	"github.com/relayapi/caddy-relayapi/internal/cors"
	"github.com/relayapi/caddy-relayapi/internal/mint"
	"github.com/relayapi/caddy-relayapi/internal/redact"
	"go.uber.org/zap"
)

func init() {
	caddy.RegisterModule(Endpoint{})
}

// Endpoint tells about a relay and its tokens, and mints.
type Endpoint struct {
	// Which endpoint: `health` tells whether the relay admits calls. `jwks` serves
	// the public keys that tokens are encrypted to (RFC 7517, section 5).
	// `token_status` tells what is left of the token in the request. `mint` mints for
	// a back-end that sends its issuer's secret.
	Name string `json:"endpoint"`

	// Keep requests that carry a token outside `Authorization` in Caddy's access log.
	// See the handler `relayapi`. Default: false.
	LogRequests bool `json:"log_requests,omitempty"`

	app   *App
	serve http.HandlerFunc
}

// endpointNames has the endpoints, in the order of their routes.
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
		e.serve = (&statusEndpoint{newDoor(e.app, ctx.Logger(), e.LogRequests)}).ServeHTTP
	case "mint":
		endpoint, err := newMintEndpoint(e.app, ctx.Logger())
		if err != nil {
			return err
		}
		e.serve = endpoint.ServeHTTP
	default:
		return fmt.Errorf("endpoint %q: must be one of %s", e.Name, strings.Join(endpointNames, ", "))
	}
	return nil
}

// ServeHTTP answers the request. It returns no error to Caddy, which would log the
// request with it.
func (e *Endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	e.serve(w, r)
	return nil
}

// newDoor returns a handler that finds tokens, refuses and logs for an endpoint as for a
// call.
func newDoor(app *App, logger *zap.Logger, logRequests bool) *Handler {
	return &Handler{
		LogRequests: logRequests,
		endpoint:    true,
		app:         app, logger: logger, access: logger.Named("access"), carriers: app.carriers(),
	}
}

// public answers GET and HEAD with what everybody may know. It needs no token, but keeps
// one out of the log.
func (h *Handler) public(answer func() (status int, contentType string, body []byte), cacheControl string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		c := newCall(w, r)
		defer h.finish(c, r)
		c.found = h.carriers.Take(r)
		c.keepConnection()

		header := w.Header()
		cors.AllowAnyOrigin(header)
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			c.outcome.status.Store(http.StatusMethodNotAllowed)
			header.Set("Allow", "GET, HEAD")
			w.WriteHeader(http.StatusMethodNotAllowed)
			return
		}

		status, contentType, body := answer()
		c.outcome.status.Store(int32(status))
		header.Set("Content-Type", contentType)
		header.Set("Content-Length", strconv.Itoa(len(body)))
		header.Set("Cache-Control", "no-store")
		if status == http.StatusOK {
			header.Set("Cache-Control", cacheControl)
		}
		w.WriteHeader(status)
		if r.Method != http.MethodHead {
			n, _ := w.Write(body) // a client that is gone needs no answer
			c.outcome.bytesOut.Store(int64(n))
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

// writeJSON answers one client, and returns how many bytes were sent.
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

// statusEndpoint tells the holder of a token what is left of it. It spends no call and
// writes nothing, so pages can poll it.
type statusEndpoint struct {
	door *Handler // finds tokens, refuses and logs as for a call
}

// ServeHTTP answers GET and HEAD, with the token in any carrier.
func (e *statusEndpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := newCall(w, r)
	defer e.door.finish(c, r)
	c.found = e.door.carriers.Take(r)
	if preflight(c, r) {
		return
	}

	status, refused := e.status(c, r)
	if refused != nil {
		if refused.code == codeMethodNotAllowed {
			w.Header().Set("Allow", "GET, HEAD")
		}
		_ = e.door.refuse(c, r, refused) // it has no error to return
		return
	}
	c.outcome.status.Store(http.StatusOK)
	c.keepConnection()
	cors.AllowAnyOrigin(w.Header())
	c.outcome.bytesOut.Store(writeJSON(w, status))
}

func (e *statusEndpoint) status(c *call, r *http.Request) (*adminapi.TokenStatus, *refusal) {
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		return nil, refuse(codeMethodNotAllowed, "token_status permits GET and HEAD")
	case c.found.Problem != "":
		return nil, tokenless(&c.found)
	}
	if refused := e.door.holdStore(c, r); refused != nil {
		return nil, refused
	}
	if refused := e.door.limitRate(c, r); refused != nil {
		return nil, refused
	}

	permit, err := c.relay.tokens.open(c, clientaddr.Network(r), c.found.Token, anyProvider)
	if err != nil {
		return nil, denied(err)
	}
	c.permit = permit
	if err := permit.ValidAt(c.start); err != nil {
		return nil, denied(err)
	}
	own, err := c.relay.ledger.LimitsOf(c, permit.token)
	if err != nil {
		return nil, uncharged(c, err)
	}
	reader := newLimitReader(c, c.relay)
	limits, err := reader.InForce(&permit.holder, own)
	if err != nil {
		return nil, uncharged(c, err)
	}

	status := &adminapi.TokenStatus{
		ID: permit.ID, Issuer: permit.Issuer, Subject: permit.Subject, Provider: permit.Provider,
		ExpiresAt: permit.ExpiresAt.Time().UTC(),
	}
	status.SetLimits(limits, reader.Ends)
	return status, nil
}

const (
	maxMintBody = 64 << 10 // bytes of claims
	maxGuesses  = 10       // wrong secrets per minute and client
)

// mintEndpoint mints tokens for back-ends that send their issuer's secret. It has no
// CORS headers and answers no preflight, because a page must not hold the secret.
type mintEndpoint struct {
	app     *App
	logger  *zap.Logger
	warning clientaddr.ProxyWarning
}

func newMintEndpoint(app *App, logger *zap.Logger) (*mintEndpoint, error) {
	for _, issuer := range app.Issuers {
		if issuer.Secret != "" {
			return &mintEndpoint{app: app, logger: logger}, nil
		}
	}
	return nil, errors.New("mint: no issuer has a secret; write `secret {env.NAME}` in an issuer of the relayapi global option")
}

// ServeHTTP answers a POST whose body has a token's claims.
func (e *mintEndpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := newCall(w, r)
	e.warning.Check(r, e.logger)
	secret := redact.Bearer(r)
	issuer, refused := e.authorize(r, secret)
	if issuer == nil || logShows(r, secret) {
		// The relay logs the request instead. If the secret was wrong in its own
		// place, a right one may be in another.
		caddyhttp.SetVar(r.Context(), caddyhttp.LogSkipVar, true)
	}

	var minted *mint.Minted
	var draft *grant.Claims
	if refused == nil {
		draft, refused = e.draft(r, issuer, secret)
	}
	if refused == nil {
		minted, refused = e.mint(c, issuer, draft)
	}
	if refused != nil {
		c.drain(r)
		c.keepConnection()
		e.refuse(w, r, issuer, refused)
		return
	}
	c.keepConnection()
	e.logger.Info("minted", append(e.fields(r, issuer), zap.String("token_id", minted.ID), zap.String("subject", draft.Subject),
		zap.String("provider", draft.Provider), zap.Time("exp", minted.ExpiresAt))...)
	writeJSON(w, minted)
}

// authorize returns who asks. The bound on guesses comes before everything that costs
// more.
func (e *mintEndpoint) authorize(r *http.Request, secret string) (*mint.SecretIssuer, *refusal) {
	switch {
	case r.Method != http.MethodPost:
		return nil, refuse(codeMethodNotAllowed, "mint permits POST")
	case r.TLS != nil && !r.TLS.HandshakeComplete:
		return nil, refuse(codeTooEarly, "the request came as TLS early data")
	}
	relay := e.app.running(r.Context())
	if relay == nil {
		return nil, refuse(codeNotReady, "the relay has not started or is shutting down")
	}

	var issuer *mint.SecretIssuer
	now := time.Now()
	wait := relay.ledger.guesses.Try(clientaddr.Network(r), maxGuesses, now, func() (wrong bool) {
		issuer = relay.secrets.Find(secret)
		return issuer == nil
	})
	switch {
	case wait > 0:
		return nil, refuse(codeRateLimited, "too many wrong secrets from this address").after(wait)
	case issuer == nil && secret == "":
		return nil, refuse(codeMintUnauthorized, "no secret in Authorization: Bearer")
	case issuer == nil:
		return nil, refuse(codeMintUnauthorized, "the secret is not an issuer's")
	case !issuer.Pace.AllowN(now, 1):
		return issuer, refuse(codeRateLimited, fmt.Sprintf("more than %d tokens per second", mint.MaxRate))
	}
	return issuer, nil
}

// draft reads the requested claims.
func (e *mintEndpoint) draft(r *http.Request, issuer *mint.SecretIssuer, secret string) (*grant.Claims, *refusal) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxMintBody+1))
	switch {
	case statusOf(err, http.StatusRequestEntityTooLarge) || len(body) > maxMintBody:
		return nil, refuse(codeTooLarge, fmt.Sprintf("the claims are longer than %d bytes", maxMintBody))
	case err != nil:
		return nil, refuse(codeInvalidRequest, "the request's body broke off")
	case redact.HoldsSecret(string(body), secret): // answers and logs show claims
		return nil, refuse(codeInvalidRequest, "the claims hold the secret")
	case redact.HoldsToken(redact.Unescape(string(body))):
		return nil, refuse(codeInvalidRequest, "the claims hold a token")
	}
	draft, err := grant.ParseDraft(body)
	if err != nil {
		return nil, unminted(err)
	}
	switch may := issuer.Issuer; {
	case draft.Issuer != "" && draft.Issuer != may.Name:
		return nil, refuse(string(grant.BeyondGrant), "iss: this secret mints only as "+may.Name)
	case draft.Audience != "":
		return nil, refuse(codeInvalidRequest, "aud: leave it out; it is this relay")
	case draft.Provider != "" && !slices.Contains(may.Providers, draft.Provider): // quotes no claim of any length
		return nil, refuse(string(grant.NoProvider), fmt.Sprintf("issuer %s may grant providers [%s]", may.Name, strings.Join(may.Providers, ", ")))
	}
	return draft, nil
}

// mint mints the token. It does not hand out a token that the relay would refuse.
func (e *mintEndpoint) mint(c *call, issuer *mint.SecretIssuer, draft *grant.Claims) (*mint.Minted, *refusal) {
	minted, err := issuer.Mint(draft, c.start)
	if err != nil {
		return nil, unminted(err)
	}

	c.relay = e.app.relay.Load()
	c.permit, _, err = c.relay.tokens.compile(c, minted.Token, "")
	if err == nil {
		err = c.permit.ValidAt(c.start)
	}
	if err != nil {
		return nil, unminted(err)
	}
	if err := c.relay.ledger.Refusal(c.permit.token); err != nil { // revoked, by its id or its subject
		return nil, uncharged(c, err)
	}
	return minted, nil
}

// unminted turns an error of the policy into a refusal. Here, a fault of the token is a
// fault of the request.
func unminted(err error) *refusal {
	var d *grant.Denial
	switch {
	case !errors.As(err, &d):
		return refuse(codeInvalidRequest, err.Error())
	case d.Reason == grant.BeyondGrant || d.Reason == grant.NoProvider:
		return denied(err)
	}
	return refuse(codeInvalidRequest, d.Rule)
}

func (e *mintEndpoint) refuse(w http.ResponseWriter, r *http.Request, issuer *mint.SecretIssuer, f *refusal) {
	f = f.hiding(redact.Bearer(r))
	f.log(e.logger, e.fields(r, issuer)...)
	header := w.Header()
	switch f.code {
	case codeMethodNotAllowed:
		header.Set("Allow", http.MethodPost)
	case codeMintUnauthorized:
		header.Set("WWW-Authenticate", "Bearer")
	}
	f.write(w)
}

// fields identifies a request in the log: who, never with what.
func (e *mintEndpoint) fields(r *http.Request, issuer *mint.SecretIssuer) []zap.Field {
	clientIP, _ := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string)
	fields := []zap.Field{zap.String("method", redact.Text(r.Method, redact.Bearer(r))), zap.String("client_ip", clientIP), zap.Stringer("counted_as", clientaddr.Network(r))}
	if issuer != nil {
		fields = append(fields, zap.String("issuer", issuer.Issuer.Name))
	}
	return fields
}

// logShows reports whether Caddy's access log would show the secret. Caddy leaves out
// Authorization by default.
func logShows(r *http.Request, secret string) bool {
	server, _ := r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	return server != nil && server.Logs != nil && server.Logs.ShouldLogCredentials || redact.ShowsSecret(r, secret)
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Endpoint)(nil)
	_ caddyhttp.MiddlewareHandler = (*Endpoint)(nil)
)
