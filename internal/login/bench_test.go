package login

import "testing"

// BenchmarkVerify is what a token costs that was not seen before.
func BenchmarkVerify(b *testing.B) {
	v := started(b, generic(), newSite(map[string]string{keysURL: genericKeys()}))
	for _, s := range []signer{rs(), es(), ed()} {
		b.Run(s.alg, func(b *testing.B) {
			token := s.token(s.header(), payload("app_metadata", `{"plan":"pro"}`, "amr", `[{"method":"password","timestamp":1800000000}]`))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := v.Verify(b.Context(), token, now); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkRefuse is what a token costs that has a wrong signature.
func BenchmarkRefuse(b *testing.B) {
	v := started(b, generic(), newSite(map[string]string{keysURL: genericKeys()}))
	token := swapSignature(rs().token(rs().header(), payload()), rs().token(rs().header(), payload("sub", `"bob"`)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := v.Verify(b.Context(), token, now); err == nil {
			b.Fatal("accepted")
		}
	}
}

// BenchmarkFind is what the choice between logins costs, for a token that was found
// before.
func BenchmarkFind(b *testing.B) {
	v := NewFinder(map[string]*Verifier{"it": must(New(generic()))})
	token := rs().token(rs().header(), payload())
	b.ReportAllocs()
	for b.Loop() {
		if !v.Shaped(token) {
			b.Fatal("not shaped")
		}
	}
}
