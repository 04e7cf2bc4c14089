package relayapi

import (
	"context"
	"errors"
	"hash/maphash"
	"sync"

	"github.com/relayapi/caddy-relayapi/tokenstore"
)

// live holds the calls that are under way on one store, so that a revocation
// ends them, whichever config they came in by. It is sharded so that calls do
// not meet.
type live struct {
	seed   maphash.Seed
	once   sync.Once
	shards [64]struct {
		mu    sync.Mutex
		calls map[*route]context.CancelCauseFunc
	}
}

// errEnded is why a call was ended from here.
var errEnded = errors.New("relayapi: the token was revoked or disabled")

// add registers a call until done is called, and returns the context that a
// revocation cancels.
func (l *live) add(ctx context.Context, rt *route) (_ context.Context, done func()) {
	l.once.Do(func() { l.seed = maphash.MakeSeed() })
	shard := &l.shards[maphash.Comparable(l.seed, rt)%uint64(len(l.shards))]
	ctx, cancel := context.WithCancelCause(ctx)
	shard.mu.Lock()
	if shard.calls == nil {
		shard.calls = make(map[*route]context.CancelCauseFunc)
	}
	shard.calls[rt] = cancel
	shard.mu.Unlock()
	return ctx, func() {
		shard.mu.Lock()
		delete(shard.calls, rt)
		shard.mu.Unlock()
		cancel(nil)
	}
}

// end ends the calls of the tokens that match, and returns how many there were.
func (l *live) end(matches func(*tokenstore.Token) bool) (ended int) {
	for i := range l.shards {
		shard := &l.shards[i]
		shard.mu.Lock()
		for rt, cancel := range shard.calls {
			if matches(rt.token) {
				cancel(errEnded)
				ended++
			}
		}
		shard.mu.Unlock()
	}
	return ended
}
