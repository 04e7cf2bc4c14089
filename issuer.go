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
)

// Issuer is a back-end that may mint tokens, and what it may put in them. A
// token only narrows what its issuer was granted.
type Issuer struct {
	// File with the public key that verifies the issuer's tokens: PEM (SPKI) or
	// JWK, P-256 for ES256 or Ed25519 for EdDSA.
	PublicKey string `json:"public_key,omitempty"`

	// Instead of a public key: the secret with which the back-end mints over
	// HTTP, at the endpoint `mint`. It is a placeholder `{env.NAME}` or
	// `{file.PATH}`, so that it does not stand in the config, and holds 16 or
	// more characters. The relay then signs the issuer's tokens with its own key.
	Secret string `json:"secret,omitempty"`

	// The providers that its tokens may name; at least one.
	Providers []string `json:"providers,omitempty"`

	// Whether its tokens may carry a real API key of their own.
	CarriedKeys bool `json:"carried_keys,omitempty"`

	// The longest lifetime of its tokens, at most that of the relay, which is the
	// default.
	MaxTTL caddy.Duration `json:"max_ttl,omitempty"`

	// The most that its tokens may have of each limit. One that says no limit of
	// its own has this one.
	Limits grant.Limits `json:"limits,omitzero"`

	// What requests with its tokens must match, besides what the tokens say.
	Allow grant.Allow `json:"allow,omitzero"`

	digest [sha256.Size]byte // of the secret
}

// minSecret is the length of the shortest secret that is accepted.
const minSecret = 16

// provision checks the issuer and returns its public key, which neither the
// relay's own issuer has yet nor one that the relay signs for.
func (i *Issuer) provision(name string, a *App) (*eccrypto.PublicKey, error) {
	if i == nil {
		return nil, errors.New("it has no settings")
	}
	if !grant.ValidName(name) {
		return nil, errors.New("a name has 1 to 64 letters, digits, dots, dashes and underscores")
	}
	if i.MaxTTL < 0 {
		return nil, errors.New("max_ttl must be positive")
	}
	if err := i.Limits.Validate(); err != nil {
		return nil, err
	}
	if err := checkEnforced(&i.Limits); err != nil {
		return nil, err
	}
	if err := i.Allow.Validate(); err != nil {
		return nil, err
	}
	if len(i.Providers) == 0 {
		return nil, errors.New("it has no providers, so that all its tokens would be refused: add a line `providers <name>...`")
	}
	if i.MaxTTL > a.MaxTTL {
		return nil, fmt.Errorf("its max_ttl, %s, is more than the relay's, %s: raise that with a line `max_ttl` in the relayapi global option",
			time.Duration(i.MaxTTL), time.Duration(a.MaxTTL))
	}
	for _, provider := range i.Providers {
		if a.Providers[provider] == nil {
			return nil, fmt.Errorf("there is no provider %q; add a line `provider %s` to the relayapi global option", provider, provider)
		}
	}
	switch {
	case name == relayIssuer && i.PublicKey != "":
		return nil, errors.New("this is the relay's own issuer, which makes its own key: remove public_key or choose another name")
	case name == relayIssuer && i.Secret != "":
		return nil, errors.New("this is the relay's own issuer, which mints at the admin endpoint: remove secret or choose another name")
	case name == relayIssuer:
		return nil, nil
	case i.PublicKey == "" && i.Secret == "":
		return nil, errors.New("public_key is missing: name the PEM or JWK file of the key that signs its tokens, or give it a secret to mint with over HTTP")
	case i.PublicKey != "" && i.Secret != "":
		return nil, errors.New("it has a public_key and a secret: it signs its tokens itself or mints over HTTP, remove one")
	case i.Secret != "":
		return nil, i.readSecret()
	}
	data, _, err := readKeyFile(expand(i.PublicKey))
	if err != nil {
		return nil, fmt.Errorf("public_key: %w", err)
	}
	key, err := eccrypto.ParsePublicKey(data)
	if err != nil {
		return nil, fmt.Errorf("public_key %s: %w", i.PublicKey, err)
	}
	return key, nil
}

// readSecret resolves the placeholder. Its errors quote no value, which might be
// a secret that was put in the wrong place.
func (i *Issuer) readSecret() error {
	if !placeholder.MatchString(i.Secret) {
		return errors.New("secret must be a placeholder, {env.NAME} or {file.PATH}: a literal one would show up in the config ({$NAME} makes one)")
	}
	value, _ := caddy.NewReplacer().GetString(i.Secret[1 : len(i.Secret)-1])
	value = strings.TrimSpace(value)
	switch {
	case value == "":
		return fmt.Errorf("%s is not set or empty: set it to a secret of %d or more characters, such as `openssl rand -hex 32` makes", i.Secret, minSecret)
	case !grant.ValidAPIKey(value): // it goes where keys go, in a header
		return fmt.Errorf("%s does not hold one word of printable ASCII", i.Secret)
	case len(value) < minSecret:
		return fmt.Errorf("%s holds fewer than %d characters, which can be guessed: `openssl rand -hex 32` makes a good one", i.Secret, minSecret)
	}
	i.digest = sha256.Sum256([]byte(value))
	return nil
}

// grant returns what i may grant; maxTTL is the relay's.
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
