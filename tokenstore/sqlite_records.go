package tokenstore

import (
	"database/sql"
	"errors"
	"time"
)

const (
	selectRecord = `
		SELECT t.issuer, t.id, subject, provider, label, disabled, issued_at, expires_at, first_seen, last_seen, calls_limit, claimed_calls,
			coalesce(c.used, 0), calls, succeeded, client_errors, provider_errors, bytes_in, bytes_out, duration_us
		FROM tokens AS t LEFT JOIN counters AS c
			ON c.scope = 'token' AND c.id = t.issuer || '/' || t.id AND c.unit = 'calls' AND c.window_start = 0 `

	addTokenUsage = `
		UPDATE tokens SET last_seen = max(last_seen, ?), calls = calls + ?, succeeded = succeeded + ?,
			client_errors = client_errors + ?, provider_errors = provider_errors + ?,
			bytes_in = bytes_in + ?, bytes_out = bytes_out + ?, duration_us = duration_us + ?
		WHERE issuer = ? AND id = ?`

	addDayUsage = `
		INSERT INTO usage (day, provider, issuer, subject,
			calls, succeeded, client_errors, provider_errors, bytes_in, bytes_out, duration_us)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (day, provider, issuer, subject) DO UPDATE SET
			calls = calls + excluded.calls, succeeded = succeeded + excluded.succeeded,
			client_errors = client_errors + excluded.client_errors,
			provider_errors = provider_errors + excluded.provider_errors,
			bytes_in = bytes_in + excluded.bytes_in, bytes_out = bytes_out + excluded.bytes_out,
			duration_us = duration_us + excluded.duration_us`
)

// scanner is a row or the current one of several.
type scanner interface{ Scan(into ...any) error }

func scanRecord(row scanner) (Record, error) {
	var r Record
	var disabled bool
	var issued, expires, first, last, micros int64
	var limit, claimed sql.NullInt64
	u := &r.Usage
	err := row.Scan(&r.Issuer, &r.ID, &r.Subject, &r.Provider, &r.Label, &disabled, &issued, &expires, &first, &last, &limit, &claimed,
		&r.CallsCounted, &u.Calls, &u.Succeeded, &u.ClientErrors, &u.ProviderErrors, &u.BytesIn, &u.BytesOut, &micros)
	r.IssuedAt, r.ExpiresAt, r.FirstSeen = unixTime(issued), unixTime(expires), unixTime(first)
	if last != 0 {
		r.LastSeen = unixTime(last)
	}
	if limit.Valid {
		r.CallsLimit = &limit.Int64
	}
	if claimed.Valid {
		r.ClaimedCalls = &claimed.Int64
	}
	if disabled {
		r.Status = Disabled
	}
	u.Duration = time.Duration(micros) * time.Microsecond
	return r, err
}

func unixTime(seconds int64) time.Time { return time.Unix(seconds, 0).UTC() }

// records implements [backend].
func (s *sqliteDB) records(f Filter, limit int) ([]Record, error) {
	issuer, id := cutCursor(f.After)
	rows, err := s.db.Query(selectRecord+`
		WHERE (t.issuer, t.id) > (?1, ?2) AND (?3 = '' OR t.issuer = ?3) AND (?4 = '' OR subject = ?4) AND (?5 = '' OR provider = ?5)
		ORDER BY t.issuer, t.id LIMIT ?6`, issuer, id, f.Issuer, f.Subject, f.Provider, limit)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var records []Record
	for rows.Next() {
		r, err := scanRecord(rows)
		if err != nil {
			return nil, err
		}
		records = append(records, r)
	}
	return records, rows.Err()
}

// record implements [backend].
func (s *sqliteDB) record(issuer, id string) (Record, error) {
	r, err := scanRecord(s.db.QueryRow(selectRecord+`WHERE t.issuer = ? AND t.id = ?`, issuer, id))
	if errors.Is(err, sql.ErrNoRows) {
		return r, ErrUnknown
	}
	return r, err
}

// update implements [backend].
func (s *sqliteDB) update(issuer, id string, c Change) error {
	var limit sql.NullInt64
	if c.CallsLimit != nil && *c.CallsLimit != noLimit {
		limit = sql.NullInt64{Int64: *c.CallsLimit, Valid: true}
	}
	n, err := s.exec(`
		UPDATE tokens SET disabled = coalesce(?, disabled), label = coalesce(?, label),
			calls_limit = CASE WHEN ? THEN ? ELSE calls_limit END
		WHERE issuer = ? AND id = ?`, c.Disabled, c.Label, c.CallsLimit != nil, limit, issuer, id)
	if err == nil && n == 0 {
		return ErrUnknown
	}
	return err
}

