package price

import (
	"math"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestParse_IsExact(t *testing.T) {
	for s, want := range map[string]int64{
		"0": 0, "1": 1_000_000_000, "1.5": 1_500_000_000, "1.50": 1_500_000_000,
		"0.0375": 37_500_000, "0.000000001": 1, "123456.789012345": 123_456_789_012_345,
		"1000000000": 1_000_000_000_000_000_000,
	} {
		if got, err := Parse(s); err != nil || got != want {
			t.Errorf("Parse(%q) = %d, %v; want %d", s, got, err, want)
		}
	}
	for _, s := range []string{
		"", " 1", "1 ", "-1", "+1", "1e3", ".5", "1.", "01", "1,5", "$1", "0x1", "NaN", "1.0000000001", "1000000000.1", "9999999999", "1\n",
	} {
		if got, err := Parse(s); err == nil {
			t.Errorf("Parse(%q) = %d, want an error", s, got)
		}
	}
}

func TestFormat_IsReadByParse(t *testing.T) {
	for nano, want := range map[int64]string{
		0: "0.00", 1: "0.000000001", 280: "0.00000028", 1_500_000_000: "1.50", 10_000_000_000: "10.00",
		1_234_567_890: "1.23456789", -1_500_000_000: "-1.50", math.MaxInt64: "9223372036.854775807", math.MinInt64: "-9223372036.854775808",
	} {
		got := Format(nano)
		if got != want {
			t.Errorf("Format(%d) = %q, want %q", nano, got, want)
		}
		if nano < 0 || nano > maxDollars*dollar {
			continue
		}
		if back, err := Parse(got); err != nil || back != nano {
			t.Errorf("Parse(%q) = %d, %v; want %d", got, back, err, nano)
		}
	}
}

func TestPattern_Matches(t *testing.T) {
	for _, tc := range []struct {
		pattern, name string
		want          bool
	}{
		{"gpt-5", "gpt-5", true},
		{"gpt-5", "gpt-5-mini", false},
		{"gpt-5*", "gpt-5", true},
		{"gpt-5*", "gpt-5-mini", true},
		{"gpt-5*", "gpt-5.1", false},
		{"gpt-5*", "gpt-5-1", false},
		{"gpt-5*", "gpt-5-1-mini", false},
		{"gpt-5*", "gpt-5-2025-08-07", true},
		{"gpt-5*", "gpt-5-11", true},
		{"gpt-5*", "gpt-50", true},
		{"gpt-5-####-##-##", "gpt-5-2025-08-07", true},
		{"gpt-5-####-##-##", "gpt-5-2025-08-0x", false},
		{"gpt-5-####-##-##", "gpt-5-2025-08-07-x", false},
		{"*claude-opus-4-1*", "us.anthropic.claude-opus-4-1-20250805-v1:0", true},
		{"*claude-opus-4*", "us.anthropic.claude-opus-4-1-20250805-v1:0", false},
		{"*flash", "gemini-flash", true},
		{"*flash", "gemini-flash-8b", false},
		{"a*b", "ab", true},
		{"a*b", "axb", true},
		{"a*b", "a", false},
		{"a*a", "a", false},
		{"a*b*c", "a-b-c", true},
		{"a*b*c", "a-c-b", false},
		{"*", "anything", true},
		{"pro*!-tts", "pro-preview", true},
		{"pro*!-tts", "pro-preview-tts", false},
	} {
		if got := parsePattern(tc.pattern).match(tc.name); got != tc.want {
			t.Errorf("%q matches %q: %v, want %v", tc.pattern, tc.name, got, tc.want)
		}
	}
}

func TestTable_ParsesAllOfItself(t *testing.T) {
	table := defaultTable(t)
	if _, err := time.Parse(time.DateOnly, table.Date); err != nil {
		t.Errorf("date is %q: %v", table.Date, err)
	}

	listed := table.List(at)
	if len(listed) < 500 {
		t.Errorf("%d models are listed, want at least 500", len(listed))
	}
	for _, l := range listed {
		if len(l.Rates) == 0 || len(l.Names) == 0 || !strings.HasPrefix(l.Page, "https://") {
			t.Errorf("%s of %s has %d rates, names %q, page %q", l.Model, l.Provider, len(l.Rates), l.Names, l.Page)
		}
	}
}

// A step may make a call dearer and never cheaper, so that more usage costs no less.
func TestTable_LongContextIsNoCheaper(t *testing.T) {
	for name, p := range defaultTable(t).providers {
		for _, m := range p.models {
			for _, v := range m.variants {
				below := v.standard.base
				for _, step := range v.standard.over {
					for k := range below {
						if step.rates[k] < below[k] {
							t.Errorf("%s of %s: %s costs %d above %d, and %d below", m.id, name, units[k].name, step.rates[k], step.above, below[k])
						}
					}
					below = step.rates
				}
			}
		}
	}
}

func TestUsage_HasOneFieldForEachKind(t *testing.T) {
	usage := reflect.TypeFor[Usage]()
	if usage.NumField() != kinds {
		t.Fatalf("Usage has %d fields, want %d", usage.NumField(), kinds)
	}
	for k, u := range units {
		if common%u.size != 0 {
			t.Errorf("%d is not a multiple of the unit of %s, %d", common, u.name, u.size)
		}

		var one Usage
		reflect.ValueOf(&one).Elem().Field(k).SetInt(1)
		if kind(k) == reasoning {
			one.Output = 1
		}
		amounts, err := one.amounts()
		if err != nil || amounts[k] != 1 {
			t.Errorf("field %s is %d of kind %s, %v; want 1", usage.Field(k).Name, amounts[k], u.name, err)
		}
	}
}

func TestTable_With(t *testing.T) {
	base := defaultTable(t)
	table, err := base.With(
		Override{"openai", "gpt-5", map[string]string{"input": "1", "output": "2"}},
		Override{"openai", "acme-*", map[string]string{"input": "3", "cache_read": "0.0375"}},
		Override{"openai", "acme-large", map[string]string{"request": "4"}},
		Override{"local", "*", map[string]string{"input": "0", "output": "0"}},
		Override{"openai", "gpt-5.4", map[string]string{"input": "2", "output": "2"}},
	)
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		provider, model, tier string
		usage                 Usage
		want                  string
	}{
		"instead of the table's":  {"openai", "gpt-5", "", Usage{Input: 1_000_000, Output: 1_000_000}, "3.00"},
		"and of its dated names":  {"openai", "gpt-5-2025-08-07", "", Usage{Input: 1_000_000}, "1.00"},
		"with the tiers":          {"openai", "gpt-5", "flex", Usage{Input: 1_000_000}, "0.50"},
		"without the long prompt": {"openai", "gpt-5.4", "", Usage{Input: 1_000_000}, "2.00"},
		"by a pattern":            {"openai", "acme-small", "", Usage{CacheRead: 1_000_000}, "0.0375"},
		"the last one wins":       {"openai", "acme-large", "", Usage{Requests: 1000}, "4.00"},
		"of another provider":     {"local", "llama", "", Usage{Input: 5}, "0.00"},
		"all else is as before":   {"openai", "gpt-4o", "", Usage{Input: 1_000_000}, "2.50"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := find(t, table, tc.provider, tc.model, at).Cost(tc.usage, tc.tier)
			if err != nil || Format(got) != tc.want {
				t.Errorf("cost is %s, %v; want %s", Format(got), err, tc.want)
			}
		})
	}
	if _, ok := base.Find("local", "llama", at); ok {
		t.Error("the table that was extended has changed")
	}
	if p := find(t, base, "openai", "gpt-5", at); p.now.standard.base[input] != 1_250_000_000 {
		t.Errorf("the price that was replaced has changed to %d", p.now.standard.base[input])
	}
}

