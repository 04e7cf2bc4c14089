// Package tokenstore is the ledger: it counts what tokens have used, so that a limit holds.
//
// The argument is short. A call is admitted only after its charges are on
// disk, so what is durable is never less than what was served: a crash, a full
// disk or a killed process can lose units, and cannot give any away. A charge
// is added by one statement that compares with the limit in force as it
// writes, inside a transaction that holds the only write lock, so what is
// durable never passes that limit, however many calls arrive together. All
// charges of a call are in one transaction, so it takes all of them or none.
// Giving back is the one step that lowers a count. It is tried once and never
// repeated, because a lost return costs units and a doubled one would grant
// them.
//
// A ledger can only vouch for what it has seen. A store that is new, because
// it is the first or because the one before was lost, would let every token
// start again from nothing; so a store knows its [Store.Birth] and refuses to
// charge tokens that were issued before it.
//
// The ledger holds identities and numbers. It never sees a token's bytes or a
// key, so whoever steals it can call nothing with it.
package tokenstore

import (
	"context"
	"time"
)

// Token is what the ledger knows of a token: never the token itself, never a key.
type Token struct {
	// Issuer and ID are the identity (iss, jti). Counts belong to it.
	Issuer, ID string
	// Subject and Provider are kept to be shown to the operator.
	Subject, Provider string
	// Fingerprint is of the claims without their times. A token that comes
	// again with new times is the same token; one that claims the same
	// identity with another fingerprint is refused.
	Fingerprint [32]byte
	// IssuedAt and ExpiresAt are kept to the second.
	IssuedAt, ExpiresAt time.Time
}

// Store is a ledger. Its methods may be called concurrently.
type Store interface {
	// Admit makes the token known at its first use and takes all charges or
	// none. When it returns nil, both are durable. A known token without
	// charges needs no durable step.
	//
	// It fails with an [*ExhaustedError] that names the first counter with not
	// enough left, with [ErrConflict], with [ErrPredates], and for any other
	// reason with [ErrUnavailable]. A failed Admit has admitted nothing. It may
	// be tried again: when a commit's outcome is in doubt, that costs units and
	// never grants them twice.
	//
	// The context bounds the wait for the store. Once writing has begun it is
	// no longer asked, so that there is an outcome to report.
	Admit(ctx context.Context, t *Token, charges []Charge) error

	// Settle gives charges back, never below zero; their limits are not looked
	// at. Call it at most once for what was admitted and do not retry it:
	// losing it only loses units. Give it a context that outlives the request.
	Settle(ctx context.Context, charges []Charge) error

	// Used tells how much of a counter is used.
	Used(ctx context.Context, c Counter) (int64, error)

	// Err is why the store admits nothing until it is opened again, or nil.
	Err() error

	// Birth is when the store was first made.
	Birth() time.Time

	// Close waits for what is under way. Afterwards every other method but
	// Birth fails with [ErrUnavailable].
	Close() error
}
