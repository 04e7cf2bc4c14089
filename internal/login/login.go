// Package login verifies the tokens of login providers: Firebase, Supabase, Clerk,
// Auth0, Cognito, Keycloak, Google, Microsoft and every OpenID Connect provider.
//
// A login's token is a signed JWT. [Verifier.Verify] turns it into [Claims]: who the
// user is, until when the token is valid, and which of the operator's rules fits. A
// token only identifies and picks. What a rule permits is in the config alone.
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
//  5. Its claims: audience, times, what the preset demands, the subject, and the
//     operator's conditions.
//
// The provider's keys are fetched in the background and replaced as a whole, see
// [Verifier.Start]. They come only from URLs of the config, or from the discovery
// document of the configured issuer, and never from a URL in a token. The package
// fetches them itself: the key set of go-oidc asks the provider at every unknown key
// id, reads answers of any size and does not refresh ahead.
//
// Errors never quote a token. A refused token has a [*Refusal]. [ErrUnavailable]
// means that a token could not be judged, because the keys are missing.
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

// Claims are what a verified token says.
type Claims struct {
	Issuer  string // "iss"
	Subject string // the subject claim, from 1 to 255 printable bytes

	IssuedAt  time.Time
	NotBefore time.Time // zero if the token has none
	Expires   time.Time

	// Rule is the index of the first rule of [Config.When] that fits, or -1.
	Rule int
}

// ValidAt returns nil if the token is valid at now, and a [*Refusal] otherwise.
// Callers that cache claims ask at each use.
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

// WithReport sets a function that hears of each fetch of keys: of its error, or nil
// and the number of keys. It must not block.
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

// Start begins to fetch the provider's keys, and refreshes them until ctx is done or
// Close is called. It does not wait for the provider. Call it once.
func (v *Verifier) Start(ctx context.Context) { v.keys.start(ctx) }

// Inherit takes over the keys of a former Verifier of the same provider, and reports
// whether it did. With it, a reload of the config works while the provider is away.
// Call it before Start.
func (v *Verifier) Inherit(former *Verifier) bool { return v.keys.inherit(former.keys) }

// Close stops what Start began and waits for its end. The last keys stay in use.
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

// RuleID returns what tells a rule of [Config.When] from others, also after the config
// has changed: a hash of its demand. That of no rule, -1, is "0".
func (v *Verifier) RuleID(rule int) string {
	if rule < 0 {
		return "0"
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q", v.when[rule].Claim, v.when[rule].Values))
	return fmt.Sprintf("%x", sum[:8])
}

// RuleOf returns the rule that an id is of, or -1 for none. It reports false if there is
// no such rule any more.
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
