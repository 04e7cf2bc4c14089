// Package tokenstore is the ledger: it counts what tokens have used, so that a limit holds.
//
// # Why a limit holds
//
// Waiting for a disk on every call would bound the rate of calls by that of
// fsync. So the [Ledger] leases units: it adds several to a counter in the
// database, many counters in one commit, and serves calls from memory until
// they are gone. Three rules make that exact:
//
//  1. A grant is durable first and in memory second. A call is served only from
//     a lease, so what is durable is never less than what was served, whenever
//     the process dies.
//  2. A grant is sized by what the database says is used, against the limit in
//     force, in the transaction that adds it and holds the only write lock. So
//     what is durable never passes the limit in force when it was granted. A
//     lower limit takes back what the lease has beyond it, in the transaction
//     in which the next grant is asked for.
//  3. A return leaves memory first and reaches the database second, at most
//     once. A lost one loses units; none is granted twice.
//
// Together: served ≤ durable ≤ limit. A crash can lose what is leased and not
// served, and cannot give any away. That is, for each counter in use, no more
// than 64 units, a hundredth of the limit and an eighth of what remained, and
// one for each call that was waiting; and of calls that were given back lately
// what a lease holds without passing 64. Limits under 200 are hardly leased ahead:
// there nearly every call waits for a commit, which it shares with others.
//
// A call takes all its charges or none: it holds the locks of all its counters
// while it looks, and takes only when every lease has enough.
//
// A commit that fails grants nothing, and those who waited for it are refused.
// The next may succeed, as when a full disk has room again; after a failed
// fsync or a corrupt page nothing is granted until the store is opened again,
// because then nobody knows what the disk holds.
//
// A ledger can only vouch for what it has seen. A store that is new, because
// it is the first or because the one before was lost, would let every token
// start again from nothing; so a store knows its [Ledger.Birth] and refuses to
// charge tokens that were issued before it.
//
// The ledger holds identities and numbers. It never sees a token's bytes or a
// key, so whoever steals it can call nothing with it.
package tokenstore

import (
	"sync/atomic"
	"time"
)

// Token is what the ledger knows of a token: never the token itself, never a key.
// Use one for all calls that are made with a token: it remembers what a ledger has
// looked up for the last.
type Token struct {
	// Issuer and ID are the identity (iss, jti). Counts belong to it.
	Issuer, ID string
	// Subject and Provider are kept to be shown to the operator.
	Subject, Provider string
	// Fingerprint is of the claims without their times. A token that comes
	// again with new times is the same token; one that claims the same
	// identity with another fingerprint is refused.
	Fingerprint [32]byte
	// CallsLimit is the limit of calls in the claims, which is shown to the
	// operator; 0 means none. Charges name the limit in force.
	CallsLimit int64
	// IssuedAt and ExpiresAt are kept to the second.
	IssuedAt, ExpiresAt time.Time

	remembered atomic.Pointer[remembered]
	account    atomic.Pointer[account] // of its calls, if they were counted
}
