package tokenstore

import (
	"context"
	"database/sql"
	"errors"
)

const (
	findToken = `SELECT fingerprint, expires_at FROM tokens WHERE issuer = ? AND id = ?`

	// A token that is there already changes only its expiry, and only if it
	// is the same token. No row changed: it is another one.
	knowToken = `
		INSERT INTO tokens (issuer, id, subject, provider, fingerprint, issued_at, expires_at, first_seen)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (issuer, id) DO UPDATE SET expires_at = max(expires_at, excluded.expires_at)
		WHERE fingerprint = excluded.fingerprint`

	// The limit is asked on both ways in, and as a difference: a sum could
	// overflow. No row changed: not enough left.
	takeCharge = `
		INSERT INTO counters (scope, id, unit, window_start, used)
		SELECT ?1, ?2, ?3, ?4, ?5 WHERE ?5 <= ?6
		ON CONFLICT (scope, id, unit, window_start) DO UPDATE SET used = used + excluded.used
		WHERE used <= ?6 - excluded.used`

	giveBack = `
		UPDATE counters SET used = max(0, used - ?5)
		WHERE scope = ?1 AND id = ?2 AND unit = ?3 AND window_start = ?4`

	findUsed = `SELECT used FROM counters WHERE scope = ? AND id = ? AND unit = ? AND window_start = ?`
)

// statements are prepared once: parsing costs more than running them.
type statements struct {
	findToken, knowToken, takeCharge, giveBack, findUsed *sql.Stmt
}

func (s *statements) prepare(ctx context.Context, db *sql.DB) error {
	var errs []error
	prepare := func(query string) *sql.Stmt {
		stmt, err := db.PrepareContext(ctx, query)
		errs = append(errs, err)
		return stmt
	}
	s.findToken = prepare(findToken)
	s.knowToken = prepare(knowToken)
	s.takeCharge = prepare(takeCharge)
	s.giveBack = prepare(giveBack)
	s.findUsed = prepare(findUsed)
	return errors.Join(errs...)
}

func (s *statements) close() error {
	return errors.Join(s.findToken.Close(), s.knowToken.Close(), s.takeCharge.Close(), s.giveBack.Close(), s.findUsed.Close())
}

// write runs do in a transaction. When it fails, with do's error or with an
// [ErrUnavailable], nothing that do has done counts.
func (s *SQLite) write(ctx context.Context, do func(*sql.Tx) error) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return s.failed(err)
	}
	defer tx.Rollback() // after the commit it does nothing
	if err := do(tx); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return s.failed(err)
	}
	return nil
}

// exec runs a prepared statement and tells whether it changed a row.
func (s *SQLite) exec(ctx context.Context, tx *sql.Tx, stmt *sql.Stmt, args ...any) (changed bool, err error) {
	result, err := tx.StmtContext(ctx, stmt).ExecContext(ctx, args...)
	if err != nil {
		return false, s.failed(err)
	}
	n, err := result.RowsAffected()
	if err != nil {
		return false, s.failed(err)
	}
	return n > 0, nil
}
