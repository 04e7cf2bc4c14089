package cli

import (
	"testing"

	"github.com/relayapi/caddy-relayapi/tokenstore"
)

func TestPrintRecords_Limits(t *testing.T) {
	n := func(n int64) *int64 { return &n }
	own := tokenstore.LimitUse{Scope: "token", Unit: "calls", Amount: 3, Used: 1}
	day := tokenstore.LimitUse{Scope: "subject", Unit: "calls", Per: "day", Amount: 20, Used: 19}
	spent := tokenstore.LimitUse{Scope: "issuer", Unit: "calls", Amount: 5, Used: 7}
	tests := []struct {
		name                       string
		override, claimed          *int64
		limits                     []tokenstore.LimitUse
		wantLimit, wantLeft, shown string
	}{
		{"none", nil, n(0), nil, "-", "-", "none"},
		{"of the claims", nil, n(3), []tokenstore.LimitUse{own}, "3", "2", "3, in its claims"},
		{"of the issuer", nil, n(0), []tokenstore.LimitUse{own}, "3", "2", "3, as its issuer's tokens have"},
		{"override", n(3), n(2), []tokenstore.LimitUse{own}, "3", "2", "3, instead of 2 in its claims"},
		{"override of none", n(3), n(0), []tokenstore.LimitUse{own}, "3", "2", "3, set by the operator"},
		{"the tightest of two", nil, n(3), []tokenstore.LimitUse{own, day}, "20/day of subject", "1", "3, in its claims"},
		{"lowered below its use", nil, n(0), []tokenstore.LimitUse{day, spent}, "5 of issuer", "0", "none"},
		{"not kept", nil, nil, nil, "?", "?", "unknown until its next call; an earlier version of the relay did not keep it"},
		{"not kept, with another", nil, nil, []tokenstore.LimitUse{day}, "?", "?", "unknown until its next call; an earlier version of the relay did not keep it"},
		{"not kept, another spent", nil, nil, []tokenstore.LimitUse{spent}, "5 of issuer", "0", "unknown until its next call; an earlier version of the relay did not keep it"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := tokenstore.Record{Status: tokenstore.Active, CallsLimit: test.override, ClaimedCalls: test.claimed}
			r.SetLimits(test.limits)
			if limit, left := tightest(r); limit != test.wantLimit || left != test.wantLeft {
				t.Errorf("listed with %q, left %q, want %q, left %q", limit, left, test.wantLimit, test.wantLeft)
			}
			if got := ownLimit(r); got != test.shown {
				t.Errorf("shown as %q, want %q", got, test.shown)
			}
			if exhausted := r.Status == tokenstore.Exhausted; exhausted != (test.wantLeft == "0") {
				t.Errorf("status %s with %s left", r.Status, test.wantLeft)
			}
		})
	}
}
