package eccrypto

import (
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"io/fs"
	"strings"
	"testing"

	"github.com/c2sp/wycheproof"
)

// vectors is a Wycheproof file, with the members of all the kinds used here.
type vectors struct {
	TestGroups []struct {
		Comment   string
		Public    json.RawMessage // JWK or JWKS
		Private   json.RawMessage
		PublicKey struct{ PK string } // Ed25519
		Tests     []vector
	}
}

type vector struct {
	ID              int `json:"tcId"`
	Comment         string
	Result          string
	JWE, JWS        compact
	Enc, PT         string
	Public, Private json.RawMessage // ECDH
	Shared          string
	Msg, Sig        string
}

func (v vector) valid() bool { return v.Result == "valid" }

// compact is a compact serialization, and empty for a JSON serialization, of
// which the files have one each.
type compact string

func (c *compact) UnmarshalJSON(data []byte) error {
	if data[0] != '"' {
		return nil
	}
	return json.Unmarshal(data, (*string)(c))
}

func loadVectors(t *testing.T, name string) vectors {
	t.Helper()
	data, err := fs.ReadFile(wycheproof.TestVectors, name)
	must(t, err)
	var v vectors
	must(t, json.Unmarshal(data, &v))
	return v
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	must(t, err)
	return b
}

// tally fails a test that ran fewer vectors than there were when it was
// written, which would mean that it no longer finds them.
func tally(t *testing.T, valid, wantValid, invalid, wantInvalid int) {
	t.Helper()
	if valid < wantValid || invalid < wantInvalid {
		t.Errorf("%d valid and %d invalid vectors, want %d and %d at least", valid, invalid, wantValid, wantInvalid)
	}
}

func TestWycheproofEncryption(t *testing.T) {
	var valid, invalid int
	for _, file := range []string{"json_web_encryption_test.json", "json_web_crypto_test.json"} {
		for _, g := range loadVectors(t, file).TestGroups {
			var j struct{ Kty, Crv, Alg string }
			if json.Unmarshal(g.Private, &j) != nil || j.Crv != "P-256" {
				continue
			}
			key, err := parseTestKey(g.Private)
			must(t, err)
			for _, v := range g.Tests {
				if v.JWE == "" {
					continue
				}
				// What is valid with key wrapping or with CBC is not for us.
				ours := v.valid() && j.Alg == algECDHES && (v.Enc == encA128GCM || v.Enc == encA256GCM)
				plaintext, err := decrypt(string(v.JWE), key.secret().ec)
				switch {
				case ours:
					valid++
					if err != nil || plaintext != string(unhex(t, v.PT)) {
						t.Errorf("%s %d %s: %q, %v", file, v.ID, v.Comment, plaintext, err)
					}
				case err == nil:
					t.Errorf("%s %d %s: decrypted", file, v.ID, v.Comment)
				default:
					invalid++
				}
				wantProfileRefusal(t, key, string(v.JWE))
			}
		}
	}
	tally(t, valid, 2, invalid, 58)
}

// wantProfileRefusal fails if the whole Open takes a vector: it may not, valid
// or not, because none has cty, and a kid that is a thumbprint.
func wantProfileRefusal(t *testing.T, key *PrivateKey, token string) {
	t.Helper()
	o, err := NewOpener([]*PrivateKey{key}, nil)
	must(t, err)
	if _, err := o.checkOuter(token); err == nil {
		t.Error("the profile lets a vector without cty pass")
	}
}

func TestWycheproofSignatures(t *testing.T) {
	var valid, invalid int
	for _, file := range []string{"json_web_signature_test.json", "json_web_crypto_test.json", "json_web_key_test.json"} {
		for _, g := range loadVectors(t, file).TestGroups {
			for _, v := range g.Tests {
				if !strings.Contains(string(g.Public), `"P-256"`) || v.JWS == "" && v.JWE != "" {
					continue
				}
				err := verifyVector(g.Public, string(v.JWS))
				switch {
				case (err == nil) != v.valid():
					t.Errorf("%s %d %s: %v, want %s", file, v.ID, v.Comment, err, v.Result)
				case err == nil:
					valid++
				default:
					invalid++
				}
				if _, _, err := newTestOpener(t).checkInner(string(v.JWS)); err == nil {
					t.Error("the profile lets a vector without typ pass")
				}
			}
		}
	}
	tally(t, valid, 3, invalid, 58)
}

