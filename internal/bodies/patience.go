package bodies

import (
	"errors"
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

// Whether a body is awaited; 0 means that it is not.
const (
	awaited = 1
	tooSlow = 2
)

// InTime runs read, which reads the body, while [Client.Check] looks whether it comes in
// time. The error is that of read or [ErrTooSlow].
func (b *Client) InTime(read func() error) error {
	b.since = time.Now()
	b.awaited.Store(awaited)
	err := read()
	if b.awaited.Swap(0) == tooSlow {
		return ErrTooSlow
	}
	return err
}

// Check interrupts the body if it is awaited and takes longer than it may, by what has
// come of it over the wire.
func (b *Client) Check(now time.Time) {
	if b.awaited.Load() != awaited {
		return
	}
	allowed := Patience + time.Duration(b.read.Load()/pace)*time.Second
	if now.Sub(b.since) >= allowed && b.awaited.CompareAndSwap(awaited, tooSlow) {
		_ = b.Interrupt()
	}
}
