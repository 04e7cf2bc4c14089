package relayapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
)

func tokenCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "token",
		Short: "Mints, inspects, lists, changes and revokes tokens",
		Long: `A token is minted (create), and says what it permits (inspect). What becomes of
it afterwards is in the relay's ledger, from its first call on: what it has used
(list, show), and what you say of it (update, revoke).

After create and inspect a token goes by its id, never by its text. The id is
[issuer/]id; without an issuer the relay's own is meant, whose name is relay.`,
	}
	cmd.AddCommand(createCommand(), inspectCommand(), listCommand(), showCommand(), updateCommand(), revokeCommand())
	refuseOthers(cmd)
	return cmd
}

// addressFlag adds the flag that says where the relay's admin endpoint is.
func addressFlag(cmd *cobra.Command) *string {
	return cmd.Flags().String("address", "",
		"Admin endpoint of the running relay, such as unix//run/caddy/admin.sock (default "+caddy.DefaultAdminListen+")")
}

// What to do when no relay answers.
const (
	otherAddress = "--address says otherwise"
	keysWork     = otherAddress + "; --keys works without"
)

// askAdmin sends a request to the admin endpoint and decodes the answer.
// otherwise says what to do when nothing answers.
func askAdmin(address, method, uri string, body []byte, answer any, otherwise string) error {
	var reader io.Reader
	if body != nil {
		reader = bytes.NewReader(body)
	}
	address = adminAddress(address)
	res, err := caddycmd.AdminAPIRequest(address, method, uri, nil, reader)
	if err != nil {
		// Only the text tells an answer from none.
		if _, answered, ok := strings.Cut(err.Error(), "caddy responded with error: "); ok {
			return adminRefusal(answered)
		}
		return fmt.Errorf("%w\n(is the relay running, and is its admin endpoint at %s? %s)", err, address, otherwise)
	}
	defer res.Body.Close()
	if err := json.NewDecoder(res.Body).Decode(answer); err != nil {
		return fmt.Errorf("what answers at %s is not the admin endpoint of a relay (%w)", address, err)
	}
	return nil
}

// adminRefusal takes the message out of `HTTP 400: {"error":"…"}`.
func adminRefusal(answered string) error {
	var said struct {
		Error string `json:"error"`
	}
	_, body, _ := strings.Cut(answered, ": ")
	if err := json.Unmarshal([]byte(body), &said); err != nil || said.Error == "" {
		return fmt.Errorf("what answers is no admin endpoint of a relay: %s", strings.TrimRight(answered, ": \n"))
	}
	return fmt.Errorf("the admin endpoint refuses: %s", said.Error)
}
