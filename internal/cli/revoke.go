package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/relayapi/caddy-relayapi/internal/adminapi"
	"github.com/relayapi/caddy-relayapi/internal/mint"
	"github.com/relayapi/caddy-relayapi/tokenstore"
	"github.com/spf13/cobra"
)

// revokeFlags are the flags of `token revoke`.
type revokeFlags struct {
	subject, issuer string
	allOf           string
	all             bool
	before          string
}

func revokeCommand() *cobra.Command {
	var f revokeFlags
	cmd := &cobra.Command{
		Use:   "revoke <id> | --subject <subject> | --all-of <issuer> | --all --before <time>",
		Short: "Revokes tokens for good, and ends their calls",
		Long: `Revokes tokens for good. When the command returns, the relay admits no more calls with
them and has ended those in flight. There are four ways:

  1. One token by its [issuer/]id, and everything that is minted with the same id
     later. This also works before the token is first used.
  2. With --subject, the tokens of a subject of --issuer.
  3. With --all-of, the tokens of an issuer, as when its key has leaked. (Then also
     replace its public key in the relay's config.)
  4. With --all, every token; --before is required.

The last three revoke the tokens issued up to now, or before the time in --before.
Tokens that are minted from the next second on are valid. A revocation cannot be
undone. To refuse a token for a while, use "token update --disable".`,
		Example: `  caddy relayapi token revoke my-backend/3f9c
  caddy relayapi token revoke --subject alice --issuer my-backend
  caddy relayapi token revoke --all-of my-backend --before 2026-01-31T12:00:00Z
  caddy relayapi token revoke --all --before now`,
	}
	flags := cmd.Flags()
	flags.StringVar(&f.subject, "subject", "", "Revoke the tokens of this subject")
	flags.StringVar(&f.issuer, "issuer", mint.RelayIssuer, "The issuer that --subject belongs to")
	flags.StringVar(&f.allOf, "all-of", "", "Revoke the tokens of this issuer")
	flags.BoolVar(&f.all, "all", false, "Revoke every token")
	flags.StringVar(&f.before, "before", "now", "Only tokens issued before this time, such as 2026-01-31T12:00:00Z")
	asJSON := flags.Bool("json", false, "Print JSON")
	address := addressFlag(cmd)
	cmd.MarkFlagsMutuallyExclusive("subject", "all-of", "all")
	cmd.MarkFlagsMutuallyExclusive("issuer", "all-of", "all")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		method, uri, body, err := f.request(args, flags.Changed)
		if err != nil {
			return err
		}
		var r adminapi.Revoked
		if err := ask(*address, method, uri, body, &r); err != nil {
			return err
		}
		if *asJSON {
			return printJSON(cmd.OutOrStdout(), r)
		}
		if r.Note != "" {
			fmt.Fprintln(cmd.ErrOrStderr(), "note:", r.Note)
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "revoked %s; calls in flight that were ended: %d\n", revokedWhat(r), r.Ended)
		return err
	}
	return cmd
}

// request returns the request to the admin endpoint that the flags describe.
func (f *revokeFlags) request(args []string, given func(flag string) bool) (method, uri string, body []byte, err error) {
	many := make(map[string]string)
	switch {
	case given("subject"):
		many["scope"], many["subject"], many["issuer"] = string(tokenstore.ScopeSubject), f.subject, f.issuer
	case given("all-of"):
		many["scope"], many["issuer"] = string(tokenstore.ScopeIssuer), f.allOf
	case f.all && !given("before"):
		return "", "", nil, errors.New("--all needs --before, such as --before now")
	case f.all:
		many["scope"] = string(tokenstore.ScopeAll)
	case len(args) == 0:
		return "", "", nil, errors.New("no tokens are named; give one [issuer/]id, --subject, --all-of or --all")
	case given("before") || given("issuer"):
		return "", "", nil, errors.New("--before and --issuer cannot be combined with an [issuer/]id, which is revoked whenever it was issued")
	}
	switch {
	case len(args) > 1 || len(args) == 1 && len(many) > 0:
		return "", "", nil, errors.New("give either one [issuer/]id, or --subject, --all-of or --all") // quotes nothing, because it may be a token
	case len(many) == 0:
		uri, err = tokenURI(args[0])
		return http.MethodDelete, uri, nil, err
	}
	if f.before != "now" {
		many["before"] = f.before
	}
	body, err = json.Marshal(many)
	return http.MethodPost, "/relayapi/revocations", body, err
}

// revokedWhat returns in words what was revoked.
func revokedWhat(r adminapi.Revoked) string {
	issuedBefore := " issued before " + r.Before.UTC().Format(time.RFC3339)
	switch r.Scope {
	case tokenstore.ScopeToken:
		return "token " + r.Issuer + "/" + r.ID
	case tokenstore.ScopeSubject:
		return fmt.Sprintf("the tokens of subject %q of issuer %s", *r.Subject, r.Issuer) + issuedBefore
	case tokenstore.ScopeIssuer:
		return "the tokens of issuer " + r.Issuer + issuedBefore
	default:
		return "all tokens" + issuedBefore
	}
}
