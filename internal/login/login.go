// Package login verifies the tokens of login providers: Firebase, Supabase, Clerk,
// Auth0, Cognito, Keycloak, Google, Microsoft and every OpenID Connect provider.
//
// A login token is a signed JWT. [Verifier.Verify] turns it into [Claims]: the user,
// the times between which the token is valid, and the operator's rule that fits. A
// token only identifies a user and selects a rule. The config alone says what a rule
// permits.
//
// A token passes these steps:
//
//  1. Its shape: three segments of canonical base64url, at most 8 KiB, and strict
//     JSON, without duplicate names.
//  2. Its header: an accepted algorithm, an accepted type, and nothing that names a
//     key or changes how the token is read.
//  3. Its issuer, which must be the configured one. Tokens of others never cause a
//     request to the provider.
//  4. Its signature, by a key of the provider's key set that fits the algorithm.
//  5. Its claims: audience, times, the requirements of the preset, the subject, and
//     the operator's conditions.
//
// The provider's keys are fetched in the background and replaced as a whole, see
// [Verifier.Start]. They come only from URLs of the config, or from the discovery
// document of the configured issuer, and never from a URL in a token. The package does
// not use the key set of go-oidc, which asks the provider for every unknown key id,
// reads responses of any size, and does not refresh ahead of time.
//
// Errors never quote a token. The error of a refused token is a [*Refusal].
// [ErrUnavailable] means that the keys to verify a token are missing.
package login

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/relayapi/caddy-relayapi/grant"
)

// Verifier verifies the tokens of one provider. It is safe for concurrent use.
type Verifier struct {
	profile profile
	require []Condition
	when    []Condition
	subject string
	keys    *keySource
}

// Claims are the claims of a verified token that the relay uses.
type Claims struct {
	Issuer  string // "iss"
	Subject string // the subject claim, from 1 to 255 printable bytes

	IssuedAt  time.Time
	NotBefore time.Time // zero if the token has none
	Expires   time.Time

	// Rule is the index of the first rule of [Config.When] that fits, or -1.
	Rule int
}

// ValidAt returns nil if the token is valid at now, and a [*Refusal] otherwise. Callers
// that cache claims must call it at each use.
func (c *Claims) ValidAt(now time.Time) error {
	switch soon := now.Add(grant.Leeway); {
	case !now.Before(c.Expires):
		return refuse(Expired, "expired at %s", c.Expires.UTC().Format(time.RFC3339))
	case c.IssuedAt.After(soon):
		return refuse(NotYetValid, "iat is in the future: issued at %s", c.IssuedAt.UTC().Format(time.RFC3339))
	case c.NotBefore.After(soon):
		return refuse(NotYetValid, "not valid before %s", c.NotBefore.UTC().Format(time.RFC3339))
	}
	return nil
}

// Option changes how a [Verifier] works.
type Option func(*Verifier)

// WithTransport sets the transport that fetches keys. Default: a copy of
// [http.DefaultTransport].
func WithTransport(t http.RoundTripper) Option {
	return func(v *Verifier) { v.keys.fetcher.client.Transport = t }
}

// WithReport sets a function that is called after each fetch with the number of keys,
// or with the error. It must not block.
func WithReport(report func(keys int, err error)) Option {
	return func(v *Verifier) { v.keys.report = report }
}

// New returns a Verifier. It does no I/O. cfg.Secret must be the secret itself, not
// the placeholder for it.
func New(cfg Config, options ...Option) (*Verifier, error) {
	p, err := cfg.profile()
	if err != nil {
		return nil, err
	}
	if cfg.Secret != "" {
		if len(cfg.Secret) < minSecret {
			return nil, fmt.Errorf("secret: fewer than %d characters; copy the provider's JWT secret as it is", minSecret)
		}
		p.secret = []byte(cfg.Secret)
	}

	v := &Verifier{
		profile: p,
		require: slices.Clone(cfg.Require),
		when:    slices.Clone(cfg.When),
		subject: cfg.subject(),
		keys:    newKeySource(p),
	}
	for _, option := range options {
		option(v)
	}
	return v, nil
}

// Start fetches the provider's keys in the background, and refreshes them until ctx is
// done or Close is called. It does not wait for the provider. Call it once.
func (v *Verifier) Start(ctx context.Context) { v.keys.start(ctx) }

// Inherit takes over the keys of a former Verifier of the same provider, and reports
// whether it did. It lets a reload of the config succeed while the provider is down.
// Call it before Start.
func (v *Verifier) Inherit(former *Verifier) bool { return v.keys.inherit(former.keys) }

// Close stops the refresh and waits for it to end. The last keys stay in use.
func (v *Verifier) Close() { v.keys.close() }

// Issuers returns the values of "iss" that the Verifier accepts. Only Google has two.
func (v *Verifier) Issuers() []string { return slices.Clone(v.profile.issuers) }

// Verify verifies a token. The error is a [*Refusal], wraps [ErrUnavailable], or is
// that of ctx. It waits for the provider only if no known key has the token's key id.
func (v *Verifier) Verify(ctx context.Context, token string, now time.Time) (Claims, error) {
	t, err := parse(token, v.profile.algs, v.profile.types)
	if err != nil {
		return Claims{}, err
	}

	iss, err := t.payload.text("iss")
	switch {
	case err != nil:
		return Claims{}, err
	case !slices.Contains(v.profile.issuers, iss):
		return Claims{}, refuse(WrongIssuer, "iss is not the configured issuer, %s", v.profile.issuers[0])
	}

	if err := v.verifySignature(ctx, t); err != nil {
		return Claims{}, err
	}
	return v.readClaims(t.payload, iss, now)
}

// RuleID returns an id of a rule of [Config.When] that survives changes of the config:
// a hash of its condition. The id of no rule, -1, is "0".
func (v *Verifier) RuleID(rule int) string {
	if rule < 0 {
		return "0"
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q", v.when[rule].Claim, v.when[rule].Values))
	return fmt.Sprintf("%x", sum[:8])
}

// RuleOf returns the rule with an id, or -1 for no rule. It reports false if the rule
// no longer exists.
func (v *Verifier) RuleOf(id string) (rule int, ok bool) {
	for rule = -1; rule < len(v.when); rule++ {
		if v.RuleID(rule) == id {
			return rule, true
		}
	}
	return -1, false
}

// verifySignature finds the key of a token and verifies its signature.
func (v *Verifier) verifySignature(ctx context.Context, t *parsed) error {
	if t.alg == hs256 {
		return t.verify(v.profile.secret)
	}

	key, err := v.keys.find(ctx, t.kid, t.alg)
	if err != nil {
		return err
	}
	return t.verify(key.public)
}

// readClaims checks verified claims.
func (v *Verifier) readClaims(payload object, iss string, now time.Time) (Claims, error) {
	c := Claims{Issuer: iss, Rule: -1}
	if err := c.readTimes(payload); err != nil {
		return Claims{}, err
	}
	if err := c.ValidAt(now); err != nil {
		return Claims{}, err
	}

	for _, check := range v.profile.checks {
		if err := check(payload, now); err != nil {
			return Claims{}, err
		}
	}

	var err error
	if c.Subject, err = payload.subject(v.subject); err != nil {
		return Claims{}, err
	}

	for i := range v.require {
		if !v.require[i].fits(payload) {
			return Claims{}, refuse(Unmet, "claim %s has none of the required values", v.require[i].Claim)
		}
	}
	c.Rule = slices.IndexFunc(v.when, func(c Condition) bool { return c.fits(payload) })
	return c, nil
}
