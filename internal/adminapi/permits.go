package adminapi

import (
	"encoding/json"
	"time"

	"github.com/relayapi/caddy-relayapi/grant"
	"github.com/relayapi/caddy-relayapi/tokenstore"
)

// Permits is what a token permits besides its limits in all.
type Permits struct {
	RPM         int64 `json:"rpm,omitzero"`         // calls per minute; 0 means unlimited
	Concurrency int64 `json:"concurrency,omitzero"` // calls at once; 0 means unlimited

	Model string      `json:"model,omitempty"` // of every request; empty means that the request names it
	Allow grant.Allow `json:"allow,omitzero"`  // what requests must match, by the token's claims

	// Issuer is what requests must match besides, by the issuer's block in the config or
	// by the user's plan there.
	Issuer grant.Allow `json:"issuer,omitzero"`

	// Plan identifies the plan of a login's user; empty means that it is no login's.
	Plan string `json:"plan,omitempty"`
}

// DescribePermits returns what claims permit, as the ledger keeps it. It has no part of a
// key.
func DescribePermits(c *grant.Claims, g *grant.Grant, plan string) string {
	p := Permits{RPM: g.RPM, Concurrency: g.Concurrency, Model: g.SetModel, Plan: plan}
	if c.Allow != nil {
		p.Allow = *c.Allow
	}
	data, err := json.Marshal(&p)
	if err != nil {
		panic(err) // texts and numbers marshal
	}
	return string(data)
}

// PermitsOf returns what the token of a record permits, or nil if no version of the relay
// has kept it yet.
func PermitsOf(r *tokenstore.Record) *Permits {
	p := new(Permits)
	if r.Permits == "" || json.Unmarshal([]byte(r.Permits), p) != nil {
		return nil
	}
	return p
}

// PlanOf returns the plan of the login's user that a record is of; empty means unknown.
func PlanOf(r *tokenstore.Record) string {
	if p := PermitsOf(r); p != nil {
		return p.Plan
	}
	return ""
}

// IssuerStatus is what the tokens of an issuer may use.
type IssuerStatus struct {
	Issuer string       `json:"issuer"`
	Each   grant.Limits `json:"each_token,omitzero"` // the most that one token may have
	User   []Limit      `json:"each_user,omitempty"` // of its login, without a plan
	All    []LimitUse   `json:"all,omitempty"`       // of all its tokens together, and what is used
}

// NewIssuerStatus returns what the tokens of an issuer may use. ends tells when the current
// day or month ends.
func NewIssuerStatus(name string, each grant.Limits, user []tokenstore.Limit, all []tokenstore.LimitUse, ends func(per string) time.Time) IssuerStatus {
	s := IssuerStatus{Issuer: name, Each: each, User: NewLimits(user, "config")}
	for _, l := range all {
		s.All = append(s.All, NewLimitUse(l, ends(l.Per)))
	}
	return s
}

// NewLimits returns limits of the ledger as clients see them.
func NewLimits(limits []tokenstore.Limit, from string) []Limit {
	all := []Limit{} // in JSON an empty list, not null
	for _, l := range limits {
		all = append(all, NewLimit(l, from))
	}
	return all
}
