package tokenstore

import (
	"cmp"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/base64"
	"fmt"
	"slices"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
)

// Warning says that most or all of a limit is spent. It is raised once for each
// counter, which includes its window, and for each limit and threshold, by the process
// that notices first. A changed limit is another limit. A warning is kept until it is
// delivered, even over a crash.
//
// The warning at 80 % is raised when that much is spent. The one at 100 % is raised
// when all is spent, or when the limit refuses a call although nothing is reserved,
// because the rest of a budget may be too little for any call. Then at least 80 % is
// spent. If the process is killed before it raises a due warning, the next call on the
// counter raises it.
type Warning struct {
	Counter   Counter
	Limit     int64
	Threshold int   // in percent, see [Thresholds]
	Used      int64 // spent when the warning was raised

	RaisedAt time.Time // to the second
	Attempts int       // earlier attempts to deliver it
}

// warned identifies a warning.
type warned struct {
	Counter
	limit     int64
	threshold int
}

func (w *Warning) key() warned { return warned{w.Counter, w.Limit, w.Threshold} }

// ID returns an identifier of the warning, the same for each attempt to deliver it.
func (w *Warning) ID() string {
	h := sha256.New()
	fmt.Fprintf(h, "%q %q %q %d %d %d %d", w.Counter.Scope, w.Counter.ID, w.Counter.Unit, w.Counter.windowStart(),
		w.Limit, w.Threshold, w.RaisedAt.Unix())
	return "msg_" + base64.RawURLEncoding.EncodeToString(h.Sum(nil)[:20])
}

// alarms are the warnings that are due and not durable yet.
type alarms struct {
	wake   chan struct{}
	raised chan struct{} // receives after warnings were made durable

	raising sync.Mutex // held from draining due warnings until they are durable

	mu  sync.Mutex
	due []Warning

	// seen has the latest warnings that are due or durable. It saves a query for each
	// refused call.
	seen *lru.Cache[warned, struct{}]
}

const keptWarnings = 1 << 14

func newAlarms() *alarms {
	seen, err := lru.New[warned, struct{}](keptWarnings)
	if err != nil {
		panic(err) // only for a size that is not positive
	}
	return &alarms{wake: make(chan struct{}, 1), raised: make(chan struct{}, 1), seen: seen}
}

// add queues a warning. It never blocks, because a call may wait for it.
func (a *alarms) add(w Warning) {
	if seen, _ := a.seen.ContainsOrAdd(w.key(), struct{}{}); seen {
		return
	}
	a.mu.Lock()
	a.due = append(a.due, w)
	a.mu.Unlock()
	nudge(a.wake)
}

func (a *alarms) drain() []Warning {
	a.mu.Lock()
	defer a.mu.Unlock()

	due := a.due
	a.due = nil
	return due
}

// nudge wakes the receiver of a channel with a buffer of one.
func nudge(wake chan<- struct{}) {
	select {
	case wake <- struct{}{}:
	default: // a wake-up is already pending
	}
}

// raise makes warnings durable until the ledger is closed. The sweep wakes it to retry
// after a failure.
func (l *Ledger) raise() {
	for {
		select {
		case <-l.writer.alarms.wake:
			l.raiseDue()
		case <-l.done:
			return // Close raises what is left
		}
	}
}

func (l *Ledger) raiseDue() {
	alarms := l.writer.alarms
	alarms.raising.Lock()
	defer alarms.raising.Unlock()
	due := alarms.drain()
	if len(due) == 0 {
		return
	}
	slices.SortFunc(due, compareWarnings) // all processes use this order, which prevents deadlocks

	raised, err := l.db.raise(due, l.now())
	if err != nil {
		_ = l.failure(err) // which closes a broken ledger
		alarms.mu.Lock()
		alarms.due = append(alarms.due, due...)
		alarms.mu.Unlock()
		return
	}
	if raised > 0 {
		nudge(alarms.raised)
	}
}

func compareWarnings(a, b Warning) int {
	return cmp.Or(keyOf(a.Counter).compare(keyOf(b.Counter)), cmp.Compare(a.Limit, b.Limit), cmp.Compare(a.Threshold, b.Threshold))
}

// WarningsRaised returns a channel that receives after this process has raised
// warnings. Only one of several receivers gets each signal, and other processes'
// warnings send none, so also poll [Ledger.ClaimWarnings].
func (l *Ledger) WarningsRaised() <-chan struct{} { return l.writer.alarms.raised }

