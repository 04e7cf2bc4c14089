package price

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// Table is a table of prices. It is immutable.
type Table struct {
	Source  string // package that the table was made from
	Version string // of the package
	Date    string // on which that was published, YYYY-MM-DD

	providers map[string]*provider
}

// provider has the models of a provider.
type provider struct {
	page     string
	fallback []string // providers whose models this one offers at the same price
	tiers    map[string]multiplier
	models   []*model
	names    map[string]*model // by exact name
	own      []*model          // the operator's, the last one first
}

// model has the prices of a model over time.
type model struct {
	id       string
	page     string // "" means the provider's
	patterns []pattern
	names    []string
	tiers    map[string]multiplier // override those of the provider
	variants []variant
}

// variant is the card of a model from a date on, or in some hours of the day. The
// last one that applies wins. Days are alike: where a provider has no peak hours at
// weekends, such as DeepSeek, the peak price is charged all the same.
type variant struct {
	from     time.Time // zero means always
	daily    bool      // only from begin to end, UTC
	begin    time.Duration
	end      time.Duration
	standard card
}

// appliesAt reports whether v applies at a time.
func (v *variant) appliesAt(at time.Time) bool {
	if at.Before(v.from) {
		return false
	}
	if !v.daily {
		return true
	}

	at = at.UTC()
	clock := at.Sub(at.Truncate(24 * time.Hour))
	if v.begin <= v.end {
		return clock >= v.begin && clock < v.end
	}
	return clock >= v.begin || clock < v.end
}

// day is how long a call may take, from its reservation to its end. Prices that
// begin within it are part of a ceiling.
const day = 24 * time.Hour

// priceAt returns the price at a time, and false if there is none yet.
func (m *model) priceAt(name string, p *provider, at time.Time) (Price, bool) {
	now := -1
	for i := range m.variants {
		if m.variants[i].appliesAt(at) {
			now = i
		}
	}
	if now < 0 {
		return Price{}, false
	}

	price := Price{Provider: name, Model: m.id, now: m.prices(p, now)}
	for i := range m.variants {
		v := &m.variants[i]
		if i != now && !v.from.After(at.Add(day)) && (i > now || v.daily || m.variants[now].daily) {
			price.soon = append(price.soon, m.prices(p, i))
		}
	}
	return price, true
}

// prices returns the cards of a variant.
func (m *model) prices(p *provider, i int) prices {
	return prices{standard: m.variants[i].standard, model: m.tiers, provider: p.tiers}
}

// Default returns the embedded table. The first call parses it.
var Default = sync.OnceValues(func() (*Table, error) { return parse(embeddedTable, embeddedOverrides) })

// Find returns the price of a provider's model at a time. provider is the name of a
// preset or of a configured provider. Names of models match in any case. A dated
// name ("-2026-04-23") that the table does not have has the price of the name
// without the date. Find returns false if there is no price.
func (t *Table) Find(provider, model string, at time.Time) (Price, bool) {
	if len(model) > maxPattern {
		return Price{}, false
	}
	model = strings.TrimPrefix(strings.ToLower(model), "models/") // as Gemini writes names

	price, ok := t.find(provider, model, at)
	if base, dated := cutDate(model); !ok && dated {
		return t.find(provider, base, at)
	}
	return price, ok
}

// cutDate cuts the date off a name such as gpt-5.5-2026-04-23.
func cutDate(model string) (base string, dated bool) {
	const date = "-####-##-##"
	cut := len(model) - len(date)
	if cut <= 0 || !hasPrefix(model[cut:], date) {
		return model, false
	}
	return model[:cut], true
}

func (t *Table) find(name, model string, at time.Time) (Price, bool) {
	p := t.providers[name]
	if p == nil {
		return Price{}, false
	}
	if m := p.lookup(model); m != nil {
		return m.priceAt(name, p, at)
	}

	for _, other := range p.fallback {
		q := t.providers[other]
		if q == nil {
			continue
		}
		if m := q.lookup(model); m != nil {
			return m.priceAt(other, q, at)
		}
	}
	return Price{}, false
}

// lookup returns the model with that name. The operator's models win over others,
// an exact name wins over patterns, and the pattern with the longest text over
// other patterns.
func (p *provider) lookup(name string) *model {
	base, _ := cutDate(name)
	for _, own := range []string{name, base} {
		for _, m := range p.own {
			if parsePattern(m.id).match(own) {
				return m
			}
		}
	}

	if m := p.names[name]; m != nil {
		return m
	}

	var best *model
	weight := -1
	for _, m := range p.models {
		for _, pattern := range m.patterns {
			if w := pattern.weight(); w > weight && pattern.match(name) {
				best, weight = m, w
			}
		}
	}
	return best
}

// add adds a model, which replaces others of the same exact names.
func (p *provider) add(m *model) {
	for _, name := range m.names {
		if pattern := parsePattern(name); pattern.exact() {
			p.names[strings.ToLower(name)] = m
		} else {
			m.patterns = append(m.patterns, pattern)
		}
	}
	p.models = append(p.models, m)
}

// Providers returns the names of the providers that have prices, sorted.
func (t *Table) Providers() []string { return slices.Sorted(maps.Keys(t.providers)) }

// Listing is one model in a table.
type Listing struct {
	Provider string   `json:"provider"`
	Model    string   `json:"model"`
	Names    []string `json:"names"` // names and patterns, "*" for any text and "#" for a digit
	Page     string   `json:"page,omitempty"`
	Rates    []Rate   `json:"rates"`
}

// Lookup returns the model of a provider that has a name, see [Table.Find].
func (t *Table) Lookup(provider, name string, at time.Time) (Listing, bool) {
	price, ok := t.Find(provider, name, at)
	if !ok {
		return Listing{}, false
	}

	p := t.providers[price.Provider]
	i := slices.IndexFunc(p.models, func(m *model) bool { return m.id == price.Model })
	m := p.models[i]
	return Listing{provider, m.id, m.names, cmp.Or(m.page, p.page), price.Rates()}, true
}

// List returns all models that have a price at a time, sorted by provider and id.
func (t *Table) List(at time.Time) []Listing {
	var all []Listing
	for name, p := range t.providers {
		for _, m := range p.models {
			price, ok := m.priceAt(name, p, at)
			if ok {
				all = append(all, Listing{name, m.id, m.names, cmp.Or(m.page, p.page), price.Rates()})
			}
		}
	}
	slices.SortStableFunc(all, func(a, b Listing) int {
		return cmp.Or(cmp.Compare(a.Provider, b.Provider), cmp.Compare(a.Model, b.Model))
	})
	return all
}

// clone returns a copy of t to which models can be added.
func (t *Table) clone() *Table {
	c := *t
	c.providers = maps.Clone(t.providers)
	for name, p := range c.providers {
		q := *p
		q.models = slices.Clone(p.models)
		q.names = maps.Clone(p.names)
		q.own = slices.Clone(p.own)
		c.providers[name] = &q
	}
	return &c
}
