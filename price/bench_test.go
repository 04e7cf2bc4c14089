package price

import "testing"

// Every metered call finds its price once, computes a ceiling and a cost.
func BenchmarkFind(b *testing.B) {
	table := defaultTable(b)
	for _, tt := range []struct{ name, provider, model string }{
		{"exact", "openai", "gpt-5-mini"},
		{"pattern", "anthropic", "claude-haiku-4-5-20251001"},
		{"largest provider, no price", "openrouter", "no-such/model"},
	} {
		b.Run(tt.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				table.Find(tt.provider, tt.model, at)
			}
		})
	}
}

func BenchmarkCost(b *testing.B) {
	p := find(b, defaultTable(b), "openai", "gpt-5.4", at)
	u := Usage{Requests: 1, Input: 1000, CacheRead: 2000, Output: 300, Reasoning: 100}
	for _, tt := range []struct {
		name    string
		compute func(Usage, string) (int64, error)
	}{{"cost", p.Cost}, {"ceiling", p.Ceiling}} {
		b.Run(tt.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := tt.compute(u, ""); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
