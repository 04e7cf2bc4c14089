package tokenstore

import (
	"sync/atomic"

	lru "github.com/hashicorp/golang-lru/v2"
)

// knownSize bounds the memory for known tokens to some tens of megabytes.
const knownSize = 1 << 17

// known caches the store's records of the tokens in use, so that a token without
// charges costs no read and no write. The cache is 2Q: a flood of tokens that are used
// once does not evict those in daily use. An entry is a copy of a committed row and
// enters only after the commit.
type known struct {
	cache   *lru.TwoQueueCache[identity, record]
	changes atomic.Int64 // how often entries were invalidated
}

type identity struct{ issuer, id string }

// record is the part of a token's row that decides about its next use.
type record struct {
	fingerprint [32]byte
	expires     int64
	disabled    bool
	override    Limits // nil: the token's own limit is in force
}

// remembered is the record that a [Token] caches itself. Only a record that covers
// the token and permits its use is cached. It is valid until the next change.
type remembered struct {
	by       *known
	changes  int64
	override Limits
}

func newKnown() *known {
	cache, err := lru.New2Q[identity, record](knownSize)
	if err != nil {
		panic(err) // only for a size that is not positive
	}
	return &known{cache: cache}
}

// find returns the cached record of a token, and whether it covers t: it is the
// same token and lives as long. It fails with [ErrConflict] when another token has
// the same identity.
func (k *known) find(t *Token) (r record, covered bool, err error) {
	changes := k.changes.Load() // before the cache is read, because it may be about to change
	if m := t.remembered.Load(); m != nil && m.by == k && m.changes == changes {
		return record{override: m.override}, true, nil
	}

	r, ok := k.cache.Get(identity{t.Issuer, t.ID})
	switch {
	case !ok:
		return r, false, nil
	case r.fingerprint != t.Fingerprint:
		return r, false, ErrConflict
	}

	covered = t.ExpiresAt.Unix() <= r.expires
	if covered && !r.disabled {
		t.remembered.Store(&remembered{k, changes, r.override})
	}
	return r, covered, nil
}

func (k *known) add(t *Token, r record) { k.cache.Add(identity{t.Issuer, t.ID}, r) }

// forget invalidates the cached record of a token.
func (k *known) forget(id identity) {
	k.cache.Remove(id)
	k.changes.Add(1)
}

// forgetAll invalidates everything.
func (k *known) forgetAll() {
	k.cache.Purge()
	k.changes.Add(1)
}
