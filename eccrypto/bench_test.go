package eccrypto

import "testing"

func BenchmarkSeal(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Seal([]byte(testClaims), "backend", ecIssuerKey, relayKey.Public()); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	o := newTestOpener(b)
	for _, tt := range []struct {
		name, token string
		ok          bool
	}{
		{"ES256", seal(b, "backend", ecIssuerKey, relayKey), true},
		{"EdDSA", seal(b, "edge", edIssuerKey, relayKey), true},
		// What garbage costs: it is told apart before any curve operation.
		{"garbage", forgery{outer: member(`"zip":"DEF"`)}.token(b), false},
	} {
		b.Run(tt.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := o.Open(b.Context(), tt.token); (err == nil) != tt.ok {
					b.Fatal(err)
				}
			}
		})
	}
}
