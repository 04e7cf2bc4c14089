package relayapi

import (
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
)

// RateLimit bounds how many requests the relay looks at, whatever tokens they
// carry. It is asked first, before a token is opened.
type RateLimit struct {
	// Whose requests are counted: those of each `client`, which is an IPv4
	// address or an IPv6 /64, or the `total`.
	Scope string `json:"scope"`

	// How many requests.
	Requests int64 `json:"requests"`

	// In which time: any `second`, `minute` or `hour`.
	Per string `json:"per"`
}

var (
	rateScopes = []string{"client", "total"}
	rateTimes  = map[string]time.Duration{"second": time.Second, "minute": time.Minute, "hour": time.Hour}
)

// check says what is wrong with a limit that comes after others.
func (l RateLimit) check(others []RateLimit) error {
	switch {
	case !slices.Contains(rateScopes, l.Scope):
		return fmt.Errorf("scope %q is neither client nor total", l.Scope)
	case rateTimes[l.Per] == 0:
		return fmt.Errorf("per %q: it is per second, minute or hour", l.Per)
	case l.Requests < 1 || l.Requests > maxRequests:
		return fmt.Errorf("requests must be from 1 to %d", maxRequests)
	case slices.ContainsFunc(others, func(m RateLimit) bool { return m.Scope == l.Scope && m.Per == l.Per }):
		return fmt.Errorf("there are two of %s per %s", l.Scope, l.Per)
	}
	return nil
}

const (
	maxRequests = 1_000_000_000
	rateClients = 1 << 16 // that are remembered, at about 350 bytes each
)

// rates counts requests under the operator's rate limits. They are those of the
// store, so that they outlive a reload.
type rates struct {
	mu    sync.Mutex
	rules map[rateRule]*rateCounts
}

// rateRule is what is counted alike, whatever the limit is at present.
type rateRule struct{ scope, per string }

// rateCounts are the counts of one rule, by client. The total is that of the zero
// prefix. The cache is 2Q, so that one who comes from many addresses does not
// make it forget those that go on.
type rateCounts struct {
	mu      sync.Mutex
	clients *lru.TwoQueueCache[netip.Prefix, *window[uint32]]
}

// of returns the counts of the limits, in their order.
func (r *rates) of(limits []RateLimit) ([]*rateCounts, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []*rateCounts
	for _, l := range limits {
		rule := rateRule{l.Scope, l.Per}
		if r.rules[rule] == nil {
			clients, err := lru.New2Q[netip.Prefix, *window[uint32]](rateClients)
			if err != nil {
				return nil, err
			}
			if r.rules == nil {
				r.rules = make(map[rateRule]*rateCounts)
			}
			r.rules[rule] = &rateCounts{clients: clients}
		}
		all = append(all, r.rules[rule])
	}
	return all, nil
}

// pass counts a request against the operator's rate limits, or refuses it.
func (relay *relay) pass(r *http.Request, limits []RateLimit, now time.Time) *refusal {
	for i, l := range limits {
		var client netip.Prefix
		if l.Scope == "client" {
			client = clientOf(r)
		}
		if wait := relay.rates[i].take(client, l, now); wait > 0 {
			rule := fmt.Sprintf("%d requests per %s", l.Requests, l.Per)
			if l.Scope == "client" {
				rule += " from one address"
			}
			return refuse(codeRateLimited, rule).after(wait)
		}
	}
	return nil
}

func (c *rateCounts) take(client netip.Prefix, l RateLimit, now time.Time) (wait time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	w, ok := c.clients.Get(client)
	if !ok {
		w = new(window[uint32])
		c.clients.Add(client, w)
	}
	return w.take(l.Requests, rateTimes[l.Per], now)
}
