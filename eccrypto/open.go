package eccrypto

import (
	"context"
	"crypto/ecdsa"
	"errors"
	"fmt"
	"slices"

	"github.com/go-jose/go-jose/v4"
)

// Opened is a token that was decrypted and whose signature was verified. That
// the claims agree with the headers is left to the caller to check, because the
// claims are not read here.
type Opened struct {
	Issuer string // inner kid, which has to equal the claim iss
	KeyID  string // outer kid, which has to equal the claim aud
	Claims []byte // verified
}

// Opener opens tokens. It is safe for concurrent use.
type Opener struct {
	keys    []*PublicKey
	private map[string]*ecdsa.PrivateKey // by key id
	issuers map[string]*PublicKey        // by name
	threads threads
}

// NewOpener returns an Opener for tokens that are encrypted to one of keys, of
// which the first is current, and signed by one of issuers, each under its name.
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
			return nil, fmt.Errorf("eccrypto: relay key %d is missing", i+1)
		case k.secret().ec == nil:
			return nil, fmt.Errorf("eccrypto: key %s cannot be a relay key: not P-256", k.public.id)
		case o.private[k.public.id] != nil:
			return nil, fmt.Errorf("eccrypto: relay key %s comes twice", k.public.id)
		}
		o.private[k.public.id] = k.secret().ec
		o.keys = append(o.keys, k.public)
	}
	for name, k := range issuers {
		switch {
		case name == "":
			return nil, errors.New("eccrypto: an issuer without a name")
		case k == nil:
			return nil, fmt.Errorf("eccrypto: issuer %s has no key", name)
		case k.use != "" && k.use != useSig:
			// Most likely the relay's own JWKS, given where the back-end's key belongs.
			return nil, fmt.Errorf("eccrypto: issuer %s: the JWK of key %s says that it is not for signatures", name, k.id)
		}
		o.issuers[name] = k
	}
	return o, nil
}

// Keys returns the public halves of the relay keys, the current one first.
func (o *Opener) Keys() []*PublicKey { return slices.Clone(o.keys) }

// Open decrypts a token and verifies its signature. The error is a [*Refusal],
// except where ctx was done before the token's turn came: then it is that of ctx.
func (o *Opener) Open(ctx context.Context, token string) (*Opened, error) {
	keyID, err := o.checkOuter(token)
	if err != nil {
		return nil, err
	}
	var opened *Opened
	// Only what has passed the cheap checks competes for a turn.
	if turn := o.threads.run(ctx, func() { opened, err = o.openOuter(token, keyID) }); turn != nil {
		return nil, turn
	}
	return opened, err
}

// openOuter opens the encrypted token, and the signed one inside.
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

// openInner opens the signed token that was inside the encrypted one.
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

// decrypt returns the plaintext of a JWE. The library's errors end here, as
// those of verify do: they quote what they could not read.
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

// verify returns the payload of a JWS that is signed with the private half of key.
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
