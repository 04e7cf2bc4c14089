// Package pool keeps values open while a config or a request uses them. A reload starts
// the new config before it stops the old one, and both must share the value.
package pool

import (
	"errors"
	"sync"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"
)

// Pool has the open values by key.
type Pool struct {
	values *caddy.UsagePool

	// opening is held while a value is opened or closed. The pool forgets a value before
	// it is closed, so a config that starts at that moment waits until it is.
	opening sync.Mutex
}

// New returns an empty pool.
func New() *Pool { return &Pool{values: caddy.NewUsagePool()} }

// Hold is one config's hold on a value. Requests hold it too: Caddy cleans a config up
// while its streams are live, and they settle later.
type Hold struct {
	Value caddy.Destructor
	Key   string // in the pool; it may hold a password

	pool *Pool
	refs atomic.Int64 // the config's own and one per request; 0 is released
}

// Acquire returns a hold on the value of a key, and opens it if it is not open.
func (p *Pool) Acquire(key string, open func() (caddy.Destructor, error)) (*Hold, error) {
	p.opening.Lock()
	defer p.opening.Unlock()
	value, _, err := p.values.LoadOrNew(key, open)
	if err != nil {
		return nil, err
	}
	h := &Hold{Value: value.(caddy.Destructor), Key: key, pool: p}
	h.refs.Store(1)
	return h, nil
}

// Take keeps the value open for a request. It reports false when the value is closed.
func (h *Hold) Take() bool { return h.takeOne() || h.takeAgain() }

// takeOne adds one to the references if there are any.
func (h *Hold) takeOne() bool {
	for n := h.refs.Load(); n > 0; n = h.refs.Load() {
		if h.refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
	return false
}

// takeAgain is for a request that comes after its config was cleaned up. A server that
// is closing still serves requests on its HTTP/2 connections until their clients have
// heard of it. The value is still open after a reload.
func (h *Hold) takeAgain() bool {
	h.pool.opening.Lock()
	defer h.pool.opening.Unlock()
	if h.takeOne() { // another request was first
		return true
	}
	value, _, err := h.pool.values.LoadOrNew(h.Key, func() (caddy.Destructor, error) { return nil, errClosed })
	if err != nil {
		return false
	}
	if value != any(h.Value) { // the value was closed and opened again
		_, _ = h.pool.values.Delete(h.Key)
		return false
	}
	h.refs.Add(1)
	return true
}

var errClosed = errors.New("the value is closed")

// Release gives up one hold, and closes the value with the last one of all.
func (h *Hold) Release() error {
	if h.refs.Add(-1) > 0 {
		return nil
	}
	h.pool.opening.Lock()
	defer h.pool.opening.Unlock()
	_, err := h.pool.values.Delete(h.Key)
	return err
}

// Count returns how often the value is held: by the config and by each request.
func (h *Hold) Count() int64 { return h.refs.Load() }

// References returns how many configs use the value of a key, and whether it is open.
func (p *Pool) References(key string) (configs int, open bool) { return p.values.References(key) }
