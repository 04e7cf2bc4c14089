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
	// refreshAhead is how long before its expiry a credential is got anew. It is less
	// than the 225 seconds and the 5 minutes for which Google's and Microsoft's
	// libraries would still return the old one.
	refreshAhead = 3 * time.Minute

	// fetchTime is how long getting a credential may take.
	fetchTime = 10 * time.Second

	// retryAfter is how long after an attempt the next one may follow. In between, the
	// error of the attempt stands.
	retryAfter = 5 * time.Second

	// leastLeft is how long a credential must still be good for.
	leastLeft = 10 * time.Second
)

// Source hands out a credential that expires. It gets one for all who ask, never one for
// each of them.
type Source struct {
	fetch  fetcher
	logger *zap.Logger

	current atomic.Pointer[current] // nil until the first one was got

	mu      sync.Mutex
	running chan struct{} // closed when the attempt ends that is under way; nil means none
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

// Prefetch gets the credential before anybody asks for it, and logs why it cannot.
func (s *Source) Prefetch() { _, _ = s.attempt(time.Now()) }

// attempt gets the credential in the background, unless that is under way. It returns a
// channel that is closed at the end of the attempt, or the failure of one that was just
// made.
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
		s.logger.Error("cannot get the credential of a provider", zap.Error(err))
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
