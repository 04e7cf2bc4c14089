package tokenstore

import (
	"cmp"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Every field of a Usage is summed, stored and read again.
func contractUsageKeepsEveryKind(t *testing.T, k kind) {
	path := k.place(t)
	s := k.openAt(t, path)
	tok := newToken("a")
	admit(t, s, tok)
	var one, twice Usage
	for i := range reflect.TypeFor[Usage]().NumField() {
		n := int64(i+1) * int64(time.Millisecond)
		reflect.ValueOf(&one).Elem().Field(i).SetInt(n)
		reflect.ValueOf(&twice).Elem().Field(i).SetInt(2 * n)
	}
	s.Observe(tok, "gpt", one)
	s.Observe(tok, "gpt", one)

	s = k.reopen(t, s, path)
	if r, err := s.Token(t.Context(), "acme", "a"); err != nil || r.Usage != twice {
		t.Errorf("token: got %+v, %v; want %+v", r.Usage, err, twice)
	}
	rows, err := s.UsageReport(t.Context(), UsageFilter{})
	if err != nil || len(rows) != 1 || rows[0].Usage != twice {
		t.Errorf("report: got %+v, %v; want %+v", rows, err, twice)
	}
}

// observeAll makes rows that differ in every dimension.
func observeAll(t *testing.T, s *Ledger, c *clock) {
	t.Helper()
	for i, id := range []string{"a", "b", "c", "d"} {
		tok := newToken(id)
		tok.Subject = []string{"alice", "bob"}[i%2]
		tok.Provider = []string{"openai", "openai", "openai", "gemini"}[i]
		tok.ExpiresAt = noon.AddDate(0, 0, 10)
		admit(t, s, tok)
		for _, model := range []string{"large", "small"} {
			s.Observe(tok, model, Usage{Calls: 1, Cost: 10})
			c.advance(24 * time.Hour)
			s.Observe(tok, model, Usage{Calls: 1, Cost: 5})
			c.advance(-24 * time.Hour)
		}
	}
}

func contractUsageReportGroupsAndFilters(t *testing.T, k kind) {
	c := new(clock)
	s, err := k.open(t.Context(), k.place(t), c.now)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	observeAll(t, s, c)

	for _, tt := range []struct {
		name   string
		filter UsageFilter
		want   string // day provider model issuer subject token=calls/cost
	}{
		{"by day", UsageFilter{By: []Dimension{ByDay}}, "2030-06-01 - - - - -=8/80, 2030-06-02 - - - - -=8/40"},
		{"by provider", UsageFilter{By: []Dimension{ByProvider}}, "- gemini - - - -=4/30, - openai - - - -=12/90"},
		{"by subject and model", UsageFilter{By: []Dimension{BySubject, ByModel}},
			"- - large - alice -=4/30, - - large - bob -=4/30, - - small - alice -=4/30, - - small - bob -=4/30"},
		{"by token, with its issuer", UsageFilter{By: []Dimension{ByToken}, Subject: "bob"}, "- - - acme - b=4/30, - - - acme - d=4/30"},
		{"of a token", UsageFilter{By: []Dimension{ByModel}, Issuer: "acme", Token: "c"}, "- - large - - -=2/15, - - small - - -=2/15"},
		{"of a model", UsageFilter{By: []Dimension{ByModel}, Model: "small"}, "- - small - - -=8/60"},
		{"of a day", UsageFilter{By: []Dimension{ByDay}, From: noon.AddDate(0, 0, 1).Truncate(24 * time.Hour)}, "2030-06-02 - - - - -=8/40"},
		{"the most calls first", UsageFilter{By: []Dimension{ByProvider}, Top: UnitCalls}, "- openai - - - -=12/90, - gemini - - - -=4/30"},
		{"the costliest days", UsageFilter{By: []Dimension{ByDay}, Top: UnitNanoUSD, Limit: 1}, "2030-06-01 - - - - -=8/80"},
		{"the first of equals", UsageFilter{By: []Dimension{BySubject}, Top: UnitTokens, Limit: 1}, "- - - - alice -=8/60"},
		{"by default", UsageFilter{Provider: "gemini"}, "2030-06-01 gemini - acme bob -=2/20, 2030-06-02 gemini - acme bob -=2/10"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rows, err := s.UsageReport(t.Context(), tt.filter)
			if err != nil {
				t.Fatal(err)
			}
			if got := rowsText(rows); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
	if _, err := s.UsageReport(t.Context(), UsageFilter{By: []Dimension{"colour"}}); err == nil || !strings.Contains(err.Error(), `unknown dimension "colour"`) {
		t.Errorf("an unknown dimension: %v", err)
	}
	wantSums(t, s)
}

// wantSums checks that reports without subjects and tokens are the sums of those with
// them. They are read from a table of their own.
func wantSums(t *testing.T, s *Ledger) {
	t.Helper()
	parts, err := s.UsageReport(t.Context(), UsageFilter{By: Dimensions[:]})
	if err != nil || len(parts) == 0 {
		t.Fatalf("got %d rows of usage, %v; want some", len(parts), err)
	}
	dims := []Dimension{ByDay, ByProvider, ByModel, ByIssuer}
	for set := 1; set < 1<<len(dims); set++ {
		var by []Dimension
		for i, d := range dims {
			if set>>i&1 == 1 {
				by = append(by, d)
			}
		}
		rows, err := s.UsageReport(t.Context(), UsageFilter{By: by})
		if err != nil {
			t.Fatal(err)
		}
		got, want := summed(rows, by), summed(parts, by)
		if len(got) != len(rows) || !maps.Equal(got, want) {
			t.Errorf("by %v: got\n%+v\nwant the sums\n%+v", by, got, want)
		}
	}
}

// summed adds up rows by some dimensions.
func summed(rows []UsageRow, by []Dimension) map[UsageRow]Usage {
	sums := make(map[UsageRow]Usage)
	for _, row := range rows {
		var key UsageRow
		for d, text := range map[Dimension][2]*string{
			ByDay: {&key.Day, &row.Day}, ByProvider: {&key.Provider, &row.Provider},
			ByModel: {&key.Model, &row.Model}, ByIssuer: {&key.Issuer, &row.Issuer},
		} {
			if slices.Contains(by, d) {
				*text[0] = *text[1]
			}
		}
		sum := sums[key]
		sum.add(row.Usage)
		sums[key] = sum
	}
	return sums
}

// Another report may be writing what was observed.
func contractUsageReportSeesWhatWasObservedBefore(t *testing.T, k kind) {
	s := k.openNew(t)
	tok := newToken("a")
	admit(t, s, tok)
	for n := range int64(20) {
		s.Observe(tok, "m", Usage{Calls: 1})
		var reports sync.WaitGroup
		for range 4 {
			reports.Go(func() {
				rows, err := s.UsageReport(t.Context(), UsageFilter{By: []Dimension{ByModel}})
				if err != nil || len(rows) != 1 || rows[0].Calls != n+1 {
					t.Errorf("after %d calls, the report is %q, %v", n+1, rowsText(rows), err)
				}
			})
		}
		reports.Wait()
	}
}

func rowsText(rows []UsageRow) string {
	var all []string
	for _, r := range rows {
		names := []string{r.Day, r.Provider, r.Model, r.Issuer, r.Subject, r.Token}
		for i := range names {
			names[i] = cmp.Or(names[i], "-")
		}
		all = append(all, fmt.Sprintf("%s=%d/%d", strings.Join(names, " "), r.Calls, r.Cost))
	}
	return strings.Join(all, ", ")
}

func contractObserveBoundsTheNameOfAModel(t *testing.T, k kind) {
	s := k.openNew(t)
	tok := newToken("a")
	admit(t, s, tok)
	s.Observe(tok, strings.Repeat("m", maxModel), Usage{Calls: 1})
	s.Observe(tok, strings.Repeat("m", maxModel+1), Usage{Calls: 1})
	rows, err := s.UsageReport(t.Context(), UsageFilter{By: []Dimension{ByModel}})
	if err != nil || len(rows) != 2 || rows[1].Model != otherModel {
		t.Errorf("got %+v, %v; want a long name and %q", rows, err, otherModel)
	}
}

// After two months, rows lose their token and keep everything else.
func contractPruneMergesUsageOverTokens(t *testing.T, k kind) {
	c := new(clock)
	s, err := k.open(t.Context(), k.place(t), c.now)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	observeAll(t, s, c)
	every := UsageFilter{By: slices.Clone(Dimensions[:])}
	report := func() string {
		t.Helper()
		rows, err := s.UsageReport(t.Context(), every)
		if err != nil {
			t.Fatal(err)
		}
		return rowsText(rows)
	}
	before := report()

	prune := func(days int) {
		t.Helper()
		if _, err := s.Prune(t.Context(), noon.AddDate(0, 0, days)); err != nil {
			t.Fatal(err)
		}
	}
	prune(detailDays - 1)
	if got := report(); got != before {
		t.Errorf("pruned too early: got %s\nwant %s", got, before)
	}
	for range 2 { // the second finds nothing to merge
		prune(detailDays + 2)
		want := "2030-06-01 gemini large acme bob -=1/10, 2030-06-01 gemini small acme bob -=1/10, " +
			"2030-06-01 openai large acme alice -=2/20, 2030-06-01 openai large acme bob -=1/10, " +
			"2030-06-01 openai small acme alice -=2/20, 2030-06-01 openai small acme bob -=1/10, " +
			"2030-06-02 gemini large acme bob -=1/5, 2030-06-02 gemini small acme bob -=1/5, " +
			"2030-06-02 openai large acme alice -=2/10, 2030-06-02 openai large acme bob -=1/5, " +
			"2030-06-02 openai small acme alice -=2/10, 2030-06-02 openai small acme bob -=1/5"
		if got := report(); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
		wantSums(t, s)
	}
}

func contractLimitsHaveAVersion(t *testing.T, k kind) {
	path := k.place(t)
	s := k.openAt(t, path)
	calls := Limit{Scope: ScopeSubject, Unit: UnitCalls, Per: "day", Amount: 3}
	money := Limit{Scope: ScopeSubject, Unit: UnitNanoUSD, Per: "day", Amount: 4}
	last := s.Limits()
	changed := func(want ...Limit) {
		t.Helper()
		got := s.Limits()
		if got.Version <= last.Version || !slices.Equal(got.Limits, want) {
			t.Errorf("got %+v after version %d, want %+v", got, last.Version, want)
		}
		last = got
	}
	set := func(l Limit) {
		t.Helper()
		if err := s.SetLimit(t.Context(), l); err != nil {
			t.Fatal(err)
		}
	}

	set(calls)
	changed(calls)
	set(money)
	changed(calls, money)
	calls.Amount = 5
	set(calls)
	changed(money, calls)
	if s = k.reopen(t, s, path); !slices.Equal(s.Limits().Limits, []Limit{calls, money}) {
		t.Errorf("reopened: got %+v", s.Limits())
	}
	last = s.Limits()
	if err := s.RemoveLimit(t.Context(), calls); err != nil {
		t.Fatal(err)
	}
	changed(money)
	if err := s.SetLimit(t.Context(), Limit{Scope: ScopeSubject}); err == nil || !strings.Contains(err.Error(), "unit") {
		t.Errorf("a limit without a unit: %v", err)
	}
}
