package limits

import (
	"fmt"
	"slices"
	"time"

	"github.com/relayapi/caddy-relayapi/tokenstore"
)

// Reader finds the limits in force for tokens. It reads each counter once, because many
// tokens of a list share those of a subject or an issuer.
type Reader struct {
	rules *Rules
	now   time.Time
	read  func(tokenstore.Counter) (int64, error)
	used  map[tokenstore.Counter]int64
}

// NewReader returns a reader of the rules. read returns how much of a counter is used.
func NewReader(rules *Rules, now time.Time, read func(tokenstore.Counter) (int64, error)) *Reader {
	return &Reader{rules: rules, now: now, read: read, used: make(map[tokenstore.Counter]int64)}
}

// Listed completes a record of a list. It takes the counts from the record, which may
// be a little too high while the token is in use.
func (l *Reader) Listed(r *tokenstore.Record, own tokenstore.Limits, user ...tokenstore.Limit) error {
	counted := tokenstore.Amounts{Calls: r.CallsCounted, Tokens: r.TokensCounted, NanoUSD: r.NanoUSDCounted}
	h := NewHolder(r.Issuer, r.ID, r.Subject)
	for _, unit := range tokenstore.Units {
		l.used[h.total(unit)] = counted.Of(unit)
	}
	return l.Complete(r, own, user...)
}

// Complete adds the limits in force to a record: its own, the operator's, and those of the
// user whose login it is.
func (l *Reader) Complete(r *tokenstore.Record, own tokenstore.Limits, user ...tokenstore.Limit) error {
	h := NewHolder(r.Issuer, r.ID, r.Subject)
	h.Own = user
	limits, err := l.InForce(&h, own)
	r.SetLimits(limits)
	return err
}

// InForce returns a token's own limits, the operator's limits that apply to it, and
// those of its login's user.
func (l *Reader) InForce(h *Holder, own tokenstore.Limits) (limits []tokenstore.LimitUse, err error) {
	add := func(c tokenstore.Counter, per string, limit int64) {
		var used int64
		if err == nil {
			used, err = l.usedOf(c)
		}
		limits = append(limits, tokenstore.LimitUse{Scope: c.Scope, Unit: c.Unit, Per: per, Amount: limit, Used: used})
	}
	for _, unit := range tokenstore.Units {
		if limit := own.Of(unit); limit != nil {
			add(h.total(unit), "", *limit)
		}
	}
	single := func(r *Rules, h Holder, per string) {
		charges, _ := r.Charges(&h, tokenstore.Amounts{Calls: 1, Tokens: 1, NanoUSD: 1}, l.now)
		for _, c := range charges {
			add(c.Counter, per, c.Limit)
		}
	}
	for i, r := range l.rules.rules {
		single(&Rules{rules: l.rules.rules[i : i+1]}, Holder{Token: h.Token, Subject: h.Subject, Issuer: h.Issuer}, r.key.Per)
	}
	for _, limit := range h.Own {
		single(new(Rules), Holder{Token: h.Token, Subject: h.Subject, Issuer: h.Issuer, Own: []tokenstore.Limit{limit}}, limit.Per)
	}
	return limits, err
}

// OfIssuer returns the operator's limits on all tokens of an issuer together.
func (l *Reader) OfIssuer(name string) ([]tokenstore.LimitUse, error) {
	rules := slices.Clone(l.rules.rules)
	rules = slices.DeleteFunc(rules, func(r rule) bool { return r.key.Scope != tokenstore.ScopeIssuer })
	of := Reader{rules: &Rules{rules: rules}, now: l.now, read: l.read, used: l.used}
	return of.InForce(&Holder{Issuer: name}, tokenstore.Limits{})
}

// total returns the counter of the token's total usage in a unit.
func (h *Holder) total(unit tokenstore.Unit) tokenstore.Counter {
	return tokenstore.Counter{Scope: tokenstore.ScopeToken, ID: h.Token, Unit: unit}
}

// Ends returns when the current window of a period ends; zero means never.
func (l *Reader) Ends(per string) time.Time {
	_, end := Window(per, l.now)
	return end
}

func (l *Reader) usedOf(c tokenstore.Counter) (int64, error) {
	if used, ok := l.used[c]; ok {
		return used, nil
	}
	used, err := l.read(c)
	if err != nil {
		return 0, fmt.Errorf("reading the usage of %s %s: %w", c.Scope, c.ID, err)
	}
	l.used[c] = used
	return used, nil
}
