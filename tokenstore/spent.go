package tokenstore

import (
	"math"
	"time"
)

// The spent part of a counter is less than its durable count. The count includes leased
// units and the reservations of calls in flight, most of which are refunded. Warnings
// must not count these, so they are based on units that are spent for good:
//
//   - Calls are spent when they are admitted. One that is refunded, because its
//     provider was not reached, counts until then.
//   - Tokens and dollars are spent when the call is settled.
//   - Leases and reservations that a crash loses stay charged, so they are spent.
//
// With SQLite, one process knows all held units, so the spent amount is exact. Several
// processes share what they hold in the column unspent: a grant adds to it in the
// transaction that adds to the count, and the next commit on the counter, which the
// sweep requests, subtracts the units spent since. So the count minus unspent may lag
// by seconds, but never includes units that may yet be refunded. The units of a killed
// process stay unspent.

// Thresholds are the shares of a limit, in percent, that warnings are raised at.
var Thresholds = [...]int{80, 100}

// refusedFor is how long a limit must refuse all calls before it counts as reached,
// although calls in flight may still refund some of it.
const refusedFor = time.Minute

// spending is the part of an account that tracks spent units. The account's lock guards
// it.
type spending struct {
	held    int64     // reserved by calls in flight
	base    int64     // spent units as of the latest commit
	untold  int64     // spent units since
	counted bool      // base is known
	alarm   int64     // units that may be spent before the next warning
	refused time.Time // first refusal since the latest call was admitted; zero: none
}

// total returns the spent units.
func (s *spending) total() int64 { return s.base + s.untold }

// nearly returns the amount at which the first warning about a limit is raised.
func nearly(limit int64) int64 { return limit - limit/5 }

// watch sets the alarm for a new limit. A limit of 0 puts its holder on hold, which
// needs no warning.
func (a *account) watch(limit int64) {
	a.alarm = math.MaxInt64
	if 0 < limit && limit < math.MaxInt64 {
		a.alarm = nearly(limit)
	}
}

// reserve records the units that a call has taken: as spent for good, or as reserved of
// a budget.
func (a *account) reserve(units int64) {
	a.refused = time.Time{}
	if a.counter.Unit != UnitCalls {
		a.held += units
		return
	}
	a.spend(units)
}

// settled records the outcome of a charge.
func (a *account) settled(charged, used int64) {
	if a.counter.Unit == UnitCalls {
		a.spend(used - charged)
		return
	}
	a.held = max(0, a.held-charged)
	a.spend(used)
}

// spend records units that are spent for good. Negative units are refunds.
func (a *account) spend(units int64) {
	a.untold += units
	a.look()
}

// look raises due warnings.
func (a *account) look() {
	spent := a.total()
	if !a.counted || spent < a.alarm {
		return
	}
	a.warn(Thresholds[0], a.limit)
	a.alarm = a.limit
	if spent >= a.limit {
		a.warn(Thresholds[1], a.limit)
		a.alarm = math.MaxInt64
	}
}

func (a *account) warn(threshold int, limit int64) {
	a.writer.alarms.add(Warning{Counter: a.counter, Limit: limit, Threshold: threshold, Used: a.total()})
}

// count takes over the spent units of a successful commit, or else keeps those in
// memory.
func (a *account) count(g *grant, batch uint64, err error) {
	switch {
	case err != nil: // it may have been committed all the same: a retry would count it twice
		a.base += g.tells
		a.untold -= g.tells
	case g.counted:
		a.base, a.counted = g.spent, true
		a.untold -= g.tells
	case a.returns <= batch && a.place.row != 0: // otherwise the count still includes units that are being returned
		a.base, a.counted = a.place.used-a.lease-a.held, true
		a.untold = 0
	}
	a.look()
}

// tells reports whether other processes must learn of spent units.
func (a *account) tells() bool { return a.writer.shared && a.untold != 0 }

// refuse records that the limit refused a call. It raises the warning that the limit is
// reached if all of it is spent, or if most of it is spent and it refuses calls. While
// calls in flight may refund their reservations, the latter counts only if it lasts.
func (a *account) refuse(limit int64, now time.Time) {
	if a.refused.IsZero() {
		a.refused = now
	}
	spent := a.total()
	if !a.counted || limit <= 0 || spent < nearly(limit) {
		return
	}
	if spent < limit && a.held > 0 && now.Sub(a.refused) < refusedFor {
		return
	}
	for _, threshold := range Thresholds {
		a.warn(threshold, limit)
	}
}

// Refused records that a call was finally refused because a counter has too little
// left, see [Warning]. [Ledger.Admit] cannot know that, because the caller may retry
// with a lower amount.
func (l *Ledger) Refused(e *ExhaustedError) {
	s := l.shard(e.Counter)
	s.mu.Lock()
	a := s.accounts[e.Counter]
	s.mu.Unlock()
	if a == nil {
		return
	}

	a.mu.Lock()
	defer a.mu.Unlock()
	a.refuse(e.Limit, l.now())
}
