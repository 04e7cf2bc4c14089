package metrics

import (
	"cmp"
	"maps"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/relayapi/caddy-relayapi/tokenstore"
)

// Family is a metric.
type Family struct {
	Name   string // with the prefix
	Type   string // counter, gauge or histogram
	Help   string
	Labels []string
}

const prefix = "caddy_relayapi_"

// families has all metrics by their names without the prefix.
var families = map[string]Family{
	"requests_total":         counter("Requests by outcome. An admitted call is succeeded, client_error or provider_error, as in usage reports.", "provider", "issuer", "outcome"),
	"issuer_cost_usd_total":  counter("Cost of calls in US dollars, by issuer. Exact to a nano-dollar.", "provider", "issuer"),
	"calls_total":            counter("Calls that reached their provider.", "provider", "model"),
	"tokens_total":           counter("Tokens that models used. The kinds are disjoint.", "provider", "model", "kind"),
	"reasoning_tokens_total": counter("Part of the output tokens that models used to reason.", "provider", "model"),
	"cost_usd_total":         counter("Cost of calls in US dollars. Exact to a nano-dollar.", "provider", "model"),
	"overrun_usd_total":      counter("Part of the cost beyond what the calls had reserved in their budgets.", "provider", "model"),
	"unmetered_calls_total":  counter("Calls whose usage the provider did not report.", "provider", "model"),
	"provider_answers_total": counter("Answers of providers by status: its class, or 401 or 429, or none.", "provider", "status"),
	"refusals_total":         counter("Requests that the relay refused, by the code it answered with.", "code"),
	"limit_refusals_total":   counter("Refusals because a limit was reached, by the scope and the unit of the limit.", "scope", "limit"),
	"near_limit_calls_total": counter("Admitted calls that left less than a tenth of a limit.", "scope", "limit"),
	"token_cache_lookups_total": counter("Lookups in the cache of opened tokens: hit, miss, or refused for a token that is remembered as bad.",
		"result"),
	"commit_errors_total": counter("Commits of the store that failed."),

	"admission_duration_seconds": {Type: "histogram", Help: "Time from the end of the request's body until the call is counted durably."},
	"commit_duration_seconds":    {Type: "histogram", Help: "Time that a commit of the store takes."},
	"time_to_first_byte_seconds": {Type: "histogram", Help: "Time from the connection to the provider until the first byte of the response body.", Labels: []string{"provider"}},

	"in_flight":                     gauge("Calls in flight: plain calls, event streams, and WebSockets.", "kind"),
	"leases":                        gauge("Counters that have a lease in hand.", "unit"),
	"leased_calls":                  gauge("Calls in all leases in hand."),
	"leased_tokens":                 gauge("Tokens in all leases in hand."),
	"leased_usd":                    gauge("US dollars in all leases in hand."),
	"store_up":                      gauge("Whether the store admits calls that must be counted."),
	"store_size_bytes":              gauge("Size of the store on its disk."),
	"last_commit_timestamp_seconds": gauge("Time of the store's latest commit."),
}

func counter(help string, labels ...string) Family {
	return Family{Type: "counter", Help: help, Labels: labels}
}

func gauge(help string, labels ...string) Family {
	return Family{Type: "gauge", Help: help, Labels: labels}
}

// descs describe the families for Prometheus.
var descs = make(map[string]*prometheus.Desc)

func init() {
	for name, f := range families {
		f.Name = prefix + name
		families[name] = f
		descs[name] = prometheus.NewDesc(f.Name, f.Help, f.Labels, nil)
	}
}

// Families returns all metrics, sorted by name.
func Families() []Family {
	return slices.SortedFunc(maps.Values(families), func(a, b Family) int { return cmp.Compare(a.Name, b.Name) })
}

func counterVec(name string) *prometheus.CounterVec {
	f := families[name]
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: f.Name, Help: f.Help}, f.Labels)
}

func histogramOpts(name string, buckets []float64) prometheus.HistogramOpts {
	return prometheus.HistogramOpts{Name: prefix + name, Help: families[name].Help, Buckets: buckets}
}

func histogram(name string, buckets []float64) prometheus.Histogram {
	return prometheus.NewHistogram(histogramOpts(name, buckets))
}

// outcomes are the values of the label outcome.
var outcomes = [...]string{succeeded: "succeeded", clientError: "client_error", providerError: "provider_error", refused: "refused"}

const (
	succeeded = iota
	clientError
	providerError
	refused
)

// statuses are the values of the label status.
var statuses = [...]string{"none", "1xx", "2xx", "3xx", "4xx", "5xx", "401", "429"}

// statusOf returns the index of a status.
func statusOf(status int) int {
	switch class := status / 100; {
	case status == 401:
		return len(statuses) - 2
	case status == 429:
		return len(statuses) - 1
	case 1 <= class && class <= 5:
		return class
	}
	return 0
}

// Lookup is the result of a lookup in the cache of opened tokens.
type Lookup int

// The results.
const (
	Hit Lookup = iota
	Miss
	RememberedBad
)

var lookupResults = [...]string{Hit: "hit", Miss: "miss", RememberedBad: "refused"}

// scopes are the values of the label scope.
var scopes = [...]tokenstore.Scope{tokenstore.ScopeToken, tokenstore.ScopeSubject, tokenstore.ScopeIssuer}

// limitName returns the label of a limit. The store counts nano-dollars, the label says
// dollars.
func limitName(limit string) string {
	if limit == string(tokenstore.UnitNanoUSD) {
		return "usd"
	}
	return limit
}

// counts are the counts of one model, in the order of modelCounts.
type counts [len(modelCounts)]int64

// modelCounts has the metric of each count, and the kind of tokens. An amount of money
// is in nano-dollars.
var modelCounts = [...]struct {
	metric, kind string
	nano         bool
}{
	{metric: "calls_total"},
	{metric: "tokens_total", kind: "input"},
	{metric: "tokens_total", kind: "cache_read"},
	{metric: "tokens_total", kind: "cache_write"},
	{metric: "tokens_total", kind: "cache_write_hour"},
	{metric: "tokens_total", kind: "output"},
	{metric: "tokens_total", kind: "audio_input"},
	{metric: "tokens_total", kind: "audio_output"},
	{metric: "tokens_total", kind: "image_input"},
	{metric: "tokens_total", kind: "image_output"},
	{metric: "reasoning_tokens_total"},
	{metric: "unmetered_calls_total"},
	{metric: "cost_usd_total", nano: true},
	{metric: "overrun_usd_total", nano: true},
}

// countsOf returns usage in the order of modelCounts.
func countsOf(u *tokenstore.Usage) counts {
	return counts{
		u.Calls, u.Input, u.CacheRead, u.CacheWrite, u.CacheWriteHour, u.Output,
		u.AudioInput, u.AudioOutput, u.ImageInput, u.ImageOutput,
		u.Reasoning, u.Unmetered, u.Cost, u.Overrun,
	}
}
