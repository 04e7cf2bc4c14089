package mint

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"strings"

	"github.com/relayapi/caddy-relayapi/grant"
	"golang.org/x/time/rate"
)

// MaxRate is how many tokens per second the back-end of one issuer may mint.
const MaxRate = 100

// SecretIssuer is an issuer whose back-end mints over HTTP. It sends a secret, and the
// relay signs in the issuer's name.
type SecretIssuer struct {
	*Minter
	Pace   *rate.Limiter
	digest [sha256.Size]byte // of the secret
}

// SecretIssuers are the issuers that may mint over HTTP.
type SecretIssuers struct{ all []*SecretIssuer }

// Add adds an issuer by the digest of its secret.
func (s *SecretIssuers) Add(m *Minter, digest [sha256.Size]byte) {
	s.all = append(s.all, &SecretIssuer{m, rate.NewLimiter(MaxRate, MaxRate), digest})
}

// Find returns the issuer of a secret, or nil. It compares all digests in constant
// time.
func (s *SecretIssuers) Find(secret string) *SecretIssuer {
	digest, found := sha256.Sum256([]byte(secret)), -1
	for i, issuer := range s.all {
		found = subtle.ConstantTimeSelect(subtle.ConstantTimeCompare(digest[:], issuer.digest[:]), i, found)
	}
	if found < 0 {
		return nil
	}
	return s.all[found]
}

// minSecret is the shortest secret, in characters.
const minSecret = 16

// ReadSecret returns the digest of a secret. Errors name the placeholder and quote no
// value, which may be a misplaced secret.
func ReadSecret(placeholder, value string) (digest [sha256.Size]byte, err error) {
	switch {
	case value == "":
		return digest, fmt.Errorf("%s is not set or empty; set it to a secret of %d or more characters, for example from `openssl rand -hex 32`", placeholder, minSecret)
	case !grant.ValidAPIKey(value): // clients send it in a header, like a key
		return digest, fmt.Errorf("%s must be one word of printable ASCII", placeholder)
	case strings.Count(value, ".") == 2: // the endpoint would take it for that
		return digest, fmt.Errorf("%s has two dots, as the token of a login has; `openssl rand -hex 32` makes a good one", placeholder)
	case len(value) < minSecret:
		return digest, fmt.Errorf("%s has fewer than %d characters, which can be guessed; `openssl rand -hex 32` makes a good one", placeholder, minSecret)
	}
	return sha256.Sum256([]byte(value)), nil
}
