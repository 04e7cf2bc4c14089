package ws

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// clientFrame returns a masked frame, as clients send them.
func clientFrame(head byte, payload []byte) []byte {
	b := []byte{head}
	switch n := len(payload); {
	case n < 126:
		b = append(b, 0x80|byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, 0x80|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 0x80|127), uint64(n))
	}
	mask := [4]byte{1, 2, 3, 4}
	b = append(b, mask[:]...)
	for i, c := range payload {
		b = append(b, c^mask[i%4])
	}
	return b
}

var errLarge = errors.New("large")

// smallOnly permits messages that do not hold "large".
func smallOnly(message []byte) ([]byte, error) {
	if bytes.Contains(message, []byte("large")) {
		return nil, errLarge
	}
	return nil, nil
}

// memory counts, and permits up to most bytes.
type memory struct{ used, most int64 }

func (m *memory) Take(n int64) bool { m.used += n; return m.Within() }
func (m *memory) Within() bool      { return m.used <= m.most }

func newGuard() (*Guard, *memory) {
	m := &memory{most: 1 << 30}
	return NewGuard(smallOnly, m), m
}

// However a client cuts its messages into frames and its frames into writes, what
// is permitted passes as it was sent, and nothing from the first message on that
// is not.
func TestGuard_PassesWholeMessages(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var sent, permitted []byte
		refused := false
		for range rapid.IntRange(1, 6).Draw(t, "messages") {
			word := rapid.SampledFrom([]string{"small", "small", "small", "large"}).Draw(t, "word")
			filler := strings.Repeat("x", rapid.SampledFrom([]int{0, 50, 125, 126, 70_000}).Draw(t, "filler"))
			text, head := fmt.Appendf(nil, "%s %s", word, filler), byte(opText)
			for part := range rapid.IntRange(1, 4).Draw(t, "frames") {
				n := rapid.IntRange(0, len(text)).Draw(t, "part")
				sent = append(sent, clientFrame(head, text[:n])...)
				text, head = text[n:], opContinuation
				if rapid.Bool().Draw(t, "ping") {
					sent = append(sent, clientFrame(0x89, fmt.Append(nil, part))...)
				}
			}
			sent = append(sent, clientFrame(0x80|head, text)...)
			if refused = refused || word == "large"; !refused {
				permitted = bytes.Clone(sent)
			}
		}

		g, _ := newGuard()
		var passed []byte
		for rest := sent; len(rest) > 0; {
			n := rapid.IntRange(1, min(len(rest), 40_000)).Draw(t, "write")
			pass, err := g.Pass(rest[:n])
			passed = append(passed, pass...)
			rest = rest[n:]
			if err != nil {
				if !refused || err != errLarge {
					t.Fatalf("error is %v, want %v: %t", err, errLarge, refused)
				}
				break
			}
		}
		if !bytes.HasPrefix(permitted, passed) || !refused && !bytes.Equal(passed, sent) {
			t.Fatalf("%d bytes of %d passed, want the %d that are permitted", len(passed), len(sent), len(permitted))
		}
	})
}

func TestGuard_RefusesFrames(t *testing.T) {
	for name, tt := range map[string]struct {
		frames []byte
		want   error
	}{
		"not masked":               {[]byte{0x81, 2, '{', '}'}, ErrFrame},
		"compressed":               {clientFrame(0xc1, []byte("{}")), ErrFrame},
		"unknown kind":             {clientFrame(0x83, nil), ErrFrame},
		"unknown control":          {clientFrame(0x8b, nil), ErrFrame},
		"long control":             {clientFrame(0x89, make([]byte, 126)), ErrFrame},
		"control in pieces":        {clientFrame(0x09, nil), ErrFrame},
		"continuation of nothing":  {clientFrame(0x80, nil), ErrFrame},
		"a message within another": {append(clientFrame(0x01, nil), clientFrame(0x81, nil)...), ErrFrame},
		"longer than there is":     {[]byte{0x82, 0x80 | 127, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0}, ErrTooLong},
		"not permitted":            {clientFrame(0x82, []byte("large")), errLarge},
	} {
		t.Run(name, func(t *testing.T) {
			g, _ := newGuard()
			if pass, err := g.Pass(tt.frames); err != tt.want || len(pass) > 0 {
				t.Errorf("%d bytes pass with %v, want none with %v", len(pass), err, tt.want)
			}
		})
	}
}

