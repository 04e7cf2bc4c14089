package relayapi

import (
	"context"
	"crypto/sha256"
	"errors"
	"sync/atomic"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/relayapi/caddy-relayapi/eccrypto"
	"github.com/relayapi/caddy-relayapi/grant"
	"github.com/relayapi/caddy-relayapi/tokenstore"
)

// tokenCacheSize bounds the memory for opened tokens, about 1 KiB each.
const tokenCacheSize = 100_000

// tokenCache opens tokens and remembers the grants of those that verified. A 2Q
// cache keeps tokens in use although others are sent once and never again.
type tokenCache struct {
	opener    *eccrypto.Opener
	issuers   map[string]grant.Issuer
	providers map[string]*Provider
	cache     *lru.TwoQueueCache[[sha256.Size]byte, *permit]
}

// permit is an opened token: its grant, bound to this config.
type permit struct {
	*grant.Grant
	token    *tokenstore.Token // as the ledger knows it
	provider *Provider
	carried  *secret // nil: the provider's own keys

	tokenID, subjectID string // of their counters

	bodies atomic.Int64 // memory that those of its calls take
}

// counterID is the id of the counter that the token's calls count on.
func (p *permit) counterID(scope tokenstore.Scope) string {
	switch scope {
	case tokenstore.ScopeToken:
		return p.tokenID
	case tokenstore.ScopeSubject:
		return p.subjectID
	default:
		return p.Issuer
	}
}

func newTokenCache(opener *eccrypto.Opener, issuers map[string]grant.Issuer, providers map[string]*Provider) (*tokenCache, error) {
	cache, err := lru.New2Q[[sha256.Size]byte, *permit](tokenCacheSize)
	return &tokenCache{opener, issuers, providers, cache}, err
}

// open returns what the token permits. Expiry and constraints are not decided
// here but asked of the grant on every request, cached or not.
func (c *tokenCache) open(ctx context.Context, token string) (*permit, error) {
	var room [2048]byte // most tokens are shorter, and need no other copy
	sum := sha256.Sum256(append(room[:0], token...))
	if p, ok := c.cache.Get(sum); ok {
		return p, nil
	}
	p, _, err := c.compile(ctx, token)
	if err != nil {
		return nil, err
	}
	c.cache.Add(sum, p)
	return p, nil
}

// compile opens a token afresh. Its errors are of the policy (*grant.Denial),
// or of ctx. The claims are those that verified, also when they are denied.
func (c *tokenCache) compile(ctx context.Context, token string) (*permit, *grant.Claims, error) {
	opened, err := openToken(ctx, c.opener, token)
	if err != nil {
		return nil, nil, err
	}
	claims, err := grant.ParseClaims(opened.Claims)
	if err != nil {
		return nil, claims, err
	}
	p := &permit{provider: c.providers[claims.Provider]}
	var routes *grant.Routes
	if p.provider != nil {
		routes = p.provider.routes
	}
	p.Grant, err = grant.Compile(claims, c.issuers[opened.Issuer], opened.KeyID, routes)
	if err != nil {
		return nil, claims, err
	}
	// The parts are of the whole: each token in use has these strings once.
	p.tokenID, p.subjectID = p.Issuer+"/"+p.ID, p.Issuer+"/"+p.Subject
	p.ID, p.Subject = p.tokenID[len(p.Issuer)+1:], p.subjectID[len(p.Issuer)+1:]
	p.token = &tokenstore.Token{
		Issuer: p.Issuer, ID: p.ID, Subject: p.Subject, Provider: p.Provider,
		Fingerprint: claims.Fingerprint(), IssuedAt: p.IssuedAt.Time(), ExpiresAt: p.ExpiresAt.Time(),
	}
	switch {
	case p.APIKey != "":
		p.carried = newSecret(p.APIKey, p.provider.credential.Value(p.APIKey), "the key in the token")
	case p.provider.keyMissing:
		return nil, claims, &grant.Denial{Reason: grant.NoProvider, Rule: "the relay has no key for provider " + p.Provider + ", and the token brings none"}
	}
	return p, claims, nil
}

// openToken opens a token. Its errors are of the policy, or of ctx.
func openToken(ctx context.Context, opener *eccrypto.Opener, token string) (*eccrypto.Opened, error) {
	opened, err := opener.Open(ctx, token)
	var refused *eccrypto.Refusal
	if errors.As(err, &refused) {
		return nil, &grant.Denial{Reason: grant.Invalid, Rule: refused.Rule}
	}
	return opened, err
}
