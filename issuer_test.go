package relayapi

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestIssuer_RefusesImpossibleCeilings(t *testing.T) {
	for limits, want := range map[string]string{
		`{"tokens":0}`:    "tokens must be from 1",
		`{"usd":"0"}`:     "usd must be from 0.000000001",
		`{"usd":"-1.50"}`: "not a positive decimal number",
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
