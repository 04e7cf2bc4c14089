package login

import (
	"errors"
	"testing"
	"time"
)

// FuzzVerify checks that no token makes Verify panic, or accept what the provider did
// not sign. Only the seeds that are signed may be accepted.
func FuzzVerify(f *testing.F) {
	v := started(f, generic(), newSite(map[string]string{keysURL: genericKeys()}))
	signed := map[string]bool{}
	for _, s := range []signer{rs(), es(), ed()} {
		token := s.token(s.header(), payload())
		signed[token] = true
		f.Add(token)
	}
	for _, tt := range refusals() {
		f.Add(tt.token)
	}

	f.Fuzz(func(t *testing.T, token string) {
		claims, err := v.Verify(t.Context(), token, now)
		shaped := shaped(v, token)
		var refused *Refusal
		switch {
		case err == nil && (!signed[token] || claims.Subject != "alice"):
			t.Errorf("accepted as %q what the provider did not sign", claims.Subject)
		case err == nil && !shaped:
			t.Error("Verify accepts what Shaped does not")
		case err != nil && !errors.As(err, &refused):
			t.Errorf("error is %v, want a refusal", err)
		}
	})
}

// FuzzClaims checks that no signed claims make readClaims panic or return a subject
// that is out of bounds.
func FuzzClaims(f *testing.F) {
	cfg := generic()
	cfg.When = []Condition{{"app_metadata.plan", []string{"pro"}}, {"scope", []string{"chat"}}}
	v := must(New(cfg))
	for _, claims := range []string{
		payload(), payload("app_metadata", `{"plan":["free","pro"]}`), payload("scope", `"chat x"`), payload("aud", `["a","app"]`),
		payload("exp", "1e10"), payload("sub", `"\u0000"`), `{}`, `[]`, `{"a":{"a":{"a":[[[{}]]]}}}`,
	} {
		f.Add(claims)
	}

	f.Fuzz(func(t *testing.T, data string) {
		o, err := parseObject([]byte(data), BadClaims, "claim")
		if err != nil {
			return
		}
		claims, err := v.readClaims(o, issuer, now)
		if err == nil && (claims.Subject == "" || len(claims.Subject) > maxSubject || !claims.Expires.After(now) || claims.IssuedAt.After(now.Add(time.Minute))) {
			t.Errorf("claims are %+v, out of bounds", claims)
		}
	})
}
