package relayapi

import (
	"errors"
	"fmt"
	"os"
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

	// The providers that its tokens may name. Default: none.
	Providers []string `json:"providers,omitempty"`

	// Whether its tokens may carry a real API key of their own.
	CarriedKeys bool `json:"carried_keys,omitempty"`

	// The longest lifetime of its tokens. Default: that of the relay.
	MaxTTL caddy.Duration `json:"max_ttl,omitempty"`
}

// provision checks the issuer and returns its public key, which the relay's own
// issuer does not have yet.
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
	for _, provider := range i.Providers {
		if a.Providers[provider] == nil {
			return nil, fmt.Errorf("there is no provider %q; add a line `provider %s` to the relayapi global option", provider, provider)
		}
	}
	switch {
	case name == relayIssuer && i.PublicKey != "":
		return nil, errors.New("this is the relay's own issuer, which makes its own key: remove public_key or choose another name")
	case name == relayIssuer:
		return nil, nil
	case i.PublicKey == "":
		return nil, errors.New("public_key is missing: name the PEM or JWK file of the key that signs its tokens")
	}
	data, err := os.ReadFile(expand(i.PublicKey))
	if err != nil {
		return nil, fmt.Errorf("public_key: %w", err)
	}
	key, err := eccrypto.ParsePublicKey(data)
	if err != nil {
		return nil, fmt.Errorf("public_key %s: %w", i.PublicKey, err)
	}
	return key, nil
}

// grant returns what i may grant, under the relay's own longest lifetime.
func (i *Issuer) grant(name string, maxTTL caddy.Duration) grant.Issuer {
	if i.MaxTTL > 0 && i.MaxTTL < maxTTL {
		maxTTL = i.MaxTTL
	}
	return grant.Issuer{
		Name:        name,
		Providers:   i.Providers,
		CarriedKeys: i.CarriedKeys,
		MaxTTL:      time.Duration(maxTTL),
	}
}
