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

// The two signature algorithms, as JOSE names them. Each stands for one kind of
// key: P-256 and Ed25519.
const (
	algES256 = "ES256"
	algEdDSA = "EdDSA"
)

// PrivateKey is a P-256 or Ed25519 private key. Printing one, with any verb,
// prints the id of its public half and nothing else.
type PrivateKey struct {
	// A function keeps the key out of sight where fmt does not call Format, as
	// for an unexported field of somebody's struct. A pointer would not do:
	// given a verb that does not suit it, fmt prints what it points to.
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
	ec *ecdsa.PublicKey  // set for P-256,
	ed ed25519.PublicKey // set for Ed25519
	id string

	// use is what a JWK said that the key is for, useSig or useEnc; "" when
	// nothing was said, as in PEM.
	use string
}

// GenerateKey makes a P-256 key, which can serve as a relay key or as an
// issuer key.
func GenerateKey() (*PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("eccrypto: generate key: %w", err)
	}
	return newPrivateKey(key)
}

// errKeyKind says which keys there are. The key itself is not described.
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

// material is the private half as go-jose takes it.
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

// GoString is String: the Go syntax of a private key would be the key.
func (k PrivateKey) GoString() string { return k.String() }

// Format prints String, whatever the verb and its flags.
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

// material is the public key as go-jose and x509 take it.
func (k *PublicKey) material() any {
	if k.ec != nil {
		return k.ec
	}
	return k.ed
}
