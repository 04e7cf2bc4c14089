// Package store configures and opens the database of the ledger.
package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/relayapi/caddy-relayapi/internal/keyfile"
	"github.com/relayapi/caddy-relayapi/internal/lines"
	"github.com/relayapi/caddy-relayapi/internal/placeholder"
	"github.com/relayapi/caddy-relayapi/tokenstore"
)

// Config configures the database of the ledger.
type Config struct {
	// The kind of database: `sqlite`, for one relay, or `postgres`, for several that
	// share their limits. Default: sqlite.
	Driver string `json:"driver,omitempty"`

	// The file of an SQLite store. Default: `relayapi/relayapi.db` in Caddy's data
	// directory.
	Path string `json:"path,omitempty"`

	// The connection string of PostgreSQL, a placeholder `{env.NAME}` or `{file.PATH}`,
	// because it may hold a password. Default: the settings below.
	DSN string `json:"dsn,omitempty"`

	// The settings of a connection to PostgreSQL, by their names in libpq: `host`, `port`,
	// `user`, `password`, `dbname`, `sslmode` and others. The password must be a
	// placeholder. Default: those of the environment, such as PGHOST.
	Connection map[string]string `json:"connection,omitempty"`

	// How long the relay admits calls without contact to PostgreSQL, from what it has
	// leased before. It also bounds how late a revocation takes effect. Default: 5s.
	MaxOffline caddy.Duration `json:"max_offline,omitempty"`

	dsn string // resolved
}

const (
	sqlite   = "sqlite"
	postgres = "postgres"
)

// Shared reports whether several relays can share the store.
func (c *Config) Shared() bool { return c.Driver == postgres }

// Name returns the store's name for logs and errors.
func (c *Config) Name() string {
	if c.Shared() {
		return postgres
	}
	return c.Path
}

// Check returns an error if the settings are invalid. It quotes no value, which may be
// a misplaced password.
func (c *Config) Check() error {
	switch {
	case c.Driver != "" && c.Driver != sqlite && c.Driver != postgres:
		return fmt.Errorf("driver %q: must be one of sqlite, postgres", c.Driver)
	case !c.Shared() && (c.DSN != "" || len(c.Connection) > 0 || c.MaxOffline != 0):
		return errors.New("sqlite takes nothing but a path")
	case c.Shared() && c.Path != "":
		return errors.New("postgres takes no path")
	case c.DSN != "" && len(c.Connection) > 0:
		return errors.New("postgres takes either a connection string or single settings")
	case c.DSN != "" && !placeholder.Is(c.DSN):
		return errors.New("the connection string must be a placeholder, {env.NAME} or {file.PATH}, because it may hold a password")
	case c.Connection["password"] != "" && !placeholder.Is(c.Connection["password"]):
		return errors.New("password must be a placeholder, {env.NAME} or {file.PATH}; the config would show a literal one, and {$NAME} becomes one")
	}
	return nil
}

// Provision fills in the defaults and resolves the placeholders.
func (c *Config) Provision() error {
	if err := c.Check(); err != nil {
		return err
	}
	c.Driver = cmp.Or(c.Driver, sqlite)
	if !c.Shared() {
		path, err := filepath.Abs(placeholder.Expand(cmp.Or(c.Path, filepath.Join(keyfile.DefaultDir(), "relayapi.db"))))
		c.Path = path
		return err
	}

	if c.DSN != "" {
		c.dsn, _ = placeholder.Value(c.DSN)
		if c.dsn == "" {
			return fmt.Errorf("%s is not set or empty", c.DSN)
		}
		return nil
	}
	quote := strings.NewReplacer(`\`, `\\`, `'`, `\'`)
	for _, name := range slices.Sorted(maps.Keys(c.Connection)) {
		value := strings.TrimSpace(placeholder.Expand(c.Connection[name]))
		if value == "" {
			return fmt.Errorf("%s is not set or empty", name)
		}
		c.dsn += fmt.Sprintf("%s='%s' ", name, quote.Replace(value))
	}
	return nil
}

// Key identifies the store: two configs with the same key use the same store.
func (c *Config) Key() (string, error) {
	if c.Shared() {
		return c.dsn, nil
	}
	path, err := tokenstore.Resolve(c.Path) // one canonical path for each store
	if err != nil {
		return "", fmt.Errorf("finding store: %w", err)
	}
	return path, nil
}

// Open opens the store. It calls changed when another relay has changed tokens, with a
// function that reports which.
func (c *Config) Open(ctx context.Context, changed func(matches func(*tokenstore.Token) bool)) (*tokenstore.Ledger, error) {
	if c.Shared() {
		return tokenstore.OpenPostgres(ctx, tokenstore.PostgresConfig{DSN: c.dsn, MaxOffline: time.Duration(c.MaxOffline), Changed: changed})
	}
	return tokenstore.OpenSQLite(ctx, c.Path)
}

// UnmarshalCaddyfile parses `store sqlite [<path>]` and `store postgres`. Its errors
// quote no value, which may be a misplaced password.
func (c *Config) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	switch {
	case len(args) == 0 || len(args) > 2:
		return d.Err("write `store sqlite [<path>]` or `store postgres [{env.NAME}]`")
	case args[0] != sqlite && args[0] != postgres:
		return d.Errf("store %q: must be one of sqlite, postgres", args[0])
	case args[0] == postgres:
		c.DSN = strings.Join(args[1:], "")
	default:
		c.Path = strings.Join(args[1:], "")
	}
	c.Driver = args[0]

	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if err := c.unmarshalLine(d); err != nil {
			return err
		}
	}
	if err := c.Check(); err != nil {
		return d.Errf("store %s: %v", c.Driver, err)
	}
	return nil
}

func (c *Config) unmarshalLine(d *caddyfile.Dispenser) error {
	name := d.Val()
	if name == "max_offline" {
		return lines.Duration(d, &c.MaxOffline)
	}
	values := d.RemainingArgs()
	switch {
	case len(values) != 1:
		return d.ArgErr()
	case c.Connection[name] != "":
		return d.Errf("%s is given twice", name)
	case c.Connection == nil:
		c.Connection = make(map[string]string)
	}
	c.Connection[name] = values[0]
	return nil
}

// Interface guards
var _ caddyfile.Unmarshaler = (*Config)(nil)
