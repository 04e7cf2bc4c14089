package relayapi

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/relayapi/caddy-relayapi/tokenstore"
	"github.com/spf13/cobra"
)

func listCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list",
		Short: "Lists the tokens that were used",
		Long: `Lists the tokens that were used at this relay, by issuer and id, with what they
have used. A token that was never used is not known here.

CALLS are those that reached the provider. LIMIT is the limit in force that has
the fewest calls left, and LEFT is how many. The limit is the token's own, from its
claims, its issuer or "token update --calls", or one that the operator set for each
token, subject or issuer ("limit list"): "20/day of subject" counts the calls of all
tokens of the subject. With - there is no limit. With ? the limit is not known until
the next call, because an earlier version of the relay did not keep it.

STATUS is revoked, disabled, expired, exhausted (no calls left) or active. A token
that is several of these has the first. A limit per day or month ends an exhausted
token only until the next one begins, at 00:00 UTC.`,
		Example: `  caddy relayapi token list --subject alice
  caddy relayapi token list --status revoked --all --json`,
		Args: cobra.NoArgs,
	}
	q := filterFlags(cmd, "issuer", "subject", "provider")
	status := cmd.Flags().String("status", "", "Only tokens that are active, disabled, exhausted, expired or revoked")
	limit := cmd.Flags().Int("limit", 100, "How many at most")
	all := cmd.Flags().Bool("all", false, "All there are")
	asJSON := cmd.Flags().Bool("json", false, "Print JSON")
	address := addressFlag(cmd)
	cmd.MarkFlagsMutuallyExclusive("limit", "all")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if *limit < 1 {
			return fmt.Errorf("--limit %d is not positive", *limit)
		}
		query := q()
		setIf(query, "status", *status)
		page, err := listTokens(*address, query, *limit, *all)
		if err != nil {
			return err
		}
		if *asJSON {
			return printJSON(cmd.OutOrStdout(), page)
		}
		if page.Next != "" {
			fmt.Fprintln(cmd.ErrOrStderr(), "there are more: --all lists them")
		}
		return printRecords(cmd.OutOrStdout(), page.Records)
	}
	return cmd
}

// listTokens asks for pages until it has as many tokens as wanted.
func listTokens(address string, query url.Values, limit int, all bool) (tokenstore.Page, error) {
	whole := tokenstore.Page{Records: []tokenstore.Record{}}
	for all || len(whole.Records) < limit {
		n := maxPage
		if !all {
			n = min(n, limit-len(whole.Records))
		}
		query.Set("limit", strconv.Itoa(n))
		var page tokenstore.Page
		if err := askAdmin(address, http.MethodGet, "/relayapi/tokens?"+query.Encode(), nil, &page, otherAddress); err != nil {
			return whole, err
		}
		whole.Records = append(whole.Records, page.Records...)
		whole.Next = page.Next
		if page.Next == "" {
			break
		}
		query.Set("after", page.Next)
	}
	return whole, nil
}

func showCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show <id>",
		Short: "Tells what the relay knows of a token",
		Long: `Tells what the relay knows of a token by its id, [issuer/]id: what it has used,
the limits in force, what was said of it with update and revoke, and what the provider
said when it last refused the key in a call of this token. Its calls, bytes
and time may be fifteen seconds old; "token list" and "usage" are up to date. Use
"token inspect" to see what else the token permits. "token list --help" explains the
status.`,
		Example: "  caddy relayapi token show my-backend/3f9c",
		Args:    oneID,
	}
	asJSON := cmd.Flags().Bool("json", false, "Print JSON")
	address := addressFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		uri, err := tokenURI(args[0])
		if err != nil {
			return err
		}
		var record shownRecord
		if err := askAdmin(*address, http.MethodGet, uri, nil, &record, otherAddress); err != nil {
			return err
		}
		if *asJSON {
			return printJSON(cmd.OutOrStdout(), record)
		}
		if err := printRecord(cmd.OutOrStdout(), record.Record); err != nil || record.KeyRefused == nil {
			return err
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "the provider refused the key at %s: %s\n", minute(record.KeyRefused.At), record.KeyRefused.Message)
		return err
	}
	return cmd
}

func updateCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "update <id>",
		Short: "Changes a token's limit or label, disables or enables it",
		Long: `Changes what the relay says of a token that was used here. The token itself
stays as it is, and whoever holds it needs no other; the change acts on its next
request.

--calls sets how many calls it permits in all, those that were counted so far
among them; 0 permits none. A token that was minted without a limit is counted
from then on only. --calls-from-claims makes the limit in its claims the one in
force again.

--disable refuses the token until --enable, and ends the calls that are under
way. To take a token back for good, see revoke.`,
		Example: `  caddy relayapi token update 3f9c --calls 500
  caddy relayapi token update my-backend/3f9c --disable --label "asked alice about this"`,
		Args: oneID,
	}
	flags := cmd.Flags()
	limit := flags.Int64("calls", 0, "How many calls it permits in all, from now on")
	fromClaims := flags.Bool("calls-from-claims", false, "Take --calls back: the limit in the token's claims holds again")
	disable := flags.Bool("disable", false, "Refuse it until it is enabled, and end its calls")
	enable := flags.Bool("enable", false, "Admit it again")
	label := flags.String("label", "", `A note to yourself; "" removes it`)
	asJSON := flags.Bool("json", false, "Print JSON")
	address := addressFlag(cmd)
	cmd.MarkFlagsMutuallyExclusive("calls", "calls-from-claims")
	cmd.MarkFlagsMutuallyExclusive("disable", "enable")
	cmd.MarkFlagsOneRequired("calls", "calls-from-claims", "disable", "enable", "label")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		uri, err := tokenURI(args[0])
		if err != nil {
			return err
		}
		change := make(map[string]any)
		switch {
		case flags.Changed("calls"):
			change["calls_limit"] = *limit
		case *fromClaims:
			change["calls_limit"] = nil
		}
		if *disable || *enable {
			change["disabled"] = *disable
		}
		if flags.Changed("label") {
			change["label"] = *label
		}
		body, err := json.Marshal(change)
		if err != nil {
			return err
		}
		var u updated
		if err := askAdmin(*address, http.MethodPatch, uri, body, &u, otherAddress); err != nil {
			return err
		}
		if *asJSON {
			return printJSON(cmd.OutOrStdout(), u)
		}
		if *disable {
			fmt.Fprintln(cmd.ErrOrStderr(), "calls under way that were ended:", u.Ended)
		}
		return printRecord(cmd.OutOrStdout(), u.Record)
	}
	return cmd
}

// oneID refuses everything but one argument, and quotes none: it may be a token.
func oneID(_ *cobra.Command, args []string) error {
	if len(args) != 1 {
		return errors.New("one token is wanted, by its [issuer/]id")
	}
	return nil
}

// tokenURI is where the admin endpoint has a token.
func tokenURI(arg string) (string, error) {
	i, err := parseIdentity(arg)
	// Escaped, because an id may be a dot or two, and those would be cleaned away.
	escape := strings.NewReplacer(".", "%2E").Replace
	return "/relayapi/tokens/" + escape(i.issuer) + "/" + escape(i.id), err
}

// filterFlags adds flags that select, and returns the query that they make.
func filterFlags(cmd *cobra.Command, names ...string) func() url.Values {
	values := make(map[string]*string)
	for _, name := range names {
		values[name] = cmd.Flags().String(name, "", "Only those of this "+name)
	}
	return func() url.Values {
		q := make(url.Values)
		for name, value := range values {
			setIf(q, name, *value)
		}
		return q
	}
}

func setIf(q url.Values, name, value string) {
	if value != "" {
		q.Set(name, value)
	}
}

func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

