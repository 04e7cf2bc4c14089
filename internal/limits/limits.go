// Package limits applies the operator's limits: it finds the counters that a call
// counts on, and what is left there.
package limits

import (
	"fmt"
	"slices"
	"time"

	"github.com/relayapi/caddy-relayapi/internal/metering"
	"github.com/relayapi/caddy-relayapi/tokenstore"
)

// Holder is the holder of a token, by the ids of the counters for its calls.
type Holder struct {
	Token, Subject, Issuer string
	Own                    []tokenstore.Limit // of the subject, besides the rules
}

// NewHolder returns the holder of a token.
func NewHolder(issuer, id, subject string) Holder {
	return Holder{Token: issuer + "/" + id, Subject: issuer + "/" + subject, Issuer: issuer}
}

// ID returns the id of the holder's counters in a scope.
func (h *Holder) ID(scope tokenstore.Scope) string {
	switch scope {
	case tokenstore.ScopeToken:
		return h.Token
	case tokenstore.ScopeSubject:
		return h.Subject
	default:
		return h.Issuer
	}
}

// rule has the limits of a scope, a unit and a period, from the config and set since.
type rule struct {
	key    tokenstore.Limit // only scope, unit and period
	all    *int64           // nil means none
	single map[string]int64 // by counter id
}

// of returns the limit of a holder; nil means none.
func (r *rule) of(h *Holder) *int64 {
	if len(r.single) > 0 {
		if single, ok := r.single[h.ID(r.key.Scope)]; ok {
			return &single
		}
	}
	return r.all
}

// Rules are the limits in force. A limit for one holder overrides a limit for all,
// which overrides the config.
type Rules struct {
	Version uint64 // of the set limits that the rules include
	rules   []rule
}

// New returns the rules of a config and of the limits that were set later.
func New(config []tokenstore.Limit, set tokenstore.LimitSet) *Rules {
	l := &Rules{Version: set.Version}
	for _, c := range slices.Concat(config, set.Limits) {
		if r := l.rule(c); c.ID == "" {
			r.all = &c.Amount
		} else {
			r.single[c.ID] = c.Amount
		}
	}
	return l
}

// rule returns the rule of a limit, and makes it if there is none.
func (l *Rules) rule(limit tokenstore.Limit) *rule {
	key := tokenstore.Limit{Scope: limit.Scope, Unit: limit.Unit, Per: limit.Per}
	i := slices.IndexFunc(l.rules, func(r rule) bool { return r.key == key })
	if i < 0 {
		i = len(l.rules)
		l.rules = append(l.rules, rule{key: key, single: make(map[string]int64)})
	}
	return &l.rules[i]
}

// Limit reports whether any limit bounds a holder's use of a unit.
func (l *Rules) Limit(h *Holder, unit tokenstore.Unit) bool {
	return slices.ContainsFunc(h.Own, func(l tokenstore.Limit) bool { return l.Unit == unit }) ||
		slices.ContainsFunc(l.rules, func(r rule) bool { return r.key.Unit == unit && r.of(h) != nil })
}

// InPlaceOf returns the limit of a holder after a limit was set or removed. Nil means
// that the limit is another holder's, or that none is left.
func (l *Rules) InPlaceOf(limit tokenstore.Limit, h *Holder) *int64 {
	if limit.ID != "" && limit.ID != h.ID(limit.Scope) {
		return nil
	}
	for i := range l.rules {
		r := &l.rules[i]
		if r.key.Scope == limit.Scope && r.key.Unit == limit.Unit && r.key.Per == limit.Per {
			return r.of(h)
		}
	}
	return nil
}

// Charges returns the charges for a call of a holder, and when the first of their
// windows ends; zero means never.
func (l *Rules) Charges(h *Holder, cost tokenstore.Amounts, now time.Time) (charges []tokenstore.Charge, ends time.Time) {
	add := func(scope tokenstore.Scope, unit tokenstore.Unit, per string, limit int64) {
		amount := cost.Of(unit)
		if amount == 0 {
			return
		}
		start, end := Window(per, now)
		counter := tokenstore.Counter{Scope: scope, ID: h.ID(scope), Unit: unit, Window: start}
		if !end.IsZero() && (ends.IsZero() || end.Before(ends)) {
			ends = end
		}
		i := slices.IndexFunc(charges, func(c tokenstore.Charge) bool { return c.Counter == counter })
		if i >= 0 { // the lower of two limits applies
			charges[i].Limit = min(charges[i].Limit, limit)
			return
		}
		charges = append(charges, tokenstore.Charge{Counter: counter, Amount: amount, Limit: limit})
	}

	for i := range l.rules {
		r := &l.rules[i]
		if limit := r.of(h); limit != nil {
			add(r.key.Scope, r.key.Unit, r.key.Per, *limit)
		}
	}
	for _, own := range h.Own {
		add(tokenstore.ScopeSubject, own.Unit, own.Per, own.Amount)
	}
	return charges, ends
}

// Describe returns which limit was reached, as text.
func Describe(e *tokenstore.ExhaustedError) string {
	c := e.Counter
	holder, since := " of the "+string(c.Scope), ""
	switch {
	case !c.Window.IsZero():
		since = " since " + c.Window.Format(time.DateOnly)
	case c.Scope == tokenstore.ScopeToken:
		holder = ""
	}
	switch {
	case e.Limit == 0:
		return fmt.Sprintf("the operator has put the %s on hold", c.Scope)
	case c.Unit == tokenstore.UnitCalls:
		return fmt.Sprintf("all %d calls%s are used%s", e.Limit, holder, since)
	}
	return fmt.Sprintf("the budget of %s%s leaves too little for this call", metering.Format(c.Unit, e.Limit), holder+since)
}
