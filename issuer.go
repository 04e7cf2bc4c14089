package relayapi

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/relayapi/caddy-relayapi/eccrypto"
	"github.com/relayapi/caddy-relayapi/grant"
	"github.com/relayapi/caddy-relayapi/internal/keyfile"
	"github.com/relayapi/caddy-relayapi/internal/lines"
	"github.com/relayapi/caddy-relayapi/internal/login"
	"github.com/relayapi/caddy-relayapi/internal/mint"
	"github.com/relayapi/caddy-relayapi/internal/placeholder"
	"github.com/relayapi/caddy-relayapi/tokenstore"
	"go.uber.org/zap"
)

// Issuer is a back-end that may mint tokens, and what it may put in them. A token only
// narrows what its issuer may grant.
type Issuer struct {
	// The file with the public key that verifies the issuer's tokens: PEM (SPKI) or
	// JWK; P-256 for ES256 or Ed25519 for EdDSA.
	PublicKey string `json:"public_key,omitempty"`

	// Instead of a public key, the secret with which the back-end mints over HTTP, at
	// the endpoint `mint`. It must be a placeholder `{env.NAME}` or `{file.PATH}`, so
	// that the config does not show it, for 16 or more characters. The relay then signs
	// the issuer's tokens with its own key.
	Secret string `json:"secret,omitempty"`

	// Instead of a public key, the login provider of the issuer's users. The client
	// then sends the token from the login provider in place of the API key.
	Login *Login `json:"login,omitempty"`

	// The providers that its tokens may name. At least one is required.
	Providers []string `json:"providers,omitempty"`

	// Whether its tokens may carry a real API key. Default: false.
	CarriedKeys bool `json:"carried_keys,omitempty"`

	// The longest lifetime of its tokens, at most the relay's max_ttl. Default: the
	// relay's max_ttl.
	MaxTTL caddy.Duration `json:"max_ttl,omitempty"`

	// The ceilings of its tokens' limits. A token without a limit of its own gets the
	// ceiling.
	Limits grant.Limits `json:"limits,omitzero"`

	// Rules that requests with its tokens must match, besides the rules in the tokens.
	Allow grant.Allow `json:"allow,omitzero"`

	digest  [sha256.Size]byte // of the secret
	perUser []Limit           // limits in its block, see [Issuer.settle]
}

// Login is a login provider, and what each of its users may do. Claims in a login token
// only select among the plans here.
type Login struct {
	login.Config

	// How much each user may use, by unit and period. The scope of these limits is
	// `subject`, and may be omitted.
	Limits []Limit `json:"limits,omitempty"`

	// Plans for users whose tokens meet a condition. The first plan whose condition a
	// token meets wins.
	Plans []Plan `json:"plans,omitempty"`

	verifier *login.Verifier
}

// Plan is what some users of a login may do.
type Plan struct {
	// The claim, e.g. `app_metadata.plan`, and its values.
	login.Condition

	// How much each user may use. Default: the limits of the login.
	Limits []Limit `json:"limits,omitempty"`

	// The most calls per minute and at once. Default: those of the issuer.
	Rates grant.Limits `json:"rates,omitzero"`

	// Rules for requests. Each overrides the issuer's rule of the same name.
	Allow grant.Allow `json:"allow,omitzero"`
}

// check returns an error if the login is invalid.
func (l *Login) check(i *Issuer) error {
	if i.CarriedKeys || i.Limits.Calls != nil || i.Limits.Tokens != nil || i.Limits.USD != nil {
		return errors.New("login: a login token carries no keys and no limits; write `calls|tokens|usd <n> [per day|month]` beside it")
	}
	if len(l.When) > 0 {
		return errors.New("login: write plans instead of when")
	}
	if l.Secret != "" && !placeholder.Is(l.Secret) {
		return errLiteralSecret
	}
	if err := l.config().Check(); err != nil {
		return err
	}
	all := [][]Limit{l.Limits}
	for _, p := range l.Plans {
		if err := errors.Join(p.Rates.Validate(), p.Allow.Validate()); err != nil {
			return err
		}
		all = append(all, p.Limits)
	}
	for _, limits := range all {
		for n := range limits {
			limits[n].Scope = cmp.Or(limits[n].Scope, string(tokenstore.ScopeSubject))
			if limits[n].Scope != string(tokenstore.ScopeSubject) {
				return fmt.Errorf("login: limits count for each subject, not for each %s", limits[n].Scope)
			}
			if err := limits[n].check(limits[:n]); err != nil {
				return fmt.Errorf("login: %w", err)
			}
		}
	}
	return nil
}

// config returns the config of the verifier.
func (l *Login) config() *login.Config {
	config := l.Config
	for _, p := range l.Plans {
		config.When = append(config.When, p.Condition)
	}
	return &config
}

