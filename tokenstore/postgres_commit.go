package tokenstore

import (
	"cmp"
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
)

const (
	// As for SQLite, see knowToken.
	knowTokenPostgres = `
		INSERT INTO tokens (issuer, id, subject, provider, fingerprint, issued_at, expires_at, first_seen,
			claimed_calls, claimed_tokens, claimed_nanousd, permits)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
		ON CONFLICT (issuer, id) DO UPDATE SET expires_at = greatest(tokens.expires_at, excluded.expires_at),
			issued_at = greatest(tokens.issued_at, excluded.issued_at), claimed_calls = excluded.claimed_calls,
			claimed_tokens = excluded.claimed_tokens, claimed_nanousd = excluded.claimed_nanousd, permits = excluded.permits
		WHERE tokens.fingerprint = excluded.fingerprint
		RETURNING expires_at, disabled <> 0, calls_limit, tokens_limit, nanousd_limit`

	// Rows are made and locked in the order of their keys, so that two processes
	// never wait for each other.
	makeCounters = `
		INSERT INTO counters (scope, id, unit, window_start, used)
		SELECT scope, id, unit, window_start, 0 FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[]) AS k (scope, id, unit, window_start)
		ORDER BY scope, id, unit, window_start
		ON CONFLICT DO NOTHING`
	lockCounters = `
		SELECT c.scope, c.id, c.unit, c.window_start, c.used, c.unspent
		FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[]) AS k (scope, id, unit, window_start)
		JOIN counters c ON (c.scope, c.id, c.unit, c.window_start) = (k.scope, k.id, k.unit, k.window_start)
		ORDER BY c.scope, c.id, c.unit, c.window_start
		FOR UPDATE OF c`
	setCounters = `
		UPDATE counters c SET used = k.used, unspent = k.unspent
		FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[]) AS k (scope, id, unit, window_start, used, unspent)
		WHERE (c.scope, c.id, c.unit, c.window_start) = (k.scope, k.id, k.unit, k.window_start)`
)

// commit implements [backend]. It takes two round trips, whatever is in the batch:
// one locks the rows, the other writes and commits.
func (p *postgresDB) commit(b *batch) error {
	return p.onWriter(func(ctx context.Context, conn *pgx.Conn) error {
		counts, err := p.lockRows(ctx, conn, b)
		if err != nil {
			return fmt.Errorf("locking counters: %w", err)
		}
		if err := writeRows(ctx, conn, b.decide(counts)); err != nil {
			return fmt.Errorf("committing: %w", err)
		}
		return nil
	})
}

// try implements [backend].
func (p *postgresDB) try() error { return p.commit(new(batch)) }

// onWriter calls do with the writer's connection, if it goes to the server that granted
// the leases. A connection on which something failed is closed, and whatever
// transaction it was in ends with it.
func (p *postgresDB) onWriter(do func(context.Context, *pgx.Conn) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), commitTimeout)
	defer cancel()
	conn, err := p.writer.Conn(ctx)
	if err != nil {
		return fmt.Errorf("connecting: %w", err)
	}
	defer conn.Close()

	var failed error
	_ = conn.Raw(func(dc any) error {
		pg := dc.(*stdlib.Conn).Conn()
		if failed = p.checkServer(pg); failed == nil {
			failed = do(ctx, pg)
		}
		if failed != nil {
			return driver.ErrBadConn
		}
		return nil
	})
	return failed
}

// checkServer refuses a connection to a server that did not grant the leases. A return
// there could subtract units that its counters never had.
func (p *postgresDB) checkServer(conn *pgx.Conn) error {
	p.mu.Lock()
	defer p.mu.Unlock()

	if serverOf(conn) != p.server {
		p.moved.Store(true)
		return ErrFailover
	}
	return nil
}

// count is the contents of a counter's row.
type count struct {
	used    int64
	unspent int64 // the part of used that some process has leased or reserved
}

// key is a counter as the tables have it.
type key struct {
	scope, id, unit string
	window          int64
}

func keyOf(c Counter) key { return key{string(c.Scope), c.ID, string(c.Unit), c.windowStart()} }

func (k key) compare(m key) int {
	return cmp.Or(cmp.Compare(k.scope, m.scope), cmp.Compare(k.id, m.id), cmp.Compare(k.unit, m.unit), cmp.Compare(k.window, m.window))
}

// columnsOf returns keys as the parameters of a statement.
func columnsOf(keys []key) []any {
	scopes, ids, units, windows := make([]string, len(keys)), make([]string, len(keys)), make([]string, len(keys)), make([]int64, len(keys))
	for i, k := range keys {
		scopes[i], ids[i], units[i], windows[i] = k.scope, k.id, k.unit, k.window
	}
	return []any{scopes, ids, units, windows}
}

