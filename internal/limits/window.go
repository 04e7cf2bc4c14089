package limits

import (
	"time"

	"github.com/relayapi/caddy-relayapi/tokenstore"
)

// dayMark distinguishes the counter of a day from that of the month that begins with
// it.
const dayMark = time.Second

// Window returns the begin and the end of the window that contains a time. Both are
// zero for a limit without a period.
func Window(per string, now time.Time) (start, end time.Time) {
	now = now.UTC()
	switch per {
	case "day":
		start = time.Date(now.Year(), now.Month(), now.Day(), 0, 0, 0, 0, time.UTC)
		return start.Add(dayMark), start.AddDate(0, 0, 1)
	case "month":
		start = time.Date(now.Year(), now.Month(), 1, 0, 0, 0, 0, time.UTC)
		return start, start.AddDate(0, 1, 0)
	}
	return start, end
}

// Counts reports whether a limit counts on a counter, regardless of its holder.
func Counts(limit tokenstore.Limit, c tokenstore.Counter) bool {
	start, _ := Window(limit.Per, c.Window)
	sameWindow := c.Window.IsZero() == (limit.Per == "") && c.Window.Equal(start)
	return c.Scope == limit.Scope && c.Unit == limit.Unit && sameWindow
}

// Bounds returns the begin and the end of the window of a counter. Both are zero for a
// counter without one.
func Bounds(c tokenstore.Counter) (start, end time.Time) {
	if c.Window.IsZero() {
		return start, end
	}
	per := "month"
	if c.Window.Second() == int(dayMark/time.Second) {
		per = "day"
	}
	start, end = Window(per, c.Window)
	return start.Truncate(time.Minute), end
}
