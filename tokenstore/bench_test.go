package tokenstore

import (
	"context"
	"testing"
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
