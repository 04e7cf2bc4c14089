package cli

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/relayapi/caddy-relayapi/grant"
	"github.com/relayapi/caddy-relayapi/internal/adminapi"
	"github.com/relayapi/caddy-relayapi/tokenstore"
)

// printRecords prints a table of tokens. Limits beyond the first have lines of their
// own.
func printRecords(w io.Writer, records []adminapi.Record) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "TOKEN\tSUBJECT\tPROVIDER\tSTATUS\tCALLS\tCOST\tLIMIT\tUSED\tLEFT\tENDS (UTC)\tLAST USED (UTC)\tEXPIRES (UTC)\tLABEL")
	for _, r := range records {
		limits := limitCells(&r)
		fmt.Fprintf(table, "%s/%s\t%s\t%s\t%s\t%d\t%s\t%s\t%s\t%s\t%s\n", r.Issuer, r.ID, orDash(r.Subject), r.Provider,
			r.Status, r.Usage.Calls, dollarsOrDash(r.Usage.CostUSD), limits[0], minute(r.LastSeen), minute(r.ExpiresAt), orDash(r.Label))
		for _, more := range limits[1:] {
			fmt.Fprintf(table, "\t\t\t\t\t\t%s\n", more)
		}
	}
	return table.Flush()
}

// limitCells returns the cells of a table about each limit in force, the one with the
// smallest part left first: the limit, what is used and left, and when it ends.
func limitCells(r *adminapi.Record) (cells []string) {
	if limitUnknown(r) && r.Status != tokenstore.Exhausted {
		cells = append(cells, "?\t?\t?\t-")
	}
	limits := slices.SortedStableFunc(slices.Values(r.Limits), func(a, b adminapi.LimitUse) int {
		return cmp.Compare(partLeft(a), partLeft(b))
	})
	for _, l := range limits {
		cells = append(cells, fmt.Sprintf("%s\t%s\t%s\t%s", limitText(l), l.Used, l.Left, minute(l.Ends)))
	}
	if len(cells) == 0 {
		return []string{"-\t-\t-\t-"}
	}
	return cells
}

// partLeft returns how much of a limit is left, from 0 to 1.
func partLeft(l adminapi.LimitUse) float64 {
	return float64(l.Left.N) / float64(max(l.Amount.N, 1))
}

// limitUnknown reports whether the record does not say if the token has a limit
// of its own.
func limitUnknown(r *adminapi.Record) bool { return r.CallsLimit == nil && r.ClaimedCalls == nil }

// limitText returns a limit such as 3 calls, 20 calls/day or $5.00/month of subject.
func limitText(l adminapi.LimitUse) string {
	text := l.Amount.String()
	if !l.Amount.Dollars {
		text += " " + string(l.Unit)
	}
	if l.Per != "" {
		text += "/" + l.Per
	}
	if l.Scope != tokenstore.ScopeToken {
		text += " of " + string(l.Scope)
	}
	return text
}

// origin returns the source of a token's own limit, after a comma. It is empty for the
// limits of the operator.
func origin(r *adminapi.Record, l adminapi.LimitUse) string {
	if l.Scope != tokenstore.ScopeToken || l.Per != "" {
		return ""
	}
	overridden, claimed := r.CallsLimit != nil, adminapi.Quantity{}
	switch l.Unit {
	case tokenstore.UnitTokens:
		overridden, claimed.N = r.TokensLimit != nil, r.ClaimedTokens
	case adminapi.USD:
		overridden, claimed = r.USDLimit != nil, adminapi.Quantity{N: int64(r.ClaimedUSD), Dollars: true}
	default:
		if r.ClaimedCalls != nil {
			claimed.N = *r.ClaimedCalls
		}
	}
	switch {
	case overridden && claimed.N > 0:
		return fmt.Sprintf(", instead of %s in its claims", claimed)
	case overridden:
		return ", set by the operator"
	case claimed.N > 0:
		return ", in its claims"
	}
	return ", the default of its issuer"
}

