package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"time"

	"github.com/relayapi/caddy-relayapi/tokenstore"
	_ "modernc.org/sqlite" // the driver that the relay's store uses
)

// storeFile is the relay's store in its directory.
const storeFile = "relayapi.db"

// fillStore makes a store that knows n tokens, each of which was used once.
func fillStore(ctx context.Context, file string, n int) (err error) {
	store, err := tokenstore.OpenSQLite(ctx, file) // makes the tables
	if err != nil {
		return err
	}
	if err := store.Close(); err != nil {
		return err
	}
	db, err := openSQLite(file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	now := time.Now()
	numbers := fmt.Sprintf(`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d) `, n)
	for _, insert := range []string{
		`INSERT INTO tokens (issuer, id, subject, provider, fingerprint, issued_at, expires_at, first_seen) ` + numbers +
			fmt.Sprintf(`SELECT '%s', 'known' || i, 'user-' || i, 'demo', randomblob(32), %d, %d, %d FROM n`,
				issuerName, now.Unix(), now.Add(24*time.Hour).Unix(), now.Unix()),
		`INSERT INTO counters (scope, id, unit, window_start, used) ` + numbers +
			`SELECT 'token', '` + issuerName + `/known' || i, 'calls', 0, 1 FROM n`,
		`PRAGMA wal_checkpoint(TRUNCATE)`,
	} {
		if _, err := db.ExecContext(ctx, insert); err != nil {
			return err
		}
	}
	return nil
}

// openSQLite opens a database with the promises of the relay's store: a commit
// is on the disk when it returns.
func openSQLite(file string) (*sql.DB, error) {
	u := url.URL{Scheme: "file", Path: file, RawQuery: url.Values{
		"_pragma": {"journal_mode(WAL)", "synchronous(FULL)", "busy_timeout(5000)"},
		"_txlock": {"immediate"},
	}.Encode()}
	db, err := sql.Open("sqlite", u.String())
	if err == nil {
		db.SetMaxOpenConns(1)
	}
	return db, err
}

// measureCommit is how long a commit of one row takes here, in the median.
func measureCommit(ctx context.Context, file string) (_ time.Duration, err error) {
	db, err := openSQLite(file)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if _, err := db.ExecContext(ctx, `CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER NOT NULL); INSERT INTO t VALUES (1, 0)`); err != nil {
		return 0, err
	}
	var took []time.Duration
	for range 300 {
		begin := time.Now()
		if _, err := db.ExecContext(ctx, `UPDATE t SET n = n + 1 WHERE id = 1`); err != nil {
			return 0, err
		}
		took = append(took, time.Since(begin))
	}
	slices.Sort(took)
	return quantile(took, 0.5), nil
}
