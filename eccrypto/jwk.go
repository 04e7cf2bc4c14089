package eccrypto

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

// Values of "use" in a JWK (RFC 7517, section 4.2).
const (
	useSig = "sig"
	useEnc = "enc"
)

// coordinateSize is the size in bytes of a P-256 coordinate and of an Ed25519 key.
const coordinateSize = 32

var (
	errMalformedJWK = errors.New("eccrypto: malformed JWK")
	errNoKeyFits    = errors.New("eccrypto: the JWKS has no P-256 or Ed25519 key")
	errSymmetric    = errors.New("eccrypto: this is a symmetric key, which is secret; give a public key")
)

// jwk is a public key as JSON. Its fields are in the order that RFC 7638
// prescribes for required members, so that a bare jwk marshals to the input of
// the thumbprint.
type jwk struct {
	Curve     string `json:"crv"`
	Type      string `json:"kty"`
	X         string `json:"x"`
	Y         string `json:"y,omitempty"`
	KeyID     string `json:"kid,omitempty"`
	Use       string `json:"use,omitempty"`
	Algorithm string `json:"alg,omitempty"`
}

// bareJWK returns k as a JWK with only the required members.
func (k *PublicKey) bareJWK() (jwk, error) {
	if k.ec == nil {
		return jwk{Curve: "Ed25519", Type: "OKP", X: encodeSegment(k.ed)}, nil
	}

	point, err := k.ec.Bytes() // 4, x, y
	if err != nil {
		return jwk{}, errMalformedPublic
	}
	x, y := point[1:1+coordinateSize], point[1+coordinateSize:]
	return jwk{Curve: "P-256", Type: "EC", X: encodeSegment(x), Y: encodeSegment(y)}, nil
}

// thumbprint computes the RFC 7638 thumbprint of k.
func (k *PublicKey) thumbprint() (string, error) {
	bare, err := k.bareJWK()
	if err != nil {
		return "", err
	}

	text, err := json.Marshal(bare)
	if err != nil {
		return "", fmt.Errorf("eccrypto: marshaling JWK: %w", err)
	}
	sum := sha256.Sum256(text)
	return encodeSegment(sum[:]), nil
}

// MarshalJWKS returns relay keys as the JWKS that a relay serves to back-ends.
// Back-ends encrypt to the first key.
func MarshalJWKS(keys ...*PublicKey) ([]byte, error) {
	set := struct {
		Keys []jwk `json:"keys"`
	}{Keys: make([]jwk, 0, len(keys))}

	for _, k := range keys {
		if k.ec == nil {
			return nil, fmt.Errorf("eccrypto: key %s: not a P-256 key, which a relay key must be", k.id)
		}
		j, err := k.bareJWK()
		if err != nil {
			return nil, err
		}

		j.KeyID, j.Use, j.Algorithm = k.id, useEnc, algECDHES
		set.Keys = append(set.Keys, j)
	}

	return json.Marshal(set)
}

// parseJSONKey parses a JWK, or the first usable key of a JWKS.
func parseJSONKey(data []byte) (*PublicKey, error) {
	o, err := parseObject(data)
	if err != nil {
		return nil, errMalformedJWK
	}
	list, isSet := o["keys"]
	if !isSet {
		return parseJWK(o)
	}

	var members []json.RawMessage
	if json.Unmarshal(list, &members) != nil {
		return nil, errMalformedJWK
	}

	var found *PublicKey
	for _, m := range members {
		o, err := parseObject(m)
		if err != nil {
			return nil, errMalformedJWK
		}

		// Check the keys after the first usable one too: a private key anywhere
		// in the set is a leak that the caller must hear of.
		k, err := parseJWK(o)
		switch {
		case errors.Is(err, errPrivateGiven), errors.Is(err, errSymmetric):
			return nil, err
		case err == nil && found == nil:
			found = k
		}
	}

	if found == nil {
		return nil, errNoKeyFits
	}
	return found, nil
}

// parseJWK parses one public key.
func parseJWK(o object) (*PublicKey, error) {
	if o.has("k") {
		return nil, errSymmetric
	}
	if slices.ContainsFunc([]string{"d", "p", "q", "dp", "dq", "qi", "oth", "priv"}, o.has) {
		return nil, errPrivateGiven
	}

	kty, _ := o.text("kty")
	crv, _ := o.text("crv")
	switch {
	case kty == "EC" && crv == "P-256":
		return parseECJWK(o)
	case kty == "OKP" && crv == "Ed25519":
		return parseOKPJWK(o)
	}
	return nil, errKeyKind
}

func parseECJWK(o object) (*PublicKey, error) {
	x, errX := o.binary("x", coordinateSize)
	y, errY := o.binary("y", coordinateSize)
	if errX != nil || errY != nil {
		return nil, errMalformedJWK
	}

	// ParseUncompressedPublicKey refuses a point that is not on the curve.
	ec, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), slices.Concat([]byte{4}, x, y))
	if err != nil {
		return nil, errMalformedJWK
	}
	return withUse(o, ec, map[string]string{
		algES256: useSig, algECDHES: useEnc,
		"ECDH-ES+A128KW": useEnc, "ECDH-ES+A192KW": useEnc, "ECDH-ES+A256KW": useEnc,
	})
}

func parseOKPJWK(o object) (*PublicKey, error) {
	x, err := o.binary("x", ed25519.PublicKeySize)
	if err != nil {
		return nil, errMalformedJWK
	}
	// RFC 9864 renamed EdDSA, where it means this curve, to Ed25519.
	return withUse(o, ed25519.PublicKey(x), map[string]string{algEdDSA: useSig, "Ed25519": useSig})
}

// withUse returns the public key with its use, which the JWK may state in use,
// key_ops or alg. algs maps the algorithms of this kind of key to the use that
// each implies.
func withUse(o object, key any, algs map[string]string) (*PublicKey, error) {
	k, err := newPublicKey(key)
	if err != nil {
		return nil, err
	}

	if o.has("alg") {
		alg, _ := o.text("alg")
		use, ok := algs[alg]
		if !ok {
			return nil, errKeyKind
		}
		k.use = use
	}

	if ops, ok := o["key_ops"]; ok {
		var names []string
		if json.Unmarshal(ops, &names) != nil {
			return nil, errMalformedJWK
		}
		// WebCrypto exports public ECDH keys with an empty list.
		switch {
		case slices.Contains(names, "verify"):
			k.use = useSig
		case len(names) > 0:
			k.use = useEnc
		}
	}

	if o.has("use") {
		if k.use, err = o.text("use"); err != nil {
			return nil, errMalformedJWK
		}
	}
	return k, nil
}
