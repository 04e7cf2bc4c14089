package cli

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"text/tabwriter"
	"time"

	"github.com/relayapi/caddy-relayapi/internal/adminapi"
	"github.com/spf13/cobra"
)

func callsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "calls",
		Short: "Lists the calls in flight, and ends one",
		Long: `Lists the calls in flight at the relay, the longest first. With --end, ends one of them
instead. The relay tells the client, as with a revocation, but the token stays valid.

If several relays share a store, each lists only its own calls.`,
		Example: `  caddy relayapi calls
  caddy relayapi calls --end <id>`,
		Args: cobra.NoArgs,
	}
	end := cmd.Flags().String("end", "", "End the call with this id")
	asJSON := cmd.Flags().Bool("json", false, "Print JSON")
	address := addressFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if cmd.Flags().Changed("end") {
			return endCall(cmd.OutOrStdout(), *address, *end, *asJSON)
		}
		var list adminapi.Calls
		if err := ask(*address, http.MethodGet, "/relayapi/calls", nil, &list); err != nil {
			return err
		}
		if *asJSON {
			return printJSON(cmd.OutOrStdout(), list)
		}
		if more := list.Total - len(list.Calls); more > 0 {
			fmt.Fprintf(cmd.ErrOrStderr(), "%d more calls are not listed\n", more)
		}
		return printCalls(cmd.OutOrStdout(), list.Calls, time.Now())
	}
	return cmd
}

func endCall(w io.Writer, address, id string, asJSON bool) error {
	var ended adminapi.Call
	if err := ask(address, http.MethodDelete, "/relayapi/calls/"+url.PathEscape(id), nil, &ended); err != nil {
		return err
	}
	if asJSON {
		return printJSON(w, ended)
	}
	_, err := fmt.Fprintf(w, "ended a call of %s/%s\n", ended.Issuer, ended.TokenID)
	return err
}

func printCalls(w io.Writer, calls []adminapi.Call, now time.Time) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "ID\tTOKEN\tSUBJECT\tPROVIDER\tMODEL\tSTATE\tLASTS\tBYTES IN\tBYTES OUT")
	for _, c := range calls {
		state := "waiting"
		switch {
		case c.WebSocket:
			state = "websocket"
		case c.Status != 0:
			state = "answering"
		}
		fmt.Fprintf(table, "%s\t%s/%s\t%s\t%s\t%s\t%s\t%s\t%d\t%d\n", c.ID, c.Issuer, c.TokenID, orDash(c.Subject), c.Provider,
			orDash(c.Model), state, now.Sub(c.Since).Truncate(time.Second), c.BytesIn, c.BytesOut)
	}
	return table.Flush()
}
