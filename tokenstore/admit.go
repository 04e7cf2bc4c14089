package tokenstore

import (
	"cmp"
	"context"
	"slices"
	"time"
)

// birthGrace is how far an issuer's clock may be behind the store's.
const birthGrace = 60 * time.Second

// Admit makes the token known at its first use and takes all charges or none.
// When it returns nil, both are durable. A known token without charges needs no
// durable step, nor do charges that a lease covers.
//
// It fails with an [*ExhaustedError] that names a counter with not enough left,
// with [ErrConflict], [ErrPredates], [ErrRevoked], [ErrDisabled] or [ErrPruned],
// and for any other reason with [ErrUnavailable]. A failed Admit has admitted
// nothing. It may be tried again: when a commit's outcome is in doubt, that
// costs units and never grants them twice.
//
// The context bounds the wait for the store.
func (l *Ledger) Admit(ctx context.Context, t *Token, charges []Charge) error {
	if err := checkCharges(charges); err != nil {
		return unavailable(err)
	}
	if len(charges) > 0 && t.IssuedAt.Before(l.Birth().Add(-birthGrace)) {
		return ErrPredates
	}
	_, known, err := l.record(t)
	if err != nil {
		return err
	}
	if known && len(charges) == 0 {
		return nil
	}
	var learn *learning
	if !known {
		learn = newLearning(t)
	}
	return l.charge(ctx, t, charges, learn)
}

// charge takes all charges from their leases, and waits for grants and for the
// token to be known where they are not there yet.
func (l *Ledger) charge(ctx context.Context, t *Token, charges []Charge, learn *learning) error {
	var room [4]claim // more than that are rare, and go to the heap
	claims := l.claim(room[:0], t, charges)
	for first := true; ; first = false {
		taken, err := l.tryTake(claims, learn, first)
		if err != nil && learn != nil {
			l.writer.ask(learn) // a refused token is known all the same
		}
		if err != nil || taken {
			return err
		}
		if err := l.wait(ctx, claims, learn); err != nil {
			return err
		}
		learn = nil
	}
}

// claim is what one call takes from one account.
type claim struct {
	account *account
	units   int64
	limit   int64
	granted <-chan struct{} // to wait on, when the lease has not enough
}

// claim finds the accounts of a token's charges, each once, in the order of locking.
func (l *Ledger) claim(claims []claim, t *Token, charges []Charge) []claim {
	for _, c := range charges {
		// By its counter: the account may be forgotten and made anew meanwhile.
		i := slices.IndexFunc(claims, func(k claim) bool { return k.account.counter == c.Counter })
		if i < 0 {
			claims = append(claims, claim{account: l.accountOf(t, c.Counter), units: c.Amount, limit: c.Limit})
			continue
		}
		claims[i].units = sum(claims[i].units, c.Amount)
		claims[i].limit = min(claims[i].limit, c.Limit)
	}
	sortClaims(claims)
	return claims
}

// tryTake takes all claims, if every lease has enough and there is no token to
// be learned. Otherwise it asks for what is missing; the claims have what to wait
// on. first is whether the call has not waited yet, so that a failed commit is
// not its own.
func (l *Ledger) tryTake(claims []claim, learn *learning, first bool) (taken bool, err error) {
	now := l.now()
	l.lockAll(claims)
	defer unlockAll(claims)
	var room [4]*account
	short := room[:0]
	for i := range claims {
		c := &claims[i]
		a := c.account
		c.granted = nil
		if a.spent(c.units, c.limit, now) {
			return false, &ExhaustedError{Counter: a.counter, Limit: c.limit}
		}
		a.adopt(c.units, c.limit)
		switch {
		case c.units <= min(a.lease, c.limit):
			continue
		case !first && a.err != nil:
			return false, unavailable(a.err)
		case c.units > c.limit:
			return false, &ExhaustedError{Counter: a.counter, Limit: c.limit}
		}
		if a.granted == nil {
			a.granted = make(chan struct{})
		}
		c.granted = a.granted
		short = append(short, a)
	}
	if len(short) > 0 || learn != nil {
		for i := range claims {
			if c := &claims[i]; c.granted != nil {
				c.account.need = sum(c.account.need, c.units-c.account.lease)
			}
		}
		l.writer.ask(learn, short...)
		return false, nil
	}
	for i := range claims {
		a := claims[i].account
		a.take(claims[i].units, now)
		switch {
		case a.asked || !a.low():
		case a.slow(now):
			l.writer.askLater(a)
		default:
			l.writer.ask(nil, a)
		}
	}
	return true, nil
}

// lock locks the account of a counter.
func (l *Ledger) lock(c Counter) *account {
	for {
		a := l.account(c)
		a.mu.Lock()
		if !a.gone.Load() {
			return a
		}
		a.mu.Unlock()
	}
}

// lockAll locks the accounts of all claims, in their order, so that two calls
// never wait for each other. One that was forgotten is looked up anew, and with
// it the order changes.
func (l *Ledger) lockAll(claims []claim) {
	for {
		forgotten := false
		for i := range claims {
			claims[i].account.mu.Lock()
			forgotten = forgotten || claims[i].account.gone.Load()
		}
		if !forgotten {
			return
		}
		unlockAll(claims)
		for i := range claims {
			claims[i].account = l.account(claims[i].account.counter)
		}
		sortClaims(claims)
	}
}

func unlockAll(claims []claim) {
	for i := range claims {
		claims[i].account.mu.Unlock()
	}
}

func sortClaims(claims []claim) {
	if len(claims) > 1 {
		slices.SortFunc(claims, func(a, b claim) int { return cmp.Compare(a.account.seq, b.account.seq) })
	}
}

// wait waits for all grants that are asked for, and for the token to be known.
// Who looked again after the first grant would ask twice for the others.
func (l *Ledger) wait(ctx context.Context, claims []claim, learn *learning) (err error) {
	for i := 0; i <= len(claims) && err == nil; i++ {
		var granted <-chan struct{}
		var known <-chan error
		switch {
		case i < len(claims):
			granted = claims[i].granted
		case learn != nil:
			known = learn.done
		}
		if granted == nil && known == nil {
			continue
		}
		select {
		case <-granted:
		case err = <-known:
		case <-ctx.Done():
			err = unavailable(context.Cause(ctx))
		case <-l.done:
			err = unavailable(errClosed)
		}
	}
	return err
}

// Settle gives back charges that were admitted, or a part of their amounts.
// Call it at most once for each: more would grant units twice. The units go
// back to the lease, and from there to the database when it is idle. Where the
// limit they were admitted under is no longer in force they go to the database:
// they may be more than a lower one permits.
func (l *Ledger) Settle(_ context.Context, charges []Charge) error {
	for _, c := range charges {
		c.Limit = 0 // what is given back needs no limit
		if err := checkCharges([]Charge{c}); err != nil {
			return unavailable(err)
		}
	}
	if err := l.stopped(); err != nil {
		return err
	}
	for _, c := range charges {
		a := l.lock(c.Counter)
		a.giveBack(c, l.now())
		a.mu.Unlock()
	}
	return nil
}
