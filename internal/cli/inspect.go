package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/relayapi/caddy-relayapi/eccrypto"
	"github.com/relayapi/caddy-relayapi/grant"
	"github.com/relayapi/caddy-relayapi/internal/keyfile"
	"github.com/relayapi/caddy-relayapi/internal/mint"
	"github.com/spf13/cobra"
	"go.uber.org/zap"
)

func inspectCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "inspect [<file>]",
		Short: "Shows what a token says and whether it is accepted",
		Long: `Reads a token from a file or standard input. Prints its claims and whether the relay
accepts them. If not, prints the broken rule, as the relay's log does. It does not
check the token's usage. It does not show a real key that the token carries.

The running relay answers, because it has the keys and the config. With --keys, the
relay's key files are used instead. Then only tokens of the relay's own issuer
verify, and the config is not checked.

Exits with 1 if the token is not accepted.`,
		Example: "  caddy relayapi token create --provider openai | caddy relayapi token inspect",
		Args:    cobra.MaximumNArgs(1),
	}
	address := addressFlag(cmd)
	keys := cmd.Flags().String("keys", "", "Directory with the relay's key files, to inspect without a running relay")
	cmd.MarkFlagsMutuallyExclusive("address", "keys")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		file := "-"
		if len(args) == 1 {
			file = args[0]
		}
		token, err := readSecret(cmd, file)
		switch {
		case err != nil && eccrypto.LooksLikeToken(strings.TrimSpace(file)):
			return errors.New("put the token in a file or on standard input; every user of the machine can see arguments")
		case err != nil:
			return err
		}
		if token == "" {
			return errors.New("there is no token on standard input")
		}
		var i mint.Inspection
		if *keys != "" {
			i, err = inspectWithKeyFiles(token, *keys)
		} else {
			err = askOrKeys(*address, http.MethodPost, "/relayapi/inspect", []byte(token), &i)
		}
		if err != nil {
			return err
		}
		enc := json.NewEncoder(cmd.OutOrStdout())
		enc.SetIndent("", "  ")
		if err := enc.Encode(i); err != nil {
			return err
		}
		if !i.Accepted {
			return fmt.Errorf("the token is not accepted: %s", i.Rule)
		}
		return nil
	}
	return cmd
}

func inspectWithKeyFiles(token, dir string) (mint.Inspection, error) {
	key, err := keyfile.ReadPrivate(keyfile.PrivatePath(dir, keyfile.Encryption), zap.NewNop())
	if err != nil {
		return mint.Inspection{}, err
	}
	signer, err := keyfile.ReadPrivate(keyfile.PrivatePath(dir, keyfile.Signing), zap.NewNop())
	if err != nil {
		return mint.Inspection{}, err
	}
	opener, err := eccrypto.NewOpener([]*eccrypto.PrivateKey{key},
		map[string]*eccrypto.PublicKey{mint.RelayIssuer: signer.Public()})
	if err != nil {
		return mint.Inspection{}, err
	}
	return mint.Inspect(func(token string) (*grant.Claims, error) {
		opened, err := mint.Open(context.Background(), opener, token)
		if err != nil {
			return nil, err
		}
		claims, err := grant.ParseClaims(opened.Claims)
		if err != nil {
			return claims, err
		}
		return claims, claims.Lifetime().ValidAt(time.Now())
	}, token), nil
}
