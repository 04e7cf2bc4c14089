package credential

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/relayapi/caddy-relayapi/internal/realkey"
	"go.uber.org/zap"
)

const (
	// refreshAhead is how long before its expiry a credential is renewed. Google's
	// library returns the old one until 225 seconds before expiry, and Microsoft's
	// until 5 minutes before.
	refreshAhead = 3 * time.Minute

	// fetchTime bounds how long it may take to get a credential.
	fetchTime = 10 * time.Second

	// retryAfter is the shortest time between two attempts. In between, the error of
	// the latest attempt is returned.
	retryAfter = 5 * time.Second

	// leastLeft is how long a new credential must be valid at least.
	leastLeft = 10 * time.Second
)

// Source hands out a credential that expires. Concurrent callers share one attempt to
// get it.
type Source struct {
	fetch  fetcher
	logger *zap.Logger

	current atomic.Pointer[current] // nil until the first attempt succeeds

	mu      sync.Mutex
	running chan struct{} // closed when the attempt in progress ends; nil means none
	next    time.Time     // of the next attempt, at the earliest
	failure error         // of the last attempt; nil means that it succeeded
}

// current is a credential in force.
type current struct {
	key     *realkey.Key
	refresh time.Time // zero means never
	expires time.Time // zero means never
}

func (c *current) fresh(now time.Time) bool {
	return c != nil && (c.refresh.IsZero() || now.Before(c.refresh))
}

func (c *current) valid(now time.Time) bool {
	return c != nil && (c.expires.IsZero() || now.Before(c.expires.Add(-leastLeft)))
}

// errTimeout means that a library did not return in time.
var errTimeout = errors.New("getting the credential takes too long")

// Key returns the credential in force. It waits only if there is none.
func (s *Source) Key(ctx context.Context) (*realkey.Key, error) {
	now, have := time.Now(), s.current.Load()
	if have.fresh(now) {
		return have.key, nil
	}
	done, failure := s.attempt(now)
	if have.valid(now) {
		return have.key, nil
	}
	if done == nil {
		return nil, failure
	}

	late := time.NewTimer(fetchTime)
	defer late.Stop()
	select {
	case <-done:
	case <-late.C:
		return nil, errTimeout
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if have := s.current.Load(); have.valid(time.Now()) {
		return have.key, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return nil, s.failure
}

// Prefetch gets the credential before its first use, and logs a failure.
func (s *Source) Prefetch() { _, _ = s.attempt(time.Now()) }

// attempt gets the credential in the background, unless an attempt is in progress. It
// returns a channel that is closed at the end of the attempt, or the failure of a
// recent one.
func (s *Source) attempt(now time.Time) (done <-chan struct{}, failure error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.running != nil:
		return s.running, nil
	case now.Before(s.next):
		return nil, s.failure
	}
	s.running = make(chan struct{})
	go s.get()
	return s.running, nil
}

// get gets the credential.
func (s *Source) get() {
	ctx, cancel := context.WithTimeout(context.Background(), fetchTime)
	defer cancel()
	key, expires, err := s.fetch(ctx)

	now := time.Now()
	got := &current{key: key, expires: expires}
	if err == nil && !got.valid(now) {
		err = errors.New("the credential has expired; check the clock")
	}
	if err != nil {
		s.logger.Error("getting the credential of a provider failed", zap.Error(err))
	} else {
		if !expires.IsZero() {
			got.refresh = expires.Add(-refreshAhead)
		}
		s.current.Store(got)
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	s.failure, s.next = err, now.Add(retryAfter)
	close(s.running)
	s.running = nil
}
