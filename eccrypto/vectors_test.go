package eccrypto

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"reflect"
	"strings"
	"testing"
)

var updateVectors = flag.Bool("vectors.update", false, "make docs/token-vectors.json anew; go test ./internal/mint -vectors.update then adds the reasons")

const vectorsFile = "../docs/token-vectors.json"

// tokenVectors are tokens that other implementations can be tested with. They are valid from
// 2026 to 2100.
type tokenVectors struct {
	About    string         `json:"about"`
	Relay    map[string]any `json:"relay"` // private JWK
	Issuers  []vectorIssuer `json:"issuers"`
	Accepted []tokenVector  `json:"accepted"`
	Refused  []tokenVector  `json:"refused"`
}

type vectorIssuer struct {
	Name        string         `json:"name"`
	Key         map[string]any `json:"key"` // private JWK
	Providers   []string       `json:"providers"`
	MaxTTL      string         `json:"max_ttl"`
	CarriedKeys bool           `json:"carried_keys"`
}

type tokenVector struct {
	Name   string          `json:"name"`
	Code   string          `json:"code,omitempty"`
	Rule   string          `json:"rule,omitempty"`
	Claims json.RawMessage `json:"claims,omitempty"`
	Token  string          `json:"token"`
}

// vectorClaims returns good claims. Edits replace a part of them, such as
// `"sub":"alice"`, by another.
func vectorClaims(edits ...string) string {
	claims := `{"iss":"backend","sub":"alice","aud":"` + relayKey.Public().ID() +
		`","jti":"vector-1","iat":1767225600,"exp":4102444800,"provider":"openai"}`
	for i := 0; i < len(edits); i += 2 {
		claims = replace(edits[i], edits[i+1])(claims)
	}
	return claims
}

func adding(claims string) string { return vectorClaims(`"provider"`, claims+`,"provider"`) }

// accepted are good tokens.
var acceptedVectors = []struct {
	name string
	forgery
}{
	{"ES256, A256GCM", forgery{}},
	{"ES256, A128GCM", forgery{enc: encA128GCM}},
	{"EdDSA", forgery{signer: edIssuerKey, claims: vectorClaims(`"iss":"backend"`, `"iss":"edge"`)}},
	{"outer typ", forgery{outer: member(`"typ":"JWT"`)}},
	{"aud as an array", forgery{claims: vectorClaims(`"aud":"`+relayKey.Public().ID()+`"`, `"aud":["`+relayKey.Public().ID()+`"]`)}},
	{"every claim", forgery{claims: adding(`"nbf":1767225600,"api_key":"sk-of-the-issuer","limits":{"calls":100,"rpm":10,"concurrency":2,` +
		`"tokens":100000,"usd":"1.50"},"allow":{"models":["gpt-5*"],"paths":["POST /v1/chat/completions"],"methods":["POST"],` +
		`"ips":["192.0.2.0/24"],"origins":["https://app.example.com"]},"set":{"model":"gpt-5-mini"}`)}},
}

// refusedClaims are claims that are signed and encrypted well, and refused.
var refusedClaims = []struct{ name, claims string }{
	{"unknown claim", adding(`"scope":"all"`)},
	{"claim twice", adding(`"sub":"bob"`)},
	{"claim in another case", vectorClaims(`"sub"`, `"Sub"`)},
	{"claim of null", vectorClaims(`"alice"`, `null`)},
	{"cnf", adding(`"cnf":{"jkt":"0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}`)},
	{"data after the claims", vectorClaims() + "{}"},
	{"no JSON", "claims"},
	{"iss is not the signer", vectorClaims(`"backend"`, `"edge"`)},
	{"aud of another relay", vectorClaims(relayKey.Public().ID(), oldRelayKey.Public().ID())},
	{"two in aud", vectorClaims(`"aud":"`+relayKey.Public().ID()+`"`, `"aud":["`+relayKey.Public().ID()+`","other"]`)},
	{"no jti", vectorClaims(`"jti":"vector-1",`, ``)},
	{"jti with a slash", vectorClaims(`vector-1`, `vector/1`)},
	{"no exp", vectorClaims(`"exp":4102444800,`, ``)},
	{"exp before iat", vectorClaims(`4102444800`, `1767225599`)},
	{"expired", vectorClaims(`"iat":1767225600,"exp":4102444800`, `"iat":1704067200,"exp":1704070800`)},
	{"not valid yet", adding(`"nbf":4102444000`)},
	{"issued in the future", vectorClaims(`"iat":1767225600`, `"iat":4102444000`)},
	{"longer than max_ttl", vectorClaims(`4102444800`, `7258118400`)},
	{"no provider", vectorClaims(`,"provider":"openai"`, ``)},
	{"provider that the issuer may not grant", vectorClaims(`openai`, `anthropic`)},
	{"provider as a URL", vectorClaims(`"openai"`, `"https://api.openai.com"`)},
	{"key that the issuer may not carry", vectorClaims(`"iss":"backend"`, `"iss":"edge"`, `"provider"`, `"api_key":"sk-x","provider"`)},
	{"calls of 0", adding(`"limits":{"calls":0}`)},
	{"calls as text", adding(`"limits":{"calls":"1"}`)},
	{"calls of a fraction", adding(`"limits":{"calls":1.5}`)},
	{"usd as a number", adding(`"limits":{"usd":1.5}`)},
	{"usd of too many decimals", adding(`"limits":{"usd":"0.0000000001"}`)},
	{"unknown limit", adding(`"limits":{"rps":1}`)},
	{"empty list", adding(`"allow":{"models":[]}`)},
	{"star within a model", adding(`"allow":{"models":["gpt-*-mini"]}`)},
	{"method in lower case", adding(`"allow":{"methods":["post"]}`)},
	{"broken path", adding(`"allow":{"paths":["v1/models"]}`)},
	{"broken address", adding(`"allow":{"ips":["192.0.2.300"]}`)},
	{"origin with a path", adding(`"allow":{"origins":["https://app.example.com/"]}`)},
}

