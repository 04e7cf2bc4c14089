package relayapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
)

func tokenCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "token",
		Short: "Mints and inspects tokens",
	}
	cmd.AddCommand(createCommand(), inspectCommand())
	refuseOthers(cmd)
	return cmd
}

// askAdmin posts to the admin endpoint and decodes the answer.
func askAdmin(address, path string, body []byte, answer any) error {
	res, err := caddycmd.AdminAPIRequest(address, http.MethodPost, path, nil, bytes.NewReader(body))
	if err != nil {
		// Only the text tells an answer from none.
		if _, answered, ok := strings.Cut(err.Error(), "caddy responded with error: "); ok {
			return adminRefusal(answered)
		}
		return fmt.Errorf("%w\n(is the relay running, and is its admin endpoint at %s? --address says otherwise; --keys works without)", err, address)
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
		return fmt.Errorf("the admin endpoint answered %s", strings.TrimSpace(answered))
	}
	return fmt.Errorf("the admin endpoint refuses: %s", said.Error)
}
