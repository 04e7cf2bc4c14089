package relayapi

import (
	"cmp"
	"maps"
	"net/http"

	"github.com/relayapi/caddy-relayapi/internal/metrics"
	"github.com/relayapi/caddy-relayapi/internal/telemetry"
	"github.com/relayapi/caddy-relayapi/tokenstore"
)

// stats are the metrics of the process.
var stats = metrics.New(maps.Keys(answers))

// InFlight implements [metrics.Store].
func (s *pooledStore) InFlight() (n metrics.InFlight) {
	s.live.Each(func(c *call) { n.Add(c.target.socket, c.outcome.stream.Load()) })
	return n
}

// observe records the usage of a call, or of a part of one.
func (c *call) observe(model string, used tokenstore.Usage) {
	c.relay.ledger.Observe(c.permit.token, model, used)
	c.stats.Observe(model, &used)
	c.trace.Used(&used)
}

// Describe implements [telemetry.Source].
func (c *call) Describe(r *http.Request) telemetry.Call {
	d := telemetry.Call{Bare: c.found.Bare, Known: c.found.Known, Status: c.outcome.provider, Error: c.outcome.code}
	if why := ended(c); why != nil && d.Error == "" {
		d.Error = why.code
	}
	p := c.permit
	if p == nil {
		return d
	}
	d.TokenID, d.Issuer, d.Subject, d.Provider = p.ID, p.Issuer, p.Subject, p.Provider
	d.Preset, d.Base = cmp.Or(p.provider.Preset, p.provider.name), p.provider.base
	d.Asked = func() string {
		named, _ := p.namedBy(c.asked(r)) // an unclear name is none
		return named.Model
	}
	if answer := c.spending.answer; answer != nil {
		d.Answered = func() string { return c.target.key.Mask(answer.Reading().Model) }
	}
	return d
}
