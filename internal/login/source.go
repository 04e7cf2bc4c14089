package login

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Intervals of the refresh. Keys are refreshed after four fifths of their freshness,
// and at least once an hour, so that a withdrawn key is not used for long.
const (
	usualFreshness = 15 * time.Minute // if the provider does not say
	minRefresh     = 5 * time.Minute
	maxRefresh     = time.Hour

	// unknownKeyInterval is the shortest time between the start of a fetch and the next
	// one that a token triggers.
	unknownKeyInterval = time.Minute

	firstRetry = time.Second // doubles up to maxRetry
	maxRetry   = time.Minute

	// patience is how long a token with an unknown key waits for a fetch.
	patience = 2 * time.Second
)

// keySource holds the keys of a provider and keeps them fresh. The last known keys stay
// in use while the provider is down.
type keySource struct {
	fetcher *fetcher
	report  func(keys int, err error) // may be nil
	current atomic.Pointer[keySet]    // nil until the first fetch succeeded

	wake chan struct{} // holds a demand for a fetch
	stop context.CancelFunc
	done chan struct{} // closed when the refresh ended

	mu     sync.Mutex
	begun  time.Time     // of the latest fetch, or of the demand for it
	ended  chan struct{} // closed when the latest fetch ended; nil if there was none
	failed error         // of the latest fetch
	left   bool          // whether the refresh ended
}

func newKeySource(p profile) *keySource {
	return &keySource{fetcher: newFetcher(p), wake: make(chan struct{}, 1)}
}

// start starts the refresh.
func (s *keySource) start(ctx context.Context) {
	ctx, s.stop = context.WithCancel(ctx)
	s.done = make(chan struct{})
	s.begin()
	go s.refresh(ctx)
}

// inherit takes over the keys of a former source of the same provider.
func (s *keySource) inherit(former *keySource) bool {
	set := former.current.Load()
	if set == nil || s.fetcher.issuer != former.fetcher.issuer || s.fetcher.jwks != former.fetcher.jwks {
		return false
	}
	return s.current.CompareAndSwap(nil, set)
}

// close ends the refresh.
func (s *keySource) close() {
	if s.stop != nil {
		s.stop()
		<-s.done
	}
	s.fetcher.client.CloseIdleConnections()
}

// refresh fetches the keys periodically until ctx is done.
func (s *keySource) refresh(ctx context.Context) {
	defer close(s.done)

	retry := firstRetry
	for {
		fresh, err := s.fetch(ctx)
		pause := refreshAfter(fresh)
		if err != nil {
			pause, retry = retry, min(2*retry, maxRetry)
		} else {
			retry = firstRetry
		}

		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
			s.begin()
			select {
			case <-s.wake: // the fetch that begins now serves the demand
			default:
			}
		case <-s.wake: // the sender has called begin
			timer.Stop()
		case <-ctx.Done():
			timer.Stop()
			s.leave()
			return
		}
	}
}

// refreshAfter returns how long to wait before keys are fetched again.
func refreshAfter(fresh time.Duration) time.Duration {
	if fresh == 0 {
		fresh = usualFreshness
	}
	return min(max(fresh*4/5, minRefresh), maxRefresh)
}

// fetch fetches the keys once. On failure the former keys stay.
func (s *keySource) fetch(ctx context.Context) (fresh time.Duration, err error) {
	set, fresh, err := s.fetcher.fetch(ctx)
	if err == nil {
		s.current.Store(&set)
	}
	s.end(err)
	if s.report != nil && ctx.Err() == nil {
		s.report(len(set), err)
	}
	return fresh, err
}

// begin records that a fetch begins.
func (s *keySource) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.beginLocked()
}

func (s *keySource) beginLocked() {
	if s.running() {
		return
	}
	s.begun, s.ended = time.Now(), make(chan struct{})
}

// running reports whether a fetch began and did not end.
func (s *keySource) running() bool {
	if s.ended == nil {
		return false
	}
	select {
	case <-s.ended:
		return false
	default:
		return true
	}
}

// end records that a fetch ended.
func (s *keySource) end(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failed = err
	if s.running() {
		close(s.ended)
	}
}

// leave records that there will be no more fetches.
func (s *keySource) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running() {
		close(s.ended)
	}
	s.left = true
}

// demand returns a channel that is closed when a fetch ends. It triggers a fetch if
// none is running and the latest one began long enough ago. It returns nil if there is
// no fetch to wait for.
func (s *keySource) demand() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()

	switch {
	case s.left:
		return nil
	case s.running():
		return s.ended
	case s.ended == nil || time.Since(s.begun) < unknownKeyInterval: // not started, or just fetched
		return nil
	}
	s.beginLocked()
	select {
	case s.wake <- struct{}{}:
	default:
	}
	return s.ended
}

// find returns the key with an id. It waits for a fetch only if the key is unknown. The
// error is a [*Refusal], wraps [ErrUnavailable], or is that of ctx.
func (s *keySource) find(ctx context.Context, id, alg string) (*key, error) {
	found, err := s.look(id, alg)
	if !errors.Is(err, errKeyUnknown) && !errors.Is(err, ErrUnavailable) {
		return found, err
	}

	ended := s.demand()
	if ended == nil {
		return nil, err
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-ended:
		return s.look(id, alg)
	case <-timer.C:
		return nil, fmt.Errorf("%w: the provider takes too long", ErrUnavailable)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// look finds a key among the known ones. If the latest fetch failed, an unknown key may
// exist.
func (s *keySource) look(id, alg string) (*key, error) {
	set := s.current.Load()
	if set != nil {
		found, err := set.find(id, alg)
		if !errors.Is(err, errKeyUnknown) {
			return found, err
		}
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.failed != nil:
		return nil, fmt.Errorf("%w: %v", ErrUnavailable, s.failed)
	case set == nil:
		return nil, fmt.Errorf("%w: they have not been fetched yet", ErrUnavailable)
	}
	return nil, errKeyUnknown
}
