package tokenstore

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// How a process learns of changes. NOTIFY wakes it at once. It also polls, because a
// notification may be lost: a pooler does not pass it on, and a broken connection may
// go unnoticed for a while. Each change has a number, and numbers are in the order of
// commits, because each is taken under the lock of one row. So a process that remembers
// the latest number it has seen misses nothing.
const (
	channel       = "relayapi_changes"
	pollEvery     = 400 * time.Millisecond
	followTimeout = 2 * time.Second // for connecting, and for one poll
	retryEvery    = 200 * time.Millisecond
	keptChanges   = 10_000 // a process that lags further behind reads everything again
)

// announce records an event as the next change and notifies all processes.
func announce(tx *sql.Tx, e event) error {
	var n int64
	if err := tx.QueryRow(`UPDATE state SET change = change + 1 RETURNING change`).Scan(&n); err != nil {
		return err
	}
	_, err := tx.Exec(`INSERT INTO changes (n, kind, scope, issuer, id, unit) VALUES ($1, $2, $3, $4, $5, $6)`,
		n, e.kind, e.scope, e.issuer, e.id, e.unit)
	if err != nil {
		return err
	}
	if _, err := tx.Exec(`DELETE FROM changes WHERE n <= $1`, n-keptChanges); err != nil {
		return err
	}
	_, err = tx.Exec(`NOTIFY ` + channel)
	return err
}

// follow applies changes to the ledger until the ledger is closed. It begins with a
// connection that is already listening.
func (p *postgresDB) follow(l *Ledger, conn *pgx.Conn) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		defer cancel()
		<-l.done
	}()

	for {
		err := p.followOn(ctx, conn, l)
		for err != nil {
			cause := err // which changes below
			p.trouble.Store(&cause)
			select {
			case <-ctx.Done():
				return
			case <-time.After(retryEvery):
			}
			conn, err = p.listen(ctx)
		}
	}
}

// followOn follows changes with one connection, until that fails.
func (p *postgresDB) followOn(ctx context.Context, conn *pgx.Conn, l *Ledger) error {
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), retryEvery)
		defer cancel()
		_ = conn.Close(ctx)
	}()

	for {
		begin := time.Now()
		if err := p.poll(ctx, conn, l); err != nil {
			return err
		}
		if !p.moved.Load() {
			p.met(begin)
		}

		wait, cancel := context.WithTimeout(ctx, pollEvery)
		_, err := conn.WaitForNotification(wait)
		over := wait.Err() != nil
		cancel()
		if err != nil && (!over || ctx.Err() != nil) {
			return fmt.Errorf("waiting for notifications: %w", err)
		}
	}
}

// listen connects, marks the store as in use and listens for notifications.
func (p *postgresDB) listen(ctx context.Context) (_ *pgx.Conn, err error) {
	ctx, cancel := context.WithTimeout(ctx, followTimeout)
	defer cancel()
	conn, err := pgx.ConnectConfig(ctx, p.config)
	if err != nil {
		return nil, fmt.Errorf("connecting: %w", err)
	}
	defer func() {
		if err != nil {
			_ = conn.Close(ctx)
		}
	}()

	current, err := inspect(ctx, conn)
	if err != nil {
		return nil, err
	}
	conn.PgConn().CustomData()[serverKey] = current
	if err := use(ctx, conn); err != nil {
		return nil, err
	}
	if _, err := conn.Exec(ctx, `LISTEN `+channel); err != nil {
		return nil, fmt.Errorf("listening for notifications: %w", err)
	}
	return conn, nil
}

// use marks the store as in use by this connection, see [Copy].
func use(ctx context.Context, conn *pgx.Conn) error {
	var free bool
	err := conn.QueryRow(ctx, `SELECT pg_try_advisory_lock_shared($1, hashtext(current_schema()))`, lockInUse).Scan(&free)
	if err == nil && !free {
		return ErrCopying
	}
	return err
}

// poll applies new changes.
func (p *postgresDB) poll(ctx context.Context, conn *pgx.Conn, l *Ledger) error {
	ctx, cancel := context.WithTimeout(ctx, followTimeout)
	defer cancel()
	recorded, latest, err := readState(ctx, conn)
	if err != nil {
		return err
	}
	p.mu.Lock()
	leasedFrom := p.server
	p.mu.Unlock()

	switch current := serverOf(conn); {
	case current != recorded: // a failover that no operator has accepted
		p.moved.Store(true)
		return nil
	case current != leasedFrom || p.moved.Load():
		return p.adopt(current, latest, l)
	case latest == p.seen:
		return nil
	}

	events, complete, err := readEvents(ctx, conn, p.seen, latest)
	if err != nil {
		return fmt.Errorf("reading changes: %w", err)
	}
	if !complete {
		events = []event{{kind: eventReload}}
	}
	matches, err := l.hear(events)
	if err != nil {
		return fmt.Errorf("applying changes: %w", err)
	}
	p.seen = latest
	p.tell(matches)
	return nil
}

// readEvents reads the events after a number up to another. They are complete unless
// some were removed already, or the numbers went back.
func readEvents(ctx context.Context, conn *pgx.Conn, after, through int64) (events []event, complete bool, err error) {
	rows, err := conn.Query(ctx, `SELECT kind, scope, issuer, id, unit FROM changes WHERE n > $1 AND n <= $2 ORDER BY n`, after, through)
	if err != nil {
		return nil, false, err
	}
	var e event
	_, err = pgx.ForEachRow(rows, []any{&e.kind, &e.scope, &e.issuer, &e.id, &e.unit}, func() error {
		events = append(events, e)
		return nil
	})
	return events, int64(len(events)) == through-after, err
}

// adopt switches to a server that an operator has accepted after a failover. The leases
// are dropped and not returned, because the server may not know of them.
func (p *postgresDB) adopt(current server, latest int64, l *Ledger) error {
	matches, err := l.discard(func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.server = current
	})
	if err != nil {
		return fmt.Errorf("reading store after failover: %w", err)
	}
	p.seen = latest
	p.moved.Store(false)
	p.tell(matches)
	return nil
}

func (p *postgresDB) tell(matches func(*Token) bool) {
	if p.changed != nil && matches != nil {
		p.changed(matches)
	}
}
