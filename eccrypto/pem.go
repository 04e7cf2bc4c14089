package eccrypto

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
)

// PEM types that this package reads and writes.
const (
	pemPrivate = "PRIVATE KEY"
	pemPublic  = "PUBLIC KEY"
)

// Errors about key files. No error of a parser quotes its input, which may be a
// key.
var (
	errNoPrivatePEM = errors.New(`eccrypto: no PEM block found; a private key file begins with "BEGIN PRIVATE KEY" (PKCS#8)`)
	errNotPrivate   = errors.New(`eccrypto: not a PKCS#8 "PRIVATE KEY" PEM block`)
	errPublicGiven  = errors.New("eccrypto: this is a public key; give the private key")
	errSEC1         = errors.New(`eccrypto: this is an "EC PRIVATE KEY" (SEC 1); ` +
		"convert it to PKCS#8 with: openssl pkcs8 -topk8 -nocrypt -in old.pem -out private.pem")
	errEncrypted = errors.New("eccrypto: this private key is encrypted with a passphrase; " +
		"decrypt it with: openssl pkcs8 -topk8 -nocrypt -in old.pem -out private.pem")
	errMalformedPrivate = errors.New("eccrypto: malformed PKCS#8 private key")

	errNoPublicPEM  = errors.New(`eccrypto: neither PEM nor JSON; a public key file begins with "BEGIN PUBLIC KEY", or is a JWK or JWKS`)
	errNotPublic    = errors.New(`eccrypto: not a "PUBLIC KEY" PEM block`)
	errPrivateGiven = errors.New("eccrypto: this is a private key, which is secret; " +
		"extract the public key with: openssl pkey -in private.pem -pubout -out public.pem")
	errCertificate = errors.New("eccrypto: this is a certificate; " +
		"extract its public key with: openssl x509 -pubkey -noout -in cert.pem -out public.pem")
	errMalformedPublic = errors.New("eccrypto: malformed public key")

	errSeveralBlocks = errors.New("eccrypto: more than one PEM block; give each key a file of its own")
)

// ParsePrivateKey parses a P-256 or Ed25519 private key in PKCS#8 PEM. Its errors
// say what to do and never quote the input.
func ParsePrivateKey(pemBytes []byte) (*PrivateKey, error) {
	block, rest := pem.Decode(pemBytes)
	if block == nil {
		return nil, errNoPrivatePEM
	}

	switch block.Type {
	case pemPrivate:
	case "EC PRIVATE KEY", "EC PARAMETERS":
		// openssl writes the parameters before a SEC 1 key.
		if block.Headers["DEK-Info"] != "" {
			return nil, errEncrypted
		}
		return nil, errSEC1
	case "ENCRYPTED PRIVATE KEY":
		return nil, errEncrypted
	case pemPublic:
		return nil, errPublicGiven
	case "RSA PRIVATE KEY":
		return nil, errKeyKind
	default:
		return nil, errNotPrivate
	}

	if next, _ := pem.Decode(rest); next != nil {
		return nil, errSeveralBlocks
	}

	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, errMalformedPrivate
	}
	return newPrivateKey(key)
}

// MarshalPEM returns k as PKCS#8 PEM, which [ParsePrivateKey] reads.
func (k *PrivateKey) MarshalPEM() ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(k.material())
	if err != nil {
		return nil, fmt.Errorf("eccrypto: marshaling private key %s failed", k.public.id)
	}
	return pem.EncodeToMemory(&pem.Block{Type: pemPrivate, Bytes: der}), nil
}

// ParsePublicKey parses a P-256 or Ed25519 public key in SPKI PEM or as a JWK. Of a JWKS
// it parses the first usable key. It refuses private keys in all of these forms, because
// they do not belong where public keys are kept.
func ParsePublicKey(data []byte) (*PublicKey, error) {
	data = bytes.TrimSpace(data)
	if bytes.HasPrefix(data, []byte("{")) {
		return parseJSONKey(data)
	}

	block, rest := pem.Decode(data)
	if block == nil {
		return nil, errNoPublicPEM
	}

	next, _ := pem.Decode(rest)
	for _, b := range []*pem.Block{block, next} {
		if b != nil && strings.Contains(b.Type, pemPrivate) {
			return nil, errPrivateGiven
		}
	}

	switch {
	case block.Type == "CERTIFICATE":
		return nil, errCertificate
	case block.Type != pemPublic:
		return nil, errNotPublic
	case next != nil:
		return nil, errSeveralBlocks
	}

	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, errMalformedPublic
	}
	return newPublicKey(key)
}

// MarshalPEM returns k as SPKI PEM, which [ParsePublicKey] reads.
func (k *PublicKey) MarshalPEM() ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(k.material())
	if err != nil {
		return nil, fmt.Errorf("eccrypto: marshaling public key %s failed", k.id)
	}
	return pem.EncodeToMemory(&pem.Block{Type: pemPublic, Bytes: der}), nil
}
