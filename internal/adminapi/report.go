package adminapi

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/relayapi/caddy-relayapi/tokenstore"
)

// ParseQuery returns the parameters of a query. It refuses one that is unknown or given
// twice, because a filter that is ignored would select too much.
func ParseQuery(raw string, known ...string) (url.Values, error) {
	values, err := url.ParseQuery(raw)
	if err != nil {
		return nil, errors.New("the query does not parse")
	}
	for name, all := range values {
		if len(known) == 0 {
			return nil, errors.New("unknown query parameter; this request takes none")
		}
		if !slices.Contains(known, name) {
			return nil, fmt.Errorf("unknown query parameter; must be one of %s", strings.Join(known, ", "))
		}
		if len(all) > 1 {
			return nil, fmt.Errorf("%s is given twice", name)
		}
	}
	return values, nil
}

// UsageReport is usage by some dimensions.
type UsageReport struct {
	By   []tokenstore.Dimension `json:"by"`
	Rows []UsageRow             `json:"usage"`
}

// UsageRow is usage by the dimensions of the report. The other dimensions are empty.
type UsageRow struct {
	Day      string `json:"day"` // as 2006-01-02, UTC
	Provider string `json:"provider"`
	Model    string `json:"model,omitempty"`
	Issuer   string `json:"issuer"`
	Subject  string `json:"subject"`
	Token    string `json:"token,omitempty"` // its id; tokens are told apart by issuer and id
	Usage
}

// Of returns the value of a dimension.
func (r *UsageRow) Of(d tokenstore.Dimension) string {
	return map[tokenstore.Dimension]string{
		tokenstore.ByDay: r.Day, tokenstore.ByProvider: r.Provider, tokenstore.ByModel: r.Model,
		tokenstore.ByIssuer: r.Issuer, tokenstore.BySubject: r.Subject, tokenstore.ByToken: r.Token,
	}[d]
}

// NewUsageReport returns rows of the ledger as clients see them.
func NewUsageReport(f tokenstore.UsageFilter, rows []tokenstore.UsageRow) UsageReport {
	report := UsageReport{By: f.By, Rows: []UsageRow{}} // in JSON an empty list, not null
	for _, r := range rows {
		report.Rows = append(report.Rows, UsageRow{r.Day, r.Provider, r.Model, r.Issuer, r.Subject, r.Token, NewUsage(r.Usage)})
	}
	return report
}

// ParseUsage reads the query for a report.
func ParseUsage(query string) (f tokenstore.UsageFilter, err error) {
	q, err := ParseQuery(query, "by", "provider", "model", "issuer", "subject", "token", "from", "to", "top", "limit")
	if err != nil {
		return f, err
	}
	f = tokenstore.UsageFilter{
		Provider: q.Get("provider"), Model: q.Get("model"), Issuer: q.Get("issuer"), Subject: q.Get("subject"),
	}
	if q.Has("token") {
		if err := selectToken(&f, q.Get("token")); err != nil {
			return f, err
		}
	}
	if f.By, err = parseBy(q.Get("by")); err != nil {
		return f, err
	}

	for name, day := range map[string]*time.Time{"from": &f.From, "to": &f.To} {
		if !q.Has(name) {
			continue
		}
		if *day, err = time.Parse(time.DateOnly, q.Get(name)); err != nil || day.Unix() <= 0 {
			return f, fmt.Errorf("%s must be a day such as 2026-01-31", name)
		}
	}
	if q.Has("from") && q.Has("to") && f.To.Before(f.From) {
		return f, errors.New("to is before from")
	}
	if q.Has("top") {
		if f.Top, err = ParseUnit(q.Get("top")); err != nil {
			return f, fmt.Errorf("top: %w", err)
		}
	}
	if q.Has("limit") {
		f.Limit, err = parseLength(q.Get("limit"))
	}
	return f, err
}

// parseLength reads the length of a list.
func parseLength(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > MaxPage {
		return 0, fmt.Errorf("limit must be a number from 1 to %d", MaxPage)
	}
	return n, nil
}

// selectToken selects one token by its [issuer/]id. Without an issuer it is that of the
// filter, or else the relay's own.
func selectToken(f *tokenstore.UsageFilter, name string) error {
	i, err := ParseIdentity(name)
	switch {
	case err != nil:
		return fmt.Errorf("token: %w", err)
	case strings.Contains(name, "/") && f.Issuer != "" && f.Issuer != i.Issuer:
		return errors.New("token: its issuer differs from issuer; leave one out")
	case !strings.Contains(name, "/") && f.Issuer != "":
		i.Issuer = f.Issuer
	}
	f.Issuer, f.Token = i.Issuer, i.ID
	return nil
}

// parseBy reads dimensions such as "day,model". The result has the order of the
// report's columns.
func parseBy(s string) (by []tokenstore.Dimension, err error) {
	if s == "" {
		s = "day,provider,issuer,subject"
	}
	given := strings.Split(s, ",")
	for _, name := range given {
		if !slices.Contains(tokenstore.Dimensions[:], tokenstore.Dimension(name)) {
			return nil, errors.New("by must be some of day, provider, model, issuer, subject, token, with commas between them")
		}
	}
	for _, d := range tokenstore.Dimensions {
		ofToken := d == tokenstore.ByIssuer && slices.Contains(given, string(tokenstore.ByToken))
		if slices.Contains(given, string(d)) || ofToken {
			by = append(by, d)
		}
	}
	return by, nil
}

// ParseFilter reads the query for a list of tokens.
func ParseFilter(query string) (f tokenstore.Filter, err error) {
	q, err := ParseQuery(query, "issuer", "subject", "provider", "status", "after", "limit")
	if err != nil {
		return f, err
	}
	f = tokenstore.Filter{
		Issuer: q.Get("issuer"), Subject: q.Get("subject"), Provider: q.Get("provider"),
		Status: tokenstore.Status(q.Get("status")), After: q.Get("after"),
	}
	statuses := []tokenstore.Status{"", tokenstore.Active, tokenstore.Disabled, tokenstore.Exhausted, tokenstore.Expired, tokenstore.Revoked}
	if !slices.Contains(statuses, f.Status) {
		return f, errors.New("status must be one of active, disabled, exhausted, expired, revoked")
	}
	if f.After != "" {
		if _, err := ParseIdentity(f.After); err != nil || !strings.Contains(f.After, "/") {
			return f, errors.New("after must be the `next` of another page")
		}
	}
	if q.Has("limit") {
		f.Limit, err = parseLength(q.Get("limit"))
	}
	return f, err
}
