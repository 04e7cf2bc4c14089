package tokenstore

import (
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// Bounds of a lease, and what happens to an idle one.
const (
	maxAhead   = 64                     // calls that a grant covers beyond those that are waiting
	aheadShare = 100                    // a grant leases ahead at most the limit divided by this
	idleAfter  = time.Minute            // an unused lease is returned after this time
	forgetPast = 2 * time.Minute        // an unused account is forgotten after this time
	believeFor = 100 * time.Millisecond // how long the count of the latest grant is trusted
)

// account is a counter in memory. It holds the lease: units that are durable and
// not served yet.
type account struct {
	counter Counter
	writer  *writer
	seq     uint64 // accounts are locked in this order

	mu      sync.Mutex
	lease   int64         // negative: an overrun that is not durable yet
	size    int64         // usual amount of a charge or refund
	ahead   int64         // units that the next grant asks for beyond the need
	need    int64         // units that waiting calls lack
	limit   int64         // in force at the latest charge
	asked   bool          // in the writer's queue
	written bool          // in the batch that is being committed
	used    time.Time     // of the latest charge or refund
	granted chan struct{} // closed when the grant for the need is published; nil: nobody waits
	err     error         // of the latest commit
	place   place         // of its row in the database after the latest grant
	batch   uint64        // of the latest grant
	believe time.Time     // place.used is trusted until then
	returns uint64        // the batch that contains returns of this account
	spending

	gone atomic.Bool // forgotten: look the counter up again. Set while mu is held
}

func newAccount(c Counter, w *writer, seq uint64, now time.Time) *account {
	// No limit is known yet, so the first limit counts as lower: a refund to a
	// new account was granted under another limit.
	return &account{
		counter: c, writer: w, seq: seq, size: 1, limit: math.MaxInt64, used: now,
		spending: spending{alarm: math.MaxInt64},
	}
}

// share returns how much of the remainder may be granted ahead of need. When little is
// left, a crash must lose little.
func share(ahead, remaining int64) int64 { return min(ahead, remaining/8) }

// sum adds without overflow: amounts come from requests.
func sum(a, b int64) int64 { return a + min(b, math.MaxInt64-a) }

// resize follows the usual amount of a charge or refund: up at once, down by halves.
func (a *account) resize(units int64) {
	if units >= a.size {
		a.size = units
		return
	}
	a.size -= (a.size - units + 1) / 2
}

// mostAhead returns how many units a lease may be ahead: 64 calls of the usual
// amount, at most a hundredth of the limit, and none if that does not cover one call.
func (a *account) mostAhead() int64 {
	ahead := a.limit / aheadShare
	if a.size <= ahead/maxAhead {
		ahead = maxAhead * a.size
	}
	if ahead < a.size {
		return 0
	}
	return ahead
}

// mostKept returns how many refunded units a lease may keep.
func (a *account) mostKept() int64 { return max(maxAhead, a.size, a.mostAhead()) }

// take takes units from the lease. The caller holds the locks of all accounts
// that a call charges.
func (a *account) take(units int64, now time.Time) {
	a.lease -= units
	a.used = now
	a.reserve(units)
}

// low reports whether to ask for more ahead of need. It is false after the first grant,
// which leaves nothing: more may never be needed.
func (a *account) low() bool { return 0 < a.lease && a.lease <= a.ahead/2 }

// slow reports whether a low lease lasts until the next sweep, because it took
// longer than that to become low. It then needs no commit of its own.
func (a *account) slow(now time.Time) bool { return now.Sub(a.believe) > 2*sweepEvery }

// grow lets the next grants go ahead of need. The first grant does not, because
// many tokens are used once. Nor does the first grant after an idle time.
func (a *account) grow() { a.ahead = a.mostAhead() }

// spent reports whether the limit is known to leave less than some units: by a
// recent grant, with no return on its way then or now.
func (a *account) spent(units, limit int64, now time.Time) bool {
	return now.Before(a.believe) && a.returns <= a.batch && a.place.used-a.lease > limit-units
}

// adopt puts a limit in force for a call of some units. Under a lower limit the
// lease returns what is beyond the limit, because those units were granted under
// a limit that no longer holds. The writer returns them in the transaction of the
// next grant. The lease also returns what is too far ahead, but it keeps the units
// of the call itself: otherwise calls with different limits would take them from
// each other for ever.
func (a *account) adopt(units, limit int64) {
	a.resize(units)
	lower := limit < a.limit
	if limit != a.limit {
		a.limit = limit
		a.watch(limit)
	}
	if !lower {
		return
	}

	a.ahead = min(a.ahead, a.mostAhead())
	if a.lease <= 0 {
		return // an overrun stays owed
	}
	kept := int64(0)
	if a.place.row != 0 { // the durable count is known
		within := max(0, limit-(a.place.used-a.lease))
		kept = min(a.lease, within, max(units, a.mostAhead()))
	}
	a.sendBack(a.lease - kept)
	a.lease = kept
}

// publish applies the outcome of a grant; the writer calls it. If the limit was
// lowered during the commit, the granted units are returned, and waiting calls
// ask again.
func (a *account) publish(g *grant, batch uint64, err error, now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()

	a.err, a.written = err, false
	if err == nil {
		a.place, a.batch, a.believe = g.place, batch, now.Add(believeFor)
	}

	switch owed := min(g.owed, g.granted); {
	case err != nil:
	case a.limit < g.limit:
		a.lease += owed
		a.sendBack(g.granted - owed)
	default:
		a.lease += g.granted
		a.grow()
	}
	a.count(g, batch, err)

	if g.done != nil {
		close(g.done)
	}
}

// sendBack queues units that have left the lease to be returned.
func (a *account) sendBack(units int64) {
	if units > 0 {
		a.returns = a.writer.giveBack(a.counter, units)
	}
}

// refund puts units of a charge back into the lease: they are durable and not
// served. Units that were granted under a higher limit than the present one go to
// the database, and so does what a lease may not keep, because a crash would lose it.
func (a *account) refund(units, limit int64, now time.Time) {
	a.resize(units)
	kept := units
	if limit > a.limit {
		kept = 0
	}
	kept = min(kept, max(0, a.mostKept()-a.lease))

	a.lease += kept
	a.sendBack(units - kept)
	a.used = now
}

// overrun charges units beyond a call's reservation, past the limit if need be.
// What the lease does not cover is owed: the writer makes it durable.
func (a *account) overrun(units int64, now time.Time) {
	a.lease = max(a.lease, units-math.MaxInt64) - units
	a.used = now
	if a.lease < 0 {
		a.writer.ask(nil, a)
	}
}

// owes reports whether something must be made durable although no call waits for it: an
// overrun, or spending that other processes must see.
func (a *account) owes() bool {
	a.mu.Lock()
	defer a.mu.Unlock()

	return a.lease < 0 || a.tells()
}

// sweep returns the lease of an idle account, and reports whether the account can be
// forgotten. It requests an overrun that is still owed again.
func (a *account) sweep(now time.Time) (forget bool) {
	a.mu.Lock()
	defer a.mu.Unlock()

	if a.lease < 0 {
		a.writer.ask(nil, a)
		return false
	}
	idle := now.Sub(a.used)
	if a.tells() {
		a.writer.askLater(a)
	}
	if idle < idleAfter {
		return false
	}

	a.sendBack(a.lease)
	a.lease, a.ahead = 0, 0
	forget = idle >= forgetPast && !a.asked && !a.written && a.held == 0
	a.gone.Store(forget)
	return forget
}
