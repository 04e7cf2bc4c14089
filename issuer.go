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
	"github.com/relayapi/caddy-relayapi/internal/mint"
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

	// The providers that its tokens may name. At least one is required.
	Providers []string `json:"providers,omitempty"`

	// Whether its tokens may carry a real API key. Default: false.
	CarriedKeys bool `json:"carried_keys,omitempty"`

	// The longest lifetime of its tokens, at most the relay's max_ttl. Default: the
	// relay's max_ttl.
	MaxTTL caddy.Duration `json:"max_ttl,omitempty"`

	// The most that its tokens may have of each limit. A token without a limit of its
	// own has this one.
	Limits grant.Limits `json:"limits,omitzero"`

	// What requests with its tokens must match, in addition to what the tokens say.
	Allow grant.Allow `json:"allow,omitzero"`

	digest [sha256.Size]byte // of the secret
}

// minSecret is the shortest secret, in characters.
const minSecret = 16

// errLiteralSecret quotes nothing, because that may be a secret.
var errLiteralSecret = errors.New("secret must be a placeholder, {env.NAME} or {file.PATH}; the config would show a literal one, which {$NAME} makes")

// check returns what is wrong with an issuer by itself.
func (i *Issuer) check(name string) error {
	own := name == mint.RelayIssuer
	switch {
	case i == nil:
		return errors.New("it has no settings")
	case !grant.ValidName(name):
		return errInvalidName
	case i.MaxTTL < 0:
		return errors.New("max_ttl must be positive")
	case own && i.PublicKey != "":
		return errors.New("this is the relay's own issuer, which makes its own key; remove public_key or choose another name")
	case own && i.Secret != "":
		return errors.New("this is the relay's own issuer, which mints at the admin endpoint; remove secret or choose another name")
	case !own && i.PublicKey == "" && i.Secret == "":
		return errors.New("public_key is missing; name the PEM or JWK file of the key that signs its tokens, or set a secret to mint with over HTTP")
	case i.PublicKey != "" && i.Secret != "":
		return errors.New("it has a public_key and a secret; it either signs its tokens or mints over HTTP, remove one")
	case i.Secret != "" && !placeholder.MatchString(i.Secret):
		return errLiteralSecret
	}
	if err := i.Limits.Validate(); err != nil {
		return err
	}
	return i.Allow.Validate()
}

// provision checks the issuer and returns its public key. The relay's own issuer has
// none yet, nor has one that the relay signs for.
func (i *Issuer) provision(name string, a *App) (*eccrypto.PublicKey, error) {
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
	case i.Secret != "":
		return nil, i.readSecret()
	case i.PublicKey == "":
		return nil, nil
	}
	data, _, err := keyfile.Read(expand(i.PublicKey))
	if err != nil {
		return nil, fmt.Errorf("public_key: %w", err)
	}
	key, err := eccrypto.ParsePublicKey(data)
	if err != nil {
		return nil, fmt.Errorf("public_key %s: %w", i.PublicKey, err)
	}
	return key, nil
}

// readSecret resolves the placeholder. Its errors quote no value, which might be a
// secret in the wrong place.
func (i *Issuer) readSecret() error {
	value, _ := caddy.NewReplacer().GetString(i.Secret[1 : len(i.Secret)-1])
	value = strings.TrimSpace(value)
	switch {
	case value == "":
		return fmt.Errorf("%s is not set or empty; set it to a secret of %d or more characters, for example from `openssl rand -hex 32`", i.Secret, minSecret)
	case !grant.ValidAPIKey(value): // it goes where keys go, in a header
		return fmt.Errorf("%s must be one word of printable ASCII", i.Secret)
	case len(value) < minSecret:
		return fmt.Errorf("%s has fewer than %d characters, which can be guessed; `openssl rand -hex 32` makes a good one", i.Secret, minSecret)
	}
	i.digest = sha256.Sum256([]byte(value))
	return nil
}

// grant returns what the issuer may grant. maxTTL is the relay's.
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
