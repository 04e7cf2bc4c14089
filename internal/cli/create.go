package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/relayapi/caddy-relayapi/eccrypto"
	"github.com/relayapi/caddy-relayapi/grant"
	"github.com/relayapi/caddy-relayapi/internal/adminapi"
	"github.com/relayapi/caddy-relayapi/internal/keyfile"
	"github.com/relayapi/caddy-relayapi/internal/mint"
	"github.com/spf13/cobra"
	"go.uber.org/zap"
)

// createFlags are the flags of `token create`. Flags that make claims have the claims'
// names.
type createFlags struct {
	provider, subject, id, ttl string
	limits                     [len(limitFlags)]int64
	usd                        string
	allow                      grant.Allow
	model                      string
	apiKeyFile, apiKeyEnv      string
	asJSON                     bool

	address                      string
	keys                         string
	recipient, issuerKey, issuer string
}

// limitFlags and listFlags are the flags that make members of `limits` and `allow`.
var (
	limitFlags = [...]struct {
		name, usage string
		of          func(*grant.Limits) **int64
	}{
		{"calls", "How many calls it permits in all", func(l *grant.Limits) **int64 { return &l.Calls }},
		{"tokens", "How many tokens of models it permits in all, of input and output together", func(l *grant.Limits) **int64 { return &l.Tokens }},
		{"rpm", "How many calls it permits per minute", func(l *grant.Limits) **int64 { return &l.RPM }},
		{"concurrency", "How many calls it permits at once", func(l *grant.Limits) **int64 { return &l.Concurrency }},
	}
	listFlags = []struct {
		name, usage string
		of          func(*grant.Allow) *[]string
	}{
		{"models", "Models that it permits, such as gpt-4o or gpt-4o*", func(a *grant.Allow) *[]string { return &a.Models }},
		{"paths", "Paths that it permits, such as /v1/chat/completions or /v1/*", func(a *grant.Allow) *[]string { return &a.Paths }},
		{"methods", "Methods that it permits, such as POST", func(a *grant.Allow) *[]string { return &a.Methods }},
		{"ips", "Addresses that it permits, such as 203.0.113.7 or 2001:db8::/32", func(a *grant.Allow) *[]string { return &a.IPs }},
		{"origins", "Pages that it permits, such as https://app.example.com", func(a *grant.Allow) *[]string { return &a.Origins }},
	}
)

