package tokenstore

import (
	"context"
	"database/sql"
	"errors"
)

const (
	// An existing row changes only its times, and only if it is of the same token.
	// If no row changed, it is of another one. The claimed limits are the same in
	// both rows, unless an earlier version left them out.
	knowToken = `
		INSERT INTO tokens (issuer, id, subject, provider, fingerprint, issued_at, expires_at, first_seen,
			claimed_calls, claimed_tokens, claimed_nanousd, permits)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (issuer, id) DO UPDATE SET expires_at = max(expires_at, excluded.expires_at),
			issued_at = max(issued_at, excluded.issued_at), claimed_calls = excluded.claimed_calls,
			claimed_tokens = excluded.claimed_tokens, claimed_nanousd = excluded.claimed_nanousd, permits = excluded.permits
		WHERE fingerprint = excluded.fingerprint
		RETURNING expires_at, disabled, calls_limit, tokens_limit, nanousd_limit`

	// The amount was decided in the same transaction, which holds the write lock
	// since it began. A counter that comes into use gets the next number, and with
	// it a row among those in use.
	addUsed = `
		INSERT INTO counters (n, scope, id, unit, window_start, used)
		VALUES ((SELECT coalesce(max(n), 0) + 1 FROM counters), ?, ?, ?, ?, ?)
		ON CONFLICT (scope, id, unit, window_start) DO UPDATE SET n = excluded.n, used = used + excluded.used
		RETURNING n`

	// Only if the row is still what it was: a number may have a new owner.
	addUsedAt = `
		UPDATE counters SET used = used + ?5
		WHERE scope = ?1 AND id = ?2 AND unit = ?3 AND window_start = ?4 AND n = ?6 AND used = ?7`

	giveBack = `
		UPDATE counters SET used = max(0, used - ?5)
		WHERE scope = ?1 AND id = ?2 AND unit = ?3 AND window_start = ?4`

	findUsed = `SELECT n, used FROM counters WHERE scope = ? AND id = ? AND unit = ? AND window_start = ?`
)

// statements are prepared once: parsing costs more than running them.
type statements struct {
	knowToken, addUsed, addUsedAt, giveBack, findUsed *sql.Stmt
}

func (s *statements) prepare(ctx context.Context, db *sql.DB) error {
	var errs []error
	prepare := func(query string) *sql.Stmt {
		stmt, err := db.PrepareContext(ctx, query)
		errs = append(errs, err)
		return stmt
	}
	s.knowToken = prepare(knowToken)
	s.addUsed = prepare(addUsed)
	s.addUsedAt = prepare(addUsedAt)
	s.giveBack = prepare(giveBack)
	s.findUsed = prepare(findUsed)
	return errors.Join(errs...)
}

func (s *statements) close() error {
	var errs []error
	for _, stmt := range []*sql.Stmt{s.knowToken, s.addUsed, s.addUsedAt, s.giveBack, s.findUsed} {
		errs = append(errs, stmt.Close())
	}
	return errors.Join(errs...)
}
