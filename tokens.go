package relayapi

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/relayapi/caddy-relayapi/eccrypto"
	"github.com/relayapi/caddy-relayapi/grant"
	"github.com/relayapi/caddy-relayapi/internal/adminapi"
	"github.com/relayapi/caddy-relayapi/internal/limits"
	"github.com/relayapi/caddy-relayapi/internal/login"
	"github.com/relayapi/caddy-relayapi/internal/metrics"
	"github.com/relayapi/caddy-relayapi/internal/mint"
	"github.com/relayapi/caddy-relayapi/internal/ratelimit"
	"github.com/relayapi/caddy-relayapi/internal/realkey"
	"github.com/relayapi/caddy-relayapi/tokenstore"
)

// tokenCacheSize bounds the memory for opened tokens, about 1 KiB each.
const tokenCacheSize = 100_000

// tokenCache opens tokens and remembers those that verified. It is a 2Q cache, which
// keeps tokens in use even when many others are sent only once.
type tokenCache struct {
	opener    *eccrypto.Opener
	issuers   map[string]grant.Issuer
	logins    map[string]*Issuer // those with a login
	finder    *login.Finder      // of these
	providers map[string]*Provider
	cache     *lru.TwoQueueCache[[sha256.Size]byte, *permit]
	refused   *lru.Cache[[sha256.Size]byte, refusedToken]
	turns     ratelimit.Turns[netip.Prefix]
}

// The cache remembers refusals too, so that it does not open a bad token each time it
// is sent.
const (
	refusedFor   = 30 * time.Second
	refusedCount = 4096
)

// refusedToken is the refusal of a token, and when the cache forgets it.
type refusedToken struct {
	why   *grant.Denial
	until time.Time
}

// permit is an opened token: its grant, bound to this config.
type permit struct {
	*grant.Grant
	token    *tokenstore.Token // as the ledger knows it
	provider *Provider
	carried  *realkey.Key // the token's own key; nil means the provider's

	plan   int           // of the login's user; -1 means none
	holder limits.Holder // of the counters that its calls count on
	paceID string        // key of its rate and concurrency
	stats  *metrics.Caller

	bodies atomic.Int64 // memory of its calls' bodies, in bytes
}

func newTokenCache(opener *eccrypto.Opener, issuers map[string]grant.Issuer, logins map[string]*Issuer, finder *login.Finder, providers map[string]*Provider) (*tokenCache, error) {
	cache, err := lru.New2Q[[sha256.Size]byte, *permit](tokenCacheSize)
	if err != nil {
		return nil, err
	}
	refused, err := lru.New[[sha256.Size]byte, refusedToken](refusedCount)
	if err != nil {
		return nil, err
	}
	return &tokenCache{opener: opener, issuers: issuers, logins: logins, finder: finder, providers: providers, cache: cache, refused: refused}, nil
}

