package adminapi

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/relayapi/caddy-relayapi/tokenstore"
)

// revocations counts how often a token was revoked, and when last.
type revocations struct {
	fail int // so many fail first

	mu    sync.Mutex
	count int
	last  time.Time
}

func (r *revocations) got() (count int, last time.Time) {
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.count, r.last
}

func (r *revocations) revoke() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.count, r.last = r.count+1, time.Now()
	if r.count <= r.fail {
		return errors.New("the store is away")
	}
	return nil
}

var token = Identity{"relay", "t1"}

func beat(t *testing.T, h *Heartbeats, i Identity, ttl time.Duration, r *revocations) {
	t.Helper()
	got, err := h.Beat(i, ttl, r.revoke)
	if want := time.Now().Add(ttl); err != nil || !got.Until.Equal(want) {
		t.Fatalf("heartbeat of %s got %s, %v, want %s", i, got.Until, err, want)
	}
}

func TestHeartbeats_RevokeWhenTheyStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h Heartbeats
		var r revocations
		for range 10 {
			beat(t, &h, token, 4*time.Second, &r)
			time.Sleep(3999 * time.Millisecond)
		}
		if count, _ := r.got(); count != 0 {
			t.Fatalf("got %d revocations while heartbeats come, want none", count)
		}

		stopped := time.Now()
		time.Sleep(10 * time.Second)
		count, last := r.got()
		if late := last.Sub(stopped); count != 1 || late != time.Millisecond {
			t.Errorf("got %d revocations, the last after %s, want 1 after 1ms", count, late)
		}
		if _, err := h.Beat(token, time.Second, r.revoke); !errors.Is(err, ErrSilent) {
			t.Errorf("a heartbeat after that got %v, want %v", err, ErrSilent)
		}
	})
}

// A suspended command asks for more time, and for less when it goes on.
func TestHeartbeats_TakeTheLatestTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h Heartbeats
		var r revocations
		beat(t, &h, token, 4*time.Second, &r)
		beat(t, &h, token, time.Hour, &r)
		time.Sleep(59 * time.Minute)
		if count, _ := r.got(); count != 0 {
			t.Fatalf("got %d revocations within the hour, want none", count)
		}

		beat(t, &h, token, 4*time.Second, &r)
		time.Sleep(4 * time.Second)
		if count, _ := r.got(); count != 1 {
			t.Errorf("got %d revocations 4 s after the last heartbeat, want 1", count)
		}
	})
}

func TestHeartbeats_RevokeAgainUntilItSucceeds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h Heartbeats
		r := revocations{fail: 3}
		beat(t, &h, token, 4*time.Second, &r)
		time.Sleep(time.Minute)
		if count, _ := r.got(); count != 4 {
			t.Errorf("got %d revocations, want 3 that fail and 1 that succeeds", count)
		}
		if _, err := h.Beat(token, time.Second, r.revoke); !errors.Is(err, ErrSilent) {
			t.Errorf("a heartbeat after that got %v, want %v", err, ErrSilent)
		}
	})
}

func TestHeartbeats_End(t *testing.T) {
	for name, end := range map[string]func(*Heartbeats){
		"forgotten": func(h *Heartbeats) { h.Forget(token) },
		"closed":    (*Heartbeats).Close,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var h Heartbeats
				var gone, failing revocations
				failing.fail = 1
				beat(t, &h, token, 4*time.Second, &failing)
				time.Sleep(4 * time.Second)
				failing.got() // one revocation has failed
				end(&h)
				if name != "closed" {
					beat(t, &h, token, 4*time.Second, &gone)
					end(&h)
				}
				time.Sleep(time.Minute)
				first, _ := failing.got()
				second, _ := gone.got()
				if first != 1 || second != 0 {
					t.Errorf("got %d and %d revocations, want 1 and 0", first, second)
				}
			})
		})
	}
}

func TestHeartbeats_AreOfOneToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h Heartbeats
		var r, other revocations
		beat(t, &h, token, 4*time.Second, &r)
		beat(t, &h, Identity{"backend", "t1"}, time.Hour, &other)
		time.Sleep(5 * time.Second)
		first, _ := r.got()
		second, _ := other.got()
		if first != 1 || second != 0 {
			t.Errorf("got %d and %d revocations, want 1 and 0", first, second)
		}
		h.Close()
	})
}

