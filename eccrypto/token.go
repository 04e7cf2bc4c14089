package eccrypto

import (
	"github.com/go-jose/go-jose/v4"
)

// MaxTokenSize is the largest size in bytes of a token that is sealed or opened.
const MaxTokenSize = 8 << 10

// Fixed values of the profile.
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

// Algorithms that the JOSE library may accept.
var (
	keyAlgorithms      = []jose.KeyAlgorithm{jose.ECDH_ES}
	contentEncryptions = []jose.ContentEncryption{jose.A256GCM, jose.A128GCM}
)

// LooksLikeToken reports whether s has the shape of a token: five segments of
// base64url characters, of any length, separated by dots. The shape is wide on
// purpose: callers use it to decide what must not reach a provider.
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

// inToken has the characters that a token may have.
var inToken = func() (is [256]bool) {
	for _, c := range []byte(".-_0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") {
		is[c] = true
	}
	return is
}()
