package credential

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/relayapi/caddy-relayapi/internal/realkey"
	"go.uber.org/zap"
)

// cloudOf is a cloud that hands out credentials for an hour, each after a second.
type cloudOf struct {
	asked atomic.Int64
	fails atomic.Bool
	hangs atomic.Bool
}

func (c *cloudOf) fetch(ctx context.Context) (*realkey.Key, time.Time, error) {
	n := c.asked.Add(1)
	if c.hangs.Load() {
		<-ctx.Done()
		return nil, time.Time{}, ctx.Err()
	}
	time.Sleep(time.Second)
	if c.fails.Load() {
		return nil, time.Time{}, errors.New("the cloud is away")
	}
	return realkey.New("key-number-"+strconv.FormatInt(n, 10), bearer, "test", true), time.Now().Add(time.Hour), nil
}

// number returns which key a source hands out, or 0.
func number(t *testing.T, s *Source) int {
	t.Helper()
	key, err := s.Key(t.Context())
	if (key == nil) == (err == nil) {
		t.Fatalf("got key %v and error %v, want one of them", key, err)
	}
	for n := range 10 {
		if key != nil && key.In("key-number-"+strconv.Itoa(n)) {
			return n
		}
	}
	return 0
}

func TestSource_GetsOneForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cloud := new(cloudOf)
		s := &Source{fetch: cloud.fetch, logger: zap.NewNop()}
		s.Prefetch()
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() {
				if n := number(t, s); n != 1 {
					t.Errorf("got key %d, want 1", n)
				}
			})
		}
		all.Wait()
		if n := cloud.asked.Load(); n != 1 {
			t.Errorf("the cloud is asked %d times, want once", n)
		}
	})
}

// A credential is got anew while the old one is still good, and nobody waits for it.
func TestSource_RefreshesAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cloud := new(cloudOf)
		s := &Source{fetch: cloud.fetch, logger: zap.NewNop()}
		steps := []struct {
			after time.Duration
			want  int
			asked int64
		}{
			{0, 1, 1},
			{time.Hour - refreshAhead - time.Second, 1, 1},
			{2 * time.Second, 1, 2}, // the second one is on its way
			{2 * time.Second, 2, 2},
			{time.Hour, 3, 3}, // it has expired in the meantime
		}
		for i, step := range steps {
			time.Sleep(step.after)
			before := time.Now()
			if got := number(t, s); got != step.want {
				t.Errorf("step %d: got key %d, want %d", i, got, step.want)
			}
			if waited := time.Since(before); waited > 0 && (step.want != 1 && step.want != 3 || i == 1 || i == 2) {
				t.Errorf("step %d: waited %v", i, waited)
			}
			synctest.Wait()
			if got := cloud.asked.Load(); got != step.asked {
				t.Errorf("step %d: the cloud is asked %d times, want %d", i, got, step.asked)
			}
		}
	})
}

// A failure stands for a while, so that not each call asks again. A credential that is
// still good outlasts it.
func TestSource_Fails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cloud := new(cloudOf)
		s := &Source{fetch: cloud.fetch, logger: zap.NewNop()}
		cloud.fails.Store(true)
		for range 20 {
			if n := number(t, s); n != 0 {
				t.Errorf("got key %d, want none", n)
			}
		}
		if n := cloud.asked.Load(); n != 1 {
			t.Errorf("the cloud is asked %d times, want once", n)
		}

		time.Sleep(retryAfter)
		cloud.fails.Store(false)
		if n := number(t, s); n != 2 {
			t.Errorf("got key %d after the cloud is back, want 2", n)
		}

		cloud.fails.Store(true)
		time.Sleep(time.Hour - refreshAhead)
		for range 3 {
			time.Sleep(retryAfter + 2*time.Second)
			if n := number(t, s); n != 2 {
				t.Errorf("got key %d, want 2, which is still good", n)
			}
		}
		synctest.Wait()
		if n := cloud.asked.Load(); n != 5 {
			t.Errorf("the cloud is asked %d times, want 5", n)
		}
		time.Sleep(refreshAhead)
		if n := number(t, s); n != 0 {
			t.Errorf("got key %d, want none after it has expired", n)
		}
	})
}

// A cloud that does not answer holds up calls for so long, and no longer.
func TestSource_WaitsForSoLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cloud := new(cloudOf)
		cloud.hangs.Store(true)
		s := &Source{fetch: cloud.fetch, logger: zap.NewNop()}

		gone, leave := context.WithTimeoutCause(t.Context(), time.Second, errors.New("the client is gone"))
		defer leave()
		if _, err := s.Key(gone); err == nil || err.Error() != "the client is gone" {
			t.Errorf("got %v, want that the client is gone", err)
		}
		before := time.Now()
		if n := number(t, s); n != 0 || time.Since(before) > fetchTime {
			t.Errorf("got key %d after %v, want none after at most %v", n, time.Since(before), fetchTime)
		}
	})
}
