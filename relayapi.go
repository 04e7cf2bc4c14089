// Package relayapi is a Caddy plugin that lets a front-end call a paid HTTP API
// with an encrypted token instead of the API key.
//
// The handler (handler.go) takes each request through these steps:
//
//	hold, limitRate  the store is held, and the operator's rate limits are asked
//	take             the token is found, and every place that could hold one is emptied (carrier.go)
//	checkProtocol    TLS early data, CONNECT and the like are refused
//	openToken        the token is opened and its claims are compiled (tokens.go; packages eccrypto, grant)
//	checkRequest     path, method, address and origin are held against the grant
//	takeSlot         limits.concurrency; from here on the call ends with its token (pace.go, live.go)
//	readBody         a short body, or one whose model is looked into, is read (clientbody.go, held.go)
//	checkModels      the models that the request names are held against the grant (models.go; package dialect)
//	countRate        limits.rpm
//	decideTarget     what is sent where, with which key
//	charge           the call is counted durably (charge.go; package tokenstore)
//
// It then goes to the next handler, Caddy's reverse_proxy. That asks Upstreams
// (upstream.go) where to connect, and hands the request to Transport (transport.go),
// which adds the real key last of all (package internal/realkey). The answer is
// cleaned on its way back (answer.go, tap.go), and the call is settled.
//
// What joins the steps is the route in the request's context (route.go).
package relayapi

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/relayapi/caddy-relayapi/eccrypto"
	"github.com/relayapi/caddy-relayapi/grant"
	"go.uber.org/zap"
)

func init() {
	caddy.RegisterModule(new(App))
}

// App is what one relay owns: its keys, the issuers that may mint tokens for
// it, the providers that it forwards to, and the ledger of what was used.
//
// With an empty configuration it keeps everything in Caddy's data directory,
// makes its own keys at first start, lets only its own issuer mint, and
// configures every provider preset whose environment variable is set.
type App struct {
	// Where the ledger is kept.
	Store *StoreConfig `json:"store,omitempty"`

	// PEM files (PKCS#8, P-256) of the keys that tokens are encrypted to. The
	// first is current and served in the JWKS; the others still open tokens
	// that were made for them. Default: one key, made beside the store.
	PrivateKeys []string `json:"private_keys,omitempty"`

	// The back-ends that may mint tokens, by name. The name `relay` is the
	// relay's own issuer, used by the admin endpoint; it needs no key here.
	Issuers map[string]*Issuer `json:"issuers,omitempty"`

	// The longest lifetime of any token. Default: 30 days.
	MaxTTL caddy.Duration `json:"max_ttl,omitempty"`

	// What tokens, subjects and issuers may use, whatever the tokens say.
	Limits []Limit `json:"limits,omitempty"`

	// How many requests the relay looks at, whatever tokens they carry.
	RateLimits []RateLimit `json:"rate_limits,omitempty"`

	// The APIs that tokens may name. Default: every preset whose environment
	// variable is set.
	Providers map[string]*Provider `json:"providers,omitempty"`

	ctx     caddy.Context
	logger  *zap.Logger
	grants  map[string]grant.Issuer        // by issuer's name
	keys    []*eccrypto.PrivateKey         // configured ones
	signers map[string]*eccrypto.PublicKey // of the configured issuers
	ledger  *ledger                        // acquired by Start
	relay   atomic.Pointer[relay]          // nil until Start is through
	started chan struct{}                  // closed then
}

// relay is the running state of an App.
type relay struct {
	tokens  *tokenCache
	ledger  *ledger
	mint    *minter
	secrets *secretIssuers
	rates   []*rateCounts // of the app's rate limits
	limits  atomic.Pointer[limitRules]
}

// StoreConfig says where the ledger is kept.
type StoreConfig struct {
	// The kind of database. `sqlite` is the only one.
	Driver string `json:"driver,omitempty"`

	// The database file. Default: `relayapi/relayapi.db` in Caddy's data directory.
	Path string `json:"path,omitempty"`
}

const (
	defaultMaxTTL = 30 * 24 * time.Hour
	relayIssuer   = "relay" // the name of the relay's own issuer
)

// CaddyModule returns the Caddy module information.
func (*App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "relayapi",
		New: func() caddy.Module { return new(App) },
	}
}

// Provision checks the configuration and reads the files that it names. It
// writes nothing: `caddy validate` provisions too.
func (a *App) Provision(ctx caddy.Context) error {
	a.ctx, a.logger, a.started = ctx, ctx.Logger(), make(chan struct{})
	registerMetrics(ctx.GetMetricsRegistry())

	if a.MaxTTL == 0 {
		a.MaxTTL = caddy.Duration(defaultMaxTTL)
	}
	if a.MaxTTL < 0 {
		return errors.New("max_ttl must be positive")
	}
	for i, l := range a.Limits {
		if err := l.check(a.Limits[:i]); err != nil {
			return fmt.Errorf("limit: %w", err)
		}
	}
	for i, l := range a.RateLimits {
		if err := l.check(a.RateLimits[:i]); err != nil {
			return fmt.Errorf("rate_limit: %w", err)
		}
	}
	if err := a.provisionStore(); err != nil {
		return err
	}
	if err := a.provisionProviders(); err != nil {
		return err
	}
	if err := a.provisionIssuers(); err != nil {
		return err
	}
	for _, file := range a.PrivateKeys {
		key, err := readPrivateKey(expand(file), a.logger)
		if err != nil {
			return err
		}
		a.keys = append(a.keys, key)
	}
	if len(a.keys) == 0 {
		return nil // they are made at Start
	}
	_, err := eccrypto.NewOpener(a.keys, a.signers) // finds out whether they can be used
	return err
}

