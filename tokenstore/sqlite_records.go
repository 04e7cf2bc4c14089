package tokenstore

import (
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

var (
	selectRecord = `
		SELECT issuer, id, subject, provider, label, disabled, issued_at, expires_at, first_seen, last_seen,
			calls_limit, tokens_limit, nanousd_limit, claimed_calls, claimed_tokens, claimed_nanousd, ` +
		counted("calls") + `, ` + counted("tokens") + `, ` + counted("nanousd") + `, ` + strings.Join(usageColumns[:], ", ") + `
		FROM tokens `

	addTokenUsage = `
		UPDATE tokens SET last_seen = max(last_seen, ?), ` + eachUsage("%[1]s = %[1]s + ?") + `
		WHERE issuer = ? AND id = ?`

	addDayUsage = `
		INSERT INTO usage (day, issuer, subject, provider, model, token_id, ` + eachUsage("%s") + `)
		VALUES (?, ?, ?, ?, ?, ?` + strings.Repeat(", ?", len(usageColumns)) + `)
		ON CONFLICT (day, issuer, subject, provider, model, token_id) DO UPDATE SET ` + eachUsage("%[1]s = usage.%[1]s + excluded.%[1]s")
)

// counted is an expression for the total that a token has used in a unit.
func counted(u Unit) string {
	return fmt.Sprintf(`coalesce((SELECT used FROM counters WHERE scope = 'token' AND id = tokens.issuer || '/' || tokens.id
		AND unit = '%s' AND window_start = 0), 0)`, u)
}

// eachUsage formats each column of a Usage.
func eachUsage(format string) string {
	var all []string
	for _, column := range usageColumns {
		all = append(all, fmt.Sprintf(format, column))
	}
	return strings.Join(all, ", ")
}

// scanner is a row, or the current row of several.
type scanner interface{ Scan(into ...any) error }

func scanRecord(row scanner) (Record, error) {
	var r Record
	var disabled bool
	var issued, expires, first, last int64
	into := []any{
		&r.Issuer, &r.ID, &r.Subject, &r.Provider, &r.Label, &disabled, &issued, &expires, &first, &last,
		&r.CallsLimit, &r.TokensLimit, &r.NanoUSDLimit, &r.ClaimedCalls, &r.ClaimedTokens, &r.ClaimedNanoUSD,
		&r.CallsCounted, &r.TokensCounted, &r.NanoUSDCounted,
	}
	usage, done := r.Usage.into()
	err := row.Scan(append(into, usage...)...)
	done()

	r.IssuedAt, r.ExpiresAt, r.FirstSeen = unixTime(issued), unixTime(expires), unixTime(first)
	if last != 0 {
		r.LastSeen = unixTime(last)
	}
	if disabled {
		r.Status = Disabled
	}
	return r, err
}

func unixTime(seconds int64) time.Time { return time.Unix(seconds, 0).UTC() }

// records implements [backend].
func (s *sqliteDB) records(f Filter, limit int) ([]Record, error) {
	issuer, id := cutCursor(f.After)
	rows, err := s.db.Query(selectRecord+`
		WHERE (issuer, id) > (?1, ?2) AND (?3 = '' OR issuer = ?3) AND (?4 = '' OR subject = ?4) AND (?5 = '' OR provider = ?5)
		ORDER BY issuer, id LIMIT ?6`, issuer, id, f.Issuer, f.Subject, f.Provider, limit)
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
	r, err := scanRecord(s.db.QueryRow(selectRecord+`WHERE issuer = ? AND id = ?`, issuer, id))
	if errors.Is(err, sql.ErrNoRows) {
		return r, ErrUnknown
	}
	return r, err
}

// update implements [backend].
func (s *sqliteDB) update(issuer, id string, c Change) error {
	set := "disabled = coalesce(?, disabled), label = coalesce(?, label)"
	args := []any{c.Disabled, c.Label}
	for _, u := range Units {
		if limit, ok := c.Limits[u]; ok {
			set += fmt.Sprintf(", %s_limit = ?", u)
			args = append(args, limit)
		}
	}

	n, err := s.exec("UPDATE tokens SET "+set+" WHERE issuer = ? AND id = ?", append(args, issuer, id)...)
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
			t, used := o.token, o.usage.values()
			args := append([]any{o.last.Unix()}, used...)
			if _, err := byToken.Exec(append(args, t.Issuer, t.ID)...); err != nil {
				return err
			}
			args = []any{o.day, t.Issuer, t.Subject, t.Provider, o.model, t.ID}
			if _, err := byDay.Exec(append(args, used...)...); err != nil {
				return err
			}
		}
		return nil
	})
}

