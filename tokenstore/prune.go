package tokenstore

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Intervals of pruning, and how long other data is kept.
const (
	pruneEvery   = time.Hour
	pruneGrace   = 24 * time.Hour // a clock may be wrong by this much
	clockJump    = time.Hour      // a clock that moves this far between two looks has jumped
	pruneSuspend = 24 * time.Hour // after a jump, because the clock may be set back again

	// Counters of a window are kept for two months after it began. After the same
	// time, usage by day is merged over the tokens of a subject.
	detailDays = 62

	// Revocations are kept until the tokens they revoke must have expired, and for
	// a year more: a longer lifetime may be allowed meanwhile.
	revocationGrace = 365 * 24 * time.Hour
)

// LongestTTL sets the longest lifetime of tokens. The longest value of several calls
// wins.
func (l *Ledger) LongestTTL(d time.Duration) {
	for seconds := int64(d / time.Second); ; {
		if have := l.longest.Load(); have >= seconds || l.longest.CompareAndSwap(have, seconds) {
			return
		}
	}
}

// Prune removes tokens that expired before a time, with their counters, and counters of
// windows that began two months before it, each with its warnings. If the clock is
// turned back afterwards, these tokens are refused, because their usage was removed. A
// refresh of such a token that is still valid counts from zero. Revocations are kept.
// Usage by day is kept, but after two months no longer by token.
func (l *Ledger) Prune(ctx context.Context, before time.Time) (removed int64, err error) {
	err = l.change(ctx, func() error {
		if removed, err = l.db.prune(before); err != nil {
			return fmt.Errorf("pruning tokens: %w", err)
		}
		l.pruned.Store(max(l.pruned.Load(), before.Unix()))
		l.known.forgetAll()
		return nil
	})
	return removed, err
}

// pruneThrough removes the records that no token valid after a time can need. A token's
// usage counts for its refreshes, and a refresh that was minted as the token expired
// lives as long as any token may. The same holds for revocations.
func (l *Ledger) pruneThrough(ctx context.Context, t time.Time) error {
	longest := time.Duration(l.longest.Load()) * time.Second
	if longest == 0 {
		return nil // the longest lifetime is unknown
	}

	_, err := l.Prune(ctx, t.Add(-longest))
	return errors.Join(err, l.pruneRevocations(ctx, t.Add(-longest-revocationGrace)))
}

// pruneRevocations removes revocations that were made before a time and that revoke
// nothing issued since.
func (l *Ledger) pruneRevocations(ctx context.Context, before time.Time) error {
	return l.change(ctx, func() error {
		if err := l.db.pruneRevocations(before); err != nil {
			return fmt.Errorf("pruning revocations: %w", err)
		}
		left, err := l.db.revocations()
		if err != nil {
			return fmt.Errorf("reading revocations: %w", err) // memory keeps the pruned ones too, which is harmless
		}
		l.revoked.Store(new(revocations).with(left...))
		return nil
	})
}

// pruner decides when to prune. It is careful, because a clock that is wrong for a
// minute would make it remove usage that still counts.
type pruner struct {
	last time.Time // when it last looked
	next time.Time
}

// tick is called about every second. It returns the time through which to prune
// now, or zero.
func (p *pruner) tick(now time.Time) time.Time {
	now = now.Round(0) // without the monotonic clock, which never jumps
	passed := now.Sub(p.last)
	first := p.last.IsZero()
	p.last = now

	switch {
	case first:
		p.next = now.Add(pruneEvery)
	case passed.Abs() > clockJump:
		p.next = now.Add(pruneSuspend)
	case !now.Before(p.next):
		p.next = now.Add(pruneEvery)
		return now.Add(-pruneGrace)
	}
	return time.Time{}
}
