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

// Summary is what a check of a store finds.
type Summary struct {
	Damage      []string  `json:"damage,omitempty"` // what SQLite finds wrong; none: nothing
	Schema      int64     `json:"schema"`
	Birth       time.Time `json:"birth"`
	Tokens      int64     `json:"tokens"`
	Counters    int64     `json:"counters"`
	Revocations int64     `json:"revocations"`
}

// Check reads a whole store. The relay that uses it may go on meanwhile.
func Check(ctx context.Context, path string) (s Summary, err error) {
	db, err := openReadOnly(path)
	if err != nil {
		return s, err
	}
	defer db.Close()
	rows, err := db.QueryContext(ctx, `PRAGMA integrity_check`)
	if err != nil {
		return s, err
	}
	defer rows.Close()
	for rows.Next() {
		var line string
		if err := rows.Scan(&line); err != nil {
			return s, err
		}
		if line != "ok" {
			s.Damage = append(s.Damage, line)
		}
	}
	if err := rows.Err(); err != nil || len(s.Damage) > 0 {
		return s, err
	}
	var birth int64
	err = db.QueryRowContext(ctx, `SELECT (SELECT max(version_id) FROM goose_db_version), (SELECT value FROM meta WHERE key = 'birth'),
		(SELECT count(*) FROM tokens), (SELECT count(*) FROM counters), (SELECT count(*) FROM revocations)`).
		Scan(&s.Schema, &birth, &s.Tokens, &s.Counters, &s.Revocations)
	s.Birth = unixTime(birth)
	return s, err
}

// Backup copies a store to a new file, as it is at one moment. The relay that
// uses it may go on meanwhile.
func Backup(ctx context.Context, path, to string) (err error) {
	db, err := openReadOnly(path)
	if err != nil {
		return err
	}
	defer db.Close()
	// SQLite takes an empty file; made here, nobody else can read it.
	f, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(to)
		}
	}()
	if err := f.Close(); err != nil {
		return err
	}
	if _, err := db.ExecContext(ctx, `VACUUM INTO ?`, to); err != nil {
		return err
	}
	if f, err = os.OpenFile(to, os.O_RDWR, 0); err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// openReadOnly opens a store beside the relay that may be using it.
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

// AcceptIssuedSince makes the store charge limited tokens that were issued
// since a time before its birth. Whoever says so vouches that what they used
// elsewhere does not matter.
func (l *Ledger) AcceptIssuedSince(ctx context.Context, t time.Time) error {
	if birth := l.Birth(); t.After(birth) {
		return fmt.Errorf("the store accepts tokens issued since %s already", birth.UTC().Format(time.RFC3339))
	}
	return l.change(ctx, func() error { return l.db.acceptSince(t) })
}

// acceptSince implements [backend].
func (s *sqliteDB) acceptSince(t time.Time) error {
	_, err := s.exec(`UPDATE meta SET value = ? WHERE key = 'birth'`, t.Unix())
	if err == nil {
		s.birth.Store(t.Unix())
	}
	return err
}
