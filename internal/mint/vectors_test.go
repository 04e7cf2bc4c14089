package mint_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"flag"
	"os"
	"testing"
	"time"

	"github.com/relayapi/caddy-relayapi/eccrypto"
	"github.com/relayapi/caddy-relayapi/grant"
	"github.com/relayapi/caddy-relayapi/internal/mint"
)

var update = flag.Bool("vectors.update", false, "write the reasons into docs/token-vectors.json")

const vectorsFile = "../../docs/token-vectors.json"

type vectorKey struct{ Crv, D string }

// private returns the key of a private JWK.
func (k vectorKey) private(t *testing.T) *eccrypto.PrivateKey {
	t.Helper()
	d, err := base64.RawURLEncoding.DecodeString(k.D)
	if err != nil {
		t.Fatal(err)
	}
	var key any = ed25519.NewKeyFromSeed(append(make([]byte, 0, 32), d...))
	if k.Crv == "P-256" {
		if key, err = ecdsa.ParseRawPrivateKey(elliptic.P256(), d); err != nil {
			t.Fatal(err)
		}
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := eccrypto.ParsePrivateKey(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	if err != nil {
		t.Fatal(err)
	}
	return private
}

// The published vectors open with their claims, or are refused for their reasons, as
// tokens of requests are.
func TestVectors(t *testing.T) {
	data, err := os.ReadFile(vectorsFile)
	if err != nil {
		t.Fatal(err)
	}
	var v struct {
		Relay   vectorKey
		Issuers []struct {
			Name        string
			Key         vectorKey
			Providers   []string
			MaxTTL      string `json:"max_ttl"`
			CarriedKeys bool   `json:"carried_keys"`
		}
		Accepted, Refused []struct {
			Name, Code, Rule, Token string
			Claims                  json.RawMessage
		}
	}
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}

	keys, issuers := make(map[string]*eccrypto.PublicKey), make(map[string]grant.Issuer)
	for _, i := range v.Issuers {
		maxTTL, err := time.ParseDuration(i.MaxTTL)
		if err != nil {
			t.Fatal(err)
		}
		keys[i.Name] = i.Key.private(t).Public()
		issuers[i.Name] = grant.Issuer{Name: i.Name, Providers: i.Providers, CarriedKeys: i.CarriedKeys, MaxTTL: maxTTL}
	}
	opener, err := eccrypto.NewOpener([]*eccrypto.PrivateKey{v.Relay.private(t)}, keys)
	if err != nil {
		t.Fatal(err)
	}
	routes, err := grant.ParseRoutes("/*")
	if err != nil {
		t.Fatal(err)
	}
	open := func(token string) (*grant.Claims, error) {
		opened, err := mint.Open(t.Context(), opener, token)
		if err != nil {
			return nil, err
		}
		claims, err := grant.ParseClaims(opened.Claims)
		if err != nil {
			return nil, err
		}
		permits, err := grant.Compile(claims, issuers[opened.Issuer], opened.KeyID, routes)
		if err != nil {
			return nil, err
		}
		return claims, permits.ValidAt(time.Now())
	}

	for _, accepted := range v.Accepted {
		claims, err := open(accepted.Token)
		want, parseErr := grant.ParseClaims(accepted.Claims)
		if err != nil || parseErr != nil {
			t.Errorf("%s: got %v and %v, want none", accepted.Name, err, parseErr)
			continue
		}
		got, _ := json.Marshal(claims)
		if wanted, _ := json.Marshal(want); string(got) != string(wanted) {
			t.Errorf("%s: got claims\n%s, want\n%s", accepted.Name, got, wanted)
		}
	}
	var file map[string]any
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	for i, refused := range v.Refused {
		_, err := open(refused.Token)
		var denial *grant.Denial
		if !errors.As(err, &denial) {
			t.Errorf("%s: got %v, want a refusal", refused.Name, err)
			continue
		}
		if *update {
			entry := file["refused"].([]any)[i].(map[string]any)
			entry["code"], entry["rule"] = string(denial.Reason), denial.Rule
		} else if string(denial.Reason) != refused.Code || denial.Rule != refused.Rule {
			t.Errorf("%s: got %s: %s, want %s: %s", refused.Name, denial.Reason, denial.Rule, refused.Code, refused.Rule)
		}
	}
	if *update {
		writeVectors(t, file)
	}
}

func writeVectors(t *testing.T, file map[string]any) {
	t.Helper()
	out, err := os.Create(vectorsFile)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(file); err != nil {
		t.Fatal(err)
	}
}
