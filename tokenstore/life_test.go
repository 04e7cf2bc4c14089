package tokenstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/pressly/goose/v3"
)

func ptr[T any](v T) *T { return &v }

// The operator's override replaces the token's own limit, in each unit by itself.
func contractAdmitAppliesTheLimitInForce(t *testing.T, k kind) {
	s := k.openNew(t)
	ctx := t.Context()
	tok := newToken("a")
	tok.Limits = Limits{Calls: ptr(int64(3)), NanoUSD: ptr(int64(1_000))}
	in := func(u Unit, limit int64) Charge {
		return Charge{tokenCounter("acme", "a", u), 1, limit}
	}
	admitted := func(want ...Charge) {
		t.Helper()
		got, err := s.Admit(ctx, tok, Amounts{Calls: 1, Tokens: 1, NanoUSD: 1}, nil)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("Admit: got %v, %v; want %v", got, err, want)
		}
		if err := s.Settle(got, Amounts{}); err != nil {
			t.Error(err)
		}
	}
	refused := func(want error) {
		t.Helper()
		if got, err := s.Admit(ctx, tok, Amounts{Calls: 1}, nil); !errors.Is(err, want) {
			t.Errorf("Admit: got %v, %v; want %v", got, err, want)
		}
		if want := want; want != ErrExhausted {
			if got, err := s.LimitsOf(ctx, tok); !errors.Is(err, want) {
				t.Errorf("LimitsOf: got %v, %v; want %v", got, err, want)
			}
		}
	}
	update := func(c Change) {
		t.Helper()
		if _, err := s.Update(ctx, tok.Issuer, tok.ID, c); err != nil {
			t.Fatal(err)
		}
	}
	set := func(u Unit, limit *int64) { update(Change{Limits: map[Unit]*int64{u: limit}}) }

	if _, err := s.Update(ctx, tok.Issuer, tok.ID, Change{}); !errors.Is(err, ErrUnknown) {
		t.Errorf("a token that was not used here is updated: %v", err)
	}
	admitted(in(UnitCalls, 3), in(UnitNanoUSD, 1_000))
	update(Change{Limits: map[Unit]*int64{UnitCalls: ptr(int64(5))}, Label: ptr("mine")})
	admitted(in(UnitCalls, 5), in(UnitNanoUSD, 1_000))
	set(UnitTokens, ptr(int64(70)))
	admitted(in(UnitCalls, 5), in(UnitTokens, 70), in(UnitNanoUSD, 1_000))
	if got, err := s.LimitsOf(ctx, tok); err != nil || *got.Calls != 5 || *got.Tokens != 70 || *got.NanoUSD != 1_000 {
		t.Errorf("LimitsOf: got %+v, %v", got, err)
	}

	update(Change{Disabled: ptr(true)})
	refused(ErrDisabled)
	s.known.forgetAll()
	refused(ErrDisabled)
	wantRefused(t, s, ErrDisabled, tok, tok.calls(1, 10))
	update(Change{Disabled: ptr(false)})
	admitted(in(UnitCalls, 5), in(UnitTokens, 70), in(UnitNanoUSD, 1_000)) // what was not named has stayed

	set(UnitNanoUSD, ptr(int64(0)))
	if _, err := s.Admit(ctx, tok, Amounts{NanoUSD: 1}, nil); !errors.Is(err, ErrExhausted) {
		t.Errorf("an override of 0 admits: %v", err)
	}
	update(Change{Limits: map[Unit]*int64{UnitCalls: nil, UnitTokens: nil, UnitNanoUSD: nil}})
	admitted(in(UnitCalls, 3), in(UnitNanoUSD, 1_000))
	if r, err := s.Token(ctx, tok.Issuer, tok.ID); err != nil || r.Label != "mine" || r.Status != Active || r.Override() != (Limits{}) {
		t.Errorf("got %+v, %v", r, err)
	}

	other := newToken("a")
	other.Fingerprint[0] ^= 1
	if _, err := s.Admit(ctx, other, Amounts{Calls: 1}, nil); !errors.Is(err, ErrConflict) {
		t.Errorf("another token of the same identity is known: %v", err)
	}
}

