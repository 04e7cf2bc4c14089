package tokenstore

import (
	"context"
	"errors"
	"time"
)

// When tokens are pruned.
const (
	pruneEvery   = time.Hour
	pruneGrace   = 24 * time.Hour // a clock may be wrong by as much
	clockJump    = time.Hour      // between two looks, this is no passing of time
	pruneSuspend = 24 * time.Hour // after a jump: whoever set the clock may set it again

	// Revocations are kept until the tokens they take back must have expired,
	// and a year more: a longer lifetime may come to be allowed meanwhile.
	revocationGrace = 365 * 24 * time.Hour
)

// LongestTTL tells how long tokens live at most. Where it was told different
// lifetimes, the longest counts.
func (l *Ledger) LongestTTL(d time.Duration) {
	for seconds := int64(d / time.Second); ; {
		if have := l.longest.Load(); have >= seconds || l.longest.CompareAndSwap(have, seconds) {
			return
		}
	}
}

// pruneThrough removes what no token that is good after a time can need. What a
// token has used counts for its refreshes, and one that was minted as it expired
// lives as long as any token may; so does what a revocation takes back.
func (l *Ledger) pruneThrough(ctx context.Context, t time.Time) error {
	longest := time.Duration(l.longest.Load()) * time.Second
	if longest == 0 {
		return nil // nobody has said how long tokens live
	}
	_, err := l.Prune(ctx, t.Add(-longest))
	return errors.Join(err, l.pruneRevocations(ctx, t.Add(-longest-revocationGrace)))
}

// pruneRevocations removes revocations that were made before a time, and take back
// nothing that was issued since.
func (l *Ledger) pruneRevocations(ctx context.Context, before time.Time) error {
	return l.change(ctx, func() error {
		if err := l.db.pruneRevocations(before); err != nil {
			return err
		}
		left, err := l.db.revocations()
		if err != nil {
			return err // what memory has is more, and still true
		}
		l.revoked.Store(new(revocations).with(left...))
		return nil
	})
}

// pruner decides when to prune. It is careful, because a clock that is wrong for
// a minute would make it forget what tokens have used.
type pruner struct {
	last time.Time // when it last looked
	next time.Time
}

// tick is called about every second. It returns the time through which to prune
// now, or zero.
func (p *pruner) tick(now time.Time) time.Time {
	now = now.Round(0) // by the clock on the wall: that is what may jump
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
