package login

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Config describes a login provider and the tokens that the relay accepts from it.
type Config struct {
	// The preset of the provider: auth0, clerk, cognito, firebase, google, keycloak,
	// microsoft or supabase. It sets the issuer, the keys and the audience. Default:
	// none; issuer and audience are then required.
	Preset string `json:"preset,omitempty"`

	// The arguments of the preset, such as the name of the project.
	Args []string `json:"args,omitempty"`

	// The URL of the issuer, exactly as tokens have it in `iss`. Set it instead of a
	// preset.
	Issuer string `json:"issuer,omitempty"`

	// The accepted audiences; a token must have one of them in `aud`. Default: those of
	// the preset.
	Audience []string `json:"audience,omitempty"`

	// The accepted applications; a token must have one of them in `azp`. Clerk puts the
	// origin of the page there. Default: any.
	AuthorizedParty []string `json:"authorized_party,omitempty"`

	// The URL of the provider's key set. Default: the preset's, or the one in the
	// issuer's discovery document.
	JWKS string `json:"jwks,omitempty"`

	// The accepted signature algorithms. Default: those of the preset, or RS256, ES256
	// and EdDSA.
	Algorithms []string `json:"algorithms,omitempty"`

	// The secret of a provider that signs with HS256, as Supabase projects with a
	// legacy JWT secret do. It must be a placeholder `{env.NAME}` or `{file.PATH}`.
	// Default: none; HS256 is then refused.
	Secret string `json:"secret,omitempty"`

	// The claim that identifies a user. A dot selects a member of an object. Default:
	// sub.
	SubjectClaim string `json:"subject,omitempty"`

	// The conditions that every token must meet.
	Require []Condition `json:"require,omitempty"`

	// The conditions that select a rule. The first condition that a token meets wins.
	When []Condition `json:"when,omitempty"`
}

// minSecret is the shortest secret in characters. HS256 demands a key of 256 bits (RFC
// 7518, section 3.2).
const minSecret = 32

// SetArgs sets the arguments of `login` in a Caddyfile: a preset with its own
// arguments, or the URL of an issuer.
func (c *Config) SetArgs(args ...string) error {
	switch {
	case len(args) == 0:
		return fmt.Errorf("login: the provider is missing; name one of %s with its arguments, or the URL of an issuer", strings.Join(Presets(), ", "))
	case strings.Contains(args[0], "://") && len(args) > 1:
		return fmt.Errorf("login %q: an issuer has no arguments; write `audience` in the block", args[0])
	case strings.Contains(args[0], "://"):
		c.Issuer = args[0]
	default:
		c.Preset, c.Args = args[0], args[1:]
	}
	return nil
}

// Check returns an error if the config is invalid. It does no I/O and ignores the
// secret, which may be a placeholder.
func (c *Config) Check() error {
	_, err := c.profile()
	return err
}

// subject returns the path of the claim that identifies a user.
func (c *Config) subject() string {
	if c.SubjectClaim == "" {
		return "sub"
	}
	return c.SubjectClaim
}

// profile checks the config and returns its requirements for tokens.
func (c *Config) profile() (p profile, err error) {
	if c == nil {
		return p, errors.New("login has no settings")
	}
	p, err = c.base()
	if err != nil {
		return p, err
	}

	if len(c.Audience) > 0 {
		p.audience = c.Audience
	}
	if len(c.Algorithms) > 0 {
		p.algs = c.Algorithms
	}
	if c.JWKS != "" {
		p.jwks = c.JWKS
	}
	p.symmetric = c.Secret != ""

	if err := p.check(); err != nil {
		return p, err
	}
	if err := c.checkClaims(p.editable); err != nil {
		return p, err
	}

	p.algs, p.types = p.algorithms(), loginTypes
	p.checks = append([]check{refuseBound, refuseLogout, p.checkAudience(p.audience)}, p.checks...)
	if len(c.AuthorizedParty) > 0 {
		p.checks = append(p.checks, requireText("azp", c.AuthorizedParty))
	}
	return p, nil
}

// base returns the profile of the preset, or that of the issuer.
func (c *Config) base() (profile, error) {
	switch {
	case c.Preset != "" && c.Issuer != "":
		return profile{}, fmt.Errorf("login has the preset %q and an issuer; remove one", c.Preset)
	case c.Preset == "" && c.Issuer == "":
		return profile{}, fmt.Errorf("login has no provider; name a preset, which must be one of %s, or the URL of an issuer", strings.Join(Presets(), ", "))
	case c.Issuer != "":
		return c.generic()
	}

	preset, ok := presets[c.Preset]
	if !ok {
		return profile{}, fmt.Errorf("unknown login preset %q; must be one of %s, or the URL of an issuer", c.Preset, strings.Join(Presets(), ", "))
	}
	want := "login " + strings.Join(append([]string{c.Preset}, preset.args...), " ")
	if len(c.Args) != len(preset.args) {
		return profile{}, fmt.Errorf("login preset %q has %d arguments; write `%s`", c.Preset, len(c.Args), want)
	}
	p, err := preset.build(c.Args)
	if err != nil {
		return p, fmt.Errorf("login preset %q: %w; write `%s`", c.Preset, err, want)
	}
	return p, nil
}