// ClaimWarnings returns at most n warnings that wait for delivery, untried ones first.
// No other caller gets them while the claim lasts. Call [Ledger.SettleWarning] for
// each, or it becomes due again when the claim ends.
func (l *Ledger) ClaimWarnings(ctx context.Context, n int, lasts time.Duration) ([]Warning, error) {
	if err := l.stopped(); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, unavailable(err)
	}

	now := l.now()
	claimed, err := l.db.claimWarnings(n, now, now.Add(lasts))
	if err != nil {
		return nil, l.failure(fmt.Errorf("claiming warnings: %w", err))
	}
	slices.SortFunc(claimed, func(a, b Warning) int { return cmp.Or(a.RaisedAt.Compare(b.RaisedAt), compareWarnings(a, b)) })
	return claimed, nil
}

// SettleWarning ends a claim after an attempt to deliver a warning. next is the time of
// the next attempt; zero means that the warning is done. It has no effect if another
// process has made an attempt since.
func (l *Ledger) SettleWarning(w Warning, next time.Time) error {
	if err := l.stopped(); err != nil {
		return err
	}
	if err := l.db.settleWarning(w, next); err != nil {
		return l.failure(fmt.Errorf("settling warning: %w", err))
	}
	return nil
}

const warningKey = `scope, id, unit, window_start, amount, threshold`

// raise implements [backend].
func (s *tables) raise(due []Warning, now time.Time) (raised int64, err error) {
	err = s.inTx(func(tx *sql.Tx) error {
		raised = 0
		for _, w := range due {
			result, err := tx.Exec(s.bind(`INSERT INTO warnings (`+warningKey+`, used, raised_at, attempts, due_at)
				VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0, ?) ON CONFLICT (`+warningKey+`) DO NOTHING`),
				append(w.keyValues(), w.Used, now.Unix(), now.Unix())...)
			if err != nil {
				return err
			}
			n, err := result.RowsAffected()
			if err != nil {
				return err
			}
			raised += n
		}
		return nil
	})
	return raised, err
}

// keyValues returns the values of warningKey.
func (w *Warning) keyValues() []any {
	c := w.Counter
	return []any{string(c.Scope), c.ID, string(c.Unit), c.windowStart(), w.Limit, w.Threshold}
}

// claimWarnings implements [backend]. Both conditions on due_at are needed: of two
// processes that select the same row, the second finds it claimed when it updates.
func (s *tables) claimWarnings(n int, now, until time.Time) (claimed []Warning, err error) {
	waiting, err := s.number(`SELECT count(*) FROM (SELECT 1 FROM warnings WHERE due_at > 0 AND due_at <= ? LIMIT 1) AS first`, now.Unix())
	if waiting == 0 || err != nil {
		return nil, err
	}

	err = s.inTx(func(tx *sql.Tx) error {
		claimed = nil
		rows, err := tx.Query(s.bind(`
			UPDATE warnings SET due_at = ?2
			WHERE due_at > 0 AND due_at <= ?1 AND (`+warningKey+`) IN
				(SELECT `+warningKey+` FROM warnings WHERE due_at > 0 AND due_at <= ?1 ORDER BY attempts, due_at, `+warningKey+` LIMIT ?3)
			RETURNING `+warningKey+`, used, raised_at, attempts`), now.Unix(), until.Unix(), n)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			w, err := scanWarning(rows)
			if err != nil {
				return err
			}
			claimed = append(claimed, w)
		}
		return rows.Err()
	})
	return claimed, err
}

func scanWarning(row scanner) (w Warning, err error) {
	var window, raised int64
	c := &w.Counter
	err = row.Scan(&c.Scope, &c.ID, &c.Unit, &window, &w.Limit, &w.Threshold, &w.Used, &raised, &w.Attempts)
	w.RaisedAt = unixTime(raised)
	if window != 0 {
		c.Window = unixTime(window)
	}
	return w, err
}

// endClaims makes all waiting warnings due. A store for one process is opened only when
// the process that claimed them is gone.
func (s *tables) endClaims() error {
	now := s.now().Unix()
	_, err := s.exec(event{}, `UPDATE warnings SET due_at = ? WHERE due_at > ?`, now, now)
	return err
}

// settleWarning implements [backend].
func (s *tables) settleWarning(w Warning, next time.Time) error {
	due := int64(0)
	if !next.IsZero() {
		due = next.Unix()
	}
	_, err := s.exec(event{}, `UPDATE warnings SET attempts = attempts + 1, due_at = ?
		WHERE scope = ? AND id = ? AND unit = ? AND window_start = ? AND amount = ? AND threshold = ? AND attempts = ?`,
		append(append([]any{due}, w.keyValues()...), w.Attempts)...)
	return err
}
