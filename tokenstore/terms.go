package tokenstore

import (
	"context"
	"maps"
	"time"
)

// Terms are what an operator has said of one token.
type Terms struct {
	// CallsLimited means that CallsLimit is in force instead of the limit in
	// the token's claims.
	CallsLimited bool
	CallsLimit   int64
}

// Know makes the token known at its first use and returns the terms in force.
// It fails with [ErrConflict], [ErrRevoked], [ErrDisabled], [ErrPruned] or
// [ErrUnavailable].
// A known token costs no durable step.
func (l *Ledger) Know(ctx context.Context, t *Token) (Terms, error) {
	r, known, err := l.record(t)
	if err != nil || known {
		return r.terms(), err
	}
	learning := newLearning(t)
	l.writer.ask(learning)
	select {
	case err = <-learning.done:
	case <-ctx.Done():
		err = unavailable(context.Cause(ctx))
	case <-l.done:
		err = unavailable(errClosed)
	}
	if err != nil {
		return Terms{}, err
	}
	if r, known, err = l.record(t); !known && err == nil { // pushed out of memory at once
		err = unavailable(errForgotten)
	}
	return r.terms(), err
}

// Refusal is why a token would be refused that is known or not, or nil: an error
// of [Ledger.Know]. It writes nothing.
func (l *Ledger) Refusal(t *Token) error {
	_, _, err := l.record(t)
	return err
}

// record returns what is remembered of a token that may be used; known is
// whether that is so, or it has to be learned.
func (l *Ledger) record(t *Token) (r record, known bool, err error) {
	none := record{callsLimit: noLimit}
	if err := l.stopped(); err != nil {
		return none, false, err
	}
	if l.revoked.Load().match(t) {
		return none, false, ErrRevoked
	}
	if t.ExpiresAt.Unix() <= l.pruned.Load() {
		return none, false, ErrPruned
	}
	r, covered, err := l.known.find(t)
	switch {
	case err != nil || !covered:
		return none, false, err
	case r.disabled:
		return none, false, ErrDisabled
	}
	return r, true, nil
}

func (r *record) terms() Terms {
	if r.callsLimit == noLimit {
		return Terms{}
	}
	return Terms{CallsLimited: true, CallsLimit: r.callsLimit}
}

// Revocation takes tokens back: those of its scope that were issued before a
// time.
type Revocation struct {
	// Scope is [ScopeToken], [ScopeSubject], [ScopeIssuer] or [ScopeAll].
	Scope  Scope
	Issuer string // empty for all
	ID     string // of the token or the subject
	Before time.Time
}

// Matches reports whether the revocation takes the token back.
func (r Revocation) Matches(t *Token) bool {
	if !t.IssuedAt.Before(r.Before) {
		return false
	}
	switch r.Scope {
	case ScopeToken:
		return r.Issuer == t.Issuer && r.ID == t.ID
	case ScopeSubject:
		return r.Issuer == t.Issuer && r.ID == t.Subject
	case ScopeIssuer:
		return r.Issuer == t.Issuer
	default:
		return r.Scope == ScopeAll
	}
}

// revocations are all revocations, ready to be asked. They are never changed,
// but replaced.
type revocations struct {
	tokens, subjects map[identity]time.Time
	issuers          map[string]time.Time
	all              time.Time
}

func (r *revocations) match(t *Token) bool {
	return t.IssuedAt.Before(r.all) ||
		len(r.tokens) > 0 && t.IssuedAt.Before(r.tokens[identity{t.Issuer, t.ID}]) ||
		len(r.subjects) > 0 && t.IssuedAt.Before(r.subjects[identity{t.Issuer, t.Subject}]) ||
		len(r.issuers) > 0 && t.IssuedAt.Before(r.issuers[t.Issuer])
}

// with returns r and more. Of two revocations of the same, the later counts.
func (r *revocations) with(more ...Revocation) *revocations {
	n := &revocations{
		tokens: make(map[identity]time.Time), subjects: make(map[identity]time.Time),
		issuers: make(map[string]time.Time), all: r.all,
	}
	maps.Copy(n.tokens, r.tokens)
	maps.Copy(n.subjects, r.subjects)
	maps.Copy(n.issuers, r.issuers)
	for _, m := range more {
		key := identity{m.Issuer, m.ID}
		switch m.Scope {
		case ScopeToken:
			n.tokens[key] = later(n.tokens[key], m.Before)
		case ScopeSubject:
			n.subjects[key] = later(n.subjects[key], m.Before)
		case ScopeIssuer:
			n.issuers[m.Issuer] = later(n.issuers[m.Issuer], m.Before)
		case ScopeAll:
			n.all = later(n.all, m.Before)
		}
	}
	return n
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// Revoke takes tokens back. When it returns nil, that is durable, and no token
// that it matches is admitted any more.
func (l *Ledger) Revoke(ctx context.Context, r Revocation) error {
	return l.change(ctx, func() error {
		if err := l.db.revoke(r, l.now()); err != nil {
			return err
		}
		l.revoked.Store(l.revoked.Load().with(r))
		return nil
	})
}

// change does what must not happen during a commit of the writer's, which
// would publish what was true before. What has begun is done to its end, whatever
// becomes of ctx: the database and memory have to say the same.
func (l *Ledger) change(ctx context.Context, do func() error) error {
	if err := l.stopped(); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return unavailable(err)
	}
	l.writer.flushing.Lock()
	defer l.writer.flushing.Unlock()
	return l.failure(do())
}
