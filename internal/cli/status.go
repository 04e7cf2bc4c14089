package cli

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/relayapi/caddy-relayapi/internal/adminapi"
	"github.com/spf13/cobra"
)

func statusCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Shows the state of the relay: its store, keys and providers",
		Long: `Shows the state of the relay: its store, keys, issuers and providers, and how many
calls are in flight. It shows the operator's limits, and for each issuer what its tokens
may use, with what is used and left of limits on all of them. It shows no secret.

Exits with 1 if the relay does not run or cannot count calls, so it serves as a
health check.`,
		Args: cobra.NoArgs,
	}
	asJSON := cmd.Flags().Bool("json", false, "Print JSON")
	address := addressFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		var s adminapi.Status
		if err := ask(*address, http.MethodGet, "/relayapi/status", nil, &s); err != nil {
			return err
		}
		if *asJSON {
			if err := printJSON(cmd.OutOrStdout(), s); err != nil {
				return err
			}
		} else if err := printStatus(cmd.OutOrStdout(), s); err != nil {
			return err
		}
		if !s.Store.Ready {
			return errors.New("the store is not ready: " + s.Store.Problem)
		}
		return nil
	}
	return cmd
}

func printStatus(w io.Writer, s adminapi.Status) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	store := s.Store.Kind
	if s.Store.Path != "" {
		store += " " + s.Store.Path
	}
	state := "ready"
	if !s.Store.Ready {
		state = "not ready: " + s.Store.Problem
	}
	last := "none yet"
	if !s.Store.LastCommit.IsZero() {
		last = s.Store.LastCommit.Format(time.RFC3339)
	}
	for _, row := range [][2]string{
		{"version", s.Version},
		{"started", s.Started.Format(time.RFC3339)},
		{"store", store},
		{"", state},
		{"", "since " + s.Store.Since.Format(time.RFC3339) + ", last commit " + last},
		{"keys", strings.Join(s.Keys, "\n\t")},
		{"issuers", strings.Join(s.Issuers, ", ")},
		{"in flight", fmt.Sprintf("%d calls", s.InFlight)},
	} {
		fmt.Fprintf(table, "%s\t%s\n", row[0], row[1])
	}
	label := "limits"
	for _, l := range s.Limits {
		fmt.Fprintf(table, "%s\t%s%s for %s, %s\n", label, l.Amount, per(l.Per), l.Holder(), map[string]string{"config": "in the config", "admin": "set by the operator"}[l.From])
		label = ""
	}
	for i := range s.Budget {
		label = "issuer " + s.Budget[i].Issuer
		for _, line := range issuerLines(&s.Budget[i]) {
			fmt.Fprintf(table, "%s\t%s\n", label, line)
			label = ""
		}
	}
	label = "providers"
	for _, p := range s.Providers {
		keys := fmt.Sprintf("%d keys", p.Keys)
		if p.Keys == 1 {
			keys = "1 key"
		}
		fmt.Fprintf(table, "%s\t%s, %s, %s\n", label, p.Name, p.BaseURL, keys)
		label = ""
	}
	return table.Flush()
}