// open returns the permit of a client's token. The caller checks with its grant at each
// request whether the token is in force and permits the request. provider is the
// provider in the request's path, because a login token names none.
func (c *tokenCache) open(ctx context.Context, client netip.Prefix, token, provider string) (*permit, error) {
	sum := sumOf(token)
	if isLogin(token) {
		var both [sha256.Size + 64]byte // a name of a provider has at most 64 bytes
		sum = sha256.Sum256(append(append(both[:0], sum[:]...), provider...))
	}
	if p, ok := c.cache.Get(sum); ok {
		stats.LookedUp(metrics.Hit)
		return p, nil
	}
	if r, ok := c.refused.Get(sum); ok && time.Now().Before(r.until) {
		stats.LookedUp(metrics.RememberedBad)
		return nil, r.why
	}

	stats.LookedUp(metrics.Miss)
	done, err := c.turns.Wait(ctx, client)
	if err != nil {
		return nil, err
	}
	defer done()
	if p, ok := c.cache.Get(sum); ok { // another call has opened it meanwhile
		return p, nil
	}

	p, _, err := c.compile(ctx, token, provider)
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

// sumOf returns the hash of a token. Only very long tokens are copied to the heap.
func sumOf(token string) [sha256.Size]byte {
	var room [2 << 10]byte
	return sha256.Sum256(append(room[:0], token...))
}

// compile opens a token, cached or not. Its error is a *grant.Denial or that of ctx. It
// returns verified claims even when it denies them.
func (c *tokenCache) compile(ctx context.Context, token, provider string) (*permit, *grant.Claims, error) {
	if isLogin(token) {
		return c.compileLogin(ctx, token, provider)
	}
	opened, err := mint.Open(ctx, c.opener, token)
	if err != nil {
		return nil, nil, err
	}
	claims, err := grant.ParseClaims(opened.Claims)
	if err != nil {
		return nil, claims, err
	}

	issuer, byLogin := c.issuers[opened.Issuer], c.logins[opened.Issuer]
	var perUser []tokenstore.Limit
	userPlan := ""
	if byLogin != nil { // minted for a user of the login
		userPlan = mint.PlanOf(claims.ID)
		plan, ok := byLogin.Login.verifier.RuleOf(userPlan)
		if !ok {
			return nil, claims, &grant.Denial{Reason: grant.BeyondGrant, Rule: "the config no longer has the plan that the token was minted under"}
		}
		issuer, perUser = c.userGrant(opened.Issuer, plan)
	}
	p, err := c.permit(claims, issuer, opened.KeyID)
	if err != nil {
		return nil, claims, err
	}
	if p.paceID = p.holder.Token; byLogin != nil {
		p.holder.Own, p.paceID = perUser, p.holder.Subject
	}
	p.token = &tokenstore.Token{
		Issuer: p.Issuer, ID: p.ID, Subject: p.Subject, Provider: p.Provider, Claimed: limits.Claimed(claims), Limits: limits.Own(p.Grant),
		Fingerprint: claims.Fingerprint(), IssuedAt: p.IssuedAt.Time(), ExpiresAt: p.ExpiresAt.Time(),
		Permits: adminapi.DescribePermits(claims, p.Grant, userPlan),
	}

	switch {
	case p.APIKey != "":
		p.carried = realkey.New(p.APIKey, p.provider.credential, "the key in the token", false)
	case p.provider.keyMissing:
		return nil, claims, keyless(p.Provider)
	}
	return p, claims, nil
}

// permit binds claims to their issuer and their provider.
func (c *tokenCache) permit(claims *grant.Claims, issuer grant.Issuer, keyID string) (p *permit, err error) {
	p = &permit{provider: c.providers[claims.Provider]}
	var routes *grant.Routes
	if p.provider != nil {
		routes = p.provider.routes
	}
	p.Grant, err = grant.Compile(claims, issuer, keyID, routes)
	if err != nil {
		return nil, err
	}
	p.holder = limits.NewHolder(p.Issuer, p.ID, p.Subject)
	p.stats = stats.Caller(p.Provider, p.Issuer)
	return p, nil
}

// anyProvider stands for the provider of a login token that is not sent to a provider.
const anyProvider = "*"

// isLogin reports whether a token is a login token: it is signed and so has two dots,
// unlike an encrypted one.
func isLogin(token string) bool { return strings.Count(token, ".") == 2 }

// userGrant returns the grants of an issuer for a user of its login under a plan, and
// the user's limits.
func (c *tokenCache) userGrant(name string, plan int) (grant.Issuer, []tokenstore.Limit) {
	perUser, rates, allow := c.logins[name].Login.plan(plan, c.logins[name])
	may := c.issuers[name]
	may.Limits, may.Allow = rates, allow
	return may, storedLimits(perUser)
}

// compileLogin verifies a login token. The ledger has one identity for each user and
// provider, not one for each token.
func (c *tokenCache) compileLogin(ctx context.Context, token, provider string) (*permit, *grant.Claims, error) {
	name, found := c.finder.Find(token)
	if !found {
		return nil, nil, &grant.Denial{Reason: grant.Invalid, Rule: "no issuer has the login of this token"}
	}
	issuer := c.logins[name]
	user, err := issuer.Login.verifier.Verify(ctx, token, time.Now())
	var refused *login.Refusal
	switch {
	case errors.As(err, &refused):
		return nil, nil, refused.Denial()
	case err != nil:
		return nil, nil, err
	}

	several := len(issuer.Providers) > 1
	switch {
	case provider == "" && several:
		return nil, nil, &grant.Denial{Reason: grant.NoProvider, Rule: "the login's issuer has several providers, and the path names none; set `prefix` in the relayapi directive"}
	case provider == "" || provider == anyProvider:
		provider = issuer.Providers[0]
	}
	may, perUser := c.userGrant(name, user.Rule)
	id := sha256.Sum256([]byte(user.Subject + " " + provider))
	last := user.IssuedAt.Add(may.MaxTTL)
	claims := &grant.Claims{
		Issuer: name, Subject: user.Subject, ID: fmt.Sprintf("login-%x", id[:16]), Provider: provider, Limits: &may.Limits,
		IssuedAt: grant.NumericDate(user.IssuedAt.Unix()), ExpiresAt: grant.NumericDate(min(user.Expires.Unix(), last.Unix())),
	}
	if !user.NotBefore.IsZero() {
		claims.NotBefore = grant.NumericDate(user.NotBefore.Unix())
	}

	p, err := c.permit(claims, may, "")
	if err != nil {
		return nil, claims, err
	}
	if p.provider.keyMissing {
		return nil, claims, keyless(provider)
	}
	p.holder.Own, p.paceID, p.plan = perUser, p.holder.Subject, user.Rule
	p.token = &tokenstore.Token{
		Issuer: name, ID: p.ID, Subject: p.Subject, Provider: provider, Fingerprint: sha256.Sum256([]byte("login")),
		Permits:  adminapi.DescribePermits(claims, p.Grant, issuer.Login.verifier.RuleID(user.Rule)),
		IssuedAt: user.IssuedAt, ExpiresAt: last, // a stream may outlive the login token until then
	}
	return p, claims, nil
}

// keyless refuses a token without a key for a provider without one.
func keyless(provider string) error {
	return &grant.Denial{Reason: grant.NoProvider, Rule: "the relay has no key for provider " + provider + ", and the token carries none"}
}
