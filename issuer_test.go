package relayapi

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// What an issuer cannot be is said at start, and not with the first of its tokens.
func TestProvisionIssuerRefuses(t *testing.T) {
	wording := newGolden(t, "refusals/issuer.golden")
	for name, tc := range map[string]struct {
		issuer *Issuer
		about  string // is named
	}{
		"no settings":            {nil, "settings"},
		"no providers":           {&Issuer{PublicKey: "x.pem"}, "providers"},
		"a provider that is not": {&Issuer{PublicKey: "x.pem", Providers: []string{"nope"}}, `provider "nope"`},
		"longer than the relay":  {&Issuer{PublicKey: "x.pem", Providers: []string{"demo"}, MaxTTL: caddy.Duration(2 * time.Hour)}, "max_ttl 2h0m0s"},
	} {
		t.Run(name, func(t *testing.T) {
			app := &App{MaxTTL: caddy.Duration(time.Hour), Providers: map[string]*Provider{"demo": {}}, Issuers: map[string]*Issuer{"backend": tc.issuer}}
			err := app.provisionIssuers()
			if err == nil {
				t.Fatal("it provisions")
			}
			wording.says(name, err.Error())
			if !strings.Contains(err.Error(), "issuer backend: ") || !strings.Contains(err.Error(), tc.about) {
				t.Errorf("says %v, want an error about issuer backend and %q", err, tc.about)
			}
		})
	}
}

func TestIssuer_RefusesImpossibleCeilings(t *testing.T) {
	for limits, want := range map[string]string{
		`{"tokens":0}`:    "tokens",
		`{"usd":"0"}`:     "usd",
		`{"usd":"-1.50"}`: "decimal",
	} {
		var issuer Issuer
		err := json.Unmarshal([]byte(`{"public_key":"x.pem","providers":["demo"],"limits":`+limits+`}`), &issuer)
		if err == nil {
			_, err = issuer.provision("backend", new(App))
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("limits %s: error is %v, want one with %q", limits, err, want)
		}
	}
}
