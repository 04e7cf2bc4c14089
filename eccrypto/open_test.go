package eccrypto

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
)

func seal(t testing.TB, issuer string, signer, recipient *PrivateKey) string {
	t.Helper()
	token, err := Seal([]byte(testClaims), issuer, signer, recipient.Public())
	must(t, err)
	return token
}

func TestOpenReturnsWhatSealWasGiven(t *testing.T) {
	for issuer, signer := range map[string]*PrivateKey{"backend": ecIssuerKey, "edge": edIssuerKey} {
		token := seal(t, issuer, signer, relayKey)
		if !LooksLikeToken(token) {
			t.Error("a token does not look like one")
		}
		opened, err := newTestOpener(t).Open(t.Context(), token)
		must(t, err)
		if opened.Issuer != issuer || opened.KeyID != relayKey.Public().ID() || string(opened.Claims) != testClaims {
			t.Errorf("opened %+v", opened)
		}
		if claims, err := rawOpen(token); issuer == "backend" && (err != nil || claims != testClaims) {
			t.Errorf("another implementation reads %q: %v", claims, err)
		}
	}
}

func TestRotatedOutKeyStillOpens(t *testing.T) {
	o := newTestOpener(t)
	keys := o.Keys()
	if len(keys) != 2 || keys[0].ID() != relayKey.Public().ID() || keys[1].ID() != oldRelayKey.Public().ID() {
		t.Fatalf("keys are %v", keys)
	}
	keys[0] = nil // the caller's own slice
	if o.Keys()[0] == nil {
		t.Error("Keys returns the opener's slice")
	}
	opened, err := o.Open(t.Context(), seal(t, "backend", ecIssuerKey, oldRelayKey))
	must(t, err)
	if opened.KeyID != oldRelayKey.Public().ID() {
		t.Errorf("opened with %s", opened.KeyID)
	}
}

func TestOpenRefusesForeignKeysAndIssuers(t *testing.T) {
	stranger, err := GenerateKey()
	must(t, err)
	seal := func(issuer string, signer, recipient *PrivateKey) string { return seal(t, issuer, signer, recipient) }
	otherKid := func(signer *PrivateKey, kid string) string {
		return forgery{signer: signer, inner: func(string) string {
			return `{"alg":"` + signer.public.Algorithm() + `","kid":"` + kid + `","typ":"relay+jwt"}`
		}}.token(t)
	}
	for _, tt := range []struct{ name, token, rule string }{
		{"encrypted to another relay", seal("backend", ecIssuerKey, stranger), "kid names no key of this relay"},
		{"encrypted to one key, naming another", forgery{outer: replace(relayKey.public.id, oldRelayKey.public.id)}.token(t),
			"does not decrypt"},
		{"signed by a stranger", seal("backend", stranger, relayKey), "signature does not verify"},
		{"signed by the relay key", seal("backend", relayKey, relayKey), "signature does not verify"},
		{"issuer not on record", seal("nobody", ecIssuerKey, relayKey), "inner header: issuer nobody unknown"},
		{"issuer with a long name", seal(strings.Repeat("n", 41), ecIssuerKey, relayKey),
			"inner header: issuer (unprintable) unknown"},
		{"issuer in another's name", seal("edge", ecIssuerKey, relayKey), "inner header: alg ES256 not accepted"},
		{"EdDSA for an ES256 issuer", otherKid(edIssuerKey, "backend"), "inner header: alg EdDSA not accepted"},
		{"ES256 claimed over an EdDSA signature", forgery{signer: edIssuerKey, inner: func(string) string {
			return `{"alg":"ES256","kid":"backend","typ":"relay+jwt"}`
		}}.token(t), "signature does not verify"},
		{"EdDSA claimed over an ES256 signature", forgery{inner: func(string) string {
			return `{"alg":"EdDSA","kid":"edge","typ":"relay+jwt"}`
		}}.token(t), "signature does not verify"},
		{"empty", "", "not 5 segments"},
		{"dots", "....", "tag not 16 bytes: the token was cut off"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := newTestOpener(t).Open(t.Context(), tt.token)
			wantRule(t, err, tt.rule)
		})
	}
}

func TestNewOpenerRefuses(t *testing.T) {
	sigUse, encUse := *ecIssuerKey.public, *ecIssuerKey.public
	sigUse.use, encUse.use = useSig, useEnc
	one := []*PrivateKey{relayKey}
	for _, tt := range []struct {
		name    string
		keys    []*PrivateKey
		issuers map[string]*PublicKey
		want    string // "" for acceptance
	}{
		{"no key", nil, nil, "no relay key"},
		{"missing key", []*PrivateKey{nil}, nil, "relay key 1 is nil"},
		{"Ed25519 key", []*PrivateKey{edIssuerKey}, nil, "not a P-256 key"},
		{"one key twice", []*PrivateKey{relayKey, relayKey}, nil, "appears twice"},
		{"issuer without a name", one, map[string]*PublicKey{"": ecIssuerKey.public}, "an issuer has no name"},
		{"issuer without a key", one, map[string]*PublicKey{"backend": nil}, "issuer backend has no key"},
		{"issuer with an encryption key", one, map[string]*PublicKey{"backend": &encUse}, "not for signatures"},
		{"issuer with a signature key", one, map[string]*PublicKey{"backend": &sigUse}, ""},
		{"no issuers", one, nil, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := NewOpener(tt.keys, tt.issuers)
			wantError(t, err, tt.want)
		})
	}
}

