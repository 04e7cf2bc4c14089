// Package mint mints and inspects tokens.
package mint

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"time"

	"github.com/relayapi/caddy-relayapi/eccrypto"
	"github.com/relayapi/caddy-relayapi/grant"
	"github.com/relayapi/caddy-relayapi/internal/redact"
)

// RelayIssuer is the name of a relay's own issuer.
const RelayIssuer = "relay"

// DefaultTTL is the lifetime of a token that is minted without one.
const DefaultTTL = 24 * time.Hour

// Minter mints tokens as one issuer for one relay.
type Minter struct {
	Issuer    grant.Issuer
	Signer    *eccrypto.PrivateKey // of the issuer
	Recipient *eccrypto.PublicKey  // of the relay
}

// Minted is a new token.
type Minted struct {
	Token     string    `json:"token"`
	ID        string    `json:"id"`
	Issuer    string    `json:"issuer"`
	ExpiresAt time.Time `json:"expires_at"`
}

// Mint completes a draft and seals it. Issuer and audience are the minter's. The id is
// random, the time of issue is now, and the token expires after [DefaultTTL] or the
// issuer's MaxTTL, unless the draft says otherwise.
func (m *Minter) Mint(draft *grant.Claims, now time.Time) (*Minted, error) {
	c := *draft
	c.Issuer = m.Issuer.Name
	c.Audience = grant.Audience(m.Recipient.ID())
	if c.ID == "" {
		c.ID = rand.Text()
	}
	if c.IssuedAt == 0 {
		c.IssuedAt = grant.NumericDate(now.Unix())
	}
	if c.ExpiresAt == 0 {
		ttl := DefaultTTL
		if m.Issuer.MaxTTL > 0 {
			ttl = min(ttl, m.Issuer.MaxTTL)
		}
		c.ExpiresAt = c.IssuedAt + grant.NumericDate(ttl/time.Second)
	}
	if err := c.Validate(); err != nil {
		return nil, err
	}
	data, err := json.Marshal(&c)
	if err != nil {
		return nil, err
	}
	token, err := eccrypto.Seal(data, c.Issuer, m.Signer, m.Recipient)
	if err != nil {
		return nil, err
	}
	return &Minted{Token: token, ID: c.ID, Issuer: c.Issuer, ExpiresAt: c.ExpiresAt.Time().UTC()}, nil
}

// Inspection is the contents of a token, and whether it is accepted.
type Inspection struct {
	Accepted bool          `json:"accepted"`
	Code     string        `json:"code,omitempty"` // of the refusal
	Rule     string        `json:"rule,omitempty"` // that was broken
	Claims   *grant.Claims `json:"claims,omitempty"`
}

// Inspect opens a token and returns its contents, without a carried key.
func Inspect(open func(token string) (*grant.Claims, error), token string) Inspection {
	claims, err := open(token)
	i := Inspection{Accepted: err == nil, Claims: claims}

	var denial *grant.Denial
	switch slip := eccrypto.Misshapen(token); {
	case err == nil:
	case slip != "":
		i.Code, i.Rule = string(grant.Invalid), "it is "+slip
	case errors.As(err, &denial):
		i.Code, i.Rule = string(denial.Reason), redact.Text(denial.Rule)
	default:
		i.Code, i.Rule = "not_ready", redact.Text(err.Error())
	}
	if claims != nil && claims.APIKey != "" {
		claims.APIKey = "***"
	}
	return i
}

// Open opens a token with an opener. The error is a [*grant.Denial] or that of ctx.
func Open(ctx context.Context, opener *eccrypto.Opener, token string) (*eccrypto.Opened, error) {
	opened, err := opener.Open(ctx, token)
	var refused *eccrypto.Refusal
	if errors.As(err, &refused) {
		return nil, &grant.Denial{Reason: grant.Invalid, Rule: refused.Rule}
	}
	return opened, err
}
