// Package price computes what a call to a provider costs.
//
// [Default] returns the embedded table of prices, which has a date. [Table.Find]
// finds the [Price] of a model at a time, and [Price.Cost] computes the cost of a
// [Usage]. [Price.Ceiling] computes the most that the usage of a request can cost,
// before its answer is known. [Table.With] adds an operator's own prices.
//
// Money is an int64 in nano-USD, 10⁻⁹ US dollars: one token of an embedding model
// costs 20 nano-USD. [Parse] and [Format] convert it from and to decimal dollars.
// Prices are exact, and a cost is rounded up once, at the end.
//
// The package never guesses in favour of a call. A model without a price is not
// found, and usage of a kind that has no price is an error that names the kind.
// Three things are not errors: a model without a price per request charges nothing
// for the request itself, cache reads without a price cost as much as other input
// of their kind, and reasoning without a price costs as much as other output.
//
// The table is written by scripts/prices from a public list of prices.
// overrides.json corrects and extends it; every entry names the provider's page.
package price

import (
	"errors"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"
)

// Usage is what a call used. The kinds are disjoint, but for Reasoning.
type Usage struct {
	Requests       int64
	Input          int64 // text tokens that were neither read from a cache nor written to one
	CacheRead      int64 // text tokens that were read from a cache
	CacheWrite     int64 // text tokens that were written to a cache for minutes
	CacheWriteHour int64 // text tokens that were written to a cache for an hour
	Output         int64 // text tokens, with those of reasoning
	Reasoning      int64 // the part of Output that is reasoning
	AudioInput     int64 // tokens
	AudioCacheRead int64 // tokens
	AudioOutput    int64 // tokens
	ImageInput     int64 // tokens
	ImageCacheRead int64 // tokens
	ImageOutput    int64 // tokens
	Milliseconds   int64 // of audio that was transcribed
	Images         int64 // that were made
	Characters     int64 // that were spoken
	Searches       int64 // in the web
}

// maxAmount is the largest amount of one kind. It is far above what any call can
// use, and keeps sums within an int64.
const maxAmount = 1 << 53

// amounts returns the usage by kind. Output is without reasoning.
func (u Usage) amounts() ([kinds]int64, error) {
	amounts := [kinds]int64{
		u.Requests, u.Input, u.CacheRead, u.CacheWrite, u.CacheWriteHour, u.Output, u.Reasoning,
		u.AudioInput, u.AudioCacheRead, u.AudioOutput, u.ImageInput, u.ImageCacheRead, u.ImageOutput,
		u.Milliseconds, u.Images, u.Characters, u.Searches,
	}
	for k, n := range amounts {
		if n < 0 || n > maxAmount {
			return amounts, fmt.Errorf("usage of %s out of range: %d", units[k].name, n)
		}
	}
	if u.Reasoning > u.Output {
		return amounts, fmt.Errorf("usage of reasoning, %d, is more than the output, %d", u.Reasoning, u.Output)
	}

	amounts[output] -= u.Reasoning
	return amounts, nil
}

// totalInput returns the length of the input, which selects the context tier.
func (u Usage) totalInput() int64 {
	return u.Input + u.CacheRead + u.CacheWrite + u.CacheWriteHour +
		u.AudioInput + u.AudioCacheRead + u.ImageInput + u.ImageCacheRead
}

// Price is the price of a model at a time.
type Price struct {
	Provider string // where the price was found; it differs for models of a third party
	Model    string // id in the table

	now  prices
	soon []prices // that may apply before an answer is complete
}

// prices are the cards of a model by service tier.
type prices struct {
	standard card
	model    map[string]multiplier // service tiers of the model
	provider map[string]multiplier // service tiers that the model does not have itself
}

// standardTiers are names of the tier that has the list price. A request that
// names "auto", or none, may be served at another tier.
var standardTiers = []string{"", "auto", "default", "standard", "standard_only", "on_demand"}

// card returns the card of a served tier.
func (p *prices) card(tier string) (card, error) {
	tier = strings.ToLower(tier)
	if slices.Contains(standardTiers, tier) {
		return p.standard, nil
	}

	for _, tiers := range []map[string]multiplier{p.model, p.provider} {
		if times, ok := tiers[tier]; ok {
			return p.standard.times(times), nil
		}
	}
	return card{}, fmt.Errorf("no price for service tier %.40q", tier)
}

