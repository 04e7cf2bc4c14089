package relayapi

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"github.com/relayapi/caddy-relayapi/dialect"
	"github.com/relayapi/caddy-relayapi/grant"
	"github.com/relayapi/caddy-relayapi/internal/credential"
	"github.com/relayapi/caddy-relayapi/internal/lines"
	"github.com/relayapi/caddy-relayapi/internal/login"
	"github.com/relayapi/caddy-relayapi/internal/notify"
	"github.com/relayapi/caddy-relayapi/internal/placeholder"
	"github.com/relayapi/caddy-relayapi/internal/store"
	"github.com/relayapi/caddy-relayapi/provider"
	"github.com/relayapi/caddy-relayapi/tokenstore"
)

func init() {
	httpcaddyfile.RegisterDirective("relayapi", parseDirective)
	httpcaddyfile.RegisterDirectiveOrder("relayapi", httpcaddyfile.Before, "reverse_proxy")
	httpcaddyfile.RegisterGlobalOption("relayapi", parseGlobalOption)
}

// directive has the relay's own part of the relayapi directive; the rest is for
// reverse_proxy.
type directive struct {
	handler   Handler
	transport Transport
	endpoints map[string]string // name → path
	times     map[string]bool   // options of reverse_proxy that are set for how long WebSockets last
}

// longestSession is how long a WebSocket may last by default, even after a reload.
// stream_timeout and stream_close_delay override it. OpenAI ends a Realtime session
// after the same time.
const longestSession = time.Hour

// notProxied has the subdirectives of reverse_proxy that a relay refuses, and why. A
// name that ends in an underscore is a prefix.
var notProxied = []struct{ name, why string }{
	{"to", "the provider of a token decides where its requests go; write `provider <name> <base-url>` in the relayapi global option"},
	{"dynamic", "the provider of a token decides where its requests go"},
	{"method", "the token is checked against the method that is sent"},
	{"rewrite", "the token is checked against the path that is sent; use `prefix <path>`, or put handle_path around it"},
	{"lb_", "a counted call goes to its provider once, and there is one upstream"},
	{"health_", "a health check would spend calls; use `health <path>` to check the relay itself"},
}

// siteLines has the subdirectives that the relay reads.
var siteLines = []string{"prefix", "health", "jwks", "token_status", "mint", "transport", "log_requests", "on_disconnect", "stream_timeout", "stream_close_delay"}

// parseDirective parses
//
//	relayapi [<matcher>] {
//	    prefix <path>
//	    health <path>
//	    jwks   <path>
//	    token_status <path>
//	    mint   <path>
//	    transport http { ... }
//	    log_requests
//	    # and the subdirectives of reverse_proxy, but for
//	    # to, dynamic, method, rewrite, lb_* and health_*
//	}
//
// into one route with two handlers, relayapi and reverse_proxy, and one route
// for each endpoint.
func parseDirective(h httpcaddyfile.Helper) ([]httpcaddyfile.ConfigValue, error) {
	if !h.Next() {
		return nil, h.ArgErr()
	}
	matcher, err := h.ExtractMatcherSet()
	if err != nil {
		return nil, err
	}
	h.Next()                    // the directive's name again: ExtractMatcherSet has rewound
	d := h.NewFromNextSegment() // to remove our tokens and pass the rest on
	own, err := takeOwn(d)
	if err != nil {
		return nil, err
	}
	if matcher == nil && own.handler.Prefix == "" {
		own.setDefault("health", "/health")
		own.setDefault("jwks", "/.well-known/jwks.json")
	}
	paths := make(map[string]string)
	for _, name := range endpointNames {
		path := own.endpoints[name]
		if other := paths[path]; path != "" && other != "" {
			return nil, d.Errf("%s and %s have the same path, %s", other, name, path)
		}
		paths[path] = name
	}
	if own.handler.Prefix != "" {
		if _, taken := matcher["path"]; taken {
			return nil, d.Err("prefix is a path matcher; remove the other one or the prefix")
		}
		matcher = maps.Clone(matcher) // a copy: other directives may use the same named matcher
		if matcher == nil {
			matcher = make(caddy.ModuleMap)
		}
		matcher["path"] = h.JSON(caddyhttp.MatchPath{own.handler.Prefix + "/*"})
	}

	proxy := &reverseproxy.Handler{
		TransportRaw:        caddyconfig.JSONModuleObject(&own.transport, "protocol", "relayapi", nil),
		DynamicUpstreamsRaw: caddyconfig.JSONModuleObject(Upstreams{}, "source", "relayapi", nil),
	}
	if !own.times["stream_timeout"] {
		proxy.StreamTimeout = caddy.Duration(longestSession)
	}
	if !own.times["stream_close_delay"] {
		proxy.StreamCloseDelay = caddy.Duration(longestSession)
	}
	d.Reset()
	if err := proxy.UnmarshalCaddyfile(d); err != nil {
		return nil, err
	}
	if err := proxy.FinalizeUnmarshalCaddyfile(h); err != nil {
		return nil, err
	}
	return own.routes(matcher, proxy), nil
}

