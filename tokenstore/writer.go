package tokenstore

import (
	"context"
	"errors"
	"maps"
	"runtime"
	"slices"
	"sync"
	"time"
)

// writer is the queue of what is to be made durable. One goroutine drains it:
// whatever has come in during one commit goes into the next together, so that
// the number of commits follows the disk and not the calls.
type writer struct {
	wake     chan struct{}
	flushing sync.Mutex // held from draining the queue to publishing the outcome

	mu sync.Mutex
	queue
}

// learning is a token that is to be made known; the channel says how that went.
type learning struct {
	token *Token
	done  chan error
}

func newLearning(t *Token) *learning { return &learning{t, make(chan error, 1)} }

// batch is what one commit makes durable.
type batch struct {
	tokens  []*knowing
	returns []Charge // first, so that what is returned can be granted
	grants  []*grant
}

func (b *batch) empty() bool { return len(b.tokens)+len(b.returns)+len(b.grants) == 0 }

// knowing is a token in a batch, and what the database has of it then.
type knowing struct {
	token  *Token
	record record // with the latest expiry of the identity
	err    error  // ErrConflict
}

// grant is a counter in a batch: units that are needed and some ahead, of which
// some are leased already, under a limit, and what was granted of them.
type grant struct {
	counter     Counter
	limit       int64
	need, ahead int64
	lease       int64
	granted     int64
	place       place         // where its row was the last time, and then where it is
	done        chan struct{} // closed when the outcome is published; nil: nobody waits
}

// size is how much is granted with some units remaining under the limit.
func (g *grant) size(used int64) int64 {
	remaining := max(0, g.limit-used)
	need := min(g.need, remaining)
	return need + max(0, share(g.ahead, remaining-need)-g.lease)
}

func newWriter() *writer { return &writer{wake: make(chan struct{}, 1)} }

// ask queues accounts for grants, and a token to be made known if there is one:
// together, so that a call that needs several of these waits for one commit.
// The caller holds the accounts' locks.
func (w *writer) ask(learn *learning, accounts ...*account) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if learn != nil {
		w.learning = append(w.learning, *learn)
	}
	for _, a := range accounts {
		w.enqueue(a)
	}
	w.signal()
}

// askLater queues an account for the next commit, whenever that is, or the next
// sweep. The caller holds its lock.
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

// giveBack queues units to be returned, and tells in which batch they will be.
// They have left memory already: should the return fail, they are lost, and
// never granted twice.
func (w *writer) giveBack(c Counter, units int64) (batch uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.returns = append(w.returns, Charge{Counter: c, Amount: units})
	w.signal()
	return w.number
}

func (w *writer) signal() {
	select {
	case w.wake <- struct{}{}:
	default: // it will look anyway
	}
}

// queue is what the writer has taken to be one batch.
type queue struct {
	number   uint64
	accounts []*account
	learning []learning
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

// write is the ledger's one writer.
func (l *Ledger) write() {
	for {
		select {
		case <-l.writer.wake:
			// Calls that came at the same moment share the commit.
			runtime.Gosched()
			l.flush()
		case <-l.done:
			return // Close flushes what is left
		}
	}
}

// flush commits what is queued and publishes the outcome.
func (l *Ledger) flush() {
	l.writer.flushing.Lock()
	defer l.writer.flushing.Unlock()
	q := l.writer.drain()
	if errors.Is(l.stopped(), errClosed) {
		q.accounts, q.learning = nil, nil // nobody waits: a grant would be lost
	}
	b := batch{returns: q.returns}
	for _, a := range q.accounts {
		b.grants = append(b.grants, a.request())
	}
	for _, k := range q.learning {
		b.tokens = append(b.tokens, &knowing{token: k.token})
	}
	if b.empty() {
		if l.failing.Load() != nil && l.Err() == nil {
			l.note(l.db.try())
		}
		return
	}
	err := l.commit(&b)
	now := l.now()
	for i, k := range q.learning {
		k.done <- l.outcome(b.tokens[i], err)
	}
	for i, a := range q.accounts {
		a.publish(b.grants[i], q.number, err, now)
	}
}

// commit makes a batch durable. What came during a commit that broke the store
// is refused as well: the next one might succeed, on pages the kernel dropped.
func (l *Ledger) commit(b *batch) error {
	if errors.Is(l.stopped(), errBroken) {
		return errBroken
	}
	err := l.db.commit(b)
	l.note(err)
	return err
}

// note notes how a commit ended.
func (l *Ledger) note(err error) {
	if err == nil {
		l.failing.Store(nil)
		return
	}
	l.failing.Store(&err)
	if errors.Is(err, errBroken) {
		l.stop(err)
	}
}

// request is what the account asks for now. From here on it may ask again.
func (a *account) request() *grant {
	a.mu.Lock()
	defer a.mu.Unlock()
	g := &grant{counter: a.counter, limit: a.limit, need: a.need, ahead: a.ahead, lease: a.lease, place: a.place, done: a.granted}
	a.need, a.asked, a.written = 0, false, true
	a.granted = nil // who waits from here on waits for the next
	return g
}

// outcome remembers a token that was made known.
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

// What idles is looked for every second, each time in another part of what there is.
const (
	sweepEvery = time.Second
	sweepTurns = 8
)

// sweep returns the leases of idle accounts, forgets accounts, has the writer look
// for who could wait, writes usage and prunes.
func (l *Ledger) sweep() {
	var p pruner
	written := l.now()
	for turn := 0; ; turn = (turn + 1) % sweepTurns {
		select {
		case <-l.sweeper.C:
			if before := p.tick(l.now()); !before.IsZero() {
				_ = l.pruneThrough(context.Background(), before) // what failed is tried again in an hour
			}
			for i := turn; i < len(l.accounts); i += sweepTurns {
				l.sweepShard(&l.accounts[i], l.now())
			}
			l.writer.signal() // for those that have asked for later, and to try what failed
			if now := l.now(); now.Sub(written).Abs() >= usageEvery {
				written = now
				_ = l.writeUsage(true) // what failed is tried again
			}
		case <-l.done:
			return
		}
	}
}

func (l *Ledger) sweepShard(s *shard, now time.Time) {
	s.mu.Lock()
	accounts := slices.Collect(maps.Values(s.accounts))
	s.mu.Unlock() // an account's lock is never taken with a shard's held
	for _, a := range accounts {
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