func TestHeartbeats_RefuseTooMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h Heartbeats
		var r revocations
		for n := range maxHeartbeats {
			beat(t, &h, Identity{"relay", fmt.Sprint(n)}, 4*time.Second, &r)
		}
		if _, err := h.Beat(token, time.Second, r.revoke); !errors.Is(err, ErrManyHeartbeats) {
			t.Errorf("one more got %v, want %v", err, ErrManyHeartbeats)
		}
		for n := range maxHeartbeats - 1 {
			beat(t, &h, Identity{"relay", fmt.Sprint(n)}, time.Hour, &r)
		}
		time.Sleep(5 * time.Second)
		r.got()
		beat(t, &h, token, time.Second, &r) // the place of the one that was revoked
		h.Close()
	})
}

func TestParseHeartbeat(t *testing.T) {
	for _, tc := range []struct{ body, want string }{
		{`{"ttl":"4s"}`, "4s"},
		{`{"ttl":"1d"}`, "24h0m0s"},
		{`{"ttl":"1s"}`, "1s"},
		{`{"ttl":"999ms"}`, "from 1s to 24h0m0s"},
		{`{"ttl":"25h"}`, "from 1s to 24h0m0s"},
		{`{"ttl":"soon"}`, "from 1s to 24h0m0s"},
		{`{"ttl":4}`, "must be a string"},
		{`{}`, "must be a string"},
		{`{"ttl":"4s","id":"t1"}`, "must be one of ttl"},
		{`[]`, "object"},
	} {
		ttl, err := ParseHeartbeat([]byte(tc.body))
		if err == nil && ttl.String() != tc.want || err != nil && !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s got %s, %v, want %q", tc.body, ttl, err, tc.want)
		}
	}
}

// beatStore is a store of heartbeats in memory.
type beatStore struct {
	silent   []tokenstore.Silent
	silenced []string
	forgot   []string
	err      error
	away     atomic.Bool
}

func (b *beatStore) Beat(_ context.Context, _, id string, _ time.Duration) (bool, error) {
	return id != "late", b.err
}

func (b *beatStore) Reachable(context.Context) error {
	if b.away.Load() {
		return errors.New("the store is away")
	}
	return nil
}

func (b *beatStore) TakeSilent(context.Context) ([]tokenstore.Silent, error) {
	taken := b.silent
	b.silent = nil
	return taken, b.err
}

func (b *beatStore) Silenced(_ context.Context, _, id string) error {
	b.silenced = append(b.silenced, id)
	return nil
}

func (b *beatStore) ForgetBeats(_ context.Context, _, id string) error {
	b.forgot = append(b.forgot, id)
	return nil
}

// Heartbeats in a store are revoked by whichever relay finds them silent, and noted only
// if that succeeded.
func TestHeartbeats_Share(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h Heartbeats
		store := &beatStore{silent: []tokenstore.Silent{{Issuer: "relay", ID: "a"}, {Issuer: "relay", ID: "fails"}}}
		var revoked []string
		h.Share(store, func(i Identity) error {
			revoked = append(revoked, i.ID)
			if i.ID == "fails" {
				return errors.New("the store is away")
			}
			return nil
		})
		if got, err := h.Beat(token, time.Second, nil); err != nil || !got.Until.Equal(time.Now().Add(time.Second)) {
			t.Errorf("a heartbeat got %s, %v", got.Until, err)
		}
		if _, err := h.Beat(Identity{"relay", "late"}, time.Second, nil); !errors.Is(err, ErrSilent) {
			t.Errorf("a late heartbeat got %v, want %v", err, ErrSilent)
		}
		h.Forget(token)
		time.Sleep(lookEvery)
		synctest.Wait()
		h.Close()
		if got, want := fmt.Sprint(revoked, store.silenced, store.forgot), "[a fails] [a] [t1]"; got != want {
			t.Errorf("revoked, noted and forgot %s, want %s", got, want)
		}
	})
}

// While the store is away, no relay can take a heartbeat. Those that come in time must come
// first when it is back.
func TestHeartbeats_WaitAfterTheStoreWasAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h Heartbeats
		store := &beatStore{silent: []tokenstore.Silent{{Issuer: "relay", ID: "a"}}}
		store.away.Store(true)
		var revoked atomic.Int64
		h.Share(store, func(Identity) error {
			revoked.Add(1)
			return nil
		})
		time.Sleep(time.Minute)
		synctest.Wait()
		store.away.Store(false)
		time.Sleep(afterOutage - lookEvery)
		synctest.Wait()
		if n := revoked.Load(); n > 0 {
			t.Errorf("revoked %d tokens at once", n)
		}
		time.Sleep(2 * lookEvery)
		synctest.Wait()
		h.Close()
		if n := revoked.Load(); n != 1 {
			t.Errorf("revoked %d tokens, want 1", n)
		}
	})
}
