package ws

import (
	"errors"
	"net"
	"slices"
	"sync"
)

var (
	// ErrFrame means that the client sent a frame that RFC 6455 does not permit.
	ErrFrame = errors.New("a WebSocket frame that RFC 6455, section 5, does not permit")

	// ErrTooLong means that a message is longer than one that is looked into.
	ErrTooLong = errors.New("the message is longer than one whose model is read")

	// ErrFull means that there is no memory left for the message.
	ErrFull = errors.New("too many messages are buffered, in total or for this token")
)

// MaxMessage is the longest message that is looked into, in bytes.
const MaxMessage = 16 << 20

// slack is how much more than a message may be held: its frames' headers, and
// control frames between them.
const slack = 64 << 10

// Memory counts the memory of messages.
type Memory interface {
	// Take counts n bytes more, or fewer, and reports whether they are permitted.
	Take(n int64) bool
	// Within reports whether what is counted is permitted.
	Within() bool
}

// Guard holds what a client says until each message is complete, and passes on what
// a check permits. After an error nothing passes any more. Its methods may be called
// concurrently: a connection may still be written to when its call is over.
type Guard struct {
	mu     sync.Mutex
	check  func(message []byte) (changed []byte, err error)
	memory Memory
	failed error

	held    []byte // bytes that have not passed
	seen    int    // of them, in complete frames
	took    int64  // counted in memory
	message []byte // so far, unmasked
	opcode  byte   // of its first frame
	between []byte // control frames between its frames
	within  bool   // a message has begun and is incomplete
}

// NewGuard returns a guard that passes the messages for which check returns no error. If
// check returns a changed message, that passes instead.
func NewGuard(check func(message []byte) (changed []byte, err error), memory Memory) *Guard {
	return &Guard{check: check, memory: memory}
}

// Pass takes what the client sent and returns what may pass, byte for byte, unless check
// has changed it. The
// error is that of the check, [ErrFrame], [ErrTooLong], [ErrFull], or [net.ErrClosed]
// after Close.
func (g *Guard) Pass(p []byte) (pass []byte, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()

	if g.failed == nil {
		pass, g.failed = g.pass(p)
	}
	if g.failed != nil {
		g.held, g.message, pass = nil, nil, nil
	}
	g.count(int64(cap(g.held) + cap(g.message)))
	return pass, g.failed
}

// Close releases the memory that is counted. Nothing passes any more. A nil guard has
// nothing to close.
func (g *Guard) Close() {
	if g == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()

	g.failed, g.held, g.message = net.ErrClosed, nil, nil
	g.count(0)
}

func (g *Guard) count(n int64) {
	if n != g.took {
		g.memory.Take(n - g.took)
		g.took = n
	}
}

func (g *Guard) pass(p []byte) (pass []byte, err error) {
	g.held = append(g.held, p...)
	passed := 0
	for {
		h, size := parseHeader(g.held[g.seen:])
		switch {
		case size > 0 && !g.permits(h):
			return nil, ErrFrame
		case h.length > MaxMessage || len(g.message) > MaxMessage || len(g.held)-passed > MaxMessage+slack:
			return nil, ErrTooLong
		case len(g.held) > slack && !g.memory.Within():
			return nil, ErrFull
		case size == 0 || uint64(len(g.held)-g.seen-size) < h.length: // more is to come
			return g.cut(passed), nil
		}

		begin := g.seen
		payload := g.held[begin+size:][:h.length]
		g.seen += size + len(payload)
		changed, err := g.take(h, payload, g.held[begin:g.seen])
		if err != nil {
			return nil, err
		}
		if changed != nil { // it replaces everything since the message began
			rest := g.held[g.seen:]
			g.held = append(append(slices.Clone(g.held[:passed]), changed...), rest...)
			g.seen = passed + len(changed)
		}
		if !g.within {
			passed = g.seen
		}
	}
}

// cut takes the first n bytes out of what is held.
func (g *Guard) cut(n int) []byte {
	pass := g.held[:n]
	g.held, g.seen = g.held[n:], g.seen-n
	if len(g.held) == 0 { // the array is the caller's now
		g.held = nil
	}
	return pass
}

// permits reports whether a client may send a frame now (RFC 6455, sections 5.1,
// 5.4 and 5.5).
func (g *Guard) permits(h header) bool {
	switch h.opcode {
	case opContinuation:
		return h.masked && !h.reserved && g.within
	case opText, opBinary:
		return h.masked && !h.reserved && !g.within
	}
	return h.masked && !h.reserved && h.opcode >= opClose && h.opcode <= opPong && h.final && h.length <= 125
}

// take adds a frame to its message, and checks the message when it is complete. It
// returns the bytes to pass instead of the message's, or nil.
func (g *Guard) take(h header, payload, frame []byte) (changed []byte, err error) {
	if h.opcode >= opClose {
		if g.within {
			g.between = append(g.between, frame...)
		}
		return nil, nil
	}
	if h.opcode != opContinuation {
		g.opcode, g.between = h.opcode, nil
	}
	for i, c := range payload {
		g.message = append(g.message, c^h.mask[i%4])
	}
	if g.within = !h.final; g.within {
		return nil, nil
	}

	message, err := g.check(g.message)
	if message != nil && err == nil {
		changed = appendFrame(g.between, g.opcode, h.mask, message)
	}
	if g.message = g.message[:0]; cap(g.message) > slack {
		g.message = nil
	}
	return changed, err
}

// First shows the first message of a client without holding it up. Later messages are
// not read. A nil First does nothing.
type First struct{ guard *Guard }

var errSeen = errors.New("the first message was seen")

// NewFirst returns a First that calls show with the first message, unless that is longer
// than 64 KiB or compressed.
func NewFirst(show func(message []byte)) *First {
	return &First{NewGuard(func(message []byte) ([]byte, error) {
		show(message)
		return nil, errSeen
	}, noMemory{})}
}

// Follow reads the next part of what the client sent.
func (f *First) Follow(p []byte) {
	if f == nil || f.guard == nil {
		return
	}
	if _, err := f.guard.Pass(p); err != nil {
		f.guard = nil
	}
}

// noMemory permits messages that take no more memory than the slack.
type noMemory struct{}

func (noMemory) Take(int64) bool { return false }
func (noMemory) Within() bool    { return false }
