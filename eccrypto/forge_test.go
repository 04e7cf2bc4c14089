package eccrypto

import (
	"bytes"
	"cmp"
	"compress/flate"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// The keys that most tests use are published ones, so that a token found by a
// fuzzer, or kept in testdata, means the same in every process.
var (
	relayKey = keyFromJWK(`{"kty":"EC","crv":"P-256", "d":"VEmDZpDXXK8p8N0Cndsxs924q6nS1RXFASRl6BfUqdw",
		"x":"weNJy2HscCSM6AEDTDg04biOvhFhyyWvOHQfeF_PxMQ",
		"y":"e8lnCO-AlStT-NJVX-crhB7QRYhiix03illJOVAOyck"}`)  // RFC 7518, appendix C, Bob
	oldRelayKey = keyFromJWK(`{"kty":"EC","crv":"P-256", "d":"0_NxaRPUMQoAJt50Gz8YiTr8gRTwyEaCumd-MToTmIo",
		"x":"gI0GAILBdu7T53akrFmMyGcsF3n5dO7MmwNBHKW5SV0",
		"y":"SLW_xSffzlPWrHEVI30DHM_4egVwt3NQqeUD7nMFpps"}`)  // the same, Alice
	ecIssuerKey = keyFromJWK(`{"kty":"EC","crv":"P-256", "d":"jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI",
		"x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
		"y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}`)  // RFC 7515, appendix A.3
	edIssuerKey = keyFromJWK(`{"kty":"OKP","crv":"Ed25519", "d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
		"x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`)  // RFC 8037, appendix A
)

const testClaims = `{"iss":"backend","sub":"user-1","jti":"j1","exp":4102444800}`

func keyFromJWK(text string) *PrivateKey {
	k, err := parseTestKey([]byte(text))
	if err != nil {
		panic(err)
	}
	return k
}

// parseTestKey reads a private JWK, which the package itself never does.
func parseTestKey(text []byte) (*PrivateKey, error) {
	var j struct{ Kty, Crv, D, X, Y string }
	if err := json.Unmarshal(text, &j); err != nil {
		return nil, err
	}
	d, ok := decodeSegment(j.D)
	if !ok {
		return nil, errors.New("d is not base64url")
	}
	if j.Crv == "Ed25519" {
		return newPrivateKey(ed25519.NewKeyFromSeed(d))
	}
	d = append(make([]byte, max(0, 32-len(d))), d...)
	k, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), d)
	if err != nil {
		return nil, err
	}
	return newPrivateKey(k)
}