// tiers returns the names of the tiers that are not the standard one, sorted.
func (p *prices) tiers() []string {
	names := slices.AppendSeq(slices.Collect(maps.Keys(p.model)), maps.Keys(p.provider))
	slices.Sort(names)
	return slices.Compact(names)
}

// upTo returns the cards of all tiers at which a request for a tier may be served.
func (p *prices) upTo(tier string) ([]card, error) {
	tiers := []string{tier}
	if tier == "" || strings.EqualFold(tier, "auto") {
		tiers = p.tiers()
	}

	cards := []card{p.standard}
	for _, name := range tiers {
		c, err := p.card(name)
		if err != nil {
			return nil, err
		}
		cards = append(cards, c)
	}
	return cards, nil
}

// Cost returns the cost of a call. tier is the service tier that served it, as the
// provider names it; "" is the standard one.
func (p Price) Cost(u Usage, tier string) (nanoUSD int64, err error) {
	amounts, err := u.amounts()
	if err != nil {
		return 0, err
	}
	c, err := p.now.card(tier)
	if err != nil {
		return 0, p.wrap(err)
	}

	sum, err := c.at(u.totalInput()).cost(amounts)
	if err != nil {
		return 0, p.wrap(err)
	}
	return total(sum)
}

// Ceiling returns the most that a call can cost whose usage is at most u. All text
// input is priced as the dearest kind of text input, and so are audio and images;
// every context tier up to the total input and every price of the next day is
// considered. tier is the service tier that the request asks for: "" and "auto" mean
// any, and another one may be served at the standard tier instead.
func (p Price) Ceiling(u Usage, tier string) (nanoUSD int64, err error) {
	amounts, err := u.amounts()
	if err != nil {
		return 0, err
	}

	most := new(big.Int)
	for _, v := range append([]prices{p.now}, p.soon...) {
		cards, err := v.upTo(tier)
		if err != nil {
			return 0, p.wrap(err)
		}
		for _, c := range cards {
			sum, err := c.ceiling(amounts, u.totalInput())
			if err != nil {
				return 0, p.wrap(err)
			}
			if sum.Cmp(most) > 0 {
				most = sum
			}
		}
	}
	return total(most)
}

// ceiling returns the most that amounts cost by one card.
func (c *card) ceiling(amounts [kinds]int64, total int64) (*big.Int, error) {
	most := new(big.Int)
	for _, r := range c.upTo(total) {
		worst := r.worst()
		sum, err := worst.cost(amounts)
		if err != nil {
			return nil, err
		}
		if sum.Cmp(most) > 0 {
			most = sum
		}
	}
	return most, nil
}

// wrap names the model that an error is about.
func (p Price) wrap(err error) error {
	return fmt.Errorf("model %s of %s: %w", p.Model, p.Provider, err)
}

// total rounds a sum of [rates.cost] up to nano-USD.
func total(sum *big.Int) (int64, error) {
	nano := divideUp(sum, big.NewInt(common))
	if !nano.IsInt64() {
		return 0, errors.New("cost out of range")
	}
	return nano.Int64(), nil
}

// Rate is one price of a model.
type Rate struct {
	Kind  string `json:"kind"`            // as in a config, for example "cache_read"
	Unit  string `json:"unit"`            // for example "1M tokens"
	USD   string `json:"usd"`             // decimal
	Above int64  `json:"above,omitempty"` // applies to calls with more tokens of input; 0 means all
	Tier  string `json:"tier,omitempty"`  // service tier; "" means the standard one
}

// Rates returns all prices, the standard tier first.
func (p Price) Rates() []Rate {
	all := p.now.standard.list("")
	for _, name := range p.now.tiers() {
		if c, err := p.now.card(name); err == nil { // the name is one of them
			all = append(all, c.list(name)...)
		}
	}
	return all
}

func (c *card) list(tier string) []Rate {
	all := c.base.list(tier, 0)
	for i := range c.over {
		all = append(all, c.over[i].rates.list(tier, c.over[i].above)...)
	}
	return all
}

func (r *rates) list(tier string, above int64) (all []Rate) {
	for k, n := range r {
		if n != none {
			all = append(all, Rate{units[k].name, units[k].unit, Format(n), above, tier})
		}
	}
	return all
}
