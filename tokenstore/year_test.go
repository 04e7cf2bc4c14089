package tokenstore

import (
	"flag"
	"fmt"
	"path/filepath"
	"testing"
	"time"
)

var yearStore = flag.String("year.store", "", "where TestYear leaves a store with 100,000 tokens and a year of usage")

// fillYear fills a new store with tokens of a fifth as many subjects, and with what they
// used in the year up to a day. A 25th of the tokens is used each day. Older rows are
// merged over tokens, as pruning does.
func fillYear(t testing.TB, s *Ledger, tokens int, today time.Time) {
	t.Helper()
	const tokenRows = `
		WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < ?1)
		INSERT INTO tokens (issuer, id, subject, provider, fingerprint, issued_at, expires_at, first_seen, last_seen, claimed_calls, calls, succeeded)
		SELECT 'issuer-' || (i % 3), printf('token-%07d', i), 'subject-' || (i / 5), 'provider-' || (i % 4), zeroblob(32),
			?2 - 86400, ?2 + 86400 * 30, ?2 - 3600, ?2 - i, 1000, i % 100, i % 100 FROM n`
	const usageRows = `
		WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE (i + 1) * 25 < ?1), d(ago) AS (SELECT ?3 UNION ALL SELECT ago + 1 FROM d WHERE ago < ?4)
		INSERT INTO usage (day, issuer, subject, provider, model, token_id, %s)
		SELECT ?2 - ago * 86400, 'issuer-' || (k %% 3), 'subject-' || (k / 5), 'provider-' || (k %% 4), 'model-' || ((k + ago) %% 12),
			iif(?5, printf('token-%%07d', k), ''), 10 + k %% 7, 9, 1, 0, 1000, 20000, 10, 12345 + k, 7, 0, 0, 4321 + ago, 0, 0, 0, 0, 0, 0, 1234567 + k * ago, 0, 0, 1000
		FROM (SELECT i * 25 + ago * 7 %% 25 AS k, ago FROM n, d) WHERE true
		ON CONFLICT DO NOTHING`
	day := today.Unix() - today.Unix()%86400
	usage := fmt.Sprintf(usageRows, eachUsage("%s"))
	for _, step := range []struct {
		query string
		args  []any
	}{
		{tokenRows, []any{tokens, day}},
		{usage, []any{tokens, day, 0, detailDays, true}},
		{usage, []any{tokens, day, detailDays + 1, 364, false}},
		{sumDays, nil},
	} {
		if _, err := raw(s).Exec(step.query, step.args...); err != nil {
			t.Fatal("filling store: ", err)
		}
	}
}

// BenchmarkYear measures reports of a year with 100,000 tokens.
func BenchmarkYear(b *testing.B) {
	s := openNew(b)
	fillYear(b, s, 100_000, noon)
	var rows int
	if err := raw(s).QueryRow(`SELECT count(*) FROM usage`).Scan(&rows); err != nil {
		b.Fatal(err)
	}
	b.Logf("%d rows", rows)
	for name, f := range map[string]UsageFilter{
		"month by day and provider": {By: []Dimension{ByDay, ByProvider}, From: noon.AddDate(0, 0, -29)},
		"year by day and provider":  {By: []Dimension{ByDay, ByProvider}},
		"year by day and model":     {By: []Dimension{ByDay, ByModel}},
		"month by subject":          {By: []Dimension{BySubject}, From: noon.AddDate(0, 0, -29)},
		"year by subject":           {By: []Dimension{BySubject}},
		"three subjects of a year":  {By: []Dimension{BySubject}, Top: UnitNanoUSD, Limit: 3},
		"year of one subject":       {By: []Dimension{ByDay}, Subject: "subject-77"},
		"a day of tokens":           {By: []Dimension{ByIssuer, ByToken}, From: noon.Truncate(24 * time.Hour)},
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := s.UsageReport(b.Context(), f); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// The daily sums of a year equal the rows that they sum up. With -year.store, the test
// leaves a large store to look at, for example with `caddy relayapi ui`.
func TestYear(t *testing.T) {
	path, tokens := filepath.Join(t.TempDir(), "year.db"), 1000
	if *yearStore != "" {
		path, tokens = *yearStore, 100_000
	}
	s, err := OpenSQLite(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	fillYear(t, s, tokens, time.Now())
	if *yearStore == "" {
		wantSums(t, s)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
