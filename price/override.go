package price

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Override is an operator's price of a model.
type Override struct {
	Provider string            // name of the configured provider, or of a preset
	Model    string            // name, or a pattern with "*" for any text
	Prices   map[string]string // kind, see [Rate], → decimal number of US dollars for a unit
}

// With returns a table with an operator's prices. Each replaces all prices that the
// table has for its model and for dated names of it, in every context tier. Service
// tiers keep the provider's relation to the standard one. The last of several
// overrides for one model wins.
func (t *Table) With(overrides ...Override) (*Table, error) {
	extended := t.clone()
	for _, o := range overrides {
		if err := extended.override(o); err != nil {
			return nil, fmt.Errorf("price of model %q of provider %q: %w", o.Model, o.Provider, err)
		}
	}
	return extended, nil
}

func (t *Table) override(o Override) error {
	switch {
	case o.Provider == "":
		return errors.New("provider is missing")
	case o.Model == "":
		return errors.New("model is missing")
	case len(o.Model) > maxPattern || strings.ContainsAny(o.Model, "!# \t\r\n"):
		return fmt.Errorf("model must be a name or a pattern with *, of at most %d characters without !, # and spaces", maxPattern)
	case len(o.Prices) == 0:
		return fmt.Errorf("no prices; give at least one of %s", strings.Join(kindNames(), ", "))
	}

	base := noRates()
	for _, name := range slices.Sorted(maps.Keys(o.Prices)) {
		if err := base.set(name, o.Prices[name]); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}

	p := t.providers[o.Provider]
	if p == nil {
		p = &provider{names: make(map[string]*model)}
		t.providers[o.Provider] = p
	}
	m := &model{id: o.Model, names: []string{o.Model}, variants: []variant{{standard: card{base: base}}}}
	p.models = append(p.models, m)
	p.own = append([]*model{m}, p.own...)
	return nil
}
