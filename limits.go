package relayapi

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/relayapi/caddy-relayapi/grant"
	"github.com/relayapi/caddy-relayapi/internal/clientaddr"
	"github.com/relayapi/caddy-relayapi/internal/limits"
	"github.com/relayapi/caddy-relayapi/internal/ratelimit"
	"github.com/relayapi/caddy-relayapi/tokenstore"
)

// Limit is how much each token, subject or issuer may use, whatever the tokens say.
// Example: 20 calls per subject per day.
type Limit struct {
	// The holder whose calls are counted: each `token`, each `subject` of an issuer, or
	// each `issuer`. An issuer's tokens without a subject count as one subject.
	Scope string `json:"scope"`

	// How many calls. A limit has one of `calls`, `tokens` and `usd`.
	Calls int64 `json:"calls,omitempty"`

	// How many tokens of models, of input and output together.
	Tokens int64 `json:"tokens,omitempty"`

	// How many US dollars, as a decimal string.
	USD grant.USD `json:"usd,omitzero"`

	// The period: `day` or `month`, which begin at 00:00 UTC. Default: no period; usage
	// counts forever.
	Per string `json:"per,omitempty"`
}

var limitScopes = []string{string(tokenstore.ScopeToken), string(tokenstore.ScopeSubject), string(tokenstore.ScopeIssuer)}

// set parses and sets the amount.
func (l *Limit) set(unit, n string) (err error) {
	switch unit {
	case "calls":
		l.Calls, err = strconv.ParseInt(n, 10, 64)
	case "tokens":
		l.Tokens, err = strconv.ParseInt(n, 10, 64)
	case "usd":
		l.USD, err = grant.ParseUSD(n)
	default:
		return fmt.Errorf("unknown unit %q: must be one of calls, tokens, usd", unit)
	}
	switch {
	case strings.HasPrefix(n, "-"):
		return fmt.Errorf("%s %q: must not be negative", unit, n)
	case err != nil:
		return fmt.Errorf("%s %q: must be a number", unit, n)
	}
	return nil
}

// stored returns the limit in the form of the ledger.
func (l Limit) stored() tokenstore.Limit {
	stored := tokenstore.Limit{Scope: tokenstore.Scope(l.Scope), Unit: tokenstore.UnitCalls, Per: l.Per, Amount: l.Calls}
	switch {
	case l.Tokens != 0:
		stored.Unit, stored.Amount = tokenstore.UnitTokens, l.Tokens
	case l.USD != 0:
		stored.Unit, stored.Amount = tokenstore.UnitNanoUSD, int64(l.USD)
	}
	return stored
}

// storedLimits returns limits in the form of the ledger.
func storedLimits(config []Limit) (all []tokenstore.Limit) {
	for _, l := range config {
		all = append(all, l.stored())
	}
	return all
}

// sameKey reports whether two limits count the same.
func (l Limit) sameKey(m Limit) bool { return l.stored().SameKey(m.stored()) }

// check returns an error if the limit is invalid or repeats one of the others.
func (l Limit) check(others []Limit) error {
	units := 0
	for _, n := range []int64{l.Calls, l.Tokens, int64(l.USD)} {
		if n != 0 {
			units++
		}
	}
	switch {
	case units > 1:
		return errors.New("a limit has one of calls, tokens and usd; write one limit for each")
	case !slices.Contains(limitScopes, l.Scope):
		return fmt.Errorf("scope %q: must be one of token, subject, issuer", l.Scope)
	case l.Per != "" && l.Per != "day" && l.Per != "month":
		return fmt.Errorf("per %q: must be one of day, month; leave it out to count forever", l.Per)
	case units == 0 || l.Calls < 0 || l.Calls > grant.MaxCalls || l.Tokens < 0 || l.Tokens > grant.MaxCalls:
		return fmt.Errorf("calls and tokens must be from 1 to %d", int64(grant.MaxCalls))
	case l.USD < 0 || l.USD > grant.MaxUSD:
		return fmt.Errorf("usd must be from 0.000000001 to %s", grant.MaxUSD)
	case l.Scope == string(tokenstore.ScopeToken) && l.Per == "":
		return errors.New("the limits of a token in all are its claims limits.calls, limits.tokens and limits.usd; add per day or per month")
	case slices.ContainsFunc(others, l.sameKey):
		return fmt.Errorf("each %s has two limits for the same unit and period; remove one", l.Scope)
	}
	return nil
}

// limitsInForce returns the rules in force. It rebuilds them after a limit was set or
// removed.
func (relay *relay) limitsInForce() *limits.Rules {
	set := relay.ledger.Limits()
	rules := relay.limits.Load()
	if rules == nil || rules.Version != set.Version {
		rules = limits.New(relay.config, set)
		relay.limits.Store(rules)
	}
	return rules
}

// exhausted has the codes of refusals, by the unit of the limit that was reached.
var exhausted = map[tokenstore.Unit]string{
	tokenstore.UnitCalls: codeCallsExhausted, tokenstore.UnitTokens: codeTokensExhausted, tokenstore.UnitNanoUSD: codeBudgetExhausted,
}

