package ratelimit

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// No stretch of the period has more events than the limit, and an event that
// waits as long as it is told is let in.
func TestWindow_IsNeverExceeded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var w Window
		per := rapid.SampledFrom([]time.Duration{time.Second, time.Minute, time.Hour}).Draw(t, "per")
		limit := rapid.Int64Range(1, 20).Draw(t, "limit")
		now := beginning.Add(time.Duration(rapid.Int64Range(0, int64(3*per)).Draw(t, "start")))
		var taken []time.Time

		for range rapid.IntRange(1, 200).Draw(t, "events") {
			now = now.Add(time.Duration(rapid.Int64Range(0, int64(per/8)).Draw(t, "pause")))
			wait := w.Take(limit, per, now)
			if wait > 0 && rapid.Bool().Draw(t, "waits") {
				if wait > per+per/60 {
					t.Fatalf("wait is %s, want at most %s", wait, per+per/60)
				}
				now = now.Add(wait)
				wait = w.Take(limit, per, now)
				if wait > 0 {
					t.Fatalf("wait after the wait is %s, want 0", wait)
				}
			}
			if wait > 0 {
				continue
			}
			taken = append(taken, now)
			if n := int64(len(taken)); n > limit && now.Sub(taken[n-1-limit]) < per {
				t.Fatalf("%d events within %s, want at most %d within %s", limit+1, now.Sub(taken[n-1-limit]), limit, per)
			}
		}
		if len(taken) == 0 {
			t.Fatal("no event was let in")
		}
	})
}

func TestWindow_Take(t *testing.T) {
	now := beginning.Add(time.Hour)
	for name, tt := range map[string]struct {
		taken int // before, at now
		limit int64
		after time.Duration
		waits bool
	}{
		"the limit at once":        {59, 60, 0, false},
		"one over the limit":       {60, 60, 0, true},
		"one over, a period later": {60, 60, 61 * time.Second, false},
		"a clock that goes back":   {1, 1, -30 * time.Minute, true},
		"many in one sixtieth":     {100_000, 1_000_000, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			var w Window
			for i := range tt.taken {
				if wait := w.Take(tt.limit, time.Minute, now); wait > 0 {
					t.Fatalf("wait of event %d is %s, want 0", i, wait)
				}
			}
			if wait := w.Take(tt.limit, time.Minute, now.Add(tt.after)); wait > 0 != tt.waits {
				t.Errorf("wait is %s, want some: %t", wait, tt.waits)
			}
		})
	}
}
