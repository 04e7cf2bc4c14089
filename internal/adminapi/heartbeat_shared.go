package adminapi

import (
	"context"
	"time"

	"github.com/relayapi/caddy-relayapi/tokenstore"
)

// lookEvery is how often a relay looks for tokens whose heartbeats have stopped,
// including those that other relays received. A token is revoked at most this long
// after its last heartbeat has expired.
const lookEvery = 400 * time.Millisecond

// afterOutage is how long a relay revokes nothing after the store was away. In the meantime
// no relay could take a heartbeat.
const afterOutage = 5 * time.Second

// BeatStore keeps the heartbeats of several relays. It is a [tokenstore.Shared].
type BeatStore interface {
	Beat(ctx context.Context, issuer, id string, ttl time.Duration) (alive bool, err error)
	Reachable(ctx context.Context) error
	TakeSilent(ctx context.Context) ([]tokenstore.Silent, error)
	Silenced(ctx context.Context, issuer, id string) error
	ForgetBeats(ctx context.Context, issuer, id string) error
}

// Share keeps the heartbeats in a store from now on, so that any relay can receive
// them, and any relay can revoke silent tokens. Call it before the first heartbeat.
func (h *Heartbeats) Share(store BeatStore, revoke func(Identity) error) {
	ctx, cancel := context.WithCancel(context.Background())
	h.store, h.stop, h.stopped = store, cancel, make(chan struct{})
	go func() {
		defer close(h.stopped)
		tick := time.NewTicker(lookEvery)
		defer tick.Stop()
		var patient time.Time // until then
		for {
			select {
			case <-ctx.Done():
				return
			case now := <-tick.C:
				switch {
				case h.store.Reachable(ctx) != nil:
					patient = time.Now().Add(afterOutage)
				case !now.Before(patient):
					h.revokeSilent(ctx, revoke)
				}
			}
		}
	}()
}

// revokeSilent revokes the tokens that have fallen silent. If a revocation fails, some
// relay soon tries again.
func (h *Heartbeats) revokeSilent(ctx context.Context, revoke func(Identity) error) {
	silent, err := h.store.TakeSilent(ctx)
	if err != nil {
		return // if the store stays unreachable, the relay admits no calls either
	}
	for _, t := range silent {
		if revoke(Identity{Issuer: t.Issuer, ID: t.ID}) == nil {
			_ = h.store.Silenced(ctx, t.Issuer, t.ID) // if it fails, the token is revoked once more
		}
	}
}

// beatShared is Beat for several relays.
func (h *Heartbeats) beatShared(i Identity, ttl time.Duration) (Heartbeat, error) {
	until := time.Now().Add(ttl)
	alive, err := h.store.Beat(context.Background(), i.Issuer, i.ID, ttl)
	switch {
	case err != nil:
		return Heartbeat{}, err
	case !alive:
		return Heartbeat{}, ErrSilent
	}
	return Heartbeat{Until: until.UTC()}, nil
}
