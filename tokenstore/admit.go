package tokenstore

import (
	"cmp"
	"context"
	"slices"
	"time"
)

// birthGrace is how far an issuer's clock may be behind the store's.
const birthGrace = 60 * time.Second

// Admit records the token at its first use and charges a call, all or nothing. It takes
// the cost from the token's own limits, which are [Token.Limits] unless the operator
// has overridden them, and it takes the other charges, which name their limits. A unit
// without a limit is not counted for the token. When Admit returns nil, all charges are
// durable. A known token without charges needs no durable step, nor do charges that a
// lease covers.
//
// The result is what was charged: others and the charges on the token's own
// counters, appended to it. Pass it to [Ledger.Settle].
//
// Admit fails with an [*ExhaustedError] that names a counter with not enough left,
// with [ErrConflict], [ErrPredates], [ErrRevoked], [ErrDisabled] or [ErrPruned],
// and for any other reason with [ErrUnavailable]. A failed Admit has admitted
// nothing and may be tried again: a commit whose outcome is in doubt costs units
// but never grants them twice.
//
// The context bounds the wait for the store.
func (l *Ledger) Admit(ctx context.Context, t *Token, cost Amounts, others []Charge) ([]Charge, error) {
	if err := cost.check(); err != nil {
		return nil, unavailable(err)
	}
	if err := checkCharges(others); err != nil {
		return nil, unavailable(err)
	}

	var learned *learning // nil: the token is known
	var room [4]claim     // more are rare and allocated
	for first := true; ; first = false {
		r, known, err := l.record(t)
		if err != nil {
			return nil, err
		}
		if !known && learned != nil { // it was evicted from memory at once
			r, known = learned.record, true
		}

		charges := t.charges(others, cost, r.override)
		if len(charges) > 0 && t.IssuedAt.Before(l.Birth().Add(-birthGrace)) {
			return nil, ErrPredates
		}
		if known && len(charges) == 0 {
			return charges, nil
		}

		var learn *learning
		if !known {
			learn = newLearning(t)
			learned = learn
		}
		claims := l.claim(room[:0], t, charges)
		if taken, err := l.tryTake(claims, learn, first); err != nil || taken {
			return charges, err
		}
		if err := l.wait(ctx, claims, learn); err != nil {
			return nil, err
		}
	}
}

// charges appends to others what a call costs on the token's own counters.
func (t *Token) charges(others []Charge, cost Amounts, override Limits) []Charge {
	limits := t.Limits.override(override)
	for _, u := range Units {
		if amount, limit := cost.Of(u), limits.Of(u); amount > 0 && limit != nil {
			counter := tokenCounter(t.Issuer, t.ID, u)
			others = append(others, Charge{Counter: counter, Amount: amount, Limit: max(0, *limit)})
		}
	}
	return others
}

// claim is what one call takes from one account.
type claim struct {
	account *account
	units   int64
	limit   int64
	granted <-chan struct{} // to wait for; nil: the lease has enough
}

// claim finds the accounts of charges, each once, in the order of locking.
func (l *Ledger) claim(claims []claim, t *Token, charges []Charge) []claim {
	for _, c := range charges {
		// Compare counters: the account may be forgotten and created again meanwhile.
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

// tryTake takes all claims if every lease has enough and the token is known. Otherwise
// it asks for the missing units and sets the channels to wait for. first means that the
// call has not waited yet, so that a failed commit is not its own.
func (l *Ledger) tryTake(claims []claim, learn *learning, first bool) (taken bool, err error) {
	now := l.now()
	l.lockAll(claims)
	defer unlockAll(claims)

	var room [4]*account
	short := room[:0]
	for i := range claims {
		lacks, err := claims[i].prepare(learn != nil, first, now)
		if err != nil {
			return false, err
		}
		if lacks {
			short = append(short, claims[i].account)
		}
	}

	if len(short) > 0 || learn != nil {
		for i := range claims {
			claims[i].ask()
		}
		l.writer.ask(learn, short...)
		return false, nil
	}

	for i := range claims {
		l.take(&claims[i], now)
	}
	return true, nil
}

// prepare puts the limit of a claim in force and reports whether the lease lacks
// units. It fails if the limit leaves too little. While the token is being learned
// the operator's override is not known: then it raises no limit and refuses nothing.
func (c *claim) prepare(learning, first bool, now time.Time) (lacks bool, err error) {
	a := c.account
	c.granted = nil
	if !learning && a.spent(c.units, c.limit, now) {
		return false, &ExhaustedError{Counter: a.counter, Limit: c.limit}
	}

	switch {
	case learning:
		a.adopt(c.units, min(c.limit, a.limit))
		return c.units <= c.limit && c.units > a.lease, nil
	default:
		a.adopt(c.units, c.limit)
	}

	switch {
	case c.units <= min(a.lease, c.limit):
		return false, nil
	case !first && a.err != nil:
		return false, unavailable(a.err)
	case c.units > c.limit:
		return false, &ExhaustedError{Counter: a.counter, Limit: c.limit}
	}
	return true, nil
}

// ask adds what a claim lacks to the need of its account.
func (c *claim) ask() {
	a := c.account
	if lacks := c.units - max(0, a.lease); lacks > 0 && c.units <= c.limit {
		a.need = sum(a.need, lacks)
		if a.granted == nil {
			a.granted = make(chan struct{})
		}
		c.granted = a.granted
	}
}

// take takes one claim from its lease, and asks for more ahead of need.
func (l *Ledger) take(c *claim, now time.Time) {
	a := c.account
	a.take(c.units, now)

	switch {
	case a.asked || !a.low():
	case a.slow(now):
		l.writer.askLater(a)
	default:
		l.writer.ask(nil, a)
	}
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

// lockAll locks the accounts of all claims in their order, so that two calls never
// wait for each other. It looks up forgotten accounts again, which changes the order.
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

// wait waits for all grants that were asked for, and for the token to be known.
// Retrying after the first grant would ask twice for the others.
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