func (own *directive) setDefault(endpoint, path string) {
	if own.endpoints[endpoint] == "" {
		own.endpoints[endpoint] = path
	}
}

// routes returns the endpoints' routes, outside the matcher, and then the relay's. The
// order matters in blocks that Caddy does not sort.
func (own *directive) routes(matcher caddy.ModuleMap, proxy *reverseproxy.Handler) []httpcaddyfile.ConfigValue {
	var values []httpcaddyfile.ConfigValue
	add := func(matcher caddy.ModuleMap, handlers ...json.RawMessage) {
		route := caddyhttp.Route{HandlersRaw: handlers}
		if matcher != nil {
			route.MatcherSetsRaw = []caddy.ModuleMap{matcher}
		}
		values = append(values, httpcaddyfile.ConfigValue{Class: "route", Value: route})
	}
	for _, name := range endpointNames {
		if path := own.endpoints[name]; path != "" {
			endpoint := &Endpoint{Name: name, LogRequests: own.handler.LogRequests && name != "mint"}
			add(caddy.ModuleMap{"path": caddyconfig.JSON(caddyhttp.MatchPath{path}, nil)},
				caddyconfig.JSONModuleObject(endpoint, "handler", "relayapi_endpoint", nil))
		}
	}
	add(matcher,
		caddyconfig.JSONModuleObject(&own.handler, "handler", "relayapi", nil),
		caddyconfig.JSONModuleObject(proxy, "handler", "reverse_proxy", nil))
	return values
}

// takeOwn parses our subdirectives and deletes them from d.
func takeOwn(d *caddyfile.Dispenser) (*directive, error) {
	own := &directive{endpoints: make(map[string]string), times: make(map[string]bool)}
	seen := make(map[string]bool)
	d.Next() // the directive's name
	if d.NextArg() {
		return nil, d.Errf("unexpected argument %q: providers are named in the relayapi global option", d.Val())
	}
	for d.NextBlock(0) {
		if d.Nesting() != 1 { // a line within a block of reverse_proxy's, whatever its name
			continue
		}
		name := d.Val()
		for _, not := range notProxied {
			if name == not.name || strings.HasSuffix(not.name, "_") && strings.HasPrefix(name, not.name) {
				return nil, d.Errf("%s is not for a relay: %s", name, not.why)
			}
		}
		switch {
		case slices.Contains(globalLines, name):
			return nil, d.Errf("%s belongs in the relayapi global option, at the top of the Caddyfile, not in a site", name)
		case seen[name] && slices.Contains(siteLines, name):
			return nil, d.Errf("%s is given twice", name)
		}
		seen[name] = true
		if err := own.take(d, name); err != nil {
			return nil, err
		}
	}
	return own, nil
}

