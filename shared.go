package relayapi

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/relayapi/caddy-relayapi/internal/adminapi"
	"github.com/relayapi/caddy-relayapi/internal/bodies"
	"github.com/relayapi/caddy-relayapi/internal/login"
	"github.com/relayapi/caddy-relayapi/internal/pool"
	"github.com/relayapi/caddy-relayapi/internal/ratelimit"
	"github.com/relayapi/caddy-relayapi/internal/store"
	"github.com/relayapi/caddy-relayapi/tokenstore"
	"go.uber.org/zap"
)

// stores holds the open stores by path or connection string.
var stores = pool.New()

// pooledStore is a store in the pool, with everything else that must outlive a
// reload.
type pooledStore struct {
	*tokenstore.Ledger
	live      live
	paces     *ratelimit.Limiter[string] // calls by token: limits.rpm and limits.concurrency
	rates     ratelimit.Rules[netip.Prefix]
	guesses   *ratelimit.Limiter[netip.Prefix] // wrong secrets of issuers, by client
	exchanges *ratelimit.Limiter[string]       // tokens minted for users of logins, by subject
	logins    sync.Map                         // the latest *login.Verifier, by issuer
	bodies    bodies.Budget                    // of buffered bodies and messages

	unwatch     func() // ends its metrics
	heartbeats  adminapi.Heartbeats
	keyRefusals *lru.Cache[string, adminapi.KeyRefusal] // the latest, by token
	done        chan struct{}                           // closed by Destruct
}

const (
	maxBodies    = 512 << 20 // bytes
	keptRefusals = 1024      // tokens whose latest refusal of the key is kept
	guessClients = 1 << 13   // clients whose wrong secrets are counted
)

func openStore(ctx context.Context, config *store.Config) (caddy.Destructor, error) {
	refusals, err := lru.New[string, adminapi.KeyRefusal](keptRefusals)
	if err != nil {
		return nil, err
	}
	s := &pooledStore{
		paces:       ratelimit.New[string](time.Minute, paceTokens),
		guesses:     ratelimit.New[netip.Prefix](time.Minute, guessClients),
		exchanges:   ratelimit.New[string](time.Minute, guessClients),
		bodies:      bodies.Budget{Most: maxBodies},
		keyRefusals: refusals,
		done:        make(chan struct{}),
	}
	s.Ledger, err = config.Open(ctx, func(matches func(*tokenstore.Token) bool) { s.live.end(endRevoked, matches) })
	if err != nil {
		return nil, err
	}
	s.unwatch = stats.Watch(s)
	if shared := s.Shared(); shared != nil {
		s.heartbeats.Share(shared, func(i adminapi.Identity) error { return s.revokeSilent(i, caddy.Log().Named("relayapi")) })
	}
	go s.live.watch(s.done)
	return s, nil
}

// Destruct closes the store when no config uses it any more.
func (s *pooledStore) Destruct() error {
	close(s.done)
	s.unwatch()
	s.heartbeats.Close()
	return s.Close()
}

// ledger is the hold of one config, and of its requests, on a store.
type ledger struct {
	*pooledStore
	uses   *pool.Hold
	logger *zap.Logger
}

func acquireLedger(ctx context.Context, config *store.Config, logger *zap.Logger) (*ledger, error) {
	key, err := config.Key()
	if err != nil {
		return nil, err
	}
	uses, err := stores.Acquire(key, func() (caddy.Destructor, error) { return openStore(ctx, config) })
	if err != nil {
		return nil, fmt.Errorf("opening store %s: %w", config.Name(), err)
	}
	return &ledger{pooledStore: uses.Value.(*pooledStore), uses: uses, logger: logger}, nil
}

// startLogin starts a verifier with the keys of the previous config, because the login
// provider may be down during the reload.
func (s *pooledStore) startLogin(ctx context.Context, name string, v *login.Verifier) {
	if former, ok := s.logins.Swap(name, v); ok {
		v.Inherit(former.(*login.Verifier))
	}
	v.Start(ctx)
}

// shareOf is the share of a token in the memory for bodies.
func (l *ledger) shareOf(p *permit) bodies.Share { return l.bodies.ShareOf(&p.bodies) }

// hold keeps the store open for a request. It reports false when the store is
// closed.
func (l *ledger) hold() bool { return l.uses.Take() }

// release releases one hold. The last one releases the store.
func (l *ledger) release() {
	if err := l.uses.Release(); err != nil {
		l.logger.Error("closing the store", zap.Error(err))
	}
}
