package tokenstore

import (
	lru "github.com/hashicorp/golang-lru/v2"
)

// knownSize bounds the memory for known tokens to some ten megabytes.
const knownSize = 1 << 15

// known remembers what the store holds of the tokens in use, so that one
// without charges costs no read and no write. The cache is 2Q: a flood of
// tokens that are used once does not push out those in daily use. An entry is
// a copy of a committed row and enters only after the commit.
type known struct {
	cache *lru.TwoQueueCache[identity, record]
}

type identity struct{ issuer, id string }

// record is the part of a token's row that decides about its next use.
type record struct {
	fingerprint [32]byte
	expires     int64
}

func newKnown() known {
	cache, err := lru.New2Q[identity, record](knownSize)
	if err != nil {
		panic(err) // only for a size that is not positive
	}
	return known{cache}
}

// covers reports whether nothing needs to be written for t.
func (k known) covers(t *Token) (bool, error) {
	r, ok := k.cache.Get(identity{t.Issuer, t.ID})
	if !ok {
		return false, nil
	}
	return r.covers(t)
}

// covers reports whether the row lives as long as t. It fails with
// [ErrConflict] when it belongs to another token.
func (r record) covers(t *Token) (bool, error) {
	if r.fingerprint != t.Fingerprint {
		return false, ErrConflict
	}
	return t.ExpiresAt.Unix() <= r.expires, nil
}

func (k known) add(t *Token, expires int64) {
	k.cache.Add(identity{t.Issuer, t.ID}, record{t.Fingerprint, expires})
}
