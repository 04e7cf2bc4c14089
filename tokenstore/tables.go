package tokenstore

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// tables has the operations for which both databases use the same statements. They are
// written for SQLite; bind translates them.
type tables struct {
	db      *sql.DB
	reader  *sql.DB // for long queries; nil means db
	bind    func(query string) string
	timeout time.Duration // of one operation; 0: none
	now     func() time.Time
	birth   atomic.Int64 // unix seconds
	stmts   usageStatements

	// inTx makes changes in one transaction.
	inTx func(changes func(*sql.Tx) error) error

	// lockAll locks all tables that calls write to, in the order in which they do.
	// Empty: a transaction is alone anyway.
	lockAll string

	// announce tells the other processes of a change, in its transaction. nil means
	// that there are none.
	announce func(*sql.Tx, event) error
}

// event is a change that other processes must apply.
type event struct {
	kind       string
	scope      Scope
	issuer, id string // of a token or a revocation; of a limit, id is that of its counters
	unit       Unit
}

// The kinds of events.
const (
	eventToken      = "token"
	eventLimit      = "limit"
	eventRevocation = "revocation"
	eventPruned     = "pruned"
	eventReload     = "reload" // anything may have changed
)

// usageStatements are prepared once: parsing costs more than running them.
type usageStatements struct{ addToken, addUsage, addDay *sql.Stmt }

func (s *tables) prepare(ctx context.Context) (err error) {
	if s.stmts.addToken, err = s.db.PrepareContext(ctx, s.bind(addTokenUsage)); err != nil {
		return err
	}
	if s.stmts.addUsage, err = s.db.PrepareContext(ctx, s.bind(addUsage)); err != nil {
		return err
	}
	s.stmts.addDay, err = s.db.PrepareContext(ctx, s.bind(addDay))
	return err
}

// context returns the context of one operation. No client's context is used, see
// [backend].
func (s *tables) context() (context.Context, context.CancelFunc) {
	if s.timeout == 0 {
		return context.Background(), func() {}
	}
	return context.WithTimeout(context.Background(), s.timeout)
}

// exec runs one statement in a transaction, announces it, and returns the number of
// changed rows.
func (s *tables) exec(e event, query string, args ...any) (rows int64, err error) {
	err = s.inTx(func(tx *sql.Tx) error {
		result, err := tx.Exec(s.bind(query), args...)
		if err != nil {
			return err
		}
		if rows, err = result.RowsAffected(); rows == 0 || err != nil {
			return err
		}
		return s.tell(tx, e)
	})
	return rows, err
}

func (s *tables) tell(tx *sql.Tx, e event) error {
	if s.announce == nil || e.kind == "" {
		return nil
	}
	if err := s.announce(tx, e); err != nil {
		return fmt.Errorf("announcing change: %w", err)
	}
	return nil
}

// each runs a query and calls scan for each row.
func (s *tables) each(scan func(scanner) error, query string, args ...any) error {
	return s.eachOf(s.db, scan, query, args...)
}

// read is each for a query that may take long. Calls do not wait for it.
func (s *tables) read(scan func(scanner) error, query string, args ...any) error {
	return s.eachOf(cmp.Or(s.reader, s.db), scan, query, args...)
}

