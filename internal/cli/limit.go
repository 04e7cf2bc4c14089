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
		Short: "Limits what tokens, subjects and issuers use, whatever the tokens say",
		Long: `Sets limits in the running relay, besides those of its config (limit lines). They
act on the next call, and outlive restarts.

A limit is for each token, subject or issuer, or for one of them. It is per day or
month (UTC), or without a period. A limit for one holder overrides a limit for all,
which overrides the config. A limit of 0 calls puts its holder on hold.`,
	}
	cmd.AddCommand(limitListCommand(), limitSetCommand(), limitRemoveCommand())
	refuseOthers(cmd)
	return cmd
}

func limitListCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "list", Short: "Lists the limits of the config, and those that were set", Args: cobra.NoArgs}
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

// limitKeyFlags adds the flags that say for whom and for which period a limit is.
func limitKeyFlags(cmd *cobra.Command) func() map[string]string {
	values := make(map[string]*string)
	for name, usage := range map[string]string{
		"scope":   "Whose calls are counted: those of each token, subject or issuer (required)",
		"issuer":  "Only of this issuer, or of the subject or token that is named with it (default: relay)",
		"subject": "Only of this subject",
		"id":      "Only of the token with this id",
		"per":     "day or month. Default: no period",
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
		Use:   "set --scope token|subject|issuer --calls <n>",
		Short: "Sets a limit, or replaces one for the same holder and period",
		Example: `  caddy relayapi limit set --scope subject --per day --calls 20
  caddy relayapi limit set --scope subject --issuer my-backend --subject alice --per day --calls 100
  caddy relayapi limit set --scope issuer --issuer my-backend --calls 0`,
		Args: cobra.NoArgs,
	}
	key := limitKeyFlags(cmd)
	calls := cmd.Flags().Int64("calls", 0, "How many calls; 0 refuses all (required)")
	_ = cmd.MarkFlagRequired("calls")
	asJSON := cmd.Flags().Bool("json", false, "Print JSON")
	address := addressFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		members := map[string]any{"calls": *calls}
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
		return printLimits(cmd.OutOrStdout(), l)
	}
	return cmd
}

func limitRemoveCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "remove --scope token|subject|issuer",
		Short:   "Removes a limit that was set; the next wider one applies again",
		Example: `  caddy relayapi limit remove --scope subject --issuer my-backend --subject alice --per day`,
		Args:    cobra.NoArgs,
	}
	key := limitKeyFlags(cmd)
	address := addressFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		query := make(url.Values)
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
		_, err := fmt.Fprintf(cmd.OutOrStdout(), "removed the limit of %s\n", l.Holder())
		return err
	}
	return cmd
}

func printLimits(w io.Writer, limits ...adminapi.Limit) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "HOLDER\tCALLS\tPER\tFROM")
	for _, l := range limits {
		fmt.Fprintf(table, "%s\t%d\t%s\t%s\n", l.Holder(), l.Calls, orDash(l.Per), l.From)
	}
	return table.Flush()
}
