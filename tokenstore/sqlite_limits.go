package tokenstore

import "time"

// limits implements [backend].
func (s *sqliteDB) limits() ([]Limit, error) {
	rows, err := s.db.Query(`SELECT scope, id, unit, per, amount FROM limits ORDER BY scope, id, unit, per`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()

	var all []Limit
	for rows.Next() {
		var l Limit
		if err := rows.Scan(&l.Scope, &l.ID, &l.Unit, &l.Per, &l.Amount); err != nil {
			return nil, err
		}
		all = append(all, l)
	}
	return all, rows.Err()
}

// setLimit implements [backend].
func (s *sqliteDB) setLimit(l Limit, now time.Time) error {
	_, err := s.exec(`
		INSERT INTO limits (scope, id, unit, per, amount, made_at) VALUES (?, ?, ?, ?, ?, ?)
		ON CONFLICT (scope, id, unit, per) DO UPDATE SET amount = excluded.amount, made_at = excluded.made_at`,
		l.Scope, l.ID, l.Unit, l.Per, l.Amount, now.Unix())
	return err
}

// removeLimit implements [backend].
func (s *sqliteDB) removeLimit(l Limit) error {
	n, err := s.exec(`DELETE FROM limits WHERE scope = ? AND id = ? AND unit = ? AND per = ?`, l.Scope, l.ID, l.Unit, l.Per)
	if err == nil && n == 0 {
		return ErrUnknown
	}
	return err
}
