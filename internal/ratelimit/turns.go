package ratelimit

import (
	"context"
	"sync"
)

// Turns let each key do one thing at a time. Otherwise a client that sends many tokens
// would use all openers. The zero value is ready to use.
type Turns[K comparable] struct {
	mu   sync.Mutex
	keys map[K]*turn // that wait or have their turn
}

// turn is what the requests of one key take in turn.
type turn struct {
	taken   chan struct{} // has room for one
	waiting int           // requests that wait or have the turn
}

// Wait waits for the key's turn. It lasts until done is called.
func (t *Turns[K]) Wait(ctx context.Context, key K) (done func(), err error) {
	t.mu.Lock()
	own := t.keys[key]
	if own == nil {
		if t.keys == nil {
			t.keys = make(map[K]*turn)
		}
		own = &turn{taken: make(chan struct{}, 1)}
		t.keys[key] = own
	}
	own.waiting++
	t.mu.Unlock()

	leave := func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if own.waiting--; own.waiting == 0 {
			delete(t.keys, key)
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
