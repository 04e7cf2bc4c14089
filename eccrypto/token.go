package eccrypto

import (
	"github.com/go-jose/go-jose/v4"
)

// MaxTokenSize is the length in bytes of the longest token that is made or opened.
const MaxTokenSize = 8 << 10

// The profile, as far as it is fixed strings.
const (
	algECDHES      = "ECDH-ES"
	encA128GCM     = "A128GCM"
	encA256GCM     = "A256GCM"
	outerCty       = "JWT"
	innerTyp       = "relay+jwt"
	outerSegments  = 5
	innerSegments  = 3
	gcmNonceLength = 12
	gcmTagLength   = 16
)

// What the JOSE library is told to accept: it parses nothing else.
var (
	keyAlgorithms      = []jose.KeyAlgorithm{jose.ECDH_ES}
	contentEncryptions = []jose.ContentEncryption{jose.A256GCM, jose.A128GCM}
)

// LooksLikeToken reports whether s has the shape of a token: five segments of
// base64url characters, of any length, with dots between them. It says yes to
// much that is not a token, because it decides what to keep from a provider.
func LooksLikeToken(s string) bool {
	dots := 0
	for i := range len(s) {
		if !inToken[s[i]] {
			return false
		}
		if s[i] == '.' {
			dots++
		}
	}
	return dots == outerSegments-1
}

// inToken are the characters of tokens.
var inToken = func() (is [256]bool) {
	for _, c := range []byte(".-_0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") {
		is[c] = true
	}
	return is
}()
