package tokenstore

import (
	"context"
	"database/sql"
	"errors"
	"time"
)

// birthGrace is how far an issuer's clock may be behind the store's.
const birthGrace = 60 * time.Second

// Admit implements [Store].
func (s *SQLite) Admit(ctx context.Context, t *Token, charges []Charge) error {
	if err := s.stopped(); err != nil {
		return err
	}
	if err := checkCharges(charges); err != nil {
		return unavailable(err)
	}
	if len(charges) > 0 && t.IssuedAt.Before(s.birth.Add(-birthGrace)) {
		return ErrPredates
	}
	covered, err := s.known.covers(t)
	if err != nil {
		return err
	}
	if covered && len(charges) == 0 {
		return nil
	}

	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	return s.admit(context.WithoutCancel(ctx), t, charges)
}

// admit is Admit with the connection in hand.
func (s *SQLite) admit(ctx context.Context, t *Token, charges []Charge) error {
	// Asked again: another call may have made it known during the wait.
	covered, err := s.known.covers(t)
	if err != nil {
		return err
	}
	if !covered {
		if covered, err = s.recall(ctx, t); err != nil {
			return err
		}
	}
	if covered && len(charges) == 0 {
		return nil
	}
	err = s.write(ctx, func(tx *sql.Tx) error {
		if !covered {
			if err := s.know(ctx, tx, t); err != nil {
				return err
			}
		}
		return s.take(ctx, tx, charges)
	})
	if err == nil && !covered {
		// It was not covered, so no earlier row lives longer than this one.
		s.known.add(t, t.ExpiresAt.Unix())
	}
	return err
}

// recall looks for a token in the database and remembers it.
func (s *SQLite) recall(ctx context.Context, t *Token) (covered bool, err error) {
	var fingerprint []byte
	var r record
	err = s.stmts.findToken.QueryRowContext(ctx, t.Issuer, t.ID).Scan(&fingerprint, &r.expires)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, s.failed(err)
	}
	copy(r.fingerprint[:], fingerprint)
	covered, err = r.covers(t)
	if covered {
		s.known.add(t, r.expires)
	}
	return covered, err
}

// know makes a token known, or lets it live longer.
func (s *SQLite) know(ctx context.Context, tx *sql.Tx, t *Token) error {
	changed, err := s.exec(ctx, tx, s.stmts.knowToken, t.Issuer, t.ID, t.Subject, t.Provider,
		t.Fingerprint[:], t.IssuedAt.Unix(), t.ExpiresAt.Unix(), s.now().Unix())
	if err != nil {
		return err
	}
	if !changed {
		return ErrConflict
	}
	return nil
}

// take adds every charge, and stops at the first that does not fit.
func (s *SQLite) take(ctx context.Context, tx *sql.Tx, charges []Charge) error {
	for _, c := range charges {
		changed, err := s.exec(ctx, tx, s.stmts.takeCharge,
			c.Counter.Scope, c.Counter.ID, c.Counter.Unit, c.Counter.windowStart(), c.Amount, c.Limit)
		if err != nil {
			return err
		}
		if !changed {
			return &ExhaustedError{Counter: c.Counter, Limit: c.Limit}
		}
	}
	return nil
}
