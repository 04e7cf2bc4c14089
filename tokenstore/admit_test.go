package tokenstore

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func contractLimitHoldsExactlyWhenCallsArriveTogether(t *testing.T, k kind) {
	for _, limit := range []int64{1, 3, 7, 100} {
		t.Run(fmt.Sprint(limit), func(t *testing.T) {
			t.Parallel()
			s := k.openNew(t)
			tok := newToken("a")
			var admitted atomic.Int64
			var wg sync.WaitGroup
			for range 50 {
				wg.Go(func() {
					for range 3 {
						err := s.charge(context.Background(), tok, []Charge{tok.calls(1, limit)})
						if err == nil {
							admitted.Add(1)
						} else if !errors.Is(err, ErrExhausted) {
							t.Error(err)
						}
					}
				})
			}
			wg.Wait()
			if admitted.Load() != limit {
				t.Errorf("admitted %d, want %d", admitted.Load(), limit)
			}
			wantUsed(t, s, TokenCounter("acme", "a"), limit)
		})
	}
}

func contractAdmitComparesWithTheLimitInForce(t *testing.T, k kind) {
	const top = math.MaxInt64
	tests := []struct {
		name          string
		before        int64 // used already, 0: no row yet
		amount, limit int64
		ok            bool
	}{
		{"first, fits exactly", 0, 5, 5, true},
		{"first, too much", 0, 6, 5, false},
		{"first, limit of zero", 0, 1, 0, false},
		{"later, fits exactly", 3, 2, 5, true},
		{"later, too much", 3, 3, 5, false},
		{"limit was lowered below what is used", 9, 1, 5, false},
		{"limit was raised", 5, 1, 6, true},
		{"amount beyond any limit", 3, top, 5, false},
		{"largest exact number", 1<<53 - 1, 1, 1 << 53, true},
		{"beyond the largest exact number", 1 << 53, 1, 1 << 53, false},
		{"no overflow at the top", top - 1, 1, top, true},
		{"no overflow past the top", top - 1, 2, top, false},
		{"no overflow from the top", top, top, top, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := k.openNew(t)
			tok := newToken("a")
			if tt.before > 0 {
				admit(t, s, tok, tok.calls(tt.before, top))
			}
			err := s.charge(context.Background(), tok, []Charge{tok.calls(tt.amount, tt.limit)})
			want := tt.before
			if tt.ok {
				want += tt.amount
			} else if !errors.Is(err, ErrExhausted) {
				t.Errorf("error %v, want ErrExhausted", err)
			}
			if tt.ok && err != nil {
				t.Error(err)
			}
			wantUsed(t, s, TokenCounter("acme", "a"), want)
		})
	}
}

func contractAdmitTakesAllChargesOrNone(t *testing.T, k kind) {
	s := k.openNew(t)
	tok := newToken("a")
	full := Charge{Counter: Counter{Scope: ScopeIssuer, ID: "acme", Unit: UnitNanoUSD}, Amount: 11, Limit: 10}
	charges := []Charge{tok.calls(1, 5), full, subjectTokens(10, 1000)}

	err := s.charge(context.Background(), tok, charges)
	var exhausted *ExhaustedError
	if !errors.As(err, &exhausted) || exhausted.Counter != full.Counter || exhausted.Limit != 10 {
		t.Fatalf("error %v, want the issuer's budget to be named", err)
	}
	for _, c := range charges {
		wantUsed(t, s, c.Counter, 0)
	}

	charges[1].Amount = 10
	admit(t, s, tok, charges...)
	wantUsed(t, s, charges[0].Counter, 1)
	wantUsed(t, s, charges[1].Counter, 10)
	wantUsed(t, s, charges[2].Counter, 10)
}

func contractAdmitNamesTheFirstExhaustedCounter(t *testing.T, k kind) {
	s := k.openNew(t)
	tok := newToken("a")
	err := s.charge(context.Background(), tok, []Charge{subjectTokens(2, 1), tok.calls(2, 1)})
	var exhausted *ExhaustedError
	if !errors.As(err, &exhausted) || exhausted.Counter.Scope != ScopeSubject {
		t.Fatalf("error %v, want the subject's counter to be named", err)
	}
	if want := `tokenstore: used up: subject "acme/user-1" has a limit of 1 tokens`; err.Error() != want {
		t.Errorf("message %q, want %q", err, want)
	}
}

func contractOneCounterChargedTwiceInOneCallCountsTwice(t *testing.T, k kind) {
	s := k.openNew(t)
	tok := newToken("a")
	wantRefused(t, s, ErrExhausted, tok, tok.calls(2, 3), tok.calls(2, 3))
	admit(t, s, tok, tok.calls(1, 3), tok.calls(2, 3))
	wantUsed(t, s, TokenCounter("acme", "a"), 3)
}

