// Package metering computes the cost of calls from their usage.
//
// A [Tariff] finds the prices of a provider's models. Before a call under a budget, a
// [Quote] is the most that it can use, in tokens and in nano-USD, for any cap of its
// output. After a call, [Tariff.Bill] returns its actual usage.
package metering

import (
	"fmt"
	"time"

	"github.com/relayapi/caddy-relayapi/dialect"
	"github.com/relayapi/caddy-relayapi/price"
	"github.com/relayapi/caddy-relayapi/tokenstore"
)

// Tariff has the prices of one provider.
type Tariff struct {
	table *price.Table
	names []string
}

// NewTariff returns the prices that a table has under some names; the first name that
// has a model wins. The names are those of the provider and of its preset.
func NewTariff(table *price.Table, names ...string) *Tariff { return &Tariff{table, names} }

// find returns the price of a model. A gateway's name with a maker, such as
// "openai/gpt-5", is found only if the provider's own list has it.
func (t *Tariff) find(model string, at time.Time) (price.Price, bool) {
	for _, name := range t.names {
		if p, ok := t.table.Find(name, model, at); ok {
			return p, true
		}
	}
	return price.Price{}, false
}

// served returns the price and the listed name of the model that served a call. It is
// the model that the answer names, or else the requested one.
func (t *Tariff) served(answered, requested string, at time.Time) (price.Price, bool) {
	for _, model := range []string{answered, requested} {
		if p, ok := t.find(model, at); ok && model != "" {
			return p, true
		}
	}
	return price.Price{}, false
}

// Other is the name of all models without a price. Callers can make up any number of
// names, and each name takes a row in reports.
const Other = "other"

// Bill is the usage of a call and its cost.
type Bill struct {
	Model  string // listed name; [Other] if it has no price, empty if unknown
	Usage  tokenstore.Usage
	Tokens int64
	Priced bool // Usage.Cost is known
}

// Bill returns the bill of a call whose answer was read. If the answer names no model,
// the requested one sets the price. A cost in the answer takes precedence.
func (t *Tariff) Bill(r *dialect.Reading, requested string, at time.Time) Bill {
	b := Bill{Usage: usageOf(&r.Usage), Tokens: Tokens(&r.Usage)}
	listed, ok := t.served(r.Model, requested, at)
	switch {
	case ok:
		b.Model = listed.Model
	case r.Model != "" || requested != "":
		b.Model = Other
	}

	switch {
	case !r.Known:
	case r.HasCost:
		b.Usage.Cost, b.Priced = r.Cost, true
	case free(&r.Usage):
		b.Priced = true
	case ok:
		cost, err := inForms(price.Usage(r.Usage), func(u price.Usage) (int64, error) { return listed.Cost(u, r.Tier) })
		b.Usage.Cost, b.Priced = cost, err == nil
	}
	return b
}

// free reports whether the usage has nothing that a provider bills.
func free(u *dialect.Usage) bool {
	rest := *u
	rest.Requests = 0
	return rest == dialect.Usage{}
}

// Format returns an amount with its unit: "3 calls", "100 tokens", "$1.50".
func Format(unit tokenstore.Unit, n int64) string {
	if unit == tokenstore.UnitNanoUSD {
		return "$" + price.Format(n)
	}
	return fmt.Sprintf("%d %s", n, unit)
}

// Tokens returns the number of all tokens, cached or not.
func Tokens(u *dialect.Usage) int64 {
	return u.Input + u.CacheRead + u.CacheWrite + u.CacheWriteHour + u.Output +
		u.AudioInput + u.AudioCacheRead + u.AudioOutput + u.ImageInput + u.ImageCacheRead + u.ImageOutput
}

// usageOf returns usage for reports, which have one kind for the reads of all caches.
func usageOf(u *dialect.Usage) tokenstore.Usage {
	return tokenstore.Usage{
		Requests: u.Requests, Input: u.Input, CacheRead: u.CacheRead + u.AudioCacheRead + u.ImageCacheRead,
		CacheWrite: u.CacheWrite, CacheWriteHour: u.CacheWriteHour, Output: u.Output, Reasoning: u.Reasoning,
		AudioInput: u.AudioInput, AudioOutput: u.AudioOutput, ImageInput: u.ImageInput, ImageOutput: u.ImageOutput,
		Milliseconds: u.Milliseconds,
	}
}

// inForms tries the forms in which models bill, and returns the first cost that the
// model has prices for: by the whole usage, by tokens, by images, time or characters,
// or with audio and images as text. Answers and bounds contain all of them.
func inForms(u price.Usage, cost func(price.Usage) (int64, error)) (int64, error) {
	nano, err := cost(u)
	if err == nil {
		return nano, nil
	}

	byTokens := u
	byTokens.Images, byTokens.Milliseconds, byTokens.Characters = 0, 0, 0
	forms := []price.Usage{byTokens}
	if u.Images+u.Milliseconds+u.Characters > 0 {
		forms = append(forms, price.Usage{Requests: u.Requests, Images: u.Images, Milliseconds: u.Milliseconds, Characters: u.Characters, Searches: u.Searches})
	}
	asText := byTokens
	asText.Input += u.AudioInput + u.ImageInput
	asText.CacheRead += u.AudioCacheRead + u.ImageCacheRead
	asText.Output += u.AudioOutput + u.ImageOutput
	asText.AudioInput, asText.AudioCacheRead, asText.AudioOutput = 0, 0, 0
	asText.ImageInput, asText.ImageCacheRead, asText.ImageOutput = 0, 0, 0

	for _, form := range append(forms, asText) {
		if form == (price.Usage{Requests: u.Requests}) {
			continue // it would bill nothing
		}
		if nano, formErr := cost(form); formErr == nil {
			return nano, nil
		}
	}
	return 0, fmt.Errorf("pricing: %w", err)
}
