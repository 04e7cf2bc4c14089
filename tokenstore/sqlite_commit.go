package tokenstore

import (
	"database/sql"
	"errors"
)

// commit implements [backend].
func (s *sqliteDB) commit(b *batch) error {
	return s.write(func(tx *sql.Tx) error {
		for _, step := range []func(*sql.Tx, *batch) error{s.giveBack, s.know, s.grant} {
			if err := step(tx, b); err != nil {
				return err
			}
		}
		return nil
	})
}

// try implements [backend].
func (s *sqliteDB) try() error {
	_, err := s.exec(event{}, `UPDATE meta SET value = value WHERE key = 'birth'`)
	return err
}

func (s *sqliteDB) giveBack(tx *sql.Tx, b *batch) error {
	stmt := tx.Stmt(s.stmts.giveBack)
	for _, c := range b.returns {
		_, err := stmt.Exec(c.Counter.Scope, c.Counter.ID, c.Counter.Unit, c.Counter.windowStart(), c.Amount)
		if err != nil {
			return err
		}
	}
	return nil
}

// know makes tokens known, or extends their lives.
func (s *sqliteDB) know(tx *sql.Tx, b *batch) error {
	stmt := tx.Stmt(s.stmts.knowToken)
	for _, k := range b.tokens {
		t, r := k.token, record{fingerprint: k.token.Fingerprint}
		err := stmt.QueryRow(t.Issuer, t.ID, t.Subject, t.Provider, t.Fingerprint[:],
			t.IssuedAt.Unix(), t.ExpiresAt.Unix(), s.now().Unix(),
			claimed(t.Claimed.Calls), claimed(t.Claimed.Tokens), claimed(t.Claimed.NanoUSD), t.Permits).
			Scan(&r.expires, &r.disabled, &r.override.Calls, &r.override.Tokens, &r.override.NanoUSD)
		switch {
		case errors.Is(err, sql.ErrNoRows):
			k.record, k.err = record{}, ErrConflict
		case err != nil:
			return err
		default:
			k.record, k.err = r, nil
		}
	}

	b.applyOverrides()
	return nil
}

// claimed returns a limit as it is stored; 0 means none.
func claimed(limit *int64) int64 {
	if limit == nil {
		return 0
	}
	return *limit
}

// place is the last known row of a counter, and its contents. It saves a lookup, and is
// verified before use.
type place struct {
	row  int64 // its number; 0: not known
	used int64
}

// grant adds the requested units to every counter, as far as its limit permits.
func (s *sqliteDB) grant(tx *sql.Tx, b *batch) error {
	stmts := granting{tx.Stmt(s.stmts.findUsed), tx.Stmt(s.stmts.addUsed), tx.Stmt(s.stmts.addUsedAt)}
	for _, g := range b.grants {
		if err := stmts.grant(g); err != nil {
			return err
		}
	}
	return nil
}

// granting holds the statements of one transaction.
type granting struct{ find, add, addAt *sql.Stmt }

func (s granting) grant(g *grant) error {
	if done, err := s.grantAt(g); done || err != nil {
		return err
	}
	found, err := queryPlace(s.find, g.counter)
	if err != nil {
		return err
	}
	if found.row != 0 && found.row == g.place.row { // only its count has changed
		g.place = found
		_, err := s.grantAt(g)
		return err
	}
	g.place = found
	if g.granted = g.size(found.used); g.granted == 0 {
		return nil
	}
	g.place.used += g.granted
	c := g.counter
	return s.add.QueryRow(c.Scope, c.ID, c.Unit, c.windowStart(), g.granted).Scan(&g.place.row)
}

// grantAt grants at the known place and reports whether it did. It does not if the
// place is no longer true, or if nothing seems to be left.
func (s granting) grantAt(g *grant) (done bool, err error) {
	units := g.size(g.place.used)
	if g.place.row == 0 || units == 0 {
		return false, nil
	}
	c := g.counter
	result, err := s.addAt.Exec(c.Scope, c.ID, c.Unit, c.windowStart(), units, g.place.row, g.place.used)
	if err != nil {
		return false, err
	}
	if n, err := result.RowsAffected(); n == 0 || err != nil {
		return false, err
	}
	g.granted = units
	g.place.used += units
	return true, nil
}

// used implements [backend].
func (s *sqliteDB) used(c Counter) (int64, error) {
	found, err := queryPlace(s.stmts.findUsed, c)
	return found.used, failed(err)
}

func queryPlace(stmt *sql.Stmt, c Counter) (p place, err error) {
	err = stmt.QueryRow(c.Scope, c.ID, c.Unit, c.windowStart()).Scan(&p.row, &p.used)
	if errors.Is(err, sql.ErrNoRows) {
		return place{}, nil
	}
	return p, err
}
