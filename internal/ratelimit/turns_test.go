package ratelimit

import (
	"context"
	"errors"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// A client that has many tokens opened takes no turn of another's.
func TestTurns_AreOneForEachClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var all Turns[netip.Prefix]
		flood, other := netip.MustParsePrefix("192.0.2.1/32"), netip.MustParsePrefix("192.0.2.2/32")
		var under, most atomic.Int64
		for range 50 {
			go func() {
				done, err := all.Wait(t.Context(), flood)
				if err != nil {
					return
				}
				most.Store(max(most.Load(), under.Add(1)))
				time.Sleep(time.Second)
				under.Add(-1)
				done()
			}()
		}
		synctest.Wait()
		done, err := all.Wait(t.Context(), other)
		if err != nil || time.Since(time.Now()) > 0 {
			t.Errorf("the other client waits: %v", err)
		}
		done()
		time.Sleep(time.Minute)
		all.mu.Lock()
		defer all.mu.Unlock()
		if most.Load() != 1 || len(all.keys) != 0 {
			t.Errorf("%d tokens of one client are opened at once, %d clients are left", most.Load(), len(all.keys))
		}
	})
}

func TestTurns_StopWaiting(t *testing.T) {
	var turns Turns[string]
	done, err := turns.Wait(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := turns.Wait(gone, "a"); !errors.Is(err, context.Canceled) {
		t.Errorf("waiting for a client that is gone: got %v, want %v", err, context.Canceled)
	}
	done()
	if n := len(turns.keys); n != 0 {
		t.Errorf("%d keys are remembered that nobody waits for, want none", n)
	}
}