// take parses one subdirective, if it is ours.
func (own *directive) take(d *caddyfile.Dispenser, name string) error {
	switch name {
	case "prefix":
		path, err := lines.TakePath(d)
		own.handler.Prefix = strings.TrimSuffix(path, "/")
		return err
	case "health", "jwks", "token_status", "mint":
		path, err := lines.TakePath(d)
		own.endpoints[name] = path
		return err
	case "log_requests":
		if d.NextArg() {
			return d.ArgErr()
		}
		own.handler.LogRequests = true
		d.Delete()
	case "on_disconnect":
		args := d.RemainingArgs()
		if len(args) != 1 || !slices.Contains(onDisconnect, args[0]) {
			return d.Errf("on_disconnect: must be one of %s", strings.Join(onDisconnect, ", "))
		}
		own.handler.OnDisconnect = args[0]
		d.DeleteN(2)
	case "transport":
		return own.takeTransport(d)
	case "stream_timeout", "stream_close_delay":
		own.times[name] = true
		return lines.CheckTime(d)
	default:
		d.RemainingArgs() // reverse_proxy's own
	}
	return nil
}

// takeTransport parses `transport http { ... }` into our transport.
func (own *directive) takeTransport(d *caddyfile.Dispenser) error {
	if !d.NextArg() {
		return d.ArgErr()
	}
	if d.Val() != "http" {
		return d.Errf("transport %s: must be http, because providers speak HTTP", d.Val())
	}
	block := d.NewFromNextSegment()
	if err := own.transport.UnmarshalCaddyfile(block); err != nil {
		return err
	}
	// NewFromNextSegment left d on the segment's last token: "http" or "}".
	block.Reset()
	tokens := 0
	for block.Next() {
		tokens++
	}
	d.DeleteN(tokens + 1) // and the word transport
	return nil
}

// parseGlobalOption parses the relayapi global option, see [App.UnmarshalCaddyfile].
func parseGlobalOption(d *caddyfile.Dispenser, existing any) (any, error) {
	if existing != nil {
		d.Next()
		return nil, d.Err("the relayapi global option is given twice; put both in one block")
	}
	app := new(App)
	if err := app.UnmarshalCaddyfile(d); err != nil {
		return nil, err
	}
	return httpcaddyfile.App{Name: "relayapi", Value: caddyconfig.JSON(app, nil)}, nil
}

// UnmarshalCaddyfile parses the relayapi global option:
//
//	relayapi {
//	    store sqlite [<path>]
//	    store postgres [{env.NAME}] {
//	        host|port|user|password|dbname|sslmode <value>
//	        max_offline <duration>
//	    }
//	    private_key <pem-file>...
//	    signing_key <pem-file>
//	    max_ttl <duration>
//	    limit token|subject|issuer calls|tokens|usd <n> [per day|month]
//	    rate_limit client|total <n> per second|minute|hour
//	    price <provider> <model> <kind> <usd> [<kind> <usd>]...
//	    meter always
//	    notify <url> {
//	        secret {env.X}
//	    }
//	    issuer <name> {
//	        public_key <pem-or-jwk-file> | secret {env.X}
//	        providers <name>...
//	        carried_keys
//	        max_ttl <duration>
//	        calls|rpm|concurrency|tokens|usd <n>
//	        login <preset> <arg>... | <issuer-url> {
//	            audience|authorized_party|algorithms <value>...
//	            jwks <url>
//	            secret {env.X}
//	        }
//	        subject <claim>
//	        require <claim> <value>...
//	        when <claim> <value>... {
//	            calls|tokens|usd <n> [per day|month]
//	            rpm|concurrency <n>
//	            models|paths|methods|ips|origins <value>...
//	        }
//	        models|paths|methods|ips|origins <value>...
//	    }
//	    provider <name> [<base-url>] {
//	        preset <preset> [<account>...]
//	        api_key {env.X}... | none
//	        credential header <name> [<prefix>] | query <name> | basic [<user>] | aws ... | google ... | entra ...
//	        paths <pattern>...
//	        dialect <name>
//	    }
//	}
func (a *App) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the option's name
	if d.NextArg() {
		return d.Errf("unexpected argument %q; put the options in a block", d.Val())
	}
	for d.NextBlock(0) {
		if err := a.unmarshalLine(d); err != nil {
			return err
		}
	}
	return nil
}

// globalLines has the subdirectives of the global option.
var globalLines = []string{"store", "private_key", "signing_key", "max_ttl", "limit", "rate_limit", "price", "meter", "notify", "issuer", "provider"}

