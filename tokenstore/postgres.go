package tokenstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
)

// PostgresConfig configures a store on PostgreSQL.
type PostgresConfig struct {
	// DSN is a connection string of libpq: a URL or "host=… user=… dbname=…". The
	// store uses the first schema of its search_path.
	DSN string

	// MaxOffline is how long calls are admitted from leases without contact to the
	// database. It also bounds how late a revocation takes effect. Default: 5s.
	MaxOffline time.Duration

	// Changed, if not nil, is called after tokens were revoked or disabled, here or by
	// another process. matches reports whether a token is one of them. Changed must
	// return soon, because this process applies no other change meanwhile.
	Changed func(matches func(*Token) bool)
}

const (
	defaultOffline = 5 * time.Second
	minOffline     = time.Second
	commitTimeout  = 5 * time.Second  // of a commit of the writer; calls wait for it
	changeTimeout  = 20 * time.Second // of any other operation
	connections    = 4                // besides those of the writer and the follower
)

// Advisory locks. Their second number is a hash of the schema.
const (
	lockMigrate = 0x52656c61 // held while tables are made
	lockInUse   = 0x52656c62 // shared by all processes that serve from the store
)

// postgresDB is a database that several processes share.
//
// Why limits hold. Each process leases from the same counters, so the durable count
// includes the leases of all. A grant locks its rows and is sized by the durable count,
// and it is published after its commit, which synchronous_commit makes durable. Hence
// for each counter the sum of what all processes served ≤ durable ≤ the limit in force
// when the last unit was granted. When a limit is lowered, each process returns its
// leases as soon as it hears of it: within a second, or within MaxOffline while it has
// no contact. The calls that it serves until then were granted under the former limit.
//
// Nothing is sent twice. database/sql retries an operation only if the driver
// reports that nothing was sent, and never a statement within a transaction; pgx
// retries nothing. A failed commit is not repeated: its grants are lost, and so are
// its returns.
type postgresDB struct {
	tables
	config     *pgx.ConnConfig
	writer     *sql.DB // one connection for grants, so that reports do not delay them
	maxOffline time.Duration
	changed    func(func(*Token) bool)

	opened  time.Time
	contact atomic.Int64 // start of the latest successful poll, since opened
	trouble atomic.Pointer[error]
	moved   atomic.Bool // the server is not the one on record
	seen    int64       // number of the latest change that was applied; of the follower

	mu     sync.Mutex
	server server // the server that granted the leases
}

// OpenPostgres opens the store in a PostgreSQL database and makes its tables if they
// are missing. Several processes may open one store. It fails with [ErrNewer] if a
// later version changed the tables, with [ErrFsyncOff] if the server does not wait
// for its disk, and with [ErrCopying] while the store is being copied. After a
// failover it opens the store, but admits nothing, see [ErrFailover].
func OpenPostgres(ctx context.Context, c PostgresConfig) (*Ledger, error) {
	return openPostgres(ctx, c, time.Now)
}

func openPostgres(ctx context.Context, c PostgresConfig, now func() time.Time) (*Ledger, error) {
	db, err := newPostgresDB(c, now)
	if err != nil {
		return nil, fmt.Errorf("opening store: %w", err)
	}
	follower, err := db.listen(ctx) // first, because it keeps a copy from beginning
	if err != nil {
		return nil, errors.Join(fmt.Errorf("opening store: %w", err), db.close())
	}
	if err := db.start(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("opening store: %w", err), db.close(), follower.Close(ctx))
	}
	l, err := openLedger(db, now)
	if err != nil {
		return nil, errors.Join(err, follower.Close(ctx))
	}
	l.shared = newShared(db)
	l.running.Go(func() { db.follow(l, follower) })
	l.running.Go(func() { l.shared.run(l.done) })
	return l, nil
}

// newPostgresDB connects to nothing yet.
func newPostgresDB(c PostgresConfig, now func() time.Time) (*postgresDB, error) {
	if c.MaxOffline == 0 {
		c.MaxOffline = defaultOffline
	}
	if c.MaxOffline < minOffline {
		return nil, fmt.Errorf("max_offline of %v: must be at least %v", c.MaxOffline, minOffline)
	}
	config, err := parseDSN(c.DSN)
	if err != nil {
		return nil, err
	}

	p := &postgresDB{config: config, maxOffline: c.MaxOffline, changed: c.Changed, opened: time.Now()}
	p.tables = tables{
		db: p.pool(connections), bind: bindPostgres, timeout: changeTimeout, now: now,
		inTx: p.inOneTx, announce: announce, lockAll: `LOCK TABLE tokens, counters, usage IN SHARE ROW EXCLUSIVE MODE`,
	}
	p.writer = p.pool(1)
	return p, nil
}

