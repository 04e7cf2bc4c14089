package mint

import (
	"crypto/sha256"
	"crypto/subtle"

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

// SecretIssuers are those who may mint over HTTP.
type SecretIssuers struct{ all []*SecretIssuer }

// Add adds an issuer by the digest of its secret.
func (s *SecretIssuers) Add(m *Minter, digest [sha256.Size]byte) {
	s.all = append(s.all, &SecretIssuer{m, rate.NewLimiter(MaxRate, MaxRate), digest})
}

// Find returns the issuer of a secret, or nil. It compares all digests to their end, so
// the time it takes tells nothing.
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
