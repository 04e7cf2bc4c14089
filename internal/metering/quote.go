package metering

import (
	"fmt"
	"sort"
	"time"

	"github.com/relayapi/caddy-relayapi/dialect"
	"github.com/relayapi/caddy-relayapi/price"
)

const (
	// MinCap is the lowest cap of the output, in tokens, that the relay sets to fit a
	// call into its budget.
	MinCap = 16

	// DefaultCap is the cap of the output, in tokens, for a call under a budget without
	// a cap of its own. A client that wants more must set a cap.
	DefaultCap = 4096
)

// Amounts are amounts that a call uses or may use.
type Amounts struct{ Tokens, NanoUSD int64 }

// Quote is the most that a call can use.
type Quote struct {
	bound  dialect.Bound
	listed *price.Price // nil means that the budget is in tokens alone
}

// NoPrice is the error for a model without a price.
type NoPrice struct{ Model string }

func (e *NoPrice) Error() string {
	return fmt.Sprintf("model %.80q: no price is known, so a budget in dollars does not permit it; the operator can add a `price` line", e.Model)
}

// Quote returns the most that a bounded call can use. A budget in dollars needs a price:
// the error is [*NoPrice] or that of the price table.
func (t *Tariff) Quote(bound dialect.Bound, model string, dollars bool, at time.Time) (*Quote, error) {
	q := &Quote{bound: bound}
	if !dollars || free(&bound.Usage) && bound.Cap.Field == "" {
		return q, nil
	}
	listed, ok := t.find(model, at)
	if !ok || model == "" {
		return nil, &NoPrice{model}
	}
	q.listed = &listed
	_, err := q.Amounts(q.Wanted())
	return q, err
}

// Several reports whether the request asks for several answers in one. A nil Quote does
// not know.
func (q *Quote) Several() bool { return q != nil && q.bound.Cap.Times > 1 }

// Capped reports whether the output needs a cap.
func (q *Quote) Capped() bool { return q.bound.Cap.Field != "" }

// Wanted returns the cap that the request names, or else the default. It is 0 if the
// output needs none.
func (q *Quote) Wanted() int64 {
	switch {
	case !q.Capped():
		return 0
	case q.bound.Cap.Limit == 0:
		return DefaultCap
	}
	return q.bound.Cap.Limit
}

// Changed reports whether a cap differs from the request's, or must be written where
// the provider reads it.
func (q *Quote) Changed(limit int64) bool {
	return q.Capped() && (limit != q.bound.Cap.Limit || q.bound.Cap.Rewrite)
}

// Amounts returns the most that the call can use with a cap of its output.
func (q *Quote) Amounts(limit int64) (a Amounts, err error) {
	bound := q.bound
	if bound.Cap.Field != "" && limit > maxProduct/max(bound.Cap.Times, 1) {
		return a, fmt.Errorf("field %q: too large; lower it", bound.Cap.Field)
	}
	if limit > 0 && q.Changed(limit) {
		bound.Usage.Input += capSize
	}
	switch {
	case bound.Cap.Field == "":
	case bound.Cap.Speech:
		bound.Usage.AudioOutput = limit * bound.Cap.Times
	default:
		bound.Usage.Output = limit * bound.Cap.Times
	}

	a.Tokens = Tokens(&bound.Usage)
	if q.listed == nil {
		return a, nil
	}
	for _, u := range bound.Cases() {
		nano, err := inForms(price.Usage(u), func(u price.Usage) (int64, error) { return q.listed.Ceiling(u, bound.Tier) })
		if err != nil {
			return a, err
		}
		a.NanoUSD = max(a.NanoUSD, nano)
	}
	return a, nil
}

// capSize is the most that writing a cap adds to the input, in tokens.
const capSize = 64

// maxProduct bounds the tokens of all outputs of a call together.
const maxProduct = 1 << 52

// Fit returns the highest cap, up to limit, with which the call fits into what is left.
// It reports false if even [MinCap] does not fit, or if the output has no cap to lower.
func (q *Quote) Fit(limit int64, left Amounts) (fitting int64, ok bool) {
	least := min(MinCap, limit)
	if !q.Capped() || !q.within(least, left) {
		return 0, false
	}
	over := sort.Search(int(limit-least), func(i int) bool { return !q.within(least+1+int64(i), left) })
	return least + int64(over), true
}

func (q *Quote) within(limit int64, left Amounts) bool {
	a, err := q.Amounts(limit)
	return err == nil && a.Tokens <= left.Tokens && a.NanoUSD <= left.NanoUSD
}
