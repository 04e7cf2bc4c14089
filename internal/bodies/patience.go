package bodies

import (
	"context"
	"errors"
	"sync/atomic"
	"time"
)

// How long a client may take to send a body that is read before its call is
// counted. Bodies that never end must not fill the memory for bodies, and a call
// that is counted must not wait for its body.
const (
	Patience = 30 * time.Second
	pace     = 64 << 10 // bytes per second, after that
)

// ErrTooSlow means that a body did not come in time.
var ErrTooSlow = errors.New("the request's body came too slowly: it may take 30 seconds, and one more for each 64 KiB")

// InTime runs read, and interrupts it when the body takes too long or ctx ends.
// received returns how many bytes have come over the wire. The error is that of read,
// [ErrTooSlow] or the cause of ctx.
func InTime(ctx context.Context, received func() int64, interrupt func(), read func() error) error {
	w := watch{begun: time.Now(), received: received, interrupt: interrupt}
	w.timer = time.AfterFunc(Patience, w.check)
	done := context.AfterFunc(ctx, interrupt)

	err := read()

	switch inTime, underWay := w.timer.Stop(), done(); {
	case !underWay:
		return context.Cause(ctx)
	case !inTime && w.over.Load():
		return ErrTooSlow
	}
	return err
}

// watch watches how fast a body comes.
type watch struct {
	begun     time.Time
	received  func() int64
	interrupt func()
	timer     *time.Timer
	over      atomic.Bool
}

// check interrupts a body that takes longer than it may, by what has come of it.
func (w *watch) check() {
	allowed := Patience + time.Duration(w.received()/pace)*time.Second
	if left := allowed - time.Since(w.begun); left > 0 {
		w.timer.Reset(left)
		return
	}
	w.over.Store(true)
	w.interrupt()
}
