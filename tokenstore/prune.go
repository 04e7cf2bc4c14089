package tokenstore

import (
	"time"
)

// When tokens are pruned.
const (
	pruneEvery   = time.Hour
	pruneGrace   = 24 * time.Hour // after they expired
	clockJump    = time.Hour      // between two looks, this is no passing of time
	pruneSuspend = 24 * time.Hour // after a jump: whoever set the clock may set it again
)

// pruner decides when to prune. It is careful, because a clock that is wrong for
// a minute would make it forget what tokens have used.
type pruner struct {
	last time.Time // when it last looked
	next time.Time
}

// tick is called about every second. It returns the time before which tokens
// must have expired to be pruned now, or zero.
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
