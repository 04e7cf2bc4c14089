package tokenstore

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"
)

// Ledger admits calls from memory: it leases units from its database, for many
// counters in one commit, and serves calls from the leases. Its methods may be
// called concurrently.
type Ledger struct {
	db    backend
	now   func() time.Time
	known *known
	seed  maphash.Seed
	// accounts are the counters in use, sharded so that calls with different
	// tokens do not contend.
	accounts [64]shard
	seq      atomic.Uint64

	revoked      atomic.Pointer[revocations]
	limits       atomic.Pointer[LimitSet]
	longest      atomic.Int64 // longest lifetime of a token in seconds; 0: not known
	pruned       atomic.Int64 // tokens that expired by then are pruned; unix seconds
	observations observations

	shared  *Shared // nil: the store serves one process
	writer  *writer
	sweeper *time.Ticker
	done    chan struct{} // closed by Close
	running sync.WaitGroup

	down    atomic.Pointer[error] // why nothing is admitted any more; nil: the ledger works
	commits atomic.Int64          // time of the latest that succeeded, unix nanoseconds; 0: none yet
	failing atomic.Pointer[error] // why the last commit failed; nil: it succeeded

	onCommit atomic.Pointer[func(time.Duration, error)] // nil: no observer
	closer   sync.Once
	closed   error
}

type shard struct {
	mu       sync.Mutex
	accounts map[Counter]*account
}

// backend is the database of a ledger. Its methods take no context, because a client
// that hangs up must not interrupt them: SQLite would give up the connection, and
// with the last one its log; and an interrupted commit may be durable all the same.
//
// Errors are [ErrUnknown], or wrap errBroken if they cast doubt on what the disk
// holds, or have another reason for which nothing was changed.
type backend interface {
	// commit makes a whole batch durable or nothing of it, and fills in the
	// outcomes. It calls batch.applyOverrides before it grants.
	commit(b *batch) error
	// try rewrites a value to find out whether a commit could succeed.
	try() error
	// ready returns why nothing may be admitted now, not even from leases, or nil.
	ready() error
	// used returns what is durable on a counter, including leases.
	used(c Counter) (int64, error)
	birthday() time.Time
	// size returns how many bytes the database takes.
	size() (bytes int64, err error)
	close() error

	// The operator's side.
	records(f Filter, limit int) ([]Record, error)

	// standings returns the same tokens, with what their status depends on.
	standings(f Filter, limit int) ([]*standing, error)
	record(issuer, id string) (Record, error)
	update(issuer, id string, c Change) error
	revoke(r Revocation, now time.Time) error
	revocations() ([]Revocation, error)
	limits() ([]Limit, error)
	setLimit(l Limit, now time.Time) error
	removeLimit(l Limit) error
	addUsage(seen []*observation) error
	usage(f UsageFilter) ([]UsageRow, error)
	prune(before time.Time) (removed int64, err error)
	pruneRevocations(before time.Time) error
	prunedThrough() (seconds int64, err error)
	acceptSince(t time.Time) error

	// raise makes warnings durable and returns how many of them are new.
	raise(due []Warning, now time.Time) (raised int64, err error)
	claimWarnings(n int, now, until time.Time) ([]Warning, error)
	settleWarning(w Warning, next time.Time) error

	// For changes of other processes.
	disabled() (map[identity]bool, error)
	// revokedBefore returns the time of one revocation, or 0 if it is not there.
	revokedBefore(scope Scope, issuer, id string) (seconds int64, err error)
	readBirth() error

	// unfinished reports whether the store is the target of a copy that was interrupted.
	unfinished() (bool, error)
}

// errBroken means that the database must not be used again before a restart.
var errBroken = errors.New("closed until restart")

// openLedger reads the state that memory caches, and starts the ledger.
func openLedger(db backend, now func() time.Time) (_ *Ledger, err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, db.close())
		}
	}()

	unfinished, err := db.unfinished()
	if err != nil {
		return nil, fmt.Errorf("looking for a copy: %w", err)
	}
	if unfinished {
		return nil, ErrCopying
	}
	revoked, err := db.revocations()
	if err != nil {
		return nil, fmt.Errorf("reading revocations: %w", err)
	}
	pruned, err := db.prunedThrough()
	if err != nil {
		return nil, fmt.Errorf("reading what was pruned: %w", err)
	}
	limits, err := db.limits()
	if err != nil {
		return nil, fmt.Errorf("reading limits: %w", err)
	}

	l := newLedger(db, now)
	l.limits.Store(&LimitSet{1, limits})
	l.revoked.Store(new(revocations).with(revoked...))
	l.pruned.Store(pruned)
	return l, nil
}