// RateLimit is how many requests the relay accepts, whatever tokens they carry. It
// applies before the relay opens a token.
type RateLimit struct {
	// The requests that are counted together: those of each `client`, or the `total`. A
	// client is an IPv4 address or an IPv6 /64.
	Scope string `json:"scope"`

	// How many requests.
	Requests int64 `json:"requests"`

	// The period: `second`, `minute` or `hour`. It may begin at any moment.
	Per string `json:"per"`
}

var (
	rateScopes = []string{"client", "total"}
	rateTimes  = map[string]time.Duration{"second": time.Second, "minute": time.Minute, "hour": time.Hour}
)

// check returns an error if the limit is invalid or repeats one of the others.
func (l RateLimit) check(others []RateLimit) error {
	switch {
	case !slices.Contains(rateScopes, l.Scope):
		return fmt.Errorf("scope %q: must be one of client, total", l.Scope)
	case rateTimes[l.Per] == 0:
		return fmt.Errorf("per %q: must be one of second, minute, hour", l.Per)
	case l.Requests < 1 || l.Requests > maxRequests:
		return fmt.Errorf("requests must be from 1 to %d", maxRequests)
	case slices.ContainsFunc(others, func(m RateLimit) bool { return m.Scope == l.Scope && m.Per == l.Per }):
		return fmt.Errorf("%s per %s has two limits; remove one", l.Scope, l.Per)
	}
	return nil
}

const (
	maxRequests = 1_000_000_000
	rateClients = 1 << 16 // remembered for each limit, at about 350 bytes each
	paceTokens  = 1 << 20 // remembered tokens
)

// limitersOf returns the limiters of the operator's rate limits, in their order.
func limitersOf(rates *ratelimit.Rules[netip.Prefix], limits []RateLimit) (all []*ratelimit.Limiter[netip.Prefix]) {
	for _, l := range limits {
		all = append(all, rates.Of(l.Scope+" per "+l.Per, rateTimes[l.Per], rateClients))
	}
	return all
}

// pass counts a request against the operator's rate limits, or refuses it. The zero
// prefix stands for the total.
func (relay *relay) pass(r *http.Request, limits []RateLimit, now time.Time) *refusal {
	for i, l := range limits {
		var client netip.Prefix
		from := ""
		if l.Scope == "client" {
			client, from = clientaddr.Network(r), " from one address"
		}
		if wait := relay.rates[i].Take(client, l.Requests, now); wait > 0 {
			return refuse(codeRateLimited, fmt.Sprintf("%d requests per %s%s", l.Requests, l.Per, from)).after(wait).of(l.Scope, "requests")
		}
	}
	return nil
}

// enter takes one of the token's slots for the call, or refuses it.
func (c *call) enter() *refusal {
	p := c.permit
	if p.RPM == 0 && p.Concurrency == 0 {
		return nil
	}
	slot, ok := c.relay.ledger.paces.Enter(p.paceID, p.Concurrency, c.start)
	if !ok {
		return refuse(codeConcurrency, fmt.Sprintf("%d calls at once", p.Concurrency)).of("token", "concurrency")
	}
	c.held.slot = slot

	shared := c.relay.ledger.Shared()
	if shared == nil || p.Concurrency == 0 {
		return nil
	}
	taken, err := shared.TakeSlot(c, p.paceID, p.Concurrency)
	switch {
	case err != nil: // without contact to the others, each relay counts by itself
	case taken == nil:
		return refuse(codeConcurrency, fmt.Sprintf("%d calls at once", p.Concurrency)).of("token", "concurrency")
	default:
		c.held.shared = taken
	}
	return nil
}

// countRate counts the call against its token's rate, or refuses it.
func (c *call) countRate(now time.Time) *refusal {
	c.target.countedAt = now
	if c.permit.RPM == 0 {
		return nil
	}
	standing := c.held.slot.Take(c.permit.RPM, now)
	if shared := c.relay.ledger.Shared(); shared != nil && standing.Wait == 0 {
		if rate, err := shared.TakeRate(c, c.permit.paceID, c.permit.RPM); err == nil {
			standing = ratelimit.Standing{Used: rate.Used, Reset: rate.Reset}
			if !rate.Taken {
				standing.Wait = max(rate.Reset, time.Second)
			}
		}
	}
	return c.stands(standing)
}

// recountRate moves the count of a call to the time at which it is sent, or refuses it.
func (c *call) recountRate(now time.Time) *refusal {
	if c.permit.RPM == 0 {
		return nil
	}
	standing, moved := c.held.slot.Retake(c.permit.RPM, c.target.countedAt, now)
	if !moved {
		return nil
	}
	c.target.countedAt = now
	return c.stands(standing)
}

// stands records how much of the token's rate is left, and refuses the call if it
// exceeds the rate.
func (c *call) stands(s ratelimit.Standing) *refusal {
	c.rateLimit = ratelimit.Header{Limit: c.permit.RPM, Standing: s}
	if s.Wait > 0 {
		return refuse(codeRateLimited, fmt.Sprintf("%d calls per minute", c.permit.RPM)).after(s.Wait).of("token", "rpm")
	}
	return nil
}
