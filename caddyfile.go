package relayapi

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

func init() {
	httpcaddyfile.RegisterDirective("relayapi", parseDirective)
	httpcaddyfile.RegisterDirectiveOrder("relayapi", httpcaddyfile.Before, "reverse_proxy")
	httpcaddyfile.RegisterGlobalOption("relayapi", parseGlobalOption)
}

// directive is what the relayapi directive says for itself; the rest is for
// reverse_proxy.
type directive struct {
	handler   Handler
	transport Transport
	endpoints map[string]string // name → path
	times     map[string]bool   // how long WebSockets last, as far as reverse_proxy is told
}

// longestSession is how long a WebSocket lasts, also one whose config was
// replaced, unless stream_timeout and stream_close_delay say otherwise. A Realtime
// session of OpenAI's ends after as long by itself.
const longestSession = time.Hour

// notProxied are the subdirectives of reverse_proxy that a relay cannot have,
// and why. A trailing underscore stands for all that start so.
var notProxied = []struct{ name, why string }{
	{"to", "the provider of a token decides where its requests go; write `provider <name> <base-url>` in the relayapi global option"},
	{"dynamic", "the provider of a token decides where its requests go"},
	{"method", "the token is held against the method that is sent"},
	{"rewrite", "the token is held against the path that is sent; put `prefix <path>` or handle_path around it"},
	{"lb_", "a counted call goes to its provider once, and there is one upstream"},
	{"health_", "a health check would spend calls; `health <path>` tells about the relay itself"},
}

// siteLines are the subdirectives that are ours, or that we look at.
var siteLines = []string{"prefix", "health", "jwks", "token_status", "mint", "transport", "log_requests", "stream_timeout", "stream_close_delay"}

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
	h.Next()                    // the directive's name again: ExtractMatcherSet went back before it
	d := h.NewFromNextSegment() // to take our tokens out of and hand the rest on
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
			return nil, d.Err("prefix is a path matcher already: remove the other one or the prefix")
		}
		matcher = maps.Clone(matcher) // it may be a named one, which others use too
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

// routes returns the endpoints' routes, outside the matcher, and then the
// relay's, so that they stand in this order also where none is sorted.
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

// takeOwn reads the subdirectives that are ours and deletes them from d.
func takeOwn(d *caddyfile.Dispenser) (*directive, error) {
	own := &directive{endpoints: make(map[string]string), times: make(map[string]bool)}
	seen := make(map[string]bool)
	d.Next() // the directive's name
	if d.NextArg() {
		return nil, d.Errf("unexpected argument %q: providers are named in the relayapi global option", d.Val())
	}
	for d.NextBlock(0) {
		if d.Nesting() != 1 { // a name that only reads like ours, within a block of reverse_proxy's
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
			return nil, d.Errf("%s belongs into the relayapi global option, at the top of the Caddyfile, and not into a site", name)
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

// take reads one subdirective, if it is ours.
func (own *directive) take(d *caddyfile.Dispenser, name string) error {
	switch name {
	case "prefix":
		path, err := takePath(d)
		own.handler.Prefix = strings.TrimSuffix(path, "/")
		return err
	case "health", "jwks", "token_status", "mint":
		path, err := takePath(d)
		own.endpoints[name] = path
		return err
	case "log_requests":
		if d.NextArg() {
			return d.ArgErr()
		}
		own.handler.LogRequests = true
		d.Delete()
	case "transport":
		return own.takeTransport(d)
	case "stream_timeout", "stream_close_delay":
		own.times[name] = true
		return checkTime(d)
	default:
		d.RemainingArgs() // reverse_proxy's, whatever they read like
	}
	return nil
}

// checkTime looks at how long WebSockets last. To reverse_proxy a bare number is
// nanoseconds.
func checkTime(d *caddyfile.Dispenser) error {
	name := d.Val()
	args := d.RemainingArgs()
	if len(args) != 1 {
		return d.ArgErr()
	}
	if t, err := caddy.ParseDuration(args[0]); args[0] != "0" && (err != nil || t < time.Second) {
		return d.Errf("%s %q is not a duration of a second or more, such as 90s or 12h, nor 0, which means none", name, args[0])
	}
	return nil
}

func takePath(d *caddyfile.Dispenser) (string, error) {
	name := d.Val()
	args := d.RemainingArgs()
	if len(args) != 1 {
		return "", d.ArgErr()
	}
	if !strings.HasPrefix(args[0], "/") || strings.ContainsAny(args[0], "*?#") {
		return "", d.Errf("%s %q: give a plain path that starts with a slash", name, args[0])
	}
	if name == "prefix" && strings.Trim(args[0], "/") == "" {
		return "", d.Errf("prefix %s is none: leave it out", args[0])
	}
	d.DeleteN(2)
	return args[0], nil
}

// takeTransport parses `transport http { ... }` into our transport.
func (own *directive) takeTransport(d *caddyfile.Dispenser) error {
	if !d.NextArg() {
		return d.ArgErr()
	}
	if d.Val() != "http" {
		return d.Errf("transport %s is not for a relay: providers speak HTTP, write `transport http`", d.Val())
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
		return nil, d.Err("the relayapi global option is given twice: put both in one block")
	}
	app := new(App)
	if err := app.UnmarshalCaddyfile(d); err != nil {
		return nil, err
	}
	return httpcaddyfile.App{Name: "relayapi", Value: caddyconfig.JSON(app, nil)}, nil
}
