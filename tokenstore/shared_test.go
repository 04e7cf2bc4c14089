//go:build unix

package tokenstore

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/relayapi/caddy-relayapi/internal/pgtest"
)

func TestShared_IsForSeveralProcessesOnly(t *testing.T) {
	if s := openNew(t).Shared(); s != nil {
		t.Errorf("a store of SQLite shares %v", s)
	}
}

// sharing opens a store as several processes do.
func sharing(t *testing.T, dsn string, n int) []*Shared {
	t.Helper()
	all := make([]*Shared, n)
	for i := range all {
		all[i] = node(t, PostgresConfig{DSN: dsn}).Shared()
	}
	return all
}

func TestTakeRate_HoldsAcrossProcesses(t *testing.T) {
	t.Parallel()
	for _, limit := range []int64{1, 10, 500} {
		dsn := pgtest.DSN(t)
		const processes = 3
		var taken, refused atomic.Int64
		var wg sync.WaitGroup
		for _, s := range sharing(t, dsn, processes) {
			for range 4 {
				wg.Go(func() {
					for range limit {
						r, err := s.TakeRate(t.Context(), "a", limit)
						if err != nil {
							t.Error(err)
							return
						}
						if r.Taken {
							taken.Add(1)
							continue
						}
						refused.Add(1)
						if r.Used != limit || r.Reset <= 0 || r.Reset > rateWindow*time.Second {
							t.Errorf("limit %d: refused with %+v", limit, r)
						}
					}
				})
			}
		}
		wg.Wait()
		least := limit - (processes-1)*min(maxAhead, limit/rateShare)
		if n := taken.Load(); n > limit || n < least || refused.Load() == 0 {
			t.Errorf("%d taken and %d refused, want %d to %d taken", n, refused.Load(), least, limit)
		}
	}
}

func TestTakeRate_CountsTheLastMinute(t *testing.T) {
	t.Parallel()
	s := sharing(t, pgtest.DSN(t), 1)[0]
	for _, tt := range []struct {
		ago   int
		taken bool
	}{{58, false}, {62, true}} {
		key := fmt.Sprint(tt.ago)
		if _, err := s.db.db.Exec(`INSERT INTO rates SELECT $1, floor(extract(epoch FROM clock_timestamp())) - $2::int, 5`, key, tt.ago); err != nil {
			t.Fatal(err)
		}
		if r, err := s.TakeRate(t.Context(), key, 5); err != nil || r.Taken != tt.taken {
			t.Errorf("%d seconds after the limit was reached: got %+v, %v; want taken %v", tt.ago, r, err, tt.taken)
		}
	}
}

func TestTakeSlot_HoldsAcrossProcesses(t *testing.T) {
	t.Parallel()
	for _, limit := range []int64{1, 10} {
		dsn := pgtest.DSN(t)
		all := sharing(t, dsn, 2)
		var underWay, most, taken atomic.Int64
		var wg sync.WaitGroup
		for _, s := range all {
			for range 2 * int(limit) {
				wg.Go(func() {
					for range 5 {
						slot, err := s.TakeSlot(t.Context(), "a", limit)
						if err != nil {
							t.Error(err)
							return
						}
						if slot == nil {
							time.Sleep(time.Millisecond)
							continue
						}
						taken.Add(1)
						n := underWay.Add(1)
						for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
						}
						underWay.Add(-1)
						slot.Release()
					}
				})
			}
		}
		wg.Wait()
		if most.Load() > limit || taken.Load() == 0 {
			t.Errorf("%d calls in flight at once, the limit is %d; %d in all", most.Load(), limit, taken.Load())
		}
		for _, s := range all { // all slots are free for any of them
			var slots []*Slot
			waitFor(t, "free slots", func() bool {
				slot, err := s.TakeSlot(t.Context(), "a", limit)
				if err != nil {
					t.Fatal(err)
				}
				if slot != nil {
					slots = append(slots, slot)
				}
				return int64(len(slots)) == limit
			})
			for _, slot := range slots {
				slot.Release()
				slot.Release()
			}
		}
	}
}

// What a process held that is gone is free again after a while.
func TestTakeSlot_Expires(t *testing.T) {
	t.Parallel()
	dsn := pgtest.DSN(t)
	all := sharing(t, dsn, 2)
	slot, err := all[0].TakeSlot(t.Context(), "a", 1)
	if err != nil || slot == nil {
		t.Fatalf("got %v, %v; want a slot", slot, err)
	}
	if other, err := all[1].TakeSlot(t.Context(), "a", 1); err != nil || other != nil {
		t.Errorf("got %v, %v; want none", other, err)
	}
	if err := pgtest.Exec(dsn, "UPDATE slots SET expires = extract(epoch FROM clock_timestamp()) - 1"); err != nil {
		t.Fatal(err)
	}
	other, err := all[1].TakeSlot(t.Context(), "a", 1)
	if err != nil || other == nil {
		t.Errorf("got %v, %v; want the slot that expired", other, err)
	}
}

func TestShared_FailsWithoutContact(t *testing.T) {
	server := pgtest.Faulty(t)
	s := node(t, PostgresConfig{DSN: server.NewSchema(t), MaxOffline: time.Second}).Shared()
	server.Kill()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if r, err := s.TakeRate(ctx, "a", 10); !errors.Is(err, ErrUnavailable) {
		t.Errorf("TakeRate: got %+v, %v; want ErrUnavailable", r, err)
	}
	if slot, err := s.TakeSlot(ctx, "a", 10); !errors.Is(err, ErrUnavailable) {
		t.Errorf("TakeSlot: got %v, %v; want ErrUnavailable", slot, err)
	}
	run(t, server)
	waitFor(t, "recovery", func() bool {
		slot, err := s.TakeSlot(ctx, "a", 10)
		return err == nil && slot != nil
	})
}
