package tokenstore

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// warnings lists what was raised, as "threshold/limit@used".
func warnings(t testing.TB, s *Ledger) string {
	t.Helper()
	s.flush()
	s.raiseDue()
	rows, err := raw(s).Query(`SELECT threshold, amount, used FROM warnings ORDER BY window_start, amount, threshold`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var all []string
	for rows.Next() {
		var threshold, limit, used int64
		if err := rows.Scan(&threshold, &limit, &used); err != nil {
			t.Fatal(err)
		}
		all = append(all, fmt.Sprintf("%d/%d@%d", threshold, limit, used))
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return strings.Join(all, " ")
}

func wantWarnings(t testing.TB, s *Ledger, when, want string) {
	t.Helper()
	if got := warnings(t, s); got != want {
		t.Errorf("%s: raised %q, want %q", when, got, want)
	}
}

// refused admits a call that must be refused for good.
func refused(t testing.TB, s *Ledger, tok *Token, charges ...Charge) {
	t.Helper()
	var used *ExhaustedError
	if err := s.charge(t.Context(), tok, charges); !errors.As(err, &used) {
		t.Fatalf("Admit: %v, want it to be refused", err)
	}
	s.Refused(used)
}

func settle(t testing.TB, s *Ledger, c Charge, used int64) {
	t.Helper()
	if err := s.Settle([]Charge{c}, Amounts{Calls: used, Tokens: used, NanoUSD: used}); err != nil {
		t.Fatal(err)
	}
}

func contractWarningsAreRaisedOnce(t *testing.T, k kind) {
	path := k.place(t)
	s := k.openAt(t, path)
	tok := newToken("a")
	call := tok.calls(1, 10)
	for range 7 {
		admit(t, s, tok, call)
	}
	wantWarnings(t, s, "after 7 calls of 10", "")
	admit(t, s, tok, call)
	wantWarnings(t, s, "after 8", "80/10@8")
	admit(t, s, tok, call)
	settle(t, s, call, 0) // the provider was not reached
	admit(t, s, tok, call)
	wantWarnings(t, s, "after 9", "80/10@8")
	admit(t, s, tok, call)
	wantWarnings(t, s, "after 10", "80/10@8 100/10@10")
	refused(t, s, tok, call)

	s = k.reopen(t, s, path)
	refused(t, s, tok, call)
	wantWarnings(t, s, "in another process", "80/10@8 100/10@10")

	higher := tok.calls(1, 20)
	for range 5 {
		admit(t, s, tok, higher)
	}
	wantWarnings(t, s, "after 15 of 20", "80/10@8 100/10@10")
	admit(t, s, tok, higher)
	wantWarnings(t, s, "after 16 of 20", "80/10@8 100/10@10 80/20@16")
	refused(t, s, tok, tok.calls(1, 16)) // the limit was lowered
	wantWarnings(t, s, "under a lower limit", "80/10@8 100/10@10 80/16@16 100/16@16 80/20@16")

	for i := range 2 {
		daily := call
		daily.Counter.Window = noon.AddDate(0, 0, i)
		daily.Amount = 9
		admit(t, s, tok, daily)
	}
	wantWarnings(t, s, "on two days", "80/10@8 100/10@10 80/16@16 100/16@16 80/20@16 80/10@9 80/10@9")
	refused(t, s, newToken("b"), newToken("b").calls(1, 0))
	if n := s.writer.alarms.seen.Len(); n != 7 {
		t.Errorf("%d warnings were due, want 7 and none for a limit of 0", n)
	}
}

func contractWarningsLeaveOutLeases(t *testing.T, k kind) {
	s := k.openNew(t)
	tok := newToken("a")
	call := tok.calls(1, 1000)
	for range 799 {
		admit(t, s, tok, call)
	}
	wantWarnings(t, s, "after 799 calls of 1000", "")
	durable, err := s.db.used(call.Counter)
	if err != nil || durable < 800 {
		t.Fatalf("%d durable, %v; want some leased ahead", durable, err)
	}
	admit(t, s, tok, call)
	wantWarnings(t, s, "after 800", "80/1000@800")
}

func contractWarningsLeaveOutReservations(t *testing.T, k kind) {
	s := k.openNew(t)
	tok := newToken("a")
	first, second := subjectTokens(900, 1000), subjectTokens(400, 1000)
	admit(t, s, tok, first)
	wantWarnings(t, s, "with 900 of 1000 reserved", "")
	settle(t, s, first, 500)
	wantWarnings(t, s, "with 500 spent", "")
	admit(t, s, tok, second)
	wantWarnings(t, s, "with 400 more reserved", "")
	settle(t, s, second, 299)
	wantWarnings(t, s, "with 799 spent", "")

	exact := subjectTokens(1, 1000)
	admit(t, s, tok, exact)
	wantWarnings(t, s, "with 1 more reserved", "")
	settle(t, s, exact, 1) // what was reserved is spent
	wantWarnings(t, s, "with 800 spent", "80/1000@800")

	last := subjectTokens(100, 1000)
	admit(t, s, tok, last)
	settle(t, s, last, 250) // an overrun
	wantWarnings(t, s, "with 1050 spent", "80/1000@800 100/1000@1050")
}

// What is left of a budget may be too little for any call.
func contractWarningsOfARefusal(t *testing.T, k kind) {
	s := k.openNew(t)
	tok := newToken("a")
	refused(t, s, tok, subjectTokens(1001, 1000))
	first, second := subjectTokens(790, 1000), subjectTokens(100, 1000)
	admit(t, s, tok, first)
	settle(t, s, first, 790)
	refused(t, s, tok, subjectTokens(300, 1000))
	wantWarnings(t, s, "with 790 of 1000 spent, and 300 refused", "")

	admit(t, s, tok, second)
	settle(t, s, second, 60)
	admit(t, s, tok, second)
	refused(t, s, tok, subjectTokens(100, 1000))
	wantWarnings(t, s, "with 850 spent, 100 reserved, and 100 refused", "80/1000@850")
	settle(t, s, second, 10)
	wantWarnings(t, s, "with 860 spent", "80/1000@850")
	refused(t, s, tok, subjectTokens(150, 1000))
	wantWarnings(t, s, "with 860 spent, nothing reserved, and 150 refused", "80/1000@850 100/1000@860")
}

func contractWarningsWaitUntilTheyAreDelivered(t *testing.T, k kind) {
	path := k.place(t)
	s := k.openAt(t, path)
	tok := newToken("a")
	day := tok.calls(10, 10)
	day.Counter.Window = noon
	admit(t, s, tok, day)
	warnings(t, s)
	select {
	case <-s.WarningsRaised():
	case <-time.After(5 * time.Second):
		t.Error("nobody was told")
	}

	claim := func(n int, lasts time.Duration) []Warning {
		t.Helper()
		got, err := s.ClaimWarnings(t.Context(), n, lasts)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	done := func(w Warning, next time.Time) {
		t.Helper()
		if err := s.SettleWarning(w, next); err != nil {
			t.Fatal(err)
		}
	}
	want := Warning{Counter: day.Counter, Limit: 10, Threshold: 80, Used: 10, RaisedAt: noon}
	first := claim(1, 0) // a claim that ends at once
	if !slices.Equal(first, []Warning{want}) {
		t.Fatalf("claimed %+v, want %+v", first, want)
	}
	second := claim(9, time.Minute)
	if len(second) != 2 || second[0] != want || second[1].Threshold != 100 {
		t.Fatalf("claimed %+v, want both", second)
	}
	if got := claim(9, time.Minute); len(got) > 0 {
		t.Errorf("claimed %+v twice", got)
	}
	if a, b := second[0].ID(), second[1].ID(); a == b || a != first[0].ID() {
		t.Errorf("the identifiers are %s and %s, and before %s", a, b, first[0].ID())
	}
	done(second[0], noon)        // it is to be tried again
	done(second[1], time.Time{}) // it is delivered
	done(second[0], time.Time{}) // by somebody whose claim has ended

	s = k.reopen(t, s, path)
	want.Attempts = 1
	if got := claim(9, time.Minute); !slices.Equal(got, []Warning{want}) {
		t.Errorf("claimed %+v, want %+v", got, want)
	}

	s = k.reopen(t, s, path)
	alone := k.name == onSQLite.name // whoever claimed it is gone
	if got := claim(9, time.Minute); (len(got) == 1) != alone {
		t.Errorf("claimed %+v after the claimant has ended, want one on SQLite only", got)
	}
}

func contractWarningsArePruned(t *testing.T, k kind) {
	s := k.openNew(t)
	tok := newToken("a")
	subject := subjectTokens(1, 1)
	past, recent := subject, subject
	past.Counter.Window, recent.Counter.Window = noon.AddDate(0, 0, -detailDays-1), noon
	for _, c := range []Charge{tok.calls(2, 2), subject, past, recent} {
		admit(t, s, tok, c)
		settle(t, s, c, c.Amount)
	}
	wantWarnings(t, s, "before", "80/1@1 100/1@1 80/2@2 100/2@2 80/1@1 100/1@1 80/1@1 100/1@1")
	if _, err := s.Prune(t.Context(), tok.ExpiresAt.Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	wantWarnings(t, s, "after", "80/1@1 100/1@1 80/1@1 100/1@1")
}

// A limit that refuses all calls for a minute is reached, whatever is reserved.
func TestWarnings_OfALimitThatRefusesForLong(t *testing.T) {
	l, _, c := newFake(t)
	tok := newToken("a")
	budget := func(n int64) Charge { return subjectTokens(n, 1000) }
	each(t, l, tok, budget(900))
	settle(t, l, budget(900), 900)
	each(t, l, tok, budget(60)) // a long stream
	for _, tt := range []struct {
		after time.Duration
		want  int
	}{{0, 1}, {refusedFor - time.Second, 1}, {time.Second, 2}} {
		c.advance(tt.after)
		refused(t, l, tok, budget(60))
		if n := l.writer.alarms.seen.Len(); n != tt.want {
			t.Errorf("%v later %d warnings are due, want %d", tt.after, n, tt.want)
		}
	}
}

// A warning that cannot be made durable is kept.
func TestWarnings_AreRaisedAgainAfterAFailure(t *testing.T) {
	s := openNew(t)
	tok := newToken("a")
	admit(t, s, tok, tok.calls(1, 5))
	if _, err := raw(s).Exec(`ALTER TABLE warnings RENAME TO gone`); err != nil {
		t.Fatal(err)
	}
	admit(t, s, tok, tok.calls(3, 5))
	s.raiseDue()
	if _, err := raw(s).Exec(`ALTER TABLE gone RENAME TO warnings`); err != nil {
		t.Fatal(err)
	}
	wantWarnings(t, s, "after the failure", "80/5@4")
}

// What one process holds is not spent for another, and one of them warns.
func TestWarnings_OfSeveralProcesses(t *testing.T) {
	path := onPostgres.place(t)
	a, b := onPostgres.openAt(t, path), onPostgres.openAt(t, path)
	tok := newToken("a")
	held, spent, small := subjectTokens(200, 1000), subjectTokens(750, 1000), subjectTokens(1, 1000)
	admit(t, b, tok, held)
	admit(t, a, tok, spent)
	settle(t, a, spent, 750)
	wantWarnings(t, a, "with 750 of 1000 spent, and 200 reserved elsewhere", "")
	if durable, err := a.db.used(held.Counter); err != nil || durable < 950 {
		t.Fatalf("%d durable, %v; want the reservation in it", durable, err)
	}

	settle(t, b, held, 45)
	sweepAll(b, noon)
	wantWarnings(t, b, "with 795 spent", "")
	for _, l := range []*Ledger{a, b} {
		for range 5 {
			admit(t, l, tok, small)
			settle(t, l, small, 1)
		}
		sweepAll(l, noon)
		l.flush()
	}
	got := warnings(t, b)
	if !strings.HasPrefix(got, "80/1000@80") {
		t.Errorf("with 805 spent: raised %q, want the warning at 80 %%", got)
	}
	sweepAll(a, noon)
	wantWarnings(t, a, "in the other process", got)

	// Both claim at once.
	claims := make(chan int, 2)
	for _, l := range []*Ledger{a, b} {
		go func() {
			got, err := l.ClaimWarnings(t.Context(), 9, time.Minute)
			if err != nil {
				t.Error(err)
			}
			claims <- len(got)
		}()
	}
	if n := <-claims + <-claims; n != 1 {
		t.Errorf("%d warnings were claimed, want one", n)
	}

	// A process that ends leaves nothing behind that would count as held.
	if err := errors.Join(a.Close(), b.Close()); err != nil {
		t.Fatal(err)
	}
	c := onPostgres.openAt(t, path)
	if n, err := c.db.(*postgresDB).number(`SELECT unspent FROM counters WHERE scope = 'subject'`); err != nil || n != 0 {
		t.Errorf("%d units are unspent, %v; want none", n, err)
	}
}
