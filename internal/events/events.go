// Package events follows streams of server-sent events.
package events

import "strings"

// Tail is the last bytes of a stream. The zero value is a stream that has not begun.
type Tail [4]byte

// Note remembers the last bytes of what was sent.
func (t *Tail) Note(p []byte) {
	p = p[max(0, len(p)-len(t)):]
	copy(t[:], t[len(p):])
	copy(t[len(t)-len(p):], p)
}

// Between reports whether another event can follow
// (https://html.spec.whatwg.org/multipage/server-sent-events.html).
func (t *Tail) Between() bool {
	end := string(t[:])
	return end == "\r\n\r\n" || strings.HasSuffix(end, "\n\n") || strings.HasSuffix(end, "\r\r") || *t == Tail{}
}
