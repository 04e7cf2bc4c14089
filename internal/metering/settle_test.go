package metering

import (
	"net/http"
	"testing"
	"time"

	"github.com/relayapi/caddy-relayapi/dialect"
	"github.com/relayapi/caddy-relayapi/price"
	"github.com/relayapi/caddy-relayapi/tokenstore"
)

// newTariff has one model, at $1 for a million tokens of input and $2 of output.
func newTariff(t *testing.T) *Tariff {
	t.Helper()
	table, err := price.Default()
	if err != nil {
		t.Fatal(err)
	}
	table, err = table.With(price.Override{Provider: "demo", Model: "m", Prices: map[string]string{"input": "1", "output": "2"}})
	if err != nil {
		t.Fatal(err)
	}
	return NewTariff(table, "demo")
}

func TestTariff_Settle(t *testing.T) {
	tariff, now := newTariff(t), time.Now()
	quote, err := tariff.Quote(dialect.Bound{Usage: dialect.Usage{Input: 100}, Cap: dialect.Cap{Field: "max_tokens", Limit: 50, Times: 1}}, "m", true, now)
	if err != nil {
		t.Fatal(err)
	}
	reserved := Amounts{Tokens: 150, NanoUSD: 200_000}
	known := dialect.Reading{Usage: dialect.Usage{Input: 10, Output: 20}, Model: "m", Known: true, Done: true}
	broken, other, unknown := known, known, dialect.Reading{}
	broken.Done = false
	other.Model = "unpriced"
	long := known
	long.Output = 1000

	for name, tc := range map[string]struct {
		spent              Spent
		requested          string
		charged            Amounts
		cost               int64
		unmetered, overrun int64
	}{
		"no budget, no usage":          {spent: Spent{Status: 200}},
		"no budget":                    {spent: Spent{Status: 200, Reading: &known, Begun: true}, cost: 50_000},
		"no budget, unknown":           {spent: Spent{Status: 200, Reading: &unknown, Begun: true}, unmetered: 1},
		"refused":                      {spent: Spent{Status: 400, Quote: quote, Reserved: reserved, Dollars: true}},
		"no answer":                    {spent: Spent{Quote: quote, Reserved: reserved, Dollars: true}, unmetered: 1},
		"an answer without usage":      {spent: Spent{Status: 200, Quote: quote, Reserved: reserved, Dollars: true}, charged: reserved, cost: 200_000, unmetered: 1},
		"known":                        {spent: Spent{Status: 200, Reading: &known, Begun: true, Quote: quote, Reserved: reserved, Dollars: true}, charged: Amounts{30, 50_000}, cost: 50_000},
		"broken off":                   {spent: Spent{Status: 200, Reading: &broken, Begun: true, Quote: quote, Reserved: reserved, Dollars: true}, charged: reserved, cost: 200_000, unmetered: 1},
		"broken off before it began":   {spent: Spent{Status: 200, Reading: &unknown, Quote: quote, Reserved: reserved, Dollars: true}, charged: Amounts{100, 100_000}, cost: 100_000, unmetered: 1},
		"more than reserved":           {spent: Spent{Status: 200, Reading: &long, Begun: true, Quote: quote, Reserved: reserved, Dollars: true}, charged: Amounts{1010, 2_010_000}, cost: 2_010_000, overrun: 1_810_000},
		"a model without a price":      {spent: Spent{Status: 200, Reading: &other, Begun: true, Quote: quote, Reserved: reserved, Dollars: true}, charged: reserved, cost: 200_000},
		"the same, budget in tokens":   {spent: Spent{Status: 200, Reading: &other, Begun: true, Quote: quote, Reserved: Amounts{Tokens: 150}}, charged: Amounts{Tokens: 30}},
		"the same, requested a priced": {spent: Spent{Status: 200, Reading: &other, Begun: true, Quote: quote, Reserved: reserved, Dollars: true}, requested: "m", charged: Amounts{30, 50_000}, cost: 50_000},
	} {
		charged, bill := tariff.Settle(tc.spent, tc.requested, now)
		if charged != tc.charged {
			t.Errorf("%s: charged %+v, want %+v", name, charged, tc.charged)
		}
		u := bill.Usage
		if u.Calls != 1 || u.Cost != tc.cost || u.Unmetered != tc.unmetered || u.Overrun != tc.overrun {
			t.Errorf("%s: reported %d calls, cost %d, unmetered %d, overrun %d, want 1, %d, %d, %d",
				name, u.Calls, u.Cost, u.Unmetered, u.Overrun, tc.cost, tc.unmetered, tc.overrun)
		}
	}
}

func TestRemains_TellsTheLeast(t *testing.T) {
	var r Remains
	r.Note(tokenstore.UnitCalls, 5)
	r.Note(tokenstore.UnitCalls, 0)
	r.Note(tokenstore.UnitCalls, 7)
	r.Note(tokenstore.UnitNanoUSD, 1_500_000_000)
	header := http.Header{"X-Other": {"x"}}
	r.Set(header)
	for name, want := range map[string]string{
		"Relayapi-Remaining-Calls": "0", "Relayapi-Remaining-Tokens": "", "Relayapi-Remaining-Usd": "1.50",
	} {
		if got := header.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	header.Set(CappedHeader, "max_tokens=5")
	if StripHeader(header); len(header) != 1 || header.Get("X-Other") != "x" {
		t.Errorf("after stripping, the header is %v, want only X-Other", header)
	}
}
