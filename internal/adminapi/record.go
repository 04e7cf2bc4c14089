package adminapi

import (
	"time"

	"github.com/relayapi/caddy-relayapi/grant"
	"github.com/relayapi/caddy-relayapi/tokenstore"
)

// Record is what the relay knows of one token.
type Record struct {
	Issuer    string            `json:"issuer"`
	ID        string            `json:"id"`
	Subject   string            `json:"subject,omitempty"`
	Provider  string            `json:"provider"`
	Label     string            `json:"label,omitempty"`
	Status    tokenstore.Status `json:"status"`
	IssuedAt  time.Time         `json:"issued_at"`
	ExpiresAt time.Time         `json:"expires_at"`
	FirstSeen time.Time         `json:"first_seen"`
	LastSeen  time.Time         `json:"last_seen,omitzero"`

	// CallsLimit, TokensLimit and USDLimit override the token's own limits; nil
	// means that they do not.
	CallsLimit  *int64     `json:"calls_limit,omitempty"`
	TokensLimit *int64     `json:"tokens_limit,omitempty"`
	USDLimit    *grant.USD `json:"usd_limit,omitempty"`

	// ClaimedCalls, ClaimedTokens and ClaimedUSD are the limits in the claims; 0 means
	// none. Nil ClaimedCalls means that only an older version of the relay, which did
	// not record them, has seen the token.
	ClaimedCalls  *int64    `json:"claimed_calls,omitempty"`
	ClaimedTokens int64     `json:"claimed_tokens,omitzero"`
	ClaimedUSD    grant.USD `json:"claimed_usd,omitzero"`

	// Limits are all limits in force.
	Limits []LimitUse `json:"limits,omitempty"`

	// Permits is what else the token permits; nil means that no version of the relay has
	// kept it yet, or that the record is one of a list.
	Permits *Permits `json:"permits,omitempty"`

	// CallsCounted, TokensCounted and USDCounted count against the token's own limits.
	CallsCounted  int64     `json:"calls_counted"`
	TokensCounted int64     `json:"tokens_counted,omitzero"`
	USDCounted    grant.USD `json:"usd_counted,omitzero"`

	Usage Usage `json:"usage"`

	// KeyRefused is the provider's latest refusal of the key in a call of the token;
	// nil means none since the relay started.
	KeyRefused *KeyRefusal `json:"key_refused,omitempty"`
}

// Page is one page of a list of tokens. Next is the cursor of the next page; empty
// means that this is the last page.
type Page struct {
	Records []Record `json:"tokens"`
	Next    string   `json:"next,omitempty"`
}

// LimitUse is a limit in force for a token, and how much of it is used.
type LimitUse struct {
	Scope  tokenstore.Scope `json:"scope"` // whose use it counts
	Unit   tokenstore.Unit  `json:"unit"`  // calls, tokens or usd
	Per    string           `json:"per,omitempty"`
	Amount Quantity         `json:"amount"`
	Used   Quantity         `json:"used"`
	Left   Quantity         `json:"left"`
	Ends   time.Time        `json:"ends,omitzero"` // of the window; zero means never
}

// NewLimitUse returns a limit of the ledger as clients see it.
func NewLimitUse(l tokenstore.LimitUse, ends time.Time) LimitUse {
	return LimitUse{
		Scope: l.Scope, Unit: shownUnit(l.Unit), Per: l.Per, Ends: ends,
		Amount: quantity(l.Unit, l.Amount), Used: quantity(l.Unit, l.Used), Left: quantity(l.Unit, l.Left()),
	}
}

// NewRecord returns a record of the ledger as clients see it. ends returns the end of
// the current day or month.
func NewRecord(r *tokenstore.Record, ends func(per string) time.Time) Record {
	shown := Record{
		Issuer: r.Issuer, ID: r.ID, Subject: r.Subject, Provider: r.Provider, Label: r.Label, Status: r.Status,
		IssuedAt: r.IssuedAt, ExpiresAt: r.ExpiresAt, FirstSeen: r.FirstSeen, LastSeen: r.LastSeen,
		CallsLimit: r.CallsLimit, TokensLimit: r.TokensLimit, USDLimit: (*grant.USD)(r.NanoUSDLimit),
		ClaimedCalls: r.ClaimedCalls, ClaimedTokens: r.ClaimedTokens, ClaimedUSD: grant.USD(r.ClaimedNanoUSD),
		CallsCounted: r.CallsCounted, TokensCounted: r.TokensCounted, USDCounted: grant.USD(r.NanoUSDCounted),
		Usage: NewUsage(r.Usage),
	}
	for _, l := range r.Limits {
		shown.Limits = append(shown.Limits, NewLimitUse(l, ends(l.Per)))
	}
	return shown
}

// NewPage returns a page of the ledger as clients see it.
func NewPage(p *tokenstore.Page, ends func(per string) time.Time) Page {
	shown := Page{Records: []Record{}, Next: p.Next} // in JSON an empty list, not null
	for i := range p.Records {
		shown.Records = append(shown.Records, NewRecord(&p.Records[i], ends))
	}
	return shown
}

// OwnLimits returns the limits of a token over its whole life: the operator's override,
// else that of the claims, else its issuer's.
func OwnLimits(r *tokenstore.Record, issuer grant.Limits) tokenstore.Limits {
	own := r.Override()
	for _, l := range []struct {
		limit           **int64
		claimed, issuer *int64
	}{
		{&own.Calls, r.ClaimedCalls, issuer.Calls},
		{&own.Tokens, &r.ClaimedTokens, issuer.Tokens},
		{&own.NanoUSD, &r.ClaimedNanoUSD, (*int64)(issuer.USD)},
	} {
		switch {
		case *l.limit != nil || l.claimed == nil:
		case *l.claimed > 0:
			*l.limit = l.claimed
		default:
			*l.limit = l.issuer
		}
	}
	return own
}

// Usage is what calls used, with its cost in dollars.
type Usage struct {
	tokenstore.Usage // without its costs, which are in nano-USD

	CostUSD    grant.USD `json:"cost_usd"`
	OverrunUSD grant.USD `json:"overrun_usd,omitzero"` // part of the cost beyond what the calls reserved
}

// NewUsage returns usage of the ledger as clients see it.
func NewUsage(u tokenstore.Usage) Usage {
	shown := Usage{Usage: u, CostUSD: grant.USD(u.Cost), OverrunUSD: grant.USD(u.Overrun)}
	shown.Cost, shown.Overrun = 0, 0
	return shown
}
