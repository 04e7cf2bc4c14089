// Package grant decides what a token permits.
//
// A token goes through three steps:
//
//  1. [ParseClaims] parses the verified claims, strictly.
//  2. [Compile] binds them to the issuer that signed them and to the routes of
//     the provider that they name. The result is a [Grant].
//  3. [Grant.Permit] decides about each request.
//
// Authority only shrinks on the way down:
//
//	operator's paths  ⊇  what a token may reach at the provider
//	issuer's grant    ⊇  what a token of that issuer may say
//	token's claims    ⊇  what one request may do
//
// A grant states limits ([Limits]) but does not count. The package is pure: it
// opens no token, keeps no state and reads no clock. Its refusals are of type
// [*Denial]: they name the broken rule and quote neither token nor key.
package grant

import (
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Leeway is how far the clocks of an issuer and of the relay may differ. It
// applies to "iat" and "nbf", and not to "exp", where it would prolong a token.
const Leeway = 60 * time.Second

// Reason is why a token or a request was denied. Clients see it as error code.
type Reason string

// Reasons for a denial.
const (
	Invalid     Reason = "invalid_token"
	Expired     Reason = "token_expired"
	NotYetValid Reason = "token_not_yet_valid"
	BeyondGrant Reason = "issuer_not_permitted"
	NoProvider  Reason = "provider_not_permitted"
	NoPath      Reason = "path_not_permitted"
	NoMethod    Reason = "method_not_permitted"
	NoModel     Reason = "model_not_permitted"
	NoIP        Reason = "ip_not_permitted"
	NoOrigin    Reason = "origin_not_permitted"

	// BadPath means that the path has an encoded slash that no route permits.
	BadPath Reason = "invalid_request"

	// NoUpgrade means that the path does not permit a WebSocket. It may permit
	// other requests.
	NoUpgrade Reason = "upgrade_not_permitted"

	// NeedsUpgrade means that the path permits this GET only as a WebSocket.
	NeedsUpgrade Reason = "upgrade_required"
)

// Denial is a refusal by the policy.
type Denial struct {
	Reason Reason

	// Rule names the broken rule, for the operator's log and for the holder. It
	// quotes neither token nor key.
	Rule string
}

// Error returns the reason and the rule.
func (d *Denial) Error() string { return string(d.Reason) + ": " + d.Rule }

func deny(reason Reason, format string, args ...any) error {
	return &Denial{Reason: reason, Rule: fmt.Sprintf(format, args...)}
}

// Issuer is what the operator lets one issuer grant.
type Issuer struct {
	Name        string
	Providers   []string      // names of the providers that its tokens may use; empty means none
	CarriedKeys bool          // whether a token may carry a real key of the issuer's own
	MaxTTL      time.Duration // longest lifetime of a token, exp − iat
	Limits      Limits        // upper bounds of a token's limits, and their defaults
	Allow       Allow         // what requests must match besides the token's own lists
}

// Grant is what one token permits. It is immutable.
type Grant struct {
	Issuer, ID string // the identity of the token
	Subject    string
	Provider   string
	APIKey     string // a real key of the issuer's own; empty means the relay's key
	SetModel   string // the model of every request; empty means that the request names it
	Lifetime

	// Limits. 0 means unlimited.
	Calls, RPM, Concurrency, Tokens int64
	USD                             USD

	provider *Routes  // what the operator lets a token reach at the provider
	narrowed []narrow // what the issuer's grant and the claims allow of that
}

// narrow is what the issuer's grant or the token allows.
type narrow struct {
	who    string
	rules  []rule
	models *models // nil means all
}

// Compile binds claims to the issuer that signed them, to the id of the relay
// key that the token was encrypted to, and to the routes of the provider that
// they name. routes is nil if there is no such provider. Errors are of type
// [*Denial].
func Compile(c *Claims, issuer Issuer, keyID string, routes *Routes) (*Grant, error) {
	provider := slices.Index(issuer.Providers, c.Provider)
	maxTTL := NumericDate(issuer.MaxTTL / time.Second) // as seconds: a Duration ends after 292 years
	switch ttl := c.ExpiresAt - c.IssuedAt; {
	case c.Issuer != issuer.Name:
		return nil, deny(Invalid, "iss is not the issuer that signed the token, %s", issuer.Name)
	case string(c.Audience) != keyID:
		// Otherwise the operator of one relay could encrypt a token for another
		// relay and use it there.
		return nil, deny(Invalid, "aud is not the id of the key that the token is encrypted to")
	case ttl > maxTTL:
		return nil, deny(BeyondGrant, "its lifetime, exp − iat, is longer than the %s that issuer %s may give", issuer.MaxTTL, issuer.Name)
	case provider < 0:
		return nil, deny(NoProvider, "issuer %s may not grant provider %s", issuer.Name, printable(c.Provider))
	case routes == nil:
		return nil, deny(NoProvider, "there is no provider %s", printable(c.Provider))
	case c.APIKey != "" && !issuer.CarriedKeys:
		return nil, deny(BeyondGrant, "issuer %s may not put a key of its own in a token", issuer.Name)
	}

	own, err := c.Limits.under(issuer.Limits)
	if err != nil {
		return nil, deny(BeyondGrant, "limits.%v, which issuer %s may give", err, issuer.Name)
	}

	g := &Grant{
		Issuer: issuer.Name, ID: c.ID, Subject: c.Subject, Provider: issuer.Providers[provider], APIKey: c.APIKey,
		Lifetime: c.Lifetime(), provider: routes,
		Calls: value(own.Calls), RPM: value(own.RPM), Concurrency: value(own.Concurrency),
		Tokens: value(own.Tokens), USD: USD(value((*int64)(own.USD))),
	}
	if err := g.narrow("issuer "+issuer.Name, &issuer.Allow); err != nil {
		return nil, err
	}
	if err := g.narrow("the token", c.Allow); err != nil {
		return nil, err
	}

	if c.Set != nil {
		g.SetModel = c.Set.Model
		return g, g.PermitModels(g.SetModel)
	}
	return g, nil
}

// narrow adds what one side allows.
func (g *Grant) narrow(who string, allow *Allow) error {
	compiled, err := allow.compile()
	if err != nil {
		return deny(Invalid, "allow.%v", err)
	}

	n := narrow{who: who, rules: compiled}
	if allow != nil && allow.Models != nil {
		if n.models, err = compileModels(allow.Models); err != nil {
			return deny(Invalid, "allow.models: %v", err)
		}
	}
	if n.rules != nil || n.models != nil {
		g.narrowed = append(g.narrowed, n)
	}
	return nil
}

// Request is what the policy reads of a request.
type Request struct {
	Now       time.Time
	Method    string // GET for a WebSocket, over every version of HTTP
	Path      string // as [PolicyPath] returns it
	WebSocket bool   // whether the client asks for an upgrade to a WebSocket
	Provider  string // the provider that the path names; empty if it names none
	ClientIP  netip.Addr
	Origin    string // the header; empty if there is none
}

// Permit returns nil if the token permits the request, and a [*Denial] otherwise.
func (g *Grant) Permit(r Request) error {
	if err := g.ValidAt(r.Now); err != nil {
		return err
	}
	switch {
	case r.Provider != "" && r.Provider != g.Provider:
		return deny(NoProvider, "the path is for another provider than the token, which is for %s", g.Provider)
	case !g.provider.permits(r):
		if strings.Contains(r.Path, encodedSlash) {
			return deny(BadPath, "the path has an encoded slash where no route of provider %s takes one; write /", g.Provider)
		}
		closed := func(r Request) bool { return !g.provider.permits(r) }
		return deny(upgradeReason(NoPath, r, closed), "%s is not open at provider %s", r.target(), g.Provider)
	}

	for i := range g.narrowed {
		for _, rule := range g.narrowed[i].rules {
			if what := rule.denies(r); what != "" {
				closed := func(r Request) bool { return rule.denies(r) != "" }
				return deny(upgradeReason(rule.reason, r, closed), "%s does not allow %s", g.narrowed[i].who, what)
			}
		}
	}
	return nil
}

// PermitClient returns nil if the client may have the token, and a [*Denial] otherwise.
// Of the request it asks only for the address and the origin.
func (g *Grant) PermitClient(r Request) error {
	for i := range g.narrowed {
		for _, rule := range g.narrowed[i].rules {
			if rule.reason != NoIP && rule.reason != NoOrigin {
				continue
			}
			if what := rule.denies(r); what != "" {
				return deny(rule.reason, "%s does not allow %s", g.narrowed[i].who, what)
			}
		}
	}
	return nil
}

// upgradeReason returns the reason for a denial. It replaces a reason about the
// method or the path if the upgrade makes the difference, or may make it. Clients
// that try a WebSocket first then fall back at once.
func upgradeReason(reason Reason, r Request, closed func(Request) bool) Reason {
	if reason != NoPath && reason != NoMethod {
		return reason
	}
	if r.WebSocket {
		return NoUpgrade
	}

	r.WebSocket = true
	if r.Method == http.MethodGet && !closed(r) {
		return NeedsUpgrade
	}
	return reason
}

// target describes the requested method and path, for a rule.
func (r Request) target() string {
	var note string
	if r.WebSocket {
		note = " as a WebSocket"
	}

	if strings.Contains(r.Path, encodedSlash) {
		note += ", with its encoded slash,"
	}
	return fmt.Sprintf("%s %.200s%s", r.Method, r.Path, note)
}

// AddressBound reports whether the grant depends on the client's address.
func (g *Grant) AddressBound() bool {
	for i := range g.narrowed {
		for _, rule := range g.narrowed[i].rules {
			if rule.reason == NoIP {
				return true
			}
		}
	}
	return false
}

// ModelBound reports whether the grant is narrowed to some models. If so, the
// caller must read the model of each request and call [Grant.PermitModels].
func (g *Grant) ModelBound() bool {
	for i := range g.narrowed {
		if g.narrowed[i].models != nil {
			return true
		}
	}
	return false
}

// PermitModels returns nil if the token permits all models that a request names,
// and a [*Denial] otherwise.
func (g *Grant) PermitModels(names ...string) error {
	for i := range g.narrowed {
		n := &g.narrowed[i]
		for _, name := range names {
			if n.models != nil && !n.models.match(name) {
				return deny(NoModel, "%s does not allow the model %.100q", n.who, name)
			}
		}
	}
	return nil
}
