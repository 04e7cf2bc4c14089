package eccrypto

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
)

func TestPEMRoundTrip(t *testing.T) {
	generated, err := GenerateKey()
	must(t, err)
	for _, k := range []*PrivateKey{generated, ecIssuerKey, edIssuerKey} {
		private, err := k.MarshalPEM()
		must(t, err)
		again, err := ParsePrivateKey(append([]byte("a comment in front\n"), private...))
		must(t, err)
		public, err := k.Public().MarshalPEM()
		must(t, err)
		publicAgain, err := ParsePublicKey(append([]byte("\n"), public...))
		must(t, err)
		if again.Public().ID() != k.Public().ID() || publicAgain.ID() != k.Public().ID() {
			t.Errorf("%v came back as %v and %v", k, again, publicAgain)
		}
		if publicAgain.Algorithm() != k.Public().Algorithm() {
			t.Errorf("%v came back for %s", k, publicAgain.Algorithm())
		}
		if rewritten, err := again.MarshalPEM(); err != nil || !bytes.Equal(rewritten, private) {
			t.Errorf("%v is written differently after a round trip", k)
		}
	}
}

func TestJWKSRoundTrip(t *testing.T) {
	set, err := MarshalJWKS(newTestOpener(t).Keys()...)
	must(t, err)
	var got struct{ Keys []map[string]string }
	must(t, json.Unmarshal(set, &got))
	want := map[string]string{
		"kty": "EC", "crv": "P-256", "use": "enc", "alg": "ECDH-ES", "kid": relayKey.Public().ID(),
		"x": "weNJy2HscCSM6AEDTDg04biOvhFhyyWvOHQfeF_PxMQ", "y": "e8lnCO-AlStT-NJVX-crhB7QRYhiix03illJOVAOyck",
	}
	if len(got.Keys) != 2 || fmt.Sprint(got.Keys[0]) != fmt.Sprint(want) {
		t.Errorf("JWKS is %s", set)
	}
	k, err := ParsePublicKey(set)
	must(t, err)
	if k.ID() != relayKey.Public().ID() {
		t.Error("the first key is not the current one")
	}
	if _, err := Seal([]byte(testClaims), "backend", ecIssuerKey, k); err != nil {
		t.Errorf("cannot seal to a key from the JWKS: %v", err)
	}
	if _, err := NewOpener([]*PrivateKey{relayKey}, map[string]*PublicKey{"backend": k}); err == nil {
		t.Error("a relay's JWKS passes for an issuer's key")
	}
	if _, err := MarshalJWKS(edIssuerKey.Public()); err == nil {
		t.Error("an Ed25519 key passes for a relay key")
	}
	if empty, err := MarshalJWKS(); err != nil || string(empty) != `{"keys":[]}` {
		t.Errorf("an empty JWKS is %s, %v", empty, err)
	}
}

func TestThumbprint(t *testing.T) {
	// RFC 8037, appendix A.3.
	if id := edIssuerKey.Public().ID(); id != "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k" {
		t.Errorf("id is %s", id)
	}
	// No RFC gives one for P-256: two implementations have to agree.
	for _, k := range []*PrivateKey{relayKey, oldRelayKey, ecIssuerKey, edIssuerKey} {
		want, err := (&jose.JSONWebKey{Key: k.Public().material()}).Thumbprint(crypto.SHA256)
		must(t, err)
		if k.Public().ID() != encodeSegment(want) {
			t.Errorf("id is %s", k.Public().ID())
		}
	}
}

