package limits

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/relayapi/caddy-relayapi/tokenstore"
)

var (
	alice = NewHolder("i", "t", "alice")
	one   = tokenstore.Amounts{Calls: 1}
)

// limit returns a limit in calls.
func limit(scope tokenstore.Scope, per, id string, calls int64) tokenstore.Limit {
	return tokenstore.Limit{Scope: scope, Unit: tokenstore.UnitCalls, Per: per, ID: id, Amount: calls}
}

func TestRules_Charges_Windows(t *testing.T) {
	late := time.Date(2028, 2, 29, 23, 59, 59, 0, time.FixedZone("", -3600)) // already March in UTC
	for _, tc := range []struct {
		limit tokenstore.Limit
		want  string // counter, and the days on which the window begins and ends
	}{
		{limit("token", "day", "", 1), "token i/t 2028-03-01 2028-03-02"},
		{limit("subject", "day", "", 1), "subject i/alice 2028-03-01 2028-03-02"},
		{limit("issuer", "month", "", 1), "issuer i 2028-03-01 2028-04-01"},
		{limit("subject", "", "", 1), "subject i/alice 0001-01-01 0001-01-01"},
	} {
		charges, ends := New([]tokenstore.Limit{tc.limit}, tokenstore.LimitSet{}).Charges(&alice, one, late)
		c := charges[0].Counter
		if got := fmt.Sprint(c.Scope, " ", c.ID, " ", c.Window.Format(time.DateOnly), " ", ends.Format(time.DateOnly)); got != tc.want {
			t.Errorf("%+v counts %s, want %s", tc.limit, got, tc.want)
		}
		start, end := Bounds(c)
		if _, want := Window(tc.limit.Per, late); start != c.Window.Truncate(time.Minute) || end != want {
			t.Errorf("%+v is bounded by %v and %v, want %v and %v", tc.limit, start, end, c.Window.Truncate(time.Minute), want)
		}
	}
}

// On the first of a month, the day and the month are counted apart.
func TestRules_Charges_FirstOfAMonth(t *testing.T) {
	config := []tokenstore.Limit{limit("subject", "day", "", 1), limit("subject", "month", "", 9), limit("subject", "", "", 99)}
	charges, ends := New(config, tokenstore.LimitSet{}).Charges(&alice, one, time.Date(2028, 3, 1, 12, 0, 0, 0, time.UTC))
	counters := make(map[tokenstore.Counter]bool)
	for _, c := range charges {
		counters[c.Counter] = true
		for _, l := range config {
			if counts := Counts(l, c.Counter); counts != (l.Amount == c.Limit) {
				t.Errorf("a limit per %q of %d counts on the counter of %d: %t", l.Per, l.Amount, c.Limit, counts)
			}
		}
	}
	if len(counters) != len(config) || ends != time.Date(2028, 3, 2, 0, 0, 0, 0, time.UTC) {
		t.Errorf("%d limits have %d counters, and the first window ends at %v", len(config), len(counters), ends)
	}
}

func TestRules_PickTheLimitInForce(t *testing.T) {
	withOwn := alice
	withOwn.Own = []tokenstore.Limit{limit("subject", "", "", 3)}
	for name, tc := range map[string]struct {
		holder      Holder
		config, set []tokenstore.Limit
		want        []int64
	}{
		"none":                     {holder: alice},
		"config":                   {alice, []tokenstore.Limit{limit("subject", "", "", 5)}, nil, []int64{5}},
		"set for all":              {alice, []tokenstore.Limit{limit("subject", "", "", 5)}, []tokenstore.Limit{limit("subject", "", "", 7)}, []int64{7}},
		"set for one":              {alice, nil, []tokenstore.Limit{limit("subject", "", "", 7), limit("subject", "", "i/alice", 0)}, []int64{0}},
		"set for another":          {alice, []tokenstore.Limit{limit("subject", "", "", 5)}, []tokenstore.Limit{limit("subject", "", "i/bob", 0)}, []int64{5}},
		"other unit":               {alice, []tokenstore.Limit{{Scope: "subject", Unit: tokenstore.UnitTokens, Amount: 5}}, nil, nil},
		"own":                      {withOwn, nil, nil, []int64{3}},
		"own lower than the rule":  {withOwn, []tokenstore.Limit{limit("subject", "", "", 5)}, nil, []int64{3}},
		"own higher than the rule": {withOwn, []tokenstore.Limit{limit("subject", "", "", 2)}, nil, []int64{2}},
	} {
		rules := New(tc.config, tokenstore.LimitSet{Limits: tc.set})
		charges, _ := rules.Charges(&tc.holder, one, time.Now())
		var got []int64
		for _, c := range charges {
			got = append(got, c.Limit)
		}
		if !slices.Equal(got, tc.want) {
			t.Errorf("%s: the limits are %v, want %v", name, got, tc.want)
		}
		if limits := rules.Limit(&tc.holder, tokenstore.UnitCalls); limits != (len(tc.want) > 0) {
			t.Errorf("%s: calls are limited: %t, want %t", name, limits, len(tc.want) > 0)
		}
	}
}

