package tokenstore

import (
	"context"
	"sync"
	"time"
)

const (
	slotsExpire = 30 * time.Second
	slotsRenew  = 10 * time.Second
	slotShare   = 8 // a process keeps up to the limit divided by this many free slots for a second
)

// slotLease is the slots of a key that this process holds.
type slotLease struct {
	key string

	mu     sync.Mutex
	held   int64 // in the database, or fewer
	inUse  int64
	limit  int64
	stored time.Time // when the database was last told
	used   time.Time
	queued bool // for the next push
	failed bool // the database may have more than held
	gone   bool // forgotten: look the key up again
}

// Slot is a place among the calls of a key that may be in flight at once. Free it
// with Release.
type Slot struct {
	shared *Shared
	lease  *slotLease
	once   sync.Once
}

// TakeSlot takes a slot of a key, unless all processes together have as many calls
// in flight as the limit permits. Then it returns nil.
//
// The number is exact, except that the slots of a process expire 30 seconds after it
// was last in contact with the database, although its calls may still be in flight.
// A slot is free for other processes a moment after Release, and within a second if
// the limit is 8 or more.
func (s *Shared) TakeSlot(ctx context.Context, key string, limit int64) (*Slot, error) {
	l := s.lockSlots(key)
	defer l.mu.Unlock()

	l.limit, l.used = limit, time.Now()
	if l.used.Sub(l.stored) > slotsExpire {
		l.held = 0 // they have expired, and others may have taken them
	}
	if l.inUse < min(l.held, limit) {
		l.inUse++
		return &Slot{shared: s, lease: l}, nil
	}

	if err := l.store(ctx, s, l.inUse+1); err != nil {
		return nil, err
	}
	if l.inUse >= min(l.held, limit) {
		return nil, nil
	}
	l.inUse++
	return &Slot{shared: s, lease: l}, nil
}

func (s *Shared) lockSlots(key string) *slotLease {
	for {
		l := s.slots.get(key, func() *slotLease { return &slotLease{key: key} })
		l.mu.Lock()
		if !l.gone {
			return l
		}
		l.mu.Unlock() // it is about to leave the map
	}
}

// Release frees the slot. Further calls have no effect.
func (slot *Slot) Release() {
	slot.once.Do(func() {
		l := slot.lease
		l.mu.Lock()
		defer l.mu.Unlock()

		l.inUse--
		l.used = time.Now()
		if l.held-l.inUse <= l.limit/slotShare || l.queued {
			return
		}
		select {
		case slot.shared.dirty <- l:
			l.queued = true
		default: // run stores it within a second
		}
	})
}

// store asks for a number of slots and sets how many are held. Slots to give up leave
// memory first. The caller holds the lock.
func (l *slotLease) store(ctx context.Context, s *Shared, want int64) error {
	l.held = min(l.held, want)
	begin := time.Now()
	var held int64
	// Slots in use are kept, even if others took them after they had expired.
	err := s.onKey(ctx, l.key, []any{&held}, storeSlots, l.key, s.node, want, l.limit, l.inUse, int64(slotsExpire/time.Second))
	if l.failed = err != nil; l.failed {
		return err
	}
	l.held, l.stored = held, begin
	return nil
}

// push stores the number of held slots if it has changed or was stored long ago. gone
// means that the key can be forgotten.
func (l *slotLease) push(s *Shared) (gone bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()

	want := l.inUse
	if time.Since(l.used) < sweepEvery {
		want = min(l.held, want+l.limit/slotShare)
	}
	l.queued = false
	if want < l.held || l.failed || l.held > 0 && time.Since(l.stored) > slotsRenew {
		err = l.store(context.Background(), s, want) // a failure is retried in a second
	}
	l.gone = l.held+l.inUse == 0 && !l.failed && time.Since(l.used) > slotsExpire
	return l.gone, err
}

// storeSlots sets how many slots a process holds: at most as many as it wants, and as
// the others leave.
const storeSlots = `
	WITH clock AS (SELECT floor(extract(epoch FROM clock_timestamp()))::bigint AS now),
	others AS (SELECT coalesce(sum(held), 0)::bigint AS held FROM slots, clock WHERE key = $1 AND node <> $2 AND expires > now),
	mine AS (SELECT greatest($5::bigint, least($3::bigint, $4::bigint - held)) AS n FROM others),
	stored AS (INSERT INTO slots (key, node, held, expires) SELECT $1, $2, n, now + $6::bigint FROM mine, clock
		ON CONFLICT (key, node) DO UPDATE SET held = excluded.held, expires = excluded.expires)
	SELECT n FROM mine`
