package price

import (
	"fmt"
	"math/big"
	"slices"
)

// kind is a kind of usage, in the order of the fields of [Usage].
type kind int

const (
	requests kind = iota
	input
	cacheRead
	cacheWrite
	cacheWriteHour
	output
	reasoning
	audioInput
	audioCacheRead
	audioOutput
	imageInput
	imageCacheRead
	imageOutput
	milliseconds
	images
	characters
	searches
	kinds int = iota
)

// units are what prices are for: their name in tables and configs, the unit, and
// how much of the usage a unit is.
var units = [kinds]struct {
	name, unit string
	size       int64
}{
	requests:       {"request", "1k requests", 1_000},
	input:          {"input", "1M tokens", 1_000_000},
	cacheRead:      {"cache_read", "1M tokens", 1_000_000},
	cacheWrite:     {"cache_write", "1M tokens", 1_000_000},
	cacheWriteHour: {"cache_write_1h", "1M tokens", 1_000_000},
	output:         {"output", "1M tokens", 1_000_000},
	reasoning:      {"reasoning", "1M tokens", 1_000_000},
	audioInput:     {"audio_input", "1M tokens", 1_000_000},
	audioCacheRead: {"audio_cache_read", "1M tokens", 1_000_000},
	audioOutput:    {"audio_output", "1M tokens", 1_000_000},
	imageInput:     {"image_input", "1M tokens", 1_000_000},
	imageCacheRead: {"image_cache_read", "1M tokens", 1_000_000},
	imageOutput:    {"image_output", "1M tokens", 1_000_000},
	milliseconds:   {"hour", "hour", 3_600_000},
	images:         {"image", "image", 1},
	characters:     {"characters", "1M characters", 1_000_000},
	searches:       {"search", "1k searches", 1_000},
}

// common is a multiple of the size of every unit.
const common = 18_000_000

func kindNamed(name string) (kind, bool) {
	for k, u := range units {
		if u.name == name {
			return kind(k), true
		}
	}
	return 0, false
}

// isToken reports whether k is counted in tokens.
func (k kind) isToken() bool { return k >= input && k <= imageOutput }

// Parts of usage that a provider may bill as any of their kinds. What a request
// will be is not known before its answer.
var groups = [][]kind{
	{input, cacheRead, cacheWrite, cacheWriteHour},
	{audioInput, audioCacheRead},
	{imageInput, imageCacheRead},
}

// substitutes are kinds whose price applies to a kind that has none. Cache reads
// cost no more than other input, and reasoning is output unless it has a price.
var substitutes = map[kind]kind{
	cacheRead: input, audioCacheRead: audioInput, imageCacheRead: imageInput, reasoning: output,
}

// maxRate is the largest price of a unit, a million dollars in nano-USD.
const maxRate = 1_000_000 * dollar

// none stands for a price that does not exist.
const none = -1

// rates are prices of one unit of each kind in nano-USD, or none.
type rates [kinds]int64

func noRates() rates {
	var r rates
	for k := range r {
		r[k] = none
	}
	return r
}

// of returns the price of a kind, and false if there is none. Requests are free
// unless they have a price, because models are priced by what they use.
func (r *rates) of(k kind) (rate int64, ok bool) {
	if r[k] != none {
		return r[k], true
	}
	if other, ok := substitutes[k]; ok && r[other] != none {
		return r[other], true
	}
	return 0, k == requests
}

// cost returns what amounts cost, in nano-USD times common.
func (r *rates) cost(amounts [kinds]int64) (*big.Int, error) {
	sum := new(big.Int)
	for k, n := range amounts {
		if n == 0 {
			continue
		}
		rate, ok := r.of(kind(k))
		if !ok {
			return nil, fmt.Errorf("no price for %s", units[k].name)
		}

		term := new(big.Int).Mul(big.NewInt(n), big.NewInt(rate))
		sum.Add(sum, term.Mul(term, big.NewInt(common/units[k].size)))
	}
	return sum, nil
}

// worst returns rates with every kind at the price of the dearest kind of its
// group. A group without any price has none.
func (r *rates) worst() rates {
	w := *r
	for _, group := range groups {
		most := int64(none)
		for _, k := range group {
			most = max(most, r[k])
		}
		for _, k := range group {
			w[k] = most
		}
	}

	// Reasoning is a part of the output.
	w[output] = max(r[output], r[reasoning])
	w[reasoning] = w[output]
	return w
}

// times returns rates with the prices of tokens multiplied.
func (r rates) times(m multiplier) rates {
	for k := range r {
		if kind(k).isToken() && r[k] != none {
			r[k] = m.of(r[k])
		}
	}
	return r
}

// card is the rates of a model for every length of input.
type card struct {
	base rates
	over []step // by length, ascending
}

// step is the rates that apply to a whole call with more input than above.
type step struct {
	above int64
	rates rates
}

// at returns the rates for a total input.
func (c *card) at(total int64) *rates {
	r := &c.base
	for i := range c.over {
		if total > c.over[i].above {
			r = &c.over[i].rates
		}
	}
	return r
}

// upTo returns all rates that may apply up to a total input.
func (c *card) upTo(total int64) []*rates {
	all := []*rates{&c.base}
	for i := range c.over {
		if total > c.over[i].above {
			all = append(all, &c.over[i].rates)
		}
	}
	return all
}

// times returns a card with the prices of tokens multiplied.
func (c card) times(m multiplier) card {
	c.base = c.base.times(m)
	c.over = slices.Clone(c.over)
	for i := range c.over {
		c.over[i].rates = c.over[i].rates.times(m)
	}
	return c
}
