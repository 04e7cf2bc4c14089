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

// check says what is wrong with a limit that comes after others.
func (l Limit) check(others []Limit) error {
	switch {
	case !slices.Contains(limitScopes, l.Scope):
		return fmt.Errorf("scope %q is neither token, subject nor issuer", l.Scope)
	case !slices.Contains(limitTimes, l.Per):
		return fmt.Errorf("per %q: it is per day or per month, or left out", l.Per)
	case l.Calls < 1 || l.Calls > grant.MaxCalls:
		return fmt.Errorf("calls must be from 1 to %d", int64(grant.MaxCalls))
	case l.Scope == string(tokenstore.ScopeToken) && l.Per == "":
		return errors.New("the calls of a token in all are its claim limits.calls; say per day or per month")
	case slices.ContainsFunc(others, func(m Limit) bool { return m.Scope == l.Scope && m.Per == l.Per }):
		return fmt.Errorf("there are two of each %s for the same time", l.Scope)
	}
	return nil
}

// dayMark tells the counter of a day from that of the month which begins with it.
const dayMark = time.Second

// windowOf returns when the window of a limit began that a time is in, and when
// it ends. Both are zero for a limit in all.
func windowOf(per string, now time.Time) (start, end time.Time) {
	now = now.UTC()
	switch per {
	case "day":
		start = time.Date(now.Year(), now.Month(), now.Day(), 0, 0, 0, 0, time.UTC)
		return start.Add(dayMark), start.AddDate(0, 0, 1)
	case "month":
		start = time.Date(now.Year(), now.Month(), 1, 0, 0, 0, 0, time.UTC)
		return start, start.AddDate(0, 1, 0)
	}
	return start, end
}

// limitRule is all that is said of a scope and a time, by the config and since.
type limitRule struct {
	scope  tokenstore.Scope
	per    string
	all    int64            // noLimit: there is none for all
	single map[string]int64 // by counter
}

const noLimit = -1

// limitRules are the limits in force, made of the config's and of those that
// were set since: what is set for one goes before what is set for all, and that
// before the config.
type limitRules struct {
	version uint64 // of the limits that were set, of which it is made
	rules   []limitRule
}

func newLimitRules(config []Limit, set tokenstore.LimitSet) *limitRules {
	l := &limitRules{version: set.Version}
	for _, c := range config {
		l.rule(tokenstore.Scope(c.Scope), c.Per).all = c.Calls
	}
	for _, s := range set.Limits {
		if s.Unit != tokenstore.UnitCalls {
			continue
		}
		if r := l.rule(s.Scope, s.Per); s.ID == "" {
			r.all = s.Amount
		} else {
			r.single[s.ID] = s.Amount
		}
	}
	return l
}

func (l *limitRules) rule(scope tokenstore.Scope, per string) *limitRule {
	i := slices.IndexFunc(l.rules, func(r limitRule) bool { return r.scope == scope && r.per == per })
	if i < 0 {
		i = len(l.rules)
		l.rules = append(l.rules, limitRule{scope, per, noLimit, make(map[string]int64)})
	}
	return &l.rules[i]
}

// charges adds what one call of a token costs, and returns when the first of the
// windows ends that it is counted in; zero if there is none.
func (l *limitRules) charges(charges []tokenstore.Charge, p *permit, now time.Time) (_ []tokenstore.Charge, ends time.Time) {
	for i := range l.rules {
		r := &l.rules[i]
		limit := r.all
		if len(r.single) > 0 {
			if single, ok := r.single[p.counterID(r.scope)]; ok {
				limit = single
			}
		}
		if limit == noLimit {
			continue
		}

		start, end := windowOf(r.per, now)
		counter := tokenstore.Counter{Scope: r.scope, ID: p.counterID(r.scope), Unit: tokenstore.UnitCalls, Window: start}
		charges = append(charges, tokenstore.Charge{Counter: counter, Amount: 1, Limit: limit})
		if ends.IsZero() || !end.IsZero() && end.Before(ends) {
			ends = end
		}
	}
	return charges, ends
}

// limitsInForce returns the rules, made anew when a limit was set or removed.
func (relay *relay) limitsInForce(config []Limit) *limitRules {
	set := relay.ledger.Limits()
	rules := relay.limits.Load()
	if rules == nil || rules.version != set.Version {
		rules = newLimitRules(config, set)
		relay.limits.Store(rules)
	}
	return rules
}

// exhausted says which limit was reached.
func exhausted(e *tokenstore.ExhaustedError) string {
	switch {
	case e.Limit == 0:
		return fmt.Sprintf("the operator has put the %s on hold", e.Counter.Scope)
	case e.Counter.Window.IsZero() && e.Counter.Scope == tokenstore.ScopeToken:
		return fmt.Sprintf("all %d calls are used", e.Limit)
	case e.Counter.Window.IsZero():
		return fmt.Sprintf("all %d calls of the %s are used", e.Limit, e.Counter.Scope)
	default:
		return fmt.Sprintf("all %d calls of the %s are used for the time since %s",
			e.Limit, e.Counter.Scope, e.Counter.Window.Format(time.DateOnly))
	}
}
