package relayapi

import (
	"cmp"
	"strings"
)

// testConfig is the Caddyfile of a test relay, in sections. Every section takes any
// number of lines; an empty one is left out. {port} and {dir} are filled in when the
// config is loaded.
type testConfig struct {
	grace     string // how long servers wait for their requests
	logLevel  string // of the log, which is at DEBUG so that leak checks see everything
	logOutput string
	metrics   string // "metrics" turns them on
	servers   string // lines of the option `servers`
	storage   string // Caddy's directory

	store     string // the file
	keys      string // the files of private_key
	app       string // further lines of the option `relayapi`
	grants    string // the providers of issuer backend; empty: there is no such issuer
	issuer    string // further lines of issuer backend
	issuers   string // further issuers
	provider  string // the provider's name; empty: there is none
	baseURL   string
	place     string // the provider's credential
	apiKey    string
	routes    string // further lines of the provider
	providers string // further providers

	address   string // of the site
	accessLog string // "log" turns it on
	site      string // further lines of the site
	directive string // lines of the directive `relayapi`
	sites     string // further sites
}

// An option changes a config.
type option = func(*testConfig)

// simple is a relay with one custom provider at an upstream, a back-end that may mint
// for it, and all paths open.
func simple(upstream string, options ...option) string {
	c := &testConfig{
		grace: "2s", logLevel: "DEBUG", logOutput: "file {dir}/log", metrics: "metrics", storage: "{dir}/caddy",
		store: "{dir}/relayapi.db", keys: "{dir}/relay.pem",
		grants: "demo", issuer: "carried_keys",
		provider: "demo", baseURL: upstream, place: "header Authorization Bearer", apiKey: "{env.RELAYAPI_TEST_KEY}",
		address: "http://127.0.0.1:{port}", accessLog: "log",
	}
	for _, o := range options {
		o(c)
	}
	return c.String()
}

func (c *testConfig) String() string {
	return section("",
		"admin off",
		c.metrics,
		"auto_https disable_redirects",
		"skip_install_trust",
		"persist_config off",
		line("storage file_system", c.storage),
		line("grace_period", c.grace),
		section("log", line("level", c.logLevel), line("output", c.logOutput)),
		section("servers", c.servers),
		section("relayapi",
			line("store sqlite", c.store),
			line("private_key", c.keys),
			c.app, c.backend(), c.issuers, c.demo(), c.providers),
	) + section(c.address, c.accessLog, c.site, cmp.Or(section("relayapi", c.directive), "relayapi")) + c.sites
}

func (c *testConfig) backend() string {
	if c.grants == "" {
		return ""
	}
	return section("issuer backend", "public_key {dir}/backend.pub.pem", line("providers", c.grants), c.issuer)
}

func (c *testConfig) demo() string {
	if c.provider == "" {
		return ""
	}
	return section("provider "+c.provider+" "+c.baseURL, line("credential", c.place), line("api_key", c.apiKey), c.routes)
}

// line is a line, or nothing without a value.
func line(name, value string) string {
	if value == "" {
		return ""
	}
	return name + " " + value
}

// section is a block of lines, or nothing without any.
func section(head string, lines ...string) string {
	body := strings.Join(lines, "\n")
	if strings.TrimSpace(body) == "" {
		return ""
	}
	return head + " {\n" + body + "\n}\n"
}

// add returns an option that adds lines to a section.
func add(section func(*testConfig) *string, lines []string) option {
	return func(c *testConfig) { *section(c) += strings.Join(lines, "\n") + "\n" }
}

func inServers(lines ...string) option {
	return add(func(c *testConfig) *string { return &c.servers }, lines)
}

func inApp(lines ...string) option {
	return add(func(c *testConfig) *string { return &c.app }, lines)
}

func inSite(lines ...string) option {
	return add(func(c *testConfig) *string { return &c.site }, lines)
}

func inDirective(lines ...string) option {
	return add(func(c *testConfig) *string { return &c.directive }, lines)
}

// inTransport adds lines to the directive's transport.
func inTransport(lines ...string) option { return inDirective(section("transport http", lines...)) }

// quiet turns the access log off.
func quiet(c *testConfig) { c.accessLog = "" }

// overTLS has the site use a certificate of Caddy's own authority, and protocols.
func overTLS(protocols string) option {
	return func(c *testConfig) {
		c.address = "https://localhost:{port}"
		inSite("bind 127.0.0.1", "tls internal")(c)
		inServers("protocols " + protocols)(c)
		if raceDetector {
			c.logLevel = "INFO" // at DEBUG, an event of Caddy's TLS app reads the app while it starts
		}
	}
}