// usage implements [backend].
func (s *sqliteDB) usage(f UsageFilter) ([]UsageRow, error) {
	by, err := f.dimensions()
	if err != nil {
		return nil, err
	}
	var columns []string
	for _, d := range by {
		columns = append(columns, d.column())
	}
	group := strings.Join(columns, ", ")

	from, to := f.days()
	rows, err := s.db.Query(`
		SELECT `+group+`, `+eachUsage("sum(%s)")+` FROM usage
		WHERE day BETWEEN ?1 AND ?2 AND (?3 = '' OR provider = ?3) AND (?4 = '' OR model = ?4) AND (?5 = '' OR issuer = ?5)
			AND (?6 = '' OR subject = ?6) AND (?7 = '' OR token_id = ?7)
		GROUP BY `+group+` ORDER BY `+group, from, to, f.Provider, f.Model, f.Issuer, f.Subject, f.Token)
	if err != nil {
		return nil, err
	}
	defer rows.Close()

	var report []UsageRow
	for rows.Next() {
		r, err := scanUsage(rows, by)
		if err != nil {
			return nil, err
		}
		report = append(report, r)
	}
	return report, rows.Err()
}

func scanUsage(row scanner, by []Dimension) (r UsageRow, err error) {
	var day int64
	fields := map[Dimension]any{ByDay: &day, ByProvider: &r.Provider, ByModel: &r.Model, ByIssuer: &r.Issuer, BySubject: &r.Subject, ByToken: &r.Token}
	var into []any
	for _, d := range by {
		into = append(into, fields[d])
	}
	usage, done := r.Usage.into()
	err = row.Scan(append(into, usage...)...)
	done()

	if slices.Contains(by, ByDay) {
		r.Day = unixTime(day).Format(time.DateOnly)
	}
	return r, err
}

// prune implements [backend].
func (s *sqliteDB) prune(before time.Time) (removed int64, err error) {
	steps := []string{
		`DELETE FROM counters WHERE scope = 'token' AND id IN (SELECT issuer || '/' || id FROM tokens WHERE expires_at < ?1)`,
		`DELETE FROM counters WHERE window_start > 0 AND window_start < ?1 - ?2`,
		`INSERT INTO meta (key, value) VALUES ('pruned_through', ?1) ON CONFLICT (key) DO UPDATE SET value = max(value, excluded.value)`,
		`INSERT INTO usage (day, issuer, subject, provider, model, token_id, ` + eachUsage("%s") + `)
			SELECT day, issuer, subject, provider, model, '', ` + eachUsage("sum(%s)") + `
			FROM usage WHERE token_id <> '' AND day < ?1 - ?2 GROUP BY day, issuer, subject, provider, model
			ON CONFLICT (day, issuer, subject, provider, model, token_id) DO UPDATE SET ` + eachUsage("%[1]s = usage.%[1]s + excluded.%[1]s"),
		`DELETE FROM usage WHERE token_id <> '' AND day < ?1 - ?2`,
		`DELETE FROM tokens WHERE expires_at < ?1`,
	}
	err = s.write(func(tx *sql.Tx) error {
		for _, step := range steps {
			args := []any{before.Unix(), detailDays * 86400}
			if !strings.Contains(step, "?2") {
				args = args[:1]
			}
			result, err := tx.Exec(step, args...)
			if err != nil {
				return err
			}
			if removed, err = result.RowsAffected(); err != nil { // of the last step
				return err
			}
		}
		return nil
	})
	return removed, err
}

// pruneRevocations implements [backend]. A revocation of a single token holds
// whenever the token was issued.
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