// An override that the process does not know yet is applied in the transaction that
// reads it: neither more nor less than it permits is granted.
func contractAdmitAppliesAnOverrideAtTheFirstUse(t *testing.T, k kind) {
	for _, tt := range []struct{ own, override, want int64 }{{3, 2, 2}, {2, 3, 3}, {1_000_000, 1, 1}, {5, 0, 0}} {
		t.Run(fmt.Sprint(tt), func(t *testing.T) {
			path := k.place(t)
			s := k.openAt(t, path)
			tok := newToken("a")
			tok.Limits.Calls = &tt.own
			admit(t, s, tok)
			if _, err := s.Update(t.Context(), "acme", "a", Change{Limits: map[Unit]*int64{UnitCalls: &tt.override}}); err != nil {
				t.Fatal(err)
			}

			s = k.reopen(t, s, path)
			var served int64
			for ; served <= tt.want; served++ {
				_, err := s.Admit(t.Context(), tok, Amounts{Calls: 1}, nil)
				if durable, _ := s.db.used(TokenCounter("acme", "a")); durable > tt.override {
					t.Errorf("%d durable under a limit of %d", durable, tt.override)
				}
				if errors.Is(err, ErrExhausted) {
					break
				} else if err != nil {
					t.Fatal(err)
				}
			}
			if served != tt.want {
				t.Errorf("served %d, want %d", served, tt.want)
			}
		})
	}
}

