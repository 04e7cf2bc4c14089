package tokenstore

import (
	"context"
	"errors"
	"maps"
	"math"
	"runtime"
	"slices"
	"sync"
	"time"
)

// writer is the queue of changes to make durable. One goroutine drains it. Changes that
// arrive during one commit share the next, so the number of commits depends on the disk
// and not on the calls.
type writer struct {
	wake     chan struct{}
	flushing sync.Mutex // held from draining the queue to publishing the outcome
	alarms   *alarms
	shared   bool // other processes grant on the same counters

	mu sync.Mutex
	queue
}

// learning is a token to be made known.
type learning struct {
	token  *Token
	done   chan error // receives the outcome once
	record record     // set before done receives nil
}

func newLearning(t *Token) *learning { return &learning{token: t, done: make(chan error, 1)} }

// batch is the set of changes that one commit makes durable.
type batch struct {
	tokens  []*knowing
	returns []Charge // applied first, so that returned units can be granted
	grants  []*grant
}

func (b *batch) empty() bool { return len(b.tokens)+len(b.returns)+len(b.grants) == 0 }

// applyOverrides lowers the limits of grants to the operator's overrides of tokens
// that the batch makes known. The calls that asked for the grants did not know them.
func (b *batch) applyOverrides() {
	for _, k := range b.tokens {
		if k.record.override == (Limits{}) {
			continue
		}
		for _, g := range b.grants {
			limit := k.record.override.Of(g.counter.Unit)
			if limit != nil && g.counter == tokenCounter(k.token.Issuer, k.token.ID, g.counter.Unit) {
				g.limit = min(g.limit, *limit)
			}
		}
	}
}

// knowing is a token in a batch, and the outcome.
type knowing struct {
	token  *Token
	record record // with the latest expiry of the identity
	err    error  // ErrConflict
}

// grant is a counter in a batch and the outcome.
type grant struct {
	counter     Counter
	limit       int64
	owed        int64 // an overrun, granted whatever the limit
	need, ahead int64 // units that waiting calls lack, and units beyond
	lease       int64 // units that are leased already
	tells       int64 // units that were spent since the last commit on the counter
	granted     int64
	spent       int64         // by all processes, if counted
	counted     bool          // the database knows what is spent
	place       place         // the counter's row after the previous grant, then after this one
	done        chan struct{} // closed when the outcome is published; nil: nobody waits
}

// size returns the number of units to grant when used units are counted.
func (g *grant) size(used int64) int64 {
	owed := min(g.owed, math.MaxInt64-used)
	remaining := max(0, g.limit-used-owed)
	need := min(g.need, remaining)
	return owed + need + max(0, share(g.ahead, remaining-need)-g.lease)
}

func newWriter() *writer { return &writer{wake: make(chan struct{}, 1), alarms: newAlarms()} }

// ask queues accounts for grants, and a token to be made known unless it is nil:
// together, so that a call that needs several of these waits for one commit. The
// caller holds the accounts' locks.
func (w *writer) ask(learn *learning, accounts ...*account) {
	w.mu.Lock()
	defer w.mu.Unlock()

	if learn != nil {
		w.learning = append(w.learning, learn)
	}
	for _, a := range accounts {
		w.enqueue(a)
	}
	w.signal()
}

// askLater queues an account for the next commit or the next sweep, whichever
// comes first. The caller holds its lock.
func (w *writer) askLater(a *account) {
	w.mu.Lock()
	defer w.mu.Unlock()

	w.enqueue(a)
}

func (w *writer) enqueue(a *account) {
	if !a.asked {
		a.asked = true
		w.accounts = append(w.accounts, a)
	}
}

// giveBack queues units to be returned, and returns the number of their batch. The
// units have left memory already: if the return fails they are lost, never granted
// twice.
func (w *writer) giveBack(c Counter, units int64) (batch uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()

	w.returns = append(w.returns, Charge{Counter: c, Amount: units})
	w.signal()
	return w.number
}

// returning returns how many units of a counter are queued to be returned.
func (w *writer) returning(c Counter) (units int64) {
	w.mu.Lock()
	defer w.mu.Unlock()

	for _, r := range w.returns {
		if r.Counter == c {
			units += r.Amount
		}
	}
	return units
}

func (w *writer) signal() { nudge(w.wake) }

// queue is the contents of one batch.
type queue struct {
	number   uint64
	accounts []*account
	learning []*learning
	returns  []Charge
}

// drain takes the whole queue.
func (w *writer) drain() queue {
	w.mu.Lock()
	defer w.mu.Unlock()

	q := w.queue
	w.queue = queue{number: q.number + 1}
	return q
}

