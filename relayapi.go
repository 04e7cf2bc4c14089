// Package relayapi is a Caddy plugin that lets a front-end call a paid HTTP API
// with an encrypted token instead of the API key.
//
// A request enters at the Handler (handler.go). Its steps admit the request or refuse
// it:
//
//	holdStore      keeps the store open (shared.go)
//	limitRate      counts against the operator's rate limits (limits.go)
//	findToken      empties every place that could hold a token (internal/carrier)
//	checkProtocol  refuses TLS early data, CONNECT and the like
//	openToken      opens the token, which yields its permit (tokens.go)
//	checkRequest   checks prefix, path, method, address and origin (package grant)
//	takeSlot       takes a slot of limits.concurrency and registers the call (call.go)
//	findBudgets    finds the limits in tokens and dollars (meter.go)
//	readBody       buffers a short body, or one to search for the model (body.go)
//	checkModels    checks the models that the request names (models.go)
//	countRate      counts against limits.rpm (limits.go)
//	decideTarget   sets method, path and key of the request to send
//	bound          bounds what a call under a budget can cost (meter.go)
//	charge         counts the call durably (package tokenstore)
//	outlive        lets the usage be read to its end when the client leaves
//
// The request then goes to the next handler, Caddy's reverse_proxy. It asks Upstreams
// where to connect, and hands the request to Transport (transport.go), which adds the
// real key last of all (package internal/realkey). Transport cleans the answer on its
// way back and reads its usage (answer.go, socket.go). The handler then settles the
// call.
//
// The steps share the call in the request's context (call.go). Everything that outlives
// a reload is in shared.go.
package relayapi

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"github.com/relayapi/caddy-relayapi/eccrypto"
	"github.com/relayapi/caddy-relayapi/grant"
	"github.com/relayapi/caddy-relayapi/internal/cli"
	"github.com/relayapi/caddy-relayapi/internal/keyfile"
	"github.com/relayapi/caddy-relayapi/internal/limits"
	"github.com/relayapi/caddy-relayapi/internal/login"
	"github.com/relayapi/caddy-relayapi/internal/metering"
	"github.com/relayapi/caddy-relayapi/internal/mint"
	"github.com/relayapi/caddy-relayapi/internal/notify"
	"github.com/relayapi/caddy-relayapi/internal/placeholder"
	"github.com/relayapi/caddy-relayapi/internal/ratelimit"
	"github.com/relayapi/caddy-relayapi/internal/store"
	"github.com/relayapi/caddy-relayapi/price"
	"github.com/relayapi/caddy-relayapi/tokenstore"
	"go.uber.org/zap"
)

func init() {
	caddy.RegisterModule(new(App))
	caddycmd.RegisterCommand(cli.Command)
}

// App is a relay: its keys, the issuers that may mint tokens for it, the providers that
// it forwards to, and the ledger of usage.
//
// With an empty configuration it keeps everything in Caddy's data directory, makes
// its keys at first start, lets only its own issuer mint, and configures every
// provider preset whose environment variable is set.
type App struct {
	// The database of the ledger.
	Store *store.Config `json:"store,omitempty"`

	// PEM files (PKCS#8, P-256) of the keys that tokens are encrypted to. The first
	// is current and served in the JWKS. The others still open tokens that were made
	// for them. Default: one key, made beside the store.
	PrivateKeys []string `json:"private_keys,omitempty"`

	// A PEM file (PKCS#8, P-256) of the key with which the relay signs the tokens that it
	// mints itself. Default: a key that is made beside the store.
	SigningKey string `json:"signing_key,omitempty"`

	// The back-ends that may mint tokens, by name. The issuer `relay` is the relay's
	// own, which the admin endpoint uses. It needs no key here.
	Issuers map[string]*Issuer `json:"issuers,omitempty"`

	// The longest lifetime of any token. Default: 30 days.
	MaxTTL caddy.Duration `json:"max_ttl,omitempty"`

	// How much tokens, subjects and issuers may use, whatever the tokens say.
	Limits []Limit `json:"limits,omitempty"`

	// How many requests the relay accepts, whatever tokens they carry.
	RateLimits []RateLimit `json:"rate_limits,omitempty"`

	// Prices of models that override or extend the embedded price list, which
	// `caddy relayapi prices` prints.
	Prices []ModelPrice `json:"prices,omitempty"`

	// Ask providers for the usage of every stream, not only of calls under a budget.
	// The relay hides the usage from clients that did not ask. Default: false.
	MeterAlways bool `json:"meter_always,omitempty"`

	// The receiver of warnings when 80 % and 100 % of a limit are used. Default: none;
	// warnings are only logged and emitted as the event `relayapi_limit_warning`.
	Notify *notify.Config `json:"notify,omitempty"`

	// The APIs that tokens may name. Default: every preset whose environment
	// variable is set.
	Providers map[string]*Provider `json:"providers,omitempty"`

	ctx     caddy.Context
	logger  *zap.Logger
	grants  map[string]grant.Issuer        // by issuer's name
	keys    []*eccrypto.PrivateKey         // configured ones
	signer  *eccrypto.PrivateKey           // configured; nil means none
	signers map[string]*eccrypto.PublicKey // of the configured issuers
	finder  *login.Finder                  // of the logins
	ledger  *ledger                        // acquired by Start
	relay   atomic.Pointer[relay]          // nil until Start has finished
	started chan struct{}                  // closed when Start has finished
	events  *caddyevents.App
	unwarn  func() // stops the delivery of warnings; nil means that Start has not begun it
}