func (a *App) unmarshalLine(d *caddyfile.Dispenser) error {
	switch d.Val() {
	case "store":
		if a.Store != nil {
			return d.Err("store is given twice")
		}
		a.Store = new(store.Config)
		return a.Store.UnmarshalCaddyfile(d)
	case "private_key":
		files := d.RemainingArgs()
		if len(files) == 0 {
			return d.ArgErr()
		}
		a.PrivateKeys = append(a.PrivateKeys, files...)
	case "signing_key":
		if a.SigningKey != "" || !d.AllArgs(&a.SigningKey) {
			return d.Err("write `signing_key <pem-file>`, once")
		}
	case "max_ttl":
		return lines.Duration(d, &a.MaxTTL)
	case "limit":
		return a.unmarshalLimit(d)
	case "rate_limit":
		return a.unmarshalRateLimit(d)
	case "price":
		return a.unmarshalPrice(d)
	case "meter":
		if args := d.RemainingArgs(); len(args) != 1 || args[0] != "always" || a.MeterAlways {
			return d.Err("write `meter always`, once")
		}
		a.MeterAlways = true
	case "notify":
		if a.Notify != nil {
			return d.Err("notify is given twice")
		}
		a.Notify = new(notify.Config)
		return a.Notify.UnmarshalCaddyfile(d)
	case "issuer":
		return a.unmarshalIssuer(d)
	case "provider":
		return a.unmarshalProvider(d)
	default:
		if slices.Contains(siteLines, d.Val()) {
			return d.Errf("%s: move it to the relayapi directive of a site; it is not a global option", d.Val())
		}
		return d.Errf("unknown subdirective %s: must be one of %s", d.Val(), strings.Join(globalLines, ", "))
	}
	return nil
}

// unmarshalLimit parses a line such as `limit subject calls 20 per day`.
func (a *App) unmarshalLimit(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) != 3 && len(args) != 5 || len(args) == 5 && args[3] != "per" {
		return d.Err("write `limit token|subject|issuer calls|tokens|usd <n> [per day|month]`")
	}
	l := Limit{Scope: args[0]}
	if err := l.set(args[1], args[2]); err != nil {
		return d.Errf("limit: %v", err)
	}
	if len(args) == 5 {
		l.Per = args[4]
	}
	if err := l.check(a.Limits); err != nil {
		return d.Errf("limit: %v", err)
	}
	a.Limits = append(a.Limits, l)
	return nil
}

// unmarshalPrice parses a line such as `price openai my-model input 1.25 output 10`.
func (a *App) unmarshalPrice(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) < 4 || len(args)%2 != 0 {
		return d.Err("write `price <provider> <model> <kind> <usd> [<kind> <usd>]...`, such as `price openai my-model input 1.25 output 10`")
	}
	p := ModelPrice{Provider: args[0], Model: args[1], USD: make(map[string]string)}
	for pair := range slices.Chunk(args[2:], 2) {
		if _, twice := p.USD[pair[0]]; twice {
			return d.Errf("price: %s is given twice", pair[0])
		}
		p.USD[pair[0]] = pair[1]
	}
	if err := p.check(); err != nil {
		return d.Err(err.Error())
	}
	a.Prices = append(a.Prices, p)
	return nil
}

// unmarshalRateLimit parses a line such as `rate_limit client 100 per minute`.
func (a *App) unmarshalRateLimit(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) != 4 || args[2] != "per" {
		return d.Err("write `rate_limit client|total <n> per second|minute|hour`")
	}
	requests, err := strconv.ParseInt(args[1], 10, 64)
	if err != nil {
		return d.Errf("rate_limit: requests %q: must be a number", args[1])
	}
	l := RateLimit{Scope: args[0], Requests: requests, Per: args[3]}
	if err := l.check(a.RateLimits); err != nil {
		return d.Errf("rate_limit: %v", err)
	}
	a.RateLimits = append(a.RateLimits, l)
	return nil
}

