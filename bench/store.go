package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
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

// ruler is a database of one row, to measure what a commit takes here.
type ruler struct{ db *sql.DB }

func newRuler(ctx context.Context, file string) (*ruler, error) {
	db, err := openSQLite(file)
	if err != nil {
		return nil, err
	}
	_, err = db.ExecContext(ctx, `CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER NOT NULL); INSERT INTO t VALUES (1, 0)`)
	return &ruler{db}, err
}

// commit makes one commit, and returns how long it took.
func (r *ruler) commit(ctx context.Context) (time.Duration, error) {
	begin := time.Now()
	_, err := r.db.ExecContext(ctx, `UPDATE t SET n = n + 1 WHERE id = 1`)
	return time.Since(begin), err
}

// inARow makes commits as fast as they go.
func (r *ruler) inARow(ctx context.Context, n int) ([]time.Duration, error) {
	all := make([]time.Duration, n)
	for i := range all {
		var err error
		if all[i], err = r.commit(ctx); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// atTheGate makes as many commits a second as each subject gets requests, for as
// long as do takes.
func (r *ruler) atTheGate(ctx context.Context, do func() error) (all []time.Duration, err error) {
	tick := time.NewTicker(time.Second / gateRate)
	defer tick.Stop()
	done := make(chan error, 1)
	go func() { done <- do() }()
	for err == nil {
		select {
		case failed := <-done:
			return all, failed
		case <-tick.C:
			var took time.Duration
			took, err = r.commit(ctx)
			all = append(all, took)
		}
	}
	<-done
	return all, err
}
