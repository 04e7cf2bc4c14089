package relayapi

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/relayapi/caddy-relayapi/grant"
	"github.com/relayapi/caddy-relayapi/tokenstore"
)

// Limit is what the operator lets every token, subject or issuer use, whatever
// their tokens say: for example 20 calls per subject per day.
type Limit struct {
	// Whose use is counted: each `token`, each `subject` of an issuer, or each
	// `issuer`. Tokens without a subject are one subject.
	Scope string `json:"scope"`

	// How many calls.
	Calls int64 `json:"calls"`

	// In which time: `day` or `month`, which begin at 00:00 UTC. Default: in all.
	Per string `json:"per,omitempty"`
}

var (
	limitScopes = []string{string(tokenstore.ScopeToken), string(tokenstore.ScopeSubject), string(tokenstore.ScopeIssuer)}
	limitTimes  = []string{"", "day", "month"}
)

func (l Limit) validate() error {
	switch {
	case !slices.Contains(limitScopes, l.Scope):
		return fmt.Errorf("scope %q is neither token, subject nor issuer", l.Scope)
	case !slices.Contains(limitTimes, l.Per):
		return fmt.Errorf("per %q: it is per day or per month, or left out", l.Per)
	case l.Calls < 1 || l.Calls > grant.MaxCalls:
		return fmt.Errorf("calls must be from 1 to %d", int64(grant.MaxCalls))
	case l.Scope == string(tokenstore.ScopeToken) && l.Per == "":
		return errors.New("the calls of a token in all are its claim limits.calls; say per day or per month")
	}
	return nil
}

// charge is what one call of a token costs under the limit.
func (l Limit) charge(t *tokenstore.Token, now time.Time) tokenstore.Charge {
	c := tokenstore.Counter{Scope: tokenstore.Scope(l.Scope), ID: t.Issuer, Unit: tokenstore.UnitCalls}
	switch c.Scope {
	case tokenstore.ScopeToken:
		c.ID += "/" + t.ID
	case tokenstore.ScopeSubject:
		c.ID += "/" + t.Subject
	}
	now = now.UTC()
	switch l.Per {
	case "day":
		c.Window = time.Date(now.Year(), now.Month(), now.Day(), 0, 0, 0, 0, time.UTC)
	case "month":
		c.Window = time.Date(now.Year(), now.Month(), 1, 0, 0, 0, 0, time.UTC)
	}
	return tokenstore.Charge{Counter: c, Amount: 1, Limit: l.Calls}
}

// exhausted says which limit was reached.
func exhausted(e *tokenstore.ExhaustedError) string {
	switch {
	case e.Counter.Window.IsZero() && e.Counter.Scope == tokenstore.ScopeToken:
		return fmt.Sprintf("all %d calls are used", e.Limit)
	case e.Counter.Window.IsZero():
		return fmt.Sprintf("all %d calls of the %s are used", e.Limit, e.Counter.Scope)
	default:
		return fmt.Sprintf("all %d calls of the %s are used for the time since %s",
			e.Limit, e.Counter.Scope, e.Counter.Window.Format(time.DateOnly))
	}
}
