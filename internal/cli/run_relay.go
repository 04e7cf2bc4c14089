package cli

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
)

// relayConfig is the part of Caddy's config with the relay's addresses and providers.
type relayConfig struct {
	Apps struct {
		HTTP struct {
			HTTPPort int                     `json:"http_port"`
			Servers  map[string]configServer `json:"servers"`
		} `json:"http"`
		RelayAPI struct {
			Providers map[string]struct {
				Preset  string   `json:"preset"`
				APIKeys []string `json:"api_keys"`
			} `json:"providers"`
		} `json:"relayapi"`
	} `json:"apps"`
}

type configServer struct {
	Listen    []string      `json:"listen"`
	Routes    []configRoute `json:"routes"`
	TLS       []any         `json:"tls_connection_policies"`
	AutoHTTPS struct {
		Disable bool     `json:"disable"`
		Skip    []string `json:"skip"`
	} `json:"automatic_https"`
}

type configRoute struct {
	Match []struct {
		Host []string `json:"host"`
	} `json:"match"`
	Handle []struct {
		Handler string        `json:"handler"`
		Prefix  string        `json:"prefix"`
		Routes  []configRoute `json:"routes"`
	} `json:"handle"`
}

// readConfig asks the admin endpoint for the config. It returns an empty one if the
// endpoint does not return it.
func readConfig(address string) *relayConfig {
	config := new(relayConfig)
	if err := ask(address, http.MethodGet, "/config/", nil, config); err != nil {
		return new(relayConfig)
	}
	return config
}

// providers returns the names of the providers in the config.
func (c *relayConfig) providers() []string {
	return slices.Sorted(maps.Keys(c.Apps.RelayAPI.Providers))
}

// preset returns the name of a provider's preset.
func (c *relayConfig) preset(name string) string {
	return cmp.Or(c.Apps.RelayAPI.Providers[name].Preset, name)
}

// envPlaceholder finds the environment variables that a config reads.
var envPlaceholder = regexp.MustCompile(`\{(?:env\.|\$)([A-Za-z_][A-Za-z0-9_]*)[}:]`)

// keyVariables returns the names of the variables from which the relay reads real keys.
func (c *relayConfig) keyVariables() (names []string) {
	for _, p := range c.Apps.RelayAPI.Providers {
		for _, key := range p.APIKeys {
			for _, found := range envPlaceholder.FindAllStringSubmatch(key, -1) {
				names = append(names, found[1])
			}
		}
	}
	return names
}

// providerPlace is the placeholder for the provider's name in the URL of a relay.
const providerPlace = "{provider}"

// relayURL returns the URL of the relay, in which {provider} stands for the provider's
// name: from the flag, from the environment variable, or from the config.
func relayURL(flag, variable string, config *relayConfig) (string, error) {
	sites := config.sites()
	switch given := cmp.Or(flag, variable); {
	case given != "":
		from := "--relay"
		if flag == "" {
			from = "RELAYAPI_URL"
		}
		if err := checkRelayURL(given); err != nil {
			return "", fmt.Errorf("%s %q: %w", from, given, err)
		}
		return withPrefix(strings.TrimRight(given, "/"), sites), nil
	case len(sites) == 1:
		return sites[0], nil
	case len(sites) > 1:
		return "", fmt.Errorf("--relay is missing, and the relay has several URLs; give one of %s", strings.Join(sites, ", "))
	}
	return "", errors.New("--relay is missing, and the relay's config does not have its URL; set it, such as --relay https://relay.example.com, or --relay https://relay.example.com/api/{provider} if the relay has a prefix")
}

func checkRelayURL(s string) error {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return errors.New("must be a URL such as https://relay.example.com or https://relay.example.com/api/{provider}")
	}
	return nil
}

// withPrefix completes a URL without a path if all sites of the relay have the same
// prefix.
func withPrefix(given string, sites []string) string {
	if u, err := url.Parse(given); err != nil || u.Path != "" || len(sites) == 0 {
		return given
	}
	prefixOf := func(site string) string {
		_, rest, _ := strings.Cut(site, "://")
		if i := strings.Index(rest, "/"); i >= 0 {
			return rest[i:]
		}
		return ""
	}
	for _, site := range sites {
		if prefixOf(site) != prefixOf(sites[0]) {
			return given
		}
	}
	return given + prefixOf(sites[0])
}

// sites returns the URLs of the relay in the config, except those with a wildcard or a
// placeholder.
func (c *relayConfig) sites() (sites []string) {
	for _, server := range c.Apps.HTTP.Servers {
		server.walk(server.Routes, nil, func(hosts []string, prefix string) {
			for _, listen := range server.Listen {
				sites = append(sites, server.urls(listen, hosts, prefix, cmp.Or(c.Apps.HTTP.HTTPPort, 80))...)
			}
		})
	}
	slices.Sort(sites)
	return slices.Compact(sites)
}

// walk finds the handlers of the relay among routes, with their hosts and prefixes.
func (s *configServer) walk(routes []configRoute, outer []string, found func(hosts []string, prefix string)) {
	for _, r := range routes {
		hosts := outer
		for i, m := range r.Match {
			if i == 0 && len(m.Host) > 0 {
				hosts = nil
			}
			hosts = append(slices.Clip(hosts), m.Host...)
		}
		for _, h := range r.Handle {
			if h.Handler == "relayapi" {
				found(hosts, h.Prefix)
			}
			s.walk(h.Routes, hosts, found)
		}
	}
}

// urls returns the URLs of a handler at one address of its server.
func (s *configServer) urls(listen string, hosts []string, prefix string, httpPort int) (urls []string) {
	address, err := caddy.ParseNetworkAddress(listen)
	if err != nil || address.IsUnixNetwork() || address.IsFdNetwork() {
		return nil
	}
	named := len(hosts) > 0
	if !named {
		hosts = []string{address.Host}
		if address.Host == "" || net.ParseIP(address.Host).IsUnspecified() {
			hosts = []string{"127.0.0.1"}
		}
	}
	path := ""
	if prefix != "" {
		path = "/" + strings.Trim(prefix, "/") + "/" + providerPlace
	}
	for _, host := range hosts {
		if strings.ContainsAny(host, "*{") {
			continue
		}
		port := int(address.StartPort)
		scheme := "http"
		if len(s.TLS) > 0 || named && !s.AutoHTTPS.Disable && !slices.Contains(s.AutoHTTPS.Skip, host) && port != httpPort {
			scheme = "https"
		}
		authority := net.JoinHostPort(host, strconv.Itoa(port))
		if scheme == "https" && port == 443 || scheme == "http" && port == 80 {
			authority, _ = strings.CutSuffix(authority, ":"+strconv.Itoa(port))
		}
		urls = append(urls, scheme+"://"+authority+path)
	}
	return urls
}
