package price

import (
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// drawUsage draws usage of the kinds that a price has.
func drawUsage(t *rapid.T, p Price, label string) Usage {
	var u Usage
	fields := reflect.ValueOf(&u).Elem()
	for k := range kinds {
		if _, ok := p.now.standard.base.of(kind(k)); ok {
			fields.Field(k).SetInt(rapid.Int64Range(0, 400_000).Draw(t, label+fields.Type().Field(k).Name))
		}
	}
	u.Reasoning = min(u.Reasoning, u.Output)
	return u
}

// drawPrice draws a model of the embedded table, at some time.
func drawPrice(t *rapid.T, table *Table, listed []Listing) (p Price, tier string) {
	at := time.Unix(rapid.Int64Range(1_790_000_000, 1_800_000_000).Draw(t, "at"), 0)
	listing := rapid.SampledFrom(listed).Draw(t, "model")
	for _, m := range table.providers[listing.Provider].models {
		if m.id == listing.Model {
			p, _ = m.priceAt(listing.Provider, table.providers[listing.Provider], at)
		}
	}
	return p, rapid.SampledFrom(append(p.now.tiers(), "", "default")).Draw(t, "tier")
}

func plus(a, b Usage) Usage {
	sum, other := reflect.ValueOf(&a).Elem(), reflect.ValueOf(b)
	for i := range kinds {
		sum.Field(i).SetInt(sum.Field(i).Int() + other.Field(i).Int())
	}
	return a
}

func TestPrice_CostIsAtMostTheCeiling(t *testing.T) {
	table := defaultTable(t)
	listed := table.List(at)
	rapid.Check(t, func(t *rapid.T) {
		p, tier := drawPrice(t, table, listed)
		u := drawUsage(t, p, "")
		cost, err := p.Cost(u, tier)
		if err != nil {
			t.Fatalf("cost of %+v at %q: %v", u, tier, err)
		}
		asked := rapid.SampledFrom([]string{tier, "", "auto"}).Draw(t, "asked")
		ceiling, err := p.Ceiling(u, asked)
		if err != nil || cost > ceiling || cost < 0 {
			t.Errorf("%s costs %d at %q, above the ceiling %d at %q (%v): %+v", p.Model, cost, tier, ceiling, asked, err, u)
		}

		// A request knows the length of its input, not how it will be cached.
		whole := u
		whole.Input, whole.CacheRead, whole.CacheWrite, whole.CacheWriteHour = u.Input+u.CacheRead+u.CacheWrite+u.CacheWriteHour, 0, 0, 0
		whole.Reasoning = 0
		if bound, err := p.Ceiling(whole, asked); err != nil || bound < cost {
			t.Errorf("%s costs %d at %q, above the ceiling %d of the whole input (%v): %+v", p.Model, cost, tier, bound, err, u)
		}
	})
}

func TestPrice_MoreUsageCostsNoLess(t *testing.T) {
	table := defaultTable(t)
	listed := table.List(at)
	rapid.Check(t, func(t *rapid.T) {
		p, tier := drawPrice(t, table, listed)
		less := drawUsage(t, p, "")
		more := plus(less, drawUsage(t, p, "more"))
		for name, compute := range map[string]func(Usage, string) (int64, error){"cost": p.Cost, "ceiling": p.Ceiling} {
			a, errA := compute(less, tier)
			b, errB := compute(more, tier)
			if errA != nil || errB != nil || a > b {
				t.Errorf("%s of %s at %q: %d (%v) for %+v, %d (%v) for more, %+v", name, p.Model, tier, a, errA, less, b, errB, more)
			}
		}
	})
}

func TestPrice_NeverOverflows(t *testing.T) {
	table := parsedTable(t)
	p := find(t, table, "p", "dear", at)
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Int64().Draw(t, "n")
		for _, compute := range []func(Usage, string) (int64, error){p.Cost, p.Ceiling} {
			got, err := compute(Usage{Input: n}, "")
			switch fits := n >= 0 && n <= 9_223_372_036; {
			case fits && (err != nil || got != n*1_000_000_000):
				t.Errorf("%d tokens at one dollar: %d, %v", n, got, err)
			case !fits && err == nil:
				t.Errorf("%d tokens at one dollar: %d, want an error", n, got)
			}
		}
	})
}
