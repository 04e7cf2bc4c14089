package tokenstore

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
)

// Shared counts what the processes of a store share besides its counters: rates, and
// calls in flight. A crash or a failover of the database loses both. It also keeps
// heartbeats, which survive a crash.
//
// Its methods fail while there is no contact with the database. Limit each process by
// itself then; that lasts for MaxOffline at most.
type Shared struct {
	db   *postgresDB
	node int64 // this process, in the table of slots

	rates keyed[rateLease]
	slots keyed[slotLease]
	dirty chan *slotLease
}

// Shared returns the shared counts of a store's processes, or nil if the store serves a
// single process.
func (l *Ledger) Shared() *Shared { return l.shared }

func newShared(db *postgresDB) *Shared {
	return &Shared{db: db, node: rand.Int64(), dirty: make(chan *slotLease, 1024)}
}

const sharedTimeout = 2 * time.Second

// keyed holds one value for each key in use.
type keyed[T any] struct {
	mu     sync.Mutex
	values map[string]*T
}

func (k *keyed[T]) get(key string, make func() *T) *T {
	k.mu.Lock()
	defer k.mu.Unlock()

	v := k.values[key]
	if v == nil {
		if k.values == nil {
			k.values = map[string]*T{}
		}
		v = make()
		k.values[key] = v
	}
	return v
}

// each calls do for all values, and removes those for which it returns true.
func (k *keyed[T]) each(do func(*T) (remove bool)) {
	k.mu.Lock()
	all := make(map[string]*T, len(k.values))
	for key, v := range k.values {
		all[key] = v
	}
	k.mu.Unlock()

	for key, v := range all {
		if do(v) {
			k.mu.Lock()
			delete(k.values, key)
			k.mu.Unlock()
		}
	}
}

// onKey runs a query for one key, alone among all processes, and reads its one row. It
// takes one round trip. The commit does not wait for the disk, because a crash may lose
// these counts.
func (s *Shared) onKey(ctx context.Context, key string, into []any, query string, args ...any) error {
	if err := s.db.ready(); err != nil {
		return unavailable(err)
	}
	ctx, cancel := context.WithTimeout(ctx, sharedTimeout)
	defer cancel()
	conn, err := s.db.db.Conn(ctx)
	if err != nil {
		return unavailable(err)
	}
	defer conn.Close()

	batch := new(pgx.Batch)
	batch.Queue(`BEGIN`)
	batch.Queue(`SET LOCAL synchronous_commit = off`)
	batch.Queue(`SELECT pg_advisory_xact_lock(hashtextextended(current_schema() || ' ' || $1, 0))`, key)
	batch.Queue(query, args...).QueryRow(func(row pgx.Row) error { return row.Scan(into...) })
	batch.Queue(`COMMIT`)
	err = conn.Raw(func(dc any) error { return dc.(*stdlib.Conn).Conn().SendBatch(ctx, batch).Close() })
	if err != nil {
		return unavailable(fmt.Errorf("counting for a minute: %w", err)) // the pool drops a connection within a transaction
	}
	return nil
}

// run renews and returns slots, and forgets keys that are not used any more, until
// the ledger is closed.
func (s *Shared) run(done <-chan struct{}) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	cleaned := time.Now()
	for {
		select {
		case slot := <-s.dirty:
			_, _ = slot.push(s)
			continue
		case <-tick.C:
		case <-done:
			s.removeAll()
			return
		}

		s.pushAll(done)
		s.rates.each((*rateLease).forget)
		if time.Since(cleaned) > rateWindow*time.Second {
			cleaned = time.Now()
			s.clean()
		}
	}
}

// pushAll stores changes that the database does not have yet. If that fails, the rest
// waits for the next time.
func (s *Shared) pushAll(done <-chan struct{}) {
	var failed error
	s.slots.each(func(l *slotLease) (gone bool) {
		select {
		case <-done:
			return false
		default:
		}
		if failed == nil {
			gone, failed = l.push(s)
		}
		return gone
	})
}

// clean removes rows that are no longer needed. It leaves rows that others are changing
// for the next time.
func (s *Shared) clean() {
	ctx, cancel := context.WithTimeout(context.Background(), sharedTimeout)
	defer cancel()
	for _, statement := range []string{
		`DELETE FROM rates WHERE (key, second) IN (SELECT key, second FROM rates
			WHERE second < extract(epoch FROM clock_timestamp()) - 120 LIMIT 100000 FOR UPDATE SKIP LOCKED)`,
		`DELETE FROM slots WHERE (key, node) IN (SELECT key, node FROM slots
			WHERE expires < extract(epoch FROM clock_timestamp()) - 120 LIMIT 100000 FOR UPDATE SKIP LOCKED)`,
		fmt.Sprintf(`DELETE FROM heartbeats WHERE (issuer, id) IN (SELECT issuer, id FROM heartbeats
			WHERE until < %s - %d AND revoked LIMIT 100000 FOR UPDATE SKIP LOCKED)`, serverNow, keptBeats.Milliseconds()),
	} {
		_, _ = s.db.db.ExecContext(ctx, statement) // it is tried again in a minute
	}
}

// removeAll frees all slots of this process.
func (s *Shared) removeAll() {
	ctx, cancel := context.WithTimeout(context.Background(), sharedTimeout)
	defer cancel()
	_, _ = s.db.db.ExecContext(ctx, `DELETE FROM slots WHERE node = $1`, s.node) // otherwise they expire
}
