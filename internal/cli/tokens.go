package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/relayapi/caddy-relayapi/internal/adminapi"
	"github.com/spf13/cobra"
)

func tokenCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "token",
		Short: "Mints, inspects, lists, changes and revokes tokens",
		Long: `"create" mints a token, and "inspect" shows what it permits. The relay's ledger knows
a token from its first call on: "list" and "show" print its usage, and "update" and
"revoke" change what it may do.

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
		Long: `Lists the tokens that were used at this relay, by issuer and id, with their usage. The
relay does not know a token that was never used.

CALLS counts calls that reached the provider, and COST is what they cost in US
dollars. LIMIT has the limits in force, the one with the smallest part left first;
the others follow in lines of their own. USED is counted against the limit, LEFT is
what it still permits, and ENDS is when its day or month ends. A limit is the token's
own, from its claims, its issuer or "token update", or one that the operator set for
each token, subject or issuer ("limit list"). "$5.00/month of subject" counts the
calls of all tokens of the subject. - means no limit. ? means that the limit is
unknown until the next call, because an earlier version of the relay did not keep it.

STATUS is revoked, disabled, expired, exhausted (a limit is used up) or active. If
several apply, the first is shown. If the limit is per day or month, a token is
exhausted until the next period begins, at 00:00 UTC.`,
		Example: `  caddy relayapi token list --subject alice
  caddy relayapi token list --status exhausted
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
			fmt.Fprintln(cmd.ErrOrStderr(), "there are more; use --all to list them")
		}
		return printRecords(cmd.OutOrStdout(), page.Records)
	}
	return cmd
}

// listTokens asks for pages until it has as many tokens as wanted.
func listTokens(address string, query url.Values, limit int, all bool) (adminapi.Page, error) {
	whole := adminapi.Page{Records: []adminapi.Record{}}
	for all || len(whole.Records) < limit {
		n := adminapi.MaxPage
		if !all {
			n = min(n, limit-len(whole.Records))
		}
		query.Set("limit", strconv.Itoa(n))
		var page adminapi.Page
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
		Long: `Shows what the relay knows of a token by its id, [issuer/]id: the limits in force, how
much of each is used and left, and the token's calls, tokens and cost. It includes
changes by "update" and "revoke", and the provider's message when it last refused the
key in a call of this token.

It also shows what the token permits: its rate, and the models, paths, methods,
addresses and origins that its claims and its issuer allow.

Usage may be 15 seconds old; "token list" and "usage" are up to date. "token list --help"
explains the status.`,
		Example: `  caddy relayapi token show my-backend/3f9c
  caddy relayapi token show my-backend/3f9c --json`,
		Args: oneID,
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
		if err := printRecord(cmd.OutOrStdout(), &record); err != nil || record.KeyRefused == nil {
			return err
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "the provider refused the key at %s: %s\n", minute(record.KeyRefused.At), record.KeyRefused.Message)
		return err
	}
	return cmd
}

// updateFlags are the flags of `token update`.
type updateFlags struct {
	calls, tokens   int64
	usd             string
	fromClaims      [len(units)]bool
	disable, enable bool
	label           string
}

// units are the units of limits, with which flags and members of a change begin.
var units = [...]string{"calls", "tokens", "usd"}

func updateCommand() *cobra.Command {
	var f updateFlags
	cmd := &cobra.Command{
		Use:   "update <id>",
		Short: "Changes a token's limits or label, disables or enables it",
		Long: `Changes the relay's record of a token that was used here. The token itself stays as it
is, and its holder needs no new one. The change applies from the next request on.

--calls, --tokens and --usd set what the token permits in all, including the usage
counted so far; 0 permits nothing. If the token was minted without a limit, counting
starts now. --calls-from-claims, --tokens-from-claims and --usd-from-claims remove that
limit again. Lowering a limit to the used amount or below ends the token's calls under
way.

--disable refuses the token until --enable, and ends its calls in flight. To refuse
a token for good, use "revoke".`,
		Example: `  caddy relayapi token update 3f9c --calls 500
  caddy relayapi token update 3f9c --usd 2.50 --tokens 1000000
  caddy relayapi token update my-backend/3f9c --disable --label "asked alice about this"`,
		Args: oneID,
	}
	flags := cmd.Flags()
	flags.Int64Var(&f.calls, "calls", 0, "How many calls it permits in all, from now on")
	flags.Int64Var(&f.tokens, "tokens", 0, "How many tokens of models it permits in all, from now on")
	flags.StringVar(&f.usd, "usd", "", "How many US dollars it may cost in all, from now on, such as 5 or 0.25")
	for i, unit := range units {
		flags.BoolVar(&f.fromClaims[i], unit+"-from-claims", false, "Remove --"+unit+": the limit in the token's claims applies again")
		cmd.MarkFlagsMutuallyExclusive(unit, unit+"-from-claims")
	}
	flags.BoolVar(&f.disable, "disable", false, "Refuse it until it is enabled, and end its calls")
	flags.BoolVar(&f.enable, "enable", false, "Admit it again")
	cmd.MarkFlagsMutuallyExclusive("disable", "enable")
	flags.StringVar(&f.label, "label", "", `A note to yourself; "" removes it`)
	asJSON, address := flags.Bool("json", false, "Print JSON"), addressFlag(cmd)
	cmd.MarkFlagsOneRequired("calls", "calls-from-claims", "tokens", "tokens-from-claims", "usd", "usd-from-claims", "disable", "enable", "label")
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
			fmt.Fprintln(cmd.ErrOrStderr(), "calls in flight that were ended:", u.Ended)
		} else {
			tellEnded(cmd, u.Ended)
		}
		return printRecord(cmd.OutOrStdout(), &u.Record)
	}
	return cmd
}

// change returns the change that the flags describe, for the admin endpoint.
func (f *updateFlags) change(given func(flag string) bool) map[string]any {
	change := make(map[string]any)
	for i, limit := range []any{f.calls, f.tokens, f.usd} {
		switch {
		case given(units[i]):
			change[units[i]+"_limit"] = limit
		case f.fromClaims[i]:
			change[units[i]+"_limit"] = nil
		}
	}
	if f.disable || f.enable {
		change["disabled"] = f.disable
	}
	if given("label") {
		change["label"] = f.label
	}
	return change
}

// oneID refuses everything but one argument. It quotes none, because one may be a
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
