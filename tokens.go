package relayapi

import (
	"context"
	"crypto/sha256"
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/relayapi/caddy-relayapi/eccrypto"
	"github.com/relayapi/caddy-relayapi/grant"
	"github.com/relayapi/caddy-relayapi/internal/realkey"
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
	refused   *lru.Cache[[sha256.Size]byte, refusedToken]
	turns     turns
}

// How long and of how many a refusal is remembered, so that a client that sends
// one bad token again and again does not have it opened each time.
const (
	refusedFor   = 30 * time.Second
	refusedCount = 4096
)

type refusedToken struct {
	why   *grant.Denial
	until time.Time
}

// permit is an opened token: its grant, bound to this config.
type permit struct {
	*grant.Grant
	token    *tokenstore.Token // as the ledger knows it
	provider *Provider
	carried  *realkey.Key // nil: the provider's own keys

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
	if err != nil {
		return nil, err
	}
	refused, err := lru.New[[sha256.Size]byte, refusedToken](refusedCount)
	return &tokenCache{opener: opener, issuers: issuers, providers: providers, cache: cache, refused: refused}, err
}

// open returns what the token of a client permits. Expiry and constraints are not
// decided here but asked of the grant on every request, cached or not.
func (c *tokenCache) open(ctx context.Context, client netip.Prefix, token string) (*permit, error) {
	var room [2048]byte // most tokens are shorter, and need no other copy
	sum := sha256.Sum256(append(room[:0], token...))
	if p, ok := c.cache.Get(sum); ok {
		return p, nil
	}
	if r, ok := c.refused.Get(sum); ok && time.Now().Before(r.until) {
		return nil, r.why
	}

	done, err := c.turns.wait(ctx, client)
	if err != nil {
		return nil, err
	}
	defer done()
	if p, ok := c.cache.Get(sum); ok { // it was opened meanwhile
		return p, nil
	}
	p, _, err := c.compile(ctx, token)
	var denial *grant.Denial
	switch {
	case errors.As(err, &denial):
		c.refused.Add(sum, refusedToken{denial, time.Now().Add(refusedFor)})
		return nil, err
	case err != nil:
		return nil, err
	}
	c.cache.Add(sum, p)
	return p, nil
}

// turns let each client have one token opened at a time. Openers are few, so
// that a client who sends many tokens would otherwise have all of them.
type turns struct {
	mu      sync.Mutex
	clients map[netip.Prefix]*turn // those who wait or have theirs
}

type turn struct {
	taken   chan struct{} // holds one
	waiting int           // or having it
}

// wait waits for the client's turn, which lasts until done is called.
func (t *turns) wait(ctx context.Context, client netip.Prefix) (done func(), err error) {
	t.mu.Lock()
	own := t.clients[client]
	if own == nil {
		if t.clients == nil {
			t.clients = make(map[netip.Prefix]*turn)
		}
		own = &turn{taken: make(chan struct{}, 1)}
		t.clients[client] = own
	}
	own.waiting++
	t.mu.Unlock()

	leave := func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if own.waiting--; own.waiting == 0 {
			delete(t.clients, client)
		}
	}
	select {
	case own.taken <- struct{}{}:
		return func() { <-own.taken; leave() }, nil
	case <-ctx.Done():
		leave()
		return nil, ctx.Err()
	}
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
	if err := checkEnforced(claims.Limits); err != nil {
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
		Issuer: p.Issuer, ID: p.ID, Subject: p.Subject, Provider: p.Provider, CallsLimit: claimedCalls(claims),
		Fingerprint: claims.Fingerprint(), IssuedAt: p.IssuedAt.Time(), ExpiresAt: p.ExpiresAt.Time(),
	}
	switch {
	case p.APIKey != "":
		p.carried = realkey.New(p.APIKey, p.provider.credential, "the key in the token", false)
	case p.provider.keyMissing:
		return nil, claims, &grant.Denial{Reason: grant.NoProvider, Rule: "the relay has no key for provider " + p.Provider + ", and the token brings none"}
	}
	return p, claims, nil
}

// checkEnforced refuses limits that the relay does not enforce.
func checkEnforced(l *grant.Limits) error {
	switch {
	case l == nil:
		return nil
	case l.Tokens != nil:
		return &grant.Denial{Reason: grant.Invalid, Rule: "limits.tokens is not enforced by this relay"}
	case l.USD != nil:
		return &grant.Denial{Reason: grant.Invalid, Rule: "limits.usd is not enforced by this relay"}
	}
	return nil
}

// claimedCalls is the limit of calls that the claims name; 0 means none. The
// issuer's, which may hold instead, can change with the config.
func claimedCalls(c *grant.Claims) int64 {
	if c.Limits == nil || c.Limits.Calls == nil {
		return 0
	}
	return *c.Limits.Calls
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
