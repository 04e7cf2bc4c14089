package relayapi

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/relayapi/caddy-relayapi/eccrypto"
	"github.com/relayapi/caddy-relayapi/grant"
	"github.com/relayapi/caddy-relayapi/internal/adminapi"
	"github.com/relayapi/caddy-relayapi/internal/bodies"
	"github.com/relayapi/caddy-relayapi/internal/clientaddr"
	"github.com/relayapi/caddy-relayapi/internal/cors"
	"github.com/relayapi/caddy-relayapi/internal/errorform"
	"github.com/relayapi/caddy-relayapi/internal/mint"
	"github.com/relayapi/caddy-relayapi/internal/redact"
	"github.com/relayapi/caddy-relayapi/tokenstore"
	"go.uber.org/zap"
)

func init() {
	caddy.RegisterModule(Endpoint{})
}

// Endpoint serves one of the relay's own endpoints.
type Endpoint struct {
	// The endpoint: `health` reports whether the relay admits calls. `jwks` serves the
	// public keys that tokens are encrypted to (RFC 7517, section 5). `token_status`
	// reports what is left of the token in the request. `mint` mints for a back-end
	// that sends its issuer's secret, and for the user of a login.
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

// Provision finds the relay that the endpoint belongs to.
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
		e.serve = newDoor(e.app, ctx.Logger(), e.LogRequests).public(e.jwks, "public, max-age=300") // clients use a new key after that
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

// newDoor returns a handler that finds tokens, refuses and logs for an endpoint, as it
// does for a call.
func newDoor(app *App, logger *zap.Logger, logRequests bool) *Handler {
	return &Handler{
		LogRequests: logRequests,
		endpoint:    true,
		app:         app, logger: logger, access: logger.Named("access"), carriers: app.carriers(),
	}
}

// public answers GET and HEAD with public data. It needs no token, but keeps a token in
// the request out of the log.
func (h *Handler) public(answer func() (status int, contentType string, body []byte), cacheControl string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		c := newCall(w, r)
		defer h.finish(c, r)
		c.found = h.carriers.Take(r)
		c.held.client.KeepConnection()

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

// statusEndpoint reports to the holder of a token what is left of it. It spends no call
// and writes nothing, so pages can poll it.
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
		_ = e.door.refuse(c, r, refused) // refuse always returns nil here
		return
	}
	c.outcome.status.Store(http.StatusOK)
	c.held.client.KeepConnection()
	cors.AllowAnyOrigin(w.Header())
	c.outcome.bytesOut.Store(adminapi.WriteJSON(w, status))
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

// maxGuesses is how many wrong secrets a client may send per minute, and maxExchanges how
// many tokens a user of a login may mint.
const maxGuesses, maxExchanges = 10, 60

// mintEndpoint mints tokens for back-ends that send their issuer's secret, and for
// users of logins. Only these users may call it from pages, of the origins that the
// issuer allows, because a page must not hold a secret.
type mintEndpoint struct {
	door    *Handler // refuses as for a call
	app     *App
	logger  *zap.Logger
	warning clientaddr.ProxyWarning
}

func newMintEndpoint(app *App, logger *zap.Logger) (*mintEndpoint, error) {
	for _, issuer := range app.Issuers {
		if issuer.Secret != "" || issuer.Login != nil {
			return &mintEndpoint{door: newDoor(app, logger, false), app: app, logger: logger}, nil
		}
	}
	return nil, errors.New("mint: no issuer has a secret or a login; write `secret {env.NAME}` in an issuer of the relayapi global option")
}

// ServeHTTP answers a POST whose body has a token's claims, or asks for an exchange.
func (e *mintEndpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c, q := newCall(w, r), mint.NewRequest(r)
	defer c.held.client.Stop()
	e.warning.Check(r, e.logger)
	origin := r.Header.Get("Origin")
	if e.app.mintsAt(origin) && cors.Preflight(w.Header(), r) {
		cors.AllowOrigin(w.Header(), origin)
		c.held.client.KeepConnection()
		w.WriteHeader(http.StatusNoContent)
		return
	}

	var minted *mint.Minted
	var minter *mint.Minter
	refused := e.begin(c, r)
	switch byLogin := q.Form || isLogin(q.Proof); {
	case refused != nil:
	case byLogin:
		if e.app.mintsAt(origin) {
			cors.AllowOrigin(w.Header(), origin)
		}
		minted, minter, refused = e.exchange(c, r, q)
	default:
		minted, minter, refused = e.mintBySecret(c, r, q)
	}
	if minter == nil || redact.LogShows(r, q.Proof) {
		// The relay logs the request instead of Caddy. The secret was wrong in its own
		// place, so a right one may be in another.
		caddyhttp.SetVar(r.Context(), caddyhttp.LogSkipVar, true)
	}
	if c.relay != nil {
		defer c.relay.ledger.release()
	}
	if refused != nil {
		c.held.client.Drain(r, smallBody)
		c.held.client.KeepConnection()
		e.refuse(w, r, q, minter, refused)
		return
	}
	c.held.client.KeepConnection()
	e.logger.Info("minted", append(e.fields(r, q, minter), zap.String("token_id", minted.ID), zap.String("subject", c.permit.Subject),
		zap.String("provider", c.permit.Provider), zap.Time("exp", minted.ExpiresAt))...)
	adminapi.WriteJSON(w, q.Answer(minted, c.start))
}

// begin checks the protocol, and keeps the store open.
func (e *mintEndpoint) begin(c *call, r *http.Request) *refusal {
	switch {
	case r.Method != http.MethodPost:
		return refuse(codeMethodNotAllowed, "mint permits POST")
	case r.TLS != nil && !r.TLS.HandshakeComplete:
		return refuse(codeTooEarly, "the request came as TLS early data")
	}
	return e.door.holdStore(c, r)
}

// mintBySecret mints for the issuer whose secret the request has.
func (e *mintEndpoint) mintBySecret(c *call, r *http.Request, q *mint.Request) (*mint.Minted, *mint.Minter, *refusal) {
	issuer, refused := e.authorize(c, r, q.Proof)
	if issuer == nil {
		return nil, nil, refused
	}
	if refused == nil {
		refused = e.read(c, r, q)
	}
	if refused != nil {
		return nil, issuer.Minter, refused
	}
	minted, err := issuer.Mint(q.Draft, c.start)
	if err != nil {
		return nil, issuer.Minter, unminted(err)
	}
	return minted, issuer.Minter, c.admits(minted)
}

// authorize returns the issuer of a secret. The bound on guesses comes before
// everything that costs more.
func (e *mintEndpoint) authorize(c *call, r *http.Request, secret string) (*mint.SecretIssuer, *refusal) {
	var issuer *mint.SecretIssuer
	wait := c.relay.ledger.guesses.Try(clientaddr.Network(r), maxGuesses, c.start, func() (wrong bool) {
		issuer = c.relay.secrets.Find(secret)
		return issuer == nil
	})
	switch {
	case wait > 0:
		return nil, refuse(codeRateLimited, "too many wrong secrets from this address").after(wait)
	case issuer == nil && secret == "":
		return nil, refuse(codeMintUnauthorized, "no secret in Authorization: Bearer")
	case issuer == nil:
		return nil, refuse(codeMintUnauthorized, "the secret is not an issuer's")
	case !issuer.Pace.AllowN(c.start, 1):
		return issuer, refuse(codeRateLimited, fmt.Sprintf("more than %d tokens per second", mint.MaxRate))
	}
	return issuer, nil
}

// exchange mints for the user of a login, within what the login token permits.
func (e *mintEndpoint) exchange(c *call, r *http.Request, q *mint.Request) (*mint.Minted, *mint.Minter, *refusal) {
	refused := e.door.limitRate(c, r)
	if refused == nil {
		refused = e.read(c, r, q)
	}
	if refused != nil {
		return nil, nil, refused
	}
	name, _ := e.app.finder.Find(q.Proof)
	minter := c.relay.minters[name]
	if minter == nil {
		return nil, nil, refuse(codeMintUnauthorized, "no issuer has the login of this token")
	}
	if err := minter.Target(q.Draft); err != nil {
		return nil, minter, unminted(err)
	}
	if refused := e.openLogin(c, r, q); refused != nil {
		return nil, minter, refused
	}

	if wait := c.relay.ledger.exchanges.Take(c.permit.holder.Subject, maxExchanges, c.start); wait > 0 {
		return nil, minter, refuse(codeRateLimited, fmt.Sprintf("more than %d tokens of a user per minute", maxExchanges)).after(wait)
	}
	plan := e.app.Issuers[name].Login.verifier.RuleID(c.permit.plan)
	minted, err := minter.MintFor(mint.User{Subject: c.permit.Subject, Plan: plan, IssuedAt: c.permit.IssuedAt}, q.Draft, c.start)
	if err != nil {
		return nil, minter, unminted(err)
	}
	return minted, minter, c.admits(minted)
}

// openLogin opens a login token, as for a call.
func (e *mintEndpoint) openLogin(c *call, r *http.Request, q *mint.Request) *refusal {
	permit, err := c.relay.tokens.open(c, clientaddr.Network(r), q.Proof, q.Draft.Provider)
	if err == nil {
		c.permit, err = permit, permit.ValidAt(c.start)
	}
	if err == nil {
		err = permit.PermitClient(grant.Request{ClientIP: clientaddr.Of(r), Origin: r.Header.Get("Origin")})
	}
	if err != nil {
		refused := denied(err)
		if refused.code == string(grant.Invalid) {
			refused.code = codeMintUnauthorized
		}
		return refused
	}
	own, err := c.relay.ledger.LimitsOf(c, permit.token)
	switch {
	case err != nil:
		return uncharged(c, err)
	case own != tokenstore.Limits{}: // a minted token would not count on that limit
		return refuse(string(grant.BeyondGrant), "the operator has limited what this user's login may use, by its id")
	}
	return nil
}

// read reads the body of a request.
func (e *mintEndpoint) read(c *call, r *http.Request, q *mint.Request) *refusal {
	overdue := time.AfterFunc(bodies.Patience, func() { _ = c.held.client.Interrupt() })
	defer overdue.Stop()
	err := q.Read(r.Body)
	switch {
	case errors.Is(err, mint.ErrTooLong), statusOf(err, http.StatusRequestEntityTooLarge):
		return refuse(codeTooLarge, mint.ErrTooLong.Error())
	case err != nil:
		return unminted(err)
	}
	return nil
}

// admits returns why the relay would refuse a token that it has minted, or nil. The
// relay does not hand out such a token.
func (c *call) admits(minted *mint.Minted) *refusal {
	permit, _, err := c.relay.tokens.compile(c, minted.Token, "")
	if err == nil {
		c.permit, err = permit, permit.ValidAt(c.start)
	}
	if err != nil {
		return unminted(err)
	}
	if err := c.relay.ledger.Refusal(permit.token); err != nil { // revoked, by its id or its subject
		return uncharged(c, err)
	}
	return nil
}

// unminted turns an error of the policy into a refusal. Here, an invalid token means an
// invalid request.
func unminted(err error) *refusal {
	var d *grant.Denial
	switch {
	case errors.Is(err, mint.ErrGrantType):
		return refuse(codeGrantType, err.Error())
	case !errors.As(err, &d):
		return refuse(codeInvalidRequest, err.Error())
	case d.Reason == grant.BeyondGrant || d.Reason == grant.NoProvider:
		return denied(err)
	}
	return refuse(codeInvalidRequest, d.Rule)
}

func (e *mintEndpoint) refuse(w http.ResponseWriter, r *http.Request, q *mint.Request, minter *mint.Minter, f *refusal) {
	f = f.hiding(q.Proof)
	f.log(e.logger, e.fields(r, q, minter)...)
	header := w.Header()
	switch f.code {
	case codeMethodNotAllowed:
		header.Set("Allow", http.MethodPost)
	case codeMintUnauthorized:
		header.Set("WWW-Authenticate", "Bearer")
	}
	if q.Form {
		shaped := *f // some refusals are shared
		shaped.form, f = errorform.OAuth, &shaped
	}
	f.write(w)
}

// fields identifies a request in the log: who, never with what.
func (e *mintEndpoint) fields(r *http.Request, q *mint.Request, minter *mint.Minter) []zap.Field {
	clientIP, _ := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string)
	fields := []zap.Field{zap.String("method", redact.Text(r.Method, q.Proof)), zap.String("client_ip", clientIP), zap.Stringer("counted_as", clientaddr.Network(r))}
	if minter != nil {
		fields = append(fields, zap.String("issuer", minter.Issuer.Name))
	}
	return fields
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Endpoint)(nil)
	_ caddyhttp.MiddlewareHandler = (*Endpoint)(nil)
)
