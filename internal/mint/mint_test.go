package mint

import (
	"crypto/sha256"
	"testing"

	"github.com/relayapi/caddy-relayapi/grant"
)

func TestSecretIssuers_Find(t *testing.T) {
	s := new(SecretIssuers)
	for _, name := range []string{"a", "b", "c"} {
		s.Add(&Minter{Issuer: grant.Issuer{Name: name}}, sha256.Sum256([]byte("secret of "+name)))
	}
	for secret, want := range map[string]string{
		"secret of a": "a", "secret of b": "b", "secret of c": "c", "secret of ": "", "secret of ab": "", "": "", "\x00": "",
	} {
		var got string
		if issuer := s.Find(secret); issuer != nil {
			got = issuer.Issuer.Name
		}
		if got != want {
			t.Errorf("%q is of %q, want %q", secret, got, want)
		}
	}
}
