package eccrypto

import (
	"errors"
	"fmt"

	"github.com/go-jose/go-jose/v4"
)

// Seal returns a token. It signs claims with signer in the name of issuer, and
// encrypts the result to recipient, a relay's key.
func Seal(claims []byte, issuer string, signer *PrivateKey, recipient *PublicKey) (string, error) {
	switch {
	case issuer == "":
		return "", errors.New("eccrypto: seal: no issuer")
	case recipient.ec == nil:
		return "", fmt.Errorf("eccrypto: seal: recipient %s: not a P-256 key, which a relay key must be", recipient.id)
	case recipient.use != "" && recipient.use != useEnc:
		return "", fmt.Errorf("eccrypto: seal: recipient %s is not for encryption, according to its JWK", recipient.id)
	}

	inner, err := sign(claims, issuer, signer)
	if err != nil {
		return "", fmt.Errorf("eccrypto: seal: signing with %s failed", signer.public.id)
	}
	token, err := encrypt(inner, recipient)
	if err != nil {
		return "", fmt.Errorf("eccrypto: seal: encrypting to %s failed", recipient.id)
	}

	if len(token) > MaxTokenSize {
		return "", fmt.Errorf("eccrypto: seal: token of %d bytes is longer than %d", len(token), MaxTokenSize)
	}
	return token, nil
}

// sign returns the inner JWS.
func sign(claims []byte, issuer string, signer *PrivateKey) (string, error) {
	signingKey := jose.SigningKey{
		Algorithm: jose.SignatureAlgorithm(signer.public.Algorithm()),
		// A JWK, because the library takes kid from there.
		Key: jose.JSONWebKey{Key: signer.material(), KeyID: issuer},
	}
	s, err := jose.NewSigner(signingKey, new(jose.SignerOptions).WithType(innerTyp))
	if err != nil {
		return "", err
	}

	signed, err := s.Sign(claims)
	if err != nil {
		return "", err
	}
	return signed.CompactSerialize()
}

// encrypt returns the outer JWE.
func encrypt(inner string, recipient *PublicKey) (string, error) {
	to := jose.Recipient{Algorithm: jose.ECDH_ES, Key: recipient.ec, KeyID: recipient.id}
	e, err := jose.NewEncrypter(jose.A256GCM, to, new(jose.EncrypterOptions).WithContentType(outerCty))
	if err != nil {
		return "", err
	}

	encrypted, err := e.Encrypt([]byte(inner))
	if err != nil {
		return "", err
	}
	return encrypted.CompactSerialize()
}
