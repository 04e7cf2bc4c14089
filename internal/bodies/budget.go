package bodies

import "sync/atomic"

// Budget bounds the memory of all bodies together, in bytes. The zero Budget
// permits nothing; set Most before it is used.
type Budget struct {
	Most int64
	used atomic.Int64
}

// Used returns how much memory is taken.
func (b *Budget) Used() int64 { return b.used.Load() }

// Share is the part of a budget that one holder's bodies take. It may grow to what
// it leaves free: a holder that is alone gets half of the budget, each of two
// gets a third, and nobody leaves others nothing.
//
// The zero Share is not counted and permits everything.
type Share struct {
	budget *Budget
	own    *atomic.Int64
}

// ShareOf returns the share of a holder, whose bodies are counted in own.
func (b *Budget) ShareOf(own *atomic.Int64) Share { return Share{b, own} }

// Take counts n bytes more, or fewer, and reports whether the share permits them.
// They count in either case.
func (s Share) Take(n int64) bool {
	if s.budget == nil {
		return true
	}
	s.budget.used.Add(n)
	s.own.Add(n)
	return s.Within()
}

// Within reports whether the holder takes no more than it leaves free.
func (s Share) Within() bool {
	return s.budget == nil || s.own.Load() <= s.budget.Most-s.budget.used.Load()
}
