package tokenstore

import "time"

// limits implements [backend].
func (s *sqliteDB) limits() ([]Limit, error) {
	rows, err := s.db.Query(`SELECT scope, id, per, calls FROM limits ORDER BY scope, id, per`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []Limit
	for rows.Next() {
		var l Limit
		if err := rows.Scan(&l.Scope, &l.ID, &l.Per, &l.Calls); err != nil {
			return nil, err
		}
		all = append(all, l)
	}
	return all, rows.Err()
}

// setLimit implements [backend].
func (s *sqliteDB) setLimit(l Limit, now time.Time) error {
	_, err := s.exec(`
		INSERT INTO limits (scope, id, per, calls, made_at) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT (scope, id, per) DO UPDATE SET calls = excluded.calls, made_at = excluded.made_at`,
		l.Scope, l.ID, l.Per, l.Calls, now.Unix())
	return err
}

// removeLimit implements [backend].
func (s *sqliteDB) removeLimit(l Limit) error {
	n, err := s.exec(`DELETE FROM limits WHERE scope = ? AND id = ? AND per = ?`, l.Scope, l.ID, l.Per)
	if err == nil && n == 0 {
		return ErrUnknown
	}
	return err
}
