package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/relayapi/caddy-relayapi/tokenstore"
)

// Describe implements [prometheus.Collector].
func (s *Set) Describe(to chan<- *prometheus.Desc) {
	for _, d := range descs {
		to <- d
	}
}

// Collect implements [prometheus.Collector].
func (s *Set) Collect(to chan<- prometheus.Metric) {
	for _, c := range []prometheus.Collector{s.admission, s.commit, s.firstByte, s.refusals, s.limitRefusals} {
		c.Collect(to)
	}
	e := emitter(to)
	e.count("commit_errors_total", float64(s.commitErrors.Load()))
	for i := range s.lookups {
		e.count("token_cache_lookups_total", float64(s.lookups[i].Load()), lookupResults[i])
	}
	for i := range s.near {
		for j := range s.near[i] {
			e.count("near_limit_calls_total", float64(s.near[i][j].Load()), string(scopes[i]), limitName(string(tokenstore.Units[j])))
		}
	}
	s.collectCalls(e)
	s.collectStores(e)
}

// emitter sends single metrics.
type emitter chan<- prometheus.Metric

func (e emitter) count(name string, n float64, labels ...string) {
	e <- prometheus.MustNewConstMetric(descs[name], prometheus.CounterValue, n, labels...)
}

// some sends a counter unless it is 0, because most models have few kinds of tokens.
func (e emitter) some(name string, n int64, labels ...string) {
	if n != 0 {
		e.count(name, float64(n), labels...)
	}
}

func (e emitter) gauge(name string, n float64, labels ...string) {
	e <- prometheus.MustNewConstMetric(descs[name], prometheus.GaugeValue, n, labels...)
}

// inDollars returns nano-dollars in dollars. Up to 9 million dollars, rounding the
// result to nano-dollars gives exactly them.
func inDollars(nano int64) float64 { return float64(nano) / 1e9 }

// collectCalls sends the counts of callers, providers and models.
func (s *Set) collectCalls(e emitter) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for of, t := range s.tallies {
		t.collect(e, of)
	}
	s.nobody.collect(e, labels{})

	for _, p := range s.providers {
		for i := range p.answers {
			e.count("provider_answers_total", float64(p.answers[i].Load()), p.name, statuses[i])
		}
		for name, m := range *p.models.Load() {
			m.collect(e, p.name, name)
		}
	}
}

func (t *tally) collect(e emitter, of labels) {
	for i := range t.outcomes {
		e.some("requests_total", t.outcomes[i].Load(), of.provider, of.issuer, outcomes[i])
	}
	if nano := t.cost.Load(); nano != 0 {
		e.count("issuer_cost_usd_total", inDollars(nano), of.provider, of.issuer)
	}
}

func (m *model) collect(e emitter, provider, name string) {
	for i, is := range modelCounts {
		n := m[i].Load()
		switch {
		case n == 0:
		case is.kind != "":
			e.count(is.metric, float64(n), provider, name, is.kind)
		case is.nano:
			e.count(is.metric, inDollars(n), provider, name)
		default:
			e.count(is.metric, float64(n), provider, name)
		}
	}
}

// collectStores sends the state of the open stores. There is one, or two for a moment
// when a reload switches stores.
func (s *Set) collectStores(e emitter) {
	var flying InFlight
	var size int64
	var latest time.Time
	open, up := false, true
	leases := make(map[tokenstore.Unit]tokenstore.Leases)
	s.stores.Range(func(key, _ any) bool {
		store := key.(Store)
		open, up = true, up && store.Health() == nil
		in := store.InFlight()
		flying = InFlight{flying.Calls + in.Calls, flying.Streams + in.Streams, flying.Sockets + in.Sockets}
		for unit, l := range store.Leases() {
			leases[unit] = tokenstore.Leases{Counters: leases[unit].Counters + l.Counters, Amount: leases[unit].Amount + l.Amount}
		}
		if bytes, err := store.Size(); err == nil {
			size += bytes
		}
		if at := store.LastCommit(); at.After(latest) {
			latest = at
		}
		return true
	})

	e.gauge("store_up", map[bool]float64{true: 1}[open && up])
	e.gauge("in_flight", float64(flying.Calls), "call")
	e.gauge("in_flight", float64(flying.Streams), "stream")
	e.gauge("in_flight", float64(flying.Sockets), "socket")
	for _, unit := range tokenstore.Units {
		e.gauge("leases", float64(leases[unit].Counters), limitName(string(unit)))
	}
	e.gauge("leased_calls", float64(leases[tokenstore.UnitCalls].Amount))
	e.gauge("leased_tokens", float64(leases[tokenstore.UnitTokens].Amount))
	e.gauge("leased_usd", inDollars(leases[tokenstore.UnitNanoUSD].Amount))
	if size > 0 { // 0 means unknown
		e.gauge("store_size_bytes", float64(size))
	}
	if !latest.IsZero() {
		e.gauge("last_commit_timestamp_seconds", float64(latest.UnixMilli())/1000)
	}
}
