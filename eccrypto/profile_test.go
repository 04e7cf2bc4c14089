package eccrypto

import (
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
)

// rawOpen opens a token with the JOSE library alone, the way that its
// documentation shows.
func rawOpen(token string) (string, error) {
	encrypted, err := jose.ParseEncryptedCompact(token,
		[]jose.KeyAlgorithm{jose.ECDH_ES}, []jose.ContentEncryption{jose.A256GCM, jose.A128GCM})
	if err != nil {
		return "", err
	}
	return rawVerify(encrypted)
}

func rawVerify(encrypted *jose.JSONWebEncryption) (string, error) {
	inner, err := encrypted.Decrypt(relayKey.material())
	if err != nil {
		return "", err
	}
	signed, err := jose.ParseSignedCompact(string(inner), []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		return "", err
	}
	claims, err := signed.Verify(ecIssuerKey.public.material())
	return string(claims), err
}

func TestForgeryWithoutFlawsOpens(t *testing.T) {
	for _, f := range []forgery{
		{},
		{enc: encA128GCM},
		{signer: edIssuerKey},
		{outer: member(`"typ":"JWT"`)},
		{outer: replace(":", " : \n")}, // a header is JSON, however it is spaced
		{inner: replace(`"alg"`, `"\u0061lg"`)},
	} {
		opened, err := newTestOpener(t).Open(t.Context(), f.token(t))
		must(t, err)
		if string(opened.Claims) != testClaims {
			t.Errorf("claims are %s", opened.Claims)
		}
	}
}

func lastBits(s string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	i := strings.IndexByte(alphabet, s[len(s)-1])
	return s[:len(s)-1] + alphabet[i+1:i+2]
}

func join(edit func(s []string)) func([]string) string {
	return func(s []string) string { edit(s); return strings.Join(s, ".") }
}

