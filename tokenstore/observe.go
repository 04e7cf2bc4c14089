package tokenstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"
)

// OnCommit sets a function that is called after each commit, with its duration. f must
// return soon, because grants wait for it. Call OnCommit at most once.
func (l *Ledger) OnCommit(f func(took time.Duration, err error)) { l.onCommit.Store(&f) }

// timed commits a batch, and reports the duration.
func (l *Ledger) timed(b *batch) error {
	f := l.onCommit.Load()
	if f == nil {
		return l.db.commit(b)
	}
	begin := time.Now()
	err := l.db.commit(b)
	(*f)(time.Since(begin), err)
	return err
}

// Leases are the leases in hand in one unit.
type Leases struct {
	Counters int   // that have a lease
	Amount   int64 // in all leases together: durable, and not served yet
}

// Leases returns the leases in hand by unit. It looks at all counters in use.
func (l *Ledger) Leases() map[Unit]Leases {
	all := make(map[Unit]Leases, len(Units))
	var accounts []*account // of one shard at a time, so that calls can find their accounts meanwhile
	for i := range l.accounts {
		s := &l.accounts[i]
		accounts = accounts[:0]
		s.mu.Lock()
		for _, a := range s.accounts {
			accounts = append(accounts, a)
		}
		s.mu.Unlock()

		for _, a := range accounts {
			a.mu.Lock()
			lease := a.lease
			a.mu.Unlock()
			if lease > 0 {
				of := all[a.counter.Unit]
				all[a.counter.Unit] = Leases{of.Counters + 1, sum(of.Amount, lease)}
			}
		}
	}
	return all
}

// Size returns how many bytes the store takes on its disk.
func (l *Ledger) Size() (bytes int64, err error) {
	if err := l.stopped(); err != nil {
		return 0, err
	}
	bytes, err = l.db.size()
	if err != nil {
		return 0, unavailable(fmt.Errorf("measuring store: %w", err))
	}
	return bytes, nil
}

// size implements [backend]. It asks the file system, because a query would block the
// calls that wait for SQLite's one connection.
func (s *sqliteDB) size() (bytes int64, err error) {
	for _, suffix := range []string{"", "-wal", "-shm"} {
		info, err := os.Stat(s.path + suffix)
		switch {
		case err == nil:
			bytes += info.Size()
		case suffix == "" || !errors.Is(err, fs.ErrNotExist):
			return 0, err
		}
	}
	return bytes, nil
}

// measureTables adds up the store's tables with their indexes. The schema may have
// others.
const measureTables = `
	SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint FROM pg_class c
	WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'r' AND c.relname IN
		('meta', 'tokens', 'counters', 'revocations', 'limits', 'usage', 'state', 'changes', 'rates', 'slots', 'goose_db_version',
		'warnings', 'usage_days', 'heartbeats')`

// sizeTimeout bounds a query for the size. Metrics repeat it at each scrape.
const sizeTimeout = time.Second

// size implements [backend].
func (p *postgresDB) size() (bytes int64, err error) {
	if err := p.ready(); err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), sizeTimeout)
	defer cancel()
	err = p.db.QueryRowContext(ctx, measureTables).Scan(&bytes)
	return bytes, err
}
