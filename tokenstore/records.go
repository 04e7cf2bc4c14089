package tokenstore

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Record is everything that the ledger holds of a token.
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

	// CallsLimit, TokensLimit and NanoUSDLimit override the token's own limits;
	// nil means that they do not.
	CallsLimit   *int64 `json:"calls_limit,omitempty"`
	TokensLimit  *int64 `json:"tokens_limit,omitempty"`
	NanoUSDLimit *int64 `json:"nanousd_limit,omitempty"`

	// ClaimedCalls is the limit in the claims; 0 means none. nil means that only an
	// older version, which did not record it, has seen the token.
	ClaimedCalls *int64 `json:"claimed_calls,omitempty"`
	// ClaimedTokens and ClaimedNanoUSD are likewise; 0 means none.
	ClaimedTokens  int64 `json:"claimed_tokens,omitzero"`
	ClaimedNanoUSD int64 `json:"claimed_nanousd,omitzero"`

	// Permits is that of the [Token]. Empty means not known.
	Permits string `json:"-"` // which is the form of the caller

	// Limits are all limits in force, see [Record.SetLimits].
	Limits []LimitUse `json:"limits,omitempty"`

	// CallsCounted, TokensCounted and NanoUSDCounted count against the token's own
	// limits. They are 0 in units that are unlimited.
	CallsCounted   int64 `json:"calls_counted"`
	TokensCounted  int64 `json:"tokens_counted,omitzero"`
	NanoUSDCounted int64 `json:"nanousd_counted,omitzero"`

	Usage Usage `json:"usage"`
}

// Override returns the operator's overrides of the token's own limits.
func (r *Record) Override() Limits {
	return Limits{Calls: r.CallsLimit, Tokens: r.TokensLimit, NanoUSD: r.NanoUSDLimit}
}

// LimitUse is a limit in force for a token, and how much of it is used.
type LimitUse struct {
	Scope  Scope  `json:"scope"` // whose use it counts
	Unit   Unit   `json:"unit"`
	Per    string `json:"per,omitempty"` // day or month; empty means in total
	Amount int64  `json:"amount"`
	Used   int64  `json:"used"`
}

// Left returns how much the limit still permits.
func (l LimitUse) Left() int64 { return max(0, l.Amount-l.Used) }

// SetLimits adds the limits in force, which the caller knows. It makes an active
// token [Exhausted] if one of them is used up.
func (r *Record) SetLimits(limits []LimitUse) {
	r.Limits = limits
	spent := slices.ContainsFunc(limits, func(l LimitUse) bool { return l.Left() == 0 })
	if spent && r.Status == Active {
		r.Status = Exhausted
	}
}

// Status says whether a token can be used.
type Status string

// The statuses. If several apply, the first one counts.
const (
	Revoked  Status = "revoked"
	Disabled Status = "disabled"
	Expired  Status = "expired"
	// Exhausted means that a limit in force is used up. Only the caller knows the
	// limits, see [Record.SetLimits].
	Exhausted Status = "exhausted"
	Active    Status = "active"
)

// Filter selects records. Empty fields select all.
type Filter struct {
	Issuer, Subject, Provider string
	Status                    Status
	// Complete sets the limits of a record before its status is compared. nil
	// sets none.
	Complete func(*Record) error
	After    string // the cursor of the previous page
	until    string // the cursor of the last record to read; empty means all
	Limit    int    // records per page, at most 1000; 0 means 100
}

// Page is one page of a list. Next is the cursor of the next page; empty means that
// there is none.
type Page struct {
	Records []Record `json:"tokens"`
	Next    string   `json:"next,omitempty"`
}

// maxPage is how many records a page can have.
const maxPage = 1000

// Tokens lists tokens that were used here, by issuer and id. A page by status may have
// fewer records than its filter permits although there are more: look at Next.
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
	f.Limit = min(f.Limit, maxPage)
	if f.Status != "" {
		return l.tokensByStatus(ctx, f)
	}
	records, err := l.db.records(f, f.Limit+1)
	if err != nil {
		return Page{}, l.failure(fmt.Errorf("reading tokens: %w", err))
	}
	var page Page
	_, err = l.fill(&page, records, f)
	return page, err
}

// Limits of the work for a page by status, so that it takes less than a second. The
// database is free for calls between two chunks of tokens. Of 100 000 tokens, three that
// are revoked are found in 0.4 s ([BenchmarkTokens]); reading all records took 12 s.
const (
	chunk     = 2000
	mostLooks = 200_000 // at the data that a status depends on
	mostReads = maxPage // of whole records
)

