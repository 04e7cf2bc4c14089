package adminapi

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/relayapi/caddy-relayapi/grant"
	"github.com/relayapi/caddy-relayapi/tokenstore"
)

func TestQuantity_KeepsItsUnit(t *testing.T) {
	for _, tc := range []struct {
		unit       tokenstore.Unit
		n          int64
		json, text string
	}{
		{tokenstore.UnitCalls, 20, `20`, "20"},
		{tokenstore.UnitTokens, 0, `0`, "0"},
		{tokenstore.UnitNanoUSD, 5_000_000_000, `"5.00"`, "$5.00"},
		{tokenstore.UnitNanoUSD, 1, `"0.000000001"`, "$0.000000001"},
		{tokenstore.UnitNanoUSD, 0, `"0.00"`, "$0.00"},
	} {
		q := quantity(tc.unit, tc.n)
		data, err := json.Marshal(q)
		if string(data) != tc.json || q.String() != tc.text || err != nil {
			t.Errorf("%d %s is %s and %q, %v, want %s and %q", tc.n, tc.unit, data, q, err, tc.json, tc.text)
		}
		var back Quantity
		if err := json.Unmarshal(data, &back); err != nil || back != q {
			t.Errorf("%s is read as %+v, %v, want %+v", data, back, err, q)
		}
	}
}

func TestParseLimit_Amounts(t *testing.T) {
	for body, want := range map[string]string{
		`"calls":20`:              "20 calls",
		`"tokens":0`:              "0 tokens",
		`"usd":"0"`:               "0 nanousd",
		`"usd":"0.25"`:            "250000000 nanousd",
		`"usd":"1000000"`:         "1000000000000000 nanousd",
		`"usd":"1000000.01"`:      "usd must be",
		`"usd":0.25`:              "usd must be",
		`"usd":null`:              "usd must not be null",
		`"calls":1,"tokens":1`:    "one of calls, tokens and usd",
		`"per":"day"`:             "one of calls, tokens and usd",
		`"calls":"1"`:             "calls must be a whole number",
		`"tokens":1e99`:           "tokens must be a whole number",
		`"usd":"1","calls":false`: "calls must be a whole number",
	} {
		limit, err := ParseLimit([]byte(`{"scope":"issuer",` + body + `}`))
		got := fmt.Sprintf("%d %s", limit.Amount, limit.Unit)
		if err != nil {
			got = err.Error()
		}
		if got != want && (err == nil || !strings.Contains(got, want)) {
			t.Errorf("%s is %q, want %q", body, got, want)
		}
	}
}

func TestParseChange_Limits(t *testing.T) {
	c, err := ParseChange([]byte(`{"calls_limit":null,"tokens_limit":7,"usd_limit":"1.5"}`))
	calls, has := c.Limits[tokenstore.UnitCalls]
	if err != nil || !has || calls != nil || *c.Limits[tokenstore.UnitTokens] != 7 || *c.Limits[tokenstore.UnitNanoUSD] != 1_500_000_000 {
		t.Errorf("got %v, %v", c.Limits, err)
	}
	if c, err := ParseChange([]byte(`{"label":"x"}`)); err != nil || len(c.Limits) > 0 {
		t.Errorf("a label changes the limits %v, %v", c.Limits, err)
	}
}

