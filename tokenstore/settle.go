package tokenstore

import (
	"context"
	"database/sql"
	"errors"
)

// Settle implements [Store].
func (s *SQLite) Settle(ctx context.Context, charges []Charge) error {
	for _, c := range charges {
		c.Limit = 0 // what is given back needs no limit
		if err := checkCharges([]Charge{c}); err != nil {
			return unavailable(err)
		}
	}
	if len(charges) == 0 {
		return s.stopped()
	}
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	ctx = context.WithoutCancel(ctx)
	return s.write(ctx, func(tx *sql.Tx) error {
		for _, c := range charges {
			_, err := s.exec(ctx, tx, s.stmts.giveBack,
				c.Counter.Scope, c.Counter.ID, c.Counter.Unit, c.Counter.windowStart(), c.Amount)
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// Used implements [Store].
func (s *SQLite) Used(ctx context.Context, c Counter) (int64, error) {
	if err := c.check(); err != nil {
		return 0, unavailable(err)
	}
	if err := s.enter(ctx); err != nil {
		return 0, err
	}
	defer s.leave()
	var used int64
	// Without the context's end: an interrupted query costs the connection.
	err := s.stmts.findUsed.QueryRowContext(context.WithoutCancel(ctx), c.Scope, c.ID, c.Unit, c.windowStart()).Scan(&used)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	if err != nil {
		return 0, s.failed(err)
	}
	return used, nil
}