// generic returns the profile of any OpenID Connect provider.
func (c *Config) generic() (p profile, err error) {
	u, err := checkURL(c.Issuer)
	switch {
	case err != nil:
		return p, fmt.Errorf("login issuer %q: %w", c.Issuer, err)
	case u.RawQuery != "":
		return p, fmt.Errorf("login issuer %q: has a query; write the issuer as tokens have it in `iss`", c.Issuer)
	case len(c.Args) > 0:
		return p, fmt.Errorf("login issuer %q: has arguments; only presets have them", c.Issuer)
	case len(c.Audience) == 0:
		return p, fmt.Errorf("login issuer %q: audience is missing; name the value of `aud` in its tokens, often the client id", c.Issuer)
	}
	return profile{issuers: []string{c.Issuer}, algs: generalAlgorithms, checkAudience: requireAudience}, nil
}

// checkClaims checks the names of claims. editable lists claims that users can edit.
func (c *Config) checkClaims(editable []string) error {
	if !validPath(c.subject()) {
		return fmt.Errorf("subject %.100q: not the name of a claim; write one such as sub or user.id", c.SubjectClaim)
	}
	for kind, conditions := range map[string][]Condition{"require": c.Require, "when": c.When} {
		for i := range conditions {
			if err := conditions[i].check(); err != nil {
				return fmt.Errorf("%s: %w", kind, err)
			}
		}
	}

	for _, name := range editable {
		edits := func(path string) bool { return path == name || strings.HasPrefix(path, name+".") }
		switch {
		case edits(c.subject()):
			return fmt.Errorf("subject %q: %w", c.SubjectClaim, errEditable)
		case slices.ContainsFunc(c.Require, func(d Condition) bool { return edits(d.Claim) }):
			return fmt.Errorf("require: claim %q: %w", name, errEditable)
		case slices.ContainsFunc(c.When, func(d Condition) bool { return edits(d.Claim) }):
			return fmt.Errorf("when: claim %q: %w", name, errEditable)
		}
	}
	return nil
}

// profile is the requirements for the tokens of one provider.
type profile struct {
	issuers []string // accepted values of "iss"; discovery starts at the first
	jwks    string   // URL of the key set; empty means discovery
	algs    []string // accepted with a key of the key set
	types   []string // accepted values of "typ"

	audience      []string
	checkAudience func(audience []string) check
	checks        []check
	editable      []string // claims that users can edit

	symmetric bool   // whether HS256 is accepted
	secret    []byte // for HS256
}

// check returns an error if the relay must refuse the claims of a verified token.
type check func(payload object, now time.Time) error

// algorithms returns the accepted algorithms.
func (p *profile) algorithms() []string {
	if !p.symmetric || slices.Contains(p.algs, hs256) {
		return p.algs
	}
	return append(slices.Clone(p.algs), hs256)
}

// check returns an error if a part of the profile that the config overrides is invalid.
func (p *profile) check() error {
	for _, alg := range p.algs {
		switch {
		case alg == hs256 && p.symmetric:
		case alg == hs256:
			return errors.New("algorithms: HS256 needs a secret; a public key as secret would let anyone sign")
		case families[alg] == nil:
			return fmt.Errorf("algorithms: unknown algorithm %q; must be one of %s", alg, strings.Join(slices.Sorted(maps.Keys(families)), ", "))
		}
	}

	if slices.Contains(p.audience, "") {
		return errors.New("audience: has an empty value")
	}
	if p.jwks != "" {
		if _, err := checkURL(p.jwks); err != nil {
			return fmt.Errorf("jwks %q: %w", p.jwks, err)
		}
	}
	return nil
}

// checkURL parses a URL that keys may come from.
func checkURL(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	switch {
	case err != nil || u.Host == "" || u.Hostname() == "" || u.Opaque != "":
		return nil, errors.New("not a URL; must begin with https://")
	case u.User != nil || u.Fragment != "":
		return nil, errors.New("has a user or a fragment; remove it")
	case u.Scheme == "https", u.Scheme == "http" && isLoopback(u.Hostname()):
		return u, nil
	}
	return nil, errors.New("must begin with https://; http:// is only for this machine")
}

// isLoopback reports whether a host is this machine.
func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}
