// Package tokenstore is the ledger: it counts what tokens use, so that limits hold.
//
// # Guide
//
// [OpenSQLite] opens a store in a file, for one process, and [OpenPostgres] opens one
// in a database, for several. Both keep the same contract. For each call,
// [Ledger.Admit] makes the token known, applies its limits and charges the call, all or
// nothing. When the call is over, [Ledger.Settle] refunds what it did not use and
// [Ledger.Observe] records statistics. The remaining methods are for the operator:
// [Ledger.Update], [Ledger.Revoke] and [Ledger.SetLimit] change what is permitted, and
// [Ledger.Tokens] and [Ledger.UsageReport] report usage.
//
//	charges, err := ledger.Admit(ctx, token, tokenstore.Amounts{Calls: 1, NanoUSD: bound}, others)
//	if err != nil {
//		return err // an ExhaustedError names the counter that is used up
//	}
//	used := serve()
//	err = ledger.Settle(charges, tokenstore.Amounts{Calls: 1, NanoUSD: used.Cost})
//
// A [Counter] counts one [Unit] for one token, subject or issuer, in one window
// of time. A [Charge] adds an amount to a counter unless that would pass a limit.
//
// # Why a limit holds
//
// Waiting for the disk on every call would limit the rate of calls to the rate
// of fsync. Therefore the [Ledger] leases units: it adds several to a counter in
// the database, for many counters in one commit, and serves calls from memory
// until the lease is used. Three rules make this exact:
//
//  1. A grant is durable first and in memory second. Calls are served only from
//     a lease, so the durable count is never less than what was served, whenever
//     the process dies.
//  2. The transaction that adds a grant has locked the counter, whichever process
//     it is from. It sizes the grant by the durable count and the limit in force,
//     so the durable count never passes the limit in force. Lowering a limit
//     returns what the lease holds beyond it, in the same transaction as the next
//     grant.
//  3. A return leaves memory first and reaches the database second, at most
//     once. A lost return loses units; it never grants a unit twice.
//
// Together: served ≤ durable ≤ limit. A crash can lose leased units but cannot
// give any away. For each counter in use it loses at most 64 calls' worth, a
// hundredth of the limit and an eighth of what remained, plus the calls that
// were waiting. Refunded units stay in the lease up to 64, up to the amount of
// one call, or up to what it may go ahead, whichever is most. Limits below 200
// calls are hardly leased ahead: nearly every call waits for a commit, which it
// shares with others.
//
// One thing may pass a limit: an overrun. When a call has used more than it
// reserved, [Ledger.Settle] charges the excess all the same, because the provider
// bills it. The excess is subtracted from the lease at once and written behind;
// while it is owed, no further call is admitted on that counter.
//
// A call takes all its charges or none: it locks all its counters and takes only
// if every lease has enough.
//
// A commit that fails grants nothing, and the calls that wait for it are refused.
// The next commit may succeed, for example when a full disk has room again. After
// a failed fsync or a corrupt page nothing is granted until the store is opened
// again, because nobody knows what the disk holds.
//
// With PostgreSQL each process has leases of its own. A change that one process makes
// reaches the others within a second, and a process without contact to the database
// admits calls for [PostgresConfig].MaxOffline at most. So a lower limit and a
// revocation take effect everywhere within that time. See [ErrFailover] for what is
// lost with a server.
//
// A ledger can vouch only for what it has seen. A new store, for example after
// the previous one was lost, would let every token start again from zero.
// Therefore a store records its [Ledger.Birth] and refuses to charge tokens that
// were issued before it.
//
// The ledger holds identities and numbers. It never sees a token's bytes or a
// key, so a stolen store gives access to nothing.
package tokenstore

import (
	"sync/atomic"
	"time"
)

// Token is the ledger's view of a token: never the token itself, never a key. Use one
// Token for all calls with the same token, because it caches what the ledger looked up.
type Token struct {
	// Issuer and ID are the identity (iss, jti). Counts belong to it.
	Issuer, ID string

	// Subject and Provider are shown to the operator.
	Subject, Provider string

	// Fingerprint is a hash of the claims without their times. A token with new
	// times is the same token. A token with the same identity and another
	// fingerprint is refused.
	Fingerprint [32]byte

	// Claimed are the limits in the claims. They are shown to the operator.
	Claimed Limits

	// Permits tells what else the token permits. It is kept for the operator; the
	// ledger does not read it.
	Permits string

	// Limits are the limits that [Ledger.Admit] applies unless the operator has
	// overridden them: those in the claims, or else the issuer's.
	Limits Limits

	// IssuedAt and ExpiresAt are kept to the second.
	IssuedAt, ExpiresAt time.Time

	remembered atomic.Pointer[remembered]
	account    atomic.Pointer[account] // of its calls; nil until they are counted
}