func (s *tables) eachOf(db *sql.DB, scan func(scanner) error, query string, args ...any) error {
	ctx, cancel := s.context()
	defer cancel()
	rows, err := db.QueryContext(ctx, s.bind(query), args...)
	if err != nil {
		return err
	}
	defer rows.Close()

	for rows.Next() {
		if err := scan(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// number reads one number, 0 if there is no row.
func (s *tables) number(query string, args ...any) (n int64, err error) {
	err = s.each(func(row scanner) error { return row.Scan(&n) }, query, args...)
	return n, err
}

// born reads the store's birth, and sets it if the store is new.
func (s *tables) born() error {
	err := s.inTx(func(tx *sql.Tx) error {
		_, err := tx.Exec(s.bind(`INSERT INTO meta (key, value) VALUES ('birth', ?) ON CONFLICT (key) DO NOTHING`), s.now().Unix())
		return err
	})
	if err != nil {
		return err
	}
	return s.readBirth()
}

// readBirth implements [backend].
func (s *tables) readBirth() error {
	seconds, err := s.number(`SELECT value FROM meta WHERE key = 'birth'`)
	if err == nil {
		s.birth.Store(seconds)
	}
	return err
}

// birthday implements [backend].
func (s *tables) birthday() time.Time { return time.Unix(s.birth.Load(), 0) }

// ready implements [backend].
func (s *tables) ready() error { return nil }

// disabled implements [backend].
func (s *tables) disabled() (map[identity]bool, error) {
	all := make(map[identity]bool)
	err := s.each(func(row scanner) error {
		var i identity
		err := row.Scan(&i.issuer, &i.id)
		all[i] = true
		return err
	}, `SELECT issuer, id FROM tokens WHERE disabled <> 0`)
	return all, err
}

// acceptSince implements [backend].
func (s *tables) acceptSince(t time.Time) error {
	_, err := s.exec(event{kind: eventReload}, `UPDATE meta SET value = ? WHERE key = 'birth'`, t.Unix())
	if err == nil {
		s.birth.Store(t.Unix())
	}
	return err
}

var (
	selectRecord = `
		SELECT issuer, id, subject, provider, label, disabled, issued_at, expires_at, first_seen, last_seen,
			calls_limit, tokens_limit, nanousd_limit, claimed_calls, claimed_tokens, claimed_nanousd, permits, ` +
		counted("calls") + `, ` + counted("tokens") + `, ` + counted("nanousd") + `, ` + strings.Join(usageColumns[:], ", ") + `
		FROM tokens `

	addTokenUsage = `
		UPDATE tokens SET last_seen = max(last_seen, ?), ` + eachUsage("%[1]s = %[1]s + ?") + `
		WHERE issuer = ? AND id = ?`

	addUsage = `
		INSERT INTO usage (day, issuer, subject, provider, model, token_id, ` + eachUsage("%s") + `)
		VALUES (?, ?, ?, ?, ?, ?` + strings.Repeat(", ?", len(usageColumns)) + `)
		ON CONFLICT (day, issuer, subject, provider, model, token_id) DO UPDATE SET ` + eachUsage("%[1]s = usage.%[1]s + excluded.%[1]s")

	addDay = `
		INSERT INTO usage_days (day, issuer, provider, model, ` + eachUsage("%s") + `)
		VALUES (?, ?, ?, ?` + strings.Repeat(", ?", len(usageColumns)) + `)
		ON CONFLICT (day, issuer, provider, model) DO UPDATE SET ` + eachUsage("%[1]s = usage_days.%[1]s + excluded.%[1]s")

	// sumDays recomputes the sums of usage, for a store whose usage was imported or
	// copied.
	sumDays = `
		INSERT INTO usage_days (day, issuer, provider, model, ` + eachUsage("%s") + `)
		SELECT day, issuer, provider, model, ` + eachUsage("sum(%s)") + ` FROM usage GROUP BY day, issuer, provider, model`
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
		&r.CallsLimit, &r.TokensLimit, &r.NanoUSDLimit, &r.ClaimedCalls, &r.ClaimedTokens, &r.ClaimedNanoUSD, &r.Permits,
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
func (s *tables) records(f Filter, limit int) (records []Record, err error) {
	err = s.filtered(func(row scanner) error {
		r, err := scanRecord(row)
		records = append(records, r)
		return err
	}, selectRecord, f, limit)
	return records, err
}

// standings implements [backend].
func (s *tables) standings(f Filter, limit int) (all []*standing, err error) {
	err = s.filtered(func(row scanner) error {
		t := new(standing)
		var issued, expires int64
		err := row.Scan(&t.Issuer, &t.ID, &t.Subject, &t.disabled, &issued, &expires)
		t.IssuedAt, t.ExpiresAt = unixTime(issued), unixTime(expires)
		all = append(all, t)
		return err
	}, `SELECT issuer, id, subject, disabled, issued_at, expires_at FROM tokens `, f, limit)
	return all, err
}

// filtered reads tokens in order, from the cursor on.
func (s *tables) filtered(scan func(scanner) error, query string, f Filter, limit int) error {
	issuer, id := cutCursor(f.After)
	args := []any{issuer, id, f.Issuer, f.Subject, f.Provider, limit}
	if f.until != "" {
		issuer, id := cutCursor(f.until)
		query, args = query+"WHERE (issuer, id) <= (?7, ?8) AND ", append(args, issuer, id)
	} else {
		query += "WHERE "
	}
	return s.each(scan, query+`(issuer, id) > (?1, ?2) AND (?3 = '' OR issuer = ?3) AND (?4 = '' OR subject = ?4)
		AND (?5 = '' OR provider = ?5) ORDER BY issuer, id LIMIT ?6`, args...)
}

// record implements [backend].
func (s *tables) record(issuer, id string) (r Record, err error) {
	found := false
	err = s.each(func(row scanner) (err error) {
		found = true
		r, err = scanRecord(row)
		return err
	}, selectRecord+`WHERE issuer = ? AND id = ?`, issuer, id)
	if err == nil && !found {
		return r, ErrUnknown
	}
	return r, err
}

// update implements [backend].
func (s *tables) update(issuer, id string, c Change) error {
	set := "label = coalesce(?, label)"
	args := []any{c.Label}
	if c.Disabled != nil {
		disabled := 0
		if *c.Disabled {
			disabled = 1
		}
		set += ", disabled = ?"
		args = append(args, disabled)
	}
	for _, u := range Units {
		if limit, ok := c.Limits[u]; ok {
			set += fmt.Sprintf(", %s_limit = ?", u)
			args = append(args, limit)
		}
	}

	n, err := s.exec(event{kind: eventToken, issuer: issuer, id: id},
		"UPDATE tokens SET "+set+" WHERE issuer = ? AND id = ?", append(args, issuer, id)...)
	if err == nil && n == 0 {
		return ErrUnknown
	}
	return err
}

// revoke implements [backend].
func (s *tables) revoke(r Revocation, now time.Time) error {
	_, err := s.exec(event{kind: eventRevocation, scope: r.Scope, issuer: r.Issuer, id: r.ID}, `
		INSERT INTO revocations (scope, issuer, id, before, made_at) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT (scope, issuer, id) DO UPDATE SET before = max(revocations.before, excluded.before), made_at = excluded.made_at`,
		r.Scope, r.Issuer, r.ID, r.Before.Unix(), now.Unix())
	return err
}

// revocations implements [backend].
func (s *tables) revocations() (all []Revocation, err error) {
	err = s.each(func(row scanner) error {
		var r Revocation
		var before int64
		if err := row.Scan(&r.Scope, &r.Issuer, &r.ID, &before); err != nil {
			return err
		}
		r.Before = unixTime(before)
		all = append(all, r)
		return nil
	}, `SELECT scope, issuer, id, before FROM revocations`)
	return all, err
}

// revokedBefore implements [backend].
func (s *tables) revokedBefore(scope Scope, issuer, id string) (seconds int64, err error) {
	return s.number(`SELECT before FROM revocations WHERE scope = ? AND issuer = ? AND id = ?`, scope, issuer, id)
}

// limits implements [backend].
func (s *tables) limits() (all []Limit, err error) {
	err = s.each(func(row scanner) error {
		var l Limit
		if err := row.Scan(&l.Scope, &l.ID, &l.Unit, &l.Per, &l.Amount); err != nil {
			return err
		}
		all = append(all, l)
		return nil
	}, `SELECT scope, id, unit, per, amount FROM limits ORDER BY scope, id, unit, per`)
	return all, err
}

// setLimit implements [backend].
func (s *tables) setLimit(l Limit, now time.Time) error {
	_, err := s.exec(l.event(), `
		INSERT INTO limits (scope, id, unit, per, amount, made_at) VALUES (?, ?, ?, ?, ?, ?)
		ON CONFLICT (scope, id, unit, per) DO UPDATE SET amount = excluded.amount, made_at = excluded.made_at`,
		l.Scope, l.ID, l.Unit, l.Per, l.Amount, now.Unix())
	return err
}

// removeLimit implements [backend].
func (s *tables) removeLimit(l Limit) error {
	n, err := s.exec(l.event(), `DELETE FROM limits WHERE scope = ? AND id = ? AND unit = ? AND per = ?`, l.Scope, l.ID, l.Unit, l.Per)
	if err == nil && n == 0 {
		return ErrUnknown
	}
	return err
}

func (l Limit) event() event { return event{kind: eventLimit, scope: l.Scope, id: l.ID, unit: l.Unit} }

// addUsage implements [backend]. Its order is that of all processes, so that two of
// them never wait for each other's rows.
func (s *tables) addUsage(seen []*observation) error {
	seen = slices.SortedFunc(slices.Values(seen), func(a, b *observation) int {
		return cmp.Or(cmp.Compare(a.token.Issuer, b.token.Issuer), cmp.Compare(a.token.ID, b.token.ID),
			cmp.Compare(a.day, b.day), cmp.Compare(a.model, b.model))
	})
	return s.inTx(func(tx *sql.Tx) error {
		byToken, byUsage := tx.Stmt(s.stmts.addToken), tx.Stmt(s.stmts.addUsage)
		for _, o := range seen {
			t, used := o.token, o.usage.values()
			args := append([]any{o.last.Unix()}, used...)
			if _, err := byToken.Exec(append(args, t.Issuer, t.ID)...); err != nil {
				return err
			}
			args = []any{o.day, t.Issuer, t.Subject, t.Provider, o.model, t.ID}
			if _, err := byUsage.Exec(append(args, used...)...); err != nil {
				return err
			}
		}
		return addDays(tx.Stmt(s.stmts.addDay), seen)
	})
}

// addDays adds to the sums over subjects and tokens, once for each that changes.
func addDays(add *sql.Stmt, seen []*observation) error {
	type key struct {
		day                     int64
		issuer, provider, model string
	}
	sums := make(map[key]*Usage)
	for _, o := range seen {
		k := key{o.day, o.token.Issuer, o.token.Provider, o.model}
		if sums[k] == nil {
			sums[k] = new(Usage)
		}
		sums[k].add(o.usage)
	}

	for _, k := range slices.SortedFunc(maps.Keys(sums), func(a, b key) int {
		return cmp.Or(cmp.Compare(a.day, b.day), cmp.Compare(a.issuer, b.issuer), cmp.Compare(a.provider, b.provider), cmp.Compare(a.model, b.model))
	}) {
		args := []any{k.day, k.issuer, k.provider, k.model}
		if _, err := add.Exec(append(args, sums[k].values()...)...); err != nil {
			return err
		}
	}
	return nil
}

// resum recomputes the sums of usage.
func resum(ctx context.Context, tx *sql.Tx) error {
	for _, query := range []string{`DELETE FROM usage_days`, sumDays} {
		if _, err := tx.ExecContext(ctx, query); err != nil {
			return fmt.Errorf("summing up usage: %w", err)
		}
	}
	return nil
}

// usage implements [backend].
func (s *tables) usage(f UsageFilter) (report []UsageRow, err error) {
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
	table, where := "usage_days", "?6 = '' AND ?7 = ''" // they are empty
	if f.detailed(by) {
		table, where = "usage", "(?6 = '' OR subject = ?6) AND (?7 = '' OR token_id = ?7)"
	}
	selected := ` FROM ` + table + `
		WHERE day BETWEEN ?1 AND ?2 AND (?3 = '' OR provider = ?3) AND (?4 = '' OR model = ?4) AND (?5 = '' OR issuer = ?5) AND ` + where
	sorted := ` GROUP BY ` + group + ` ORDER BY ` + f.order() + group
	if f.Limit > 0 {
		// Sorting whole rows takes twice as long as finding the first ones and summing
		// those up.
		selected += ` AND (` + group + `) IN (SELECT ` + group + selected + sorted + fmt.Sprint(` LIMIT `, f.Limit) + `)`
	}
	query := `SELECT ` + group + `, ` + eachUsage("sum(%s)") + selected + sorted
	err = s.read(func(row scanner) error {
		r, err := scanUsage(row, by)
		report = append(report, r)
		return err
	}, query, from, to, f.Provider, f.Model, f.Issuer, f.Subject, f.Token)
	return report, err
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
func (s *tables) prune(before time.Time) (removed int64, err error) {
	const detail = detailDays * 86400
	steps := []struct {
		query string
		time  int64
	}{
		{`DELETE FROM counters WHERE scope = 'token' AND id IN (SELECT issuer || '/' || id FROM tokens WHERE expires_at < ?)`, before.Unix()},
		{`DELETE FROM counters WHERE window_start > 0 AND window_start < ?`, before.Unix() - detail},
		{`DELETE FROM warnings WHERE scope = 'token' AND id IN (SELECT issuer || '/' || id FROM tokens WHERE expires_at < ?)`, before.Unix()},
		{`DELETE FROM warnings WHERE window_start > 0 AND window_start < ?`, before.Unix() - detail},
		{`INSERT INTO meta (key, value) VALUES ('pruned_through', ?) ON CONFLICT (key) DO UPDATE SET value = max(meta.value, excluded.value)`, before.Unix()},
		{`INSERT INTO usage (day, issuer, subject, provider, model, token_id, ` + eachUsage("%s") + `)
			SELECT day, issuer, subject, provider, model, '', ` + eachUsage("sum(%s)") + `
			FROM usage WHERE token_id <> '' AND day < ? GROUP BY day, issuer, subject, provider, model
			ON CONFLICT (day, issuer, subject, provider, model, token_id) DO UPDATE SET ` + eachUsage("%[1]s = usage.%[1]s + excluded.%[1]s"), before.Unix() - detail},
		{`DELETE FROM usage WHERE token_id <> '' AND day < ?`, before.Unix() - detail},
		{`DELETE FROM tokens WHERE expires_at < ?`, before.Unix()},
	}
	err = s.inTx(func(tx *sql.Tx) error {
		if s.lockAll != "" {
			if _, err := tx.Exec(s.lockAll); err != nil {
				return err
			}
		}
		for _, step := range steps {
			result, err := tx.Exec(s.bind(step.query), step.time)
			if err != nil {
				return err
			}
			if removed, err = result.RowsAffected(); err != nil { // of the last step
				return err
			}
		}
		if removed == 0 {
			return nil
		}
		return s.tell(tx, event{kind: eventPruned})
	})
	return removed, err
}

// pruneRevocations implements [backend]. A revocation of a single token applies
// whenever the token was issued. Other processes need not learn of it: they keep more
// revocations, and prune their own.
func (s *tables) pruneRevocations(before time.Time) error {
	_, err := s.exec(event{}, `DELETE FROM revocations WHERE made_at < ?1 AND (before < ?1 OR scope = 'token')`, before.Unix())
	return err
}

// prunedThrough implements [backend].
func (s *tables) prunedThrough() (seconds int64, err error) {
	return s.number(`SELECT value FROM meta WHERE key = 'pruned_through'`)
}
