package tokenstore

import (
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// How a lease grows and shrinks.
const (
	maxAhead   = 64                     // units asked for beyond what waiters need, at most
	aheadShare = 100                    // and at most this part of the limit
	idleAfter  = 10 * time.Second       // unused this long, the lease goes back
	forgetPast = time.Minute            // unused this long, the account goes too
	emptyFor   = 100 * time.Millisecond // how long an answer «used up» is believed
)

// account is what memory holds of one counter: its lease, which are units that
// are durable already and not served yet.
type account struct {
	counter Counter
	seq     uint64 // accounts are locked in this order

	mu      sync.Mutex
	lease   int64
	ahead   int64 // units to ask for beyond the need, next time
	need    int64 // units that those who wait lack
	limit   int64 // in force at the latest charge
	asked   bool  // stands in the writer's queue
	written bool  // is in the batch that is being committed
	used    time.Time
	empty   time.Time     // until then, nothing is left to be granted
	granted chan struct{} // closed when the grant is published that covers the need; nil: nobody waits
	err     error         // of the latest commit
	place   place         // of its row in the database
	returns uint64        // the batch that has units of this account to return

	gone atomic.Bool // was forgotten: look the counter up again. Set with mu held
}

func newAccount(c Counter, seq uint64, now time.Time) *account {
	// No limit is known yet, so that the first one counts as lower: what is
	// given back to a new account was granted under another.
	return &account{counter: c, seq: seq, limit: math.MaxInt64, used: now}
}

// share is how much of what remains may be granted ahead of need: with little
// left, what a crash would lose must be little.
func share(ahead, remaining int64) int64 { return min(ahead, remaining/8) }

// sum adds without running over: amounts come from requests.
func sum(a, b int64) int64 { return a + min(b, math.MaxInt64-a) }

// take takes units from the lease. The caller holds the lock of every account
// that it charges, so it takes from all of them or from none.
func (a *account) take(units int64, now time.Time) {
	a.lease -= units
	a.used = now
}

// low reports whether to ask for more before it is needed.
func (a *account) low() bool { return a.ahead > 1 && a.lease < a.ahead/2 }

// grow doubles what is asked for ahead, with each refill until the account idles.
// It begins with nothing, because many tokens are used once.
func (a *account) grow() { a.ahead = min(max(1, 2*a.ahead), maxAhead, a.limit/aheadShare) }

// publish is called by the writer with the outcome of a grant in a batch. Units
// that were granted under a limit that was lowered during the commit go back;
// those who wait ask again then.
func (a *account) publish(g *grant, batch uint64, err error, w *writer, now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.err, a.written = err, false
	if err == nil {
		a.place = g.place
	}
	switch {
	case err != nil:
	case a.limit < g.limit:
		a.sendBack(g.granted, w)
	default:
		a.lease += g.granted
		a.grow()
		// Less than what was needed means that nothing is left, unless the limit
		// was raised or units were on their way back meanwhile.
		if g.granted < g.need && g.limit == a.limit && a.returns <= batch {
			a.empty = now.Add(emptyFor)
		}
	}
	if g.done != nil {
		close(g.done)
	}
}

// sendBack queues units that have left the lease to be returned.
func (a *account) sendBack(units int64, w *writer) {
	if units > 0 {
		a.returns = w.giveBack(a.counter, units)
	}
}

// giveBack puts the units of a charge into the lease again. They are durable,
// and unserved. Those of a limit that was lowered since are no longer its own,
// and what is more than a lease may hold ahead goes on: a crash would lose it.
func (a *account) giveBack(c Charge, w *writer, now time.Time) {
	kept := c.Amount
	if c.Limit > a.limit {
		kept = 0
	}
	kept = min(kept, max(0, maxAhead-a.lease))
	a.lease += kept
	a.sendBack(c.Amount-kept, w)
	a.empty = time.Time{}
	a.used = now
}

// sweep sends back the lease of an account that is idle, and reports whether
// the account can be forgotten.
func (a *account) sweep(w *writer, now time.Time) (forget bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	idle := now.Sub(a.used)
	if idle < idleAfter {
		return false
	}
	a.sendBack(a.lease, w)
	a.lease, a.ahead = 0, 0
	forget = idle >= forgetPast && !a.asked && !a.written
	a.gone.Store(forget)
	return forget
}
