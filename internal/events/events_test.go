package events

import "testing"

func TestTail_Between(t *testing.T) {
	for stream, want := range map[string]bool{
		"":                       true,
		"data: x\n\n":            true,
		"data: x\r\r":            true,
		"data: x\r\n\r\n":        true,
		"data: x\n":              false,
		"data: x\r\n":            false,
		"data: x\r\n\r":          false,
		"data: x\n\ndata: y":     false,
		"data: x\n\ndata: y\n\n": true,
		"\n\n":                   true,
	} {
		for size := 1; size <= len(stream)+1; size++ {
			var tail Tail
			for rest := []byte(stream); len(rest) > 0; {
				n := min(size, len(rest))
				tail.Note(rest[:n])
				rest = rest[n:]
			}
			if got := tail.Between(); got != want {
				t.Errorf("after %q, in pieces of %d, an event can follow: %t, want %t", stream, size, got, want)
			}
		}
	}
}