func (a *App) unmarshalProvider(d *caddyfile.Dispenser) error {
	name, err := lines.Name(d)
	if err != nil {
		return err
	}
	if a.Providers[name] != nil {
		return d.Errf("provider %s is given twice; put several keys on one api_key line", name)
	}
	p := &Provider{name: name}
	if d.NextArg() {
		p.BaseURL = d.Val()
		if !strings.HasPrefix(p.BaseURL, "https://") && !strings.HasPrefix(p.BaseURL, "http://") {
			return d.Errf("provider %s: a base URL starts with https:// or http://; put a preset and a key in the block", name) // quotes nothing, because it may be a key
		}
	}
	if d.NextArg() {
		return d.Errf("provider %s: only a base URL may follow the name; put a preset and a key in the block", name)
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if err := p.unmarshalLine(d); err != nil {
			return err
		}
	}
	if _, err := p.preset(); err != nil {
		return d.Errf("provider %s: %v", name, err)
	}
	if a.Providers == nil {
		a.Providers = make(map[string]*Provider)
	}
	a.Providers[name] = p
	return nil
}

func (p *Provider) unmarshalLine(d *caddyfile.Dispenser) error {
	switch d.Val() {
	case "preset":
		args := d.RemainingArgs()
		if len(args) == 0 || p.Preset != "" {
			return d.ArgErr()
		}
		p.Preset, p.Accounts = args[0], args[1:]
		if preset, ok := provider.Lookup(p.Preset); ok && p.BaseURL == "" && len(p.Accounts) != len(preset.Accounts) {
			return d.Errf("preset %s takes %d arguments: %s", p.Preset, len(preset.Accounts), strings.Join(preset.Accounts, ", "))
		}
	case "api_key":
		keys := d.RemainingArgs()
		switch {
		case len(keys) == 0:
			return d.ArgErr()
		case p.NoAPIKey:
			return d.Err("api_key: must be either none or keys")
		case len(keys) == 1 && keys[0] == "none":
			p.NoAPIKey = true
			return nil
		}
		for _, key := range keys {
			if !placeholder.Is(key) { // quotes nothing, because it may be a key
				return d.Err("api_key must be placeholders, {env.NAME} or {file.PATH}, or none; the config would show a literal key, and {$NAME} becomes one")
			}
		}
		p.APIKeys = append(p.APIKeys, keys...)
	case "credential":
		return p.unmarshalCredential(d)
	case "paths":
		return lines.Patterns(d, &p.Paths)
	case "dialect":
		if err := lines.Text(d, &p.Dialect, ""); err != nil {
			return err
		}
		if _, ok := dialect.Lookup(p.Dialect); !ok {
			return d.Errf("unknown dialect %q: must be one of %s", p.Dialect, strings.Join(dialect.Names(), ", "))
		}
	default:
		return d.Errf("unknown subdirective %s: must be one of preset, api_key, credential, paths, dialect", d.Val())
	}
	return nil
}

// unmarshalCredential parses a line such as `credential header X-Api-Key`.
func (p *Provider) unmarshalCredential(d *caddyfile.Dispenser) error {
	if p.Credential != nil {
		return d.Err("credential is given twice; a request carries one")
	}
	args := d.RemainingArgs()
	if len(args) > 0 && slices.Contains(credential.Kinds, args[0]) {
		cloud, err := credential.Unmarshal(d, args[0], args[1:])
		p.Credential = &Credential{Cloud: cloud}
		return err
	}
	var err error
	if p.Credential, err = credential.Parse(args, placeholder.Is); err != nil {
		return d.Err(err.Error())
	}
	return nil
}

