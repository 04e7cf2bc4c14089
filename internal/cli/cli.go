// Package cli has the commands `caddy relayapi …`. They ask the admin endpoint of a
// running relay, or work on its files.
package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/relayapi/caddy-relayapi/internal/adminapi"
	"github.com/spf13/cobra"
)

// Command is the command relayapi.
var Command = caddycmd.Command{
	Name:  "relayapi",
	Usage: "<command>",
	Short: "Mints and manages the tokens of a relay",
	Long: `A relay lets a front-end call an API with an encrypted token instead of the API
key. These commands make keys and tokens, show what a token permits and what it
has used, change and revoke tokens, and list the providers that the relay knows.

To mint a token while the relay runs on this machine:

    caddy relayapi token create --provider openai --calls 100 --ttl 24h`,
	CobraFunc: func(cmd *cobra.Command) {
		cmd.AddCommand(keygenCommand(), tokenCommand(), callsCommand(), limitCommand(), usageCommand(), providersCommand(), pricesCommand(),
			storeCommand(), statusCommand(), runCommand(), uiCommand())
		refuseOthers(cmd)
		quoteNothing(cmd)
	},
}

// refuseOthers makes an unknown subcommand an error. Cobra prints the help and exits
// with 0 instead, so a script that mints would use the help text as its token.
func refuseOthers(cmd *cobra.Command) {
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return cmd.Help()
		}
		var names []string
		for _, sub := range cmd.Commands() {
			names = append(names, sub.Name())
		}
		return fmt.Errorf("unknown command; %s has %s", cmd.CommandPath(), strings.Join(names, ", ")) // quotes nothing, because it may be a token
	}
}

// addressFlag adds the flag that names the relay's admin endpoint.
func addressFlag(cmd *cobra.Command) *string {
	return cmd.Flags().String("address", "",
		"Admin endpoint of the running relay, such as unix//run/caddy/admin.sock. Default: "+caddy.DefaultAdminListen)
}

// ask asks the admin endpoint and decodes the answer.
func ask(address, method, uri string, body []byte, answer any) error {
	return adminapi.Client{Address: address}.Do(method, uri, body, answer)
}

// askOrKeys is ask for commands that can do without a running relay.
func askOrKeys(address, method, uri string, body []byte, answer any) error {
	return adminapi.Client{Address: address, Hint: ", or --keys to do without it"}.Do(method, uri, body, answer)
}

// filterFlags adds flags that select records, and returns the query that they make.
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

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// minute formats a time to the minute, in UTC.
func minute(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format("2006-01-02 15:04")
}

// readSecret reads a secret from a file, or from standard input if the file is "-". A
// secret never comes in an argument, because every user of a machine can list those.
func readSecret(cmd *cobra.Command, file string) (string, error) {
	var data []byte
	var err error
	if file == "-" {
		data, err = io.ReadAll(io.LimitReader(cmd.InOrStdin(), adminapi.MaxBody))
	} else {
		data, err = os.ReadFile(file)
	}
	return strings.TrimSpace(string(data)), err
}
