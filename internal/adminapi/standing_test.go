package adminapi

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/relayapi/caddy-relayapi/tokenstore"
)

func TestTokenStatus_TellsOwnLimitsApart(t *testing.T) {
	use := func(scope tokenstore.Scope, unit tokenstore.Unit, per string) tokenstore.LimitUse {
		return tokenstore.LimitUse{Scope: scope, Unit: unit, Per: per, Amount: 2_500_000_000, Used: 1_000_000_000}
	}
	for name, tc := range map[string]struct {
		limit tokenstore.LimitUse
		want  string
	}{
		"calls":        {use("token", tokenstore.UnitCalls, ""), `{"calls":{"limit":2500000000,"used":1000000000,"remaining":1500000000}}`},
		"tokens":       {use("token", tokenstore.UnitTokens, ""), `{"tokens":{"limit":2500000000,"used":1000000000,"remaining":1500000000}}`},
		"dollars":      {use("token", tokenstore.UnitNanoUSD, ""), `{"usd":{"limit":"2.50","used":"1.00","remaining":"1.50"}}`},
		"of a day":     {use("token", tokenstore.UnitCalls, "day"), `{}`},
		"of an issuer": {use("issuer", tokenstore.UnitCalls, ""), `{}`},
	} {
		var s TokenStatus
		s.SetLimits([]tokenstore.LimitUse{tc.limit}, func(string) time.Time { return time.Time{} })
		got, err := json.Marshal(struct {
			Calls  any `json:"calls,omitzero"`
			Tokens any `json:"tokens,omitzero"`
			USD    any `json:"usd,omitzero"`
		}{present(s.Calls), present(s.Tokens), present(s.USD)})
		if err != nil || string(got) != tc.want || len(s.Limits) != 1 {
			t.Errorf("%s: got %s and %d limits, %v, want %s and one limit", name, got, len(s.Limits), err, tc.want)
		}
	}
}

// present returns what a pointer points to, or nil.
func present[T any](p *T) any {
	if p == nil {
		return nil
	}
	return p
}
