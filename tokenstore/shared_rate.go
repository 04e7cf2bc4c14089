package tokenstore

import (
	"context"
	"sync"
	"time"
)

const (
	rateWindow   = 60          // seconds
	rateLeaseFor = time.Second // how long leased events may be taken
	rateShare    = 20          // a lease is at most the limit divided by this
)

// rateLease is the part of a key's rate that this process may use without asking.
type rateLease struct {
	mu      sync.Mutex
	left    int64
	ahead   int64     // events that the next lease asks for beyond the need
	until   time.Time // left is valid until then
	latest  Rate
	refused time.Time // latest is a refusal that is believed until then
}

// Rate is the state of a key after [Shared.TakeRate].
type Rate struct {
	Taken bool
	Used  int64         // events of the last minute, in all processes
	Reset time.Duration // until the oldest of them no longer counts
}

// TakeRate counts one event of a key, unless all processes together have reached a
// limit per minute.
//
// The count is approximate in two ways. A process leases events ahead for a second: up
// to 64, and a twentieth of the limit. Unused ones count too, so busy keys may get that
// much less. And an event counts from when it was leased, up to two seconds before it
// was taken: the limit holds for any 58 seconds.
func (s *Shared) TakeRate(ctx context.Context, key string, limit int64) (Rate, error) {
	l := s.rates.get(key, func() *rateLease { return new(rateLease) })
	l.mu.Lock() // calls of one key that need a lease share it
	defer l.mu.Unlock()

	now := time.Now()
	switch {
	case l.left > 0 && now.Before(l.until):
		l.left--
		return l.latest, nil
	case now.Before(l.refused):
		return l.latest, nil
	}

	if now.After(l.until.Add(rateLeaseFor)) {
		l.ahead = 0 // the key is rarely used
	}
	var granted, used, reset int64
	err := s.onKey(ctx, key, []any{&granted, &used, &reset}, takeRate, key, limit, 1+l.ahead)
	if err != nil {
		return Rate{}, err
	}
	l.latest = Rate{Taken: granted > 0, Used: used, Reset: time.Duration(reset) * time.Second}
	if granted == 0 {
		l.left, l.refused = 0, now.Add(believeFor)
		return l.latest, nil
	}
	l.left, l.until = granted-1, now.Add(rateLeaseFor)
	l.ahead = min(max(1, 2*l.ahead), maxAhead, limit/rateShare)
	return l.latest, nil
}

// forget reports whether the lease can be forgotten.
func (l *rateLease) forget() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return time.Since(l.until) > rateWindow*time.Second
}

// takeRate adds events to the present second, as far as the last minute leaves room. It
// uses the server's clock, so that the clocks of the processes do not matter.
const takeRate = `
	WITH clock AS (SELECT floor(extract(epoch FROM clock_timestamp()))::bigint AS now),
	gone AS (DELETE FROM rates USING clock WHERE key = $1 AND second <= now - 60),
	minute AS (SELECT coalesce(sum(used), 0)::bigint AS used, coalesce(min(second), max(now)) AS oldest, max(now) AS now
		FROM clock LEFT JOIN rates ON key = $1 AND second > now - 60),
	leased AS (SELECT least($3::bigint, greatest(0, $2::bigint - used)) AS n, used, oldest, now FROM minute),
	counted AS (INSERT INTO rates (key, second, used) SELECT $1, now, n FROM leased WHERE n > 0
		ON CONFLICT (key, second) DO UPDATE SET used = rates.used + excluded.used)
	SELECT n, used + n, oldest + 60 - now FROM leased`