// keys returns the counters of a batch, and those of its grants.
func (b *batch) keys() (all, granted []key) {
	for _, g := range b.grants {
		granted = append(granted, keyOf(g.counter))
	}
	all = slices.Clone(granted)
	for _, c := range b.returns {
		all = append(all, keyOf(c.Counter))
	}
	slices.SortFunc(all, key.compare)
	return slices.Compact(all), granted
}

// lockRows begins the transaction, makes tokens known, and locks the counters. It
// returns the durable counts of those that exist.
func (p *postgresDB) lockRows(ctx context.Context, conn *pgx.Conn, b *batch) (map[key]count, error) {
	all, granted := b.keys()
	counts := make(map[key]count, len(all))
	out := new(pgx.Batch)
	out.Queue(`BEGIN`)
	out.Queue(`SET LOCAL synchronous_commit = on`) // whatever the server's default: a grant is durable
	p.queueTokens(out, b)
	if len(granted) > 0 {
		out.Queue(makeCounters, columnsOf(granted)...)
	}
	if len(all) > 0 {
		out.Queue(lockCounters, columnsOf(all)...).Query(func(rows pgx.Rows) error {
			var k key
			var n count
			_, err := pgx.ForEachRow(rows, []any{&k.scope, &k.id, &k.unit, &k.window, &n.used, &n.unspent}, func() error {
				counts[k] = n
				return nil
			})
			return err
		})
	}
	return counts, conn.SendBatch(ctx, out).Close()
}

// queueTokens queues the statements that make tokens known, in the order of their keys.
func (p *postgresDB) queueTokens(out *pgx.Batch, b *batch) {
	tokens := slices.SortedStableFunc(slices.Values(b.tokens), func(a, b *knowing) int {
		return cmp.Or(cmp.Compare(a.token.Issuer, b.token.Issuer), cmp.Compare(a.token.ID, b.token.ID))
	})
	for _, k := range tokens {
		t := k.token
		out.Queue(knowTokenPostgres, t.Issuer, t.ID, t.Subject, t.Provider, t.Fingerprint[:],
			t.IssuedAt.Unix(), t.ExpiresAt.Unix(), p.now().Unix(),
			claimed(t.Claimed.Calls), claimed(t.Claimed.Tokens), claimed(t.Claimed.NanoUSD), t.Permits).
			QueryRow(func(row pgx.Row) error {
				r := record{fingerprint: t.Fingerprint}
				err := row.Scan(&r.expires, &r.disabled, &r.override.Calls, &r.override.Tokens, &r.override.NanoUSD)
				if errors.Is(err, pgx.ErrNoRows) {
					k.record, k.err = record{}, ErrConflict
					return nil
				}
				k.record, k.err = r, nil
				return err
			})
	}
}

// decide applies returns and sizes grants by the durable counts. It returns the
// counters that change.
func (b *batch) decide(counts map[key]count) map[key]count {
	changed := make(map[key]count)
	b.applyOverrides()
	for _, c := range b.returns {
		k := keyOf(c.Counter)
		if n, exists := counts[k]; exists { // otherwise it was pruned
			counts[k] = count{max(0, n.used-c.Amount), n.unspent - c.Amount}
			changed[k] = counts[k]
		}
	}

	for _, g := range b.grants {
		k := keyOf(g.counter)
		n := counts[k]
		if g.granted = g.size(n.used); g.granted > 0 || g.tells != 0 {
			n = count{n.used + g.granted, n.unspent + g.granted - g.tells}
			counts[k], changed[k] = n, n
		}
		g.place = place{row: 1, used: n.used}
		g.spent, g.counted = n.used-n.unspent, true
	}
	return changed
}

// writeRows writes the counters and commits.
func writeRows(ctx context.Context, conn *pgx.Conn, counters map[key]count) error {
	keys := make([]key, 0, len(counters))
	used, unspent := make([]int64, 0, len(counters)), make([]int64, 0, len(counters))
	for k, n := range counters {
		keys, used, unspent = append(keys, k), append(used, n.used), append(unspent, n.unspent)
	}

	out := new(pgx.Batch)
	if len(keys) > 0 {
		out.Queue(setCounters, append(columnsOf(keys), used, unspent)...).Exec(func(tag pgconn.CommandTag) error {
			if n := tag.RowsAffected(); n != int64(len(keys)) {
				return fmt.Errorf("%d of %d counters exist; they were pruned meanwhile", n, len(keys))
			}
			return nil
		})
	}
	out.Queue(`COMMIT`).Exec(func(tag pgconn.CommandTag) error {
		if tag.String() != "COMMIT" {
			return fmt.Errorf("the server answered %s", tag)
		}
		return nil
	})
	return conn.SendBatch(ctx, out).Close()
}

// used implements [backend].
func (p *postgresDB) used(c Counter) (int64, error) {
	return p.number(`SELECT used FROM counters WHERE scope = ? AND id = ? AND unit = ? AND window_start = ?`,
		c.Scope, c.ID, c.Unit, c.windowStart())
}
