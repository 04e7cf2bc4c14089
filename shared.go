package relayapi

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/relayapi/caddy-relayapi/internal/adminapi"
	"github.com/relayapi/caddy-relayapi/internal/bodies"
	"github.com/relayapi/caddy-relayapi/internal/ratelimit"
	"github.com/relayapi/caddy-relayapi/tokenstore"
	"go.uber.org/zap"
)

// stores holds the open stores by path. A reload starts the new config before it
// stops the old one, and both must count in the same place.
var stores = caddy.NewUsagePool()

// opening is held while a store is opened or closed. The pool forgets a store before
// it is closed, so a config that starts at that moment waits until the file is free.
var opening sync.Mutex

// pooledStore is a store in the pool, with everything else that must outlive a
// reload.
type pooledStore struct {
	*tokenstore.Ledger
	live    live
	paces   *ratelimit.Limiter[string] // calls by token: limits.rpm and limits.concurrency
	rates   rates
	guesses *ratelimit.Limiter[netip.Prefix] // wrong secrets of issuers, by client
	bodies  bodies.Budget                    // of bodies and messages that are looked into

	heartbeats  adminapi.Heartbeats
	keyRefusals *lru.Cache[string, adminapi.KeyRefusal] // the latest, by token
	done        chan struct{}                           // closed by Destruct
}

const (
	maxBodies    = 512 << 20 // bytes
	keptRefusals = 1024      // tokens whose latest refusal of the key is kept
	guessClients = 1 << 13   // clients whose wrong secrets are counted
)

func openStore(ctx context.Context, path string) (caddy.Destructor, error) {
	ledger, err := tokenstore.OpenSQLite(ctx, path)
	if err != nil {
		return nil, err
	}
	refusals, err := lru.New[string, adminapi.KeyRefusal](keptRefusals)
	if err != nil {
		return nil, err
	}
	s := &pooledStore{
		Ledger:      ledger,
		paces:       ratelimit.New[string](time.Minute, paceTokens),
		guesses:     ratelimit.New[netip.Prefix](time.Minute, guessClients),
		bodies:      bodies.Budget{Most: maxBodies},
		keyRefusals: refusals,
		done:        make(chan struct{}),
	}
	go s.live.watch(s.done)
	return s, nil
}

// Destruct closes the store when no config uses it any more.
func (s *pooledStore) Destruct() error {
	close(s.done)
	s.heartbeats.Close()
	return s.Close()
}

// ledger is one config's hold on a store. Requests hold it too: Caddy cleans a config
// up while its streams are live, and they settle later.
type ledger struct {
	*pooledStore
	path   string
	logger *zap.Logger
	refs   atomic.Int64 // the config's own and one per request; 0 is released
}

func acquireLedger(ctx context.Context, path string, logger *zap.Logger) (*ledger, error) {
	path, err := tokenstore.Resolve(path) // one store has one name
	if err != nil {
		return nil, fmt.Errorf("finding store: %w", err)
	}

	opening.Lock()
	defer opening.Unlock()
	pooled, _, err := stores.LoadOrNew(path, func() (caddy.Destructor, error) { return openStore(ctx, path) })
	if err != nil {
		return nil, fmt.Errorf("opening store %s: %w", path, err)
	}
	l := &ledger{pooledStore: pooled.(*pooledStore), path: path, logger: logger}
	l.refs.Store(1)
	return l, nil
}

// shareOf is the share of a token in the memory for bodies.
func (l *ledger) shareOf(p *permit) bodies.Share { return l.bodies.ShareOf(&p.bodies) }

// hold keeps the store open for a request. It reports false when the store is
// closed.
func (l *ledger) hold() bool {
	for {
		n := l.refs.Load()
		if n == 0 {
			return l.holdAgain()
		}
		if l.refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// holdAgain is for a request that comes after its config was cleaned up. A server
// that is closing still serves requests on its HTTP/2 connections until their
// clients have heard of it. The store is still open after a reload.
func (l *ledger) holdAgain() bool {
	opening.Lock()
	defer opening.Unlock()
	for n := l.refs.Load(); n > 0; n = l.refs.Load() { // another request was first
		if l.refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
	pooled, _, err := stores.LoadOrNew(l.path, func() (caddy.Destructor, error) { return nil, errClosing })
	if err != nil {
		return false
	}
	if pooled != any(l.pooledStore) { // the store was closed and opened again
		_, _ = stores.Delete(l.path)
		return false
	}
	l.refs.Add(1)
	return true
}

var errClosing = errors.New("the store is closed")

// release gives up one hold, and the store with the last one.
func (l *ledger) release() {
	if l.refs.Add(-1) > 0 {
		return
	}
	opening.Lock()
	defer opening.Unlock()
	if _, err := stores.Delete(l.path); err != nil {
		l.logger.Error("closing the store", zap.Error(err))
	}
}
