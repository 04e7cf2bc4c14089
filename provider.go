package relayapi

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/relayapi/caddy-relayapi/dialect"
	"github.com/relayapi/caddy-relayapi/grant"
	"github.com/relayapi/caddy-relayapi/internal/baseurl"
	"github.com/relayapi/caddy-relayapi/internal/carrier"
	"github.com/relayapi/caddy-relayapi/internal/credential"
	"github.com/relayapi/caddy-relayapi/internal/lines"
	"github.com/relayapi/caddy-relayapi/internal/metering"
	"github.com/relayapi/caddy-relayapi/internal/placeholder"
	"github.com/relayapi/caddy-relayapi/internal/realkey"
	"github.com/relayapi/caddy-relayapi/provider"
	"go.uber.org/zap"
)

// Provider is an API that tokens may name: where it is, which key goes there and how,
// and which of its paths are open.
type Provider struct {
	// The preset that supplies what is not set here. `caddy relayapi providers` lists
	// them. Default: the provider's name.
	Preset string `json:"preset,omitempty"`

	// The account arguments of the preset's base URL, e.g. the resource of
	// `azure-openai` or the region of `bedrock`.
	Accounts []string `json:"accounts,omitempty"`

	// The URL that requests go to: `http` or `https`, a host, and optionally a path,
	// which precedes the request's. Default: the preset's.
	BaseURL string `json:"base_url,omitempty"`

	// The real API keys, each a placeholder `{env.NAME}` or `{file.PATH}`, so that no
	// config shows one. Several make a pool and are used in turn. A key that the
	// provider answers with 401 or 429 rests for a minute. Default: the preset's
	// environment variable.
	APIKeys []string `json:"api_keys,omitempty"`

	// The relay has no key for this provider; tokens carry theirs. Default: false.
	NoAPIKey bool `json:"no_api_key,omitempty"`

	// Where the key goes. Default: the preset's.
	Credential *Credential `json:"credential,omitempty"`

	// The paths that tokens may reach, as patterns `[METHOD ]/path`. A `*` matches
	// within one segment, and a last `/*` everything below. Default: the preset's
	// inference routes; without a preset, all.
	Paths []string `json:"paths,omitempty"`

	// How requests name their model, for tokens that permit only some: `openai`,
	// `anthropic`, `azure`, `bedrock`, `deepgram`, `elevenlabs`, `gemini`, or
	// `generic`, which searches the places of all others. Default: the preset's;
	// without a preset, `generic`.
	Dialect string `json:"dialect,omitempty"`

	name       string
	dialect    *dialect.Dialect
	base       *url.URL
	dial       string // host:port
	credential provider.Placement
	places     []provider.Placement // of credentials, and of the account
	query      map[string]bool      // parameters among them, in lower case
	keys       *realkey.Pool
	signs      bool // its requests are signed, including their bodies
	keyMissing bool // tokens must carry the provider's key
	routes     *grant.Routes
	tariff     *metering.Tariff
}

// Credential is the place where a provider reads its key: a header, the query, or HTTP
// Basic. For AWS, Google and Azure, it replaces the key.
type Credential = credential.Credential

// providersFromEnvironment configures every preset whose variable is set.
func providersFromEnvironment() map[string]*Provider {
	found := make(map[string]*Provider)
	for _, preset := range provider.All() {
		if preset.Env != "" && len(preset.Accounts) == 0 && preset.BaseURL != "" && os.Getenv(preset.Env) != "" {
			found[preset.Name] = new(Provider)
		}
	}
	return found
}

func (p *Provider) provision(name string, logger *zap.Logger) error {
	if !grant.ValidName(name) {
		return lines.ErrInvalidName
	}
	p.name = name
	preset, err := p.preset()
	if err != nil {
		return err
	}
	if err := p.provisionBase(preset, logger); err != nil {
		return err
	}
	if err := p.provisionCredential(preset, logger); err != nil {
		return err
	}

	var ok bool
	if p.dialect, ok = dialect.Lookup(cmp.Or(p.Dialect, preset.Dialect)); !ok {
		return fmt.Errorf("unknown dialect %q: must be one of %s", p.Dialect, strings.Join(dialect.Names(), ", "))
	}
	paths := p.Paths
	switch {
	case len(paths) > 0:
	case preset.Name != "":
		if paths, err = baseurl.Routes(preset, p.Accounts); err != nil {
			return err
		}
	default:
		paths = []string{"/*"}
	}
	p.routes, err = grant.ParseRoutes(paths...)
	return err
}