func pemOf(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func pkcs8(t *testing.T, key any) string {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	return pemOf("PRIVATE KEY", der)
}

func spki(t *testing.T, key any) string {
	der, err := x509.MarshalPKIXPublicKey(key)
	must(t, err)
	return pemOf("PUBLIC KEY", der)
}

func TestParsePrivateKeyErrors(t *testing.T) {
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	must(t, err)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	sec1, err := x509.MarshalECPrivateKey(relayKey.secret().ec)
	must(t, err)
	good := pkcs8(t, relayKey.material())
	const convert = "openssl pkcs8 -topk8 -nocrypt"
	for _, tt := range []struct{ name, input, want string }{
		{"empty", "", "no PEM block"},
		{"not PEM", "sk-proj-0123456789abcdef", "no PEM block"},
		{"a JWK", `{"kty":"EC","d":"jpsQnnGQmL-YBIffH1136cspYG6"}`, "no PEM block"},
		{"SEC 1", pemOf("EC PRIVATE KEY", sec1), convert},
		{"SEC 1 behind its parameters", pemOf("EC PARAMETERS", []byte{6, 0}) + pemOf("EC PRIVATE KEY", sec1), convert},
		{"SEC 1 encrypted", "-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA\n-----END EC PRIVATE KEY-----\n", "passphrase"},
		{"encrypted", pemOf("ENCRYPTED PRIVATE KEY", sec1), convert},
		{"public key", spki(t, relayKey.public.material()), "this is a public key"},
		{"PKCS#1", pemOf("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaKey)), "neither a P-256 nor an Ed25519"},
		{"RSA", pkcs8(t, rsaKey), "neither a P-256 nor an Ed25519"},
		{"P-384", pkcs8(t, p384), "neither a P-256 nor an Ed25519"},
		{"certificate", pemOf("CERTIFICATE", sec1), "not a PKCS#8"},
		{"SEC 1 inside", pemOf("PRIVATE KEY", sec1), "malformed PKCS#8"},
		{"nothing inside", pemOf("PRIVATE KEY", nil), "malformed PKCS#8"},
		{"two keys", good + good, "more than one PEM block"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := ParsePrivateKey([]byte(tt.input))
			wantError(t, err, tt.want)
			wantNoQuote(t, err, tt.input)
		})
	}
}

func TestParsePublicKeyErrors(t *testing.T) {
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	must(t, err)
	good, private := spki(t, relayKey.public.material()), pkcs8(t, relayKey.material())
	const x, y = `"x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU"`, `"y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"`
	const privateJWK = `{"kty":"EC","crv":"P-256",` + x + `,` + y + `,"d":"jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI"}`
	const rsaJWK = `{"kty":"RSA","n":"AQAB","e":"AQAB"}`
	for _, tt := range []struct{ name, input, want string }{
		{"empty", "", "neither PEM nor JSON"},
		{"not PEM", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA", "neither PEM nor JSON"},
		{"private PEM", private, "this is a private key"},
		{"SEC 1", pemOf("EC PRIVATE KEY", []byte{1}), "this is a private key"},
		{"private PEM behind the public", good + private, "this is a private key"},
		{"two keys", good + good, "more than one PEM block"},
		{"certificate", pemOf("CERTIFICATE", []byte{1}), "this is a certificate"},
		{"other PEM", pemOf("EC PARAMETERS", []byte{1}), `not a "PUBLIC KEY"`},
		{"malformed", pemOf("PUBLIC KEY", []byte{1}), "malformed public key"},
		{"P-384", spki(t, &p384.PublicKey), "neither a P-256 nor an Ed25519"},
		{"private JWK", privateJWK, "this is a private key"},
		{"private Ed25519 JWK", `{"kty":"OKP","crv":"Ed25519","x":"AA","d":"AA"}`, "this is a private key"},
		{"private RSA JWK", `{"kty":"RSA","n":"AQAB","e":"AQAB","p":"AQAB"}`, "this is a private key"},
		{"symmetric JWK", `{"kty":"oct","k":"AQAB"}`, "symmetric"},
		{"JWKS with a private key", `{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},` + privateJWK + `]}`, "this is a private key"},
		{"JWKS with a symmetric key", `{"keys":[{"kty":"oct","k":"AQAB"}]}`, "symmetric"},
		{"JWKS without keys", `{"keys":[]}`, "the JWKS has no P-256 or Ed25519 key"},
		{"JWKS without a key that fits", `{"keys":[` + rsaJWK + `]}`, "the JWKS has no P-256 or Ed25519 key"},
		{"JWKS of something else", `{"keys":[1]}`, "malformed JWK"},
		{"JWKS that is no list", `{"keys":{}}`, "malformed JWK"},
		{"RSA JWK", rsaJWK, "neither a P-256 nor an Ed25519"},
		{"X25519 JWK", `{"kty":"OKP","crv":"X25519","x":"AA"}`, "neither a P-256 nor an Ed25519"},
		{"no members", `{}`, "neither a P-256 nor an Ed25519"},
		{"wrong alg", `{"kty":"EC","crv":"P-256",` + x + `,` + y + `,"alg":"ES384"}`, "neither a P-256 nor an Ed25519"},
		{"not JSON", `{"kty":"EC"`, "malformed JWK"},
		{"member twice", `{"kty":"EC","kty":"EC","crv":"P-256",` + x + `,` + y + `}`, "malformed JWK"},
		{"no y", `{"kty":"EC","crv":"P-256",` + x + `}`, "malformed JWK"},
		{"short x", `{"kty":"EC","crv":"P-256","x":"AAAA",` + y + `}`, "malformed JWK"},
		{"not on the curve", `{"kty":"EC","crv":"P-256",` + x + `,"y":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}`, "malformed JWK"},
		{"short Ed25519", `{"kty":"OKP","crv":"Ed25519","x":"AAAA"}`, "malformed JWK"},
		{"use of another type", `{"kty":"EC","crv":"P-256",` + x + `,` + y + `,"use":1}`, "malformed JWK"},
		{"key_ops of another type", `{"kty":"EC","crv":"P-256",` + x + `,` + y + `,"key_ops":"verify"}`, "malformed JWK"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := ParsePublicKey([]byte(tt.input))
			wantError(t, err, tt.want)
			wantNoQuote(t, err, tt.input)
		})
	}
}

// wantNoQuote fails if err has a piece of input in it that could be key material.
func wantNoQuote(t *testing.T, err error, input string) {
	t.Helper()
	if err == nil {
		return
	}
	for _, word := range strings.FieldsFunc(input, func(r rune) bool { return strings.ContainsRune(" \n\"-:,", r) }) {
		if len(word) >= 12 && strings.Contains(err.Error(), word) {
			t.Errorf("the error quotes the input: %v", err)
		}
	}
}

func TestParsePublicKeyFromJWK(t *testing.T) {
	const ec = `"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"`
	const ed = `"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"`
	for _, tt := range []struct {
		name, input string
		want        *PrivateKey
		use         string
	}{
		{"bare", `{` + ec + `}`, ecIssuerKey, ""},
		{"with members of no interest", ` {"kid":"k","ext":true,` + ec + `} `, ecIssuerKey, ""},
		{"for signatures by alg", `{"alg":"ES256",` + ec + `}`, ecIssuerKey, useSig},
		{"for encryption by alg", `{"alg":"ECDH-ES+A256KW",` + ec + `}`, ecIssuerKey, useEnc},
		{"for signatures by use", `{"use":"sig",` + ec + `}`, ecIssuerKey, useSig},
		{"for signatures by key_ops", `{"key_ops":["verify"],` + ec + `}`, ecIssuerKey, useSig},
		{"for encryption by key_ops", `{"key_ops":["deriveBits"],` + ec + `}`, ecIssuerKey, useEnc},
		{"for nothing by key_ops", `{"key_ops":[],` + ec + `}`, ecIssuerKey, ""},
		{"Ed25519", `{` + ed + `}`, edIssuerKey, ""},
		{"Ed25519 by its new name", `{"alg":"Ed25519",` + ed + `}`, edIssuerKey, useSig},
		{"first that fits", `{"keys":[{"kty":"RSA"},{"kty":"XYZ"},{` + ed + `},{` + ec + `}]}`, edIssuerKey, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k, err := ParsePublicKey([]byte(tt.input))
			must(t, err)
			if k.ID() != tt.want.Public().ID() || k.use != tt.use {
				t.Errorf("parsed %v for %q", k, k.use)
			}
		})
	}
}

func TestPrintingAPrivateKeyShowsNoKey(t *testing.T) {
	for _, k := range []*PrivateKey{relayKey, edIssuerKey} {
		var d []byte
		if k.secret().ec != nil {
			b, err := k.secret().ec.Bytes()
			must(t, err)
			d = b
		} else {
			d = k.secret().ed
		}
		type nested struct {
			Exported PrivateKey
			value    PrivateKey
			pointer  *PrivateKey
		}
		for _, v := range []any{k, *k, nested{*k, *k, k}, &nested{*k, *k, k}, []*PrivateKey{k}, map[string]PrivateKey{"k": *k}} {
			for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x", "%X", "% x", "%o", "%b", "%c", "%U", "%t", "%e"} {
				text := fmt.Sprintf(verb, v)
				for _, leak := range []string{
					hex.EncodeToString(d[:8]), strings.ToUpper(hex.EncodeToString(d[:8])), fmt.Sprintf("% x", d[:8]),
					base64.StdEncoding.EncodeToString(d[:6]), encodeSegment(d[:6]),
					strings.Trim(fmt.Sprint(d[:6]), "[]"), strings.Trim(fmt.Sprintf("%#v", d[:4]), "[]byte{}"),
					strings.Trim(fmt.Sprintf(verb, d[:4]), "[]"),
					new(big.Int).SetBytes(d).String(), fmt.Sprint(new(big.Int).SetBytes(d).Bits()[0]),
				} {
					if strings.Contains(text, leak) {
						t.Errorf("%s of %T shows %q", verb, v, leak)
					}
				}
			}
			if j, err := json.Marshal(v); err != nil || bytes.Contains(j, []byte(encodeSegment(d[:6]))) {
				t.Errorf("JSON of %T is %s, %v", v, j, err)
			}
		}
		want := "PrivateKey(" + k.Public().ID() + ")"
		if got := fmt.Sprintf("%v|%+v|%#v|%s|%x", k, k, *k, *k, k); got != strings.Repeat(want+"|", 4)+want {
			t.Errorf("printed %s", got)
		}
	}
	if s := fmt.Sprint(PrivateKey{}); s != "PrivateKey()" {
		t.Errorf("the zero value prints %s", s)
	}
}