// provision makes the verifier, which fetches no keys yet.
func (l *Login) provision(logger *zap.Logger) (err error) {
	config := l.config()
	if config.Secret != "" {
		config.Secret = strings.TrimSpace(placeholder.Expand(config.Secret))
	}
	l.verifier, err = login.New(*config, login.WithReport(func(keys int, err error) {
		if err != nil {
			logger.Warn("fetching the keys of a login failed", zap.Strings("login", l.verifier.Issuers()), zap.Error(err))
			return
		}
		logger.Debug("fetched the keys of a login", zap.Strings("login", l.verifier.Issuers()), zap.Int("keys", keys))
	}))
	return err
}

// plan returns the limits, the rates and the rules for a user. i is the plan that the
// token selects; -1 means none.
func (l *Login) plan(i int, issuer *Issuer) (limits []Limit, rates grant.Limits, allow grant.Allow) {
	limits, rates, allow = l.Limits, issuer.Limits, issuer.Allow
	if i < 0 {
		return limits, rates, allow
	}
	p := &l.Plans[i]
	if len(p.Limits) > 0 {
		limits = p.Limits
	}
	rates.RPM, rates.Concurrency = cmp.Or(p.Rates.RPM, rates.RPM), cmp.Or(p.Rates.Concurrency, rates.Concurrency)
	return limits, rates, p.Allow.Or(allow)
}

// errLiteralSecret quotes nothing, because the value may be a secret.
var errLiteralSecret = errors.New("secret must be a placeholder, {env.NAME} or {file.PATH}; the config would show a literal one, and {$NAME} becomes one")

// check returns an error if the issuer alone is invalid.
func (i *Issuer) check(name string) error {
	own := name == mint.RelayIssuer
	switch {
	case i == nil:
		return errors.New("it has no settings")
	case !grant.ValidName(name):
		return lines.ErrInvalidName
	case i.MaxTTL < 0:
		return errors.New("max_ttl must be positive")
	case own && i.PublicKey != "":
		return errors.New("this is the relay's own issuer, which makes its own key; remove public_key or choose another name")
	case i.Login != nil && (own || i.PublicKey != "" || i.Secret != ""):
		return errors.New("login: an issuer with a login has a name of its own, no public_key and no secret")
	case own && i.Secret != "":
		return errors.New("this is the relay's own issuer, which mints at the admin endpoint; remove secret or choose another name")
	case !own && i.PublicKey == "" && i.Secret == "" && i.Login == nil:
		return errors.New("public_key is missing; name the PEM or JWK file of the key that signs its tokens, or set a secret to mint with over HTTP")
	case i.PublicKey != "" && i.Secret != "":
		return errors.New("it has a public_key and a secret; it either signs its tokens or mints over HTTP, remove one")
	case i.Secret != "" && !placeholder.Is(i.Secret):
		return errLiteralSecret
	}
	if err := i.Limits.Validate(); err != nil {
		return err
	}
	if i.Login != nil {
		if err := i.Login.check(i); err != nil {
			return err
		}
	}
	return i.Allow.Validate()
}

// provision checks the issuer and returns its public key. It returns nil for the
// relay's own issuer and for issuers that the relay signs for.
func (i *Issuer) provision(name string, a *App) (_ *eccrypto.PublicKey, err error) {
	if err := i.check(name); err != nil {
		return nil, err
	}
	if len(i.Providers) == 0 {
		return nil, errors.New("it has no providers, so all its tokens would be refused; add a line `providers <name>...`")
	}
	if i.MaxTTL > a.MaxTTL {
		return nil, fmt.Errorf("max_ttl %s: must be at most the relay's, %s; raise that with a line `max_ttl` in the relayapi global option",
			time.Duration(i.MaxTTL), time.Duration(a.MaxTTL))
	}
	for _, provider := range i.Providers {
		if a.Providers[provider] == nil {
			return nil, fmt.Errorf("unknown provider %q; add a line `provider %s` to the relayapi global option", provider, provider)
		}
	}

	switch {
	case i.Login != nil:
		return nil, i.Login.provision(a.logger)
	case i.Secret != "":
		value, _ := placeholder.Value(i.Secret)
		i.digest, err = mint.ReadSecret(i.Secret, value)
		return nil, err
	case i.PublicKey == "":
		return nil, nil
	}
	data, _, err := keyfile.Read(placeholder.Expand(i.PublicKey))
	if err != nil {
		return nil, fmt.Errorf("public_key: %w", err)
	}
	key, err := eccrypto.ParsePublicKey(data)
	if err != nil {
		return nil, fmt.Errorf("public_key %s: %w", i.PublicKey, err)
	}
	return key, nil
}

// grant returns the issuer as the policy sees it. maxTTL is the relay's.
func (i *Issuer) grant(name string, maxTTL caddy.Duration) grant.Issuer {
	return grant.Issuer{
		Name:        name,
		Providers:   i.Providers,
		CarriedKeys: i.CarriedKeys,
		MaxTTL:      time.Duration(cmp.Or(i.MaxTTL, maxTTL)),
		Limits:      i.Limits,
		Allow:       i.Allow,
	}
}