func newLedger(db backend, now func() time.Time) *Ledger {
	l := &Ledger{
		db: db, now: now, known: newKnown(), seed: maphash.MakeSeed(),
		writer: newWriter(), sweeper: time.NewTicker(sweepEvery), done: make(chan struct{}),
	}
	for i := range l.accounts {
		l.accounts[i].accounts = make(map[Counter]*account)
	}
	_, l.writer.shared = db.(*postgresDB)
	l.revoked.Store(new(revocations))
	l.limits.Store(&LimitSet{Version: 1})

	l.running.Go(l.write)
	l.running.Go(l.sweep)
	l.running.Go(l.raise)
	return l
}

// Birth returns when the store was first made.
func (l *Ledger) Birth() time.Time { return l.db.birthday() }

// account returns the account of a counter.
func (l *Ledger) account(c Counter) *account {
	s := l.shard(c)
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.accounts[c]
	if a == nil || a.gone.Load() {
		a = newAccount(c, l.writer, l.seq.Add(1), l.now())
		s.accounts[c] = a
	}
	return a
}

// accountOf returns the account of a counter that a call with the token is charged to.
func (l *Ledger) accountOf(t *Token, c Counter) *account {
	a := t.account.Load()
	if a != nil && a.writer == l.writer && a.counter == c && !a.gone.Load() {
		return a
	}
	a = l.account(c)
	if c.Scope == ScopeToken && c.Unit == UnitCalls && c.Window.IsZero() {
		t.account.Store(a)
	}
	return a
}

// leased returns the lease of a counter without making an account for it.
func (l *Ledger) leased(c Counter) int64 {
	s := l.shard(c)
	s.mu.Lock()
	a := s.accounts[c]
	s.mu.Unlock()
	if a == nil {
		return 0
	}

	a.mu.Lock()
	defer a.mu.Unlock()
	return a.lease
}

func (l *Ledger) shard(c Counter) *shard {
	return &l.accounts[maphash.Comparable(l.seed, c)%uint64(len(l.accounts))]
}

// Used returns how much of a counter is used. The leases of other processes count as
// used.
func (l *Ledger) Used(ctx context.Context, c Counter) (int64, error) {
	if err := c.check(); err != nil {
		return 0, unavailable(err)
	}
	if err := l.stopped(); err != nil {
		return 0, err
	}
	if err := ctx.Err(); err != nil {
		return 0, unavailable(err)
	}

	l.writer.flushing.Lock() // so that no grant happens between the two reads
	defer l.writer.flushing.Unlock()
	a := l.lock(c)
	defer a.mu.Unlock()

	used, err := l.db.used(c)
	if err != nil {
		return 0, l.failure(fmt.Errorf("reading counter: %w", err))
	}
	return used - a.lease - l.writer.returning(c), nil
}

// Close returns all leases and closes the store. Afterwards every method but
// [Ledger.Birth] fails with [ErrUnavailable].
func (l *Ledger) Close() error {
	l.closer.Do(func() {
		l.stop(errClosed)
		l.sweeper.Stop()
		close(l.done)
		l.running.Wait()

		l.flush() // no call waits any more, but overruns may be owed
		for i := range l.accounts {
			l.sweepShard(&l.accounts[i], l.now().Add(2*forgetPast))
		}
		l.flush()
		l.raiseDue()

		l.closed = errors.Join(l.writeUsage(false), l.db.close())
	})
	return l.closed
}

// LastCommit returns the time of the last commit; zero means none since the ledger was
// opened.
func (l *Ledger) LastCommit() time.Time {
	if n := l.commits.Load(); n != 0 {
		return time.Unix(0, n)
	}
	return time.Time{}
}

// Err returns why the ledger admits nothing until it is opened again, or nil.
func (l *Ledger) Err() error { return l.stopped() }

// Health returns why the ledger admits nothing that must be counted, or nil: the
// error of [Ledger.Err], or of the last commit. It retries a failed commit about
// every second.
func (l *Ledger) Health() error {
	if err := l.Err(); err != nil {
		return err
	}
	if err := l.db.ready(); err != nil {
		return unavailable(err)
	}
	if err := l.failing.Load(); err != nil {
		return unavailable(*err)
	}
	return nil
}

func (l *Ledger) stop(cause error) { l.down.CompareAndSwap(nil, &cause) }

// failure returns an error of the database as callers see it. An error that casts
// doubt on what the disk holds closes the ledger.
func (l *Ledger) failure(err error) error {
	switch {
	case err == nil || errors.Is(err, ErrUnknown):
		return err
	case errors.Is(err, errBroken):
		l.stop(err)
	}
	return unavailable(err)
}

func (l *Ledger) stopped() error {
	if cause := l.down.Load(); cause != nil {
		return unavailable(*cause)
	}
	return nil
}
