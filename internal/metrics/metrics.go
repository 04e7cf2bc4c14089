// Package metrics has the relay's Prometheus metrics.
//
// A [Set] is one collector for the whole process. Caddy makes a new registry for every
// config, and counts must survive a reload. So the collector is registered with each
// new registry.
//
// Observing costs a few atomic additions. Labels are resolved once: a [Caller] belongs
// to an opened token, and finds the series of a model in a map. No function takes a
// token, a subject, or a name that a client has made up. Providers and issuers come
// from the config, models from the price list. Their number is also bounded, see
// [Set.Caller], so that a scrape never has 2,000 series or more.
//
// Gauges, such as calls in flight, are read during a scrape.
package metrics

import (
	"errors"
	"iter"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/relayapi/caddy-relayapi/tokenstore"
)

// Bounds of the series. Everything beyond them counts as [Other].
const (
	maxProviders = 20
	maxCallers   = 45 // pairs of a provider and an issuer
	maxModels    = 60 // pairs of a provider and a model
)

// Other is the label of everything beyond a bound, and of models without a price.
const Other = "other"

// Buckets of the histograms, in seconds.
var (
	admissionBuckets = []float64{.00005, .0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 5}
	commitBuckets    = []float64{.00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 5}
	firstByteBuckets = []float64{.05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60}
)

// Set is all metrics of the process. It is a [prometheus.Collector].
type Set struct {
	admission, commit prometheus.Histogram
	commitErrors      atomic.Int64
	firstByte         *prometheus.HistogramVec
	refusals          *prometheus.CounterVec
	limitRefusals     *prometheus.CounterVec
	near              [len(scopes)][len(tokenstore.Units)]atomic.Int64
	lookups           [len(lookupResults)]atomic.Int64

	mu        sync.Mutex // guards adding labels to the maps
	providers map[string]*provider
	tallies   map[labels]*tally
	models    int   // in all providers, except those named Other
	nobody    tally // of requests without a token

	stores sync.Map // the open Stores
}

type labels struct{ provider, issuer string }

// provider has the series of one provider.
type provider struct {
	name      string
	firstByte prometheus.Observer
	answers   [len(statuses)]atomic.Int64
	models    atomic.Pointer[map[string]*model] // replaced by a copy when one is added
}

// model has the series of one model of a provider.
type model [len(modelCounts)]atomic.Int64

// tally has the series of the calls that one issuer's tokens make to one provider.
type tally struct {
	outcomes [len(outcomes)]atomic.Int64
	cost     atomic.Int64
}

// Caller has all series of the calls with a token. A nil Caller stands for requests
// without one.
type Caller struct {
	set      *Set
	tally    *tally
	provider *provider
}

// New returns an empty set. It exports the codes of refusals from the start, because
// rate() misses the first increase of a series that did not exist.
func New(codes iter.Seq[string]) *Set {
	s := &Set{
		admission:     histogram("admission_duration_seconds", admissionBuckets),
		commit:        histogram("commit_duration_seconds", commitBuckets),
		firstByte:     prometheus.NewHistogramVec(histogramOpts("time_to_first_byte_seconds", firstByteBuckets), []string{"provider"}),
		refusals:      counterVec("refusals_total"),
		limitRefusals: counterVec("limit_refusals_total"),
		providers:     make(map[string]*provider),
		tallies:       make(map[labels]*tally),
	}
	for code := range codes {
		s.refusals.WithLabelValues(code)
	}
	return s
}

// Register registers the set with the registry of a config; nil means no registry.
func (s *Set) Register(registry *prometheus.Registry) {
	if registry == nil {
		return
	}
	var already prometheus.AlreadyRegisteredError
	if err := registry.Register(s); err != nil && !errors.As(err, &already) {
		panic(err) // two collectors with one name are a bug in this package
	}
}

// Caller returns the series of the calls that an issuer's tokens make to a provider.
// Resolve it once for each token that is opened. Both names must come from the config.
// Beyond 20 providers, or 45 pairs of a provider and an issuer, all further ones share
// the series [Other]. So do models beyond the first 60.
func (s *Set) Caller(providerName, issuer string) *Caller {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.provider(providerName)
	of := labels{p.name, issuer}
	if s.tallies[of] == nil && len(s.tallies) >= maxCallers {
		of = labels{Other, Other}
	}
	if s.tallies[of] == nil {
		s.tallies[of] = new(tally)
	}
	return &Caller{s, s.tallies[of], p}
}