// relay is the running state of an App.
type relay struct {
	tokens  *tokenCache
	ledger  *ledger
	minter  *mint.Minter // of the relay's own issuer
	secrets *mint.SecretIssuers
	minters map[string]*mint.Minter            // of the issuers with a login
	rates   []*ratelimit.Limiter[netip.Prefix] // of the app's rate limits
	config  []tokenstore.Limit                 // of the app
	started time.Time
	limits  atomic.Pointer[limits.Rules]
}

// ModelPrice is the price of a model.
type ModelPrice struct {
	// The name of a configured provider.
	Provider string `json:"provider"`

	// The name of the model, or a pattern with `*` for any text.
	Model string `json:"model"`

	// Prices in US dollars by kind, as decimal strings, e.g. `input` and `output` for a
	// million tokens. `caddy relayapi prices --json` lists all kinds and units.
	USD map[string]string `json:"usd"`
}

// check returns an error if the price is invalid.
func (p ModelPrice) check() error {
	table, err := price.Default()
	if err == nil {
		_, err = table.With(price.Override{Provider: p.Provider, Model: p.Model, Prices: p.USD})
	}
	return err
}

const defaultMaxTTL = 30 * 24 * time.Hour

// CaddyModule returns the Caddy module information.
func (*App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "relayapi",
		New: func() caddy.Module { return new(App) },
	}
}

// Provision reads the files that the configuration names. It writes nothing, because
// `caddy validate` provisions too.
func (a *App) Provision(ctx caddy.Context) error {
	a.ctx, a.logger, a.started = ctx, ctx.Logger(), make(chan struct{})
	stats.Register(ctx.GetMetricsRegistry())

	if a.MaxTTL == 0 {
		a.MaxTTL = caddy.Duration(defaultMaxTTL)
	}
	if a.Store == nil {
		a.Store = new(store.Config)
	}
	if err := a.Store.Provision(); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	events, err := ctx.App("events")
	if err != nil {
		return fmt.Errorf("getting events app: %w", err)
	}
	a.events = events.(*caddyevents.App)
	if a.Notify != nil {
		if err := a.Notify.Provision(); err != nil {
			return fmt.Errorf("notify: %w", err)
		}
	}
	if err := a.provisionProviders(); err != nil {
		return err
	}
	if err := a.provisionIssuers(); err != nil {
		return err
	}
	return a.readKeys()
}

// readKeys reads the keys that the config names.
func (a *App) readKeys() (err error) {
	for _, file := range a.PrivateKeys {
		key, err := keyfile.ReadPrivate(placeholder.Expand(file), a.logger)
		if err != nil {
			return err
		}
		a.keys = append(a.keys, key)
	}
	if a.SigningKey != "" {
		a.signer, err = keyfile.ReadPrivate(placeholder.Expand(a.SigningKey), a.logger)
	}
	return err
}

