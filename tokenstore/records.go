package tokenstore

import (
	"context"
	"slices"
	"strings"
	"time"
)

// Record is all that the ledger has of a token.
type Record struct {
	Issuer    string    `json:"issuer"`
	ID        string    `json:"id"`
	Subject   string    `json:"subject,omitempty"`
	Provider  string    `json:"provider"`
	Label     string    `json:"label,omitempty"`
	Status    Status    `json:"status"`
	IssuedAt  time.Time `json:"issued_at"`
	ExpiresAt time.Time `json:"expires_at"`
	FirstSeen time.Time `json:"first_seen"`
	LastSeen  time.Time `json:"last_seen,omitzero"`
	// CallsLimit overrides the limit in the claims; nil means that it does not.
	CallsLimit *int64 `json:"calls_limit,omitempty"`
	// ClaimedCalls is the limit in the claims; 0 means none. nil means that the
	// token was last made known by a version that did not keep it.
	ClaimedCalls *int64 `json:"claimed_calls,omitempty"`
	// Limits are all limits in force, see [Record.SetLimits].
	Limits []LimitUse `json:"limits,omitempty"`
	// CallsCounted is what counts against the limit; an unlimited token has none.
	CallsCounted int64 `json:"calls_counted"`
	Usage        Usage `json:"usage"`
}

// LimitUse is a limit in force for a token, and how much of it is used.
type LimitUse struct {
	Scope Scope  `json:"scope"`         // whose calls it counts
	Per   string `json:"per,omitempty"` // day or month; empty means in all
	Calls int64  `json:"calls"`
	Used  int64  `json:"used"`
}

// Left is how many calls the limit still permits.
func (l LimitUse) Left() int64 { return max(0, l.Calls-l.Used) }

// SetLimits adds the limits in force, which the caller knows, and makes an
// active token [Exhausted] if one of them permits no further call.
func (r *Record) SetLimits(limits []LimitUse) {
	r.Limits = limits
	spent := slices.ContainsFunc(limits, func(l LimitUse) bool { return l.Left() == 0 })
	if spent && r.Status == Active {
		r.Status = Exhausted
	}
}

// Status is whether a token can be used.
type Status string

// The statuses. A token that is several of these has the first.
const (
	Revoked  Status = "revoked"
	Disabled Status = "disabled"
	Expired  Status = "expired"
	// Exhausted means that a limit in force permits no further call. Only the
	// caller knows the limits, see [Record.SetLimits].
	Exhausted Status = "exhausted"
	Active    Status = "active"
)

// Filter selects records. Empty fields select all.
type Filter struct {
	Issuer, Subject, Provider string
	Status                    Status
	// Complete sets the limits of a record before its status is compared; nil
	// leaves them out.
	Complete func(*Record) error
	After    string // cursor of the page before
	Limit    int    // records in a page, 1 to 1000; 0: 100
}

// Page is a part of a list, and the cursor of the next one, if any.
type Page struct {
	Records []Record `json:"tokens"`
	Next    string   `json:"next,omitempty"`
}

// Tokens lists tokens that were used here, by issuer and id.
func (l *Ledger) Tokens(ctx context.Context, f Filter) (Page, error) {
	if err := l.stopped(); err != nil {
		return Page{}, err
	}
	if err := l.writeUsage(false); err != nil {
		return Page{}, err
	}
	if f.Limit <= 0 {
		f.Limit = 100
	}
	f.Limit = min(f.Limit, 1000)
	var page Page
	for {
		if err := ctx.Err(); err != nil {
			return Page{}, unavailable(err)
		}
		records, err := l.db.records(f, f.Limit+1)
		if err != nil {
			return Page{}, l.failure(err)
		}
		for _, r := range records {
			l.complete(&r)
			if f.Complete != nil {
				if err := f.Complete(&r); err != nil {
					return Page{}, err
				}
			}
			if f.Status != "" && r.Status != f.Status {
				continue
			}
			if len(page.Records) == f.Limit {
				last := page.Records[f.Limit-1]
				page.Next = last.Issuer + "/" + last.ID
				return page, nil
			}
			page.Records = append(page.Records, r)
		}
		if len(records) <= f.Limit {
			return page, nil
		}
		last := records[len(records)-1]
		f.After = last.Issuer + "/" + last.ID
	}
}

// Token returns one record, or [ErrUnknown]. Its usage is up to usageEvery old:
// this can be polled, and writes nothing.
func (l *Ledger) Token(ctx context.Context, issuer, id string) (Record, error) {
	if err := l.stopped(); err != nil {
		return Record{}, err
	}
	if err := ctx.Err(); err != nil {
		return Record{}, unavailable(err)
	}
	r, err := l.db.record(issuer, id)
	if err != nil {
		return Record{}, l.failure(err)
	}
	l.complete(&r)
	return r, nil
}

// complete fills in what the database does not know: the lease and the status.
func (l *Ledger) complete(r *Record) {
	r.CallsCounted = max(0, r.CallsCounted-l.leased(TokenCounter(r.Issuer, r.ID))) // which may be of a later grant
	t := &Token{Issuer: r.Issuer, ID: r.ID, Subject: r.Subject, IssuedAt: r.IssuedAt}
	switch {
	case l.revoked.Load().match(t):
		r.Status = Revoked
	case r.Status == Disabled:
	case !l.now().Before(r.ExpiresAt):
		r.Status = Expired
	default:
		r.Status = Active
	}
}

// Change is what an operator changes of a token. Nil leaves as it is.
type Change struct {
	Disabled   *bool   `json:"disabled,omitempty"`
	Label      *string `json:"label,omitempty"`
	CallsLimit *int64  `json:"calls_limit,omitempty"` // noLimit takes the override back
}

// NoLimit as Change.CallsLimit makes the limit in the token's claims the one in
// force again.
const NoLimit = noLimit

// Update changes a token. It acts on the next request.
func (l *Ledger) Update(ctx context.Context, issuer, id string, c Change) (Record, error) {
	err := l.change(ctx, func() error {
		if err := l.db.update(issuer, id, c); err != nil {
			return err
		}
		l.known.forget(identity{issuer, id})
		return nil
	})
	if err != nil {
		return Record{}, err
	}
	return l.Token(ctx, issuer, id)
}

// Prune removes tokens that expired before a time, with their counters, and
// counters of windows that began two months before. Whoever turns the clock
// back afterwards finds these tokens refused: what they used is forgotten. A
// refresh of one that is still good begins to count anew.
// Revocations and usage by day are kept.
func (l *Ledger) Prune(ctx context.Context, before time.Time) (removed int64, err error) {
	err = l.change(ctx, func() error {
		if removed, err = l.db.prune(before); err != nil {
			return err
		}
		l.pruned.Store(max(l.pruned.Load(), before.Unix()))
		l.known.forgetAll()
		return nil
	})
	return removed, err
}

func cutCursor(cursor string) (issuer, id string) {
	issuer, id, _ = strings.Cut(cursor, "/")
	return issuer, id
}
