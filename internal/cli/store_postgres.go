package cli

import (
	"errors"
	"fmt"

	"github.com/relayapi/caddy-relayapi/internal/placeholder"
	"github.com/relayapi/caddy-relayapi/tokenstore"
	"github.com/spf13/cobra"
)

// postgresFlag adds the flag that names a store in PostgreSQL. Every user of the
// machine can see arguments, so it takes no literal connection string.
func postgresFlag(cmd *cobra.Command) *string {
	return cmd.Flags().String("postgres", "", "The connection string of PostgreSQL, as {env.NAME} or {file.PATH}")
}

// readDSN resolves the flag. Its errors quote nothing, because that may be a password.
func readDSN(flag string) (string, error) {
	switch value, ok := placeholder.Value(flag); {
	case !ok:
		return "", errors.New("--postgres must be a placeholder, {env.NAME} or {file.PATH}; other users of the machine could see a literal connection string")
	case value == "":
		return "", fmt.Errorf("--postgres: %s is not set or empty", flag)
	default:
		return value, nil
	}
}

// copyStore copies a store to or from PostgreSQL.
func copyStore(cmd *cobra.Command, from, to tokenstore.Place) error {
	progress, done := progressOn(cmd)
	rows, err := tokenstore.Copy(cmd.Context(), from, to, progress)
	done()
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "copied %d rows\n", rows)
	return err
}

func acceptFailoverCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "accept-failover",
		Short: "Lets relays use a PostgreSQL server that has taken over from another",
		Long: `Relays refuse to count on a PostgreSQL server that is not the one on record: a server
that took over may lack the last calls, revocations and limits of the former one. With
this command, you accept that the relay may admit calls of the last moments again.
Revocations and limits of those moments may be lost; set them again.`,
		Example: "  caddy relayapi store accept-failover --postgres {env.RELAYAPI_DSN}",
		Args:    cobra.NoArgs,
	}
	dsn := postgresFlag(cmd)
	_ = cmd.MarkFlagRequired("postgres")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		value, err := readDSN(*dsn)
		if err != nil {
			return err
		}
		return tokenstore.AcceptFailover(cmd.Context(), value)
	}
	return cmd
}
