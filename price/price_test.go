package price

import (
	"math"
	"strings"
	"testing"
	"time"
)

// at is a time at which all prices of the tests apply: outside of DeepSeek's peak
// hours, and after every date in the table but that of a future increase.
var at = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

func defaultTable(t testing.TB) *Table {
	t.Helper()
	table, err := Default()
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func find(t testing.TB, table *Table, provider, model string, at time.Time) Price {
	t.Helper()
	p, ok := table.Find(provider, model, at)
	if !ok {
		t.Fatalf("no price for %s of %s", model, provider)
	}
	return p
}

// Expected costs are computed by hand from list prices, not by this package.
func TestPrice_CostsWhatProvidersBill(t *testing.T) {
	const million = 1_000_000
	for name, tc := range map[string]struct {
		provider, model, tier string
		usage                 Usage
		want                  string
	}{
		"gpt-5":                       {"openai", "gpt-5", "", Usage{Input: 1000, CacheRead: 2000, Output: 500, Reasoning: 400}, "0.0065"}, // .00125 + .00025 + .005
		"gpt-5, dated":                {"openai", "gpt-5-2025-08-07", "default", Usage{Input: million}, "1.25"},
		"gpt-5 at priority":           {"openai", "gpt-5", "priority", Usage{Input: million, CacheRead: million, Output: million}, "22.75"}, // 2.5 + .25 + 20
		"gpt-5 at flex":               {"openai", "gpt-5", "flex", Usage{Input: million, CacheRead: million, Output: million}, "5.6875"},    // half of 11.375
		"gpt-5 in a batch":            {"openai", "gpt-5", "batch", Usage{Output: million}, "5.00"},
		"gpt-5-mini at priority":      {"openai", "gpt-5-mini", "priority", Usage{Input: million, CacheRead: million, Output: million}, "4.095"}, // .45 + .045 + 3.6
		"gpt-5-nano":                  {"openai", "gpt-5-nano", "", Usage{Input: 1}, "0.00000005"},
		"gpt-5.4 up to 272k":          {"openai", "gpt-5.4", "", Usage{Input: 271_999, Output: 1000}, "0.6949975"},
		"gpt-5.4 from 272k":           {"openai", "gpt-5.4", "", Usage{Input: 200_000, CacheRead: 72_000, Output: 1000}, "1.0585"}, // 1 + .036 + .0225
		"gpt-5.5 at priority":         {"openai", "gpt-5.5", "priority", Usage{Input: million / 10, Output: 1000}, "1.325"},        // 1.25 + .075
		"gpt-4o":                      {"openai", "gpt-4o", "", Usage{Input: 1000, CacheRead: 1000, Output: 1000}, "0.01375"},
		"gpt-4o with images":          {"openai", "gpt-4o", "", Usage{ImageInput: 1000}, "0.0025"},
		"gpt-4o, first snapshot":      {"openai", "gpt-4o-2024-05-13", "", Usage{Input: million, Output: million}, "20.00"},
		"gpt-4o, fine-tuned":          {"openai", "ft:gpt-4o-2024-08-06:acme::abc123", "", Usage{Input: million, CacheRead: million, Output: million}, "20.625"},
		"gpt-4o-mini":                 {"openai", "gpt-4o-mini", "", Usage{Input: 7, CacheRead: 15, Output: 4}, "0.000004575"}, // 1.05 + 1.125 + 2.4 µ
		"gpt-4o-mini at priority":     {"openai", "gpt-4o-mini", "priority", Usage{Input: million, CacheRead: million, Output: million}, "1.375"},
		"gpt-4o-mini, fine-tuned":     {"openai", "ft:gpt-4o-mini-2024-07-18:acme::abc123", "", Usage{Input: million}, "0.30"},
		"gpt-4.1-mini, fine-tuned":    {"openai", "ft:gpt-4.1-mini-2025-04-14:acme::abc123", "", Usage{Input: million, Output: million}, "4.00"},
		"o1":                          {"openai", "o1", "", Usage{Input: 1000, Output: 1000, Reasoning: 900}, "0.075"},
		"o3":                          {"openai", "o3", "", Usage{Input: 1000, CacheRead: 1000, Output: 1000}, "0.0105"},
		"o4-mini":                     {"openai", "o4-mini-2025-04-16", "", Usage{Input: 1000, CacheRead: 1000, Output: 1000}, "0.005775"},
		"o1-pro has no cached price":  {"openai", "o1-pro", "", Usage{CacheRead: 1000}, "0.15"},
		"gpt-realtime":                {"openai", "gpt-realtime", "", Usage{Input: 100, AudioInput: 200, AudioCacheRead: 800, AudioOutput: 50, Output: 10}, "0.01048"}, // .0004 + .0064 + .00032 + .0032 + .00016
		"whisper, two minutes":        {"openai", "whisper-1", "", Usage{Milliseconds: 120_000}, "0.012"},
		"tts-1":                       {"openai", "tts-1", "", Usage{Characters: 4096}, "0.06144"},
		"gpt-image-1":                 {"openai", "gpt-image-1", "", Usage{Input: 100, ImageInput: 200, ImageOutput: 1000}, "0.0425"}, // .0005 + .002 + .04
		"text-embedding-3-small":      {"openai", "text-embedding-3-small", "", Usage{Input: 1}, "0.00000002"},
		"text-embedding-3-large":      {"openai", "text-embedding-3-large", "", Usage{Input: 1000}, "0.00013"},
		"ada-002":                     {"openai", "text-embedding-ada-002", "", Usage{Input: 1000}, "0.0001"},
		"web searches":                {"openai", "gpt-5", "", Usage{Searches: 3}, "0.03"},
		"moderation is free":          {"openai", "omni-moderation-latest", "", Usage{Input: 1000}, "0.00"},
		"azure":                       {"azure-openai", "gpt-4o", "", Usage{Input: million}, "2.50"},
		"claude-sonnet-4-5":           {"anthropic", "claude-sonnet-4-5-20250929", "standard", Usage{Input: 9, CacheRead: 5, CacheWrite: 2, Output: 16}, "0.000276"}, // 27 + 1.5 + 7.5 + 240 µ
		"claude-sonnet-4-5 over 200k": {"anthropic", "claude-sonnet-4-5", "", Usage{Input: 1, CacheRead: 200_000, Output: 1000}, "0.142506"},                         // .000006 + .12 + .0225
		"claude-opus-4-1":             {"anthropic", "claude-opus-4-1", "", Usage{Input: 1000, CacheWrite: 1000, CacheWriteHour: 1000, CacheRead: 1000, Output: 1000}, "0.14025"},
		"claude-haiku-4-5":            {"anthropic", "claude-haiku-4-5-20251001", "batch", Usage{Input: 1000, Output: 1000}, "0.003"},
		"claude in the US only":       {"anthropic", "claude-opus-4-8", "us", Usage{Input: 1000, Output: 1000}, "0.033"}, // 1.1 times
		"claude-opus-4-8, fast":       {"anthropic", "claude-opus-4-8", "fast", Usage{Input: 1000, Output: 1000}, "0.06"},
		"claude with web searches":    {"anthropic", "claude-haiku-4-5", "", Usage{Input: 1000, Searches: 2}, "0.021"},
		"claude on bedrock":           {"bedrock", "anthropic.claude-3-haiku-20240307-v1:0", "", Usage{Input: 1000, Output: 1000}, "0.0015"},
		"gemini-2.5-flash":            {"gemini", "models/gemini-2.5-flash", "", Usage{Input: 1000, CacheRead: 1000, AudioInput: 1000, ImageInput: 1000, Output: 1000, Reasoning: 500}, "0.00413"}, // .3 + .03 + 1 + .3 + 2.5 m
		"gemini-2.5-flash-lite":       {"gemini", "gemini-2.5-flash-lite", "", Usage{Input: 1000, Output: 1000}, "0.0005"},
		"gemini-2.5-pro up to 200k":   {"gemini", "gemini-2.5-pro", "", Usage{Input: 200_000, Output: 1000}, "0.26"},
		"gemini-2.5-pro over 200k":    {"gemini", "gemini-2.5-pro", "", Usage{Input: 200_001, Output: 1000}, "0.5150025"},
		"gemini-3-pro":                {"gemini", "gemini-3-pro-preview", "", Usage{Input: 1000, CacheRead: 1000, Output: 1000}, "0.0142"},
		"gemini-3-pro-image":          {"gemini", "gemini-3-pro-image-preview", "", Usage{Input: 100, ImageOutput: 1120}, "0.1346"},
		"gemini-3-flash at flex":      {"gemini", "gemini-3-flash-preview", "flex", Usage{Input: 1000, Output: 1000}, "0.00175"},
		"gemini-embedding":            {"gemini", "gemini-embedding-001", "", Usage{Input: 1000}, "0.00015"},
		"deepseek-flash":              {"deepseek", "deepseek-flash", "", Usage{Input: 1000, CacheRead: 1000, Output: 1000}, "0.000753"},
		"deepseek-v4-pro":             {"deepseek", "deepseek-v4-pro", "", Usage{Input: 1000, CacheRead: 1000, Output: 1000}, "0.002662"},
		"mistral codestral":           {"mistral", "codestral-2508", "", Usage{Input: 1000, CacheRead: 1000, Output: 1000}, "0.00123"},
		"mistral ministral":           {"mistral", "ministral-8b-2512", "", Usage{Input: 1000, Output: 1000}, "0.0003"},
		"groq whisper":                {"groq", "whisper-large-v3-turbo", "", Usage{Milliseconds: 90_000}, "0.001"},
		"nothing":                     {"openai", "gpt-5", "", Usage{Requests: 1}, "0.00"},
	} {
		t.Run(name, func(t *testing.T) {
			p := find(t, defaultTable(t), tc.provider, tc.model, at)
			got, err := p.Cost(tc.usage, tc.tier)
			if err != nil || Format(got) != tc.want {
				t.Errorf("cost is %s, %v; want %s", Format(got), err, tc.want)
			}
		})
	}
}

func TestTable_FindsWhatProvidersDocument(t *testing.T) {
	for name, tc := range map[string]struct{ provider, model, want string }{
		"exact":                           {"openai", "gpt-5-mini", "gpt-5-mini"},
		"listed snapshot":                 {"openai", "gpt-5-mini-2025-08-07", "gpt-5-mini"},
		"snapshot of a later day":         {"openai", "gpt-5-mini-2027-01-31", "gpt-5-mini"},
		"snapshot of an unknown model":    {"openai", "gpt-9-2027-01-31", ""},
		"any case":                        {"openai", "GPT-5-Mini", "gpt-5-mini"},
		"alias":                           {"anthropic", "claude-haiku-4-5", "claude-haiku-4-5"},
		"dated":                           {"anthropic", "claude-haiku-4-5-20251001", "claude-haiku-4-5"},
		"the next version":                {"anthropic", "claude-haiku-4-5-5", ""},
		"the next version, dated":         {"anthropic", "claude-sonnet-5-5-20270101", ""},
		"another model":                   {"anthropic", "claude-opus-12", ""},
		"fine-tuned":                      {"openai", "ft:gpt-4.1-nano-2025-04-14:acme:bot:abc", "ft:gpt-4.1-nano"},
		"fine-tuned, unknown base":        {"openai", "ft:gpt-9-2027-01-01:acme::abc", ""},
		"gemini with its collection":      {"gemini", "models/gemini-2.5-pro", "gemini-2.5-pro"},
		"speech of a model is another":    {"gemini", "gemini-2.5-pro-preview-tts", "gemini-2.5-pro-tts"},
		"speech that is not listed":       {"gemini", "gemini-2.5-pro-preview-tts-2", ""},
		"inference profile's ARN":         {"bedrock", "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-opus-4-1-20250805-v1:0", "regional.anthropic.claude-opus-4-1-20250805-v1:0"},
		"azure has what openai has":       {"azure-openai", "gpt-5", "gpt-5"},
		"no such model":                   {"openai", "no-such-model", ""},
		"no such provider":                {"nowhere", "gpt-5", ""},
		"model of another provider":       {"anthropic", "gpt-5", ""},
		"no model":                        {"openai", "", ""},
		"a pattern is not a name":         {"openai", "*", ""},
		"a name that is far too long":     {"gemini", "gemini-2.5-pro" + strings.Repeat("x", 300), ""},
		"a model with kinds not supplied": {"mistral", "mistral-ocr-latest", ""},
	} {
		t.Run(name, func(t *testing.T) {
			p, ok := defaultTable(t).Find(tc.provider, tc.model, at)
			if p.Model != tc.want || ok != (tc.want != "") {
				t.Errorf("%s has the price of %q, %v; want that of %q", tc.model, p.Model, ok, tc.want)
			}
		})
	}
}

func TestPrice_FollowsDatesAndHours(t *testing.T) {
	day := func(s string) time.Time {
		d, err := time.Parse(time.DateTime, s)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	for name, tc := range map[string]struct {
		provider, model string
		at              time.Time
		cost, ceiling   string // of a million tokens of input
	}{
		"before a cut":            {"openai", "o3", day("2025-06-09 23:59:59"), "10.00", "25.00"}, // priority: 2.5 times
		"from a cut on":           {"openai", "o3", day("2025-06-10 00:00:00"), "2.00", "5.00"},
		"off-peak":                {"deepseek", "deepseek-v4-flash", day("2026-11-20 00:59:59"), "0.15", "0.30"},
		"peak begins":             {"deepseek", "deepseek-v4-flash", day("2026-11-20 01:00:00"), "0.30", "0.30"},
		"peak ends":               {"deepseek", "deepseek-v4-flash", day("2026-11-20 04:00:00"), "0.15", "0.30"},
		"second peak":             {"deepseek", "deepseek-v4-flash", day("2026-11-20 09:59:59"), "0.30", "0.30"},
		"before an increase":      {"gemini", "gemini-3.6-flash", day("2026-12-30 23:00:00"), "0.75", "1.50"}, // priority: twice
		"a day before one":        {"gemini", "gemini-3.6-flash", day("2026-12-31 01:00:00"), "0.75", "3.00"},
		"from the increase on":    {"gemini", "gemini-3.6-flash", day("2027-01-01 00:00:00"), "1.50", "3.00"},
		"the long context is out": {"anthropic", "claude-sonnet-4-6", day("2026-03-13 00:00:00"), "3.00", "6.60"}, // an hour-long cache, in the US only
	} {
		t.Run(name, func(t *testing.T) {
			p := find(t, defaultTable(t), tc.provider, tc.model, tc.at)
			u := Usage{Input: 1_000_000}
			cost, err := p.Cost(u, "")
			if err != nil || Format(cost) != tc.cost {
				t.Errorf("cost is %s, %v; want %s", Format(cost), err, tc.cost)
			}
			ceiling, err := p.Ceiling(u, "")
			if err != nil || Format(ceiling) != tc.ceiling {
				t.Errorf("ceiling is %s, %v; want %s", Format(ceiling), err, tc.ceiling)
			}
		})
	}
}

// testTable has prices of the tests' own.
const testTable = `{"source": "test", "version": "1", "date": "2026-01-01", "providers": {"p": {"page": "https://p.example",
	"tiers": {"flex": "0.5"},
	"models": [
		{"id": "writer", "names": ["writer"], "prices": [{"input": "5", "cache_read": "0.5", "cache_write": "6.25", "cache_write_1h": "10", "output": "25"}]},
		{"id": "long", "names": ["long"], "prices": [{"input": "2.5", "cache_read": "0.25", "output": "15", "over": [{"above": 272000, "input": "5", "output": "22.5"}]}]},
		{"id": "voice", "names": ["voice"], "prices": [{"input": "4", "audio_input": "32", "audio_cache_read": "0.4", "audio_output": "64"}]},
		{"id": "hearing", "names": ["hearing"], "prices": [{"hour": "0.36"}]},
		{"id": "thinker", "names": ["thinker"], "prices": [{"input": "2", "output": "8", "reasoning": "3"}]},
		{"id": "vector", "names": ["vector"], "prices": [{"input": "0.02"}]},
		{"id": "thin", "names": ["thin"], "prices": [{"input": "0.0028", "output": "0.003625"}]},
		{"id": "painter", "names": ["painter"], "prices": [{"image": "0.04", "request": "5"}]},
		{"id": "dear", "names": ["dear"], "prices": [{"input": "1000000"}]}
	]}}}`

func parsedTable(t testing.TB) *Table {
	t.Helper()
	table, err := parse([]byte(testTable), []byte(`{}`))
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// What a call may cost at most is its usage as the dearest kind of each modality, in
// the dearest context tier. What such calls do cost is in the root's cases of metering.
func TestPrice_CeilingIsTheDearestKind(t *testing.T) {
	for name, tc := range map[string]struct {
		model string
		usage Usage
		want  string
	}{
		"nothing":                   {"writer", Usage{Requests: 1}, "0.00"},
		"cache writes of two kinds": {"writer", Usage{CacheWrite: 600_000, CacheWriteHour: 400_000}, "10.00"},
		"a prompt beyond 272 000":   {"long", Usage{Input: 300_000, Output: 1000}, "1.5225"},
		"a prompt of 272 000":       {"long", Usage{Input: 272_000, Output: 1000}, "0.695"},
		"audio, most of it cached":  {"voice", Usage{AudioInput: 200, AudioCacheRead: 800}, "0.032"},
		"the cheapest call":         {"thin", Usage{Input: 1}, "0.000000003"},
	} {
		p := find(t, parsedTable(t), "p", tc.model, at)
		if got, err := p.Ceiling(tc.usage, ""); err != nil || Format(got) != tc.want {
			t.Errorf("%s: ceiling is %s, %v; want %s", name, Format(got), err, tc.want)
		}
	}
}

func TestPrice_Rounds(t *testing.T) {
	for name, tc := range map[string]struct {
		model, tier string
		usage       Usage
		want        int64
	}{
		"a fraction is rounded up":  {"thin", "", Usage{Output: 1}, 4}, // 3.625
		"the sum is, not each part": {"thin", "", Usage{Output: 2}, 8}, // 7.25
		"exact stays exact":         {"thin", "", Usage{Input: 5}, 14}, // 14.0
		"parts of a millisecond's":  {"hearing", "", Usage{Milliseconds: 1}, 100},
		"half the price of a token": {"vector", "flex", Usage{Input: 1}, 10},
		"half of a fraction":        {"thin", "flex", Usage{Input: 1}, 2}, // 1.4
		"requests are not halved":   {"painter", "flex", Usage{Requests: 1, Images: 1}, 45_000_000},
		"reasoning has its own":     {"thinker", "", Usage{Output: 10, Reasoning: 4}, 60_000},
		"zero":                      {"thin", "", Usage{}, 0},
		"the most that is possible": {"dear", "", Usage{Input: 9_223_372_036}, 9_223_372_036_000_000_000},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := find(t, parsedTable(t), "p", tc.model, at).Cost(tc.usage, tc.tier)
			if err != nil || got != tc.want {
				t.Errorf("cost is %d, %v; want %d", got, err, tc.want)
			}
		})
	}
}

func TestPrice_RefusesWhatItCannotPrice(t *testing.T) {
	for name, tc := range map[string]struct {
		model, tier string
		usage       Usage
		want        string
	}{
		"output of an embedding":  {"vector", "", Usage{Output: 1}, "model vector of p: no price for output"},
		"reasoning of one":        {"vector", "", Usage{Output: 1, Reasoning: 1}, "no price for reasoning"},
		"cache writes":            {"long", "", Usage{CacheWrite: 1}, "no price for cache_write"},
		"hour-long cache writes":  {"long", "", Usage{CacheWriteHour: 1}, "no price for cache_write_1h"},
		"audio":                   {"writer", "", Usage{AudioInput: 1}, "no price for audio_input"},
		"cached audio":            {"writer", "", Usage{AudioCacheRead: 1}, "no price for audio_cache_read"},
		"audio output":            {"writer", "", Usage{AudioOutput: 1}, "no price for audio_output"},
		"images read":             {"writer", "", Usage{ImageInput: 1}, "no price for image_input"},
		"cached images":           {"writer", "", Usage{ImageCacheRead: 1}, "no price for image_cache_read"},
		"images written":          {"writer", "", Usage{ImageOutput: 1}, "no price for image_output"},
		"time":                    {"writer", "", Usage{Milliseconds: 1}, "no price for hour"},
		"images":                  {"writer", "", Usage{Images: 1}, "no price for image"},
		"characters":              {"writer", "", Usage{Characters: 1}, "no price for characters"},
		"searches":                {"writer", "", Usage{Searches: 1}, "no price for search"},
		"another tier":            {"writer", "priority", Usage{Input: 1}, `no price for service tier "priority"`},
		"a negative amount":       {"writer", "", Usage{Input: -1}, "usage of input out of range: -1"},
		"an amount beyond reason": {"writer", "", Usage{Output: math.MaxInt64}, "usage of output out of range"},
		"reasoning beyond output": {"writer", "", Usage{Output: 1, Reasoning: 2}, "usage of reasoning, 2, is more than the output, 1"},
		"more than an int64":      {"dear", "", Usage{Input: 9_223_372_037}, "cost out of range"},
	} {
		t.Run(name, func(t *testing.T) {
			p := find(t, parsedTable(t), "p", tc.model, at)
			if got, err := p.Cost(tc.usage, tc.tier); err == nil || got != 0 || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("cost is %d, error %v; want an error with %q", got, err, tc.want)
			}
		})
	}
}

func TestPrice_CeilingDependsOnTheTier(t *testing.T) {
	u := Usage{Input: 1_000_000}
	p := find(t, defaultTable(t), "openai", "gpt-5", at)
	for tier, want := range map[string]string{
		"default": "1.25", "standard": "1.25", "flex": "1.25", "batch": "1.25", // may be served as the standard one
		"priority": "2.50", "PRIORITY": "2.50",
		"": "3.125", "auto": "3.125", // "fast" is the dearest
	} {
		got, err := p.Ceiling(u, tier)
		if err != nil || Format(got) != want {
			t.Errorf("at %q the ceiling is %s, %v; want %s", tier, Format(got), err, want)
		}
	}
	if _, err := p.Ceiling(u, "warp"); err == nil || !strings.Contains(err.Error(), "warp") {
		t.Errorf("error of an unknown tier is %v", err)
	}
}
