package relayapi

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/relayapi/caddy-relayapi/grant"
	"github.com/relayapi/caddy-relayapi/tokenstore"
)

// live holds the calls that are under way on one store, so that they end with
// their tokens, whichever config they came in by. It is sharded so that calls do
// not meet.
type live struct{ shards [64]liveShard }

type liveShard struct {
	mu    sync.Mutex
	first *route
}

// liveCall is a call's place among the others of its shard.
type liveCall struct {
	shard          *liveShard
	next, previous *route
}

// Why calls are ended from here.
var (
	endRevoked = refuse(codeRevoked, "the token was revoked or disabled during the call")
	endExpired = refuse(string(grant.Expired), "the token expired during the call")
)

// ended returns why a call was ended from here, or nil.
func ended(ctx context.Context) *refusal {
	if ctx.Err() == nil {
		return nil
	}
	var why *refusal
	if !errors.As(context.Cause(ctx), &why) {
		return nil
	}
	return why
}

// add registers a call until [live.remove], and makes a context for it that its
// end cancels.
func (l *live) add(ctx context.Context, rt *route) {
	rt.Context, rt.cancel = context.WithCancelCause(ctx)
	shard := &l.shards[rand.IntN(len(l.shards))]
	shard.mu.Lock()
	defer shard.mu.Unlock()
	rt.live = liveCall{shard: shard, next: shard.first}
	if shard.first != nil {
		shard.first.live.previous = rt
	}
	shard.first = rt
}

func (l *live) remove(rt *route) {
	rt.live.remove()
	rt.cancel(nil)
}

func (c *liveCall) remove() {
	c.shard.mu.Lock()
	defer c.shard.mu.Unlock()
	if c.previous != nil {
		c.previous.live.next = c.next
	} else {
		c.shard.first = c.next
	}
	if c.next != nil {
		c.next.live.previous = c.previous
	}
}

// end ends the calls of the tokens that match, and returns how many there were.
func (l *live) end(why *refusal, matches func(*tokenstore.Token) bool) (n int) {
	for i := range l.shards {
		shard := &l.shards[i]
		shard.mu.Lock()
		for rt := shard.first; rt != nil; rt = rt.live.next {
			if matches(rt.token) {
				rt.end(why)
				n++
			}
		}
		shard.mu.Unlock()
	}
	return n
}

// expiryEvery is how late a call may be ended whose token has expired. One look
// at all of them costs less than a timer for each.
const expiryEvery = 500 * time.Millisecond

// watch ends the calls of tokens that expire, until done is closed.
func (l *live) watch(done <-chan struct{}) {
	tick := time.NewTicker(expiryEvery)
	defer tick.Stop()
	for {
		select {
		case now := <-tick.C:
			l.end(endExpired, func(t *tokenstore.Token) bool { return !now.Before(t.ExpiresAt) })
		case <-done:
			return
		}
	}
}
