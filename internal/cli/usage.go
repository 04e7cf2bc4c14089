package cli

import (
	"fmt"
	"io"
	"net/http"
	"text/tabwriter"
	"time"

	"github.com/relayapi/caddy-relayapi/internal/adminapi"
	"github.com/relayapi/caddy-relayapi/tokenstore"
	"github.com/spf13/cobra"
)

func usageCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "usage",
		Short: "Reports what was used, by day, provider, issuer and subject",
		Long: `Reports what was used, with a row for each day (UTC), provider, issuer and subject.

CALLS reached the provider. OK were answered with a status below 400, REFUSED with
one from 400 to 499. The rest FAILED, with 500 and more or without an answer. IN and
OUT are bytes of the bodies of requests and answers. MEAN is the mean time of a call.
Use "token show" to see the usage of a single token.`,
		Example: `  caddy relayapi usage --from 2026-01-01 --to 2026-01-31
  caddy relayapi usage --subject alice --json`,
		Args: cobra.NoArgs,
	}
	q := filterFlags(cmd, "provider", "issuer", "subject")
	from := cmd.Flags().String("from", "", "The first day, such as 2026-01-01")
	to := cmd.Flags().String("to", "", "The last day")
	asJSON := cmd.Flags().Bool("json", false, "Print JSON")
	address := addressFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		query := q()
		setIf(query, "from", *from)
		setIf(query, "to", *to)
		var report adminapi.Usage
		if err := ask(*address, http.MethodGet, "/relayapi/usage?"+query.Encode(), nil, &report); err != nil {
			return err
		}
		if *asJSON {
			return printJSON(cmd.OutOrStdout(), report)
		}
		return printUsage(cmd.OutOrStdout(), report.Usage)
	}
	return cmd
}

func printUsage(w io.Writer, rows []tokenstore.UsageRow) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "DAY\tPROVIDER\tISSUER\tSUBJECT\tCALLS\tOK\tREFUSED\tFAILED\tIN\tOUT\tMEAN")
	for _, r := range rows {
		answered := r.Succeeded + r.ClientErrors + r.ProviderErrors
		mean := (r.Duration / time.Duration(max(answered, 1))).Round(time.Millisecond)
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%d\t%d\t%d\t%d\t%d\t%d\t%s\n", r.Day, r.Provider, r.Issuer, orDash(r.Subject),
			r.Calls, r.Succeeded, r.ClientErrors, r.ProviderErrors, r.BytesIn, r.BytesOut, mean)
	}
	return table.Flush()
}
