package cli

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/relayapi/caddy-relayapi/grant"
	"github.com/relayapi/caddy-relayapi/internal/adminapi"
	"github.com/relayapi/caddy-relayapi/tokenstore"
)

func TestPermitLines(t *testing.T) {
	for name, tc := range map[string]struct {
		permits *adminapi.Permits
		want    []string
	}{
		"unknown":    {nil, []string{"unknown until its next call; an earlier version of the relay did not keep it"}},
		"everything": {&adminapi.Permits{}, []string{"all that the provider's paths have"}},
		"no plan":    {&adminapi.Permits{Plan: "0"}, []string{"all that the provider's paths have"}},
		"all": {&adminapi.Permits{RPM: 5, Concurrency: 2, Model: "m", Plan: "0a1b", Allow: grant.Allow{Models: []string{"m", "n*"}, IPs: []string{"192.0.2.1"}},
			Issuer: grant.Allow{Paths: []string{"/v1/*"}, Methods: []string{"GET"}, Origins: []string{"https://app.example"}}},
			[]string{"5 calls per minute", "2 calls at once", "model m, which the relay writes into each request", "models m, n*", "addresses 192.0.2.1",
				"paths /v1/*, for all tokens of the issuer", "methods GET, for all tokens of the issuer", "origins https://app.example, for all tokens of the issuer",
				"a plan of the login's users in the config (when)"}},
	} {
		if got := permitLines(tc.permits); !slices.Equal(got, tc.want) {
			t.Errorf("%s: got %q, want %q", name, got, tc.want)
		}
	}
}

func TestPrintStatus_Limits(t *testing.T) {
	five, usd := int64(5), grant.USD(2_500_000_000)
	limit := func(scope tokenstore.Scope, unit tokenstore.Unit, per string, n int64, from string) adminapi.Limit {
		return adminapi.NewLimit(tokenstore.Limit{Scope: scope, Unit: unit, Per: per, Amount: n}, from)
	}
	s := adminapi.Status{
		Limits: []adminapi.Limit{limit("subject", "calls", "day", 20, "config"), limit("token", "nanousd", "month", 1e9, "admin")},
		Budget: []adminapi.IssuerStatus{{Issuer: "shop", Each: grant.Limits{Calls: &five, USD: &usd}, All: []adminapi.LimitUse{limitUse("issuer", "calls", "month", 100, 40)}},
			{Issuer: "relay"}, {Issuer: "users", User: []adminapi.Limit{limit("subject", "tokens", "", 1000, "config")}}},
	}
	var out bytes.Buffer
	if err := printStatus(&out, s); err != nil {
		t.Fatal(err)
	}
	text := strings.Join(strings.Fields(out.String()), " ")
	for _, want := range []string{
		"limits 20 calls per day for each subject, in the config $1.00 per month for each token, set by the operator",
		"issuer shop 5 calls for each token at most $2.50 for each token at most 100 calls/month of issuer: 40 used, 60 left, until " + time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC).Format(time.RFC3339),
		"issuer users 1000 tokens for each user without a plan",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("got %s, want it with %q", text, want)
		}
	}
}
