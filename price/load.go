package price

import (
	"bytes"
	"cmp"
	_ "embed" // for the table
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

//go:embed table.json
var embeddedTable []byte

//go:embed overrides.json
var embeddedOverrides []byte

// tableJSON is a table on disk.
type tableJSON struct {
	Source    string                  `json:"source"`
	Version   string                  `json:"version"`
	Date      string                  `json:"date"`
	Providers map[string]providerJSON `json:"providers"`
}

type providerJSON struct {
	Page     string            `json:"page"`
	Fallback []string          `json:"fallback"`
	Tiers    map[string]string `json:"tiers"` // service tier → multiplier of the prices of tokens
	Models   []modelJSON       `json:"models"`
	Patches  []patchJSON       `json:"patches"`
}

// modelJSON is a model. In overrides.json it replaces the model of the same id.
type modelJSON struct {
	ID     string            `json:"id"`
	Page   string            `json:"page"`
	Names  []string          `json:"names"` // see pattern
	Tiers  map[string]string `json:"tiers"`
	Prices []priceJSON       `json:"prices"`
}

// patchJSON changes the models whose ids match.
type patchJSON struct {
	IDs   []string          `json:"ids"` // see pattern
	Page  string            `json:"page"`
	Set   map[string]string `json:"set"` // kind → price, or a kind times a number: "input*2"
	Tiers map[string]string `json:"tiers"`
}

// priceJSON is a variant: its conditions, and the price of each kind.
type priceJSON struct {
	From  string
	Hours string
	Over  []priceJSON
	Above int64
	rates rates
}

// UnmarshalJSON reads the members of a price. Every other member is a kind.
func (p *priceJSON) UnmarshalJSON(data []byte) error {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(data, &members); err != nil {
		return fmt.Errorf("parsing price: %w", err)
	}

	p.rates = noRates()
	for name, value := range members {
		var err error
		switch name {
		case "from":
			err = json.Unmarshal(value, &p.From)
		case "hours":
			err = json.Unmarshal(value, &p.Hours)
		case "over":
			err = json.Unmarshal(value, &p.Over)
		case "above":
			err = json.Unmarshal(value, &p.Above)
		default:
			var usd string
			if err = json.Unmarshal(value, &usd); err == nil {
				err = p.rates.set(name, usd)
			}
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// set sets the price of a kind.
func (r *rates) set(name, usd string) error {
	k, ok := kindNamed(name)
	if !ok {
		return fmt.Errorf("unknown kind of price: must be one of %s", strings.Join(kindNames(), ", "))
	}
	nano, err := Parse(usd)
	if err != nil {
		return err
	}
	if nano > maxRate {
		return fmt.Errorf("price %s: more than %s", usd, Format(maxRate))
	}
	r[k] = nano
	return nil
}

func kindNames() []string {
	var names []string
	for _, u := range units {
		names = append(names, u.name)
	}
	return names
}

// parse parses a table and the overrides of it.
func parse(table, overrides []byte) (*Table, error) {
	var base, own tableJSON
	if err := unmarshal(table, &base); err != nil {
		return nil, fmt.Errorf("parsing price table: %w", err)
	}
	if err := unmarshal(overrides, &own); err != nil {
		return nil, fmt.Errorf("parsing price overrides: %w", err)
	}

	t := &Table{Source: base.Source, Version: base.Version, Date: base.Date, providers: make(map[string]*provider)}
	for _, part := range []tableJSON{base, own} {
		for _, name := range slices.Sorted(maps.Keys(part.Providers)) {
			if err := t.merge(name, part.Providers[name]); err != nil {
				return nil, fmt.Errorf("prices of %s: %w", name, err)
			}
		}
	}
	return t, nil
}

func unmarshal(data []byte, into any) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	return dec.Decode(into)
}

// merge adds a provider, or the overrides of one.
func (t *Table) merge(name string, in providerJSON) error {
	p := t.providers[name]
	if p == nil {
		p = &provider{tiers: make(map[string]multiplier), names: make(map[string]*model)}
		t.providers[name] = p
	}
	if in.Page != "" {
		p.page = in.Page
	}
	p.fallback = append(p.fallback, in.Fallback...)
	if err := mergeTiers(p.tiers, in.Tiers); err != nil {
		return err
	}

	for _, patch := range in.Patches {
		if err := p.patch(patch); err != nil {
			return fmt.Errorf("patch of %s: %w", strings.Join(patch.IDs, ", "), err)
		}
	}
	for _, m := range in.Models {
		if err := p.replace(m); err != nil {
			return fmt.Errorf("model %s: %w", m.ID, err)
		}
	}
	return nil
}

func mergeTiers(into map[string]multiplier, tiers map[string]string) error {
	for name, s := range tiers {
		m, err := parseMultiplier(s)
		if err != nil {
			return fmt.Errorf("service tier %s: %w", name, err)
		}
		into[name] = m
	}
	return nil
}

// replace adds a model in the place of the one with the same id.
func (p *provider) replace(in modelJSON) error {
	m := &model{id: in.ID, page: in.Page, names: in.Names, tiers: make(map[string]multiplier)}
	if err := mergeTiers(m.tiers, in.Tiers); err != nil {
		return err
	}
	for _, price := range in.Prices {
		v, err := price.variant()
		if err != nil {
			return err
		}
		m.variants = append(m.variants, v)
	}

	p.models = slices.DeleteFunc(p.models, func(old *model) bool { return old.id == in.ID })
	maps.DeleteFunc(p.names, func(_ string, old *model) bool { return old.id == in.ID })
	p.add(m)
	return nil
}

func (p *priceJSON) variant() (variant, error) {
	v := variant{standard: card{base: p.rates}}
	for _, over := range p.Over {
		merged := p.rates
		for k, n := range over.rates {
			if n != none {
				merged[k] = n
			}
		}
		v.standard.over = append(v.standard.over, step{over.Above, merged})
	}
	slices.SortFunc(v.standard.over, func(a, b step) int { return cmp.Compare(a.above, b.above) })

	var err error
	if p.From != "" {
		if v.from, err = time.Parse(time.DateOnly, p.From); err != nil {
			return v, fmt.Errorf("from %q: not a date", p.From)
		}
	}
	if p.Hours != "" {
		v.daily = true
		v.begin, v.end, err = parseHours(p.Hours)
	}
	return v, err
}

// parseHours parses a time span within a day, "01:00-04:00".
func parseHours(s string) (begin, end time.Duration, err error) {
	first, last, _ := strings.Cut(s, "-")
	var clocks [2]time.Duration
	for i, clock := range []string{first, last} {
		t, err := time.Parse("15:04", clock)
		if err != nil {
			return 0, 0, fmt.Errorf("hours %q: not of the form 01:00-04:00", s)
		}
		clocks[i] = time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute
	}
	return clocks[0], clocks[1], nil
}

// patch changes the models that it names. It must change at least one.
func (p *provider) patch(in patchJSON) error {
	found := false
	for _, m := range p.models {
		matches := func(s string) bool { return parsePattern(s).match(strings.ToLower(m.id)) }
		if !slices.ContainsFunc(in.IDs, matches) {
			continue
		}

		found = true
		if in.Page != "" {
			m.page = in.Page
		}
		if err := mergeTiers(m.tiers, in.Tiers); err != nil {
			return err
		}
		for i := range m.variants {
			if err := m.variants[i].standard.patch(in.Set); err != nil {
				return err
			}
		}
	}
	if !found {
		return fmt.Errorf("no such model")
	}
	return nil
}

func (c *card) patch(set map[string]string) error {
	if err := c.base.patch(set); err != nil {
		return err
	}
	for i := range c.over {
		if err := c.over[i].rates.patch(set); err != nil {
			return err
		}
	}
	return nil
}

// patch sets prices, each a number of dollars or a kind times a number.
func (r *rates) patch(set map[string]string) error {
	for name, value := range set {
		from, times, isProduct := strings.Cut(value, "*")
		if !isProduct {
			if err := r.set(name, value); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			continue
		}

		k, ok := kindNamed(name)
		source, known := kindNamed(from)
		m, err := parseMultiplier(times)
		if !ok || !known || err != nil {
			return fmt.Errorf("%s %s: neither a price nor a kind times a number", name, strconv.Quote(value))
		}
		if r[source] != none {
			r[k] = m.of(r[source])
		}
	}
	return nil
}
