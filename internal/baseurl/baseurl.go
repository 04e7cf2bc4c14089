// Package baseurl finds out where a provider is.
package baseurl

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/relayapi/caddy-relayapi/grant"
	"github.com/relayapi/caddy-relayapi/provider"
)

// Parse returns the base URL of a provider: the given one, or that of the preset with
// the accounts.
func Parse(preset provider.Preset, name, given string, accounts []string) (*url.URL, error) {
	base := given
	if base == "" {
		var err error
		if base, err = withAccounts(preset, accounts); err != nil {
			return nil, err
		}
	}

	if base == "" {
		return nil, fmt.Errorf("no base URL; write `provider %s <base-url>`", name)
	}
	u, err := url.Parse(base)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		return nil, errors.New("base URL must be http://host[:port][/path] or https://host[:port][/path]")
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return nil, errors.New("base URL must not have a user, a query or a fragment")
	}
	u.Path = strings.TrimSuffix(u.Path, "/")
	u.RawPath = strings.TrimSuffix(u.RawPath, "/")
	return u, nil
}

// withAccounts returns the base URL of a preset with the arguments of an account.
func withAccounts(preset provider.Preset, accounts []string) (string, error) {
	if len(accounts) != len(preset.Accounts) {
		return "", fmt.Errorf("preset %s takes %d account arguments (%s), not %d; write `preset %s`",
			preset.Name, len(preset.Accounts), strings.Join(preset.Accounts, ", "), len(accounts),
			strings.TrimSpace(preset.Name+" <"+strings.Join(preset.Accounts, "> <")+">"))
	}
	base := preset.BaseURL
	for i, account := range preset.Accounts {
		if !grant.ValidName(accounts[i]) {
			return "", fmt.Errorf("account %q: %s must have 1 to 64 letters, digits, dots, dashes and underscores", accounts[i], account)
		}
		base = strings.ReplaceAll(base, "{"+account+"}", accounts[i])
	}
	return base, nil
}

// Routes returns the routes of a preset with the arguments of an account: a path may not
// name another one.
func Routes(preset provider.Preset, accounts []string) ([]string, error) {
	routes := slices.Clone(preset.Routes)
	for i, account := range preset.Accounts {
		for j, route := range routes {
			place := "{" + account + "}"
			switch {
			case !strings.Contains(route, place):
			case i >= len(accounts) || !grant.ValidName(accounts[i]):
				return nil, fmt.Errorf("preset %s: its paths name the %s; write `preset %s <%s>`", preset.Name, account, preset.Name, strings.Join(preset.Accounts, "> <"))
			default:
				routes[j] = strings.ReplaceAll(route, place, accounts[i])
			}
		}
	}
	return routes, nil
}

// Dial returns the host and the port to connect to.
func Dial(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// StartsAll reports whether all routes begin with a path. SDKs count their /v1 to the
// base URL; here it belongs to the path.
func StartsAll(path string, routes []string) bool {
	elsewhere := func(route string) bool { return !strings.HasPrefix(route[strings.Index(route, "/"):], path+"/") }
	return path != "" && len(routes) > 0 && !slices.ContainsFunc(routes, elsewhere)
}

// Exposed reports whether what goes to a URL travels over a network unencrypted.
func Exposed(u *url.URL) bool {
	addr, err := netip.ParseAddr(u.Hostname())
	loopback := u.Hostname() == "localhost" || err == nil && addr.IsLoopback()
	return u.Scheme == "http" && !loopback
}
