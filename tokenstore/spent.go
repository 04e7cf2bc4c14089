package tokenstore

import (
	"math"
	"time"
)

// What is spent of a counter is less than its durable count, which runs ahead: it has
// the units of leases, and what calls under way have reserved of a budget, which is
// the worst case and mostly returned. A warning about either would be wrong, so
// warnings go by what is spent for good:
//
//   - Calls are spent when they are admitted. One that is refunded, because its
//     provider was not reached, counts until then.
//   - Tokens and dollars are spent when the call is settled.
//   - What a crash loses of leases and reservations stays charged, so it is spent.
//
// With SQLite one process knows all that is held, and what is spent is exact. Several
// processes tell each other what they hold, in the column unspent: a grant adds to it
// in the transaction that adds to the count, and what was spent since is subtracted
// with the next commit on the counter, which the sweep asks for. So the count without the
// unspent units may lag by seconds, but it never has what may yet be returned. What a
// killed process held stays unspent there.

// Thresholds are the shares of a limit, in percent, that warnings are raised at.
var Thresholds = [...]int{80, 100}

// refusedFor is how long a limit refuses all calls before it counts as reached,
// although calls under way may return some of it.
const refusedFor = time.Minute

// spending is the part of an account that knows what is spent. The account's lock
// guards it.
type spending struct {
	held    int64     // reserved by calls under way
	base    int64     // spent, as far as the latest commit knows it
	untold  int64     // spent since
	counted bool      // base is known
	alarm   int64     // what may be spent before the next warning
	refused time.Time // first refusal since the latest call was admitted; zero: none
}

// total returns what is spent.
func (s *spending) total() int64 { return s.base + s.untold }

// nearly returns the amount at which the first warning about a limit is raised.
func nearly(limit int64) int64 { return limit - limit/5 }

// watch sets the alarm for a limit that is put in force. Limits of 0 refuse all calls
// because an operator says so, which needs no warning.
func (a *account) watch(limit int64) {
	a.alarm = math.MaxInt64
	if 0 < limit && limit < math.MaxInt64 {
		a.alarm = nearly(limit)
	}
}

// reserve notes what a call has taken: for good, or of a budget.
func (a *account) reserve(units int64) {
	a.refused = time.Time{}
	if a.counter.Unit != UnitCalls {
		a.held += units
		return
	}
	a.spend(units)
}

// settled notes what became of a charge.
func (a *account) settled(charged, used int64) {
	if a.counter.Unit == UnitCalls {
		a.spend(used - charged)
		return
	}
	a.held = max(0, a.held-charged)
	a.spend(used)
}

// spend notes that units were spent for good. Negative units are refunded.
func (a *account) spend(units int64) {
	a.untold += units
	a.look()
}

// look raises the warnings that are due.
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

// count applies what a commit knows to be spent, or keeps what memory knows.
func (a *account) count(g *grant, batch uint64, err error) {
	switch {
	case err != nil: // it may have been told: telling it again would count it twice
		a.base += g.tells
		a.untold -= g.tells
	case g.counted:
		a.base, a.counted = g.spent, true
		a.untold -= g.tells
	case a.returns <= batch && a.place.row != 0: // otherwise the count has what is on its way back
		a.base, a.counted = a.place.used-a.lease-a.held, true
		a.untold = 0
	}
	a.look()
}

// tells reports whether there is something to tell to others.
func (a *account) tells() bool { return a.writer.shared && a.untold != 0 }

// refuse notes that the limit refused a call, and raises the warning that it is
// reached if that is so: if all of it is spent, or if it refuses calls with most of it
// spent. The latter must not be due to calls under way, which may return what they
// reserved, unless it lasts.
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

// Refused tells the ledger that a call was refused in the end because a counter has
// not enough left, see [Warning]. [Ledger.Admit] does not know that: the caller may
// try again with a lower amount.
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