func TestParseUsage(t *testing.T) {
	const columns = "[day provider issuer subject]"
	for query, want := range map[string]string{
		"":                                  columns,
		"by=model,day":                      "[day model]",
		"by=token":                          "[issuer token]",
		"by=day,day":                        "[day]",
		"token=t1":                          columns + " relay t1",
		"token=shop/t1":                     columns + " shop t1",
		"token=t1&issuer=shop":              columns + " shop t1",
		"token=shop/t1&issuer=shop":         columns + " shop t1",
		"token=shop/t1&issuer=relay":        "differs from issuer",
		"token=":                            "a token is named",
		"by=Day":                            "by must be",
		"by=day,%20model":                   "by must be",
		"by=day&by=model":                   "given twice",
		"modle=x":                           "unknown query parameter",
		"from=2026-02-01&to=2026-01-31":     "to is before from",
		"by=day&from=2026-01-31T00:00:00Z":  "from must be a day",
		"by=subject&model=gpt-5&subject=al": "[subject] gpt-5 al",
	} {
		f, err := ParseUsage(query)
		got := strings.Join(strings.Fields(fmt.Sprint(f.By, " ", f.Model, " ", f.Issuer, " ", f.Subject, " ", f.Token)), " ")
		if err != nil {
			got = err.Error()
		}
		if got != want && (err == nil || !strings.Contains(got, want)) {
			t.Errorf("%q is %q, want %q", query, got, want)
		}
	}
}

// fill sets every field that a pointer leads to.
func fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem())
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			v.Set(reflect.ValueOf(time.Date(2026, 11, 29, 0, 0, 0, 0, time.UTC)))
			return
		}
		for i := range v.NumField() {
			fill(v.Field(i))
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0))
	case reflect.String:
		v.SetString("nanousd") // also as a unit
	default:
		v.SetInt(1_500_000_000)
	}
}

// Clients see all that the ledger holds of a token, and no nano-USD.
func TestNewRecord_LosesNothing(t *testing.T) {
	var record tokenstore.Record
	fill(reflect.ValueOf(&record).Elem())
	ends := time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)
	members := func(v any) map[string]any {
		data, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		all := make(map[string]any)
		if err := json.Unmarshal(data, &all); err != nil {
			t.Fatal(err)
		}
		return all
	}
	shown := members(NewRecord(&record, func(string) time.Time { return ends }))
	compare := func(kept, shown map[string]any) {
		t.Helper()
		for name, value := range kept {
			want := value
			if dollars := strings.Replace(name, "nanousd", "usd", 1); dollars != name {
				name, want = dollars, "1.50"
			}
			if got := shown[name]; name != "limits" && name != "usage" && !reflect.DeepEqual(got, want) {
				t.Errorf("%s is shown as %v, want %v", name, got, want)
			}
		}
		for name := range shown {
			if strings.Contains(name, "nanousd") {
				t.Errorf("%s is shown", name)
			}
		}
	}
	compare(members(record), shown)
	compare(members(record.Usage), shown["usage"].(map[string]any))
	limit := shown["limits"].([]any)[0].(map[string]any)
	if limit["unit"] != "usd" || limit["amount"] != "1.50" || limit["left"] != "0.00" || limit["ends"] != "2026-12-01T00:00:00Z" {
		t.Errorf("a limit is shown as %v", limit)
	}
}

func TestOwnLimits(t *testing.T) {
	n := func(n int64) *int64 { return &n }
	usd := grant.USD(9)
	issuer := grant.Limits{Calls: n(7), USD: &usd}
	for name, tc := range map[string]struct {
		record tokenstore.Record
		want   string
	}{
		"claims":            {tokenstore.Record{ClaimedCalls: n(1), ClaimedTokens: 2, ClaimedNanoUSD: 3}, "1 2 3"},
		"none in claims":    {tokenstore.Record{ClaimedCalls: n(0)}, "7 - 9"},
		"claims not kept":   {tokenstore.Record{}, "- - 9"},
		"overrides":         {tokenstore.Record{ClaimedCalls: n(1), CallsLimit: n(0), TokensLimit: n(5), NanoUSDLimit: n(6)}, "0 5 6"},
		"override not kept": {tokenstore.Record{CallsLimit: n(4)}, "4 - 9"},
	} {
		own := OwnLimits(&tc.record, issuer)
		var got []string
		for _, u := range tokenstore.Units {
			if limit := own.Of(u); limit != nil {
				got = append(got, fmt.Sprint(*limit))
			} else {
				got = append(got, "-")
			}
		}
		if s := strings.Join(got, " "); s != tc.want {
			t.Errorf("%s: the limits are %s, want %s", name, s, tc.want)
		}
	}
}
