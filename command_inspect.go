package relayapi

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
	"github.com/spf13/cobra"
	"go.uber.org/zap"
)

func inspectCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "inspect [<file>]",
		Short: "Tells what a token says and whether it is accepted",
		Long: `Reads a token from a file or standard input, and prints its claims and whether
the relay accepts them; if not, the rule that is broken, as the relay's log has
it. What the token has used is not looked at. A real key that the token carries
is not shown.

The running relay is asked, because it has the keys and the configuration. With
--keys the relay's key files are used instead; then only tokens of the relay's
own issuer verify, and what the configuration permits is not asked.

Exits with 1 when the token is not accepted.`,
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
			return errors.New("the token goes in a file or to standard input: arguments can be seen by every user of the machine")
		case err != nil:
			return err
		}
		if token == "" {
			return errors.New("there is no token on standard input")
		}
		var i inspection
		if *keys != "" {
			i, err = inspectWithKeyFiles(token, *keys)
		} else {
			err = askAdmin(*address, http.MethodPost, "/relayapi/inspect", []byte(token), &i, keysWork)
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

func inspectWithKeyFiles(token, dir string) (inspection, error) {
	key, err := readPrivateKey(privateKeyFile(dir, encryptionKeyName), zap.NewNop())
	if err != nil {
		return inspection{}, err
	}
	signer, err := readPrivateKey(privateKeyFile(dir, signingKeyName), zap.NewNop())
	if err != nil {
		return inspection{}, err
	}
	opener, err := eccrypto.NewOpener([]*eccrypto.PrivateKey{key},
		map[string]*eccrypto.PublicKey{relayIssuer: signer.Public()})
	if err != nil {
		return inspection{}, err
	}
	return inspect(func(token string) (*grant.Claims, error) {
		opened, err := openToken(context.Background(), opener, token)
		if err != nil {
			return nil, err
		}
		claims, err := grant.ParseClaims(opened.Claims)
		if err != nil {
			return claims, err
		}
		if err := checkEnforced(claims.Limits); err != nil {
			return claims, err
		}
		return claims, claims.Lifetime().ValidAt(time.Now())
	}, token), nil
}