// limitLines returns a line about each limit in force.
func limitLines(r *adminapi.Record) (lines []string) {
	if limitUnknown(r) {
		lines = append(lines, "unknown until its next call; an earlier version of the relay did not keep it")
	}
	for _, l := range r.Limits {
		lines = append(lines, fmt.Sprintf("%s%s: %s used, %s left%s", limitText(l), origin(r, l), l.Used, l.Left, until(l.Ends)))
	}
	if len(lines) == 0 {
		return []string{"none"}
	}
	return lines
}

// until returns when a window ends, after a comma; empty if it has no end.
func until(ends time.Time) string {
	if ends.IsZero() {
		return ""
	}
	return ", until " + ends.UTC().Format(time.RFC3339)
}

func printRecord(w io.Writer, r *adminapi.Record) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(name, value string) { fmt.Fprintf(table, "%s\t%s\n", name, value) }
	row("token", r.Issuer+"/"+r.ID)
	row("status", string(r.Status))
	row("subject", orDash(r.Subject))
	row("provider", r.Provider)
	row("label", orDash(r.Label))
	row("issued", r.IssuedAt.UTC().Format(time.RFC3339))
	row("expires", r.ExpiresAt.UTC().Format(time.RFC3339))
	row("first used", minute(r.FirstSeen))
	row("last used", minute(r.LastSeen))
	for _, line := range limitLines(r) {
		row("limit", line)
	}
	for _, line := range permitLines(r.Permits) {
		row("permits", line)
	}

	u := &r.Usage
	row("calls", fmt.Sprintf("%d: %d succeeded, %d client errors, %d provider errors", u.Calls, u.Succeeded, u.ClientErrors, u.ProviderErrors))
	if u.Unmetered > 0 {
		row("unmetered", fmt.Sprintf("%d calls, whose usage the provider did not report", u.Unmetered))
	}
	for _, k := range kinds {
		if n := k.of(u); n > 0 {
			row(k.words(), fmt.Sprint(n))
		}
	}
	cost := dollarsOrDash(u.CostUSD)
	if u.OverrunUSD > 0 {
		cost += fmt.Sprintf(", including $%s beyond what the calls reserved", u.OverrunUSD)
	}
	row("cost", cost)
	row("bytes", fmt.Sprintf("%d in, %d out", u.BytesIn, u.BytesOut))
	row("time", u.Duration.Round(time.Millisecond).String())
	return table.Flush()
}

func dollarsOrDash(u grant.USD) string {
	if u == 0 {
		return "-"
	}
	return "$" + u.String()
}

// kind is a kind of usage that providers bill.
type kind struct {
	name string // as in JSON
	of   func(*adminapi.Usage) int64
}

// words returns the name as people read it.
func (k kind) words() string { return strings.ReplaceAll(k.name, "_", " ") }

// kinds are all kinds of usage. They are disjoint, except that reasoning is part of the
// output.
var kinds = []kind{
	{"requests", func(u *adminapi.Usage) int64 { return u.Requests }},
	{"input", func(u *adminapi.Usage) int64 { return u.Input }},
	{"cache_read", func(u *adminapi.Usage) int64 { return u.CacheRead }},
	{"cache_write", func(u *adminapi.Usage) int64 { return u.CacheWrite }},
	{"cache_write_hour", func(u *adminapi.Usage) int64 { return u.CacheWriteHour }},
	{"output", func(u *adminapi.Usage) int64 { return u.Output }},
	{"reasoning", func(u *adminapi.Usage) int64 { return u.Reasoning }},
	{"audio_input", func(u *adminapi.Usage) int64 { return u.AudioInput }},
	{"audio_output", func(u *adminapi.Usage) int64 { return u.AudioOutput }},
	{"image_input", func(u *adminapi.Usage) int64 { return u.ImageInput }},
	{"image_output", func(u *adminapi.Usage) int64 { return u.ImageOutput }},
	{"milliseconds", func(u *adminapi.Usage) int64 { return u.Milliseconds }},
}
