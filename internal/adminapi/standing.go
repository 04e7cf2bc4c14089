package adminapi

import (
	"time"

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
