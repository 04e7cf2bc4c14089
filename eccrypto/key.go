package eccrypto

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
)

// Signature algorithms of P-256 and of Ed25519 keys, as JOSE names them.
const (
	algES256 = "ES256"
	algEdDSA = "EdDSA"
)

// PrivateKey is a P-256 or Ed25519 private key. Every formatting verb prints only
// the id of its public half.
type PrivateKey struct {
	// secret is a function because fmt does not call Format for an unexported
	// field of another struct. It would print what a pointer points to, but it
	// cannot print what a function returns.
	secret func() secret
	public *PublicKey
}

// secret is the private half; exactly one field is set.
type secret struct {
	ec *ecdsa.PrivateKey
	ed ed25519.PrivateKey
}

// PublicKey is a P-256 or Ed25519 public key.
type PublicKey struct {
	ec *ecdsa.PublicKey  // nil for Ed25519
	ed ed25519.PublicKey // nil for P-256
	id string

	// use is what the key is for according to its JWK, useSig or useEnc. "" means
	// that it was not stated, as in PEM.
	use string
}

// GenerateKey generates a P-256 key. It can be a relay key or an issuer key.
func GenerateKey() (*PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("eccrypto: generating key: %w", err)
	}
	return newPrivateKey(key)
}

// errKeyKind is returned for a key of another kind. It does not describe the key.
var errKeyKind = errors.New("eccrypto: neither a P-256 nor an Ed25519 key; " +
	"make one with: openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out private.pem")

func newPrivateKey(key any) (*PrivateKey, error) {
	var s secret
	var public any
	switch key := key.(type) {
	case *ecdsa.PrivateKey:
		s.ec, public = key, &key.PublicKey
	case ed25519.PrivateKey:
		s.ed, public = key, key.Public()
	}

	p, err := newPublicKey(public)
	if err != nil {
		return nil, err
	}
	return &PrivateKey{secret: func() secret { return s }, public: p}, nil
}

func newPublicKey(key any) (*PublicKey, error) {
	p := new(PublicKey)
	switch key := key.(type) {
	case *ecdsa.PublicKey:
		if key.Curve != elliptic.P256() {
			return nil, errKeyKind
		}
		p.ec = key
	case ed25519.PublicKey:
		p.ed = key
	default:
		return nil, errKeyKind
	}

	id, err := p.thumbprint()
	if err != nil {
		return nil, err
	}
	p.id = id
	return p, nil
}

// Public returns the public half of k.
func (k *PrivateKey) Public() *PublicKey { return k.public }

// material returns the private half in the form that go-jose accepts.
func (k *PrivateKey) material() any {
	if k.secret().ec != nil {
		return k.secret().ec
	}
	return k.secret().ed
}

// String returns the key's kind and id.
func (k PrivateKey) String() string {
	if k.public == nil {
		return "PrivateKey()"
	}
	return "PrivateKey(" + k.public.id + ")"
}

// GoString returns String, because Go syntax would show the key.
func (k PrivateKey) GoString() string { return k.String() }

// Format prints String for every verb and flag.
func (k PrivateKey) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, k.String()) }

// ID returns the key's RFC 7638 SHA-256 thumbprint in base64url.
func (k *PublicKey) ID() string { return k.id }

// Algorithm returns the signature algorithm of the key, "ES256" or "EdDSA".
func (k *PublicKey) Algorithm() string {
	if k.ec != nil {
		return algES256
	}
	return algEdDSA
}

// String returns the key's kind and id.
func (k *PublicKey) String() string { return "PublicKey(" + k.id + ")" }

// material returns the public key in the form that go-jose and x509 accept.
func (k *PublicKey) material() any {
	if k.ec != nil {
		return k.ec
	}
	return k.ed
}
