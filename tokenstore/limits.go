package tokenstore

import (
	"context"
	"slices"
)

// Limit is a limit that an operator has set while the relay runs.
type Limit struct {
	Scope Scope
	ID    string // of the counter that it is for; empty: of all in the scope
	Per   string // "day" or "month"; empty: in all
	Calls int64  // 0 refuses all calls
}

// SameKey reports whether one of two limits takes the other's place.
func (l Limit) SameKey(m Limit) bool { return l.Scope == m.Scope && l.ID == m.ID && l.Per == m.Per }

// Limits returns the limits that are set. The slice is never changed but replaced,
// so that whoever has made something of it can tell by its address whether that
// still holds.
func (l *Ledger) Limits() *[]Limit { return l.limits.Load() }

// SetLimit sets a limit, in the place of one for the same. It acts on the next call.
func (l *Ledger) SetLimit(ctx context.Context, limit Limit) error {
	return l.change(ctx, func() error {
		if err := l.db.setLimit(limit, l.now()); err != nil {
			return err
		}
		more := slices.DeleteFunc(slices.Clone(*l.Limits()), limit.SameKey)
		more = append(more, limit)
		l.limits.Store(&more)
		return nil
	})
}

// RemoveLimit removes a limit, and fails with [ErrUnknown] when it is not set.
func (l *Ledger) RemoveLimit(ctx context.Context, limit Limit) error {
	return l.change(ctx, func() error {
		if err := l.db.removeLimit(limit); err != nil {
			return err
		}
		less := slices.DeleteFunc(slices.Clone(*l.Limits()), limit.SameKey)
		l.limits.Store(&less)
		return nil
	})
}
