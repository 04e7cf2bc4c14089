package relayapi

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/relayapi/caddy-relayapi/internal/adminapi"
	"github.com/relayapi/caddy-relayapi/internal/bodies"
	"github.com/relayapi/caddy-relayapi/internal/keyfile"
	"github.com/relayapi/caddy-relayapi/internal/login"
	"github.com/relayapi/caddy-relayapi/internal/pool"
	"github.com/relayapi/caddy-relayapi/internal/ratelimit"
	"github.com/relayapi/caddy-relayapi/tokenstore"
	"go.uber.org/zap"
)

// postgres is the driver of a store that several relays share.
const postgres = "postgres"

// StoreConfig says where the ledger is kept.
type StoreConfig struct {
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

	// How long calls are admitted without contact to PostgreSQL, from what the relay has
	// leased before. It also bounds how late a revocation takes effect. Default: 5s.
	MaxOffline caddy.Duration `json:"max_offline,omitempty"`

	dsn string // resolved
}

// name returns the store's name for logs and errors.
func (s *StoreConfig) name() string {
	if s.Driver == postgres {
		return postgres
	}
	return s.Path
}

// check returns what is wrong with the settings. It quotes no value, which may be a
// password in the wrong place.
func (s *StoreConfig) check() error {
	switch {
	case s.Driver != "" && s.Driver != "sqlite" && s.Driver != postgres:
		return fmt.Errorf("driver %q: must be one of sqlite, postgres", s.Driver)
	case s.Driver != postgres && (s.DSN != "" || len(s.Connection) > 0 || s.MaxOffline != 0):
		return errors.New("sqlite takes nothing but a path")
	case s.Driver == postgres && s.Path != "":
		return errors.New("postgres takes no path")
	case s.DSN != "" && len(s.Connection) > 0:
		return errors.New("postgres takes either a connection string or single settings")
	case s.DSN != "" && !placeholder.MatchString(s.DSN):
		return errors.New("the connection string must be a placeholder, {env.NAME} or {file.PATH}, because it may hold a password")
	case s.Connection["password"] != "" && !placeholder.MatchString(s.Connection["password"]):
		return errors.New("password must be a placeholder, {env.NAME} or {file.PATH}; the config would show a literal one, which {$NAME} makes")
	}
	return nil
}

// provision fills in the defaults and resolves the placeholders.
func (s *StoreConfig) provision() error {
	if err := s.check(); err != nil {
		return err
	}
	s.Driver = cmp.Or(s.Driver, "sqlite")
	if s.Driver != postgres {
		path, err := filepath.Abs(expand(cmp.Or(s.Path, filepath.Join(keyfile.DefaultDir(), "relayapi.db"))))
		s.Path = path
		return err
	}
	if s.DSN != "" {
		s.dsn = strings.TrimSpace(expand(s.DSN))
		if s.dsn == "" {
			return fmt.Errorf("%s is not set or empty", s.DSN)
		}
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(s.Connection)) {
		value := strings.TrimSpace(expand(s.Connection[name]))
		if value == "" {
			return fmt.Errorf("%s is not set or empty", name)
		}
		quote := strings.NewReplacer(`\`, `\\`, `'`, `\'`)
		s.dsn += fmt.Sprintf("%s='%s' ", name, quote.Replace(value))
	}
	return nil
}

// stores holds the open stores by path or connection string.
var stores = pool.New()

// pooledStore is a store in the pool, with everything else that must outlive a
// reload.
type pooledStore struct {
	*tokenstore.Ledger
	live      live
	paces     *ratelimit.Limiter[string] // calls by token: limits.rpm and limits.concurrency
	rates     ratelimit.Rules[netip.Prefix]
	guesses   *ratelimit.Limiter[netip.Prefix] // wrong secrets of issuers, by client
	exchanges *ratelimit.Limiter[string]       // tokens minted for users of logins, by subject
	logins    sync.Map                         // the latest *login.Verifier, by issuer
	bodies    bodies.Budget                    // of bodies and messages that are looked into

	heartbeats  adminapi.Heartbeats
	keyRefusals *lru.Cache[string, adminapi.KeyRefusal] // the latest, by token
	done        chan struct{}                           // closed by Destruct
}

const (
	maxBodies    = 512 << 20 // bytes
	keptRefusals = 1024      // tokens whose latest refusal of the key is kept
	guessClients = 1 << 13   // clients whose wrong secrets are counted
)

func openStore(ctx context.Context, config *StoreConfig) (caddy.Destructor, error) {
	refusals, err := lru.New[string, adminapi.KeyRefusal](keptRefusals)
	if err != nil {
		return nil, err
	}
	s := &pooledStore{
		paces:       ratelimit.New[string](time.Minute, paceTokens),
		guesses:     ratelimit.New[netip.Prefix](time.Minute, guessClients),
		exchanges:   ratelimit.New[string](time.Minute, guessClients),
		bodies:      bodies.Budget{Most: maxBodies},
		keyRefusals: refusals,
		done:        make(chan struct{}),
	}
	if config.Driver == postgres {
		s.Ledger, err = tokenstore.OpenPostgres(ctx, tokenstore.PostgresConfig{
			DSN: config.dsn, MaxOffline: time.Duration(config.MaxOffline),
			Changed: func(matches func(*tokenstore.Token) bool) { s.live.end(endRevoked, matches) },
		})
	} else {
		s.Ledger, err = tokenstore.OpenSQLite(ctx, config.Path)
	}
	if err != nil {
		return nil, err
	}
	if shared := s.Shared(); shared != nil {
		s.heartbeats.Share(shared, func(i adminapi.Identity) error { return s.revokeSilent(i, caddy.Log().Named("relayapi")) })
	}
	go s.live.watch(s.done)
	return s, nil
}

// Destruct closes the store when no config uses it any more.
func (s *pooledStore) Destruct() error {
	close(s.done)
	s.heartbeats.Close()
	return s.Close()
}

// ledger is the hold of one config, and of its requests, on a store.
type ledger struct {
	*pooledStore
	uses   *pool.Hold
	logger *zap.Logger
}

func acquireLedger(ctx context.Context, config *StoreConfig, logger *zap.Logger) (*ledger, error) {
	key := config.dsn
	if config.Driver != postgres {
		var err error
		if key, err = tokenstore.Resolve(config.Path); err != nil { // one store has one name
			return nil, fmt.Errorf("finding store: %w", err)
		}
	}

	uses, err := stores.Acquire(key, func() (caddy.Destructor, error) { return openStore(ctx, config) })
	if err != nil {
		return nil, fmt.Errorf("opening store %s: %w", config.name(), err)
	}
	return &ledger{pooledStore: uses.Value.(*pooledStore), uses: uses, logger: logger}, nil
}

// startLogin starts a verifier with the keys that the config before has fetched. The
// login provider may be away during the reload.
func (s *pooledStore) startLogin(ctx context.Context, name string, v *login.Verifier) {
	if former, ok := s.logins.Swap(name, v); ok {
		v.Inherit(former.(*login.Verifier))
	}
	v.Start(ctx)
}

// shareOf is the share of a token in the memory for bodies.
func (l *ledger) shareOf(p *permit) bodies.Share { return l.bodies.ShareOf(&p.bodies) }

// hold keeps the store open for a request. It reports false when the store is
// closed.
func (l *ledger) hold() bool { return l.uses.Take() }

// release gives up one hold, and the store with the last one.
func (l *ledger) release() {
	if err := l.uses.Release(); err != nil {
		l.logger.Error("closing the store", zap.Error(err))
	}
}
