package login

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// now is when the tokens of the tests are verified.
var now = time.Date(2027, 1, 15, 8, 0, 0, 0, time.UTC) // 1800000000

// shaped reports whether a value looks like a token of the verifier, also the second time.
func shaped(v *Verifier, value string) bool {
	f := NewFinder(map[string]*Verifier{"it": v})
	name, first := f.Find(value)
	again := f.Shaped(value)
	if first != again || first != (name == "it") {
		panic("it is found once, or under another name")
	}
	return first
}

// signer is a private key of a provider.
type signer struct {
	kid, alg string
	private  any // crypto.Signer, or a []byte
}

var (
	rsaKey, otherRSA, weakRSA = lazyRSA(2048), lazyRSA(2048), lazyRSA(1024)
	p256Key, p384Key          = lazyEC(elliptic.P256()), lazyEC(elliptic.P384())
	edKey                     = sync.OnceValue(func() ed25519.PrivateKey { return must2(ed25519.GenerateKey(rand.Reader)) })
)

func lazyRSA(bits int) func() *rsa.PrivateKey {
	return sync.OnceValue(func() *rsa.PrivateKey { return must(rsa.GenerateKey(rand.Reader, bits)) })
}

func lazyEC(curve elliptic.Curve) func() *ecdsa.PrivateKey {
	return sync.OnceValue(func() *ecdsa.PrivateKey { return must(ecdsa.GenerateKey(curve, rand.Reader)) })
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func must2[T, U any](_ T, v U, err error) U { return must(v, err) }

// jwk returns the signer's public key as a JWK, with changed members.
func (s signer) jwk(changes ...string) string {
	public := s.private
	if p, ok := public.(crypto.Signer); ok {
		public = p.Public()
	}
	data := must(json.Marshal(jose.JSONWebKey{Key: public, KeyID: s.kid, Algorithm: s.alg, Use: "sig"}))
	return edit(string(data), changes...)
}

// edit returns an object with changed members: names, each followed by its new value
// as JSON. An empty value removes the member.
func edit(object string, changes ...string) string {
	var members map[string]json.RawMessage
	if err := json.Unmarshal([]byte(object), &members); err != nil {
		panic(err)
	}
	for pair := range slices.Chunk(changes, 2) {
		delete(members, pair[0])
		if pair[1] != "" {
			members[pair[0]] = json.RawMessage(pair[1])
		}
	}
	var all []string
	for _, name := range slices.Sorted(maps.Keys(members)) {
		all = append(all, string(must(json.Marshal(name)))+":"+string(members[name]))
	}
	return "{" + strings.Join(all, ",") + "}"
}

func jwks(keys ...string) string { return `{"keys":[` + strings.Join(keys, ",") + `]}` }

func segment(data string) string { return base64.RawURLEncoding.EncodeToString([]byte(data)) }

// token signs a token of any header and payload.
func (s signer) token(header, payload string) string {
	input := segment(header) + "." + segment(payload)
	return input + "." + segment(string(s.sign(input)))
}

func (s signer) sign(input string) []byte {
	sum := sha256.Sum256([]byte(input))
	long := sha512.Sum384([]byte(input))
	switch key := s.private.(type) {
	case []byte:
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(input))
		return mac.Sum(nil)
	case ed25519.PrivateKey:
		return ed25519.Sign(key, []byte(input))
	case *ecdsa.PrivateKey:
		digest, size := sum[:], 32
		if s.alg == "ES384" {
			digest, size = long[:], 48
		}
		r, t, err := ecdsa.Sign(rand.Reader, key, digest)
		if err != nil {
			panic(err)
		}
		signature := make([]byte, 2*size)
		r.FillBytes(signature[:size])
		t.FillBytes(signature[size:])
		return signature
	case *rsa.PrivateKey:
		switch s.alg {
		case "PS256":
			return must(rsa.SignPSS(rand.Reader, key, crypto.SHA256, sum[:], &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}))
		case "RS384":
			return must(rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA384, long[:]))
		}
		return must(rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:]))
	}
	panic("unknown kind of key")
}

// header returns the header of the signer's tokens, with changed members.
func (s signer) header(changes ...string) string {
	return edit(string(must(json.Marshal(map[string]string{"alg": s.alg, "kid": s.kid, "typ": "JWT"}))), changes...)
}

// site answers the requests of a verifier by URL. It is a transport.
type site struct {
	mu      sync.Mutex
	answers map[string]func(*http.Request) (*http.Response, error)
	asked   map[string]int
}

func newSite(documents map[string]string) *site {
	s := &site{answers: make(map[string]func(*http.Request) (*http.Response, error)), asked: make(map[string]int)}
	for url, document := range documents {
		s.serve(url, document)
	}
	return s
}

// answer sets the answer to requests of a URL.
func (s *site) answer(url string, answer func(*http.Request) (*http.Response, error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answers[url] = answer
}

func (s *site) serve(url, document string) {
	s.answer(url, func(r *http.Request) (*http.Response, error) {
		return respond(r, 200, strings.NewReader(document)), nil
	})
}

func (s *site) fail(url string) {
	s.answer(url, func(*http.Request) (*http.Response, error) { return nil, errors.New("connection refused") })
}

// count returns how often a URL was requested.
func (s *site) count(url string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked[url]
}

func (s *site) RoundTrip(r *http.Request) (*http.Response, error) {
	s.mu.Lock()
	answer := s.answers[r.URL.String()]
	s.asked[r.URL.String()]++
	s.mu.Unlock()
	if answer == nil {
		return respond(r, 404, strings.NewReader("not found")), nil
	}
	return answer(r)
}

func respond(r *http.Request, status int, body io.Reader, header ...string) *http.Response {
	res := &http.Response{StatusCode: status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: make(http.Header), Body: io.NopCloser(body), Request: r}
	for pair := range slices.Chunk(header, 2) {
		res.Header.Set(pair[0], pair[1])
	}
	return res
}

// started returns a verifier that fetched its keys.
func started(tb testing.TB, cfg Config, from http.RoundTripper) *Verifier {
	tb.Helper()
	fetched := make(chan error, 100)
	v, err := New(cfg, WithTransport(from), WithReport(func(_ int, err error) {
		select {
		case fetched <- err:
		default:
		}
	}))
	if err != nil {
		tb.Fatalf("New: %v", err)
	}
	v.Start(context.Background())
	tb.Cleanup(v.Close)
	if err := <-fetched; err != nil {
		tb.Fatalf("the first fetch failed: %v", err)
	}
	return v
}

// wantRefusal checks the reason and the rule of a refusal, and that it quotes nothing.
func wantRefusal(t *testing.T, err error, reason Reason, rule, token string) {
	t.Helper()
	var refused *Refusal
	if !errors.As(err, &refused) {
		t.Fatalf("error is %v, want the refusal %s: …%s…", err, reason, rule)
	}
	if refused.Reason != reason || !strings.Contains(refused.Rule, rule) {
		t.Errorf("refused with %s: %s; want %s: …%s…", refused.Reason, refused.Rule, reason, rule)
	}
	for _, part := range strings.Split(token, ".") {
		if len(part) > 8 && strings.Contains(refused.Error(), part) {
			t.Error("the refusal quotes the token")
		}
	}
}