// Validate checks the limits, and whether the keys can be used together.
func (a *App) Validate() error {
	switch {
	case a.MaxTTL < 0:
		return errors.New("max_ttl must be positive")
	case a.Store.Shared() && (len(a.keys) == 0 || a.signer == nil):
		return errors.New("store postgres: all relays need the same keys; make them with `caddy relayapi keygen relay` and " +
			"`caddy relayapi keygen signing`, and name the files with `private_key` and `signing_key`")
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
	if len(a.keys) == 0 {
		return nil // Start makes one
	}
	if _, err := eccrypto.NewOpener(a.keys, a.signers); err != nil {
		return fmt.Errorf("private_key: %w", err)
	}
	return nil
}

func (a *App) provisionProviders() error {
	if len(a.Providers) == 0 {
		a.Providers = providersFromEnvironment()
	}
	if len(a.Providers) == 0 {
		return errors.New("no provider is configured; add a provider line to the relayapi global option, " +
			"or set the environment variable of a preset (`caddy relayapi providers` lists them)")
	}
	prices, err := a.priceTable()
	if err != nil {
		return err
	}
	for name, p := range a.Providers {
		if p == nil {
			p = new(Provider)
			a.Providers[name] = p
		}
		if err := p.provision(name, a.logger); err != nil {
			return fmt.Errorf("provider %s: %w", name, err)
		}
		p.tariff = metering.NewTariff(prices, name, cmp.Or(p.Preset, name))
	}
	return nil
}

// priceTable returns the embedded price list with the prices of the config.
func (a *App) priceTable() (*price.Table, error) {
	table, err := price.Default()
	if err != nil {
		return nil, fmt.Errorf("price list: %w", err)
	}
	for _, p := range a.Prices {
		if a.Providers[p.Provider] == nil {
			return nil, fmt.Errorf("price: unknown provider %q; add a line `provider %s` to the relayapi global option", p.Provider, p.Provider)
		}
		if table, err = table.With(price.Override{Provider: p.Provider, Model: p.Model, Prices: p.USD}); err != nil {
			return nil, err
		}
	}
	return table, nil
}

func (a *App) provisionIssuers() error {
	own := &Issuer{Providers: slices.Sorted(maps.Keys(a.Providers)), CarriedKeys: true}
	a.grants = map[string]grant.Issuer{mint.RelayIssuer: own.grant(mint.RelayIssuer, a.MaxTTL)}
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
	return a.checkLogins()
}

// logins returns the issuers that have a login.
func (a *App) logins() map[string]*Issuer {
	found := make(map[string]*Issuer)
	for name, issuer := range a.Issuers {
		if issuer.Login != nil {
			found[name] = issuer
		}
	}
	return found
}

// mintsAt reports whether a page of an origin may mint for users of a login.
func (a *App) mintsAt(origin string) bool {
	for _, issuer := range a.logins() {
		for i := -1; i < len(issuer.Login.Plans); i++ {
			if _, _, allow := issuer.Login.plan(i, issuer); slices.Contains(allow.Origins, origin) {
				return true
			}
		}
	}
	return false
}

// checkLogins refuses issuers with the same login, whose tokens would be
// indistinguishable, and makes the finder.
func (a *App) checkLogins() error {
	holders := make(map[string]string) // by the login's issuer
	verifiers := make(map[string]*login.Verifier)
	for name, issuer := range a.logins() {
		verifiers[name] = issuer.Login.verifier
		for _, iss := range issuer.Login.verifier.Issuers() {
			if holder := holders[iss]; holder != "" {
				return fmt.Errorf("issuers %s and %s have the same login; remove one", min(holder, name), max(holder, name))
			}
			holders[iss] = name
		}
	}
	a.finder = login.NewFinder(verifiers)
	return nil
}

// Start opens the store, makes the keys that are not configured, and admits requests.
func (a *App) Start() error {
	ledger, err := acquireLedger(a.ctx, a.Store, a.logger)
	if err != nil {
		return err
	}
	a.ledger = ledger // from here on, Cleanup releases it
	ledger.LongestTTL(time.Duration(a.MaxTTL))

	relay, err := a.newRelay()
	if err != nil {
		return err
	}
	for name, issuer := range a.logins() {
		a.ledger.startLogin(a.ctx, name, issuer.Login.verifier)
	}
	for _, p := range a.Providers {
		p.keys.Prefetch()
	}
	a.relay.Store(relay)
	close(a.started)
	a.startWarnings()
	a.logger.Info("relay is ready",
		zap.Strings("providers", slices.Sorted(maps.Keys(a.Providers))),
		zap.Strings("issuers", slices.Sorted(maps.Keys(a.grants))),
		zap.String("key_id", relay.minter.Recipient.ID()),
		zap.String("store", a.Store.Name()))
	return nil
}

// startWarnings starts the delivery of warnings about limits. Event handlers are known
// only when all apps have started.
func (a *App) startWarnings() {
	n := &notify.Notifier{
		Store: a.ledger, Config: a.Notify, Logger: a.logger.Named("limits"),
		Emit: func(event string, data map[string]any) { a.events.Emit(a.ctx, event, data) },
		Ready: func() bool {
			active, err := caddy.ActiveContext().AppIfConfigured("relayapi")
			return err == nil && active == any(a)
		},
	}
	a.unwarn = n.Start()
}

// newRelay makes the running state. The caller holds the lock of the store, so no other
// process makes keys beside it.
func (a *App) newRelay() (*relay, error) {
	dir := filepath.Dir(a.Store.Path)
	keys := a.keys
	if len(keys) == 0 {
		key, err := keyfile.Ensure(dir, keyfile.Encryption, a.logger)
		if err != nil {
			return nil, fmt.Errorf("encryption key: %w", err)
		}
		keys = []*eccrypto.PrivateKey{key}
	}
	signer := a.signer
	if signer == nil {
		var err error
		if signer, err = keyfile.Ensure(dir, keyfile.Signing, a.logger); err != nil {
			return nil, fmt.Errorf("signing key: %w", err)
		}
	}

	newMinter := func(issuer string) *mint.Minter {
		return &mint.Minter{Issuer: a.grants[issuer], Signer: signer, Recipient: keys[0].Public()}
	}
	signers := maps.Clone(a.signers)
	signers[mint.RelayIssuer] = signer.Public()
	secrets, minters := new(mint.SecretIssuers), make(map[string]*mint.Minter)
	for name, issuer := range a.Issuers {
		switch { // the relay signs in the issuer's name
		case issuer.Secret != "":
			signers[name] = signer.Public()
			secrets.Add(newMinter(name), issuer.digest)
		case issuer.Login != nil:
			signers[name], minters[name] = signer.Public(), newMinter(name)
		}
	}

	opener, err := eccrypto.NewOpener(keys, signers)
	if err != nil {
		return nil, fmt.Errorf("keys: %w", err)
	}
	tokens, err := newTokenCache(opener, a.grants, a.logins(), a.finder, a.Providers)
	if err != nil {
		return nil, fmt.Errorf("token cache: %w", err)
	}
	return &relay{
		tokens: tokens, ledger: a.ledger, minter: newMinter(mint.RelayIssuer), secrets: secrets, minters: minters,
		rates: limitersOf(&a.ledger.rates, a.RateLimits), config: storedLimits(a.Limits), started: time.Now(),
	}, nil
}

// startWait is how long a request waits for a relay that is starting. Apps start in
// random order, so the HTTP servers may be first.
const startWait = 5 * time.Second

// running returns the running state, or nil if the relay does not start soon.
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

// Stop does nothing. Apps stop in random order, and requests that the HTTP servers still
// finish need the ledger until Cleanup.
func (a *App) Stop() error { return nil }

// Cleanup releases the store, if Start acquired it. Requests in flight keep it open
// until the last of them has settled.
func (a *App) Cleanup() error {
	if a.unwarn != nil {
		a.unwarn()
	}
	if a.ledger != nil {
		for _, issuer := range a.logins() {
			issuer.Login.verifier.Close()
		}
		a.ledger.release()
	}
	return nil
}

// Interface guards
var (
	_ caddy.App          = (*App)(nil)
	_ caddy.Provisioner  = (*App)(nil)
	_ caddy.Validator    = (*App)(nil)
	_ caddy.CleanerUpper = (*App)(nil)
)