func contractEveryPartOfACounterTellsItFromOthers(t *testing.T, k kind) {
	s := k.openNew(t)
	tok := newToken("a")
	counters := []Counter{
		{ScopeToken, "acme/a", UnitCalls, time.Time{}},
		{ScopeSubject, "acme/a", UnitCalls, time.Time{}},
		{ScopeToken, "acme/b", UnitCalls, time.Time{}},
		{ScopeToken, "acme/a\u0308", UnitCalls, time.Time{}},
		{ScopeToken, "ACME/a", UnitCalls, time.Time{}},
		{ScopeToken, "acme/a", UnitTokens, time.Time{}},
		{ScopeToken, "acme/a", UnitCalls, noon},
		{ScopeToken, "acme/a", UnitCalls, noon.Add(time.Second)},
	}
	for i, c := range counters {
		admit(t, s, tok, Charge{c, int64(i) + 1, 100})
	}
	for i, c := range counters {
		wantUsed(t, s, c, int64(i)+1)
	}
	// The same moment in another zone is the same window.
	wantUsed(t, s, Counter{ScopeToken, "acme/a", UnitCalls, noon.In(time.FixedZone("", 3600))}, 7)
}

// What was given back can be used again, and is durable once the ledger closes.
func contractSettleGivesBack(t *testing.T, k kind) {
	path := k.place(t)
	s := k.openAt(t, path)
	tok := newToken("a")
	charges := []Charge{tok.calls(2, 3), subjectTokens(100, 100)}
	for range 3 {
		admit(t, s, tok, charges...)
		wantRefused(t, s, ErrExhausted, tok, charges...)
		if err := s.Settle(charges, Amounts{}); err != nil {
			t.Fatal(err)
		}
		wantUsed(t, s, charges[0].Counter, 0)
		wantUsed(t, s, charges[1].Counter, 0)
	}
	s = k.reopen(t, s, path)
	if durable, err := s.db.used(charges[0].Counter); err != nil || durable != 0 {
		t.Errorf("%d durable, %v", durable, err)
	}
}

func contractImpossibleChargesAreRefused(t *testing.T, k kind) {
	s := k.openNew(t)
	tok := newToken("a")
	window := func(at time.Time) Charge {
		c := tok.calls(1, 10)
		c.Counter.Window = at
		return c
	}
	for name, c := range map[string]Charge{
		"zero amount":       tok.calls(0, 10),
		"negative amount":   tok.calls(-1, 10),
		"negative limit":    tok.calls(1, -1),
		"split second":      window(noon.Add(time.Millisecond)),
		"window of 1970":    window(time.Unix(0, 0)),
		"window before all": window(time.Unix(-1, 0)),
	} {
		t.Run(name, func(t *testing.T) {
			wantRefused(t, s, ErrUnavailable, tok, tok.calls(1, 10), c)
			if c.Limit >= 0 {
				if err := s.Settle([]Charge{c}, Amounts{}); !errors.Is(err, ErrUnavailable) {
					t.Errorf("Settle: %v, want ErrUnavailable", err)
				}
			}
			wantUsed(t, s, TokenCounter("acme", "a"), 0)
		})
	}
}

func contractEndedContextAdmitsNothing(t *testing.T, k kind) {
	s := k.openNew(t)
	tok := newToken("a")
	ctx, cancel := context.WithCancel(context.Background())

	release := block(t, s) // somebody else is writing
	refused := make(chan error)
	go func() { refused <- s.charge(ctx, tok, []Charge{tok.calls(1, 10)}) }()
	cancel()
	err := <-refused
	release()
	if !errors.Is(err, ErrUnavailable) || !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want ErrUnavailable and its cause", err)
	}
	wantUsed(t, s, TokenCounter("acme", "a"), 0)
}

// Used does not count units that are on their way back to the database.
func contractUsedLeavesOutQueuedReturns(t *testing.T, k kind) {
	s := k.openAt(t, k.place(t))
	tok := newToken("returning")
	charges, err := s.Admit(t.Context(), tok, Amounts{}, []Charge{tok.calls(100, 1000)})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Settle(charges, Amounts{Calls: 1}); err != nil {
		t.Fatal(err)
	}

	a := s.lock(charges[0].Counter)
	s.writer.mu.Lock() // the return is queued, and nobody has woken the writer
	s.writer.returns = append(s.writer.returns, Charge{Counter: a.counter, Amount: a.lease})
	a.lease = 0
	s.writer.mu.Unlock()
	a.mu.Unlock()
	if used, err := s.Used(t.Context(), charges[0].Counter); err != nil || used != 1 {
		t.Errorf("used %d, %v; want 1", used, err)
	}
}
