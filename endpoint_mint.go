package relayapi

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/relayapi/caddy-relayapi/grant"
	"go.uber.org/zap"
	"golang.org/x/time/rate"
)

// maxMintBody bounds the claims that the endpoint reads.
const maxMintBody = 64 << 10

// mintRate is how many tokens a second the back-end of one issuer may mint.
const mintRate = 100

// secretIssuer is an issuer whose back-end mints over HTTP: it shows a secret,
// and the relay signs in the issuer's name.
type secretIssuer struct {
	minter *minter
	digest [sha256.Size]byte // of the secret
	pace   *rate.Limiter
}

// secretIssuers is who may mint over HTTP.
type secretIssuers struct{ all []*secretIssuer }

func (s *secretIssuers) add(m *minter, digest [sha256.Size]byte) {
	s.all = append(s.all, &secretIssuer{m, digest, rate.NewLimiter(mintRate, mintRate)})
}

// find returns the issuer of a secret, or nil. How long it takes tells nothing:
// digests are of one length, and all of them are compared to their end.
func (s *secretIssuers) find(secret string) *secretIssuer {
	digest, found := sha256.Sum256([]byte(secret)), -1
	for i, issuer := range s.all {
		found = subtle.ConstantTimeSelect(subtle.ConstantTimeCompare(digest[:], issuer.digest[:]), i, found)
	}
	if found < 0 {
		return nil
	}
	return s.all[found]
}

// mintEndpoint mints tokens for back-ends that show their issuer's secret. It
// has no CORS headers and answers no preflight: a page must not hold the secret.
type mintEndpoint struct {
	app     *App
	logger  *zap.Logger
	warning proxyWarning
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
	rt := new(route)
	rt.watchBody(w, r)
	e.warning.of(r, e.logger)
	secret := bearerOf(r)
	issuer, refused := e.authorize(r, secret)
	if issuer == nil || logShows(r, secret) {
		// The line below stands for the request. Where the secret was not
		// right in its own place, a right one may be in another.
		caddyhttp.SetVar(r.Context(), caddyhttp.LogSkipVar, true)
	}
	var m *minted
	var draft *grant.Claims
	if refused == nil {
		draft, refused = e.draft(r, issuer, secret)
	}
	if refused == nil {
		m, refused = e.mint(r, issuer, draft)
	}
	if refused != nil {
		rt.drain(r)
	}
	rt.keepConnection()
	if refused != nil {
		e.refuse(w, r, issuer, refused)
		return
	}
	e.logger.Info("minted", append(e.fields(r, issuer), zap.String("token_id", m.ID), zap.String("subject", draft.Subject),
		zap.String("provider", draft.Provider), zap.Time("exp", m.ExpiresAt))...)
	writeJSON(w, m)
}

// authorize finds out who is asking. What bounds guessing comes before
// everything that costs more.
func (e *mintEndpoint) authorize(r *http.Request, secret string) (*secretIssuer, *refusal) {
	switch {
	case r.Method != http.MethodPost:
		return nil, refuse(codeMethodNotAllowed, "mint takes POST")
	case r.TLS != nil && !r.TLS.HandshakeComplete:
		return nil, refuse(codeTooEarly, "the request came as TLS early data")
	}
	relay := e.app.running(r.Context())
	if relay == nil {
		return nil, refuse(codeNotReady, "the relay has not started or is shutting down")
	}
	var issuer *secretIssuer
	now := time.Now()
	wait := relay.ledger.guesses.try(clientOf(r), now, func() bool {
		issuer = relay.secrets.find(secret)
		return issuer != nil
	})
	switch {
	case wait > 0:
		return nil, refuse(codeRateLimited, "too many wrong secrets from this address").after(wait)
	case issuer == nil && secret == "":
		return nil, refuse(codeMintUnauthorized, "no secret in Authorization: Bearer")
	case issuer == nil:
		return nil, refuse(codeMintUnauthorized, "the secret is no issuer's")
	case !issuer.pace.AllowN(now, 1):
		return issuer, refuse(codeRateLimited, fmt.Sprintf("more than %d tokens a second", mintRate))
	}
	return issuer, nil
}

