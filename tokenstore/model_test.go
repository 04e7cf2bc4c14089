package tokenstore

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// ledger is what a store should be: three maps, and nothing that can fail.
type ledger struct {
	used    map[Counter]int64
	prints  map[string]byte
	expires map[string]time.Time
}

// admit tells what a store should answer, and does it.
func (l *ledger) admit(t *Token, charges []Charge) (exhausted Counter, want error) {
	if print, ok := l.prints[t.ID]; ok && print != t.Fingerprint[0] {
		return exhausted, ErrConflict
	}
	taken := map[Counter]int64{}
	for _, c := range charges {
		if l.used[c.Counter]+taken[c.Counter] > c.Limit-c.Amount {
			return c.Counter, ErrExhausted
		}
		taken[c.Counter] += c.Amount
	}
	for c, n := range taken {
		l.used[c] += n
	}
	l.prints[t.ID] = t.Fingerprint[0]
	if t.ExpiresAt.After(l.expires[t.ID]) {
		l.expires[t.ID] = t.ExpiresAt
	}
	return exhausted, nil
}

func (l *ledger) settle(charges []Charge) {
	for _, c := range charges {
		if n, ok := l.used[c.Counter]; ok {
			l.used[c.Counter] = max(0, n-c.Amount)
		}
	}
}

var (
	someCounter = rapid.Custom(func(t *rapid.T) Counter {
		return Counter{
			Scope:  rapid.SampledFrom([]Scope{ScopeToken, ScopeSubject, ScopeIssuer}).Draw(t, "scope"),
			ID:     rapid.SampledFrom([]string{"acme/a", "acme/b"}).Draw(t, "id"),
			Unit:   rapid.SampledFrom([]Unit{UnitCalls, UnitTokens}).Draw(t, "unit"),
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
	someToken = rapid.Custom(func(t *rapid.T) *Token {
		tok := newToken(rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "id"))
		tok.Fingerprint = [32]byte{byte(rapid.SampledFrom([]int{1, 1, 1, 2}).Draw(t, "fingerprint"))}
		tok.ExpiresAt = noon.Add(time.Duration(rapid.IntRange(1, 5).Draw(t, "hours")) * time.Hour)
		return tok
	})
)

func TestStoreDoesWhatTheModelDoes(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		ctx := context.Background()
		sub, err := os.MkdirTemp(dir, "")
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(sub, "relay.db")
		s, err := openSQLite(ctx, path, atNoon)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { s.Close() }()
		model := &ledger{map[Counter]int64{}, map[string]byte{}, map[string]time.Time{}}
		t.Repeat(map[string]func(*rapid.T){
			"admit": func(t *rapid.T) {
				tok, charges := someToken.Draw(t, "token"), someCharges.Draw(t, "charges")
				counter, want := model.admit(tok, charges)
				got := s.Admit(ctx, tok, charges)
				if !errors.Is(got, want) {
					t.Fatalf("Admit: %v, want %v", got, want)
				}
				var exhausted *ExhaustedError
				if errors.As(got, &exhausted) && exhausted.Counter != counter {
					t.Fatalf("exhausted %v, want %v", exhausted.Counter, counter)
				}
			},
			"settle": func(t *rapid.T) {
				charges := someCharges.Draw(t, "charges")
				model.settle(charges)
				if err := s.Settle(ctx, charges); err != nil {
					t.Fatal(err)
				}
			},
			"forget": func(t *rapid.T) { s.known.cache.Purge() },
			"reopen": func(t *rapid.T) {
				if rapid.IntRange(0, 9).Draw(t, "seldom") > 0 {
					t.Skip() // it takes as long as a hundred of the others
				}
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				if s, err = openSQLite(ctx, path, atNoon); err != nil {
					t.Fatal(err)
				}
			},
			"": func(t *rapid.T) { model.compare(t, s) },
		})
	})
}

// compare looks at all rows, so that it also finds what should not be there.
func (l *ledger) compare(t *rapid.T, s *SQLite) {
	for c, want := range l.used {
		if got, err := s.Used(context.Background(), c); err != nil || got != want {
			t.Fatalf("used %d, %v of %v, want %d", got, err, c, want)
		}
	}
	var counters, tokens int
	err := s.db.QueryRow(`SELECT (SELECT count(*) FROM counters), (SELECT count(*) FROM tokens)`).Scan(&counters, &tokens)
	if err != nil || counters != len(l.used) || tokens != len(l.prints) {
		t.Fatalf("%d counters and %d tokens, %v; want %d and %d", counters, tokens, err, len(l.used), len(l.prints))
	}
	for id, want := range l.expires {
		var got int64
		if err := s.db.QueryRow(`SELECT expires_at FROM tokens WHERE id = ?`, id).Scan(&got); err != nil || got != want.Unix() {
			t.Fatalf("%s expires at %d, %v; want %d", id, got, err, want.Unix())
		}
	}
}
