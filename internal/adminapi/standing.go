package adminapi

import (
	"time"

	"github.com/relayapi/caddy-relayapi/grant"
	"github.com/relayapi/caddy-relayapi/tokenstore"
)

// LimitStanding is a limit in force as the holder of a token sees it: the token's own,
// or one of the operator.
type LimitStanding struct {
	Scope     tokenstore.Scope `json:"scope"` // whose use it counts
	Unit      tokenstore.Unit  `json:"unit"`  // calls, tokens or usd
	Per       string           `json:"per,omitempty"`
	Limit     Quantity         `json:"limit"`
	Used      Quantity         `json:"used"`
	Remaining Quantity         `json:"remaining"`
	Ends      time.Time        `json:"ends,omitzero"` // of the day or month
}

// NewStandings returns the limits in force as the holder of a token sees them. ends
// returns the end of the current day or month.
func NewStandings(limits []tokenstore.LimitUse, ends func(per string) time.Time) []LimitStanding {
	all := []LimitStanding{} // in JSON an empty list, not null
	for _, l := range limits {
		u := NewLimitUse(l, ends(l.Per))
		all = append(all, LimitStanding{u.Scope, u.Unit, u.Per, u.Amount, u.Used, u.Left, u.Ends})
	}
	return all
}

// TokenStatus is the status of a token as its holder sees it.
type TokenStatus struct {
	ID        string    `json:"id"`
	Issuer    string    `json:"issuer"`
	Subject   string    `json:"subject,omitempty"`
	Provider  string    `json:"provider"`
	ExpiresAt time.Time `json:"expires_at"`

	// The token's own limits; nil means unlimited.
	Calls  *Left[int64]     `json:"calls,omitempty"`
	Tokens *Left[int64]     `json:"tokens,omitempty"`
	USD    *Left[grant.USD] `json:"usd,omitempty"`

	Limits []LimitStanding `json:"limits"` // all limits in force
}

// Left is a limit and how much of it is left.
type Left[N int64 | grant.USD] struct {
	Limit     N `json:"limit"`
	Used      N `json:"used"`
	Remaining N `json:"remaining"`
}

// SetLimits sets the limits in force. ends returns the end of the current day or month.
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