// What a guard holds is bounded, and nothing passes after an error.
func TestGuard_HoldsLittle(t *testing.T) {
	for name, frame := range map[string][]byte{"continuations": clientFrame(0x00, nil), "pings": clientFrame(0x89, make([]byte, 125))} {
		t.Run(name, func(t *testing.T) {
			g, _ := newGuard()
			_, err := g.Pass(clientFrame(0x01, nil))
			for sent := 0; err == nil; sent += len(frame) {
				if sent > MaxMessage+2*slack {
					t.Fatal("the guard holds more and more")
				}
				_, err = g.Pass(frame)
			}
			if pass, again := g.Pass(clientFrame(0x81, []byte("{}"))); again != err || len(pass) > 0 {
				t.Errorf("after %v: %d bytes pass with %v, want none", err, len(pass), again)
			}
		})
	}
}

func TestGuard_CountsMemory(t *testing.T) {
	g, m := newGuard()
	long := clientFrame(0x81, bytes.Repeat([]byte("x"), 1<<20))
	if _, err := g.Pass(long[:len(long)-1]); err != nil || m.used < 1<<20 {
		t.Fatalf("%d bytes are counted, %v; want at least %d", m.used, err, 1<<20)
	}
	if pass, err := g.Pass(long[len(long)-1:]); err != nil || !bytes.Equal(pass, long) {
		t.Fatalf("%d bytes pass, %v; want all %d", len(pass), err, len(long))
	}
	if m.used > slack {
		t.Errorf("%d bytes are counted for an idle socket, want at most %d", m.used, slack)
	}
	m.most = 1 << 17
	if _, err := g.Pass(long[:len(long)-1]); err != nil {
		t.Fatal(err) // the first piece is judged by what was taken before
	}
	if _, err := g.Pass(long[len(long)-1:]); err != ErrFull {
		t.Errorf("error is %v, want %v", err, ErrFull)
	}
	g.Close()
	if pass, err := g.Pass(clientFrame(0x81, []byte("small"))); len(pass) > 0 || err != net.ErrClosed || m.used != 0 {
		t.Errorf("after Close %d bytes pass, %v, %d counted; want 0, %v, 0", len(pass), err, m.used, net.ErrClosed)
	}
}

func TestTracker_KnowsWhereFramesEnd(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var stream, payloads []byte
		ends := map[int]bool{0: true}
		for range rapid.IntRange(1, 5).Draw(t, "frames") {
			payload := bytes.Repeat([]byte("y"), rapid.SampledFrom([]int{0, 1, 125, 126, 65536}).Draw(t, "length"))
			stream = append(stream, clientFrame(0x82, payload)...)
			payloads = append(payloads, payload...)
			ends[len(stream)] = true
		}

		seen := 0
		tracker := Tracker{Payload: func(p []byte) { seen += len(p) }}
		for at := 0; at < len(stream); {
			n := rapid.IntRange(1, min(len(stream)-at, 70_000)).Draw(t, "read")
			tracker.Follow(stream[at : at+n])
			if at += n; tracker.Between() != ends[at] {
				t.Fatalf("after %d bytes Between is %t, want %t", at, tracker.Between(), ends[at])
			}
		}
		if seen != len(payloads) {
			t.Fatalf("%d bytes of payload, want %d", seen, len(payloads))
		}
	})
}

func TestCloseFrame(t *testing.T) {
	for reason, want := range map[string]string{
		"bye":                    "\x88\x05\x03\xf0bye",
		strings.Repeat("x", 200): "\x88\x7d\x03\xf0" + strings.Repeat("x", 123),
		"":                       "\x88\x02\x03\xf0",
	} {
		if got := string(CloseFrame(ClosePolicy, reason)); got != want {
			t.Errorf("CloseFrame of %d characters is %q, want %q", len(reason), got, want)
		}
	}
}

func FuzzGuard(f *testing.F) {
	f.Add(clientFrame(0x81, []byte("small")), 3)
	f.Add(append(clientFrame(0x01, []byte("la")), clientFrame(0x80, []byte("rge"))...), 1)
	f.Fuzz(func(t *testing.T, sent []byte, step int) {
		g, m := newGuard()
		step = 1 + max(0, step)%4096
		for rest := sent; len(rest) > 0; {
			n := min(step, len(rest))
			if _, err := g.Pass(rest[:n]); err != nil {
				break
			}
			rest = rest[n:]
		}
		g.Close()
		if m.used != 0 {
			t.Errorf("%d bytes are counted after Close, want 0", m.used)
		}
	})
}

