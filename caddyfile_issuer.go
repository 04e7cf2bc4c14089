package relayapi

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/relayapi/caddy-relayapi/grant"
)

// issuerLines are the lines of an issuer's block. Those that bound what its
// tokens may have carry the names of the claims.
var issuerLines = map[string]func(i *Issuer, d *caddyfile.Dispenser) error{
	"public_key": func(i *Issuer, d *caddyfile.Dispenser) error {
		if i.PublicKey != "" {
			return d.Err("public_key is given twice: an issuer signs with one key, so let its next key be that of another issuer until the tokens of the first have expired")
		}
		if !d.AllArgs(&i.PublicKey) {
			return d.ArgErr()
		}
		return nil
	},
	"secret": func(i *Issuer, d *caddyfile.Dispenser) error {
		args := d.RemainingArgs()
		switch {
		case i.Secret != "":
			return d.Err("secret is given twice")
		case len(args) != 1 || !placeholder.MatchString(args[0]): // quotes nothing: it may be a secret
			return d.Err("secret takes a placeholder, {env.NAME} or {file.PATH}: a literal one would show up in the config, and {$NAME} makes one")
		}
		i.Secret = args[0]
		return nil
	},
	"carried_keys": func(i *Issuer, d *caddyfile.Dispenser) error {
		if d.NextArg() {
			return d.ArgErr()
		}
		i.CarriedKeys = true
		return nil
	},
	"max_ttl":     func(i *Issuer, d *caddyfile.Dispenser) error { return unmarshalDuration(d, &i.MaxTTL) },
	"providers":   func(i *Issuer, d *caddyfile.Dispenser) error { return unmarshalList(d, &i.Providers) },
	"models":      func(i *Issuer, d *caddyfile.Dispenser) error { return unmarshalList(d, &i.Allow.Models) },
	"paths":       func(i *Issuer, d *caddyfile.Dispenser) error { return unmarshalPatterns(d, &i.Allow.Paths) },
	"methods":     func(i *Issuer, d *caddyfile.Dispenser) error { return unmarshalList(d, &i.Allow.Methods) },
	"ips":         func(i *Issuer, d *caddyfile.Dispenser) error { return unmarshalList(d, &i.Allow.IPs) },
	"origins":     func(i *Issuer, d *caddyfile.Dispenser) error { return unmarshalList(d, &i.Allow.Origins) },
	"calls":       func(i *Issuer, d *caddyfile.Dispenser) error { return unmarshalNumber(d, &i.Limits.Calls) },
	"rpm":         func(i *Issuer, d *caddyfile.Dispenser) error { return unmarshalNumber(d, &i.Limits.RPM) },
	"concurrency": func(i *Issuer, d *caddyfile.Dispenser) error { return unmarshalNumber(d, &i.Limits.Concurrency) },
}

func (a *App) unmarshalIssuer(d *caddyfile.Dispenser) error {
	name, err := unmarshalName(d)
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
		if err := i.unmarshalLine(d, name); err != nil {
			return err
		}
	}
	switch {
	case i.PublicKey == "" && i.Secret == "" && name != relayIssuer:
		return d.Errf("issuer %s has no public_key: name the PEM or JWK file of the key that signs its tokens, or give it a secret to mint with over HTTP", name)
	case i.PublicKey != "" && i.Secret != "":
		return d.Errf("issuer %s has a public_key and a secret: it signs its tokens itself or mints over HTTP, remove one", name)
	}
	if a.Issuers == nil {
		a.Issuers = make(map[string]*Issuer)
	}
	a.Issuers[name] = i
	return nil
}

func (i *Issuer) unmarshalLine(d *caddyfile.Dispenser, name string) error {
	line := d.Val()
	unmarshal := issuerLines[line]
	switch {
	case unmarshal == nil:
		return d.Errf("unknown subdirective %s: an issuer has %s", line, strings.Join(slices.Sorted(maps.Keys(issuerLines)), ", "))
	case name == relayIssuer && line == "public_key":
		return d.Errf("issuer %s is the relay's own and makes its own key: remove public_key or choose another name", name)
	case name == relayIssuer && line == "secret":
		return d.Errf("issuer %s is the relay's own and mints at the admin endpoint: remove secret or choose another name", name)
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

func unmarshalList(d *caddyfile.Dispenser, to *[]string) error {
	values := d.RemainingArgs()
	if len(values) == 0 {
		return d.ArgErr()
	}
	*to = append(*to, values...)
	return nil
}

func unmarshalPatterns(d *caddyfile.Dispenser, to *[]string) error {
	if err := unmarshalList(d, to); err != nil {
		return err
	}
	if _, err := grant.ParseRoutes(*to...); err != nil {
		return d.Err(err.Error())
	}
	return nil
}

func unmarshalNumber(d *caddyfile.Dispenser, to **int64) error {
	if *to != nil {
		return d.Errf("%s is given twice", d.Val())
	}
	var text string
	if !d.AllArgs(&text) {
		return d.ArgErr()
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return d.Errf("%q is not a number", text)
	}
	*to = &n
	return nil
}
