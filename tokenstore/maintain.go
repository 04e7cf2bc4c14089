package tokenstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"time"
)

// Summary is the result of a check of a store.
type Summary struct {
	Damage      []string  `json:"damage,omitempty"` // as SQLite reports it; empty: none
	Schema      int64     `json:"schema"`
	Birth       time.Time `json:"birth"`
	Tokens      int64     `json:"tokens"`
	Counters    int64     `json:"counters"`
	Revocations int64     `json:"revocations"`
}

// Check reads a whole store. The relay may keep running.
func Check(ctx context.Context, path string) (s Summary, err error) {
	db, err := openReadOnly(path)
	if err != nil {
		return s, err
	}
	defer db.Close()

	if s.Damage, err = damage(ctx, db); err != nil || len(s.Damage) > 0 {
		return s, err
	}

	var birth int64
	err = db.QueryRowContext(ctx, `SELECT (SELECT max(version_id) FROM goose_db_version), (SELECT value FROM meta WHERE key = 'birth'),
		(SELECT count(*) FROM tokens), (SELECT count(*) FROM counters), (SELECT count(*) FROM revocations)`).
		Scan(&s.Schema, &birth, &s.Tokens, &s.Counters, &s.Revocations)
	if err != nil {
		return s, fmt.Errorf("reading store: %w", err)
	}
	s.Birth = unixTime(birth)
	return s, nil
}

// damage returns the damage that SQLite finds in a store.
func damage(ctx context.Context, db *sql.DB) (found []string, err error) {
	rows, err := db.QueryContext(ctx, `PRAGMA integrity_check`)
	if err != nil {
		return nil, fmt.Errorf("checking integrity: %w", err)
	}
	defer rows.Close()

	for rows.Next() {
		var line string
		if err := rows.Scan(&line); err != nil {
			return nil, fmt.Errorf("checking integrity: %w", err)
		}
		if line != "ok" {
			found = append(found, line)
		}
	}
	return found, rows.Err()
}

// Backup copies a consistent snapshot of a store to a new file. The relay may keep
// running.
func Backup(ctx context.Context, path, to string) (err error) {
	db, err := openReadOnly(path)
	if err != nil {
		return err
	}
	defer db.Close()

	// SQLite accepts an empty file. Creating it here makes it unreadable for others.
	f, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("making backup: %w", err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(to)
		}
	}()
	if err := f.Close(); err != nil {
		return fmt.Errorf("making backup: %w", err)
	}

	if _, err := db.ExecContext(ctx, `VACUUM INTO ?`, to); err != nil {
		return fmt.Errorf("copying store: %w", err)
	}
	if f, err = os.OpenFile(to, os.O_RDWR, 0); err != nil {
		return fmt.Errorf("syncing backup: %w", err)
	}
	return errors.Join(f.Sync(), f.Close())
}

// openReadOnly opens a store that a relay may be using.
func openReadOnly(path string) (*sql.DB, error) {
	if _, err := os.Stat(path); err != nil {
		return nil, err
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	return sql.Open("sqlite", fileURL(path, url.Values{"mode": {"ro"}, "_busy_timeout": {"5000"}}))
}

// AcceptIssuedSince makes the store charge limited tokens that were issued since a time
// before its birth. The operator vouches that their earlier usage does not matter.
func (l *Ledger) AcceptIssuedSince(ctx context.Context, t time.Time) error {
	if birth := l.Birth(); t.After(birth) {
		return fmt.Errorf("time %s: the store already accepts tokens issued since %s", t.UTC().Format(time.RFC3339), birth.UTC().Format(time.RFC3339))
	}
	return l.change(ctx, func() error { return l.db.acceptSince(t) })
}