func newTestOpener(t testing.TB) *Opener {
	t.Helper()
	o, err := NewOpener([]*PrivateKey{relayKey, oldRelayKey}, map[string]*PublicKey{
		"backend": ecIssuerKey.Public(),
		"edge":    edIssuerKey.Public(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// forgery is a token made by hand, from the RFCs and the standard library
// alone. Its zero value is a good token; each field is a way to spoil it.
type forgery struct {
	signer *PrivateKey // default ecIssuerKey
	claims string      // default testClaims
	enc    string      // default A256GCM
	inner  func(header string) string
	outer  func(header string) string
	// signRaw signs the payload itself, not its base64, as b64:false wants.
	signRaw bool
	deflate bool
	wrap    func(inner string) string      // edits the signed token
	edit    func(segments []string) string // assembles the segments; default: with dots
}

func (f forgery) token(t testing.TB) string {
	t.Helper()
	plaintext := []byte(f.innerToken(t))
	if f.deflate {
		var b bytes.Buffer
		w, _ := flate.NewWriter(&b, flate.BestCompression)
		_, _ = w.Write(plaintext)
		_ = w.Close()
		plaintext = b.Bytes()
	}
	enc, size := f.enc, 32
	if enc == "" {
		enc = encA256GCM
	}
	if enc == encA128GCM {
		size = 16
	}
	ephemeral, err := ecdh.P256().GenerateKey(rand.Reader)
	must(t, err)
	recipient, err := relayKey.public.ec.ECDH()
	must(t, err)
	shared, err := ephemeral.ECDH(recipient)
	must(t, err)
	point := ephemeral.PublicKey().Bytes()
	header := fmt.Sprintf(`{"alg":"ECDH-ES","enc":%q,"kid":%q,"cty":"JWT","epk":{"kty":"EC","crv":"P-256","x":%q,"y":%q}}`,
		enc, relayKey.public.id, encodeSegment(point[1:33]), encodeSegment(point[33:]))
	if f.outer != nil {
		header = f.outer(header)
	}
	segments := sealGCM(t, concatKDF(shared, enc, "", "", size), header, plaintext)
	if f.edit != nil {
		return f.edit(segments)
	}
	return strings.Join(segments, ".")
}

func (f forgery) innerToken(t testing.TB) string {
	t.Helper()
	signer, issuer := f.signer, "backend"
	if signer == nil {
		signer = ecIssuerKey
	}
	if signer == edIssuerKey {
		issuer = "edge"
	}
	header := fmt.Sprintf(`{"alg":%q,"kid":%q,"typ":"relay+jwt"}`, signer.public.Algorithm(), issuer)
	if f.inner != nil {
		header = f.inner(header)
	}
	claims := cmp.Or(f.claims, testClaims)
	protected, payload := encodeSegment([]byte(header)), encodeSegment([]byte(claims))
	input := protected + "." + payload
	if f.signRaw {
		input = protected + "." + claims
	}
	token := protected + "." + payload + "." + encodeSegment(signWith(t, signer, input))
	if f.wrap != nil {
		token = f.wrap(token)
	}
	return token
}

func signWith(t testing.TB, signer *PrivateKey, input string) []byte {
	t.Helper()
	if signer.secret().ec == nil {
		return ed25519.Sign(signer.secret().ed, []byte(input))
	}
	sum := sha256.Sum256([]byte(input))
	r, s, err := ecdsa.Sign(rand.Reader, signer.secret().ec, sum[:])
	must(t, err)
	signature := make([]byte, 64)
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])
	return signature
}

// concatKDF is the key derivation of RFC 7518, section 4.6.2, for keys of at
// most one SHA-256.
func concatKDF(shared []byte, alg, apu, apv string, size int) []byte {
	input := binary.BigEndian.AppendUint32(nil, 1)
	input = append(input, shared...)
	for _, s := range []string{alg, apu, apv} {
		input = binary.BigEndian.AppendUint32(input, uint32(len(s)))
		input = append(input, s...)
	}
	input = binary.BigEndian.AppendUint32(input, uint32(size)*8)
	sum := sha256.Sum256(input)
	return sum[:size]
}

// sealGCM returns the segments of a JWE without an encrypted key.
func sealGCM(t testing.TB, key []byte, header string, plaintext []byte) []string {
	t.Helper()
	block, err := aes.NewCipher(key)
	must(t, err)
	gcm, err := cipher.NewGCM(block)
	must(t, err)
	iv := make([]byte, 12)
	_, _ = rand.Read(iv)
	protected := encodeSegment([]byte(header))
	sealed := gcm.Seal(nil, iv, plaintext, []byte(protected))
	body, tag := sealed[:len(plaintext)], sealed[len(plaintext):]
	return []string{protected, "", encodeSegment(iv), encodeSegment(body), encodeSegment(tag)}
}

// replace returns an edit of a header that has to change something.
func replace(old, new string) func(string) string {
	return func(s string) string {
		if !strings.Contains(s, old) {
			panic("nothing to replace: " + old)
		}
		return strings.Replace(s, old, new, 1)
	}
}

// member returns an edit of a header that puts a member in front.
func member(text string) func(string) string { return replace("{", "{"+text+",") }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// wantRule fails unless err is a refusal with this rule.
func wantRule(t testing.TB, err error, rule string) {
	t.Helper()
	var r *Refusal
	if !errors.As(err, &r) {
		t.Fatalf("error is %v, want a refusal: %s", err, rule)
	}
	if r.Rule != rule {
		t.Errorf("rule is %q, want %q", r.Rule, rule)
	}
}