func TestTable_WithRefuses(t *testing.T) {
	one := map[string]string{"input": "1"}
	for name, tc := range map[string]struct {
		override Override
		want     string
	}{
		"no provider":          {Override{"", "m", one}, "provider is missing"},
		"no model":             {Override{"openai", "", one}, "model is missing"},
		"no prices":            {Override{"openai", "m", nil}, "no prices; give at least one of request, input, cache_read"},
		"an unknown kind":      {Override{"openai", "m", map[string]string{"inputs": "1"}}, "inputs: unknown kind of price: must be one of request, input"},
		"a negative price":     {Override{"openai", "m", map[string]string{"output": "-1"}}, `output: amount "-1": not a decimal number`},
		"a currency":           {Override{"openai", "m", map[string]string{"output": "$1"}}, `output: amount "$1"`},
		"too many decimals":    {Override{"openai", "m", map[string]string{"output": "0.0000000001"}}, "at most 9 decimals"},
		"more than a million":  {Override{"openai", "m", map[string]string{"output": "1000001"}}, "output: price 1000001: more than 1000000.00"},
		"a name with a space":  {Override{"openai", "a b", one}, "model must be a name or a pattern"},
		"a name without bound": {Override{"openai", strings.Repeat("a", 257), one}, "model must be"},
		"an exclusion":         {Override{"openai", "a*!b", one}, "model must be"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := defaultTable(t).With(tc.override)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error is %v, want one with %q", err, tc.want)
			}
		})
	}
}

func TestParseTable_Refuses(t *testing.T) {
	model := func(rest string) string {
		return `{"providers":{"p":{"models":[{"id":"m","names":["m"],"prices":[` + rest + `]}]}}}`
	}
	for name, tc := range map[string]struct{ table, overrides, want string }{
		"not JSON":               {`{`, `{}`, "parsing price table"},
		"an unknown member":      {`{"provider":{}}`, `{}`, "unknown field"},
		"an unknown kind":        {model(`{"inputs":"1"}`), `{}`, "inputs: unknown kind"},
		"a number":               {model(`{"input":1}`), `{}`, "input:"},
		"a date that is none":    {model(`{"from":"2026-13-01","input":"1"}`), `{}`, `from "2026-13-01": not a date`},
		"hours that are none":    {model(`{"hours":"1-2","input":"1"}`), `{}`, `hours "1-2"`},
		"a patch of nothing":     {model(`{"input":"1"}`), `{"providers":{"p":{"patches":[{"ids":["x"],"set":{"input":"1"}}]}}}`, "patch of x: no such model"},
		"a patch of a bad value": {model(`{"input":"1"}`), `{"providers":{"p":{"patches":[{"ids":["m"],"set":{"output":"input*x"}}]}}}`, `output "input*x"`},
		"a patch of no kind":     {model(`{"input":"1"}`), `{"providers":{"p":{"patches":[{"ids":["m"],"set":{"output":"inputs*2"}}]}}}`, `output "inputs*2"`},
		"a tier that is none":    {model(`{"input":"1"}`), `{"providers":{"p":{"tiers":{"flex":"half"}}}}`, "service tier flex"},
		"a tier divided by zero": {model(`{"input":"1"}`), `{"providers":{"p":{"tiers":{"flex":"1/0"}}}}`, "service tier flex"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parse([]byte(tc.table), []byte(tc.overrides))
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error is %v, want one with %q", err, tc.want)
			}
		})
	}
}

func TestNotice_NamesTheTable(t *testing.T) {
	notice, err := os.ReadFile("../NOTICE")
	if err != nil {
		t.Fatal(err)
	}
	if source := defaultTable(t).Source; !strings.Contains(string(notice), source) {
		t.Errorf("NOTICE does not name %s", source)
	}
}