func contractRevocationsMatchAndLast(t *testing.T, k kind) {
	path := k.place(t)
	s := k.openAt(t, path)
	token := func(issuer, id, subject string, issued time.Time) *Token {
		tok := newToken(id)
		tok.Issuer, tok.Subject, tok.IssuedAt = issuer, subject, issued
		return tok
	}
	revoked := map[string]*Token{
		"by token":   token("acme", "t1", "s", noon),
		"by subject": token("acme", "t2", "bad", noon),
		"by issuer":  token("evil", "t3", "s", noon),
		"by time":    token("acme", "t4", "s", noon.Add(-time.Hour)),
	}
	fine := map[string]*Token{
		"another token":                     token("acme", "t5", "s", noon),
		"the same id of another issuer":     token("beta", "t1", "s", noon),
		"the same subject elsewhere":        token("beta", "t6", "bad", noon),
		"issued after subject's revocation": token("acme", "t7", "bad", noon.Add(time.Second)),
	}
	for _, r := range []Revocation{
		{ScopeToken, "acme", "t1", noon.Add(time.Hour)},
		{ScopeSubject, "acme", "bad", noon.Add(time.Second)},
		{ScopeSubject, "acme", "bad", noon}, // an earlier one takes nothing back
		{ScopeIssuer, "evil", "", noon.Add(time.Hour)},
		{ScopeAll, "", "", noon.Add(-time.Minute)},
	} {
		if err := s.Revoke(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	check := func(when string) {
		t.Helper()
		for name, tok := range revoked {
			if err := s.charge(context.Background(), tok, nil); !errors.Is(err, ErrRevoked) {
				t.Errorf("%s, %s: %v", when, name, err)
			}
		}
		for name, tok := range fine {
			if err := s.charge(context.Background(), tok, nil); err != nil {
				t.Errorf("%s, %s: %v", when, name, err)
			}
		}
	}
	check("at once")
	s = k.reopen(t, s, path)
	check("reopened")
}

// A page by status costs a bounded amount of work, however few tokens have it. All pages
// together have each token once.
func contractTokensAreListedByStatus(t *testing.T, k kind) {
	const tokens, spent = 2*chunk + 100, 7 // those that end in 7
	s := k.openNew(t)
	fillTokens(t, s, tokens)
	if err := s.Revoke(t.Context(), Revocation{Scope: ScopeToken, Issuer: "acme", ID: "t001500", Before: noon.Add(time.Hour)}); err != nil {
		t.Fatal(err)
	}
	use := func(r *Record) error {
		if r.ID[len(r.ID)-1] == '0'+spent {
			r.SetLimits([]LimitUse{{Amount: 1, Used: 1}})
		}
		return nil
	}

	for status, want := range map[Status]struct{ tokens, pages int }{
		Revoked:   {1, 1},
		Disabled:  {0, 1},
		Exhausted: {tokens / 10, (tokens + mostReads - 2) / mostReads},
		Active:    {tokens - tokens/10 - 1, (tokens + mostReads - 2) / mostReads},
	} {
		seen, pages := make(map[string]bool), 0
		for f := (Filter{Status: status, Complete: use, Limit: maxPage}); pages == 0 || f.After != ""; pages++ {
			page, err := s.Tokens(t.Context(), f)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range page.Records {
				if seen[r.ID] || r.Status != status {
					t.Fatalf("%s: got %s, which is %s, seen: %t", status, r.ID, r.Status, seen[r.ID])
				}
				seen[r.ID] = true
			}
			f.After = page.Next
		}
		if len(seen) != want.tokens || pages != want.pages {
			t.Errorf("%s: got %d tokens on %d pages, want %d on %d", status, len(seen), pages, want.tokens, want.pages)
		}
	}
}

func contractTokensAreListedInPages(t *testing.T, k kind) {
	s := k.openNew(t)
	for i := range 25 {
		tok := newToken(fmt.Sprintf("t%02d", i))
		tok.Subject = []string{"alice", "bob"}[i%2]
		if i%5 == 0 {
			tok.ExpiresAt = noon
		}
		admit(t, s, tok, tok.calls(1, 10))
	}
	if _, err := s.Update(t.Context(), "acme", "t01", Change{Disabled: ptr(true)}); err != nil {
		t.Fatal(err)
	}
	if err := s.Revoke(t.Context(), Revocation{ScopeToken, "acme", "t02", noon.Add(time.Hour)}); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		filter Filter
		want   int
	}{
		{Filter{}, 25},
		{Filter{Limit: 4}, 25},
		{Filter{Limit: 4, Subject: "alice"}, 13},
		{Filter{Limit: 3, Status: Expired}, 5},
		{Filter{Limit: 3, Status: Active}, 18},
		{Filter{Limit: 3, Status: Disabled}, 1},
		{Filter{Status: Revoked}, 1},
		{Filter{Issuer: "nobody"}, 0},
		{Filter{Provider: "openai", Limit: 25}, 25},
	} {
		seen := map[string]bool{}
		filter := tc.filter
		for {
			page, err := s.Tokens(t.Context(), filter)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range page.Records {
				if seen[r.ID] || r.CallsCounted != 1 {
					t.Errorf("%+v: %s again, or %d calls counted", tc.filter, r.ID, r.CallsCounted)
				}
				seen[r.ID] = true
			}
			if page.Next == "" {
				break
			}
			filter.After = page.Next
		}
		if len(seen) != tc.want {
			t.Errorf("%+v lists %d, want %d", tc.filter, len(seen), tc.want)
		}
	}
}

func contractUsageAddsUp(t *testing.T, k kind) {
	path := k.place(t)
	s := k.openAt(t, path)
	a, b := newToken("a"), newToken("b")
	admit(t, s, a)
	admit(t, s, b)
	one := Usage{Calls: 1, Succeeded: 1, BytesIn: 2, BytesOut: 3, Duration: time.Millisecond}
	for range 3 {
		s.Observe(a, "", one)
		s.Observe(b, "", one)
		if err := s.writeUsage(false); err != nil {
			t.Fatal(err)
		}
	}
	s.Observe(a, "", Usage{Calls: 1, ProviderErrors: 1})
	s = k.reopen(t, s, path) // closing writes what is left
	r, err := s.Token(t.Context(), "acme", "a")
	want := Usage{Calls: 4, Succeeded: 3, ProviderErrors: 1, BytesIn: 6, BytesOut: 9, Duration: 3 * time.Millisecond}
	if err != nil || r.Usage != want || !r.LastSeen.Equal(noon) {
		t.Errorf("%+v, %v", r, err)
	}
	report, err := s.UsageReport(t.Context(), UsageFilter{})
	if err != nil || len(report) != 1 || report[0].Day != "2030-06-01" || report[0].Calls != 7 || report[0].BytesOut != 18 {
		t.Errorf("%+v, %v", report, err)
	}
	for _, f := range []UsageFilter{{Subject: "nobody"}, {From: noon.Add(24 * time.Hour)}, {To: noon.Add(-24 * time.Hour)}} {
		if report, err := s.UsageReport(t.Context(), f); err != nil || len(report) != 0 {
			t.Errorf("%+v selects %+v, %v", f, report, err)
		}
	}
}

// What is written in pieces is written whole, and once.
func contractUsageOfManyTokens(t *testing.T, k kind) {
	s := k.openNew(t)
	const tokens = 3*usagePiece + 1
	for i := range tokens {
		tok := newToken(fmt.Sprint(i))
		admit(t, s, tok)
		s.Observe(tok, "", Usage{Calls: 1})
		s.Observe(tok, "", Usage{Calls: 1})
	}
	for range 2 {
		if err := s.writeUsage(true); err != nil {
			t.Fatal(err)
		}
		report, err := s.UsageReport(t.Context(), UsageFilter{})
		if err != nil || len(report) != 1 || report[0].Calls != 2*tokens {
			t.Errorf("%+v, %v", report, err)
		}
	}
	if s.observations.count() != 0 || s.observations.seen != nil {
		t.Error("what was written is kept")
	}
}

// What cannot be written is kept, and not counted twice.
func contractUsageSurvivesAFailedWrite(t *testing.T, k kind) {
	s := k.openNew(t)
	tok := newToken("a")
	admit(t, s, tok)
	if _, err := raw(s).Exec(`ALTER TABLE usage RENAME TO elsewhere`); err != nil {
		t.Fatal(err)
	}
	s.Observe(tok, "", Usage{Calls: 1})
	if err := s.writeUsage(false); err == nil {
		t.Fatal("the write succeeds")
	}
	s.Observe(tok, "", Usage{Calls: 1})
	if _, err := raw(s).Exec(`ALTER TABLE elsewhere RENAME TO usage`); err != nil {
		t.Fatal(err)
	}
	if err := s.writeUsage(false); err != nil {
		t.Fatal(err)
	}
	if r, err := s.Token(t.Context(), "acme", "a"); err != nil || r.Usage.Calls != 2 {
		t.Errorf("%+v, %v", r, err)
	}
}

func contractPrunedTokensStayRefused(t *testing.T, k kind) {
	path := k.place(t)
	s := k.openAt(t, path)
	old, young := newToken("old"), newToken("young")
	young.ExpiresAt = noon.Add(48 * time.Hour)
	admit(t, s, old, old.calls(1, 1))
	admit(t, s, young, young.calls(1, 10))
	removed, err := s.Prune(t.Context(), noon.Add(24*time.Hour))
	if err != nil || removed != 1 {
		t.Fatalf("removed %d, %v", removed, err)
	}
	check := func() {
		t.Helper()
		wantRefused(t, s, ErrPruned, old, old.calls(1, 1))
		wantRefused(t, s, ErrPruned, old)
		admit(t, s, young, young.calls(1, 10))
		if _, err := s.Token(t.Context(), "acme", "old"); !errors.Is(err, ErrUnknown) {
			t.Errorf("the pruned token: %v", err)
		}
	}
	check()
	s = k.reopen(t, s, path)
	check()
	wantUsed(t, s, TokenCounter("acme", "young"), 3)
}

// The holder of a token and of its refresh waits with the second until the first
// is forgotten.
func contractCountsAreKeptForRefreshes(t *testing.T, k kind) {
	s := k.openNew(t)
	const ttl = 30 * 24 * time.Hour
	s.LongestTTL(ttl)
	token, refresh := newToken("a"), newToken("a")
	refresh.IssuedAt = token.ExpiresAt
	refresh.ExpiresAt = refresh.IssuedAt.Add(ttl)
	admit(t, s, token, token.calls(10, 10))
	for _, tt := range []struct {
		name string
		at   time.Time
		want int64
	}{
		{"the token has expired", token.ExpiresAt.Add(time.Hour), 10},
		{"the refresh is about to", refresh.ExpiresAt, 10},
		{"the refresh has expired", refresh.ExpiresAt.Add(time.Second), 0},
	} {
		if err := s.pruneThrough(t.Context(), tt.at); err != nil {
			t.Fatal(err)
		}
		if n, err := s.db.used(counterOf("a")); n != tt.want || err != nil {
			t.Errorf("%s: %d calls are counted, want %d; %v", tt.name, n, tt.want, err)
		}
	}
}

func contractRevocationsAreKeptUntilNoTokenNeedsThem(t *testing.T, k kind) {
	path := k.place(t)
	s := k.openAt(t, path)
	at := noon.Add(time.Minute)
	all := []Revocation{
		{Scope: ScopeToken, Issuer: "acme", ID: "a", Before: noon.AddDate(1000, 0, 0)},
		{Scope: ScopeSubject, Issuer: "acme", ID: "user-1", Before: at},
		{Scope: ScopeIssuer, Issuer: "acme", Before: at},
		{Scope: ScopeAll, Before: at},
	}
	for _, r := range all {
		if err := s.Revoke(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	left := func(after time.Duration) int {
		t.Helper()
		if err := s.pruneThrough(t.Context(), at.Add(after)); err != nil {
			t.Fatal(err)
		}
		kept, err := s.db.revocations()
		if err != nil {
			t.Fatal(err)
		}
		if refused := s.Refusal(newToken("a")); (refused == ErrRevoked) != (len(kept) > 0) {
			t.Errorf("with %d revocations the token is refused with %v", len(kept), refused)
		}
		return len(kept)
	}
	const ttl = 30 * 24 * time.Hour
	if n := left(10 * revocationGrace); n != len(all) {
		t.Errorf("%d are left, and nobody has said how long tokens live", n)
	}
	s.LongestTTL(ttl)
	s.LongestTTL(time.Hour)
	if n := left(revocationGrace + ttl - time.Hour); n != len(all) {
		t.Errorf("%d are left before the time", n)
	}
	if n := left(revocationGrace + ttl + time.Hour); n != 0 {
		t.Errorf("%d are left after the time", n)
	}
}

// A store that the first version wrote is brought forward with all it has.
func TestStoreOfTheFirstVersionIsBroughtForward(t *testing.T) {
	path := storePath(t)
	s := openAt(t, path)
	tok := newToken("a")
	admit(t, s, tok, tok.calls(3, 10))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	downgrade(t, path)
	s = openAt(t, path)
	wantUsed(t, s, TokenCounter("acme", "a"), 3)
	if r, err := s.Token(t.Context(), "acme", "a"); err != nil || r.CallsCounted != 3 || r.Status != Active || r.ClaimedCalls != nil {
		t.Errorf("%+v, %v, want 3 calls counted under a limit that is not known", r, err)
	}
	tok.Claimed.Calls = ptr(int64(10))
	admit(t, s, tok, tok.calls(7, 10))
	if r, err := s.Token(t.Context(), "acme", "a"); err != nil || r.ClaimedCalls == nil || *r.ClaimedCalls != 10 {
		t.Errorf("%+v, %v, want the claimed limit 10 after the next call", r, err)
	}
	wantRefused(t, s, ErrExhausted, tok, tok.calls(1, 10))
}

// downgrade makes of a store what the first version would have written.
func downgrade(t *testing.T, path string) {
	t.Helper()
	db, err := openDB(context.Background(), path, atNoon)
	if err != nil {
		t.Fatal(err)
	}
	for _, statement := range []string{
		`DROP TABLE usage`, `DROP TABLE usage_days`, `DROP TABLE revocations`, `DROP TABLE limits`, `DROP TABLE warnings`,
		`CREATE TABLE old (
			issuer TEXT NOT NULL, id TEXT NOT NULL, subject TEXT NOT NULL, provider TEXT NOT NULL,
			fingerprint BLOB NOT NULL CHECK (length(fingerprint) = 32),
			issued_at INTEGER NOT NULL, expires_at INTEGER NOT NULL, first_seen INTEGER NOT NULL,
			PRIMARY KEY (issuer, id)) STRICT, WITHOUT ROWID`,
		`INSERT INTO old SELECT issuer, id, subject, provider, fingerprint, issued_at, expires_at, first_seen FROM tokens`,
		`DROP TABLE tokens`, `ALTER TABLE old RENAME TO tokens`,
		`CREATE TABLE old (
			scope TEXT NOT NULL, id TEXT NOT NULL, unit TEXT NOT NULL, window_start INTEGER NOT NULL,
			used INTEGER NOT NULL CHECK (used >= 0),
			PRIMARY KEY (scope, id, unit, window_start)) STRICT, WITHOUT ROWID`,
		`INSERT INTO old SELECT scope, id, unit, window_start, used FROM counters`,
		`DROP TABLE counters`, `ALTER TABLE old RENAME TO counters`,
		`DELETE FROM goose_db_version WHERE version_id > 1`,
	} {
		if _, err := db.db.Exec(statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	if err := db.close(); err != nil {
		t.Fatal(err)
	}
}

// A store of the previous schema counted calls only.
func TestOpen_BringsTheFifthSchemaForward(t *testing.T) {
	path := storePath(t)
	if err := protect(path); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", dsn(path))
	if err != nil {
		t.Fatal(err)
	}
	p, err := migrations(db, goose.DialectSQLite3)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.UpTo(t.Context(), 5); err != nil {
		t.Fatal(err)
	}
	for _, statement := range []string{
		`INSERT INTO meta VALUES ('birth', 1906545600)`,
		`INSERT INTO tokens (issuer, id, subject, provider, fingerprint, issued_at, expires_at, first_seen, calls_limit, claimed_calls, calls)
			VALUES ('acme', 'a', 'user-1', 'openai', zeroblob(32), 1906545600, 1906549200, 1906545600, 9, 7, 4)`,
		`INSERT INTO counters (scope, id, unit, window_start, used) VALUES ('token', 'acme/a', 'calls', 0, 3)`,
		`INSERT INTO limits VALUES ('subject', 'acme/user-1', 'day', 20, 1906545600)`,
		`INSERT INTO usage VALUES (1906502400, 'openai', 'acme', 'user-1', 4, 3, 1, 0, 5, 6, 7000)`,
	} {
		if _, err := db.Exec(statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}

	s := openAt(t, path)
	r, err := s.Token(t.Context(), "acme", "a")
	if err != nil || *r.CallsLimit != 9 || *r.ClaimedCalls != 7 || r.CallsCounted != 3 || r.Usage.Calls != 4 || r.TokensLimit != nil {
		t.Errorf("token: got %+v, %v", r, err)
	}
	want := Limit{Scope: ScopeSubject, ID: "acme/user-1", Unit: UnitCalls, Per: "day", Amount: 20}
	if got := s.Limits().Limits; !slices.Equal(got, []Limit{want}) {
		t.Errorf("limits: got %+v, want %+v", got, want)
	}
	rows, err := s.UsageReport(t.Context(), UsageFilter{})
	if err != nil || len(rows) != 1 || rows[0].Usage != (Usage{Calls: 4, Succeeded: 3, ClientErrors: 1, BytesIn: 5, BytesOut: 6, Duration: 7 * time.Millisecond}) {
		t.Errorf("usage: got %+v, %v", rows, err)
	}
	wantSums(t, s)
	tok := newToken("a")
	tok.Fingerprint = [32]byte{}
	for range 6 {
		if _, err := s.Admit(t.Context(), tok, Amounts{Calls: 1}, nil); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Admit(t.Context(), tok, Amounts{Calls: 1}, nil); !errors.Is(err, ErrExhausted) {
		t.Errorf("the tenth call under a limit of 9: %v", err)
	}
}

func TestPrunerIsWaryOfTheClock(t *testing.T) {
	type step struct {
		advance time.Duration
		prunes  bool
	}
	for name, steps := range map[string][]step{
		"every hour, with a day's grace": {{0, false}, {59 * time.Minute, false}, {time.Minute, true}, {time.Minute, false}, {59 * time.Minute, true}},
		"not for a day after a leap":     {{0, false}, {100 * 24 * time.Hour, false}, {time.Hour, false}, {time.Hour, false}},
		"nor after it was turned back":   {{0, false}, {-2 * time.Hour, false}, {time.Hour, false}, {time.Hour, false}},
		"again when a day has passed":    append([]step{{0, false}, {2 * time.Hour, false}}, append(repeat(step{30 * time.Minute, false}, 47), step{30 * time.Minute, true})...),
		"after a pause of an hour":       {{0, false}, {time.Hour, true}},
	} {
		t.Run(name, func(t *testing.T) {
			now := noon
			var p pruner
			for i, s := range steps {
				now = now.Add(s.advance)
				before := p.tick(now)
				if !before.IsZero() != s.prunes || s.prunes && !before.Equal(now.Add(-pruneGrace)) {
					t.Errorf("step %d: prunes before %v", i, before)
				}
			}
		})
	}
}

func repeat[T any](v T, n int) []T {
	all := make([]T, n)
	for i := range all {
		all[i] = v
	}
	return all
}

// Both work beside the ledger that has the store open.
func TestCheckAndBackupOfAStoreInUse(t *testing.T) {
	path := storePath(t)
	s := openAt(t, path)
	tok := newToken("a")
	admit(t, s, tok, tok.calls(3, 10))
	summary, err := Check(t.Context(), path)
	if err != nil || summary.Tokens != 1 || summary.Counters != 1 || !summary.Birth.Equal(noon) || summary.Schema != 9 || len(summary.Damage) != 0 {
		t.Errorf("%+v, %v", summary, err)
	}
	copied := path + ".backup"
	if err := Backup(t.Context(), path, copied); err != nil {
		t.Fatal(err)
	}
	if err := Backup(t.Context(), path, copied); err == nil {
		t.Error("a backup is overwritten")
	}
	admit(t, s, tok, tok.calls(3, 10))
	wantUsed(t, openAt(t, copied), TokenCounter("acme", "a"), 3)
	if info, err := os.Stat(copied); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the backup has mode %v, %v", info.Mode(), err)
	}
	if _, err := Check(t.Context(), path+".none"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a store that is not there: %v", err)
	}
}

func contractAcceptIssuedSince(t *testing.T, k kind) {
	path := k.place(t)
	s := k.openAt(t, path)
	old := newToken("old")
	old.IssuedAt = noon.Add(-time.Hour)
	wantRefused(t, s, ErrPredates, old, old.calls(1, 10))
	if err := s.AcceptIssuedSince(t.Context(), noon.Add(time.Hour)); err == nil {
		t.Error("the store becomes younger")
	}
	if err := s.AcceptIssuedSince(t.Context(), noon.Add(-2*time.Hour)); err != nil {
		t.Fatal(err)
	}
	admit(t, s, old, old.calls(1, 10))
	s = k.reopen(t, s, path)
	admit(t, s, old, old.calls(1, 10))
}

// What a token has at hand of one store is nothing to another.
func contractOneTokenOnTwoStores(t *testing.T, k kind) {
	one, other := k.openNew(t), k.openNew(t)
	tok := newToken("a")
	for _, s := range []*Ledger{one, one, other, other} {
		admit(t, s, tok, tok.calls(1, 2))
	}
	for _, s := range []*Ledger{one, other} {
		wantUsed(t, s, TokenCounter("acme", "a"), 2)
		wantRefused(t, s, ErrExhausted, tok, tok.calls(1, 2))
		if _, _, known := row(t, s, tok); !known {
			t.Error("the token is not known")
		}
	}
}

func contractDisabledTokenStaysRefused(t *testing.T, k kind) {
	s := k.openNew(t)
	tok := newToken("a")
	admit(t, s, tok)
	disabled := true
	if _, err := s.Update(t.Context(), "acme", "a", Change{Disabled: &disabled}); err != nil {
		t.Fatal(err)
	}
	for range 4 { // asked for the first time, then remembered
		wantRefused(t, s, ErrDisabled, tok)
	}
}

func TestTokenThatLivesLongerThanItsRecordIsNotKnown(t *testing.T) {
	k := newKnown()
	tok, longer := newToken("a"), newToken("a")
	longer.ExpiresAt = longer.ExpiresAt.Add(time.Second)
	k.add(tok, record{fingerprint: tok.Fingerprint, expires: tok.ExpiresAt.Unix()})
	for range 3 {
		if _, covered, err := k.find(tok); err != nil || !covered {
			t.Errorf("covered %v, %v", covered, err)
		}
		if _, covered, err := k.find(longer); err != nil || covered {
			t.Errorf("one that lives longer: covered %v, %v", covered, err)
		}
	}
}