// TestVectors makes the file, or checks that the tokens still open, or do not.
func TestVectors(t *testing.T) {
	if *updateVectors {
		writeVectors(t)
	}
	data, err := os.ReadFile(vectorsFile)
	must(t, err)
	var v tokenVectors
	must(t, json.Unmarshal(data, &v))
	if len(v.Accepted) != len(acceptedVectors) || len(v.Refused) < len(refusedClaims)+50 {
		t.Fatalf("got %d and %d vectors; make them anew with -vectors.update", len(v.Accepted), len(v.Refused))
	}

	opener := newTestOpener(t)
	for _, accepted := range v.Accepted {
		opened, err := opener.Open(t.Context(), accepted.Token)
		must(t, err)
		var got, want any
		if must(t, errors.Join(json.Unmarshal(opened.Claims, &got), json.Unmarshal(accepted.Claims, &want))); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got claims %v, want %v", accepted.Name, got, want)
		}
	}
	rules := make(map[string]string)
	for _, refused := range v.Refused {
		rules[refused.Name] = refused.Rule
	}
	for _, tt := range profileTests {
		if rule, ok := rules[tt.name]; ok && rule != tt.rule {
			t.Errorf("%s: got rule %q, want %q", tt.name, rule, tt.rule)
		}
	}
}

func writeVectors(t *testing.T) {
	relay := jwkOf(relayKey)
	relay["kid"] = relayKey.public.id
	v := tokenVectors{
		About: "Tokens of RelayAPI, see docs/tokens.md. The keys are published ones and must not be used. rule says why a token is refused; code is what a client is told.",
		Relay: relay,
		Issuers: []vectorIssuer{
			{"backend", jwkOf(ecIssuerKey), []string{"openai"}, "876000h", true},
			{"edge", jwkOf(edIssuerKey), []string{"openai"}, "876000h", false},
		},
	}
	for _, tt := range acceptedVectors {
		tt.claims = strings.TrimSpace(tt.claims)
		if tt.claims == "" {
			tt.claims = vectorClaims()
		}
		v.Accepted = append(v.Accepted, tokenVector{Name: tt.name, Claims: json.RawMessage(tt.claims), Token: tt.token(t)})
	}
	for _, tt := range profileTests {
		tt.claims = vectorClaims()
		if token := tt.token(t); len(token) < 2000 {
			v.Refused = append(v.Refused, tokenVector{Name: tt.name, Code: "invalid_token", Rule: tt.rule, Token: token})
		}
	}
	v.Refused = append(v.Refused, tokenVector{Name: "signed by another issuer", Code: "invalid_token", Rule: "signature does not verify",
		Token: forgery{claims: vectorClaims(), wrap: func(s string) string {
			return s[:strings.LastIndex(s, ".")+1] + encodeSegment(signWith(t, oldRelayKey, s[:strings.LastIndex(s, ".")]))
		}}.token(t)})
	for _, tt := range refusedClaims {
		signer := ecIssuerKey
		if strings.Contains(tt.claims, `"iss":"edge"`) && strings.Contains(tt.claims, "api_key") {
			signer = edIssuerKey
		}
		v.Refused = append(v.Refused, tokenVector{Name: tt.name, Token: forgery{signer: signer, claims: tt.claims}.token(t)})
	}

	file, err := os.Create(vectorsFile)
	must(t, err)
	encoder := json.NewEncoder(file)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	must(t, encoder.Encode(v))
	must(t, file.Close())
}

// jwkOf returns a published private key. The package itself never writes one as a JWK.
func jwkOf(k *PrivateKey) map[string]any {
	var d []byte
	jwk, err := k.public.bareJWK()
	if err != nil {
		panic(err)
	}
	if k.secret().ec != nil {
		d, err = k.secret().ec.Bytes()
	} else {
		d = k.secret().ed.Seed()
	}
	if err != nil {
		panic(err)
	}
	data, err := json.Marshal(jwk)
	if err != nil {
		panic(err)
	}
	var all map[string]any
	if err := json.Unmarshal(data, &all); err != nil {
		panic(err)
	}
	all["d"] = base64.RawURLEncoding.EncodeToString(d)
	return all
}
