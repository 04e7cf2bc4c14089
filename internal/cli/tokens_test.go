package cli

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/relayapi/caddy-relayapi/grant"
	"github.com/relayapi/caddy-relayapi/internal/adminapi"
	"github.com/relayapi/caddy-relayapi/tokenstore"
)

func limitUse(scope tokenstore.Scope, unit tokenstore.Unit, per string, amount, used int64) adminapi.LimitUse {
	var ends time.Time
	if per != "" {
		ends = time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)
	}
	return adminapi.NewLimitUse(tokenstore.LimitUse{Scope: scope, Unit: unit, Per: per, Amount: amount, Used: used}, ends)
}

// A list and a token's own page have every limit in force, in its unit, with where it
// comes from, what is used and left, and when it ends.
func TestPrintRecords_Limits(t *testing.T) {
	const unknown = "unknown until its next call; an earlier version of the relay did not keep it"
	n := func(n int64) *int64 { return &n }
	usd := func(n grant.USD) *grant.USD { return &n }
	own := limitUse("token", "calls", "", 3, 1)
	ownTokens := limitUse("token", "tokens", "", 1000, 250)
	ownDollars := limitUse("token", "nanousd", "", 5_000_000_000, 1_200_000_000)
	day := limitUse("subject", "calls", "day", 20, 19)
	month := limitUse("issuer", "nanousd", "month", 10_000_000_000, 0)
	spent := limitUse("issuer", "calls", "", 5, 7)
	tests := []struct {
		name   string
		record adminapi.Record
		cells  []string // limit, used, left, ends
		lines  []string
	}{
		{"none", adminapi.Record{ClaimedCalls: n(0)}, []string{"- - - -"}, []string{"none"}},
		{"of the claims", adminapi.Record{ClaimedCalls: n(3), Limits: []adminapi.LimitUse{own}},
			[]string{"3 calls 1 2 -"}, []string{"3 calls, in its claims: 1 used, 2 left"}},
		{"of the issuer", adminapi.Record{ClaimedCalls: n(0), Limits: []adminapi.LimitUse{own}},
			[]string{"3 calls 1 2 -"}, []string{"3 calls, the default of its issuer: 1 used, 2 left"}},
		{"override", adminapi.Record{CallsLimit: n(3), ClaimedCalls: n(2), Limits: []adminapi.LimitUse{own}},
			[]string{"3 calls 1 2 -"}, []string{"3 calls, instead of 2 in its claims: 1 used, 2 left"}},
		{"override of none", adminapi.Record{CallsLimit: n(3), ClaimedCalls: n(0), Limits: []adminapi.LimitUse{own}},
			[]string{"3 calls 1 2 -"}, []string{"3 calls, set by the operator: 1 used, 2 left"}},
		{"tokens of the claims", adminapi.Record{ClaimedCalls: n(0), ClaimedTokens: 1000, Limits: []adminapi.LimitUse{ownTokens}},
			[]string{"1000 tokens 250 750 -"}, []string{"1000 tokens, in its claims: 250 used, 750 left"}},
		{"tokens, override of none", adminapi.Record{ClaimedCalls: n(0), TokensLimit: n(1000), Limits: []adminapi.LimitUse{ownTokens}},
			[]string{"1000 tokens 250 750 -"}, []string{"1000 tokens, set by the operator: 250 used, 750 left"}},
		{"dollars, override", adminapi.Record{ClaimedCalls: n(0), USDLimit: usd(5e9), ClaimedUSD: 25e8, Limits: []adminapi.LimitUse{ownDollars}},
			[]string{"$5.00 $1.20 $3.80 -"}, []string{"$5.00, instead of $2.50 in its claims: $1.20 used, $3.80 left"}},
		{"the tightest first", adminapi.Record{ClaimedCalls: n(3), Limits: []adminapi.LimitUse{own, month, day}},
			[]string{"20 calls/day of subject 19 1 2026-12-01 00:00", "3 calls 1 2 -", "$10.00/month of issuer $0.00 $10.00 2026-12-01 00:00"},
			[]string{"3 calls, in its claims: 1 used, 2 left", "$10.00/month of issuer: $0.00 used, $10.00 left, until 2026-12-01T00:00:00Z",
				"20 calls/day of subject: 19 used, 1 left, until 2026-12-01T00:00:00Z"}},
		{"lowered below its use", adminapi.Record{ClaimedCalls: n(0), Limits: []adminapi.LimitUse{spent}},
			[]string{"5 calls of issuer 7 0 -"}, []string{"5 calls of issuer: 7 used, 0 left"}},
		{"not kept", adminapi.Record{Status: tokenstore.Active}, []string{"? ? ? -"}, []string{unknown}},
		{"not kept, another spent", adminapi.Record{Status: tokenstore.Exhausted, Limits: []adminapi.LimitUse{spent}},
			[]string{"5 calls of issuer 7 0 -"}, []string{unknown, "5 calls of issuer: 7 used, 0 left"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var cells []string
			for _, c := range limitCells(&test.record) {
				cells = append(cells, strings.ReplaceAll(c, "\t", " "))
			}
			if !slices.Equal(cells, test.cells) {
				t.Errorf("listed with %q, want %q", cells, test.cells)
			}
			if lines := limitLines(&test.record); !slices.Equal(lines, test.lines) {
				t.Errorf("shown as %q, want %q", lines, test.lines)
			}
		})
	}
}
