// Package ratelimit counts what happens in time, by key: requests of a client,
// calls of a token, wrong guesses at a secret.
//
// A [Window] is a sliding window. A [Limiter] holds one window for each key, in
// bounded memory, and how many calls of the key are in flight.
package ratelimit

import "time"

// Window counts events of the recent past in sixtieths of a period. A sixtieth
// counts whole until all of it is past. So no stretch of the period, wherever it
// begins, has more events than the limit, and a limit is felt for at most a
// sixtieth too long. A token bucket would let twice the limit through in the
// first period.
//
// The zero Window is empty. It is not safe for concurrent use.
type Window struct {
	slots  [61]uint32
	newest int64 // number of the sixtieth that now is in
	sum    int64
}

// beginning is what sixtieths are counted from. It has a monotonic reading, so
// that setting the clock changes nothing.
var beginning = time.Now()

// Take counts one event, unless the limit is reached. Then it returns how long to
// wait until the next event is let in.
func (w *Window) Take(limit int64, per time.Duration, now time.Time) (wait time.Duration) {
	w.advance(per, now)

	if w.sum >= limit {
		return w.Reset(per, now)
	}
	w.slots[w.newest%int64(len(w.slots))]++
	w.sum++
	return 0
}

// Used returns how many events are counted, as of the last Take.
func (w *Window) Used() int64 { return w.sum }

// Reset returns how long the oldest event still counts, or 0 if there is none.
func (w *Window) Reset(per time.Duration, now time.Time) time.Duration {
	size := int64(len(w.slots))
	for n := max(0, w.newest-size+1); n <= w.newest; n++ {
		if w.slots[n%size] > 0 {
			return time.Duration(n+size)*(per/60) - now.Sub(beginning)
		}
	}
	return 0
}

// giveBack removes an event that was counted at a time, unless now is in the same
// sixtieth. It reports whether it is not.
func (w *Window) giveBack(per time.Duration, counted, now time.Time) bool {
	w.advance(per, now)

	n := sixtieth(per, counted)
	if n == w.newest {
		return false
	}
	if size := int64(len(w.slots)); n > w.newest-size && w.slots[n%size] > 0 {
		w.slots[n%size]--
		w.sum--
	}
	return true
}

// advance drops the sixtieths that are past.
func (w *Window) advance(per time.Duration, now time.Time) {
	size := int64(len(w.slots))
	n := sixtieth(per, now)
	for range min(n-w.newest, size) { // none, if now is before the newest
		w.newest++
		w.sum -= int64(w.slots[w.newest%size])
		w.slots[w.newest%size] = 0
	}
	w.newest = max(w.newest, n)
}

// sixtieth returns the number of the sixtieth that a time is in.
func sixtieth(per time.Duration, t time.Time) int64 { return int64(t.Sub(beginning) / (per / 60)) }