// A changed message replaces all frames of the client's. Control frames between them
// still pass.
func TestGuard_PassesChangedMessages(t *testing.T) {
	for name, tc := range map[string]struct {
		sent [][]byte
		want [][]byte
	}{
		"one frame":                {[][]byte{clientFrame(0x80|opText, []byte("raise"))}, [][]byte{clientFrame(0x80|opText, []byte("lower"))}},
		"one frame after another":  {[][]byte{clientFrame(0x80|opText, []byte("same")), clientFrame(0x80|opText, []byte("raise"))}, [][]byte{clientFrame(0x80|opText, []byte("same")), clientFrame(0x80|opText, []byte("lower"))}},
		"one frame before another": {[][]byte{clientFrame(0x80|opText, []byte("raise")), clientFrame(0x80|opText, []byte("same"))}, [][]byte{clientFrame(0x80|opText, []byte("lower")), clientFrame(0x80|opText, []byte("same"))}},
		"two frames, and a ping": {
			[][]byte{clientFrame(opBinary, []byte("ra")), clientFrame(0x89, []byte("ping")), clientFrame(0x80|opContinuation, []byte("ise"))},
			[][]byte{clientFrame(0x89, []byte("ping")), clientFrame(0x80|opBinary, []byte("lower"))},
		},
	} {
		for _, size := range []int{1, 3, 1000} {
			g := NewGuard(func(message []byte) ([]byte, error) {
				if string(message) == "raise" {
					return []byte("lower"), nil
				}
				return nil, nil
			}, &memory{most: 1 << 30})
			var got []byte
			for part := range slices.Chunk(slices.Concat(tc.sent...), size) {
				pass, err := g.Pass(part)
				if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				got = append(got, pass...)
			}
			if want := slices.Concat(tc.want...); !bytes.Equal(got, want) {
				t.Errorf("%s, %d bytes at a time: passes %x, want %x", name, size, got, want)
			}
		}
	}
}

// A tracker tells the ends of messages, and not those of other frames.
func TestTracker_KnowsWhereMessagesEnd(t *testing.T) {
	stream := slices.Concat(
		clientFrame(opText, []byte("a")), clientFrame(0x89, []byte("ping")), clientFrame(0x80|opContinuation, []byte("b")),
		clientFrame(0x80|opText, nil), clientFrame(0x80|opClose, []byte("bye")), clientFrame(0x80|opBinary, bytes.Repeat([]byte("c"), 300)),
	)
	for _, size := range []int{1, 2, 7, len(stream)} {
		var lengths []int
		length := 0
		tracker := Tracker{Data: func(p []byte) { length += len(p) }, Message: func() { lengths = append(lengths, length); length = 0 }}
		for part := range slices.Chunk(stream, size) {
			tracker.Follow(part)
		}
		if want := []int{2, 0, 300}; !slices.Equal(lengths, want) {
			t.Errorf("%d bytes at a time: messages of %v bytes, want %v", size, lengths, want)
		}
	}
}

func TestFirst_ShowsTheFirstMessage(t *testing.T) {
	long := strings.Repeat("x", slack+1)
	for name, tt := range map[string]struct {
		frames []byte
		want   []string
	}{
		"one frame":   {append(clientFrame(0x81, []byte("one")), clientFrame(0x81, []byte("two"))...), []string{"one"}},
		"two frames":  {slices.Concat(clientFrame(0x01, []byte("o")), clientFrame(0x89, []byte("ping")), clientFrame(0x80, []byte("ne"))), []string{"one"}},
		"nothing yet": {clientFrame(0x01, []byte("o")), nil},
		"a long one":  {append(clientFrame(0x81, []byte(long)), clientFrame(0x81, []byte("two"))...), nil},
		"compressed":  {append(clientFrame(0xc1, []byte("{}")), clientFrame(0x81, []byte("two"))...), nil},
	} {
		for _, size := range []int{len(tt.frames), 1000, 1} {
			var got []string
			first := NewFirst(func(message []byte) { got = append(got, string(message)) })
			for p := tt.frames; len(p) > 0; p = p[min(len(p), size):] {
				first.Follow(p[:min(len(p), size)])
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("%s, in pieces of %d: got %q, want %q", name, size, got, tt.want)
			}
		}
	}
	(*First)(nil).Follow([]byte("x"))
}
