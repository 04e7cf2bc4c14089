package tokenstore

import (
	"context"
	"database/sql"
	"errors"
)

// commit implements [backend].
func (s *sqliteDB) commit(ctx context.Context, b *batch) error {
	if err := s.present(); err != nil {
		return err
	}
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return failed(err)
	}
	defer tx.Rollback() // after the commit it does nothing
	for _, step := range []func(context.Context, *sql.Tx, *batch) error{s.giveBack, s.know, s.grant} {
		if err := step(ctx, tx, b); err != nil {
			return failed(err)
		}
	}
	if err := tx.Commit(); err != nil {
		return failed(err)
	}
	return s.present() // else it was committed to a file that nobody will read
}

func (s *sqliteDB) giveBack(ctx context.Context, tx *sql.Tx, b *batch) error {
	for _, c := range b.returns {
		_, err := tx.StmtContext(ctx, s.stmts.giveBack).ExecContext(ctx,
			c.Counter.Scope, c.Counter.ID, c.Counter.Unit, c.Counter.windowStart(), c.Amount)
		if err != nil {
			return err
		}
	}
	return nil
}

// know makes tokens known, or lets them live longer.
func (s *sqliteDB) know(ctx context.Context, tx *sql.Tx, b *batch) error {
	for _, k := range b.tokens {
		t := k.token
		k.record, k.err = record{fingerprint: t.Fingerprint, callsLimit: noLimit}, nil
		var limit sql.NullInt64
		err := tx.StmtContext(ctx, s.stmts.knowToken).QueryRowContext(ctx, t.Issuer, t.ID, t.Subject, t.Provider,
			t.Fingerprint[:], t.IssuedAt.Unix(), t.ExpiresAt.Unix(), s.now().Unix()).Scan(&k.record.expires, &k.record.disabled, &limit)
		if limit.Valid {
			k.record.callsLimit = limit.Int64
		}
		switch {
		case errors.Is(err, sql.ErrNoRows):
			k.err = ErrConflict
		case err != nil:
			return err
		}
	}
	return nil
}

// grant adds to every counter what it may have, up to what is asked.
func (s *sqliteDB) grant(ctx context.Context, tx *sql.Tx, b *batch) error {
	for _, g := range b.grants {
		used, err := queryUsed(ctx, tx.StmtContext(ctx, s.stmts.findUsed), g.counter)
		if err != nil {
			return err
		}
		if g.granted = g.size(used); g.granted == 0 {
			continue
		}
		_, err = tx.StmtContext(ctx, s.stmts.addUsed).ExecContext(ctx,
			g.counter.Scope, g.counter.ID, g.counter.Unit, g.counter.windowStart(), g.granted)
		if err != nil {
			return err
		}
	}
	return nil
}

// used implements [backend].
func (s *sqliteDB) used(ctx context.Context, c Counter) (int64, error) {
	used, err := queryUsed(ctx, s.stmts.findUsed, c)
	return used, failed(err)
}

func queryUsed(ctx context.Context, stmt *sql.Stmt, c Counter) (used int64, err error) {
	err = stmt.QueryRowContext(ctx, c.Scope, c.ID, c.Unit, c.windowStart()).Scan(&used)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	return used, err
}
