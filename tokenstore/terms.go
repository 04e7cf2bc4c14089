package tokenstore

import (
	"context"
	"errors"
)

// LimitsOf returns the token's own limits in force: [Token.Limits], with the
// operator's overrides. It fails like [Ledger.Refusal], and writes nothing.
func (l *Ledger) LimitsOf(ctx context.Context, t *Token) (Limits, error) {
	r, known, err := l.record(t)
	if err != nil {
		return Limits{}, err
	}
	if known {
		return t.Limits.override(r.override), nil
	}

	stored, err := l.Token(ctx, t.Issuer, t.ID)
	switch {
	case errors.Is(err, ErrUnknown): // not used yet
		return t.Limits, nil
	case err != nil:
		return Limits{}, err
	case stored.Status == Disabled:
		return Limits{}, ErrDisabled
	}
	return t.Limits.override(stored.Override()), nil
}

// Refusal returns why the token would be refused before it is charged: an error of
// [Ledger.Admit], or nil. It writes nothing. It does not know whether a token is
// disabled that was not used since the store was opened.
func (l *Ledger) Refusal(t *Token) error {
	_, _, err := l.record(t)
	return err
}

// record returns the cached record of a token that may be used. known is false if
// the token must be made known first.
func (l *Ledger) record(t *Token) (r record, known bool, err error) {
	if err := l.stopped(); err != nil {
		return record{}, false, err
	}
	if err := l.db.ready(); err != nil {
		return record{}, false, unavailable(err)
	}
	if l.revoked.Load().match(t) {
		return record{}, false, ErrRevoked
	}
	if t.ExpiresAt.Unix() <= l.pruned.Load() {
		return record{}, false, ErrPruned
	}

	r, covered, err := l.known.find(t)
	switch {
	case err != nil || !covered:
		return record{}, false, err
	case r.disabled:
		return record{}, false, ErrDisabled
	}
	return r, true, nil
}

// change makes a change that must not happen during a commit of the writer, which would
// publish the former state. Once begun, it ignores the end of ctx, so that the database
// and memory agree.
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
