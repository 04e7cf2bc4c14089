package credential

import (
	"fmt"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/relayapi/caddy-relayapi/grant"
	"github.com/relayapi/caddy-relayapi/internal/lines"
	"github.com/relayapi/caddy-relayapi/internal/placeholder"
)

// Kinds are the kinds of credentials that [Unmarshal] accepts.
var Kinds = []string{"aws", "google", "entra"}

// Unmarshal reads the rest of a line and its block:
//
//	aws [<profile>] {
//	    region <region>
//	    service <service>
//	    access_key {env.X} {env.Y} [{env.Z}]
//	}
//	google [<file>] {
//	    scope <scope>
//	}
//	entra [<tenant> <client>] {
//	    client_secret {env.X}
//	    scope <scope>
//	    authority <url>
//	}
func Unmarshal(d *caddyfile.Dispenser, kind string, args []string) (Cloud, error) {
	switch n := len(args); {
	case kind == "aws" && n <= 1:
		c := new(AWS)
		copyInto(args, &c.Profile)
		if err := block(d, map[string]*string{"region": &c.Region, "service": &c.Service}, "access_key", &c.AccessKey); err != nil {
			return Cloud{}, err
		}
		return Cloud{AWS: c}, located(d, c.check())
	case kind == "google" && n <= 1:
		c := new(Google)
		copyInto(args, &c.File)
		return Cloud{Google: c}, block(d, map[string]*string{"scope": &c.Scope}, "", nil)
	case kind == "entra" && (n == 0 || n == 2):
		c := new(Entra)
		copyInto(args, &c.Tenant, &c.Client)
		var secret []string
		if err := block(d, map[string]*string{"scope": &c.Scope, "authority": &c.Authority}, "client_secret", &secret); err != nil {
			return Cloud{}, err
		}
		if len(secret) > 1 {
			return Cloud{}, d.Err("client_secret: write one placeholder")
		}
		copyInto(secret, &c.ClientSecret)
		return Cloud{Entra: c}, located(d, c.check())
	}
	return Cloud{}, d.Err("write `credential aws [<profile>]`, `credential google [<file>]` or `credential entra [<tenant> <client>]`")
}

// located returns an error with its position in the Caddyfile.
func located(d *caddyfile.Dispenser, err error) error {
	if err != nil {
		return d.Err(err.Error())
	}
	return nil
}

func copyInto(args []string, to ...*string) {
	for i, arg := range args {
		*to[i] = arg
	}
}

// block parses subdirectives with one argument, and one subdirective with placeholders.
func block(d *caddyfile.Dispenser, texts map[string]*string, secrets string, to *[]string) error {
	names := []string{}
	for name := range texts {
		names = append(names, name)
	}
	if secrets != "" {
		names = append(names, secrets)
	}
	slices.Sort(names)

	for nesting := d.Nesting(); d.NextBlock(nesting); {
		name := d.Val()
		switch {
		case texts[name] != nil:
			if err := lines.Text(d, texts[name], ""); err != nil {
				return err
			}
		case name == secrets && secrets != "":
			if *to != nil {
				return d.Errf("%s is given twice", name)
			}
			*to = d.RemainingArgs()
			switch {
			case len(*to) == 0:
				return d.ArgErr()
			case slices.ContainsFunc(*to, literal): // quotes nothing, because it may be a secret
				return d.Errf("%s %s", name, notPlaceholder)
			}
		default:
			return d.Errf("unknown subdirective %s: must be one of %s", name, strings.Join(names, ", "))
		}
	}
	return nil
}

const notPlaceholder = "must be placeholders, {env.NAME} or {file.PATH}; the config would show a literal secret, and {$NAME} becomes one"

// literal reports whether a text is not a placeholder.
func literal(ref string) bool { return !placeholder.Is(ref) }

// secret returns the value of a placeholder.
func (e *Env) secret(name, ref string) (string, error) {
	value, ok := placeholder.Value(ref)
	switch {
	case !ok:
		return "", fmt.Errorf("%s %s", name, notPlaceholder)
	case value == "":
		return "", fmt.Errorf("%s: %s is not set or empty", name, ref)
	case !grant.ValidAPIKey(value):
		return "", fmt.Errorf("%s: %s must be one word of printable ASCII", name, ref)
	}
	return value, nil
}