// preset returns the preset that supplies the defaults, or a zero one for a provider
// that sets everything.
func (p *Provider) preset() (provider.Preset, error) {
	name := p.Preset
	if name == "" {
		name = p.name
	}
	preset, ok := provider.Lookup(name)
	if ok || p.Preset == "" && p.Credential != nil {
		return preset, nil
	}
	hint := "`caddy relayapi providers` lists the presets"
	if near := provider.Nearest(name); len(near) > 0 {
		hint = "did you mean " + strings.Join(near, " or ") + "? " + hint
	}
	if p.Preset == "" {
		hint += "; for another API add `credential header <name> [<prefix>]`, `credential basic [<user>]` or `preset openai-compatible`"
	}
	return preset, fmt.Errorf("unknown preset %q; %s", name, hint)
}

func (p *Provider) provisionBase(preset provider.Preset, logger *zap.Logger) error {
	base, err := baseurl.Parse(preset, p.name, p.BaseURL, p.Accounts)
	if err != nil {
		return err
	}
	if len(p.Paths) == 0 && baseurl.StartsAll(base.Path, preset.Routes) {
		return fmt.Errorf("base URL ends with %s, but the paths begin with it; remove it, or requests go to %s%s/…", base.Path, base.Path, base.Path)
	}
	p.base, p.dial = base, baseurl.Dial(base)
	if baseurl.Exposed(base) {
		logger.Warn("keys and answers travel unencrypted to this provider",
			zap.String("provider", p.name), zap.String("base_url", base.String()))
	}
	return nil
}

func (p *Provider) provisionCredential(preset provider.Preset, logger *zap.Logger) error {
	p.credential = preset.Credential
	if c := p.Credential; c != nil {
		var err error
		if p.credential, err = c.Placement(placeholder.Value); err != nil {
			return err
		}
	}
	p.credential.Header = http.CanonicalHeaderKey(p.credential.Header)

	p.places = append(preset.AlsoReads, p.credential, preset.Credential)
	if p.Credential != nil {
		p.places = append(p.places, p.Credential.AlsoReads()...)
	}
	p.query = make(map[string]bool)
	for _, place := range p.places {
		if place.Query != "" {
			p.query[strings.ToLower(place.Query)] = true
		}
	}

	if c := p.Credential; c != nil && len(c.Kinds()) > 0 {
		return p.provisionSource(preset, logger)
	}
	keys, err := p.readKeys(preset)
	p.keys = realkey.NewPool(keys)
	p.keyMissing = len(keys) == 0 && !preset.NoKey
	return err
}

// provisionSource makes the source of a credential other than a static key. It does not
// fetch the credential yet.
func (p *Provider) provisionSource(preset provider.Preset, logger *zap.Logger) error {
	if len(p.APIKeys) > 0 || p.NoAPIKey {
		return fmt.Errorf("credential %s: it replaces the key; remove api_key", p.Credential.Kinds()[0])
	}
	source, err := p.Credential.Source(&credential.Env{
		Preset: preset, Accounts: p.Accounts, Logger: logger.With(zap.String("provider", p.name)),
	})
	if err != nil {
		return err
	}
	p.keys, p.signs = realkey.NewSourcePool(source), p.Credential.Signs()
	return nil
}

// carriers returns the places where a request may have its token.
func (a *App) carriers() *carrier.Places {
	var places []provider.Placement
	for _, p := range a.Providers {
		places = append(places, p.places...)
	}
	c := carrier.New(places)
	if len(a.logins()) > 0 {
		c.Login = a.finder.Shaped
	}
	return c
}

// readsInQuery reports whether the provider reads a credential or an account in a query
// parameter. Some providers ignore case.
func (p *Provider) readsInQuery(name string) bool { return p.query[strings.ToLower(name)] }

// readKeys returns the keys of the config, or the one in the preset's variable.
func (p *Provider) readKeys(preset provider.Preset) ([]*realkey.Key, error) {
	if p.NoAPIKey {
		if len(p.APIKeys) > 0 {
			return nil, errors.New("api_key: must be either none or keys")
		}
		return nil, nil
	}
	refs := p.APIKeys
	if len(refs) == 0 {
		switch {
		case preset.NoKey:
			return nil, nil
		case preset.Env == "":
			return nil, errors.New("no key; add `api_key {env.NAME}`, or `api_key none` if tokens carry theirs")
		}
		refs = []string{"{env." + preset.Env + "}"}
	}

	return realkey.Resolve(refs, p.credential, p.credential.Basic && p.credential.User == "", placeholder.Value)
}
