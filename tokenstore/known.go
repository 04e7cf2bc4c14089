package tokenstore

import (
	"sync/atomic"

	lru "github.com/hashicorp/golang-lru/v2"
)

// knownSize bounds the memory for known tokens to some tens of megabytes.
const knownSize = 1 << 17

// known remembers what the store holds of the tokens in use, so that one
// without charges costs no read and no write. The cache is 2Q: a flood of
// tokens that are used once does not push out those in daily use. An entry is
// a copy of a committed row and enters only after the commit.
type known struct {
	cache   *lru.TwoQueueCache[identity, record]
	changes atomic.Int64 // of what was remembered
}

type identity struct{ issuer, id string }

// record is the part of a token's row that decides about its next use.
type record struct {
	fingerprint [32]byte
	expires     int64
	disabled    bool
	callsLimit  int64 // noLimit: that of the claims
}

// noLimit stands for no override of a limit.
const noLimit = -1

// remembered is what a token has at hand of its record, which covers it and lets it
// be used. It is true until there is a change.
type remembered struct {
	by         *known
	changes    int64
	callsLimit int64
}

func newKnown() *known {
	cache, err := lru.New2Q[identity, record](knownSize)
	if err != nil {
		panic(err) // only for a size that is not positive
	}
	return &known{cache: cache}
}

// find returns what is remembered of a token, and whether that covers t: it is
// the same token and lives as long. It fails with [ErrConflict] when another
// token has its identity.
func (k *known) find(t *Token) (r record, covered bool, err error) {
	changes := k.changes.Load() // before the cache is asked: it may be about to change
	if m := t.remembered.Load(); m != nil && m.by == k && m.changes == changes {
		return record{callsLimit: m.callsLimit}, true, nil
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
		t.remembered.Store(&remembered{k, changes, r.callsLimit})
	}
	return r, covered, nil
}

func (k *known) add(t *Token, r record) { k.cache.Add(identity{t.Issuer, t.ID}, r) }

// forget lets go of what is remembered of a token.
func (k *known) forget(id identity) {
	k.cache.Remove(id)
	k.changes.Add(1)
}

// forgetAll lets go of everything.
func (k *known) forgetAll() {
	k.cache.Purge()
	k.changes.Add(1)
}
