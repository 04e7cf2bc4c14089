// Package realkey holds the real API keys: it hands them out in turn, places one
// in a request, and finds and masks it in what comes back.
//
// The bytes of a key are unexported, so that nothing outside of this package can
// read one. A [Key] leaves it only where it is placed, with [Key.SetHeader] and
// [Key.AppendQuery].
package realkey

import (
	"crypto/subtle"
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
	keys []*Key
	next atomic.Uint64
}

// NewPool returns a pool of keys. An empty one hands out [None].
func NewPool(keys []*Key) *Pool { return &Pool{keys: keys} }

// Len returns how many keys the pool has.
func (p *Pool) Len() int { return len(p.keys) }

// Pick returns the next key that does not rest. When all do it returns the next,
// so that the provider says what is wrong.
func (p *Pool) Pick(now time.Time) *Key {
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
