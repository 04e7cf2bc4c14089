package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/relayapi/caddy-relayapi/provider"
	"github.com/spf13/cobra"
)

func providersCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "providers [<name>]",
		Short: "Lists the providers that the relay knows, or shows one",
		Example: "  caddy relayapi providers\n" +
			"  caddy relayapi providers openai",
		Args: cobra.MaximumNArgs(1),
	}
	asJSON := cmd.Flags().Bool("json", false, "Print JSON")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		presets := provider.All()
		if len(args) == 1 {
			preset, ok := provider.Lookup(args[0])
			if !ok {
				hint := "without a name, this command lists all"
				if near := provider.Nearest(args[0]); len(near) > 0 {
					hint = "did you mean " + strings.Join(near, " or ") + "?"
				}
				return fmt.Errorf("unknown preset %q; %s", args[0], hint)
			}
			presets = []provider.Preset{preset}
		}
		switch {
		case *asJSON:
			enc := json.NewEncoder(cmd.OutOrStdout())
			enc.SetIndent("", "  ")
			return enc.Encode(presets)
		case len(args) == 1:
			return printPreset(cmd.OutOrStdout(), presets[0])
		default:
			return printPresets(cmd.OutOrStdout(), presets)
		}
	}
	return cmd
}

func printPresets(w io.Writer, presets []provider.Preset) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "NAME\tBASE URL\tKEY GOES IN\tKEY COMES FROM")
	for _, p := range presets {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", p.Name, orDash(p.BaseURL), placement(p.Credential), keySource(p))
	}
	return table.Flush()
}

func printPreset(w io.Writer, p provider.Preset) error {
	usage := "provider " + p.Name
	switch {
	case p.BaseURL == "":
		usage += " <base-url>"
	case len(p.Accounts) > 0:
		usage += " { preset " + p.Name + " <" + strings.Join(p.Accounts, "> <") + "> }"
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "%s\t%s\n", p.Name, p.Title)
	fmt.Fprintf(table, "caddyfile\t%s\n", usage)
	fmt.Fprintf(table, "base url\t%s\n", orDash(p.BaseURL))
	fmt.Fprintf(table, "key goes in\t%s\n", placement(p.Credential))
	fmt.Fprintf(table, "key comes from\t%s\n", keySource(p))
	fmt.Fprintf(table, "documentation\t%s\n", p.Docs)
	for i, route := range p.Routes {
		label := ""
		if i == 0 {
			label = "paths"
		}
		fmt.Fprintf(table, "%s\t%s\n", label, route)
	}
	return table.Flush()
}

func placement(p provider.Placement) string {
	if p.Query != "" {
		return "?" + p.Query + "="
	}
	return p.Header + ": " + p.Prefix + "…"
}

func keySource(p provider.Preset) string {
	switch {
	case p.Env != "":
		return p.Env
	case p.NoKey:
		return "(needs none)"
	default:
		return "(api_key)"
	}
}