// issuerLines has the lines of an issuer's block. Those that bound its tokens have the
// names of the claims.
var issuerLines = map[string]func(i *Issuer, d *caddyfile.Dispenser) error{
	"public_key": func(i *Issuer, d *caddyfile.Dispenser) error {
		return lines.Text(d, &i.PublicKey, "; an issuer signs with one key, so name its next key in another issuer until the tokens of the first have expired")
	},
	"secret": func(i *Issuer, d *caddyfile.Dispenser) error {
		if err := lines.Text(d, &i.Secret, ""); err != nil {
			return err
		}
		if !placeholder.Is(i.Secret) {
			return d.Err(errLiteralSecret.Error())
		}
		return nil
	},
	"carried_keys": func(i *Issuer, d *caddyfile.Dispenser) error { return lines.Flag(d, &i.CarriedKeys) },
	"max_ttl":      func(i *Issuer, d *caddyfile.Dispenser) error { return lines.Duration(d, &i.MaxTTL) },
	"providers":    func(i *Issuer, d *caddyfile.Dispenser) error { return lines.List(d, &i.Providers) },
	"models":       func(i *Issuer, d *caddyfile.Dispenser) error { return lines.List(d, &i.Allow.Models) },
	"paths":        func(i *Issuer, d *caddyfile.Dispenser) error { return lines.Patterns(d, &i.Allow.Paths) },
	"methods":      func(i *Issuer, d *caddyfile.Dispenser) error { return lines.List(d, &i.Allow.Methods) },
	"ips":          func(i *Issuer, d *caddyfile.Dispenser) error { return lines.List(d, &i.Allow.IPs) },
	"origins":      func(i *Issuer, d *caddyfile.Dispenser) error { return lines.List(d, &i.Allow.Origins) },
	"rpm":          func(i *Issuer, d *caddyfile.Dispenser) error { return lines.Number(d, &i.Limits.RPM) },
	"concurrency":  func(i *Issuer, d *caddyfile.Dispenser) error { return lines.Number(d, &i.Limits.Concurrency) },
	"calls":        func(i *Issuer, d *caddyfile.Dispenser) error { return i.unmarshalAmount(d) },
	"tokens":       func(i *Issuer, d *caddyfile.Dispenser) error { return i.unmarshalAmount(d) },
	"usd":          func(i *Issuer, d *caddyfile.Dispenser) error { return i.unmarshalAmount(d) },
	"login":        func(i *Issuer, d *caddyfile.Dispenser) error { return i.unmarshalLogin(d) },
	"subject": func(i *Issuer, d *caddyfile.Dispenser) error {
		if l := i.ofLogin(); l.SubjectClaim != "" || !d.AllArgs(&l.SubjectClaim) {
			return d.Err("write `subject <claim>`, once")
		}
		return nil
	},
	"require": func(i *Issuer, d *caddyfile.Dispenser) error {
		condition, err := unmarshalCondition(d)
		i.ofLogin().Require = append(i.ofLogin().Require, condition)
		return err
	},
}

// ofLogin returns the issuer's login, and creates it if its line comes later.
func (i *Issuer) ofLogin() *Login {
	if i.Login == nil {
		i.Login = new(Login)
	}
	return i.Login
}

// unmarshalAmount parses a line such as `calls 20`, or `usd 1.50 per day` of a login.
func (i *Issuer) unmarshalAmount(d *caddyfile.Dispenser) error {
	unit, args := d.Val(), d.RemainingArgs()
	if len(args) != 1 && (len(args) != 3 || args[1] != "per") {
		return d.Errf("write `%s <n>`, and for the users of a login `%s <n> [per day|month]`", unit, unit)
	}
	l := Limit{Scope: string(tokenstore.ScopeSubject)}
	if err := l.set(unit, args[0]); err != nil {
		return d.Err(err.Error())
	}
	if len(args) == 3 {
		l.Per = args[2]
	}
	if slices.ContainsFunc(i.perUser, l.sameKey) {
		return d.Errf("%s is given twice", unit)
	}
	if err := l.check(nil); err != nil {
		return d.Err(err.Error())
	}
	i.perUser = append(i.perUser, l)
	return nil
}

// settle assigns the limits of a block: to each user of the login, or else to the
// issuer's tokens as ceilings.
func (i *Issuer) settle() error {
	if i.Login != nil {
		i.Login.Limits = i.perUser
		return nil
	}
	for _, l := range i.perUser {
		unit, amount := l.stored().Unit, l.stored().Amount
		switch {
		case l.Per != "":
			return fmt.Errorf("%s per %s: only an issuer with a login has limits per day or month; for others add a `limit subject` line to the relayapi global option", unit, l.Per)
		case unit == tokenstore.UnitCalls:
			i.Limits.Calls = &amount
		case unit == tokenstore.UnitTokens:
			i.Limits.Tokens = &amount
		default:
			i.Limits.USD = (*grant.USD)(&amount)
		}
	}
	return nil
}

