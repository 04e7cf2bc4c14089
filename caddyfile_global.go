package relayapi

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/relayapi/caddy-relayapi/dialect"
	"github.com/relayapi/caddy-relayapi/grant"
	"github.com/relayapi/caddy-relayapi/provider"
)

// UnmarshalCaddyfile parses the relayapi global option:
//
//	relayapi {
//	    store sqlite [<path>]
//	    private_key <pem-file>...
//	    max_ttl <duration>
//	    limit token|subject|issuer calls <n> [per day|month]
//	    rate_limit client|total <n> per second|minute|hour
//	    issuer <name> {
//	        public_key <pem-or-jwk-file> | secret {env.X}
//	        providers <name>...
//	        carried_keys
//	        max_ttl <duration>
//	        calls|rpm|concurrency <n>
//	        models|paths|methods|ips|origins <value>...
//	    }
//	    provider <name> [<base-url>] {
//	        preset <preset> [<account>...]
//	        api_key {env.X}... | none
//	        credential header <name> [<prefix>] | query <name> | basic [<user>]
//	        paths <pattern>...
//	        dialect <name>
//	    }
//	}
func (a *App) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the option's name
	if d.NextArg() {
		return d.Errf("unexpected argument %q: what a relay has is written in a block", d.Val())
	}
	for d.NextBlock(0) {
		if err := a.unmarshalLine(d); err != nil {
			return err
		}
	}
	return nil
}

// globalLines are the subdirectives of the global option.
var globalLines = []string{"store", "private_key", "max_ttl", "limit", "rate_limit", "issuer", "provider"}

func (a *App) unmarshalLine(d *caddyfile.Dispenser) error {
	switch d.Val() {
	case "store":
		if a.Store != nil {
			return d.Err("store is given twice")
		}
		args := d.RemainingArgs()
		if len(args) < 1 || len(args) > 2 {
			return d.ArgErr()
		}
		if args[0] != "sqlite" {
			return d.Errf("store %q: the only store is sqlite; write `store sqlite [<path>]`", args[0])
		}
		a.Store = &StoreConfig{Driver: args[0], Path: strings.Join(args[1:], "")}
	case "private_key":
		files := d.RemainingArgs()
		if len(files) == 0 {
			return d.ArgErr()
		}
		a.PrivateKeys = append(a.PrivateKeys, files...)
	case "max_ttl":
		return unmarshalDuration(d, &a.MaxTTL)
	case "limit":
		return a.unmarshalLimit(d)
	case "rate_limit":
		return a.unmarshalRateLimit(d)
	case "issuer":
		return a.unmarshalIssuer(d)
	case "provider":
		return a.unmarshalProvider(d)
	default:
		if slices.Contains(siteLines, d.Val()) {
			return d.Errf("%s belongs into the relayapi directive of a site, and not into the global option", d.Val())
		}
		return d.Errf("unknown subdirective %s: there are %s", d.Val(), strings.Join(globalLines, ", "))
	}
	return nil
}

func unmarshalDuration(d *caddyfile.Dispenser, to *caddy.Duration) error {
	if *to != 0 {
		return d.Errf("%s is given twice", d.Val())
	}
	args := d.RemainingArgs()
	if len(args) != 1 {
		return d.ArgErr()
	}
	duration, err := caddy.ParseDuration(args[0])
	if err != nil || duration < time.Second {
		return d.Errf("%q is not a duration of a second or more, such as 90s, 12h or 30d", args[0])
	}
	*to = caddy.Duration(duration)
	return nil
}

// unmarshalLimit reads a line such as `limit subject calls 20 per day`.
func (a *App) unmarshalLimit(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) != 3 && len(args) != 5 || args[1] != "calls" || len(args) == 5 && args[3] != "per" {
		return d.Err("write `limit token|subject|issuer calls <n> [per day|month]`")
	}
	calls, err := strconv.ParseInt(args[2], 10, 64)
	if err != nil {
		return d.Errf("limit: %q is not a number of calls", args[2])
	}
	l := Limit{Scope: args[0], Calls: calls}
	if len(args) == 5 {
		l.Per = args[4]
	}
	if err := l.check(a.Limits); err != nil {
		return d.Errf("limit: %v", err)
	}
	a.Limits = append(a.Limits, l)
	return nil
}

