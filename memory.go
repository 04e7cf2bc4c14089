package relayapi

import (
	"bytes"
	"errors"
	"math/bits"
	"sync"
	"sync/atomic"
)

// maxBodies is how much memory may be taken at once by the bodies and messages, of all
// calls, that are looked into for their models.
const maxBodies = 512 << 20

var errBodiesFull = errors.New("the bodies that are being looked into take all memory that there is for them, or this token's take more than is left")

// share is the part of the memory for bodies that those of one token take. It may grow
// to what it leaves free: one token alone gets half of all, each of two a third, and
// none leaves the others nothing.
type share struct {
	all, own *atomic.Int64
}

// take counts n bytes more, or fewer, and reports whether they are within the share.
// They count in either case.
func (s share) take(n int64) bool {
	s.all.Add(n)
	s.own.Add(n)
	return s.within()
}

// within reports whether the token takes no more than is left.
func (s share) within() bool { return s.own.Load() <= maxBodies-s.all.Load() }

// shareOf is the share of a token's bodies.
func (l *ledger) shareOf(p *permit) share { return share{&l.bodies, &p.bodies} }

const (
	leastRoomBits = 16
	leastRoom     = 1 << leastRoomBits // what a buffer has room for at least
)

// buffers are for long bodies: those at i have room for leastRoom<<i, and for less than
// twice that. Without them, to clear and to collect what every body took cost more than
// to look into it. Longer ones are not kept.
var buffers [6]sync.Pool

// newBuffer returns a buffer with room for a body of a length, as far as that is known
// and room is kept.
func newBuffer(length int64) *bytes.Buffer {
	const most = leastRoom << (len(buffers) - 1)
	room := min(max(0, length), most-bytes.MinRead) + bytes.MinRead // that much more, or the buffer grows to see the end
	i := max(0, bits.Len64(uint64(room-1))-leastRoomBits)
	if b, ok := buffers[i].Get().(*bytes.Buffer); ok {
		b.Reset()
		return b
	}
	return bytes.NewBuffer(make([]byte, 0, leastRoom<<i))
}

// keepBuffer keeps a buffer that nobody reads any more for another body.
func keepBuffer(b *bytes.Buffer) {
	if i := bits.Len(uint(b.Cap())) - 1 - leastRoomBits; 0 <= i && i < len(buffers) {
		buffers[i].Put(b)
	}
}
