package cli

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
	"text/tabwriter"
	"time"

	"github.com/relayapi/caddy-relayapi/internal/adminapi"
	"github.com/relayapi/caddy-relayapi/tokenstore"
	"github.com/spf13/cobra"
)

func tokenCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "token",
		Short: "Mints, inspects, lists, changes and revokes tokens",
		Long: `"create" mints a token, and "inspect" shows what it permits. The relay's ledger knows
a token from its first call on: "list" and "show" tell what it has used, and
"update" and "revoke" change what it may do.

These commands name a token by its id, [issuer/]id, never by its text. Without an
issuer, the id belongs to the relay's own issuer, whose name is relay.`,
	}
	cmd.AddCommand(createCommand(), inspectCommand(), listCommand(), showCommand(), updateCommand(), revokeCommand())
	refuseOthers(cmd)
	return cmd
}

func listCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list",
		Short: "Lists the tokens that were used",
		Long: `Lists the tokens that were used at this relay, by issuer and id, with what they
have used. A token that was never used is unknown here.

CALLS counts calls that reached the provider. LIMIT is the limit in force with the
fewest calls left, and LEFT is how many. It is the token's own limit, from its
claims, its issuer or "token update --calls", or one that the operator set for each
token, subject or issuer ("limit list"). "20/day of subject" counts the calls of all
tokens of the subject. - means no limit. ? means that the limit is unknown until the
next call, because an earlier version of the relay did not keep it.

STATUS is revoked, disabled, expired, exhausted (no calls left) or active. If several
apply, the first is shown. If the limit is per day or month, a token is exhausted
until the next period begins, at 00:00 UTC.`,
		Example: `  caddy relayapi token list --subject alice
  caddy relayapi token list --status revoked --all --json`,
		Args: cobra.NoArgs,
	}
	q := filterFlags(cmd, "issuer", "subject", "provider")
	status := cmd.Flags().String("status", "", "Only tokens that are active, disabled, exhausted, expired or revoked")
	limit := cmd.Flags().Int("limit", 100, "Most tokens to list")
	all := cmd.Flags().Bool("all", false, "List all tokens")
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
			fmt.Fprintln(cmd.ErrOrStderr(), "there are more; --all lists them")
		}
		return printRecords(cmd.OutOrStdout(), page.Records)
	}
	return cmd
}

// listTokens asks for pages until it has as many tokens as wanted.
func listTokens(address string, query url.Values, limit int, all bool) (tokenstore.Page, error) {
	whole := tokenstore.Page{Records: []tokenstore.Record{}}
	for all || len(whole.Records) < limit {
		n := adminapi.MaxPage
		if !all {
			n = min(n, limit-len(whole.Records))
		}
		query.Set("limit", strconv.Itoa(n))
		var page tokenstore.Page
		if err := ask(address, http.MethodGet, "/relayapi/tokens?"+query.Encode(), nil, &page); err != nil {
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
		Short: "Shows what the relay knows of a token",
		Long: `Shows what the relay knows of a token by its id, [issuer/]id: what it has used, the
limits in force, what "update" and "revoke" changed, and what the provider said when
it last refused the key in a call of this token. Its calls, bytes and time may be 15
seconds old; "token list" and "usage" are up to date. Use "token inspect" to see what
else the token permits. "token list --help" explains the status.`,
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
		var record adminapi.Record
		if err := ask(*address, http.MethodGet, uri, nil, &record); err != nil {
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

// updateFlags are the flags of `token update`.
type updateFlags struct {
	calls                       int64
	fromClaims, disable, enable bool
	label                       string
}

func updateCommand() *cobra.Command {
	var f updateFlags
	cmd := &cobra.Command{
		Use:   "update <id>",
		Short: "Changes a token's limit or label, disables or enables it",
		Long: `Changes what the relay keeps of a token that was used here. The token itself
stays as it is, and its holder needs no other. The change acts on its next request.

--calls sets how many calls the token permits in all, including those that were
counted so far; 0 permits none. The calls of a token that was minted without a limit
are counted from then on. --calls-from-claims removes that limit again.

--disable refuses the token until --enable, and ends its calls under way. To refuse
a token for good, use "revoke".`,
		Example: `  caddy relayapi token update 3f9c --calls 500
  caddy relayapi token update my-backend/3f9c --disable --label "asked alice about this"`,
		Args: oneID,
	}
	flags := cmd.Flags()
	flags.Int64Var(&f.calls, "calls", 0, "How many calls it permits in all, from now on")
	flags.BoolVar(&f.fromClaims, "calls-from-claims", false, "Remove --calls: the limit in the token's claims applies again")
	flags.BoolVar(&f.disable, "disable", false, "Refuse it until it is enabled, and end its calls")
	flags.BoolVar(&f.enable, "enable", false, "Admit it again")
	flags.StringVar(&f.label, "label", "", `A note to yourself; "" removes it`)
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
		body, err := json.Marshal(f.change(flags.Changed))
		if err != nil {
			return err
		}
		var u adminapi.Updated
		if err := ask(*address, http.MethodPatch, uri, body, &u); err != nil {
			return err
		}

		if *asJSON {
			return printJSON(cmd.OutOrStdout(), u)
		}
		if f.disable {
			fmt.Fprintln(cmd.ErrOrStderr(), "calls under way that were ended:", u.Ended)
		}
		return printRecord(cmd.OutOrStdout(), u.Record)
	}
	return cmd
}

// change returns what the flags ask of the admin endpoint.
func (f *updateFlags) change(given func(flag string) bool) map[string]any {
	change := make(map[string]any)
	switch {
	case given("calls"):
		change["calls_limit"] = f.calls
	case f.fromClaims:
		change["calls_limit"] = nil
	}
	if f.disable || f.enable {
		change["disabled"] = f.disable
	}
	if given("label") {
		change["label"] = f.label
	}
	return change
}

// oneID refuses everything but one argument. It quotes none, because that may be a
// token.
func oneID(_ *cobra.Command, args []string) error {
	if len(args) != 1 {
		return errors.New("name one token by its [issuer/]id")
	}
	return nil
}

// tokenURI returns the path of a token in the admin API.
func tokenURI(arg string) (string, error) {
	i, err := adminapi.ParseIdentity(arg)
	return i.Path(), err
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

// limitText returns a limit such as 3, 20/day or 1000/month of subject.
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

// ownLimit returns a token's own limit, and where it comes from.
func ownLimit(r tokenstore.Record) string {
	i := slices.IndexFunc(r.Limits, func(l tokenstore.LimitUse) bool { return l.Scope == tokenstore.ScopeToken && l.Per == "" })
	switch {
	case limitUnknown(r):
		return "unknown until its next call; an earlier version of the relay did not keep it"
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