func printRecords(w io.Writer, records []tokenstore.Record) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "TOKEN\tSUBJECT\tPROVIDER\tSTATUS\tCALLS\tLIMIT\tLEFT\tLAST USED (UTC)\tEXPIRES (UTC)\tLABEL")
	for _, r := range records {
		limit, left := tightest(r)
		fmt.Fprintf(table, "%s/%s\t%s\t%s\t%s\t%d\t%s\t%s\t%s\t%s\t%s\n", r.Issuer, r.ID, orDash(r.Subject), r.Provider,
			r.Status, r.Usage.Calls, limit, left, minute(r.LastSeen), minute(r.ExpiresAt), orDash(r.Label))
	}
	return table.Flush()
}

// limitUnknown reports whether the record does not say if the token has a limit
// of its own.
func limitUnknown(r tokenstore.Record) bool { return r.CallsLimit == nil && r.ClaimedCalls == nil }

// tightest returns the limit with the fewest calls left, and how many these are.
func tightest(r tokenstore.Record) (limit, left string) {
	if limitUnknown(r) && r.Status != tokenstore.Exhausted {
		return "?", "?"
	}
	if len(r.Limits) == 0 {
		return "-", "-"
	}
	least := slices.MinFunc(r.Limits, func(a, b tokenstore.LimitUse) int { return cmp.Compare(a.Left(), b.Left()) })
	return limitText(least), strconv.FormatInt(least.Left(), 10)
}

// limitText is a limit such as 3, 20/day or 1000/month of subject.
func limitText(l tokenstore.LimitUse) string {
	text := strconv.FormatInt(l.Amount, 10)
	if l.Per != "" {
		text += "/" + l.Per
	}
	if l.Scope != tokenstore.ScopeToken {
		text += " of " + string(l.Scope)
	}
	return text
}

// ownLimit says which limit of its own a token has, and where that comes from.
func ownLimit(r tokenstore.Record) string {
	i := slices.IndexFunc(r.Limits, func(l tokenstore.LimitUse) bool { return l.Scope == tokenstore.ScopeToken && l.Per == "" })
	switch {
	case limitUnknown(r):
		return "not known until its next call; an earlier version of the relay did not keep it"
	case i < 0:
		return "none"
	case r.CallsLimit != nil && r.ClaimedCalls != nil && *r.ClaimedCalls > 0:
		return fmt.Sprintf("%d, instead of %d in its claims", *r.CallsLimit, *r.ClaimedCalls)
	case r.CallsLimit != nil:
		return fmt.Sprintf("%d, set by the operator", *r.CallsLimit)
	case *r.ClaimedCalls > 0:
		return fmt.Sprintf("%d, in its claims", *r.ClaimedCalls)
	default:
		return fmt.Sprintf("%d, as its issuer's tokens have", r.Limits[i].Amount)
	}
}

func printRecord(w io.Writer, r tokenstore.Record) error {
	u := r.Usage
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range [][2]string{
		{"token", r.Issuer + "/" + r.ID},
		{"status", string(r.Status)},
		{"subject", orDash(r.Subject)},
		{"provider", r.Provider},
		{"label", orDash(r.Label)},
		{"issued", r.IssuedAt.UTC().Format(time.RFC3339)},
		{"expires", r.ExpiresAt.UTC().Format(time.RFC3339)},
		{"first used", minute(r.FirstSeen)},
		{"last used", minute(r.LastSeen)},
		{"limit", ownLimit(r)},
		{"counted", fmt.Sprintf("%d calls against the limit, if it has one", r.CallsCounted)},
		{"calls", fmt.Sprintf("%d: %d succeeded, %d client errors, %d provider errors", u.Calls, u.Succeeded, u.ClientErrors, u.ProviderErrors)},
		{"bytes", fmt.Sprintf("%d in, %d out", u.BytesIn, u.BytesOut)},
		{"time", u.Duration.Round(time.Millisecond).String()},
	} {
		fmt.Fprintf(table, "%s\t%s\n", row[0], row[1])
	}
	for _, l := range r.Limits {
		if l.Scope != tokenstore.ScopeToken || l.Per != "" {
			fmt.Fprintf(table, "also\t%s, %d used\n", limitText(l), l.Used)
		}
	}
	return table.Flush()
}

// minute is a time to the minute, UTC.
func minute(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format("2006-01-02 15:04")
}
