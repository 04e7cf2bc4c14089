// Package realkey holds the real API keys: it hands them out in turn, places one
// in a request, and finds and masks it in what comes back.
//
// The bytes of a key are unexported, so that nothing outside of this package can
// read one. A [Key] leaves it only where it is placed, with [Key.SetHeader] and
// [Key.AppendQuery].
package realkey

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/relayapi/caddy-relayapi/provider"
)

// Key is a real API key on its way through the relay.
type Key struct {
	bytes     string // empty means that the provider wants none
	source    string
	header    string   // canonical name; empty means that the key goes in the query
	value     []string // of the header
	query     string   // parameter
	table     *table   // nil: it is made when it is needed
	sign      SignFunc // nil: the key is sent
	restUntil atomic.Int64
}

// None stands for the key of a provider that wants none.
var None = &Key{source: "a request without a key", table: new(table)}

// New returns a key that a provider reads in a place. The source says in a log
// which key it is. A key that is kept is ready to be found in answers; one of
// many, such as a token's own, is made ready for each answer.
func New(key string, at provider.Placement, source string, kept bool) *Key {
	k := &Key{bytes: key, source: source, query: at.Query}
	if at.Query == "" {
		k.header, k.value = http.CanonicalHeaderKey(at.Header), []string{at.Value(key)}
	}
	if kept {
		k.table = k.newTable()
	}
	return k
}

// SignFunc signs a request with a key, and returns the signature. The hash is that of the
// body, SHA-256 in hex.
type SignFunc func(r *http.Request, hash string, now time.Time) (signature string, err error)

// NewSigner returns a key that signs requests instead of being sent. No secret may show
// in an answer. The first one is the likeliest to be there.
func NewSigner(sign SignFunc, secrets []string, source string) *Key {
	k := &Key{bytes: secrets[0], source: source, sign: sign}
	k.table = k.newTable()
	for _, secret := range secrets[1:] {
		k.table = k.table.with(secret)
	}
	return k
}

// Signs reports whether the key signs requests.
func (k *Key) Signs() bool { return k.sign != nil }

// Sign signs a request, which must not be changed afterwards. It returns the key with
// which to search the answer, because the signature must not show there either: until it
// expires, it is good for the same request without the relay.
func (k *Key) Sign(r *http.Request, body []byte, now time.Time) (*Key, error) {
	hash := sha256.Sum256(body)
	signature, err := k.sign(r, hex.EncodeToString(hash[:]), now)
	if err != nil {
		return nil, err
	}
	return &Key{bytes: k.bytes, source: k.source, sign: k.sign, table: k.table.with(signature)}, nil
}

// Source says which key it is, and nothing of what it is.
func (k *Key) Source() string { return k.source }

// Equal reports whether two keys are the same.
func (k *Key) Equal(other *Key) bool {
	return subtle.ConstantTimeCompare([]byte(k.bytes), []byte(other.bytes)) == 1
}

// SetHeader places the key in a header, if that is where it goes. The value is
// shared: it must not be changed.
func (k *Key) SetHeader(header http.Header) {
	if k.bytes != "" && k.header != "" {
		header[k.header] = k.value
	}
}

// AppendQuery places the key in a query, if that is where it goes.
func (k *Key) AppendQuery(query string) string {
	if k.bytes == "" || k.query == "" {
		return query
	}
	if query != "" {
		query += "&"
	}
	return query + url.QueryEscape(k.query) + "=" + url.QueryEscape(k.bytes)
}

// restFor is how long a key rests after the provider refused it or said that it
// is used too fast.
const restFor = time.Minute

// Rest keeps the key out of its pool for a while.
func (k *Key) Rest(now time.Time) { k.restUntil.Store(now.Add(restFor).UnixNano()) }

// Pool hands out the keys of one provider in turn.
type Pool struct {
	keys   []*Key
	next   atomic.Uint64
	source Source // nil: there are only keys
}

// Source hands out one key that changes with time.
type Source interface {
	Key(context.Context) (*Key, error)
	Prefetch() // in the background
}

// NewPool returns a pool of keys. An empty one hands out [None].
func NewPool(keys []*Key) *Pool { return &Pool{keys: keys} }

// NewSourcePool returns a pool that hands out what a source does.
func NewSourcePool(source Source) *Pool { return &Pool{source: source} }

// Prefetch gets the key before it is needed, where it changes with time.
func (p *Pool) Prefetch() {
	if p.source != nil {
		p.source.Prefetch()
	}
}

// Len returns how many keys the pool has.
func (p *Pool) Len() int {
	if p.source != nil {
		return 1
	}
	return len(p.keys)
}

// Pick returns the next key that does not rest. When all do it returns the next,
// so that the provider says what is wrong. There is an error only if the key must be got
// first.
func (p *Pool) Pick(ctx context.Context, now time.Time) (*Key, error) {
	if p.source != nil {
		return p.source.Key(ctx)
	}
	return p.pick(now), nil
}

func (p *Pool) pick(now time.Time) *Key {
	switch len(p.keys) {
	case 0:
		return None
	case 1:
		return p.keys[0]
	}
	first := p.next.Add(1)
	for i := range p.keys {
		key := p.keys[(first+uint64(i))%uint64(len(p.keys))]
		if key.restUntil.Load() <= now.UnixNano() {
			return key
		}
	}
	return p.keys[first%uint64(len(p.keys))]
}
