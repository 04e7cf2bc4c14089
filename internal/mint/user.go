package mint

import (
	"crypto/rand"
	"errors"
	"strings"
	"time"

	"github.com/relayapi/caddy-relayapi/grant"
)

// planMark is before the plan in the id of a token. The profile has no claim for it.
const planMark = "."

// PlanOf returns the plan of the user for whom a token was minted, by its id.
func PlanOf(id string) string { return id[strings.LastIndex(id, planMark)+1:] }

// User is a user of a login, as the login's token says.
type User struct {
	Subject  string
	Plan     string            // an id that tokens keep, see [PlanOf]
	IssuedAt grant.NumericDate // of the login's token
}

// Target checks the provider in the draft of a login's user. If the draft has none, it
// fills in the issuer's only one.
func (m *Minter) Target(draft *grant.Claims) error {
	for _, provider := range m.Issuer.Providers {
		if draft.Provider == provider || draft.Provider == "" && len(m.Issuer.Providers) == 1 {
			draft.Provider = provider
			return nil
		}
	}
	return m.noProvider()
}

// MintFor mints a token for a user of a login. The user can narrow what the login's
// token permits. The relay alone chooses the id, which has the plan in it.
//
// The token counts as issued when the login's token was. So it expires at the latest
// when the issuer's MaxTTL has passed since then, and a revocation of what the user had
// before some time cannot miss it.
func (m *Minter) MintFor(u User, draft *grant.Claims, now time.Time) (*Minted, error) {
	switch {
	case draft.Issuer != "" && draft.Issuer != m.Issuer.Name:
		return nil, &grant.Denial{Reason: grant.BeyondGrant, Rule: "iss: the login is that of issuer " + m.Issuer.Name}
	case draft.Subject != "" && draft.Subject != u.Subject:
		return nil, &grant.Denial{Reason: grant.BeyondGrant, Rule: "sub: leave it out; it is the user of the login"}
	case draft.Audience != "" || draft.ID != "" || draft.IssuedAt != 0:
		return nil, errors.New("aud, jti, iat: leave them out; the relay sets them")
	}

	c := *draft
	c.Subject, c.IssuedAt, c.ID = u.Subject, u.IssuedAt, rand.Text()+planMark+u.Plan
	if c.ExpiresAt == 0 {
		c.ExpiresAt = min(grant.NumericDate(now.Add(DefaultTTL).Unix()), c.IssuedAt+grant.NumericDate(m.Issuer.MaxTTL/time.Second))
	}
	if c.ExpiresAt <= grant.NumericDate(now.Unix()) {
		return nil, errors.New("exp: the token would have expired; sign in again, because it counts as issued when the login's token was")
	}
	return m.Mint(&c, now)
}
