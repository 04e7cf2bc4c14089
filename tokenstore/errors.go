package tokenstore

import (
	"errors"
	"fmt"
)

var (
	// ErrExhausted is what every [*ExhaustedError] is.
	ErrExhausted = errors.New("tokenstore: used up")

	// ErrConflict means that a token claims the identity of another one.
	ErrConflict = errors.New("tokenstore: another token with other claims has the same issuer and id")

	// ErrPredates means that a limited token was issued before the store
	// existed, so that nobody knows what it has used.
	ErrPredates = errors.New("tokenstore: the token was issued before this store existed")

	// ErrRevoked means that the token was taken back.
	ErrRevoked = errors.New("tokenstore: the token is revoked")

	// ErrDisabled means that an operator has disabled the token for now.
	ErrDisabled = errors.New("tokenstore: the token is disabled")

	// ErrPruned means that the token had expired long ago, and what it has used
	// is forgotten. The clock was turned back.
	ErrPruned = errors.New("tokenstore: the token expired before what is kept here begins")

	// ErrUnknown means that no such token was used here.
	ErrUnknown = errors.New("tokenstore: no such token was used here")

	// ErrUnavailable means that the store could not do what it was asked.
	// Nothing was admitted.
	ErrUnavailable = errors.New("tokenstore: store unavailable")

	// ErrLocked means that a store is in use already.
	ErrLocked = errors.New("tokenstore: another process has this store open, and it serves one only")

	// ErrNewer means that a later version of this program has changed the
	// store's tables.
	ErrNewer = errors.New("tokenstore: the store was written by a newer version")

	// ErrOrphanedLog means that a store's file is missing and its log is not.
	ErrOrphanedLog = errors.New("tokenstore: the store is missing, but its log is there")

	// ErrWorldWritable means that anybody on the machine could change the counts.
	ErrWorldWritable = errors.New("tokenstore: the store's file may be written by everybody")

	errClosed    = errors.New("the store is closed")
	errForgotten = errors.New("the token was pushed out of memory at once")
)

// ExhaustedError says which counter has not enough left.
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

// unavailable is an [ErrUnavailable] that says why.
func unavailable(cause error) error {
	return fmt.Errorf("%w: %w", ErrUnavailable, cause)
}
