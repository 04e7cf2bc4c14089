package notify

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/relayapi/caddy-relayapi/internal/lines"
	"github.com/relayapi/caddy-relayapi/internal/placeholder"
)

// Config configures where warnings about limits are sent.
type Config struct {
	// The URL that receives each warning in a POST request. It begins with `https://`,
	// or with `http://` for this machine. It may have placeholders, such as
	// `{env.NAME}`.
	URL string `json:"url"`

	// The secret that signs warnings, in the form of Standard Webhooks: `whsec_` and 24
	// to 64 random bytes in base64. It must be a placeholder `{env.NAME}` or
	// `{file.PATH}`, so that no config shows the secret.
	Secret string `json:"secret"`

	url *url.URL
	key []byte
}

// errLiteralSecret quotes nothing, because the value may be a secret.
var errLiteralSecret = errors.New("secret must be a placeholder, {env.NAME} or {file.PATH}; the config would show a literal one, and {$NAME} becomes one")

// Check returns an error if the config is invalid. It does not replace placeholders.
func (c *Config) Check() error {
	switch {
	case c.Secret == "":
		return errors.New("secret is missing; it signs warnings, so that the receiver can verify the sender: add a line `secret {env.NAME}`")
	case !placeholder.Is(c.Secret):
		return errLiteralSecret
	case strings.Contains(c.URL, "{"):
		return nil // a placeholder in it has no value yet
	}
	_, err := parseURL(c.URL)
	return err
}

// Provision checks the config, replaces its placeholders and reads the secret.
func (c *Config) Provision() (err error) {
	if err := c.Check(); err != nil {
		return err
	}
	if c.url, err = parseURL(placeholder.Expand(c.URL)); err != nil {
		return err
	}
	secret, _ := placeholder.Value(c.Secret)
	if c.key, err = parseSecret(secret); err != nil {
		return fmt.Errorf("%s %w", c.Secret, err)
	}
	return nil
}

// parseURL parses the URL of a receiver. Its errors quote nothing but the scheme and
// the host, because some receivers are known by a secret path.
func parseURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || u.Fragment != "":
		return nil, errors.New("url is invalid; write for example https://ops.example.com/hooks/relay")
	case u.User != nil:
		return nil, fmt.Errorf("url of host %q: must not have a user or password, which the config would show", u.Host)
	case u.Scheme == "http" && !loopback(u.Hostname()):
		return nil, fmt.Errorf("url of host %q: must begin with https://; plain http is for this machine only, such as http://127.0.0.1:9000", u.Host)
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, fmt.Errorf("url of scheme %q: must begin with https://", u.Scheme)
	}
	return u, nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

const (
	secretPrefix         = "whsec_"
	minSecret, maxSecret = 24, 64 // bytes
)

// parseSecret returns the key of a secret. Its errors quote nothing.
func parseSecret(secret string) ([]byte, error) {
	const made = "make one with `echo whsec_$(openssl rand -base64 32)`"
	if secret == "" {
		return nil, errors.New("is not set or empty; " + made)
	}
	coded, ok := strings.CutPrefix(secret, secretPrefix)
	key, err := base64.StdEncoding.DecodeString(coded)
	if !ok || err != nil || len(key) < minSecret || len(key) > maxSecret {
		return nil, fmt.Errorf("must be %s and %d to %d bytes in base64; %s", secretPrefix, minSecret, maxSecret, made)
	}
	return key, nil
}

// UnmarshalCaddyfile parses
//
//	notify <url> {
//	    secret {env.X}
//	}
//
// from a dispenser that is at its first word.
func (c *Config) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	if !d.AllArgs(&c.URL) {
		return d.Err("write `notify <url> { secret {env.NAME} }`")
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if d.Val() != "secret" {
			return d.Errf("unknown subdirective %s: must be secret", d.Val())
		}
		if err := lines.Text(d, &c.Secret, ""); err != nil {
			return err
		}
		if !placeholder.Is(c.Secret) {
			return d.Err(errLiteralSecret.Error())
		}
	}
	if err := c.Check(); err != nil {
		return d.Errf("notify: %v", err)
	}
	return nil
}
