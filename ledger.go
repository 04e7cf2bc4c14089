package relayapi

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"
	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/relayapi/caddy-relayapi/tokenstore"
	"go.uber.org/zap"
)

// stores holds the open stores by path: a reload starts the new config before
// it stops the old one, and both must count in the same place.
var stores = caddy.NewUsagePool()

// opening is held while a store is opened or closed: the pool forgets a store before
// it is closed, and a config that comes at that moment waits until its file is free.
var opening sync.Mutex

// pooledStore is a store in the pool, the calls that are under way on it, and
// what else must outlive a reload.
type pooledStore struct {
	*tokenstore.Ledger
	live    live
	paces   paces
	rates   rates
	bodies  atomic.Int64 // memory that those take which are held
	guesses *guesses     // at the secrets of issuers

	keyRefusals *lru.Cache[string, keyRefusal] // the latest, by token
	done        chan struct{}                  // closed by Destruct
}

// keptRefusals is of how many tokens the latest refusal of the key is kept.
const keptRefusals = 1024

// Destruct closes the store when the last config has let go of it.
func (s *pooledStore) Destruct() error {
	close(s.done)
	return s.Close()
}

// ledger is one config's hold on a store. Requests hold it too: a config is
// cleaned up while its streams are live, and they settle later.
type ledger struct {
	*pooledStore
	path   string
	logger *zap.Logger
	refs   atomic.Int64 // the config's own and one per request; 0 is released
}

func acquireLedger(ctx context.Context, path string, logger *zap.Logger) (*ledger, error) {
	path, err := tokenstore.Resolve(path) // one store has one name
	if err != nil {
		return nil, err
	}
	opening.Lock()
	defer opening.Unlock()
	pooled, _, err := stores.LoadOrNew(path, func() (caddy.Destructor, error) {
		store, err := tokenstore.OpenSQLite(ctx, path)
		if err != nil {
			return nil, err
		}
		refusals, err := lru.New[string, keyRefusal](keptRefusals)
		if err != nil {
			return nil, err
		}
		pooled := &pooledStore{Ledger: store, guesses: newGuesses(), keyRefusals: refusals, done: make(chan struct{})}
		go pooled.live.watch(pooled.done)
		return pooled, nil
	})
	if err != nil {
		return nil, err
	}
	l := &ledger{pooledStore: pooled.(*pooledStore), path: path, logger: logger}
	l.refs.Store(1)
	return l, nil
}

// letGo gives back what a call has taken of what all share.
func (s *pooledStore) letGo(rt *route) {
	if rt.stopInterrupt != nil {
		rt.stopInterrupt() // the end of the call would interrupt its connection's next request
	}
	rt.client.stop()
	if rt.cancel != nil {
		s.live.remove(rt)
	}
	rt.pace.leave()
	rt.body.letGo()
	if rt.messages != nil {
		rt.messages.share.take(-rt.messages.took)
	}
}

// hold keeps the store open for a request; false means it is too late.
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

// holdAgain is for a request that comes after its config was cleaned up: a server
// that is closing still takes requests on its connections over HTTP/2, until their
// clients have heard of it. They are served if the store is still open, which it is
// after a reload.
func (l *ledger) holdAgain() bool {
	opening.Lock()
	defer opening.Unlock()
	for n := l.refs.Load(); n > 0; n = l.refs.Load() { // another request was faster
		if l.refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
	pooled, _, err := stores.LoadOrNew(l.path, func() (caddy.Destructor, error) { return nil, errClosing })
	if err != nil {
		return false
	}
	if pooled != any(l.pooledStore) { // it was closed meanwhile, and opened anew
		_, _ = stores.Delete(l.path)
		return false
	}
	l.refs.Add(1)
	return true
}

var errClosing = errors.New("the store is closed")

// release lets go of one hold, and of the store with the last one.
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
