package ratelimit

import (
	"hash/maphash"
	"sync"
	"time"
)

// Limiter counts events by key. Keys without recent events are forgotten. Its
// methods may be called concurrently.
type Limiter[K comparable] struct {
	per    time.Duration
	most   int // keys in a shard
	seed   maphash.Seed
	shards [64]shard[K]
}

// shard is a part of a limiter's keys, so that different keys rarely wait for
// each other.
type shard[K comparable] struct {
	mu      sync.Mutex
	entries map[K]*entry[K]
	swept   time.Time
}

// entry is what is known of a key. The shard's lock guards it.
type entry[K comparable] struct {
	shard    *shard[K]
	window   Window
	underWay int64
	last     time.Time
}

// New returns a limiter that counts events per period and remembers at most so
// many keys. Beyond that it forgets keys with few events first, so that one
// client with many addresses does not make it forget those that go on. Keys with
// a slot are never forgotten.
func New[K comparable](per time.Duration, most int) *Limiter[K] {
	l := &Limiter[K]{per: per, seed: maphash.MakeSeed()}
	l.most = max(1, most/len(l.shards))
	for i := range l.shards {
		l.shards[i].entries = make(map[K]*entry[K])
	}
	return l
}

// Take counts one event of a key, unless the limit is reached. Then it returns
// how long to wait.
func (l *Limiter[K]) Take(key K, limit int64, now time.Time) (wait time.Duration) {
	return l.Try(key, limit, now, func() bool { return true })
}

// Try runs attempt, unless the key has reached the limit. Then it returns how long
// to wait. The attempt says whether it counts. Attempts of one key run one at a
// time.
func (l *Limiter[K]) Try(key K, limit int64, now time.Time, attempt func() (counts bool)) (wait time.Duration) {
	e := l.lock(key, now)
	defer e.shard.mu.Unlock()

	e.window.advance(l.per, now)
	if e.window.sum >= limit {
		return e.window.Reset(l.per, now)
	}
	if attempt() {
		e.window.Take(limit, l.per, now)
	}
	return 0
}

// lock returns a key's entry, with its shard locked.
func (l *Limiter[K]) lock(key K, now time.Time) *entry[K] {
	s := &l.shards[maphash.Comparable(l.seed, key)%uint64(len(l.shards))]
	s.mu.Lock()

	e := s.entries[key]
	if e == nil {
		s.makeRoom(l.per, l.most, now)
		e = &entry[K]{shard: s}
		s.entries[key] = e
	}
	e.last = now
	return e
}

// makeRoom forgets keys without recent events once a period, and one key when the
// shard is full.
func (s *shard[K]) makeRoom(per time.Duration, most int, now time.Time) {
	if now.Sub(s.swept) >= per {
		s.swept = now
		for key, e := range s.entries {
			if e.underWay == 0 && now.Sub(e.last) > 2*per {
				delete(s.entries, key)
			}
		}
	}
	if len(s.entries) >= most {
		s.forgetOne()
	}
}

// forgetOne forgets the key with the fewest events of a few that are picked at
// random.
func (s *shard[K]) forgetOne() {
	const tried = 8
	var victim K
	fewest, seen := int64(-1), 0
	for key, e := range s.entries { // in random order
		if e.underWay == 0 && (fewest < 0 || e.window.sum < fewest) {
			victim, fewest = key, e.window.sum
		}
		if seen++; seen == tried {
			break
		}
	}
	if fewest >= 0 {
		delete(s.entries, victim)
	}
}

// Slot is a place among the calls of a key that may be in flight at once.
type Slot[K comparable] struct {
	*entry[K]
	per time.Duration
}

// Enter takes a slot of a key, unless all are taken; 0 means that there are any
// number of them. Leave frees it.
func (l *Limiter[K]) Enter(key K, slots int64, now time.Time) (slot Slot[K], ok bool) {
	e := l.lock(key, now)
	defer e.shard.mu.Unlock()

	if slots > 0 && e.underWay >= slots {
		return slot, false
	}
	e.underWay++
	return Slot[K]{e, l.per}, true
}

// Standing is how a key stands after an event: how many count, how long the
// oldest still does, and how long to wait if the event was not let in.
type Standing struct {
	Used  int64
	Reset time.Duration
	Wait  time.Duration
}

// Take counts one event of the slot's key, unless the limit is reached.
func (s Slot[K]) Take(limit int64, now time.Time) Standing {
	s.shard.mu.Lock()
	defer s.shard.mu.Unlock()
	return s.take(limit, now)
}

func (s Slot[K]) take(limit int64, now time.Time) Standing {
	s.last = now
	wait := s.window.Take(limit, s.per, now)
	return Standing{s.window.Used(), s.window.Reset(s.per, now), wait}
}

// Retake counts an event at the present time instead of the time at which it was
// counted. It reports whether these are in different sixtieths; otherwise nothing
// changes.
func (s Slot[K]) Retake(limit int64, counted, now time.Time) (standing Standing, moved bool) {
	s.shard.mu.Lock()
	defer s.shard.mu.Unlock()
	if !s.window.giveBack(s.per, counted, now) {
		return Standing{}, false
	}
	return s.take(limit, now), true
}

// Leave frees the slot. The zero Slot has none.
func (s Slot[K]) Leave() {
	if s.entry == nil {
		return
	}
	s.shard.mu.Lock()
	defer s.shard.mu.Unlock()
	s.underWay--
}

// UnderWay returns how many slots are taken.
func (l *Limiter[K]) UnderWay() (n int64) {
	for i := range l.shards {
		s := &l.shards[i]
		s.mu.Lock()
		for _, e := range s.entries {
			n += e.underWay
		}
		s.mu.Unlock()
	}
	return n
}
