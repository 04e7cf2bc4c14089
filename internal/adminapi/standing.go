package adminapi

import (
	"time"

	"github.com/relayapi/caddy-relayapi/grant"
	"github.com/relayapi/caddy-relayapi/tokenstore"
)

// LimitStanding is what the holder of a token is told about a limit in force: the token's own, or one of the operator.
type LimitStanding struct {
	Scope     tokenstore.Scope `json:"scope"` // whose use it counts
	Unit      tokenstore.Unit  `json:"unit"`  // calls, tokens or usd
	Per       string           `json:"per,omitempty"`
	Limit     Quantity         `json:"limit"`
	Used      Quantity         `json:"used"`
	Remaining Quantity         `json:"remaining"`
	Ends      time.Time        `json:"ends,omitzero"` // of the day or month
}

// NewStandings returns how a token stands under the limits in force. ends tells when the
// current day or month ends.
func NewStandings(limits []tokenstore.LimitUse, ends func(per string) time.Time) []LimitStanding {
	all := []LimitStanding{} // in JSON an empty list, not null
	for _, l := range limits {
		u := NewLimitUse(l, ends(l.Per))
		all = append(all, LimitStanding{u.Scope, u.Unit, u.Per, u.Amount, u.Used, u.Left, u.Ends})
	}
	return all
}

// TokenStatus is what the holder of a token is told.
type TokenStatus struct {
	ID        string    `json:"id"`
	Issuer    string    `json:"issuer"`
	Subject   string    `json:"subject,omitempty"`
	Provider  string    `json:"provider"`
	ExpiresAt time.Time `json:"expires_at"`

	// What is left of the token's own limits; nil means unlimited.
	Calls  *Left[int64]     `json:"calls,omitempty"`
	Tokens *Left[int64]     `json:"tokens,omitempty"`
	USD    *Left[grant.USD] `json:"usd,omitempty"`

	Limits []LimitStanding `json:"limits"` // all limits in force
}

// Left is what is left of a limit.
type Left[N int64 | grant.USD] struct {
	Limit     N `json:"limit"`
	Used      N `json:"used"`
	Remaining N `json:"remaining"`
}

// SetLimits tells how the token stands under the limits in force. ends tells when the
// current day or month ends.
func (s *TokenStatus) SetLimits(limits []tokenstore.LimitUse, ends func(per string) time.Time) {
	s.Limits = NewStandings(limits, ends)
	for _, l := range limits {
		switch {
		case l.Scope != tokenstore.ScopeToken || l.Per != "":
		case l.Unit == tokenstore.UnitCalls:
			s.Calls = &Left[int64]{l.Amount, l.Used, l.Left()}
		case l.Unit == tokenstore.UnitTokens:
			s.Tokens = &Left[int64]{l.Amount, l.Used, l.Left()}
		case l.Unit == tokenstore.UnitNanoUSD:
			s.USD = &Left[grant.USD]{grant.USD(l.Amount), grant.USD(l.Used), grant.USD(l.Left())}
		}
	}
}
