package relayapi

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/relayapi/caddy-relayapi/eccrypto"
	"github.com/relayapi/caddy-relayapi/grant"
	"github.com/relayapi/caddy-relayapi/provider"
	"github.com/spf13/cobra"
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "relayapi",
		Usage: "<command>",
		Short: "Mints and manages the tokens of a relay",
		Long: `A relay lets a front-end call an API with an encrypted token in the place of
the API key. These commands make keys and tokens, tell what a token says and
what it has used, change and revoke tokens, and list the providers that the
relay knows.

The quickest way to a token, with the relay running on this machine:

    caddy relayapi token create --provider openai --calls 100 --ttl 24h`,
		CobraFunc: func(cmd *cobra.Command) {
			cmd.AddCommand(keygenCommand(), tokenCommand(), limitCommand(), usageCommand(), providersCommand(), pricesCommand(), storeCommand())
			refuseOthers(cmd)
		},
	})
}

// refuseOthers makes an error of a subcommand that cmd does not have. Cobra
// prints the help and exits with 0 instead, and a script that mints would go on
// with the help text as its token.
func refuseOthers(cmd *cobra.Command) {
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return cmd.Help()
		}
		var names []string
		for _, sub := range cmd.Commands() {
			names = append(names, sub.Name())
		}
		return fmt.Errorf("no such command; %s has %s", cmd.CommandPath(), strings.Join(names, ", ")) // quotes nothing: it may be a token
	}
}

func keygenCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "keygen <name>",
		Short: "Makes a P-256 key pair: <name>.pem and <name>.pub.pem",
		Long: `Makes a P-256 key pair: <name>.pem, the private key (PKCS#8, mode 0600), and
<name>.pub.pem, the public one (SPKI). It replaces no file.

Such a pair serves either purpose. For a relay of several nodes, or one whose
keys you manage, name the private key in the Caddyfile:

    private_key <name>.pem

For a back-end that mints tokens itself, name its public key there:

    issuer my-backend {
        public_key <name>.pub.pem
        providers  openai
    }

The key id (RFC 7638) goes to standard output.`,
		Example: "  caddy relayapi keygen my-backend",
		Args:    cobra.ExactArgs(1),
	}
	dir := cmd.Flags().String("dir", ".", "Directory to write to")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if !grant.ValidName(args[0]) || strings.HasPrefix(args[0], ".") || strings.HasPrefix(args[0], "-") {
			return fmt.Errorf("%q is not a plain name; the directory goes in --dir", args[0])
		}
		key, err := eccrypto.GenerateKey()
		if err != nil {
			return err
		}
		if err := writeKeyPair(*dir, args[0], key); err != nil {
			return err
		}
		fmt.Fprintf(cmd.ErrOrStderr(), "wrote %s (keep it) and %s (hand it out); the key id is\n",
			privateKeyFile(*dir, args[0]), publicKeyFile(*dir, args[0]))
		_, err = fmt.Fprintln(cmd.OutOrStdout(), key.Public().ID())
		return err
	}
	return cmd
}

func providersCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "providers [<name>]",
		Short: "Lists the providers that the relay knows, or tells about one",
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
				hint := "without a name this command lists all"
				if near := provider.Nearest(args[0]); len(near) > 0 {
					hint = "did you mean " + strings.Join(near, " or ") + "?"
				}
				return fmt.Errorf("there is no preset %q: %s", args[0], hint)
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

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// readSecret reads a secret from a file, or from standard input if the file is
// "-". A secret never comes in an argument: every user of a machine can list
// those.
func readSecret(cmd *cobra.Command, file string) (string, error) {
	var data []byte
	var err error
	if file == "-" {
		data, err = io.ReadAll(io.LimitReader(cmd.InOrStdin(), maxAdminBody))
	} else {
		data, err = os.ReadFile(file)
	}
	return strings.TrimSpace(string(data)), err
}

// adminAddress is what --address means when it is not given.
func adminAddress(flag string) string {
	if flag == "" {
		return caddy.DefaultAdminListen
	}
	return strings.TrimPrefix(flag, "http://")
}
