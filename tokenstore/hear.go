package tokenstore

import (
	"fmt"
	"slices"
	"time"
)

// hear applies the changes of other processes. It returns a function that matches the
// tokens that must no longer be used, or nil. It returns the leases of counters whose
// limit has changed: they were granted under the former limit, and this process does
// not know the count of all processes.
func (l *Ledger) hear(events []event) (matches func(*Token) bool, err error) {
	l.writer.flushing.Lock() // no grant of the former limit is published afterwards
	defer l.writer.flushing.Unlock()

	if slices.ContainsFunc(events, func(e event) bool { return e.kind == eventReload }) {
		return l.reload()
	}
	var revoked []Revocation
	disabled := make(map[identity]bool)
	for _, e := range events {
		switch e.kind {
		case eventRevocation:
			before, err := l.db.revokedBefore(e.scope, e.issuer, e.id)
			if err != nil {
				return nil, fmt.Errorf("reading revocation: %w", err)
			}
			if before != 0 { // otherwise it was pruned
				revoked = append(revoked, Revocation{e.scope, e.issuer, e.id, unixTime(before)})
			}
		case eventToken:
			r, err := l.db.record(e.issuer, e.id)
			if err != nil && err != ErrUnknown {
				return nil, fmt.Errorf("reading token: %w", err)
			}
			i := identity{e.issuer, e.id}
			disabled[i] = r.Status == Disabled
			l.tokenChanged(i)
		case eventPruned:
			pruned, err := l.db.prunedThrough()
			if err != nil {
				return nil, fmt.Errorf("reading what was pruned: %w", err)
			}
			l.pruned.Store(max(l.pruned.Load(), pruned))
			l.known.forgetAll()
		case eventLimit:
			if err := l.reloadLimits(); err != nil {
				return nil, err
			}
			l.giveUp(e.limits)
		}
	}

	l.revoked.Store(l.revoked.Load().with(revoked...))
	return func(t *Token) bool {
		return disabled[identity{t.Issuer, t.ID}] || slices.ContainsFunc(revoked, func(r Revocation) bool { return r.Matches(t) })
	}, nil
}

// limits reports whether a limit that the event is about applies to a counter.
func (e event) limits(c Counter) bool {
	return c.Scope == e.scope && c.Unit == e.unit && (e.id == "" || c.ID == e.id)
}

// tokenChanged makes the next call of a token read its record again.
func (l *Ledger) tokenChanged(i identity) {
	l.known.forget(i)
	l.giveUp(func(c Counter) bool {
		return c.Scope == ScopeToken && c.ID == i.issuer+"/"+i.id
	})
}

func (l *Ledger) reloadLimits() error {
	limits, err := l.db.limits()
	if err != nil {
		return fmt.Errorf("reading limits: %w", err)
	}
	if have := l.limits.Load(); !slices.Equal(have.Limits, limits) {
		l.limits.Store(&LimitSet{have.Version + 1, limits})
	}
	return nil
}

// reload reads everything that memory caches of the database. It keeps revocations that
// only memory has, because it is safer to refuse too much until the next start.
func (l *Ledger) reload() (matches func(*Token) bool, err error) {
	revoked, err := l.db.revocations()
	if err != nil {
		return nil, fmt.Errorf("reading revocations: %w", err)
	}
	pruned, err := l.db.prunedThrough()
	if err != nil {
		return nil, fmt.Errorf("reading what was pruned: %w", err)
	}
	disabled, err := l.db.disabled()
	if err != nil {
		return nil, fmt.Errorf("reading disabled tokens: %w", err)
	}
	if err := l.db.readBirth(); err != nil {
		return nil, fmt.Errorf("reading birth: %w", err)
	}
	if err := l.reloadLimits(); err != nil {
		return nil, err
	}

	all := l.revoked.Load().with(revoked...)
	l.revoked.Store(all)
	l.pruned.Store(max(l.pruned.Load(), pruned))
	l.known.forgetAll()
	l.giveUp(func(Counter) bool { return true })
	return func(t *Token) bool { return disabled[identity{t.Issuer, t.ID}] || all.match(t) }, nil
}

// giveUp returns the leases of some counters.
func (l *Ledger) giveUp(which func(Counter) bool) {
	l.empty(which, func(a *account) { a.sendBack(a.lease) })
}

// discard drops all leases and all queued returns, because the database that granted
// them is gone. Overruns stay owed. begin switches to the new database, from which
// everything is read again.
func (l *Ledger) discard(begin func()) (matches func(*Token) bool, err error) {
	l.writer.flushing.Lock()
	defer l.writer.flushing.Unlock()

	begin()
	l.writer.mu.Lock()
	l.writer.returns = nil
	l.writer.mu.Unlock()
	l.empty(func(Counter) bool { return true }, func(*account) {})
	return l.reload()
}

// empty takes the leases of some counters away.
func (l *Ledger) empty(which func(Counter) bool, leaving func(*account)) {
	for i := range l.accounts {
		for _, a := range l.accounts[i].all() {
			if !which(a.counter) {
				continue
			}
			a.mu.Lock()
			if a.lease > 0 {
				leaving(a)
				a.lease = 0
			}
			a.ahead, a.place, a.believe = 0, place{}, time.Time{}
			a.mu.Unlock()
		}
	}
}
