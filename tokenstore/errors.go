package tokenstore

import (
	"errors"
	"fmt"
)

var (
	// ErrExhausted is matched by every [*ExhaustedError].
	ErrExhausted = errors.New("tokenstore: used up")

	// ErrConflict means that the token's identity belongs to another token.
	ErrConflict = errors.New("tokenstore: another token with other claims has the same issuer and id")

	// ErrPredates means that a limited token was issued before the store existed, so
	// that its earlier usage is unknown.
	ErrPredates = errors.New("tokenstore: the token was issued before this store existed")

	// ErrRevoked means that the token was revoked.
	ErrRevoked = errors.New("tokenstore: the token is revoked")

	// ErrDisabled means that an operator has disabled the token for now.
	ErrDisabled = errors.New("tokenstore: the token is disabled")

	// ErrPruned means that the token had expired and its record was pruned, and
	// then the clock was turned back.
	ErrPruned = errors.New("tokenstore: the token expired and its record was pruned")

	// ErrUnknown means that something is not in the store: a token that was not
	// used here, or a limit that is not set.
	ErrUnknown = errors.New("tokenstore: not found")

	// ErrUnavailable means that the store failed. Nothing was admitted.
	ErrUnavailable = errors.New("tokenstore: store unavailable")

	// ErrLocked means that the store is in use.
	ErrLocked = errors.New("tokenstore: another process has this store open, and a store serves one process")

	// ErrNewer means that a later version of this program changed the store's tables.
	ErrNewer = errors.New("tokenstore: the store was written by a newer version")

	// ErrOrphanedLog means that a store's file is missing and its log is not.
	ErrOrphanedLog = errors.New("tokenstore: the store is missing, but its log exists")

	// ErrWorldWritable means that every user of the machine could change the counts.
	ErrWorldWritable = errors.New("tokenstore: the store's file is world-writable")

	// ErrFailover means that the PostgreSQL server is not the one on record, or was
	// restored from a backup. It may lack the last counts, see [AcceptFailover].
	ErrFailover = errors.New("tokenstore: the database failed over to another server or was restored, and may lack the last counts")

	// ErrFsyncOff means that the PostgreSQL server forgets commits when it crashes.
	ErrFsyncOff = errors.New("tokenstore: the PostgreSQL server runs with fsync = off, so a crash would lose counts; set fsync = on")

	// ErrCopying means that the store is being copied, or that a copy into it was
	// interrupted, see [Copy].
	ErrCopying = errors.New("tokenstore: the store is being copied, or a copy into it was interrupted; wait for the copy, or repeat it")

	errOffline = errors.New("no contact with the database")

	errClosed = errors.New("the store is closed")
)

// ExhaustedError names a counter with not enough left.
type ExhaustedError struct {
	Counter Counter
	Limit   int64
}

func (e *ExhaustedError) Error() string {
	return fmt.Sprintf("tokenstore: used up: %s %q has a limit of %d %s",
		e.Counter.Scope, e.Counter.ID, e.Limit, e.Counter.Unit)
}

// Unwrap makes every ExhaustedError an [ErrExhausted].
func (e *ExhaustedError) Unwrap() error { return ErrExhausted }

// unavailable returns an [ErrUnavailable] with its cause.
func unavailable(cause error) error {
	return fmt.Errorf("%w: %w", ErrUnavailable, cause)
}
