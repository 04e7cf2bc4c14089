// Package registry holds calls in flight, so that they can be listed and ended.
package registry

import (
	"maps"
	"strconv"
	"sync"
	"time"
)

// Set is a set of members that come and go. The zero value is empty.
type Set[M comparable] struct {
	mu      sync.Mutex
	members map[M]uint64 // by number
	last    uint64       // latest number
}

// Add adds a member and gives it a number. Numbers start at the current time in
// microseconds, so that none is reused after a restart.
func (s *Set[M]) Add(m M) {
	s.mu.Lock()
	defer s.mu.Unlock()

	if s.members == nil {
		s.members, s.last = make(map[M]uint64), uint64(time.Now().UnixMicro())
	}
	s.last++
	s.members[m] = s.last
}

// Remove removes a member.
func (s *Set[M]) Remove(m M) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.members, m)
}

// Len returns the number of members.
func (s *Set[M]) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.members)
}

// Each calls f with each member. The set is locked meanwhile.
func (s *Set[M]) Each(f func(M)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for m := range s.members {
		f(m)
	}
}

// Locked calls f while the set is locked.
func (s *Set[M]) Locked(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

// IDs returns the members with their ids.
func (s *Set[M]) IDs() map[M]string {
	s.mu.Lock()
	numbers := maps.Clone(s.members)
	s.mu.Unlock()

	ids := make(map[M]string, len(numbers))
	for m, number := range numbers {
		ids[m] = strconv.FormatUint(number, 36)
	}
	return ids
}
