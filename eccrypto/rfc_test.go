package eccrypto

import (
	"strings"
	"testing"
)

// The examples of the RFCs, through the functions that Open uses. None of them
// is a token in the strict profile, which TestProfileRefusesTheRFCExamples says.

const (
	rfc7515A3 = "eyJhbGciOiJFUzI1NiJ9" +
		".eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ" +
		".DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"
	rfc7515A3Payload = "{\"iss\":\"joe\",\r\n \"exp\":1300819380,\r\n \"http://example.com/is_root\":true}"

	rfc8037A4 = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc" +
		".hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"

	// RFC 7518, appendix C: Alice's header, and the key that she and Bob derive.
	rfc7518CHeader = `{"alg":"ECDH-ES","enc":"A128GCM","apu":"QWxpY2U","apv":"Qm9i","epk":{"kty":"EC","crv":"P-256",` +
		`"x":"gI0GAILBdu7T53akrFmMyGcsF3n5dO7MmwNBHKW5SV0","y":"SLW_xSffzlPWrHEVI30DHM_4egVwt3NQqeUD7nMFpps"}}`
	rfc7518CKey = "VqqN6vgjbSBcIijNcacQGg"
)

func TestRFCSignatures(t *testing.T) {
	for _, tt := range []struct {
		name, token string
		key, other  *PrivateKey
		payload     string
	}{
		{"RFC 7515 A.3 ES256", rfc7515A3, ecIssuerKey, edIssuerKey, rfc7515A3Payload},
		{"RFC 8037 A.4 EdDSA", rfc8037A4, edIssuerKey, ecIssuerKey, "Example of Ed25519 signing"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			payload, err := verify(tt.token, tt.key.Public())
			must(t, err)
			if string(payload) != tt.payload {
				t.Errorf("payload is %q", payload)
			}
			_, err = verify(tt.token, tt.other.Public())
			wantRule(t, err, "inner: not a JWS")
			if tt.key != ecIssuerKey {
				return
			}
			_, err = verify(tt.token, relayKey.Public())
			wantRule(t, err, "signature does not verify")
		})
	}
}

func TestRFC8037SignatureIsDeterministic(t *testing.T) {
	input, signature, _ := cutLast(rfc8037A4)
	if got := encodeSegment(signWith(t, edIssuerKey, input)); got != signature {
		t.Errorf("signature is %s", got)
	}
}

func cutLast(s string) (before, after string, found bool) {
	i := strings.LastIndex(s, ".")
	return s[:max(i, 0)], s[i+1:], i >= 0
}

func TestRFC7518KeyAgreement(t *testing.T) {
	key, _ := decodeSegment(rfc7518CKey)

	// The derivation that the other tests rely on.
	alice, err := oldRelayKey.secret().ec.ECDH()
	must(t, err)
	bob, err := relayKey.public.ec.ECDH()
	must(t, err)
	shared, err := alice.ECDH(bob)
	must(t, err)
	if got := encodeSegment(concatKDF(shared, "A128GCM", "Alice", "Bob", 16)); got != rfc7518CKey {
		t.Fatalf("derived %s", got)
	}

	// And the one that Open relies on: Bob reads what is encrypted with the
	// published key, and nothing else.
	token := strings.Join(sealGCM(t, key, rfc7518CHeader, []byte("to Bob")), ".")
	plaintext, err := decrypt(token, relayKey.secret().ec)
	must(t, err)
	if plaintext != "to Bob" {
		t.Errorf("plaintext is %q", plaintext)
	}
	_, err = decrypt(token, ecIssuerKey.secret().ec)
	wantRule(t, err, "does not decrypt")
	key[0] ^= 1
	_, err = decrypt(strings.Join(sealGCM(t, key, rfc7518CHeader, []byte("to Bob")), "."), relayKey.secret().ec)
	wantRule(t, err, "does not decrypt")
}

func TestProfileRefusesTheRFCExamples(t *testing.T) {
	o := newTestOpener(t)
	key, _ := decodeSegment(rfc7518CKey)
	for token, rule := range map[string]string{
		rfc7515A3: "not 5 segments",
		rfc8037A4: "not 5 segments",
		strings.Join(sealGCM(t, key, rfc7518CHeader, nil), "."): "member cty missing",
	} {
		_, err := o.Open(t.Context(), token)
		wantRule(t, err, rule)
	}
	for token, rule := range map[string]string{
		rfc7515A3: "inner header: member typ missing",
		rfc8037A4: "inner header: member typ missing",
	} {
		_, _, err := o.checkInner(token)
		wantRule(t, err, rule)
	}
}