func TestRules_InPlaceOf(t *testing.T) {
	rules := New([]tokenstore.Limit{limit("subject", "day", "", 5)}, tokenstore.LimitSet{})
	for name, tc := range map[string]struct {
		removed tokenstore.Limit
		want    int64 // 0 means none
	}{
		"for all":             {limit("subject", "day", "", 1), 5},
		"for the holder":      {limit("subject", "day", "i/alice", 1), 5},
		"for another":         {limit("subject", "day", "i/bob", 1), 0},
		"in another period":   {limit("subject", "month", "", 1), 0},
		"in another scope":    {limit("issuer", "day", "", 1), 0},
		"for another's token": {limit("token", "day", "i/other", 1), 0},
	} {
		var got int64
		if limit := rules.InPlaceOf(tc.removed, &alice); limit != nil {
			got = *limit
		}
		if got != tc.want {
			t.Errorf("a limit %s: in its place is %d, want %d", name, got, tc.want)
		}
	}
}

func TestDescribe(t *testing.T) {
	day := time.Date(2028, 3, 1, 0, 0, 1, 0, time.UTC)
	for _, tc := range []struct {
		limit   int64
		counter tokenstore.Counter
		want    string
	}{
		{2, tokenstore.Counter{Scope: "token", Unit: tokenstore.UnitCalls}, "all 2 calls are used"},
		{2, tokenstore.Counter{Scope: "subject", Unit: tokenstore.UnitCalls, Window: day}, "all 2 calls of the subject are used since 2028-03-01"},
		{0, tokenstore.Counter{Scope: "issuer", Unit: tokenstore.UnitCalls}, "the operator has put the issuer on hold"},
		{5, tokenstore.Counter{Scope: "token", Unit: tokenstore.UnitTokens}, "the budget of 5 tokens leaves too little for this call"},
		{1e9, tokenstore.Counter{Scope: "subject", Unit: tokenstore.UnitNanoUSD, Window: day}, "the budget of $1.00 of the subject since 2028-03-01 leaves too little for this call"},
	} {
		if got := Describe(&tokenstore.ExhaustedError{Counter: tc.counter, Limit: tc.limit}); got != tc.want {
			t.Errorf("Describe(%v of %d) = %q, want %q", tc.counter, tc.limit, got, tc.want)
		}
	}
}

func TestReader_ReadsEachCounterOnce(t *testing.T) {
	reads := make(map[string]int)
	rules := New([]tokenstore.Limit{limit("subject", "", "", 5)}, tokenstore.LimitSet{})
	reader := NewReader(rules, time.Now(), func(c tokenstore.Counter) (int64, error) {
		reads[c.ID]++
		return 2, nil
	})
	nine := int64(9)
	for range 2 {
		record := tokenstore.Record{Issuer: "i", ID: "t", Subject: "alice", CallsCounted: 4}
		if err := reader.Listed(&record, tokenstore.Limits{Calls: &nine}); err != nil {
			t.Fatal(err)
		}
		want := []tokenstore.LimitUse{
			{Scope: "token", Unit: tokenstore.UnitCalls, Amount: 9, Used: 4},
			{Scope: "subject", Unit: tokenstore.UnitCalls, Amount: 5, Used: 2},
		}
		if !slices.Equal(record.Limits, want) {
			t.Errorf("the limits are %v, want %v", record.Limits, want)
		}
	}
	if reads["i/alice"] != 1 || reads["i/t"] != 0 {
		t.Errorf("the counters were read %v times, want that of the subject once", reads)
	}
}

func TestReader_ReportsAnErrorOfTheStore(t *testing.T) {
	broken := errors.New("broken")
	reader := NewReader(New(nil, tokenstore.LimitSet{}), time.Now(), func(tokenstore.Counter) (int64, error) { return 0, broken })
	_, err := reader.InForce(&alice, tokenstore.Limits{Calls: new(int64)})
	if !errors.Is(err, broken) {
		t.Errorf("InForce returned %v, want %v", err, broken)
	}
}

// The limits of a login's user are listed once, beside the operator's.
func TestReader_InForce(t *testing.T) {
	rules := New([]tokenstore.Limit{
		{Scope: tokenstore.ScopeSubject, Unit: tokenstore.UnitCalls, Per: "day", Amount: 20},
		{Scope: tokenstore.ScopeIssuer, Unit: tokenstore.UnitTokens, Amount: 500},
	}, tokenstore.LimitSet{})
	h := NewHolder("users", "t", "alice")
	h.Own = []tokenstore.Limit{{Scope: tokenstore.ScopeSubject, Unit: tokenstore.UnitNanoUSD, Per: "month", Amount: 9}}
	r := NewReader(rules, time.Now(), func(tokenstore.Counter) (int64, error) { return 3, nil })

	two := int64(2)
	got, err := r.InForce(&h, tokenstore.Limits{Calls: &two})
	want := []tokenstore.LimitUse{
		{Scope: tokenstore.ScopeToken, Unit: tokenstore.UnitCalls, Amount: 2, Used: 3},
		{Scope: tokenstore.ScopeSubject, Unit: tokenstore.UnitCalls, Per: "day", Amount: 20, Used: 3},
		{Scope: tokenstore.ScopeIssuer, Unit: tokenstore.UnitTokens, Amount: 500, Used: 3},
		{Scope: tokenstore.ScopeSubject, Unit: tokenstore.UnitNanoUSD, Per: "month", Amount: 9, Used: 3},
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
}
