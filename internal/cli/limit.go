package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"text/tabwriter"

	"github.com/relayapi/caddy-relayapi/internal/adminapi"
	"github.com/spf13/cobra"
)

func limitCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "limit",
		Short: "Limits the usage of tokens, subjects and issuers, whatever the tokens say",
		Long: `Sets limits in the running relay, besides those of its config (limit lines). They
apply from the next call on and survive restarts.

A limit is for each token, subject or issuer, or for one of them. It counts calls,
tokens of models, or US dollars, per day or month (UTC), or without a period. A limit
for one holder overrides a limit for all, which overrides the config.

A limit of 0 puts its holder on hold and ends its calls in flight. Lowering a limit to
the used amount or below ends the calls that it counts.`,
		Example: `  caddy relayapi limit set --scope subject --usd 5.00 --per month
  caddy relayapi limit list`,
	}
	cmd.AddCommand(limitListCommand(), limitSetCommand(), limitRemoveCommand())
	refuseOthers(cmd)
	return cmd
}

func limitListCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list",
		Short: "Lists the limits of the config, and those that were set",
		Long: `Lists the limits of the config, and those that were set, such as "20 calls" or "$5.00".
Use "token list" to see how much of them is used.`,
		Example: `  caddy relayapi limit list
  caddy relayapi limit list --json`,
		Args: cobra.NoArgs,
	}
	asJSON := cmd.Flags().Bool("json", false, "Print JSON")
	address := addressFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		var list adminapi.Limits
		if err := ask(*address, http.MethodGet, "/relayapi/limits", nil, &list); err != nil {
			return err
		}
		if *asJSON {
			return printJSON(cmd.OutOrStdout(), list)
		}
		return printLimits(cmd.OutOrStdout(), list.Limits...)
	}
	return cmd
}

// limitKeyFlags adds the flags that select the holder and the period of a limit.
func limitKeyFlags(cmd *cobra.Command) func() map[string]string {
	values := make(map[string]*string)
	for name, usage := range map[string]string{
		"scope":   "Count the usage of each token, subject or issuer (required)",
		"issuer":  "Only this issuer, or the issuer of --subject or --id (default: relay)",
		"subject": "Only this subject",
		"id":      "Only the token with this id",
		"per":     "Period, day or month. Default: none",
	} {
		values[name] = cmd.Flags().String(name, "", usage)
	}
	_ = cmd.MarkFlagRequired("scope")
	return func() map[string]string {
		given := make(map[string]string)
		for name, value := range values {
			if cmd.Flags().Changed(name) {
				given[name] = *value
			}
		}
		return given
	}
}

func limitSetCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "set --scope token|subject|issuer --calls|--tokens|--usd <n>",
		Short: "Sets a limit, or replaces one for the same holder, unit and period",
		Long: `Sets a limit in calls, in tokens of models (input and output together) or in US
dollars. It replaces one for the same holder, unit and period. A holder can have a
limit in each unit.

A call under a limit in tokens or dollars reserves the most that it can use. When it
ends, it is charged its actual usage.`,
		Example: `  caddy relayapi limit set --scope subject --per day --calls 20
  caddy relayapi limit set --scope subject --per month --usd 5.00
  caddy relayapi limit set --scope issuer --per day --tokens 1000000
  caddy relayapi limit set --scope subject --issuer my-backend --subject alice --per day --calls 100
  caddy relayapi limit set --scope issuer --issuer my-backend --usd 0    # on hold`,
		Args: cobra.NoArgs,
	}
	key := limitKeyFlags(cmd)
	flags := cmd.Flags()
	calls := flags.Int64("calls", 0, "How many calls; 0 refuses all")
	tokens := flags.Int64("tokens", 0, "How many tokens of models; 0 refuses all")
	usd := flags.String("usd", "", `How many US dollars, such as 5 or 0.25; 0 refuses all`)
	cmd.MarkFlagsOneRequired("calls", "tokens", "usd")
	cmd.MarkFlagsMutuallyExclusive("calls", "tokens", "usd")
	asJSON := flags.Bool("json", false, "Print JSON")
	address := addressFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		members := make(map[string]any)
		for name, value := range map[string]any{"calls": *calls, "tokens": *tokens, "usd": *usd} {
			if flags.Changed(name) {
				members[name] = value
			}
		}
		for name, value := range key() {
			members[name] = value
		}
		body, err := json.Marshal(members)
		if err != nil {
			return err
		}
		var l adminapi.Limit
		if err := ask(*address, http.MethodPut, "/relayapi/limits", body, &l); err != nil {
			return err
		}
		if *asJSON {
			return printJSON(cmd.OutOrStdout(), l)
		}
		tellEnded(cmd, l.Ended)
		return printLimits(cmd.OutOrStdout(), l)
	}
	return cmd
}

// tellEnded prints how many calls a change has ended, if any.
func tellEnded(cmd *cobra.Command, ended int) {
	if ended > 0 {
		fmt.Fprintln(cmd.ErrOrStderr(), "calls in flight that were ended:", ended)
	}
}

func limitRemoveCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "remove --scope token|subject|issuer [--unit calls|tokens|usd]",
		Short: "Removes a limit that was set; the next wider one applies again",
		Example: `  caddy relayapi limit remove --scope subject --issuer my-backend --subject alice --per day
  caddy relayapi limit remove --scope subject --per month --unit usd`,
		Args: cobra.NoArgs,
	}
	key := limitKeyFlags(cmd)
	unit := cmd.Flags().String("unit", "calls", "What the limit counts: calls, tokens or usd")
	address := addressFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		query := url.Values{"unit": {*unit}}
		for name, value := range key() {
			query.Set(name, value)
		}
		var l adminapi.Limit
		if err := ask(*address, http.MethodDelete, "/relayapi/limits?"+query.Encode(), nil, &l); err != nil {
			return err
		}
		if l.Scope == "" {
			return errors.New("the relay did not say what it removed")
		}
		tellEnded(cmd, l.Ended)
		_, err := fmt.Fprintf(cmd.OutOrStdout(), "removed the limit of %s: %s\n", l.Holder(), l.Amount)
		return err
	}
	return cmd
}

func printLimits(w io.Writer, limits ...adminapi.Limit) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "HOLDER\tLIMIT\tPER\tFROM")
	for _, l := range limits {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", l.Holder(), l.Amount, orDash(l.Per), l.From)
	}
	return table.Flush()
}
