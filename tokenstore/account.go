package tokenstore

import (
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// How far a lease goes ahead, and what is done with one that idles.
const (
	maxAhead   = 64                     // units asked for beyond what waiters need, at most
	aheadShare = 100                    // and at most this part of the limit
	idleAfter  = time.Minute            // unused this long, the lease goes back
	forgetPast = 2 * time.Minute        // unused this long, the account goes too
	believeFor = 100 * time.Millisecond // how long it is believed how much is used
)

// account is what memory holds of one counter: its lease, which are units that
// are durable already and not served yet.
type account struct {
	counter Counter
	writer  *writer
	seq     uint64 // accounts are locked in this order

	mu      sync.Mutex
	lease   int64
	ahead   int64 // units to ask for beyond the need, next time
	need    int64 // units that those who wait lack
	limit   int64 // in force at the latest charge
	asked   bool  // stands in the writer's queue
	written bool  // is in the batch that is being committed
	used    time.Time
	granted chan struct{} // closed when the grant is published that covers the need; nil: nobody waits
	err     error         // of the latest commit
	place   place         // of its row in the database, after the latest grant
	batch   uint64        // in which that grant was
	believe time.Time     // until then, the row is as it was then
	returns uint64        // the batch that has units of this account to return

	gone atomic.Bool // was forgotten: look the counter up again. Set with mu held
}

func newAccount(c Counter, w *writer, seq uint64, now time.Time) *account {
	// No limit is known yet, so that the first one counts as lower: what is
	// given back to a new account was granted under another.
	return &account{counter: c, writer: w, seq: seq, limit: math.MaxInt64, used: now}
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

// low reports whether to ask for more before it is needed. After the first grant,
// which leaves nothing, it is not known yet whether more is needed at all.
func (a *account) low() bool { return 0 < a.lease && a.lease <= a.ahead/2 }

// slow reports whether a lease that is low lasts until the next sweep: it took longer
// than that until it was. For it alone no commit is made.
func (a *account) slow(now time.Time) bool { return now.Sub(a.believe) > 2*sweepEvery }

// grow lets the next grants go ahead of the need. The first does not, because many
// tokens are used once; nor does the first after the account was idle.
func (a *account) grow() { a.ahead = min(maxAhead, a.limit/aheadShare) }

// spent reports whether a limit is known to leave less than some units: from a
// grant just now, if nothing was on its way back then or is now.
func (a *account) spent(units, limit int64, now time.Time) bool {
	return now.Before(a.believe) && a.returns <= a.batch && a.place.used-a.lease > limit-units
}

// adopt makes a limit the one in force. Of a lower one, what the lease has beyond
// it goes back: those units were granted under a limit that no longer holds, and
// the writer returns them in the same transaction in which it next asks. So does
// what would be too far ahead, but not the units that the call is for: calls
// that bring different limits would take them from each other for ever.
func (a *account) adopt(units, limit int64) {
	if limit < a.limit {
		kept := int64(0)
		if a.place.row != 0 { // how much is used is known
			within := max(0, limit-(a.place.used-a.lease))
			kept = min(a.lease, within, max(units, min(maxAhead, limit/aheadShare)))
		}
		a.sendBack(a.lease - kept)
		a.lease = kept
		a.ahead = min(a.ahead, limit/aheadShare)
	}
	a.limit = limit
}

// publish is called by the writer with the outcome of a grant in a batch. Units
// that were granted under a limit that was lowered during the commit go back;
// those who wait ask again then.
func (a *account) publish(g *grant, batch uint64, err error, now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.err, a.written = err, false
	if err == nil {
		a.place, a.batch, a.believe = g.place, batch, now.Add(believeFor)
	}
	switch {
	case err != nil:
	case a.limit < g.limit:
		a.sendBack(g.granted)
	default:
		a.lease += g.granted
		a.grow()
	}
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

// giveBack puts the units of a charge into the lease again. They are durable,
// and unserved. Those of a limit that was lowered since are no longer its own,
// and what is more than a lease may hold ahead goes on: a crash would lose it.
func (a *account) giveBack(c Charge, now time.Time) {
	kept := c.Amount
	if c.Limit > a.limit {
		kept = 0
	}
	kept = min(kept, max(0, maxAhead-a.lease))
	a.lease += kept
	a.sendBack(c.Amount - kept)
	a.used = now
}

// sweep sends back the lease of an account that is idle, and reports whether
// the account can be forgotten.
func (a *account) sweep(now time.Time) (forget bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	idle := now.Sub(a.used)
	if idle < idleAfter {
		return false
	}
	a.sendBack(a.lease)
	a.lease, a.ahead = 0, 0
	forget = idle >= forgetPast && !a.asked && !a.written
	a.gone.Store(forget)
	return forget
}