func createCommand() *cobra.Command {
	var f createFlags
	cmd := &cobra.Command{
		Use:   "create --provider <name>",
		Short: "Mints a token and prints it",
		Long: `Mints a token and prints it to standard output. A summary goes to standard error.
There are three ways:

  1. The relay that runs on this machine mints it. This is the default; --address
     names its admin endpoint.
  2. With --keys, the relay's own key files are used, and no relay needs to run.
     They are beside its store, by default in
     ` + filepath.Join("<Caddy's data directory>", "relayapi") + `. If its config has
     a private_key, also name the public key with --recipient.
  3. With --recipient, --issuer and --issuer-key, your back-end mints it with its
     own key, for a relay anywhere. --recipient is the relay's public key: a PEM or
     JWK file, or the URL of its JWKS.

The second and third ways do not check the relay's config. When the token is used,
the relay refuses what its config does not permit.

A token lives for --ttl. Without --calls, --tokens, --usd, --rpm and --concurrency its
calls are unlimited. Under --tokens or --usd, a call reserves the most that it can
use, and the relay refuses calls whose cost it cannot bound. --models, --paths,
--methods, --ips and --origins narrow the token: a request must match one value of
each list. With --set-model, the relay writes that model into each request.`,
		Example: `  caddy relayapi token create --provider openai --calls 100 --ttl 24h --subject alice
  caddy relayapi token create --provider openai --usd 0.50 --ttl 30d --subject alice
  caddy relayapi token create --provider openai --models 'gpt-4o*,o3' --rpm 60 --concurrency 2 \
      --origins https://app.example.com
  caddy relayapi token create --provider openai --keys /var/lib/caddy/.local/share/caddy/relayapi
  caddy relayapi token create --provider openai --issuer my-backend --issuer-key my-backend.pem \
      --recipient https://relay.example.com/.well-known/jwks.json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	f.register(cmd)
	return cmd
}

// register adds the flags to the command.
func (f *createFlags) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.provider, "provider", "", "Provider that the token is for, by its name in the relay's config (required)")
	flags.StringVar(&f.subject, "subject", "", "User of the token (sub), for limits and your own records")
	flags.StringVar(&f.id, "id", "", "Token id (jti). Default: random")
	flags.StringVar(&f.ttl, "ttl", "", "Lifetime, such as 90s, 12h or 30d. Default: 24h, or the relay's max_ttl if that is less")
	for i, l := range limitFlags {
		flags.Int64Var(&f.limits[i], l.name, 0, l.usage+". Default: unlimited")
	}
	flags.StringVar(&f.usd, "usd", "", "How many US dollars it may cost in all, such as 5 or 0.25. Default: unlimited")
	for _, l := range listFlags {
		flags.StringSliceVar(l.of(&f.allow), l.name, nil, l.usage)
	}
	flags.StringVar(&f.model, "set-model", "", "Model that the relay writes into each request")
	flags.StringVar(&f.apiKeyFile, "api-key-file", "", "File with a real API key that the token carries, - for standard input")
	flags.StringVar(&f.apiKeyEnv, "api-key-env", "", "Environment variable with a real API key that the token carries")
	flags.BoolVar(&f.asJSON, "json", false, "Print the token with its id and expiry as JSON")
	flags.StringVar(&f.address, "address", "", "Admin endpoint of the running relay. Default: "+caddy.DefaultAdminListen)
	flags.StringVar(&f.keys, "keys", "", "Directory with the relay's key files, to mint without a running relay")
	flags.StringVar(&f.recipient, "recipient", "", "Public key of the relay: a PEM or JWK file, or its JWKS URL")
	flags.StringVar(&f.issuerKey, "issuer-key", "", "File with the private key of your issuer (PEM)")
	flags.StringVar(&f.issuer, "issuer", "", "Name of your issuer in the relay's config")
	_ = cmd.MarkFlagRequired("provider")
	cmd.MarkFlagsRequiredTogether("issuer", "issuer-key")
	cmd.MarkFlagsMutuallyExclusive("address", "keys", "issuer")
	cmd.MarkFlagsMutuallyExclusive("address", "recipient")
	cmd.MarkFlagsMutuallyExclusive("api-key-file", "api-key-env")
}

func (f *createFlags) run(cmd *cobra.Command) error {
	if err := noneEmpty(cmd, textFlags...); err != nil {
		return err
	}
	draft, err := f.draft(cmd, time.Now())
	if err != nil {
		return err
	}
	var m *mint.Minted
	switch {
	case f.keys != "":
		m, err = f.mintWithKeyFiles(draft)
	case f.issuer != "":
		m, err = f.mintAsIssuer(draft)
	case f.recipient != "":
		return errors.New("--recipient needs --issuer and --issuer-key, or --keys")
	default:
		m, err = mintAtRelay(draft, f.address)
	}
	if err != nil {
		return plain(err)
	}
	if f.asJSON {
		return json.NewEncoder(cmd.OutOrStdout()).Encode(m)
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "token %s of issuer %s: provider %s, %s, until %s\n",
		m.ID, m.Issuer, f.provider, permitted(draft.Limits), m.ExpiresAt.Format(time.RFC3339))
	_, err = fmt.Fprintln(cmd.OutOrStdout(), m.Token)
	return err
}

// permitted returns in words what limits permit in all.
func permitted(l *grant.Limits) string {
	if l == nil {
		l = new(grant.Limits)
	}
	var all []string
	if l.Calls != nil {
		all = append(all, fmt.Sprintf("calls: %d", *l.Calls))
	}
	if l.Tokens != nil {
		all = append(all, fmt.Sprintf("tokens: %d", *l.Tokens))
	}
	if l.USD != nil {
		all = append(all, "budget: $"+l.USD.String())
	}
	if len(all) == 0 {
		return "unlimited calls"
	}
	return strings.Join(all, ", ")
}

// textFlags are the flags of `token create` that need a value.
var textFlags = func() []string {
	names := []string{"provider", "subject", "id", "ttl", "usd", "set-model", "api-key-file", "api-key-env", "address", "keys", "recipient", "issuer-key", "issuer"}
	for _, l := range listFlags {
		names = append(names, l.name)
	}
	return names
}()

// noneEmpty refuses flags without a value. If a variable is not set, --ips "$IPS"
// would make a token that permits every address.
func noneEmpty(cmd *cobra.Command, names ...string) error {
	for _, name := range names {
		if value := cmd.Flag(name).Value.String(); cmd.Flags().Changed(name) && (value == "" || value == "[]") {
			return fmt.Errorf("--%s is empty; give it a value or leave it out", name)
		}
	}
	return nil
}

// draft builds claims from the flags.
func (f *createFlags) draft(cmd *cobra.Command, now time.Time) (*grant.Claims, error) {
	c := &grant.Claims{
		Provider: f.provider,
		Subject:  f.subject,
		ID:       f.id,
		IssuedAt: grant.NumericDate(now.Unix()),
	}
	if f.ttl != "" {
		ttl, err := caddy.ParseDuration(f.ttl)
		if err != nil || ttl < time.Second {
			return nil, fmt.Errorf("--ttl %q: must be a duration of a second or more, such as 90s, 12h or 30d", f.ttl)
		}
		c.ExpiresAt = grant.NumericDate(now.Add(ttl).Unix())
	}
	if err := f.setLimits(cmd, c); err != nil {
		return nil, err
	}
	for _, l := range listFlags {
		if len(*l.of(&f.allow)) > 0 {
			c.Allow = &f.allow
		}
	}
	if f.model != "" {
		c.Set = &grant.Set{Model: f.model}
	}
	var err error
	switch {
	case f.apiKeyFile != "":
		if c.APIKey, err = readSecret(cmd, f.apiKeyFile); err != nil {
			// The error must not quote the name, which may be the key itself.
			var pathErr *fs.PathError
			if errors.As(err, &pathErr) {
				err = pathErr.Err
			}
			return nil, fmt.Errorf("--api-key-file: %w", err)
		}
	case f.apiKeyEnv != "":
		c.APIKey = strings.TrimSpace(os.Getenv(f.apiKeyEnv))
	default:
		return c, nil
	}
	if c.APIKey == "" {
		return nil, errors.New("the API key is empty; check the file or variable that --api-key-file or --api-key-env names")
	}
	return c, nil
}

// setLimits sets the limits of the claims from the flags.
func (f *createFlags) setLimits(cmd *cobra.Command, c *grant.Claims) error {
	var limits grant.Limits
	for i, l := range limitFlags {
		switch n := &f.limits[i]; {
		case *n < 1 && cmd.Flags().Changed(l.name):
			return fmt.Errorf("--%s %d: must be 1 or more; leave it out for no limit", l.name, *n)
		case *n > 0:
			*l.of(&limits) = n
		}
	}
	if f.usd != "" {
		usd, err := grant.ParseUSD(f.usd)
		if err != nil || usd == 0 {
			return fmt.Errorf("--usd %.40q: must be dollars above 0 with at most 9 decimals, such as 5 or 0.25; leave it out for no limit", f.usd)
		}
		limits.USD = &usd
	}
	if limits != (grant.Limits{}) {
		c.Limits = &limits
	}
	return nil
}

// mintAtRelay asks the running relay.
func mintAtRelay(draft *grant.Claims, address string) (*mint.Minted, error) {
	body, err := json.Marshal(draft)
	if err != nil {
		return nil, err
	}
	// A draft has no issuer, audience or id yet, and perhaps no expiry. Their zero
	// values would be claims.
	var members map[string]any
	if err := json.Unmarshal(body, &members); err != nil {
		return nil, err
	}
	for name, value := range members {
		if value == "" || value == 0.0 {
			delete(members, name)
		}
	}
	if body, err = json.Marshal(members); err != nil {
		return nil, err
	}
	m := new(mint.Minted)
	if err := askOrKeys(address, http.MethodPost, "/relayapi/tokens", body, m); err != nil {
		return nil, err
	}
	if m.Token == "" {
		return nil, errors.New("the answer from --address has no token; it is not from a relay")
	}
	return m, nil
}

// mintWithKeyFiles mints as the relay's own issuer, with the relay's key files.
func (f *createFlags) mintWithKeyFiles(draft *grant.Claims) (*mint.Minted, error) {
	signer, err := keyfile.ReadPrivate(keyfile.PrivatePath(f.keys, keyfile.Signing), zap.NewNop())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("--keys: %w\n(name the directory of the relay's store; the relay creates its keys there)", err)
	}
	if err != nil {
		return nil, err
	}
	recipient := f.recipient
	if recipient == "" {
		recipient = keyfile.PublicPath(f.keys, keyfile.Encryption)
	}
	key, err := readRecipient(recipient)
	if errors.Is(err, fs.ErrNotExist) && f.recipient == "" {
		return nil, fmt.Errorf("%w\n(if the relay's config has a private_key, name its public key with --recipient)", err)
	}
	if err != nil {
		return nil, err
	}
	m := &mint.Minter{Issuer: grant.Issuer{Name: mint.RelayIssuer}, Signer: signer, Recipient: key}
	return m.Mint(draft, time.Now())
}

func (f *createFlags) mintAsIssuer(draft *grant.Claims) (*mint.Minted, error) {
	signer, err := keyfile.ReadPrivate(f.issuerKey, zap.NewNop())
	if err != nil {
		return nil, err
	}
	if f.recipient == "" {
		return nil, errors.New("--issuer needs --recipient: the relay's public key, or the URL of its JWKS")
	}
	recipient, err := readRecipient(f.recipient)
	if err != nil {
		return nil, err
	}
	m := &mint.Minter{Issuer: grant.Issuer{Name: f.issuer}, Signer: signer, Recipient: recipient}
	return m.Mint(draft, time.Now())
}

// readRecipient reads a relay's public key from a file or a URL.
func readRecipient(source string) (*eccrypto.PublicKey, error) {
	read := os.ReadFile
	if strings.Contains(source, "://") {
		read = fetch
	}
	data, err := read(source)
	switch {
	case errors.Is(err, fs.ErrNotExist) && strings.Contains(source, "/"):
		return nil, fmt.Errorf("recipient: %w (a URL begins with https://)", err)
	case err != nil:
		return nil, fmt.Errorf("recipient: %w", err)
	case len(data) == 0:
		return nil, fmt.Errorf("recipient %s is empty; if it is a URL, the relay there has no `jwks` line with that path", source)
	}
	key, err := eccrypto.ParsePublicKey(data)
	if err != nil {
		return nil, fmt.Errorf("recipient %s: %w", source, err)
	}
	return key, nil
}

// fetch gets a public key over HTTPS. Over HTTP, anyone on the path could replace it
// with their own and read the tokens.
func fetch(address string) ([]byte, error) {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "https" && !(u.Scheme == "http" && isLoopback(u.Hostname())) {
		return nil, fmt.Errorf("%s: must be an https URL", address)
	}
	client := http.Client{
		Timeout:       10 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // a redirect could leave HTTPS
	}
	res, err := client.Get(address)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answered %s", address, res.Status)
	}
	return io.ReadAll(io.LimitReader(res.Body, adminapi.MaxBody))
}

// plain returns only the rule of a denial. At the command line the claims were flags,
// so the code of a refusal means nothing.
func plain(err error) error {
	var d *grant.Denial
	if errors.As(err, &d) {
		return errors.New(d.Rule)
	}
	return err
}

func isLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}
