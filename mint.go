package relayapi

import (
	"crypto/rand"
	"encoding/json"
	"time"

	"github.com/relayapi/caddy-relayapi/eccrypto"
	"github.com/relayapi/caddy-relayapi/grant"
)

// defaultTTL is the lifetime of a token that is minted without one.
const defaultTTL = 24 * time.Hour

// minter mints tokens as one issuer for one relay.
type minter struct {
	issuer    grant.Issuer
	signer    *eccrypto.PrivateKey
	recipient *eccrypto.PublicKey
}

// minted is a new token and what there is to say of it.
type minted struct {
	Token     string    `json:"token"`
	ID        string    `json:"id"`
	Issuer    string    `json:"issuer"`
	ExpiresAt time.Time `json:"expires_at"`
}

// mint completes a draft and seals it: the issuer and the audience are the
// minter's, and id, time of issue and expiry default to a random one, now, and
// a day from then.
func (m *minter) mint(draft *grant.Claims, now time.Time) (*minted, error) {
	c := *draft
	c.Issuer = m.issuer.Name
	c.Audience = grant.Audience(m.recipient.ID())
	if c.ID == "" {
		c.ID = rand.Text()
	}
	if c.IssuedAt == 0 {
		c.IssuedAt = grant.NumericDate(now.Unix())
	}
	if c.ExpiresAt == 0 {
		ttl := defaultTTL
		if m.issuer.MaxTTL > 0 {
			ttl = min(ttl, m.issuer.MaxTTL)
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
	token, err := eccrypto.Seal(data, c.Issuer, m.signer, m.recipient)
	if err != nil {
		return nil, err
	}
	return &minted{Token: token, ID: c.ID, Issuer: c.Issuer, ExpiresAt: c.ExpiresAt.Time().UTC()}, nil
}

// inspection is what a token says and whether it would be accepted.
type inspection struct {
	Accepted bool          `json:"accepted"`
	Code     string        `json:"code,omitempty"` // of the refusal
	Rule     string        `json:"rule,omitempty"` // that was broken
	Claims   *grant.Claims `json:"claims,omitempty"`
}

// inspect opens a token and tells about it. A carried key is not shown.
func inspect(open func(token string) (*grant.Claims, error), token string) inspection {
	claims, err := open(token)
	i := inspection{Accepted: err == nil, Claims: claims}
	if err != nil {
		f := denied(err)
		i.Code, i.Rule = f.code, f.rule
		if what := eccrypto.Misshapen(token); what != "" {
			i.Rule = "it is " + what
		}
	}
	if claims != nil && claims.APIKey != "" {
		claims.APIKey = "***"
	}
	return i
}
