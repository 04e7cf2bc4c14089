package tokenstore

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// model is what a ledger should be: maps, and nothing that can fail.
type model struct {
	used    map[Counter]int64
	prints  map[string]byte
	expires map[string]time.Time
	open    [][]Charge // admitted and not given back
}

// admit tells what a ledger should answer, and does it: which counters have
// not enough left, or what else is wrong.
func (m *model) admit(t *Token, charges []Charge) (exhausted map[Counter]bool, want error) {
	if print, ok := m.prints[t.ID]; ok && print != t.Fingerprint[0] {
		return nil, ErrConflict
	}
	m.prints[t.ID] = t.Fingerprint[0]
	if t.ExpiresAt.After(m.expires[t.ID]) {
		m.expires[t.ID] = t.ExpiresAt
	}
	amount, limit := map[Counter]int64{}, map[Counter]int64{}
	for _, c := range charges {
		if _, ok := limit[c.Counter]; !ok {
			limit[c.Counter] = c.Limit
		}
		amount[c.Counter] += c.Amount
		limit[c.Counter] = min(limit[c.Counter], c.Limit)
	}
	exhausted = map[Counter]bool{}
	for c, n := range amount {
		if m.used[c] > limit[c]-n {
			exhausted[c] = true
		}
	}
	if len(exhausted) > 0 {
		return exhausted, ErrExhausted
	}
	for c, n := range amount {
		m.used[c] += n
	}
	m.open = append(m.open, charges)
	return nil, nil
}

// settle settles one of the admitted calls.
func (m *model) settle(i int, used Amounts) []Charge {
	charges := m.open[i]
	m.open = slices.Delete(m.open, i, i+1)
	for _, c := range charges {
		m.used[c.Counter] += used.Of(c.Counter.Unit) - c.Amount
	}
	return charges
}

var (
	someCounter = rapid.Custom(func(t *rapid.T) Counter {
		return Counter{
			Scope:  rapid.SampledFrom([]Scope{ScopeToken, ScopeSubject, ScopeIssuer}).Draw(t, "scope"),
			ID:     rapid.SampledFrom([]string{"acme/a", "acme/b"}).Draw(t, "id"),
			Unit:   rapid.SampledFrom(Units[:]).Draw(t, "unit"),
			Window: rapid.SampledFrom([]time.Time{{}, noon}).Draw(t, "window"),
		}
	})
	someCharges = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Charge {
		top := rapid.SampledFrom([]int64{8, 1 << 53}).Draw(t, "magnitude")
		return Charge{
			Counter: someCounter.Draw(t, "counter"),
			Amount:  rapid.Int64Range(1, top).Draw(t, "amount"),
			Limit:   rapid.Int64Range(0, 2*top).Draw(t, "limit"),
		}
	}), 0, 4)
	someAmounts = rapid.Custom(func(t *rapid.T) Amounts {
		top := rapid.SampledFrom([]int64{8, 1 << 53}).Draw(t, "magnitude")
		amount := func(label string) int64 { return rapid.Int64Range(0, top).Draw(t, label) }
		return Amounts{Calls: amount("calls"), Tokens: amount("tokens"), NanoUSD: amount("nanousd")}
	})
	someToken = rapid.Custom(func(t *rapid.T) *Token {
		tok := newToken(rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "id"))
		tok.Fingerprint = [32]byte{byte(rapid.SampledFrom([]int{1, 1, 1, 2}).Draw(t, "fingerprint"))}
		tok.ExpiresAt = noon.Add(time.Duration(rapid.IntRange(1, 5).Draw(t, "hours")) * time.Hour)
		return tok
	})
)

func contractLedgerDoesWhatTheModelDoes(t *testing.T, k kind) {
	path := k.place(t)
	checks := 0
	rapid.Check(t, func(t *rapid.T) {
		most := 100
		if k.name == onPostgres.name {
			most /= 5 // each takes as long as five on SQLite
		}
		if testing.Short() {
			most /= 5
		}
		if checks++; checks > most && checks <= 100 {
			return // ask for more than 100 to have all
		}
		ctx := context.Background()
		s, err := k.open(ctx, path, atNoon)
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := errors.Join(s.Close(), k.empty(path)); err != nil {
				t.Fatal(err)
			}
		}()
		model := &model{map[Counter]int64{}, map[string]byte{}, map[string]time.Time{}, nil}
		t.Repeat(map[string]func(*rapid.T){
			"admit": func(t *rapid.T) {
				tok, charges := someToken.Draw(t, "token"), someCharges.Draw(t, "charges")
				short, want := model.admit(tok, charges)
				got := s.charge(ctx, tok, charges)
				conflict := want == ErrConflict && errors.Is(got, ErrExhausted) // whichever is found first
				if !errors.Is(got, want) && !conflict {
					t.Fatalf("Admit: %v, want %v", got, want)
				}
				var exhausted *ExhaustedError
				if errors.As(got, &exhausted) && !conflict && !short[exhausted.Counter] {
					t.Fatalf("exhausted %v, want one of %v", exhausted.Counter, short)
				}
			},
			"settle": func(t *rapid.T) {
				if len(model.open) == 0 {
					t.Skip()
				}
				var used Amounts // often less than was charged, and sometimes more
				if rapid.Bool().Draw(t, "served") {
					used = someAmounts.Draw(t, "used")
				}
				charges := model.settle(rapid.IntRange(0, len(model.open)-1).Draw(t, "which"), used)
				if err := s.Settle(charges, used); err != nil {
					t.Fatal(err)
				}
			},
			"sweep": func(t *rapid.T) {
				idle := rapid.SampledFrom([]time.Duration{idleAfter, forgetPast}).Draw(t, "idle")
				for i := range s.accounts {
					s.sweepShard(&s.accounts[i], noon.Add(idle))
				}
			},
			"forget": func(t *rapid.T) { s.known.forgetAll() },
			"reopen": func(t *rapid.T) {
				if rapid.IntRange(0, 9).Draw(t, "seldom") > 0 {
					t.Skip() // it takes as long as a hundred of the others
				}
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				if s, err = k.open(ctx, path, atNoon); err != nil {
					t.Fatal(err)
				}
			},
			"": func(t *rapid.T) { model.compare(t, s) },
		})
	})
}

// compare looks at every counter, and at what the database has of it: never
// less than was served.
func (m *model) compare(t *rapid.T, s *Ledger) {
	s.flush() // what is on its way back has arrived then
	for c, want := range m.used {
		if got, err := s.Used(context.Background(), c); err != nil || got != want {
			t.Fatalf("used %d, %v of %v, want %d", got, err, c, want)
		}
		if durable, err := s.db.used(c); err != nil || durable < want {
			t.Fatalf("%d durable, %v of %v, but %d served", durable, err, c, want)
		}
	}
	for id, want := range m.expires {
		var got int64
		if err := raw(s).QueryRow(`SELECT expires_at FROM tokens WHERE id = $1`, id).Scan(&got); err != nil || got != want.Unix() {
			t.Fatalf("%s expires at %d, %v; want %d", id, got, err, want.Unix())
		}
	}
}
