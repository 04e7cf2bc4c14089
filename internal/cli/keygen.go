package cli

import (
	"fmt"
	"strings"

	"github.com/relayapi/caddy-relayapi/eccrypto"
	"github.com/relayapi/caddy-relayapi/grant"
	"github.com/relayapi/caddy-relayapi/internal/keyfile"
	"github.com/spf13/cobra"
)

func keygenCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "keygen <name>",
		Short: "Makes a P-256 key pair: <name>.pem and <name>.pub.pem",
		Long: `Makes a P-256 key pair: <name>.pem, the private key (PKCS#8, mode 0600), and
<name>.pub.pem, the public key (SPKI). It never overwrites a file.

The pair serves either of two purposes. For a relay of several nodes, or if you
manage its keys, name the private key in the Caddyfile:

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
			return fmt.Errorf("name %q: must be a plain name; the directory goes in --dir", args[0])
		}
		key, err := eccrypto.GenerateKey()
		if err != nil {
			return err
		}
		if err := keyfile.WritePair(*dir, args[0], key); err != nil {
			return err
		}
		fmt.Fprintf(cmd.ErrOrStderr(), "wrote %s (keep it secret) and %s (hand it out); the key id is\n",
			keyfile.PrivatePath(*dir, args[0]), keyfile.PublicPath(*dir, args[0]))
		_, err = fmt.Fprintln(cmd.OutOrStdout(), key.Public().ID())
		return err
	}
	return cmd
}