func TestSealRefuses(t *testing.T) {
	sigUse := *relayKey.public
	sigUse.use = useSig
	for _, tt := range []struct {
		name      string
		claims    string
		issuer    string
		recipient *PublicKey
		want      string
	}{
		{"no issuer", testClaims, "", relayKey.public, "no issuer"},
		{"Ed25519 recipient", testClaims, "backend", edIssuerKey.public, "not a P-256 key"},
		{"recipient for signatures", testClaims, "backend", &sigUse, "not for encryption"},
		{"too long", strings.Repeat("a", MaxTokenSize), "backend", relayKey.public, "is longer than 8192"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Seal([]byte(tt.claims), tt.issuer, ecIssuerKey, tt.recipient)
			wantError(t, err, tt.want)
		})
	}
}

func wantError(t *testing.T, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Errorf("error is %v, want none", err)
	case want != "" && err == nil:
		t.Errorf("no error, want %q", want)
	case want != "" && !strings.Contains(err.Error(), want):
		t.Errorf("error is %q, want %q", err, want)
	}
}

func TestOpensAreBounded(t *testing.T) {
	good, garbage := seal(t, "backend", ecIssuerKey, relayKey), strings.Repeat("AAAA.", 4)
	o := newTestOpener(t) // its threads stay
	synctest.Test(t, func(t *testing.T) {
		o.threads = startThreads(2)
		defer close(o.threads)
		var busy []chan struct{}
		for range 2 {
			release := make(chan struct{})
			busy = append(busy, release)
			go func() { must(t, o.threads.run(t.Context(), func() { <-release })) }()
		}
		synctest.Wait()

		open := func(ctx context.Context) chan error {
			done := make(chan error, 1)
			go func() {
				_, err := o.Open(ctx, good)
				done <- err
			}()
			synctest.Wait()
			return done
		}
		waiting := open(t.Context())
		if len(waiting) != 0 {
			t.Fatal("opened beyond the bound")
		}

		// Garbage does not have to wait to be refused.
		_, err := o.Open(t.Context(), garbage)
		wantRule(t, err, "encrypted key not empty")

		ctx, cancel := context.WithCancel(t.Context())
		abandoned := open(ctx)
		cancel()
		if err := <-abandoned; !errors.Is(err, context.Canceled) || errors.As(err, new(*Refusal)) {
			t.Errorf("a cancelled wait gives %v", err)
		}

		close(busy[0])
		if err := <-waiting; err != nil {
			t.Errorf("after its turn came: %v", err)
		}
		close(busy[1])
	})
}

// A panic on a thread of its own would end the process, and all calls with it.
func TestPanicInAnOpenIsTheCallers(t *testing.T) {
	pool := startThreads(1)
	defer close(pool)
	explode := func() (v any) {
		defer func() { v = recover() }()
		_ = pool.run(t.Context(), func() { panic("a flaw of a library") })
		return nil
	}
	for range 2 { // the thread survives it
		err, _ := explode().(error)
		if err == nil || !strings.HasPrefix(err.Error(), "a flaw of a library\n\ngoroutine") {
			t.Fatalf("the caller's panic is %v", err)
		}
	}
}

func TestOpenWithDoneContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	o := newTestOpener(t)
	// Often, because a select between two ready cases picks either.
	for range 20 {
		if _, err := o.Open(ctx, seal(t, "backend", ecIssuerKey, relayKey)); err != context.Canceled {
			t.Fatalf("error is %v", err)
		}
	}
}

func TestOpenConcurrently(t *testing.T) {
	o := newTestOpener(t)
	tokens := []string{
		seal(t, "backend", ecIssuerKey, relayKey),
		seal(t, "edge", edIssuerKey, relayKey),
		seal(t, "edge", edIssuerKey, oldRelayKey),
	}
	var wg sync.WaitGroup
	for i := range 8 * runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			if _, err := o.Open(t.Context(), tokens[i%len(tokens)]); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestRefusalsQuoteNoToken(t *testing.T) {
	o := newTestOpener(t)
	for _, tt := range profileTests {
		token := tt.token(t)
		_, err := o.Open(t.Context(), token)
		for segment := range strings.SplitSeq(token, ".") {
			if len(segment) >= 8 && strings.Contains(err.Error(), segment) {
				t.Errorf("%s: the error quotes a segment", tt.name)
			}
		}
		if errors.Unwrap(err) != nil {
			t.Errorf("%s: the error wraps another", tt.name)
		}
	}
}

func TestLooksLikeToken(t *testing.T) {
	for s, want := range map[string]bool{
		"a.b.c.d.e":             true,
		"a..c.d.e":              true,
		"-_9.ZZ.z.0.A":          true,
		"....":                  true,
		"":                      false,
		"a.b.c":                 false,
		"a.b.c.d":               false,
		"a.b.c.d.e.f":           false,
		"a.b.c.d.e ":            false,
		"a.b.c.d.e=":            false,
		"a.b.c.d.é":             false,
		"a.b.c.d.\xff":          false,
		"Bearer a.b.c.d.e":      false,
		"sk-proj-0123456789":    false,
		"https://a.b.c.d.e/":    false,
		"{\"protected\":\"a\"}": false,
	} {
		if LooksLikeToken(s) != want {
			t.Errorf("LooksLikeToken(%q) = %v", s, !want)
		}
	}
	token := seal(t, "backend", ecIssuerKey, relayKey)
	var looked bool
	if n := testing.AllocsPerRun(100, func() { looked = LooksLikeToken(token) }); n != 0 || !looked {
		t.Errorf("%v allocations, looks like a token: %v", n, looked)
	}
}
