package relayapi

import (
	"time"
)

// window counts what happened lately, in sixtieths of a time. A sixtieth that
// has begun counts whole until it is wholly past, so that in no stretch of that
// time there was more than a limit; at worst a limit is felt for a sixtieth too
// long. (A token bucket, which costs less memory, lets twice the limit through
// in the first minute.) The zero window is empty.
//
// C is what the calls of a sixtieth are counted in. More than it can hold are not
// let in: with 16 bits, 65 535 within a second of a minute.
type window[C uint16 | uint32] struct {
	slots  [61]C
	newest int64 // number of the sixtieth that now is in
	sum    int64
}

// beginning is what sixtieths are counted from. It has a monotonic reading, so that
// a clock that is set does not matter.
var beginning = time.Now()

// take counts one more, unless that would be more than limit: then it returns how
// long to wait until it would not.
func (w *window[C]) take(limit int64, per time.Duration, now time.Time) (wait time.Duration) {
	w.advance(per, now)
	slot := &w.slots[w.newest%int64(len(w.slots))]
	switch {
	case w.sum >= limit:
		return w.oldest(per, now)
	case *slot == ^C(0):
		return time.Duration(w.newest+1)*(per/60) - now.Sub(beginning)
	}
	*slot++
	w.sum++
	return 0
}

// giveBack uncounts what was counted at a time, unless now is in the same
// sixtieth. It reports whether it is not.
func (w *window[C]) giveBack(per time.Duration, counted, now time.Time) bool {
	w.advance(per, now)
	n := int64(counted.Sub(beginning) / (per / 60))
	if n == w.newest {
		return false
	}
	if size := int64(len(w.slots)); n > w.newest-size && w.slots[n%size] > 0 {
		w.slots[n%size]--
		w.sum--
	}
	return true
}

// advance drops what is past.
func (w *window[C]) advance(per time.Duration, now time.Time) {
	size := int64(len(w.slots))
	n := int64(now.Sub(beginning) / (per / 60))
	for range min(n-w.newest, size) { // none, if now is before the newest
		w.newest++
		w.sum -= int64(w.slots[w.newest%size])
		w.slots[w.newest%size] = 0
	}
	w.newest = max(w.newest, n)
}

// oldest is how long the oldest that is counted will be.
func (w *window[C]) oldest(per time.Duration, now time.Time) time.Duration {
	size := int64(len(w.slots))
	for n := w.newest - size + 1; n <= w.newest; n++ {
		if n >= 0 && w.slots[n%size] > 0 {
			return time.Duration(n+size)*(per/60) - now.Sub(beginning)
		}
	}
	return 0
}
