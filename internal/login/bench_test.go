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

// BenchmarkShaped is what the choice between issuers costs.
func BenchmarkShaped(b *testing.B) {
	v := must(New(generic()))
	token := rs().token(rs().header(), payload())
	b.ReportAllocs()
	for b.Loop() {
		if !v.Shaped(token) {
			b.Fatal("not shaped")
		}
	}
}
