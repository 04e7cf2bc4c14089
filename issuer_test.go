package relayapi

import (
	"encoding/json"
	"strings"
	"testing"
)

// A ceiling that is not enforced must not look as if it were.
func TestIssuer_RefusesCeilingsThatAreNotEnforced(t *testing.T) {
	for limits, want := range map[string]string{
		`{"tokens":5}`:    "limits.tokens is not enforced",
		`{"usd":"1.50"}`:  "limits.usd is not enforced",
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