// revoke implements [backend].
func (s *sqliteDB) revoke(r Revocation, now time.Time) error {
	_, err := s.exec(`
		INSERT INTO revocations (scope, issuer, id, before, made_at) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT (scope, issuer, id) DO UPDATE SET before = max(before, excluded.before), made_at = excluded.made_at`,
		r.Scope, r.Issuer, r.ID, r.Before.Unix(), now.Unix())
	return err
}

// revocations implements [backend].
func (s *sqliteDB) revocations() ([]Revocation, error) {
	rows, err := s.db.Query(`SELECT scope, issuer, id, before FROM revocations`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []Revocation
	for rows.Next() {
		var r Revocation
		var before int64
		if err := rows.Scan(&r.Scope, &r.Issuer, &r.ID, &before); err != nil {
			return nil, err
		}
		r.Before = unixTime(before)
		all = append(all, r)
	}
	return all, rows.Err()
}

// addUsage implements [backend].
func (s *sqliteDB) addUsage(seen []*observation) error {
	return s.write(func(tx *sql.Tx) error {
		byToken, byDay := tx.Stmt(s.stmts.addTokenUsage), tx.Stmt(s.stmts.addDayUsage)
		for _, o := range seen {
			t, u := o.token, o.usage
			micros := u.Duration.Microseconds()
			_, err := byToken.Exec(o.last.Unix(), u.Calls, u.Succeeded, u.ClientErrors, u.ProviderErrors,
				u.BytesIn, u.BytesOut, micros, t.Issuer, t.ID)
			if err != nil {
				return err
			}
			_, err = byDay.Exec(o.day, t.Provider, t.Issuer, t.Subject, u.Calls, u.Succeeded, u.ClientErrors,
				u.ProviderErrors, u.BytesIn, u.BytesOut, micros)
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// usage implements [backend].
func (s *sqliteDB) usage(f UsageFilter) ([]UsageRow, error) {
	from, to := int64(0), int64(1<<62)
	if !f.From.IsZero() {
		from = f.From.Unix()
	}
	if !f.To.IsZero() {
		to = f.To.Unix()
	}
	rows, err := s.db.Query(`
		SELECT day, provider, issuer, subject, calls, succeeded, client_errors, provider_errors, bytes_in, bytes_out, duration_us
		FROM usage WHERE day BETWEEN ?1 AND ?2 AND (?3 = '' OR provider = ?3) AND (?4 = '' OR issuer = ?4) AND (?5 = '' OR subject = ?5)
		ORDER BY day, provider, issuer, subject`, from, to, f.Provider, f.Issuer, f.Subject)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var report []UsageRow
	for rows.Next() {
		var r UsageRow
		var day, micros int64
		u := &r.Usage
		err := rows.Scan(&day, &r.Provider, &r.Issuer, &r.Subject, &u.Calls, &u.Succeeded, &u.ClientErrors, &u.ProviderErrors,
			&u.BytesIn, &u.BytesOut, &micros)
		if err != nil {
			return nil, err
		}
		r.Day = unixTime(day).Format(time.DateOnly)
		u.Duration = time.Duration(micros) * time.Microsecond
		report = append(report, r)
	}
	return report, rows.Err()
}

// prune implements [backend].
func (s *sqliteDB) prune(before time.Time) (removed int64, err error) {
	err = s.write(func(tx *sql.Tx) error {
		for _, step := range []string{
			`DELETE FROM counters WHERE scope = 'token' AND id IN (SELECT issuer || '/' || id FROM tokens WHERE expires_at < ?)`,
			`DELETE FROM counters WHERE window_start > 0 AND window_start < ? - 62 * 86400`,
			`INSERT INTO meta (key, value) VALUES ('pruned_through', ?) ON CONFLICT (key) DO UPDATE SET value = max(value, excluded.value)`,
			`DELETE FROM tokens WHERE expires_at < ?`,
		} {
			result, err := tx.Exec(step, before.Unix())
			if err != nil {
				return err
			}
			if removed, err = result.RowsAffected(); err != nil {
				return err
			}
		}
		return nil
	})
	return removed, err
}

// pruneRevocations implements [backend]. That of a single token is for whenever
// it was issued.
func (s *sqliteDB) pruneRevocations(before time.Time) error {
	_, err := s.exec(`DELETE FROM revocations WHERE made_at < ?1 AND (before < ?1 OR scope = 'token')`, before.Unix())
	return err
}

// prunedThrough implements [backend].
func (s *sqliteDB) prunedThrough() (seconds int64, err error) {
	err = s.db.QueryRow(`SELECT value FROM meta WHERE key = 'pruned_through'`).Scan(&seconds)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	return seconds, err
}