// verifyVector does for one signature what a relay does for an issuer: it
// parses the key, takes it on record and verifies.
func verifyVector(public json.RawMessage, token string) error {
	key, err := ParsePublicKey(public)
	if err != nil {
		return err
	}
	if _, err := NewOpener([]*PrivateKey{relayKey}, map[string]*PublicKey{"backend": key}); err != nil {
		return err
	}
	_, err = verify(token, key)
	return err
}

// The shared secret of each vector encrypts a message by hand; decrypt has to
// come to the same secret to read it.
func TestWycheproofKeyAgreement(t *testing.T) {
	const file = "ecdh_secp256r1_webcrypto_test.json"
	var valid, invalid int
	for _, g := range loadVectors(t, file).TestGroups {
		for _, v := range g.Tests {
			key, err := parseTestKey(v.Private)
			if err != nil {
				// A private key that is of another curve, or none, cannot be held.
				if v.valid() {
					t.Errorf("%d %s: %v", v.ID, v.Comment, err)
				}
				invalid++
				continue
			}
			header := `{"alg":"ECDH-ES","enc":"A256GCM","epk":` + string(v.Public) + `}`
			cek := concatKDF(unhex(t, v.Shared), encA256GCM, "", "", 32)
			token := strings.Join(sealGCM(t, cek, header, []byte("message")), ".")
			plaintext, err := decrypt(token, key.secret().ec)
			if (err == nil && plaintext == "message") != v.valid() {
				t.Errorf("%d %s: %q, %v, want %s", v.ID, v.Comment, plaintext, err, v.Result)
			}
			if v.valid() {
				valid++
			} else {
				invalid++
			}
			// The vectors' keys have a kid, which an epk in the profile has not.
			wantRule(t, checkEphemeralKey(v.Public), "member kid not accepted")
		}
	}
	tally(t, valid, 330, invalid, 23)
}

// Not through verify, because what these sign is no JWS; Ed25519 has no
// vectors that are.
func TestWycheproofEd25519(t *testing.T) {
	var valid, invalid int
	for _, g := range loadVectors(t, "ed25519_test.json").TestGroups {
		k, err := newPublicKey(ed25519.PublicKey(unhex(t, g.PublicKey.PK)))
		must(t, err)
		for _, v := range g.Tests {
			if ed25519.Verify(k.ed, unhex(t, v.Msg), unhex(t, v.Sig)) != v.valid() {
				t.Errorf("%d %s: want %s", v.ID, v.Comment, v.Result)
			}
			if v.valid() {
				valid++
			} else {
				invalid++
			}
		}
	}
	tally(t, valid, 88, invalid, 63)
}

// The Base64 vectors are signed with HS256, so what is looked at is only
// whether the segments are taken for canonical.
func TestWycheproofBase64(t *testing.T) {
	accept := map[int]bool{
		// Said to be invalid for their padding, but they have none: both equal
		// the first, valid vector.
		367: true, 370: true,
		// Said to be valid with a question mark in them, which the profile is
		// stricter about.
		372: false, 373: false,
	}
	var valid, invalid int
	for _, g := range loadVectors(t, "json_web_signature_test.json").TestGroups {
		if g.Comment != "base64" {
			continue
		}
		for _, v := range g.Tests {
			want, special := accept[v.ID]
			if !special {
				want = v.valid()
			}
			segments, err := splitCompact(string(v.JWS), innerSegments)
			if err == nil {
				_, err = decodeSegments(segments)
			}
			switch {
			case (err == nil) != want:
				t.Errorf("%d %s: %v, want acceptance %v", v.ID, v.Comment, err, want)
			case want:
				valid++
			default:
				invalid++
			}
		}
	}
	tally(t, valid, 7, invalid, 14)
}
