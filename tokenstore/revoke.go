package tokenstore

import (
	"context"
	"fmt"
	"maps"
	"time"
)

// Revocation revokes the tokens of a scope that were issued before a time.
type Revocation struct {
	// Scope is [ScopeToken], [ScopeSubject], [ScopeIssuer] or [ScopeAll].
	Scope  Scope
	Issuer string // empty for [ScopeAll]
	ID     string // of the token or the subject
	Before time.Time
}

// Matches reports whether the revocation revokes the token.
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

// revocations holds all revocations, indexed. It is never changed but replaced.
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

// with returns r and more. Of two revocations with the same scope and id, the later one
// wins.
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

// Revoke revokes tokens. When it returns nil, the revocation is durable, and no
// matching token is admitted any more.
func (l *Ledger) Revoke(ctx context.Context, r Revocation) error {
	return l.change(ctx, func() error {
		if err := l.db.revoke(r, l.now()); err != nil {
			return fmt.Errorf("storing revocation: %w", err)
		}
		l.revoked.Store(l.revoked.Load().with(r))
		return nil
	})
}
