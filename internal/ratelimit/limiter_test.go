package ratelimit

import (
	"testing"
	"time"
)

// Attempts that do not count are free, until the limit is reached by others.
func TestLimiter_TryCountsWhatTheAttemptSays(t *testing.T) {
	const limit = 10
	l := New[string](time.Minute, 1000)
	now := beginning.Add(time.Hour)
	attempts := 0
	try := func(counts bool) time.Duration {
		return l.Try("mallory", limit, now, func() bool { attempts++; return counts })
	}

	for range 3 * limit {
		if wait := try(false); wait != 0 {
			t.Fatalf("wait of a free attempt is %s, want 0", wait)
		}
	}
	for range limit {
		if wait := try(true); wait != 0 {
			t.Fatalf("wait within the limit is %s, want 0", wait)
		}
	}
	before := attempts
	if wait := try(false); wait == 0 || attempts != before {
		t.Errorf("wait over the limit is %s after %d attempts, want some after none", wait, attempts-before)
	}
	if wait := l.Take("alice", limit, now); wait != 0 {
		t.Errorf("wait of another key is %s, want 0", wait)
	}
	now = now.Add(61 * time.Second)
	if wait := try(true); wait != 0 {
		t.Errorf("wait a period later is %s, want 0", wait)
	}
}

// A client with many addresses does not make the limiter forget another that goes on.
func TestLimiter_KeepsBusyKeys(t *testing.T) {
	const busy = -1
	l := New[int](time.Minute, 1024)
	now := beginning.Add(time.Hour)
	for range 5 {
		l.Take(busy, 5, now)
	}
	for i := range 100_000 {
		l.Take(i, 5, now)
	}
	if l.Take(busy, 5, now) == 0 {
		t.Error("a key at its limit was forgotten")
	}
	for i := range l.shards {
		if n := len(l.shards[i].entries); n > l.most {
			t.Errorf("a shard has %d keys, want at most %d", n, l.most)
		}
	}
}

func TestLimiter_ForgetsIdleKeysWithoutSlots(t *testing.T) {
	l := New[int](time.Minute, 1<<20)
	now := beginning.Add(time.Hour)
	held := int64(0)
	for i := range 1000 {
		slot, ok := l.Enter(i, 1, now)
		if !ok {
			t.Fatal("the first slot of a key is taken")
		}
		if i%2 == 0 {
			slot.Leave()
		} else {
			held++
		}
	}
	later := now.Add(5 * time.Minute)
	left := 0
	for i := range l.shards {
		l.shards[i].makeRoom(time.Minute, 1<<20, later)
		left += len(l.shards[i].entries)
	}
	if int64(left) != held || l.UnderWay() != held {
		t.Errorf("%d keys and %d slots are left, want %d of each", left, l.UnderWay(), held)
	}
}

// A full limiter never forgets how many calls of a key are in flight.
func TestLimiter_KeepsSlotsWhenFull(t *testing.T) {
	l := New[int](time.Minute, 1)
	now := beginning.Add(time.Hour)
	for i := range 1000 {
		if _, ok := l.Enter(i, 1, now); !ok {
			t.Fatalf("no slot for key %d", i)
		}
	}
	for i := range 1000 {
		if _, ok := l.Enter(i, 1, now); ok {
			t.Fatalf("a second slot for key %d, want 1", i)
		}
	}
}

// An event counts from the time at which it is counted anew.
func TestSlot_Retake(t *testing.T) {
	l := New[string](time.Minute, 10)
	start := beginning.Add(time.Hour)
	slow, _ := l.Enter("t", 0, start)
	if s := slow.Take(1, start); s.Wait > 0 {
		t.Fatalf("wait is %s, want 0", s.Wait)
	}
	if _, moved := slow.Retake(1, start, start.Add(time.Millisecond)); moved {
		t.Error("an event moved within its sixtieth")
	}
	later := start.Add(10 * time.Minute)
	if s, moved := slow.Retake(1, start, later); !moved || s.Wait > 0 || s.Used != 1 {
		t.Errorf("got %+v, moved %t; want one event that moved", s, moved)
	}
	next, _ := l.Enter("t", 0, later)
	if s := next.Take(1, later.Add(time.Second)); s.Wait == 0 {
		t.Error("a second event within the minute was let in, want one")
	}
}