// tokensByStatus lists tokens of one status. It reads only the records that may have
// the status, because they can be few of many.
func (l *Ledger) tokensByStatus(ctx context.Context, f Filter) (page Page, err error) {
	for looks, reads := 0, 0; ; {
		if err := ctx.Err(); err != nil {
			return Page{}, unavailable(err)
		}
		tokens, err := l.db.standings(f, chunk)
		if err != nil {
			return Page{}, l.failure(fmt.Errorf("reading tokens: %w", err))
		}

		last := len(tokens) < chunk
		for len(tokens) > 0 {
			n := l.run(tokens[:min(len(tokens), mostReads-reads, f.Limit+1-len(page.Records))], f.Status)
			if looks += max(n, 1); looks > mostLooks || reads == mostReads {
				page.Next = f.After
				return page, nil
			}
			f.until = cursor(tokens[max(n, 1)-1].Issuer, tokens[max(n, 1)-1].ID)
			if n > 0 {
				if full, err := l.read(&page, f); full || err != nil {
					return page, err
				}
			}
			f.After, tokens, reads = f.until, tokens[max(n, 1):], reads+n
		}
		if f.until = ""; last {
			return page, nil
		}
	}
}

// run returns how many tokens at the start may have a status.
func (l *Ledger) run(tokens []*standing, status Status) int {
	i := slices.IndexFunc(tokens, func(t *standing) bool {
		got := l.status(&t.Token, t.disabled)
		return got != status && (got != Active || status != Exhausted) // its limits show
	})
	if i < 0 {
		return len(tokens)
	}
	return i
}

// read adds the records up to f.until to a page, as fill does.
func (l *Ledger) read(page *Page, f Filter) (full bool, err error) {
	records, err := l.db.records(f, chunk)
	if err != nil {
		return false, l.failure(fmt.Errorf("reading tokens: %w", err))
	}
	return l.fill(page, records, f)
}

// standing is the data in the database that a token's status depends on.
type standing struct {
	Token
	disabled bool
}

// status returns the status of a token whose limits are not known.
func (l *Ledger) status(t *Token, disabled bool) Status {
	switch {
	case l.revoked.Load().match(t):
		return Revoked
	case disabled:
		return Disabled
	case !l.now().Before(t.ExpiresAt):
		return Expired
	}
	return Active
}

// fill adds the records to a page that its filter selects. full means that there
// are more than fit.
func (l *Ledger) fill(page *Page, records []Record, f Filter) (full bool, err error) {
	for _, r := range records {
		l.complete(&r)
		if f.Complete != nil {
			if err := f.Complete(&r); err != nil {
				return false, err
			}
		}
		if f.Status != "" && r.Status != f.Status {
			continue
		}
		if len(page.Records) == f.Limit {
			page.Next = page.Records[f.Limit-1].cursor()
			return true, nil
		}
		page.Records = append(page.Records, r)
	}
	return false, nil
}

func (r *Record) cursor() string { return cursor(r.Issuer, r.ID) }

func cursor(issuer, id string) string { return issuer + "/" + id }

// Token returns one record, or [ErrUnknown]. It writes nothing, so that it can be
// polled; the usage in the record is up to 15 seconds old.
func (l *Ledger) Token(ctx context.Context, issuer, id string) (Record, error) {
	if err := l.stopped(); err != nil {
		return Record{}, err
	}
	if err := ctx.Err(); err != nil {
		return Record{}, unavailable(err)
	}

	r, err := l.db.record(issuer, id)
	if err != nil {
		return Record{}, l.failure(fmt.Errorf("reading token: %w", err))
	}
	l.complete(&r)
	return r, nil
}

// complete adds what only memory knows: the leases and the status.
func (l *Ledger) complete(r *Record) {
	for u, counted := range map[Unit]*int64{UnitCalls: &r.CallsCounted, UnitTokens: &r.TokensCounted, UnitNanoUSD: &r.NanoUSDCounted} {
		*counted = max(0, *counted-l.leased(tokenCounter(r.Issuer, r.ID, u))) // the lease may be of a later grant
	}

	t := &Token{Issuer: r.Issuer, ID: r.ID, Subject: r.Subject, IssuedAt: r.IssuedAt, ExpiresAt: r.ExpiresAt}
	r.Status = l.status(t, r.Status == Disabled)
}

// Change is an operator's change of a token.
type Change struct {
	Disabled *bool   // nil leaves it
	Label    *string // nil leaves it

	// Limits override the token's own limits in some units. nil removes the
	// override, so that the token's own limit is in force again. 0 refuses all
	// calls. Units that are absent stay as they are.
	Limits map[Unit]*int64
}

func (c *Change) check() error {
	for u, limit := range c.Limits {
		if !slices.Contains(Units[:], u) {
			return fmt.Errorf("unit %q of a limit: must be one of %v", u, Units)
		}
		if limit != nil && *limit < 0 {
			return fmt.Errorf("limit of %d %s: must not be negative", *limit, u)
		}
	}
	return nil
}

// Update changes a token. The change applies from the next request on.
func (l *Ledger) Update(ctx context.Context, issuer, id string, c Change) (Record, error) {
	if err := c.check(); err != nil {
		return Record{}, err
	}
	err := l.change(ctx, func() error {
		if err := l.db.update(issuer, id, c); err != nil {
			return fmt.Errorf("updating token: %w", err)
		}
		l.tokenChanged(identity{issuer, id})
		return nil
	})
	if err != nil {
		return Record{}, err
	}
	return l.Token(ctx, issuer, id)
}

func cutCursor(cursor string) (issuer, id string) {
	issuer, id, _ = strings.Cut(cursor, "/")
	return issuer, id
}
