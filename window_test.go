package relayapi

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// In no stretch of the time, wherever it begins, there is more than the limit;
// and whoever waits as long as he is told is let in.
func TestWindowIsNeverExceeded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var w window[uint16]
		per := rapid.SampledFrom([]time.Duration{time.Second, time.Minute, time.Hour}).Draw(t, "per")
		limit := rapid.Int64Range(1, 20).Draw(t, "limit")
		now := beginning.Add(time.Duration(rapid.Int64Range(0, int64(3*per)).Draw(t, "start")))
		var taken []time.Time
		for range rapid.IntRange(1, 200).Draw(t, "calls") {
			now = now.Add(time.Duration(rapid.Int64Range(0, int64(per/8)).Draw(t, "pause")))
			wait := w.take(limit, per, now)
			if wait > 0 && rapid.Bool().Draw(t, "waits") {
				if wait > per+per/60 {
					t.Fatalf("told to wait %s", wait)
				}
				now = now.Add(wait)
				if again := w.take(limit, per, now); again > 0 {
					t.Fatalf("waited %s, and is to wait for %s more", wait, again)
				}
				wait = 0
			}
			if wait > 0 {
				continue
			}
			taken = append(taken, now)
			if n := int64(len(taken)); n > limit && now.Sub(taken[n-1-limit]) < per {
				t.Fatalf("%d in %s", limit+1, now.Sub(taken[n-1-limit]))
			}
		}
		if len(taken) == 0 {
			t.Fatal("nothing was let in")
		}
	})
}

func TestWindowLetsTheLimitThroughAtOnce(t *testing.T) {
	var w window[uint16]
	now := beginning.Add(time.Hour)
	for i := range 60 {
		if wait := w.take(60, time.Minute, now); wait > 0 {
			t.Fatalf("call %d is to wait %s", i, wait)
		}
	}
	if w.take(60, time.Minute, now) == 0 {
		t.Error("the 61st is let in")
	}
	if w.take(60, time.Minute, now.Add(61*time.Second)) > 0 {
		t.Error("a minute later none is let in")
	}
}

// A clock that goes backwards frees nothing.
func TestWindowWithAClockThatGoesBack(t *testing.T) {
	var w window[uint16]
	now := beginning.Add(time.Hour)
	w.take(1, time.Minute, now)
	if w.take(1, time.Minute, now.Add(-30*time.Minute)) == 0 {
		t.Error("a second one is let in")
	}
}

func TestWindowLetsInWhatASixtiethCanHold(t *testing.T) {
	var w window[uint16]
	now := beginning.Add(time.Hour)
	for range 1<<16 - 1 {
		if w.take(1_000_000, time.Minute, now) > 0 {
			t.Fatal("one of 65 535 is not let in")
		}
	}
	wait := w.take(1_000_000, time.Minute, now)
	if wait <= 0 || wait > time.Second {
		t.Errorf("the next is to wait %s", wait)
	}
	if w.take(1_000_000, time.Minute, now.Add(wait)) > 0 {
		t.Error("who has waited is not let in")
	}
}