// provider returns the series of a provider. The caller holds the lock.
func (s *Set) provider(name string) *provider {
	if s.providers[name] == nil && len(s.providers) >= maxProviders {
		name = Other
	}
	p := s.providers[name]
	if p == nil {
		p = &provider{name: name, firstByte: s.firstByte.WithLabelValues(name)}
		p.models.Store(new(map[string]*model))
		s.providers[name] = p
	}
	return p
}

// model returns the series of a model.
func (c *Caller) model(name string) *model {
	if m := (*c.provider.models.Load())[name]; m != nil {
		return m
	}
	return c.set.addModel(c.provider, name)
}

func (s *Set) addModel(p *provider, name string) *model {
	s.mu.Lock()
	defer s.mu.Unlock()
	had := *p.models.Load()
	if had[name] == nil && name != Other {
		if s.models >= maxModels {
			name = Other
		} else {
			s.models++
		}
	}
	if m := had[name]; m != nil {
		return m
	}

	have := make(map[string]*model, len(had)+1)
	for k, v := range had {
		have[k] = v
	}
	have[name] = new(model)
	p.models.Store(&have)
	return have[name]
}

// Admitted records how long a call took to be admitted.
func (s *Set) Admitted(took time.Duration) { s.admission.Observe(took.Seconds()) }

// Refused counts a request of the caller that was not admitted. c may be nil.
func (s *Set) Refused(c *Caller) {
	t := &s.nobody
	if c != nil {
		t = c.tally
	}
	t.outcomes[refused].Add(1)
}

// Observe counts the usage of a call, or of a part of one. The model must be in the
// price list, "other", or empty if unknown.
func (c *Caller) Observe(modelName string, u *tokenstore.Usage) {
	if c == nil {
		return
	}
	for i, n := range [...]int64{succeeded: u.Succeeded, clientError: u.ClientErrors, providerError: u.ProviderErrors} {
		add(&c.tally.outcomes[i], n)
	}
	add(&c.tally.cost, u.Cost)

	if used := countsOf(u); used != (counts{}) {
		m := c.model(modelName)
		for i, n := range used {
			add(&m[i], n)
		}
	}
}

// add skips zeros: most counts are zero, and should cost nothing.
func add(to *atomic.Int64, n int64) {
	if n != 0 {
		to.Add(n)
	}
}

// Answered counts the status of a provider's answer; 0 means that there was none.
func (c *Caller) Answered(status int) {
	if c != nil {
		c.provider.answers[statusOf(status)].Add(1)
	}
}

// FirstByte records how long the first byte of an answer took.
func (c *Caller) FirstByte(took time.Duration) {
	if c != nil {
		c.provider.firstByte.Observe(took.Seconds())
	}
}

// Refusal counts an error response of the relay. The scope is empty unless a limit was
// reached.
func (s *Set) Refusal(code, scope, limit string) {
	s.refusals.WithLabelValues(code).Inc()
	if scope != "" {
		s.limitRefusals.WithLabelValues(scope, limitName(limit)).Inc()
	}
}

// Refusals returns how many refusals with a code were counted.
func (s *Set) Refusals(code string) prometheus.Counter { return s.refusals.WithLabelValues(code) }

// Left counts the call if it left less than a tenth of the limit.
func (s *Set) Left(c *tokenstore.Charge, left int64) {
	if left >= c.Limit/10 {
		return
	}
	for i, scope := range scopes {
		for j, unit := range tokenstore.Units {
			if c.Counter.Scope == scope && c.Counter.Unit == unit {
				s.near[i][j].Add(1)
			}
		}
	}
}

// LookedUp counts a lookup in the cache of opened tokens.
func (s *Set) LookedUp(r Lookup) { s.lookups[r].Add(1) }

// committed counts a commit of a store.
func (s *Set) committed(took time.Duration, err error) {
	s.commit.Observe(took.Seconds())
	if err != nil {
		s.commitErrors.Add(1)
	}
}

// Store is a store whose state is read during a scrape.
type Store interface {
	InFlight() InFlight
	Leases() map[tokenstore.Unit]tokenstore.Leases
	Size() (bytes int64, err error)
	Health() error
	LastCommit() time.Time
	OnCommit(func(took time.Duration, err error))
}

// InFlight is how many calls are in flight, by kind.
type InFlight struct{ Calls, Streams, Sockets int }

// Add adds a call.
func (n *InFlight) Add(socket, stream bool) {
	switch {
	case socket:
		n.Sockets++
	case stream:
		n.Streams++
	default:
		n.Calls++
	}
}

// Watch includes a store in scrapes until stop is called.
func (s *Set) Watch(store Store) (stop func()) {
	s.stores.Store(store, nil)
	store.OnCommit(s.committed)
	return func() { s.stores.Delete(store) }
}