// unmarshalRateLimit reads a line such as `rate_limit client 100 per minute`.
func (a *App) unmarshalRateLimit(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) != 4 || args[2] != "per" {
		return d.Err("write `rate_limit client|total <n> per second|minute|hour`")
	}
	requests, err := strconv.ParseInt(args[1], 10, 64)
	if err != nil {
		return d.Errf("rate_limit: %q is not a number of requests", args[1])
	}
	l := RateLimit{Scope: args[0], Requests: requests, Per: args[3]}
	if err := l.check(a.RateLimits); err != nil {
		return d.Errf("rate_limit: %v", err)
	}
	a.RateLimits = append(a.RateLimits, l)
	return nil
}

// unmarshalName reads the name that an issuer or a provider is given.
func unmarshalName(d *caddyfile.Dispenser) (string, error) {
	kind := d.Val()
	if !d.NextArg() {
		return "", d.ArgErr()
	}
	if !grant.ValidName(d.Val()) {
		return "", d.Errf("%s %q: a name has 1 to 64 letters, digits, dots, dashes and underscores", kind, d.Val())
	}
	return d.Val(), nil
}

func (a *App) unmarshalProvider(d *caddyfile.Dispenser) error {
	name, err := unmarshalName(d)
	if err != nil {
		return err
	}
	if a.Providers[name] != nil {
		return d.Errf("provider %s is given twice; several keys go on one api_key line", name)
	}
	p := &Provider{name: name}
	if d.NextArg() {
		p.BaseURL = d.Val()
		if !strings.HasPrefix(p.BaseURL, "https://") && !strings.HasPrefix(p.BaseURL, "http://") {
			return d.Errf("provider %s: a base URL starts with https:// or http://; a preset and a key go in the block", name) // quotes nothing: it may be a key
		}
	}
	if d.NextArg() {
		return d.Errf("provider %s: there is more than a base URL on the line; a preset and a key go in the block", name)
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
			return d.Err("api_key: either none or keys")
		case len(keys) == 1 && keys[0] == "none":
			p.NoAPIKey = true
			return nil
		}
		for _, key := range keys {
			if !placeholder.MatchString(key) { // quotes nothing: it may be a key
				return d.Err("api_key takes placeholders, {env.NAME} or {file.PATH}, or none: a literal key would show up in the config, and {$NAME} makes one")
			}
		}
		p.APIKeys = append(p.APIKeys, keys...)
	case "credential":
		return p.unmarshalCredential(d)
	case "paths":
		return unmarshalPatterns(d, &p.Paths)
	case "dialect":
		if p.Dialect != "" {
			return d.Err("dialect is given twice")
		}
		if !d.AllArgs(&p.Dialect) {
			return d.ArgErr()
		}
		if _, ok := dialect.Lookup(p.Dialect); !ok {
			return d.Errf("unknown dialect %q: must be one of %s", p.Dialect, strings.Join(dialect.Names(), ", "))
		}
	default:
		return d.Errf("unknown subdirective %s: a provider has preset, api_key, credential, paths and dialect", d.Val())
	}
	return nil
}

// unmarshalCredential reads a line such as `credential header X-Api-Key`.
func (p *Provider) unmarshalCredential(d *caddyfile.Dispenser) error {
	if p.Credential != nil {
		return d.Err("credential is given twice: a request carries one")
	}
	args := d.RemainingArgs()
	form := ""
	if len(args) > 0 {
		form, args = args[0], args[1:]
	}
	switch n := len(args); {
	case form == "header" && n == 1:
		p.Credential = &Credential{Header: args[0]}
	case form == "header" && n == 2:
		p.Credential = &Credential{Header: args[0], Prefix: args[1]}
	case form == "query" && n == 1:
		p.Credential = &Credential{Query: args[0]}
	case form == "basic" && n == 0:
		p.Credential = &Credential{Basic: true}
	case form == "basic" && n == 1:
		p.Credential = &Credential{Basic: true, User: args[0]}
	default:
		return d.Err("write `credential header <name> [<prefix>]`, `credential query <name>` or `credential basic [<user>]`")
	}

	if err := p.Credential.check(); err != nil {
		return d.Err(err.Error())
	}
	if user := p.Credential.User; !placeholder.MatchString(user) && !provider.ValidUser(user) {
		return d.Err("credential basic: the user must be printable ASCII without spaces and colons") // quotes nothing: it may be a key
	}
	return nil
}
