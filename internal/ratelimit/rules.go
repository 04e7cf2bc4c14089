package ratelimit

import (
	"sync"
	"time"
)

// Rules count under several rules. They belong to a store, so that the counts outlive a
// reload of the config. The zero value is ready to use.
type Rules[K comparable] struct {
	mu    sync.Mutex
	rules map[string]*Limiter[K]
}

// Of returns the counts of a rule, whatever its limit is at present. They are made when a
// config first names the rule.
func (r *Rules[K]) Of(rule string, per time.Duration, most int) *Limiter[K] {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.rules == nil {
		r.rules = make(map[string]*Limiter[K])
	}
	if r.rules[rule] == nil {
		r.rules[rule] = New[K](per, most)
	}
	return r.rules[rule]
}
