package relayapi

import (
	"fmt"
	"hash/maphash"
	"math"
	"net/http"
	"strconv"
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
	paces map[string]*pace // by the tokens' identities
	swept time.Time
}

type pace struct {
	shard    *paceShard
	calls    window[uint16]
	underWay int64
	last     time.Duration // since the beginning
}

// enter takes a slot of the token for a call, or refuses it. One that has entered
// must leave when it is over.
func (p *paces) enter(rt *route) *refusal {
	permit, now := rt.permit, rt.start
	if permit.RPM == 0 && permit.Concurrency == 0 {
		return nil
	}
	p.once.Do(func() { p.seed = maphash.MakeSeed() })
	s := &p.shards[maphash.String(p.seed, permit.tokenID)%uint64(len(p.shards))]
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep(now)
	t := s.paces[permit.tokenID]
	if t == nil {
		t = &pace{shard: s}
		s.paces[permit.tokenID] = t
	}
	t.last = now.Sub(beginning)
	if permit.Concurrency > 0 && t.underWay >= permit.Concurrency {
		return refuse(codeConcurrency, fmt.Sprintf("%d calls at once", permit.Concurrency))
	}
	t.underWay++
	rt.pace = t
	return nil
}

// take counts a call against the token's rate, or refuses it.
func (t *pace) take(rt *route, now time.Time) *refusal {
	if t == nil || rt.permit.RPM == 0 {
		return nil
	}
	t.shard.mu.Lock()
	defer t.shard.mu.Unlock()
	return t.count(rt, now)
}

// retake counts a call for the time at which it is sent instead of that at which
// it was counted, or refuses it.
func (t *pace) retake(rt *route, now time.Time) *refusal {
	if t == nil || rt.permit.RPM == 0 {
		return nil
	}
	t.shard.mu.Lock()
	defer t.shard.mu.Unlock()
	if !t.calls.giveBack(time.Minute, rt.countedAt, now) {
		return nil
	}
	rt.countedAt = now
	return t.count(rt, now)
}

// count counts a call, or refuses it. The lock is held.
func (t *pace) count(rt *route, now time.Time) *refusal {
	t.last = max(t.last, now.Sub(beginning))
	limit := rt.permit.RPM
	wait := t.calls.take(limit, time.Minute, now)
	rt.rateLimit = rateLimitHeader{limit, t.calls.sum, t.calls.oldest(time.Minute, now)}
	if wait > 0 {
		return refuse(codeRateLimited, fmt.Sprintf("%d calls a minute", limit)).after(wait)
	}
	return nil
}

// leave frees the slot of a call, if it has one.
func (t *pace) leave() {
	if t != nil {
		t.shard.mu.Lock()
		t.underWay--
		t.shard.mu.Unlock()
	}
}

// sweep forgets, once a minute, the tokens that were not used for two.
func (s *paceShard) sweep(now time.Time) {
	if s.paces == nil {
		s.paces = make(map[string]*pace)
	}
	if now.Sub(s.swept) < time.Minute {
		return
	}
	s.swept = now
	for key, t := range s.paces {
		if t.underWay == 0 && now.Sub(beginning)-t.last > 2*time.Minute {
			delete(s.paces, key)
		}
	}
}

// rateLimitHeader says how much is left of what a token may call in a minute, in
// the fields of https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/.
// The zero header says nothing.
type rateLimitHeader struct {
	limit, used int64
	reset       time.Duration
}

// The fields of a [rateLimitHeader]. Those of a provider are about its account.
const (
	rateLimitField  = "Ratelimit"
	rateLimitPolicy = "Ratelimit-Policy"
)

// set writes the header.
func (h *rateLimitHeader) set(header http.Header, own *ownHeaders) {
	if h.limit == 0 {
		return
	}
	text := append(make([]byte, 0, 64), `"token";q=`...)
	text = append(strconv.AppendInt(text, h.limit, 10), ";w=60"...)
	policy := len(text)
	text = strconv.AppendInt(append(text, `"token";r=`...), max(0, h.limit-h.used), 10)
	text = strconv.AppendInt(append(text, ";t="...), int64(math.Ceil(h.reset.Seconds())), 10)
	both := string(text)
	own.policy[0], own.limit[0] = both[:policy], both[policy:]
	header[rateLimitPolicy], header[rateLimitField] = own.policy[:], own.limit[:]
}
