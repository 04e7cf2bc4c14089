package tokenstore

import (
	"errors"
	"fmt"
	"testing"
)

// dear is what a call reserves of a budget: half a cent.
const dear = 5_000_000

func (t *Token) money(amount, limit int64) Charge {
	return Charge{Counter: tokenCounter(t.Issuer, t.ID, UnitNanoUSD), Amount: amount, Limit: limit}
}

func TestLease_IsSizedToTheAmountOfACall(t *testing.T) {
	for _, tt := range []struct{ limit, ahead int64 }{
		{1e6 * dear, 64 * dear},   // 64 calls
		{5_000 * dear, 50 * dear}, // a hundredth of the limit
		{100 * dear, dear},
		{99 * dear, 0}, // less than a call is not worth a lease
		{10 * dear, 0},
	} {
		t.Run(fmt.Sprint(tt.limit), func(t *testing.T) {
			l, f, _ := newFake(t)
			tok := newToken("a")
			const calls = 500
			for served := int64(1); served <= min(calls, tt.limit/dear); served++ {
				each(t, l, tok, tok.money(dear, tt.limit))
				lease, ahead := leased(l, tok.money(1, 1).Counter)
				remaining := tt.limit - served*dear
				if ahead != tt.ahead || lease > min(tt.ahead, (remaining+lease)/8) {
					t.Fatalf("call %d: %d leased, %d to go ahead; want at most %d", served, lease, ahead, tt.ahead)
				}
			}
			if n := f.count(); tt.limit == 1e6*dear && n > calls/(maxAhead/2)+10 {
				t.Errorf("%d commits for %d calls", n, calls)
			}
		})
	}
}

// Most of a reservation comes back. A crash must not lose much more than a call.
func TestRefund_KeepsTheAmountOfACall(t *testing.T) {
	l, f, _ := newFake(t)
	tok := newToken("a")
	const limit = 20 * dear
	for range 5 {
		each(t, l, tok, tok.money(dear, limit))
	}
	for range 5 {
		if err := l.Settle([]Charge{tok.money(dear, limit)}, Amounts{NanoUSD: 1_000}); err != nil {
			t.Fatal(err)
		}
	}
	l.flush()

	lease, _ := leased(l, tok.money(1, 1).Counter)
	if durable := f.durable(tok.money(1, 1).Counter); lease > dear || durable-lease != 5_000 {
		t.Errorf("%d durable, %d leased; want at most %d leased and 5000 used", durable, lease, dear)
	}
}

func contractSettleRefundsAPart(t *testing.T, k kind) {
	s := k.openNew(t)
	tok := newToken("a")
	charges := []Charge{tok.calls(1, 10), tok.money(dear, 2*dear), subjectTokens(900, 1_000)}
	admit(t, s, tok, charges...)
	if err := s.Settle(charges, Amounts{Calls: 1, NanoUSD: 70, Tokens: 30}); err != nil {
		t.Fatal(err)
	}
	for i, want := range []int64{1, 70, 30} {
		wantUsed(t, s, charges[i].Counter, want)
	}
	if err := s.Settle(charges, Amounts{Calls: -1}); !errors.Is(err, ErrUnavailable) {
		t.Errorf("a negative amount is settled: %v", err)
	}
}

// What a call used beyond its reservation is charged, past the limit.
func contractOverrunIsChargedPastTheLimit(t *testing.T, k kind) {
	path := k.place(t)
	s := k.openAt(t, path)
	tok := newToken("a")
	charges := []Charge{tok.money(80, 100), tok.calls(1, 10)}
	admit(t, s, tok, charges...)
	if err := s.Settle(charges, Amounts{Calls: 1, NanoUSD: 130}); err != nil {
		t.Fatal(err)
	}
	wantUsed(t, s, charges[0].Counter, 130)
	wantUsed(t, s, charges[1].Counter, 1)
	wantRefused(t, s, ErrExhausted, tok, tok.money(1, 130))
	admit(t, s, tok, tok.money(1, 131))

	s = k.reopen(t, s, path)
	if durable, err := s.db.used(charges[0].Counter); err != nil || durable != 131 {
		t.Errorf("got %d durable, %v; want 131", durable, err)
	}
}

// While an overrun is owed nothing is admitted, and it is owed until a commit succeeds.
func TestOverrun_IsOwedUntilItIsDurable(t *testing.T) {
	for name, end := range map[string]func(*testing.T, *Ledger, *clock){
		"the next sweep": func(_ *testing.T, l *Ledger, c *clock) {
			sweepAll(l, c.now().Add(forgetPast))
			l.flush()
		},
		"the next call": func(t *testing.T, l *Ledger, c *clock) {
			tok := newToken("a")
			wantRefused(t, l, ErrExhausted, tok, tok.money(1, 100))
		},
		"closing": func(t *testing.T, l *Ledger, _ *clock) {
			if err := l.Close(); err != nil {
				t.Error(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			l, f, c := newFake(t)
			tok := newToken("a")
			each(t, l, tok, tok.money(80, 100))
			f.hooks(always(errDisk), nil)
			if err := l.Settle([]Charge{tok.money(80, 100)}, Amounts{NanoUSD: 150}); err != nil {
				t.Fatal(err)
			}
			l.flush()
			wantRefused(t, l, ErrUnavailable, tok, tok.money(1, 1_000))
			if lease, _ := leased(l, tok.money(1, 1).Counter); lease != -70 || f.durable(tok.money(1, 1).Counter) != 80 {
				t.Fatalf("%d leased, %d durable; want 70 owed and 80 durable", lease, f.durable(tok.money(1, 1).Counter))
			}

			f.hooks(nil, nil)
			c.advance(believeFor)
			end(t, l, c)
			if n := f.durable(tok.money(1, 1).Counter); n != 150 {
				t.Errorf("%d durable, want 150", n)
			}
		})
	}
}

// An overrun that a lease covers needs no more than that.
func TestOverrun_IsTakenFromTheLease(t *testing.T) {
	l, f, _ := newFake(t)
	tok := newToken("a")
	const limit = 1e6 * dear
	for range 3 {
		each(t, l, tok, tok.money(dear, limit))
	}
	before, commits := f.durable(tok.money(1, 1).Counter), f.count()
	if err := l.Settle([]Charge{tok.money(dear, limit)}, Amounts{NanoUSD: 2 * dear}); err != nil {
		t.Fatal(err)
	}
	l.flush()
	if n := f.durable(tok.money(1, 1).Counter); n != before || f.count() != commits {
		t.Errorf("%d durable after %d commits, want %d after none", n, f.count()-commits, before)
	}
	wantUsed(t, l, tok.money(1, 1).Counter, 4*dear)
}

func TestOverrun_SurvivesALowerLimit(t *testing.T) {
	l, f, c := newFake(t)
	tok := newToken("a")
	each(t, l, tok, tok.money(80, 100))
	hook, reached, open := gate()
	defer open()
	f.hooks(nil, hook)
	if err := l.Settle([]Charge{tok.money(80, 100)}, Amounts{NanoUSD: 150}); err != nil {
		t.Fatal(err)
	}
	<-reached
	c.advance(believeFor)
	lower := start(l, tok, tok.money(1, 50)) // the limit is lowered during the commit
	waiting(t, l, tok.money(1, 1).Counter, 1)
	open()
	if err := <-lower; !errors.Is(err, ErrExhausted) {
		t.Errorf("under a lower limit: %v", err)
	}
	f.hooks(nil, nil)
	wantUsed(t, l, tok.money(1, 1).Counter, 150)
}