// unmarshalLogin parses `login <preset> <arg>...` or `login <issuer-url> { … }`.
func (i *Issuer) unmarshalLogin(d *caddyfile.Dispenser) error {
	l := i.ofLogin()
	if l.Preset != "" || l.Issuer != "" {
		return d.Err("login is given twice")
	}
	if err := l.SetArgs(d.RemainingArgs()...); err != nil {
		return d.Err(err.Error())
	}
	lists := map[string]*[]string{"audience": &l.Audience, "authorized_party": &l.AuthorizedParty, "algorithms": &l.Algorithms}
	texts := map[string]*string{"jwks": &l.JWKS, "secret": &l.Secret}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		name := d.Val()
		switch {
		case lists[name] != nil:
			if err := lines.List(d, lists[name]); err != nil {
				return err
			}
		case texts[name] != nil:
			if *texts[name] != "" || !d.AllArgs(texts[name]) {
				return d.Errf("write `%s <value>`, once", name)
			}
		default:
			return d.Errf("unknown subdirective %s: must be one of audience, authorized_party, jwks, algorithms, secret", name)
		}
	}
	return nil
}

// unmarshalCondition parses a claim and its values.
func unmarshalCondition(d *caddyfile.Dispenser) (c login.Condition, err error) {
	name, args := d.Val(), d.RemainingArgs()
	if len(args) < 2 {
		return c, d.Errf("write `%s <claim> <value>...`", name)
	}
	return login.Condition{Claim: args[0], Values: args[1:]}, nil
}

// unmarshalPlan parses `when <claim> <value>... { … }`.
func (i *Issuer) unmarshalPlan(d *caddyfile.Dispenser) error {
	condition, err := unmarshalCondition(d)
	if err != nil {
		return err
	}
	var plan Issuer
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if !slices.Contains(planLines, d.Val()) {
			return d.Errf("unknown subdirective %s: must be one of %s", d.Val(), strings.Join(planLines, ", "))
		}
		if err := plan.unmarshalLine(d); err != nil {
			return err
		}
	}
	l := i.ofLogin()
	l.Plans = append(l.Plans, Plan{Condition: condition, Limits: plan.perUser, Rates: plan.Limits, Allow: plan.Allow})
	return nil
}

// planLines has the lines of a plan's block.
var planLines = []string{"calls", "tokens", "usd", "rpm", "concurrency", "models", "paths", "methods", "ips", "origins"}

func (a *App) unmarshalIssuer(d *caddyfile.Dispenser) error {
	name, err := lines.Name(d)
	if err != nil {
		return err
	}
	if a.Issuers[name] != nil {
		return d.Errf("issuer %s is given twice", name)
	}
	if d.NextArg() {
		return d.ArgErr()
	}
	i := new(Issuer)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if err := i.unmarshalLine(d); err != nil {
			return err
		}
	}
	if err := cmp.Or(i.settle(), i.check(name)); err != nil {
		return d.Errf("issuer %s: %v", name, err)
	}
	if a.Issuers == nil {
		a.Issuers = make(map[string]*Issuer)
	}
	a.Issuers[name] = i
	return nil
}

func (i *Issuer) unmarshalLine(d *caddyfile.Dispenser) error {
	if d.Val() == "when" { // its block has some of the other lines
		return i.unmarshalPlan(d)
	}
	unmarshal := issuerLines[d.Val()]
	if unmarshal == nil {
		return d.Errf("unknown subdirective %s: must be one of %s", d.Val(), strings.Join(append(slices.Sorted(maps.Keys(issuerLines)), "when"), ", "))
	}
	if err := unmarshal(i, d); err != nil {
		return err
	}
	if err := i.Allow.Validate(); err != nil {
		return d.Err(err.Error())
	}
	if err := i.Limits.Validate(); err != nil {
		return d.Err(err.Error())
	}
	return nil
}