// expand replaces the placeholders in a path of the config, such as {env.HOME}.
func expand(path string) string { return caddy.NewReplacer().ReplaceAll(path, "") }

func (a *App) provisionStore() error {
	if a.Store == nil {
		a.Store = new(StoreConfig)
	}
	if a.Store.Driver == "" {
		a.Store.Driver = "sqlite"
	}
	if a.Store.Driver != "sqlite" {
		return fmt.Errorf("store %q: the only store is sqlite", a.Store.Driver)
	}
	if a.Store.Path == "" {
		a.Store.Path = defaultStorePath()
	}
	path, err := filepath.Abs(expand(a.Store.Path))
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	a.Store.Path = path
	return nil
}

func defaultStorePath() string {
	return filepath.Join(caddy.AppDataDir(), "relayapi", "relayapi.db")
}

func (a *App) provisionProviders() error {
	if len(a.Providers) == 0 {
		a.Providers = providersFromEnvironment()
	}
	if len(a.Providers) == 0 {
		return errors.New("no provider: write a provider line in the relayapi global option, " +
			"or set the environment variable of a preset (`caddy relayapi providers` lists them)")
	}
	for name, p := range a.Providers {
		if p == nil {
			p = new(Provider)
			a.Providers[name] = p
		}
		if err := p.provision(name, a.logger); err != nil {
			return fmt.Errorf("provider %s: %w", name, err)
		}
	}
	return nil
}

func (a *App) provisionIssuers() error {
	own := &Issuer{Providers: slices.Sorted(maps.Keys(a.Providers)), CarriedKeys: true}
	a.grants = map[string]grant.Issuer{relayIssuer: own.grant(relayIssuer, a.MaxTTL)}
	a.signers = make(map[string]*eccrypto.PublicKey)
	holders := make(map[[sha256.Size]byte]string) // of secrets, by digest
	for _, name := range slices.Sorted(maps.Keys(a.Issuers)) {
		issuer := a.Issuers[name]
		signer, err := issuer.provision(name, a)
		if err != nil {
			return fmt.Errorf("issuer %s: %w", name, err)
		}
		if signer != nil {
			a.signers[name] = signer
		}
		if issuer.Secret != "" {
			if holder := holders[issuer.digest]; holder != "" {
				return fmt.Errorf("issuer %s: %s holds the same secret as that of issuer %s; each needs its own", name, issuer.Secret, holder)
			}
			holders[issuer.digest] = name
		}
		a.grants[name] = issuer.grant(name, a.MaxTTL)
	}
	return nil
}

// Start opens the store, makes the keys that are not configured and lets
// requests in.
func (a *App) Start() error {
	ledger, err := acquireLedger(a.ctx, a.Store.Path, a.logger)
	if err != nil {
		return err
	}
	a.ledger = ledger // from here on Cleanup releases it
	ledger.LongestTTL(time.Duration(a.MaxTTL))

	dir := filepath.Dir(a.Store.Path)
	keys := a.keys
	if len(keys) == 0 {
		key, err := ensureKeyPair(dir, encryptionKeyName, a.logger)
		if err != nil {
			return err
		}
		keys = []*eccrypto.PrivateKey{key}
	}
	signer, err := ensureKeyPair(dir, signingKeyName, a.logger)
	if err != nil {
		return err
	}
	signers := maps.Clone(a.signers)
	signers[relayIssuer] = signer.Public()
	secrets := new(secretIssuers)
	for name, issuer := range a.Issuers {
		if issuer.Secret != "" { // what the endpoint mints, the relay signs in the issuer's name
			signers[name] = signer.Public()
			secrets.add(&minter{issuer: a.grants[name], signer: signer, recipient: keys[0].Public()}, issuer.digest)
		}
	}
	opener, err := eccrypto.NewOpener(keys, signers)
	if err != nil {
		return err
	}
	tokens, err := newTokenCache(opener, a.grants, a.Providers)
	if err != nil {
		return err
	}
	rates, err := ledger.rates.of(a.RateLimits)
	if err != nil {
		return err
	}
	mint := &minter{issuer: a.grants[relayIssuer], signer: signer, recipient: keys[0].Public()}
	a.relay.Store(&relay{tokens: tokens, ledger: ledger, mint: mint, secrets: secrets, rates: rates})
	close(a.started)
	a.logger.Info("relay is ready",
		zap.Strings("providers", slices.Sorted(maps.Keys(a.Providers))),
		zap.Strings("issuers", slices.Sorted(maps.Keys(a.grants))),
		zap.String("key_id", keys[0].Public().ID()),
		zap.String("store", a.Store.Path))
	return nil
}

// startWait is how long a request waits for a relay that is starting. Apps
// start in random order, so that after a reload the HTTP servers may be first.
const startWait = 5 * time.Second

// running returns the running state, or nil when there is none before long.
func (a *App) running(ctx context.Context) *relay {
	if relay := a.relay.Load(); relay != nil {
		return relay
	}
	timeout := time.NewTimer(startWait)
	defer timeout.Stop()
	select {
	case <-a.started:
	case <-timeout.C:
	case <-ctx.Done():
	}
	return a.relay.Load()
}

// Stop does nothing: apps stop in random order, and requests that the HTTP
// servers still finish need the ledger until Cleanup.
func (a *App) Stop() error { return nil }

// Cleanup releases the store, if Start acquired it. Requests in flight keep it
// open until the last of them has settled.
func (a *App) Cleanup() error {
	if a.ledger != nil {
		a.ledger.release()
	}
	return nil
}

// Interface guards
var (
	_ caddy.App          = (*App)(nil)
	_ caddy.Provisioner  = (*App)(nil)
	_ caddy.CleanerUpper = (*App)(nil)
)
