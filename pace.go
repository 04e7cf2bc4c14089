package relayapi

import (
	"fmt"
	"hash/maphash"
	"math"
	"net/http"
	"sync"
	"time"
)

// paces holds how fast the tokens in use are used, and how many calls of each are
// under way: limits.rpm and limits.concurrency. They are those of the store, not
// of a config, so that they outlive a reload. It is sharded so that calls of
// different tokens do not meet.
type paces struct {
	once   sync.Once
	seed   maphash.Seed
	shards [64]paceShard
}

type paceShard struct {
	mu    sync.Mutex
	paces map[holder]*pace
	swept time.Time
}

// holder is a token's identity.
type holder struct{ issuer, id string }

type pace struct {
	calls    window
	underWay int64
	last     time.Time
}

// enter counts a call against the token's limits of pace, or refuses it. leave
// must be called when the call is over.
func (p *paces) enter(permit *permit, rt *route, now time.Time) (leave func(), refused *refusal) {
	if permit.RPM == 0 && permit.Concurrency == 0 {
		return func() {}, nil
	}
	p.once.Do(func() { p.seed = maphash.MakeSeed() })
	key := holder{permit.Issuer, permit.ID}
	s := &p.shards[maphash.Comparable(p.seed, key)%uint64(len(p.shards))]
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep(now)
	t := s.paces[key]
	if t == nil {
		t = new(pace)
		s.paces[key] = t
	}
	t.last = now
	if permit.Concurrency > 0 && t.underWay >= permit.Concurrency {
		return nil, refuse(codeConcurrency, fmt.Sprintf("%d calls at once", permit.Concurrency))
	}
	if permit.RPM > 0 {
		wait := t.calls.take(permit.RPM, time.Minute, now)
		rt.rateLimit = rateLimitOf("token", permit.RPM, t.calls.sum, time.Minute, t.calls.oldest(time.Minute, now))
		if wait > 0 {
			return nil, refuse(codeRateLimited, fmt.Sprintf("%d calls a minute", permit.RPM)).after(wait)
		}
	}
	t.underWay++
	return func() {
		s.mu.Lock()
		t.underWay--
		s.mu.Unlock()
	}, nil
}

// sweep forgets, once a minute, the tokens that were not used for two.
func (s *paceShard) sweep(now time.Time) {
	if s.paces == nil {
		s.paces = make(map[holder]*pace)
	}
	if now.Sub(s.swept) < time.Minute {
		return
	}
	s.swept = now
	for key, t := range s.paces {
		if t.underWay == 0 && now.Sub(t.last) > 2*time.Minute {
			delete(s.paces, key)
		}
	}
}

// rateLimitHeader says how much is left of a limit, in the fields of
// https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/.
type rateLimitHeader struct{ policy, limit string }

func rateLimitOf(name string, limit, used int64, per, reset time.Duration) *rateLimitHeader {
	return &rateLimitHeader{
		policy: fmt.Sprintf("%q;q=%d;w=%d", name, limit, int(per.Seconds())),
		limit:  fmt.Sprintf("%q;r=%d;t=%d", name, max(0, limit-used), int(math.Ceil(reset.Seconds()))),
	}
}

// set writes the header, in place of a provider's, which are about its account.
func (h *rateLimitHeader) set(header http.Header) {
	if h != nil {
		header["Ratelimit-Policy"], header["Ratelimit"] = []string{h.policy}, []string{h.limit}
	}
}