var profileTests = []struct {
	name string
	forgery
	rule string
	lax  bool // the JOSE library alone accepts it
}{
	// Spelling.
	{"non-empty encrypted key", forgery{edit: join(func(s []string) { s[1] = "AAAA" })},
		"encrypted key not empty", true},
	{"trailing bits", forgery{edit: join(func(s []string) { s[4] = lastBits(s[4]) })},
		"segment 5 not canonical base64url", true},
	{"newline within", forgery{edit: join(func(s []string) { s[3] = s[3][:4] + "\n" + s[3][4:] })},
		"segment 4 not canonical base64url", true},
	{"carriage return at the end", forgery{edit: join(func(s []string) { s[4] += "\r\n" })},
		"segment 5 not canonical base64url", true},
	{"newline for an encrypted key", forgery{edit: join(func(s []string) { s[1] = "\n" })},
		"encrypted key not empty", true},
	{"space", forgery{edit: join(func(s []string) { s[4] += " " })},
		"segment 5 not canonical base64url", false},
	{"padding", forgery{edit: join(func(s []string) { s[4] += "==" })},
		"segment 5 not canonical base64url", false},
	{"standard alphabet", forgery{edit: join(func(s []string) { s[3] = "++//" + s[3] })},
		"segment 4 not canonical base64url", false},
	{"six segments", forgery{edit: func(s []string) string { return strings.Join(s, ".") + "." }},
		"not 5 segments", false},
	{"three segments", forgery{edit: func(s []string) string { return strings.Join(s[:3], ".") }},
		"not 5 segments", false},
	{"too long", forgery{edit: join(func(s []string) { s[3] = strings.Repeat("A", MaxTokenSize) })},
		"longer than 8192 bytes", false},
	{"short iv", forgery{edit: join(func(s []string) { s[2] = s[2][:12] })}, "iv not 12 bytes", false},
	{"short tag", forgery{edit: join(func(s []string) { s[4] = s[4][:20] })}, "tag not 16 bytes: the token was cut off", false},
	{"cut by one character", forgery{edit: join(func(s []string) { s[4] = s[4][:21] })}, "tag not 16 bytes: the token was cut off", false},
	{"no tag", forgery{edit: join(func(s []string) { s[4] = "" })}, "tag not 16 bytes: the token was cut off", false},
	{"long tag", forgery{edit: join(func(s []string) { s[4] += "AA" })}, "tag not 16 bytes", false},

	// Outer header.
	{"zip", forgery{deflate: true, outer: member(`"zip":"DEF"`)}, "member zip not accepted", true},
	{"crit", forgery{outer: member(`"crit":["exp"],"exp":1`)}, "member crit not accepted", false},
	{"empty crit", forgery{outer: member(`"crit":[]`)}, "member crit not accepted", false},
	{"unknown member", forgery{outer: member(`"x":1`)}, "member x not accepted", true},
	{"unprintable member", forgery{outer: member(`"a b":1`)}, "member (unprintable) not accepted", true},
	{"embedded jwk", forgery{outer: member(`"jwk":{"kty":"EC"}`)}, "member jwk not accepted", false},
	{"alg twice", forgery{outer: member(`"alg":"ECDH-ES"`)}, "header: member alg appears twice", false},
	{"alg twice, once escaped", forgery{outer: member(`"\u0061lg":"ECDH-ES"`)}, "header: member alg appears twice", false},
	{"wrong case beside", forgery{outer: member(`"Alg":"dir"`)}, "member Alg not accepted", true},
	{"wrong case instead", forgery{outer: replace(`"cty"`, `"Cty"`)}, "member cty missing", true},
	{"no cty", forgery{outer: replace(`"cty":"JWT",`, ``)}, "member cty missing", true},
	{"other cty", forgery{outer: replace(`"JWT"`, `"jwt"`)}, "cty jwt not accepted", true},
	{"cty of the wrong type", forgery{outer: replace(`"JWT"`, `["JWT"]`)}, "member cty not a string", true},
	{"typ of the wrong type", forgery{outer: member(`"typ":null`)}, "member typ not a string", true},
	{"other alg", forgery{outer: replace("ECDH-ES", "ECDH-ES+A256KW")}, "alg ECDH-ES+A256KW not accepted", false},
	{"alg none", forgery{outer: replace("ECDH-ES", "none")}, "alg none not accepted", false},
	{"alg dir", forgery{outer: replace("ECDH-ES", "dir")}, "alg dir not accepted", false},
	{"long alg", forgery{outer: replace("ECDH-ES", strings.Repeat("A", 41))}, "alg (unprintable) not accepted", false},
	{"alg with a newline", forgery{outer: replace("ECDH-ES", `ECDH-ES\n`)}, "alg (unprintable) not accepted", false},
	{"other enc", forgery{outer: replace("A256GCM", "A256CBC-HS512")}, "enc A256CBC-HS512 not accepted", false},
	{"enc A192GCM", forgery{outer: replace("A256GCM", "A192GCM")}, "enc A192GCM not accepted", false},
	{"no kid", forgery{outer: replace(`"kid"`, `"typ"`)}, "member kid missing", true},
	{"unknown kid", forgery{outer: replace(relayKey.public.id, "other")}, "kid names no key of this relay", true},
	{"apu not canonical", forgery{outer: member(`"apu":"AB"`)}, "member apu not canonical base64url", false},
	{"invalid UTF-8", forgery{outer: member("\"typ\":\"\xff\"")}, "header: not JSON", true},
	{"array", forgery{outer: func(h string) string { return "[" + h + "]" }}, "header: not a JSON object", false},
	{"trailing data", forgery{outer: func(h string) string { return h + "{}" }}, "header: not JSON", false},
	{"trailing comma", forgery{outer: replace(`"}}`, `"},}`)}, "header: not JSON", false},
	{"empty header", forgery{edit: join(func(s []string) { s[0] = "" })}, "header: not a JSON object", false},

	// Ephemeral key.
	{"no epk", forgery{outer: replace(`"epk"`, `"apv"`)}, "member apv not a string", false},
	{"epk null", forgery{outer: func(h string) string { return h[:strings.Index(h, `{"kty"`)] + "null}" }},
		"epk: not a JSON object", false},
	{"epk with more", forgery{outer: replace(`"kty"`, `"use":"enc","kty"`)}, "epk: member use not accepted", true},
	{"epk with d", forgery{outer: replace(`"kty"`, `"d":"AA","kty"`)}, "epk: member d not accepted", false},
	{"epk on another curve", forgery{outer: replace("P-256", "P-384")}, "epk: crv P-384 not accepted", false},
	{"epk of another type", forgery{outer: replace(`"EC"`, `"OKP"`)}, "epk: kty OKP not accepted", false},
	{"epk twice", forgery{outer: replace(`"kty"`, `"kty":"EC","kty"`)}, "header: member kty appears twice", false},
	{"epk x too short", forgery{outer: replace(`"x":"`, `"x":"AAAA","typ":"`)}, "epk: member typ not accepted", false},
	{"epk x longer", forgery{outer: replace(`"x":"`, `"x":"AAAA`)}, "epk: member x not 32 bytes", false},
	{"epk x not canonical", forgery{outer: replace(`","y"`, `=","y"`)}, "epk: member x not canonical base64url", false},
	{"epk not on the curve", forgery{outer: func(h string) string {
		return h[:strings.Index(h, `"y":"`)] + `"y":"` + strings.Repeat("A", 43) + `"}}`
	}}, "does not decrypt", false},

	// Inner token.
	{"inner b64 false", forgery{signRaw: true, inner: member(`"b64":false,"crit":["b64"]`)},
		"inner header: member b64 not accepted", true},
	{"inner unknown member", forgery{inner: member(`"x":1`)}, "inner header: member x not accepted", true},
	{"inner embedded jwk", forgery{inner: member(`"jwk":{"kty":"EC","crv":"P-256",` +
		`"x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}`)},
		"inner header: member jwk not accepted", true},
	{"inner kid twice", forgery{inner: member(`"kid":"edge"`)}, "inner header: member kid appears twice", false},
	{"inner wrong case", forgery{inner: member(`"Kid":"edge"`)}, "inner header: member Kid not accepted", true},
	{"inner no typ", forgery{inner: replace(`,"typ":"relay+jwt"`, "")}, "inner header: member typ missing", true},
	{"inner typ JWT", forgery{inner: replace("relay+jwt", "JWT")}, "inner header: typ JWT not accepted", true},
	{"inner no kid", forgery{inner: replace(`"kid":"backend",`, "")}, "inner header: member kid missing", true},
	{"inner unknown issuer", forgery{inner: replace("backend", "nobody")}, "inner header: issuer nobody unknown", true},
	{"inner alg none", forgery{inner: replace("ES256", "none")}, "inner header: alg none not accepted", false},
	{"inner alg HS256", forgery{inner: replace("ES256", "HS256")}, "inner header: alg HS256 not accepted", false},
	{"inner header not JSON", forgery{inner: func(h string) string { return h + "}" }}, "inner header: not JSON", false},
	{"inner trailing bits", forgery{wrap: lastBits}, "inner: segment 3 not canonical base64url", true},
	{"inner newline", forgery{wrap: replace(".", "\n.")}, "inner: segment 1 not canonical base64url", true},
	{"inner four segments", forgery{wrap: func(s string) string { return s + "." }}, "inner: not 3 segments", false},
	{"inner JSON serialization", forgery{wrap: func(s string) string {
		p := strings.Split(s, ".")
		return `{"protected":"` + p[0] + `","payload":"` + p[1] + `","signature":"` + p[2] + `"}`
	}}, "inner: not 3 segments", false},
	{"inner no signature", forgery{wrap: func(s string) string { return s[:strings.LastIndex(s, ".")+1] }},
		"signature does not verify", false},
	{"inner empty", forgery{wrap: func(string) string { return "" }}, "inner: not 3 segments", false},
}

func TestOpenRefusesWhatTheProfileLeavesOut(t *testing.T) {
	o := newTestOpener(t)
	for _, tt := range profileTests {
		t.Run(tt.name, func(t *testing.T) {
			token := tt.token(t)
			_, err := o.Open(t.Context(), token)
			wantRule(t, err, tt.rule)
			if claims, err := rawOpen(token); (err == nil) != tt.lax {
				t.Errorf("the JOSE library alone says %v, want acceptance %v", err, tt.lax)
			} else if err == nil && claims != testClaims {
				t.Errorf("claims are %s", claims)
			}
		})
	}
}

func TestOpenRefusesJSONSerialization(t *testing.T) {
	token := forgery{edit: func(s []string) string {
		return `{"protected":"` + s[0] + `","iv":"` + s[2] + `","ciphertext":"` + s[3] + `","tag":"` + s[4] + `"}`
	}}.token(t)
	encrypted, err := jose.ParseEncryptedJSON(token, keyAlgorithms, contentEncryptions)
	must(t, err)
	if _, err := rawVerify(encrypted); err != nil {
		t.Errorf("the JOSE library does not accept it: %v", err)
	}
	_, err = newTestOpener(t).Open(t.Context(), token)
	wantRule(t, err, "not 5 segments")
}
