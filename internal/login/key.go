package login

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/go-jose/go-jose/v4"
)

// hs256 is the only accepted algorithm with a secret.
const hs256 = "HS256"

// families map each algorithm with a public key to a function that reports whether a
// key is of its kind.
var families = map[string]func(public any) bool{
	"RS256": isRSA, "RS384": isRSA, "RS512": isRSA, "PS256": isRSA,
	"ES256": isECDSA(elliptic.P256()), "ES384": isECDSA(elliptic.P384()),
	"EdDSA": isEd25519,
}

// minRSA and maxRSA bound RSA keys in bits. RFC 7518, section 3.3, demands 2048.
// Larger keys than maxRSA cost too much time.
const (
	minRSA = 2048
	maxRSA = 8192
)

func isRSA(public any) bool {
	key, ok := public.(*rsa.PublicKey)
	return ok && key.N.BitLen() >= minRSA && key.N.BitLen() <= maxRSA
}

func isECDSA(curve elliptic.Curve) func(any) bool {
	return func(public any) bool {
		key, ok := public.(*ecdsa.PublicKey)
		return ok && key.Curve == curve
	}
}

func isEd25519(public any) bool {
	_, ok := public.(ed25519.PublicKey)
	return ok
}

// knownAlgorithm returns the name of a standard algorithm. Others may be secrets, so it
// does not return them.
func knownAlgorithm(alg string) string {
	if families[alg] != nil || slices.Contains([]string{"none", hs256, "HS384", "HS512", "PS384", "PS512", "ES512", "ES256K", "Ed25519"}, alg) {
		return alg
	}
	return "(unknown)"
}

// key is a public key of a provider.
type key struct {
	id     string
	alg    string // the only algorithm that it is for; empty means any of its kind
	public any
}

// fits reports whether the key may verify signatures of an algorithm.
func (k *key) fits(alg string) bool {
	return (k.alg == "" || k.alg == alg) && families[alg] != nil && families[alg](k.public)
}

// keySet is the keys of a provider at one time. It is immutable.
type keySet []key

// maxKeys is the largest number of keys in a key set.
const maxKeys = 100

// Errors of key sets.
var (
	errBadKeySet = errors.New("the key set is not valid JSON with a list of keys")
	errNoKeys    = errors.New("the key set has no usable key")
)

// parseKeySet parses a JWK Set (RFC 7517, section 5). It skips keys that it cannot use:
// providers also publish others, such as keys for encryption.
func parseKeySet(data []byte) (keySet, error) {
	var document struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(data, &document); err != nil || document.Keys == nil {
		return nil, errBadKeySet
	}
	if len(document.Keys) > maxKeys {
		return nil, fmt.Errorf("the key set has %d keys, more than %d", len(document.Keys), maxKeys)
	}

	var set keySet
	for _, raw := range document.Keys {
		k, ok := parseKey(raw)
		if !ok {
			continue
		}
		// Of several keys with the same id, the first one wins.
		if k.id == "" || !slices.ContainsFunc(set, func(other key) bool { return other.id == k.id }) {
			set = append(set, k)
		}
	}
	return set, nil
}

// keyMembers are the members of a JWK that define a public key and its use.
// Certificates are ignored: the provider's TLS certificate vouches for its keys, and
// some providers encode thumbprints in a form of their own.
type keyMembers struct {
	Type      string   `json:"kty"`
	ID        string   `json:"kid,omitempty"`
	Use       string   `json:"use,omitempty"`
	Algorithm string   `json:"alg,omitempty"`
	KeyOps    []string `json:"key_ops,omitempty"`
	Curve     string   `json:"crv,omitempty"`
	X         string   `json:"x,omitempty"`
	Y         string   `json:"y,omitempty"`
	N         string   `json:"n,omitempty"`
	E         string   `json:"e,omitempty"`

	// Private is set if the provider published its private key. Then anyone can sign.
	Private json.RawMessage `json:"d,omitempty"`
}

// parseKey parses a JWK. ok reports whether it is a public key for signatures.
func parseKey(raw []byte) (k key, ok bool) {
	var m keyMembers
	if json.Unmarshal(raw, &m) != nil || m.Private != nil ||
		m.Use != "" && m.Use != "sig" ||
		len(m.KeyOps) > 0 && !slices.Contains(m.KeyOps, "verify") {
		return k, false
	}
	public, err := json.Marshal(m)
	if err != nil {
		return k, false
	}
	var jwk jose.JSONWebKey
	if jwk.UnmarshalJSON(public) != nil {
		return k, false
	}

	k = key{id: m.ID, alg: m.Algorithm, public: jwk.Key}
	if k.alg == "Ed25519" { // RFC 9864 renamed EdDSA with this curve
		k.alg = "EdDSA"
	}
	for alg := range families {
		if k.fits(alg) {
			return k, true
		}
	}
	return k, false
}

// find returns the key with an id, if it fits the algorithm. Without an id, exactly one
// key must fit. The error is a [*Refusal].
func (s keySet) find(id, alg string) (*key, error) {
	var found *key
	for i := range s {
		switch {
		case id != "" && s[i].id == id && !s[i].fits(alg):
			return nil, refuse(UnknownKey, "the key with the kid of the token is not for %s", alg)
		case id != "" && s[i].id == id:
			return &s[i], nil
		case id == "" && s[i].fits(alg) && found != nil:
			return nil, refuse(UnknownKey, "header kid is missing or empty, and several keys of the provider fit")
		case id == "" && s[i].fits(alg):
			found = &s[i]
		}
	}
	if found == nil {
		return nil, errKeyUnknown
	}
	return found, nil
}

// errKeyUnknown refuses a token whose key the provider does not have. A newer key set
// may have it.
var errKeyUnknown = refuse(UnknownKey, "no key of the provider has the kid of the token")
