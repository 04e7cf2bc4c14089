package tokenstore

import (
	"context"
	"fmt"
	"slices"
)

// Limit is a limit that an operator has set at run time.
type Limit struct {
	Scope  Scope
	ID     string // of the counter; empty: every counter in the scope
	Unit   Unit
	Per    string // "day" or "month"; empty: in total
	Amount int64  // 0 refuses all calls
}

// SameKey reports whether one of two limits replaces the other.
func (l Limit) SameKey(m Limit) bool {
	return l.Scope == m.Scope && l.ID == m.ID && l.Unit == m.Unit && l.Per == m.Per
}

// LimitSet is the limits that are set. Every change makes a new set with a higher
// version, so that whatever was derived from a set can be cached by its version.
type LimitSet struct {
	Version uint64 // starts at 1
	Limits  []Limit
}

// with returns the next set: without a limit, or with it replaced or added.
func (s *LimitSet) with(limit Limit, remove bool) *LimitSet {
	next := slices.DeleteFunc(slices.Clone(s.Limits), limit.SameKey)
	if !remove {
		next = append(next, limit)
	}
	return &LimitSet{s.Version + 1, next}
}

// Limits returns the limits that are set. Do not change the slice.
func (l *Ledger) Limits() LimitSet { return *l.limits.Load() }

// SetLimit sets a limit and replaces the one with the same key. It applies from the
// next call on.
func (l *Ledger) SetLimit(ctx context.Context, limit Limit) error {
	if !slices.Contains(Units[:], limit.Unit) {
		return fmt.Errorf("unit %q of a limit: must be one of %v", limit.Unit, Units)
	}
	return l.change(ctx, func() error {
		if err := l.db.setLimit(limit, l.now()); err != nil {
			return fmt.Errorf("storing limit: %w", err)
		}
		l.limits.Store(l.limits.Load().with(limit, false))
		l.giveUp(limit.event().limits)
		return nil
	})
}

// RemoveLimit removes a limit. It fails with [ErrUnknown] if the limit is not set.
func (l *Ledger) RemoveLimit(ctx context.Context, limit Limit) error {
	return l.change(ctx, func() error {
		if err := l.db.removeLimit(limit); err != nil {
			return fmt.Errorf("removing limit: %w", err)
		}
		l.limits.Store(l.limits.Load().with(limit, true))
		l.giveUp(limit.event().limits)
		return nil
	})
}
