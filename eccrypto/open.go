package eccrypto

import (
	"context"
	"crypto/ecdsa"
	"errors"
	"fmt"
	"slices"

	"github.com/go-jose/go-jose/v4"
)

// Opened is a token that was decrypted and whose signature was verified. The caller
// must check that the claims agree with the headers.
type Opened struct {
	Issuer string // inner kid, which must equal the claim iss
	KeyID  string // outer kid, which must equal the claim aud
	Claims []byte // verified
}

// Opener opens tokens. It is safe for concurrent use.
type Opener struct {
	keys    []*PublicKey
	private map[string]*ecdsa.PrivateKey // by key id
	issuers map[string]*PublicKey        // by name
	threads threads
}

// NewOpener returns an Opener for tokens that are encrypted to one of keys and
// signed by one of issuers. The first key is the current one. issuers maps names to
// keys.
func NewOpener(keys []*PrivateKey, issuers map[string]*PublicKey) (*Opener, error) {
	o := &Opener{
		private: make(map[string]*ecdsa.PrivateKey, len(keys)),
		issuers: make(map[string]*PublicKey, len(issuers)),
		threads: sharedThreads(),
	}

	if len(keys) == 0 {
		return nil, errors.New("eccrypto: no relay key")
	}
	for i, k := range keys {
		switch {
		case k == nil:
			return nil, fmt.Errorf("eccrypto: relay key %d is nil", i+1)
		case k.secret().ec == nil:
			return nil, fmt.Errorf("eccrypto: key %s: not a P-256 key, which a relay key must be", k.public.id)
		case o.private[k.public.id] != nil:
			return nil, fmt.Errorf("eccrypto: relay key %s appears twice", k.public.id)
		}
		o.private[k.public.id] = k.secret().ec
		o.keys = append(o.keys, k.public)
	}

	for name, k := range issuers {
		switch {
		case name == "":
			return nil, errors.New("eccrypto: an issuer has no name")
		case k == nil:
			return nil, fmt.Errorf("eccrypto: issuer %s has no key", name)
		case k.use != "" && k.use != useSig:
			// Most likely somebody gave the relay's own JWKS.
			return nil, fmt.Errorf("eccrypto: issuer %s: key %s is not for signatures, according to its JWK", name, k.id)
		}
		o.issuers[name] = k
	}
	return o, nil
}

// Keys returns the public halves of the relay keys, the current one first.
func (o *Opener) Keys() []*PublicKey { return slices.Clone(o.keys) }

// Open decrypts a token and verifies its signature. The error is a [*Refusal], or
// that of ctx if ctx is done before the token's turn.
func (o *Opener) Open(ctx context.Context, token string) (*Opened, error) {
	keyID, err := o.checkOuter(token)
	if err != nil {
		return nil, err
	}

	// A token waits for a thread only after it passed the cheap checks.
	var opened *Opened
	if turn := o.threads.run(ctx, func() { opened, err = o.openOuter(token, keyID) }); turn != nil {
		return nil, turn
	}
	return opened, err
}

// openOuter decrypts the outer token and opens the inner one.
func (o *Opener) openOuter(token, keyID string) (*Opened, error) {
	inner, err := decrypt(token, o.private[keyID])
	if err != nil {
		return nil, err
	}

	opened, err := o.openInner(inner)
	if err != nil {
		return nil, err
	}
	opened.KeyID = keyID
	return opened, nil
}

// openInner checks and verifies the inner token.
func (o *Opener) openInner(token string) (*Opened, error) {
	issuer, key, err := o.checkInner(token)
	if err != nil {
		return nil, err
	}

	claims, err := verify(token, key)
	if err != nil {
		return nil, err
	}
	return &Opened{Issuer: issuer, Claims: claims}, nil
}

// decrypt returns the plaintext of a JWE. Like verify, it replaces the library's
// errors, which quote their input.
func decrypt(token string, key *ecdsa.PrivateKey) (string, error) {
	parsed, err := jose.ParseEncryptedCompact(token, keyAlgorithms, contentEncryptions)
	if err != nil {
		return "", refuse("not a JWE")
	}

	plaintext, err := parsed.Decrypt(key)
	if err != nil {
		return "", refuse("does not decrypt")
	}
	return string(plaintext), nil
}

// verify returns the payload of a JWS. The signature must be that of key.
func verify(token string, key *PublicKey) ([]byte, error) {
	accepted := []jose.SignatureAlgorithm{jose.SignatureAlgorithm(key.Algorithm())}
	parsed, err := jose.ParseSignedCompact(token, accepted)
	if err != nil {
		return nil, refuse("inner: not a JWS")
	}

	payload, err := parsed.Verify(key.material())
	if err != nil {
		return nil, refuse("signature does not verify")
	}
	return payload, nil
}