// parseDSN parses a DSN. Its errors quote nothing of it, because it may hold a password.
func parseDSN(dsn string) (*pgx.ConnConfig, error) {
	config, err := pgx.ParseConfig(dsn)
	if err != nil {
		return nil, errors.New("DSN of PostgreSQL: invalid; write postgres://user@host/database or host=… user=… dbname=…")
	}
	// Of several hosts take the one that can be written to.
	if config.ValidateConnect == nil {
		config.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite
	}
	return config, nil
}

func (p *postgresDB) pool(size int) *sql.DB {
	db := stdlib.OpenDB(*p.config, stdlib.OptionAfterConnect(func(ctx context.Context, conn *pgx.Conn) error {
		s, err := inspect(ctx, conn)
		conn.PgConn().CustomData()[serverKey] = s
		return err
	}))
	db.SetMaxOpenConns(size)
	db.SetMaxIdleConns(size)
	return db
}

// start makes the tables and reads the state that the first call needs.
func (p *postgresDB) start(ctx context.Context) error {
	if err := p.migrate(ctx); err != nil {
		return err
	}
	begin := time.Now()
	if err := p.recognize(ctx); err != nil {
		return fmt.Errorf("identifying server: %w", err)
	}
	p.met(begin)
	if err := p.born(); err != nil {
		return fmt.Errorf("reading birth: %w", err)
	}
	if err := p.prepare(ctx); err != nil {
		return fmt.Errorf("preparing statements: %w", err)
	}
	return nil
}

// migrate makes the tables. Processes that start at the same time take turns.
func (p *postgresDB) migrate(ctx context.Context) error {
	conn, err := p.db.Conn(ctx)
	if err != nil {
		return fmt.Errorf("connecting: %w", err)
	}
	defer conn.Close()

	if _, err := conn.ExecContext(ctx, `SELECT pg_advisory_lock($1, hashtext(current_schema()))`, lockMigrate); err != nil {
		return fmt.Errorf("locking schema: %w", err)
	}
	defer func() {
		_ = conn.Raw(func(any) error { return driver.ErrBadConn }) // the lock goes with the connection
	}()
	return migrate(ctx, p.db, goose.DialectPostgres)
}

// recognize compares the server with the one on record. A new store records it.
func (p *postgresDB) recognize(ctx context.Context) error {
	conn, err := p.db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()

	return conn.Raw(func(dc any) error {
		pg := dc.(*stdlib.Conn).Conn()
		current := serverOf(pg)
		if _, err := pg.Exec(ctx, `INSERT INTO state (system, timeline, change) VALUES ($1, $2, 0) ON CONFLICT (one) DO NOTHING`,
			current.system, current.timeline); err != nil {
			return err
		}
		recorded, change, err := readState(ctx, pg)
		p.server, p.seen = recorded, change
		p.moved.Store(current != recorded)
		return err
	})
}

// inOneTx makes changes in one transaction. Without contact, it fails at once, because
// grants and a shutdown would wait for it.
func (p *postgresDB) inOneTx(changes func(*sql.Tx) error) error {
	if err := p.ready(); errors.Is(err, errOffline) {
		return err
	}
	ctx, cancel := p.context()
	defer cancel()
	tx, err := p.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("beginning transaction: %w", err)
	}
	defer tx.Rollback() // has no effect after the commit

	if err := changes(tx); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("committing: %w", err)
	}
	return nil
}

// bindPostgres translates a statement of [tables]: it numbers the parameters, which
// are ? or ?1, and max of two values has another name.
func bindPostgres(query string) string {
	var b strings.Builder
	n := 0
	for i, part := range strings.Split(strings.ReplaceAll(query, "max(", "greatest("), "?") {
		if i > 0 {
			b.WriteByte('$')
			if part == "" || part[0] < '0' || part[0] > '9' {
				n++
				fmt.Fprint(&b, n)
			}
		}
		b.WriteString(part)
	}
	return b.String()
}

// met records contact with the database: this process knows every change before begin.
func (p *postgresDB) met(begin time.Time) {
	p.contact.Store(int64(begin.Sub(p.opened)))
	p.trouble.Store(nil)
}

// ready implements [backend].
func (p *postgresDB) ready() error {
	if p.moved.Load() {
		return ErrFailover
	}
	if time.Since(p.opened)-time.Duration(p.contact.Load()) <= p.maxOffline {
		return nil
	}
	if cause := p.trouble.Load(); cause != nil {
		return fmt.Errorf("%w for %v: %w", errOffline, p.maxOffline, *cause)
	}
	return fmt.Errorf("%w for %v", errOffline, p.maxOffline)
}

// close implements [backend].
func (p *postgresDB) close() error { return errors.Join(p.db.Close(), p.writer.Close()) }

var _ backend = (*postgresDB)(nil)
