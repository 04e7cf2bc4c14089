package adminapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/relayapi/caddy-relayapi/internal/strictjson"
)

const (
	// minSilence and maxSilence bound how long a token may be without a heartbeat. A
	// suspended command sends none until it resumes.
	minSilence = time.Second
	maxSilence = 24 * time.Hour

	// revokeAgain is how long after a failed revocation the next attempt follows.
	revokeAgain = time.Second

	// maxHeartbeats is how many tokens may have heartbeats at once.
	maxHeartbeats = 1 << 14
)

// Errors of [Heartbeats.Beat].
var (
	ErrSilent          = errors.New("its heartbeats stopped, so it was revoked; mint another token")
	ErrManyHeartbeats  = fmt.Errorf("more than %d tokens have heartbeats", maxHeartbeats)
	errHeartbeatsEnded = errors.New("the relay is shutting down")
)

// Heartbeat is the answer to a heartbeat.
type Heartbeat struct {
	Until time.Time `json:"until"` // the relay revokes the token then, unless another heartbeat comes
}

// HeartbeatPath returns the path in the admin API that takes the token's heartbeats.
func (i Identity) HeartbeatPath() string { return i.Path() + "/heartbeat" }

// ParseHeartbeat reads {"ttl": "4s"}: how long the token may be without another
// heartbeat.
func ParseHeartbeat(body []byte) (time.Duration, error) {
	members, err := strictjson.Parse(body, "ttl")
	if err != nil {
		return 0, err
	}
	var text string
	if data, ok := members["ttl"]; !ok || json.Unmarshal(data, &text) != nil {
		return 0, errors.New(`ttl must be a string such as "4s"`)
	}
	ttl, err := caddy.ParseDuration(text)
	if err != nil || ttl < minSilence || ttl > maxSilence {
		return 0, fmt.Errorf("ttl %.20q: must be a duration from %s to %s, such as 4s", text, minSilence, maxSilence)
	}
	return ttl, nil
}

// Heartbeats revokes tokens whose heartbeats stop, such as those of a killed command.
// Tokens that never had a heartbeat need none. Heartbeats are kept in memory, so a
// restarted relay waits for the next one, or in a store, see [Heartbeats.Share]. The
// zero value is ready to use.
type Heartbeats struct {
	mu     sync.Mutex
	leases map[Identity]*lease
	closed bool

	store   BeatStore // nil means that heartbeats are kept in memory
	stop    context.CancelFunc
	stopped chan struct{}
}

// lease is the time that a heartbeat gives a token.
type lease struct {
	until  time.Time
	timer  *time.Timer
	revoke func() error
	silent bool // until has passed; no heartbeat extends it again
	done   bool // it is revoked
}

// Beat records a heartbeat of a token. If no other one follows within ttl, Heartbeats
// calls revoke until it succeeds. After that, Beat returns [ErrSilent].
func (h *Heartbeats) Beat(i Identity, ttl time.Duration, revoke func() error) (Heartbeat, error) {
	if h.store != nil {
		return h.beatShared(i, ttl)
	}
	h.mu.Lock()
	defer h.mu.Unlock()

	l, known := h.leases[i]
	switch {
	case h.closed:
		return Heartbeat{}, errHeartbeatsEnded
	case known && l.silent:
		return Heartbeat{}, ErrSilent
	case !known && !h.makeRoom():
		return Heartbeat{}, ErrManyHeartbeats
	case !known:
		l = &lease{timer: time.AfterFunc(ttl, func() { h.expire(i) })}
		h.leases[i] = l
	}
	l.until, l.revoke = time.Now().Add(ttl), revoke
	l.timer.Reset(ttl)
	return Heartbeat{Until: l.until.UTC()}, nil
}

// makeRoom removes revoked tokens if there are too many, and reports whether there is
// room for one more.
func (h *Heartbeats) makeRoom() bool {
	if h.leases == nil {
		h.leases = make(map[Identity]*lease)
	}
	if len(h.leases) < maxHeartbeats {
		return true
	}
	for i, l := range h.leases {
		if l.done {
			delete(h.leases, i)
		}
	}
	return len(h.leases) < maxHeartbeats
}

// expire revokes a token if its time is over.
func (h *Heartbeats) expire(i Identity) {
	h.mu.Lock()
	l := h.leases[i]
	if h.closed || l == nil || time.Now().Before(l.until) {
		h.mu.Unlock()
		return
	}
	l.silent = true
	h.mu.Unlock()

	err := l.revoke()

	h.mu.Lock()
	defer h.mu.Unlock()
	if l.done = err == nil; !l.done && !h.closed && h.leases[i] == l {
		l.timer.Reset(revokeAgain)
	}
}

// Forget ends the heartbeats of a token that was revoked otherwise.
func (h *Heartbeats) Forget(i Identity) {
	if h.store != nil {
		_ = h.store.ForgetBeats(context.Background(), i.Issuer, i.ID) // it is revoked anyway
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if l := h.leases[i]; l != nil {
		l.timer.Stop()
		delete(h.leases, i)
	}
}

// Close ends all heartbeats. It revokes no token.
func (h *Heartbeats) Close() {
	if h.store != nil {
		h.stop()
		<-h.stopped
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	for _, l := range h.leases {
		l.timer.Stop()
	}
	clear(h.leases)
}
