package tokenstore

import (
	"cmp"
	"context"
	"errors"
	"hash/maphash"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Ledger is a [Store] that admits calls from memory: it leases units from its
// database, many counters in one commit, and serves calls from the leases.
type Ledger struct {
	db    backend
	now   func() time.Time
	known known
	seed  maphash.Seed
	// accounts are the counters in use, in shards so that calls on different
	// tokens do not meet.
	accounts [64]shard
	seq      atomic.Uint64

	writer  *writer
	sweeper *time.Ticker
	done    chan struct{} // closed by Close
	running sync.WaitGroup

	down   atomic.Pointer[error] // why nothing is done any more
	closer sync.Once
	closed error
}

type shard struct {
	mu       sync.Mutex
	accounts map[Counter]*account
}

// backend is a database under a ledger.
type backend interface {
	// commit makes a whole batch durable, or nothing of it, and fills in its
	// outcomes. One that casts doubt on what the disk holds wraps errBroken.
	commit(ctx context.Context, b *batch) error
	// used is what is durable on a counter, leases and all.
	used(ctx context.Context, c Counter) (int64, error)
	birthday() time.Time
	close() error
}

// errBroken means that the database must not be used again before a restart.
var errBroken = errors.New("closed until restart")

func newLedger(db backend, now func() time.Time) *Ledger {
	l := &Ledger{
		db: db, now: now, known: newKnown(), seed: maphash.MakeSeed(),
		writer: newWriter(), sweeper: time.NewTicker(idleAfter), done: make(chan struct{}),
	}
	for i := range l.accounts {
		l.accounts[i].accounts = make(map[Counter]*account)
	}
	l.running.Go(l.write)
	l.running.Go(l.sweep)
	return l
}

// Birth implements [Store].
func (l *Ledger) Birth() time.Time { return l.db.birthday() }

// birthGrace is how far an issuer's clock may be behind the store's.
const birthGrace = 60 * time.Second

// Admit implements [Store].
func (l *Ledger) Admit(ctx context.Context, t *Token, charges []Charge) error {
	if err := l.stopped(); err != nil {
		return err
	}
	if err := checkCharges(charges); err != nil {
		return unavailable(err)
	}
	if len(charges) > 0 && t.IssuedAt.Before(l.Birth().Add(-birthGrace)) {
		return ErrPredates
	}
	covered, err := l.known.covers(t)
	if err != nil {
		return err
	}
	var learned <-chan error
	if !covered {
		learned = l.writer.learn(t)
	}
	if covered && len(charges) == 0 {
		return nil
	}
	return l.charge(ctx, charges, learned)
}

// charge takes all charges from their leases, and waits for grants and for the
// token to be known where they are not there yet.
func (l *Ledger) charge(ctx context.Context, charges []Charge, learned <-chan error) error {
	var room [4]claim // more than that are rare, and go to the heap
	claims := l.claim(room[:0], charges)
	for first := true; ; first = false {
		short, err := l.tryTake(claims, learned == nil, first)
		if err != nil || short == nil && learned == nil {
			return err
		}
		if err := l.wait(ctx, short, &learned); err != nil {
			return err
		}
	}
}

// claim is what one call takes from one account.
type claim struct {
	account *account
	units   int64
	limit   int64
}

// claim finds the accounts of charges, each once, in the order of locking.
func (l *Ledger) claim(claims []claim, charges []Charge) []claim {
	for _, c := range charges {
		a := l.account(c.Counter)
		i := slices.IndexFunc(claims, func(k claim) bool { return k.account == a })
		if i < 0 {
			claims = append(claims, claim{a, c.Amount, c.Limit})
			continue
		}
		claims[i].units += c.Amount
		claims[i].limit = min(claims[i].limit, c.Limit)
	}
	sortClaims(claims)
	return claims
}

// account returns the account of a counter.
func (l *Ledger) account(c Counter) *account {
	s := &l.accounts[maphash.Comparable(l.seed, c)%uint64(len(l.accounts))]
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.accounts[c]
	if a == nil || a.gone.Load() {
		a = newAccount(c, l.seq.Add(1), l.now())
		s.accounts[c] = a
	}
	return a
}

// tryTake takes all claims, if every lease has enough and the token is known.
// Otherwise it asks for what is missing and returns a channel to wait on; both
// results are nil too when only the token is not known yet. first is whether
// the call has not waited yet, so that a failed commit is not its own.
func (l *Ledger) tryTake(claims []claim, known, first bool) (granted <-chan struct{}, err error) {
	now := l.now()
	l.lockAll(claims)
	defer unlockAll(claims)
	for i := range claims {
		c := &claims[i]
		a := c.account
		l.adopt(a, c.limit)
		if a.lease >= c.units {
			continue
		}
		switch {
		case !first && a.err != nil:
			return nil, unavailable(a.err)
		case now.Before(a.empty):
			return nil, &ExhaustedError{Counter: a.counter, Limit: c.limit}
		}
		a.need += c.units - a.lease
		l.writer.ask(a)
		if granted == nil {
			granted = a.granted
		}
	}
	if granted != nil || !known {
		return granted, nil
	}
	for i := range claims {
		a := claims[i].account
		a.take(claims[i].units, now)
		if a.low() {
			l.writer.ask(a)
		}
	}
	return nil, nil
}

// lock locks the account of a counter.
func (l *Ledger) lock(c Counter) *account {
	for {
		a := l.account(c)
		a.mu.Lock()
		if !a.gone.Load() {
			return a
		}
		a.mu.Unlock()
	}
}

// lockAll locks the accounts of all claims, in their order, so that two calls
// never wait for each other. One that was forgotten is looked up anew, and with
// it the order changes.
func (l *Ledger) lockAll(claims []claim) {
	for {
		forgotten := false
		for i := range claims {
			claims[i].account.mu.Lock()
			forgotten = forgotten || claims[i].account.gone.Load()
		}
		if !forgotten {
			return
		}
		unlockAll(claims)
		for i := range claims {
			claims[i].account = l.account(claims[i].account.counter)
		}
		sortClaims(claims)
	}
}

func unlockAll(claims []claim) {
	for i := range claims {
		claims[i].account.mu.Unlock()
	}
}

func sortClaims(claims []claim) {
	if len(claims) > 1 {
		slices.SortFunc(claims, func(a, b claim) int { return cmp.Compare(a.account.seq, b.account.seq) })
	}
}

// adopt makes a limit the one in force. A lower one takes the lease back: its
// units were granted under a limit that no longer holds, and the writer
// returns them in the same transaction in which it next asks.
func (l *Ledger) adopt(a *account, limit int64) {
	if limit < a.limit {
		a.sendBack(a.lease, l.writer)
		a.lease = 0
	}
	if limit != a.limit {
		a.limit = limit
		a.empty = time.Time{}
	}
}

// wait waits for a grant or, where none is needed, for the token to be known.
func (l *Ledger) wait(ctx context.Context, granted <-chan struct{}, learned *<-chan error) error {
	known := *learned
	if granted != nil {
		known = nil
	}
	select {
	case <-granted:
		return nil
	case err := <-known:
		*learned = nil
		return err
	case <-ctx.Done():
		return unavailable(context.Cause(ctx))
	case <-l.done:
		return unavailable(errClosed)
	}
}

// Settle implements [Store]. The units go back to the lease, and from there to
// the database when it is idle.
func (l *Ledger) Settle(_ context.Context, charges []Charge) error {
	for _, c := range charges {
		c.Limit = 0 // what is given back needs no limit
		if err := checkCharges([]Charge{c}); err != nil {
			return unavailable(err)
		}
	}
	if err := l.stopped(); err != nil {
		return err
	}
	for _, c := range charges {
		a := l.lock(c.Counter)
		a.giveBack(c.Amount, l.now())
		a.mu.Unlock()
	}
	return nil
}

// Used implements [Store].
func (l *Ledger) Used(ctx context.Context, c Counter) (int64, error) {
	if err := c.check(); err != nil {
		return 0, unavailable(err)
	}
	if err := l.stopped(); err != nil {
		return 0, err
	}
	a := l.lock(c)
	defer a.mu.Unlock() // so that no grant comes between the two numbers
	used, err := l.db.used(ctx, c)
	if err != nil {
		return 0, unavailable(err)
	}
	return used - a.lease, nil
}

// Close implements [Store]. The leases go back first.
func (l *Ledger) Close() error {
	l.closer.Do(func() {
		l.stop(errClosed)
		l.sweeper.Stop()
		close(l.done)
		l.running.Wait()
		l.flush() // what was asked for before, nobody waits for any more
		for i := range l.accounts {
			l.sweepShard(&l.accounts[i], l.now().Add(2*forgetPast))
		}
		l.flush()
		l.closed = l.db.close()
	})
	return l.closed
}

// Err implements [Store].
func (l *Ledger) Err() error { return l.stopped() }

func (l *Ledger) stop(cause error) { l.down.CompareAndSwap(nil, &cause) }

func (l *Ledger) stopped() error {
	if cause := l.down.Load(); cause != nil {
		return unavailable(*cause)
	}
	return nil
}

var _ Store = (*Ledger)(nil)
