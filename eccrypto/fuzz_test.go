package eccrypto

import (
	"context"
	"encoding/base64"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// sealedTokens returns tokens that were made once, with the published keys.
// They also show that what was minted in the past still opens.
func sealedTokens(t testing.TB) []string {
	t.Helper()
	data, err := os.ReadFile("testdata/sealed.txt")
	must(t, err)
	return strings.Fields(string(data))
}

func TestTokensOfThePastStillOpen(t *testing.T) {
	o := newTestOpener(t)
	for i, token := range sealedTokens(t) {
		opened, err := o.Open(t.Context(), token)
		if err != nil || string(opened.Claims) != testClaims {
			t.Errorf("token %d: %v", i+1, err)
		}
	}
}

func TestEveryFlippedBitIsRefused(t *testing.T) {
	o := newTestOpener(t)
	for _, token := range sealedTokens(t) {
		segments := strings.Split(token, ".")
		for i, s := range segments {
			b, _ := decodeSegment(s)
			for bit := range 8 * len(b) {
				flipped := slices.Clone(b)
				flipped[bit/8] ^= 1 << (bit % 8)
				forged := slices.Clone(segments)
				forged[i] = encodeSegment(flipped)
				if _, err := o.Open(t.Context(), strings.Join(forged, ".")); !errors.As(err, new(*Refusal)) {
					t.Fatalf("bit %d of segment %d: %v", bit, i+1, err)
				}
			}
		}
	}
}

func TestEveryOtherSpellingIsRefused(t *testing.T) {
	o, tokens := newTestOpener(t), sealedTokens(t)
	rapid.Check(t, func(t *rapid.T) {
		token := rapid.SampledFrom(tokens).Draw(t, "token")
		start := rapid.IntRange(0, len(token)).Draw(t, "start")
		end := rapid.IntRange(start, min(start+3, len(token))).Draw(t, "end")
		text := rapid.OneOf(
			rapid.StringMatching(`[A-Za-z0-9_.-]{0,4}`),
			rapid.StringMatching(`[\r\n\t =+/]{1,2}`),
			rapid.StringN(0, 3, -1),
		).Draw(t, "text")
		other := token[:start] + text + token[end:]
		if other == token {
			t.Skip("the same token")
		}
		if _, err := o.Open(context.Background(), other); !errors.As(err, new(*Refusal)) {
			t.Fatalf("opened: %v", err)
		}
	})
}

func TestDecodeSegmentTakesOnlyWhatItWouldWrite(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.OneOf(rapid.StringMatching(`[A-Za-z0-9_\r\n=-]{0,9}`), rapid.String()).Draw(t, "s")
		loose, err := base64.RawURLEncoding.DecodeString(s)
		canonical := err == nil && base64.RawURLEncoding.EncodeToString(loose) == s
		if b, ok := decodeSegment(s); ok != canonical || ok && string(b) != string(loose) {
			t.Fatalf("decodeSegment(%q) = %q, %v", s, b, ok)
		}
	})
}

// FuzzOpen opens a token, and an inner token by itself: the relay's public key
// is public, so that an attacker may encrypt to it what he likes. It is not
// encrypted here because that is different each time, which confuses the fuzzer.
// Coverage still varies a little between runs, over the maps in the JOSE
// library, so that minimizing eats all the time: use -fuzzminimizetime 20x.
func FuzzOpen(f *testing.F) {
	o, tokens := newTestOpener(f), sealedTokens(f)
	var inners []string
	for _, token := range tokens {
		keyID, err := o.checkOuter(token)
		must(f, err)
		inner, err := decrypt(token, o.private[keyID])
		must(f, err)
		inners = append(inners, inner)
		f.Add(token, inner)
	}
	for _, tt := range profileTests {
		token, inner := tokens[0], inners[0]
		switch {
		case tt.edit != nil:
			// Of a known token, because the fuzzer may undo the edit.
			token = tt.edit(strings.Split(token, "."))
		case tt.wrap != nil:
			inner = tt.wrap(inner)
		case tt.inner != nil:
			token, inner = tt.token(f), tt.innerToken(f)
		default:
			token = tt.token(f)
		}
		f.Add(token, inner)
	}
	f.Add("....", "..")
	f.Add("", "{}")

	f.Fuzz(func(t *testing.T, token, inner string) {
		opened, err := o.Open(t.Context(), token)
		wantSealed(t, opened, err, slices.Contains(tokens, token))
		if err == nil && !LooksLikeToken(token) {
			t.Error("an opened token does not look like one")
		}
		opened, err = o.openInner(inner)
		wantSealed(t, opened, err, slices.Contains(inners, inner))
	})
}

// wantSealed fails unless exactly what was sealed opens, and the rest is
// refused for a reason that is fit for a log.
func wantSealed(t *testing.T, opened *Opened, err error, sealed bool) {
	t.Helper()
	if err == nil {
		if !sealed || string(opened.Claims) != testClaims {
			t.Errorf("opened what was never sealed: %+v", opened)
		}
		return
	}
	var r *Refusal
	odd := func(c rune) bool { return c < ' ' || c > '~' }
	switch {
	case sealed:
		t.Errorf("a sealed token does not open: %v", err)
	case !errors.As(err, &r):
		t.Errorf("not a refusal: %v", err)
	case len(r.Rule) > 100 || strings.ContainsFunc(r.Rule, odd):
		t.Errorf("not fit for a log: %q", r.Rule)
	}
}

func FuzzLooksLikeToken(f *testing.F) {
	for _, token := range sealedTokens(f) {
		f.Add(token)
	}
	for _, s := range []string{"", "....", "a.b.c.d.e", "a.b.c", "a.b.c.d.\x00", "é....", "\xff...."} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		segments := strings.Split(s, ".")
		odd := func(r rune) bool {
			return !strings.ContainsRune("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", r)
		}
		want := len(segments) == 5 && !slices.ContainsFunc(segments, func(s string) bool {
			return strings.ContainsFunc(s, odd)
		})
		if LooksLikeToken(s) != want {
			t.Errorf("LooksLikeToken(%q) = %v", s, !want)
		}
	})
}