// write runs the ledger's one writer.
func (l *Ledger) write() {
	for {
		select {
		case <-l.writer.wake:
			runtime.Gosched() // calls that arrived at the same moment share the commit
			l.flush()
		case <-l.done:
			return // Close flushes what is left
		}
	}
}

// flush commits the queue and publishes the outcome.
func (l *Ledger) flush() {
	l.writer.flushing.Lock()
	defer l.writer.flushing.Unlock()

	q := l.writer.drain()
	if errors.Is(l.stopped(), errClosed) { // no call waits, and a grant would be lost
		q.learning = nil
		q.accounts = slices.DeleteFunc(q.accounts, func(a *account) bool { return !a.owes() })
	}
	b := q.batch()
	if b.empty() {
		if l.failing.Load() != nil && l.Err() == nil {
			l.note(l.db.try())
		}
		return
	}

	err := l.commit(b)
	now := l.now()
	for i, k := range q.learning {
		k.record = b.tokens[i].record
		k.done <- l.outcome(b.tokens[i], err)
	}
	for i, a := range q.accounts {
		a.publish(b.grants[i], q.number, err, now)
	}
}

func (q *queue) batch() *batch {
	b := &batch{returns: q.returns}
	for _, a := range q.accounts {
		b.grants = append(b.grants, a.request())
	}
	for _, k := range q.learning {
		b.tokens = append(b.tokens, &knowing{token: k.token})
	}
	return b
}

// commit makes a batch durable. It refuses a batch that arrived during a commit that
// broke the store, because the next commit might succeed on pages that the kernel
// dropped.
func (l *Ledger) commit(b *batch) error {
	if errors.Is(l.stopped(), errBroken) {
		return errBroken
	}
	err := l.timed(b)
	l.note(err)
	return err
}

// note records the outcome of a commit.
func (l *Ledger) note(err error) {
	if err == nil {
		l.failing.Store(nil)
		l.commits.Store(l.now().UnixNano())
		return
	}
	l.failing.Store(&err)
	if errors.Is(err, errBroken) {
		l.stop(err)
	}
}

// request returns the grant that the account asks for now. The account may ask again
// afterwards.
func (a *account) request() *grant {
	a.mu.Lock()
	defer a.mu.Unlock()

	g := &grant{
		counter: a.counter, limit: a.limit, owed: max(0, -a.lease), need: a.need, ahead: a.ahead,
		lease: max(0, a.lease), tells: a.untold, place: a.place, done: a.granted,
	}
	a.need, a.asked, a.written = 0, false, true
	a.granted = nil // calls that wait from now on wait for the next grant
	return g
}

// outcome caches a token that was made known.
func (l *Ledger) outcome(k *knowing, err error) error {
	switch {
	case err != nil:
		return unavailable(err)
	case k.err != nil:
		return k.err
	}

	l.known.add(k.token, k.record)
	if k.record.disabled {
		return ErrDisabled
	}
	return nil
}

// The sweeper looks for idle accounts every second, each time in another part of them.
const (
	sweepEvery = time.Second
	sweepTurns = 8
)

// sweep returns the leases of idle accounts, forgets accounts, wakes the writer for
// accounts that could wait, flushes usage and prunes.
func (l *Ledger) sweep() {
	var p pruner
	flushed := l.now()
	for turn := 0; ; turn = (turn + 1) % sweepTurns {
		select {
		case <-l.sweeper.C:
		case <-l.done:
			return
		}

		if before := p.tick(l.now()); !before.IsZero() {
			_ = l.pruneThrough(context.Background(), before) // a failed prune is tried again in an hour
		}
		for i := turn; i < len(l.accounts); i += sweepTurns {
			l.sweepShard(&l.accounts[i], l.now())
		}
		l.writer.signal() // for accounts that asked for later, and to retry after a failure
		nudge(l.writer.alarms.wake)
		if now := l.now(); now.Sub(flushed).Abs() >= usageEvery {
			flushed = now
			_ = l.writeUsage(true) // a failure is retried
		}
	}
}

func (l *Ledger) sweepShard(s *shard, now time.Time) {
	for _, a := range s.all() {
		if !a.sweep(now) {
			continue
		}
		s.mu.Lock()
		if s.accounts[a.counter] == a {
			delete(s.accounts, a.counter)
		}
		s.mu.Unlock()
	}
}

// all returns the accounts of a shard. An account's lock is never taken while a
// shard's is held.
func (s *shard) all() []*account {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Values(s.accounts))
}