// draft reads the claims that are asked for.
func (e *mintEndpoint) draft(r *http.Request, issuer *secretIssuer, secret string) (*grant.Claims, *refusal) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxMintBody+1))
	switch {
	case statusOf(err, http.StatusRequestEntityTooLarge) || len(body) > maxMintBody:
		return nil, refuse(codeTooLarge, fmt.Sprintf("the claims are longer than %d bytes", maxMintBody))
	case err != nil:
		return nil, refuse(codeInvalidRequest, "the request's body broke off")
	case holdsSecret(string(body), secret): // answers and logs show claims
		return nil, refuse(codeInvalidRequest, "the claims hold the secret")
	case holdsToken(unescape(string(body))):
		return nil, refuse(codeInvalidRequest, "the claims hold a token")
	}
	draft, err := grant.ParseDraft(body)
	if err != nil {
		return nil, unminted(err)
	}
	switch may := issuer.minter.issuer; {
	case draft.Issuer != "" && draft.Issuer != may.Name:
		return nil, refuse(string(grant.BeyondGrant), "iss: this secret mints as "+may.Name+" only")
	case draft.Audience != "":
		return nil, refuse(codeInvalidRequest, "aud: leave it out, it is this relay")
	case draft.Provider != "" && !slices.Contains(may.Providers, draft.Provider): // quotes no claim of any length
		return nil, refuse(string(grant.NoProvider), fmt.Sprintf("issuer %s may grant providers [%s]", may.Name, strings.Join(may.Providers, ", ")))
	}
	return draft, nil
}

// holdsSecret reports whether a text holds a piece of a secret, escaped or not.
func holdsSecret(text, secret string) bool {
	var secrets pieces
	secrets.of([]string{secret})
	return secrets.in(unescape(text))
}

// mint mints the token. What the relay would refuse it does not hand out.
func (e *mintEndpoint) mint(r *http.Request, issuer *secretIssuer, draft *grant.Claims) (*minted, *refusal) {
	now := time.Now()
	m, err := issuer.minter.mint(draft, now)
	if err != nil {
		return nil, unminted(err)
	}
	relay := e.app.relay.Load()
	permit, _, err := relay.tokens.compile(r.Context(), m.Token)
	if err == nil {
		err = permit.ValidAt(now)
	}
	if err != nil {
		return nil, unminted(err)
	}
	if err := relay.ledger.Refusal(permit.token); err != nil { // revoked, by its id or its subject
		return nil, uncharged(relay, permit, err)
	}
	return m, nil
}

// unminted turns an error of the policy into a refusal. What is wrong with a
// token as such is wrong with the request here.
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

func (e *mintEndpoint) refuse(w http.ResponseWriter, r *http.Request, issuer *secretIssuer, f *refusal) {
	f = f.hiding(bearerOf(r))
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
func (e *mintEndpoint) fields(r *http.Request, issuer *secretIssuer) []zap.Field {
	clientIP, _ := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string)
	fields := []zap.Field{zap.String("method", redact(r.Method, bearerOf(r))), zap.String("client_ip", clientIP), zap.Stringer("counted_as", clientOf(r))}
	if issuer != nil {
		fields = append(fields, zap.String("issuer", issuer.minter.issuer.Name))
	}
	return fields
}

// bearerOf returns the secret in `Authorization: Bearer`, or nothing where
// there is not exactly one.
func bearerOf(r *http.Request) string {
	values := r.Header[authorization]
	if len(values) != 1 {
		return ""
	}
	scheme, secret, _ := strings.Cut(values[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(secret)
}

// logShows reports whether Caddy's access log would show the secret. It leaves
// out Authorization unless told otherwise.
func logShows(r *http.Request, key string) bool {
	server, _ := r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if server != nil && server.Logs != nil && server.Logs.ShouldLogCredentials {
		return true
	}
	if showsToken(r) || holdsSecret(r.RequestURI, key) || holdsSecret(r.Host, key) {
		return true
	}
	for name, values := range r.Header {
		shows := func(value string) bool { return holdsSecret(value, key) }
		if name != authorization && (shows(name) || slices.ContainsFunc(values, shows)) {
			return true
		}
	}
	return false
}

// after makes a refusal say when a retry can help.
func (f *refusal) after(wait time.Duration) *refusal {
	f.retry = int(math.Ceil(wait.Seconds()))
	return f
}
