package tokenstore

import (
	"context"
	"fmt"
	"testing"
	"time"
)

func BenchmarkAdmit(b *testing.B) {
	ctx := context.Background()
	tok := newToken("a")
	one := []Charge{tok.calls(1, 1<<53)}
	for _, bb := range []struct {
		name    string
		charges []Charge
	}{
		{"unlimited", nil},
		{"one charge", one},
		{"three charges", append(one, subjectTokens(100, 1<<53),
			Charge{Counter{Scope: ScopeIssuer, ID: "acme", Unit: UnitNanoUSD}, 10, 1 << 53})},
	} {
		for _, k := range kinds {
			b.Run(bb.name+"/"+k.name, func(b *testing.B) {
				s := k.openNew(b)
				admit(b, s, tok)
				b.ReportAllocs()
				for b.Loop() {
					if err := s.charge(ctx, tok, bb.charges); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
	b.Run("one charge, in parallel", func(b *testing.B) {
		s := openNew(b)
		admit(b, s, tok)
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if err := s.charge(ctx, tok, one); err != nil {
					b.Error(err)
					return
				}
			}
		})
	})
}

// BenchmarkTokens is what it costs to list tokens by what few of many are.
func BenchmarkTokens(b *testing.B) {
	const tokens = 100_000
	for _, k := range kinds {
		s := k.openNew(b)
		fillTokens(b, s, tokens)
		for _, id := range []string{"t000007", "t050000", "t099999"} {
			if err := s.Revoke(b.Context(), Revocation{Scope: ScopeToken, Issuer: "acme", ID: id, Before: noon.Add(time.Hour)}); err != nil {
				b.Fatal(err)
			}
		}
		for name, f := range map[string]Filter{
			"all":       {},
			"revoked":   {Status: Revoked},
			"disabled":  {Status: Disabled},
			"expired":   {Status: Expired},
			"active":    {Status: Active},
			"exhausted": {Status: Exhausted},
			"subject":   {Subject: "user-7"},
			"provider":  {Provider: "none"},
		} {
			b.Run(name+"/"+k.name, func(b *testing.B) {
				for b.Loop() {
					if _, err := s.Tokens(b.Context(), f); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// fillTokens makes tokens known that nobody used.
func fillTokens(tb testing.TB, s *Ledger, n int) {
	tb.Helper()
	tx, err := raw(s).Begin()
	if err != nil {
		tb.Fatal(err)
	}
	for i := range n {
		t := newToken(fmt.Sprintf("t%06d", i))
		_, err := tx.Exec(`INSERT INTO tokens (issuer, id, subject, provider, fingerprint, issued_at, expires_at, first_seen) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
			t.Issuer, t.ID, fmt.Sprintf("user-%d", i), t.Provider, t.Fingerprint[:], t.IssuedAt.Unix(), t.ExpiresAt.Unix(), t.IssuedAt.Unix())
		if err != nil {
			tb.Fatal(err)
		}
	}
	if err := tx.Commit(); err != nil {
		tb.Fatal(err)
	}
}
