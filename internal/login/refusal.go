package login

import (
	"errors"
	"fmt"

	"github.com/relayapi/caddy-relayapi/grant"
)

// ErrUnavailable means that a token could not be judged because the provider's keys
// could not be fetched. The client may try again.
var ErrUnavailable = errors.New("the login provider's keys are not available")

// Reason is the kind of a refusal.
type Reason string

// Reasons for a refusal.
const (
	Malformed      Reason = "malformed"         // not a JWT of at most 8 KiB
	BadHeader      Reason = "bad_header"        // a header with a forbidden, repeated or invalid parameter
	BadType        Reason = "bad_type"          // a typ that login tokens do not have
	BadAlgorithm   Reason = "bad_algorithm"     // an algorithm that is not accepted
	NamesKey       Reason = "names_key"         // a header that contains a key or the URL of one
	BadClaims      Reason = "bad_claims"        // claims that do not parse or have a wrong type
	WrongIssuer    Reason = "wrong_issuer"      // a token of another provider
	WrongAudience  Reason = "wrong_audience"    // a token for another application
	UnknownKey     Reason = "unknown_key"       // no key of the provider fits
	BadSignature   Reason = "bad_signature"     // the signature does not verify
	Expired        Reason = "expired"           // exp is reached
	NotYetValid    Reason = "not_yet_valid"     // iat, nbf or auth_time is in the future
	WrongUse       Reason = "wrong_use"         // a token of the provider for another purpose
	BadSubject     Reason = "bad_subject"       // no usable subject
	Unmet          Reason = "condition_not_met" // a condition of the operator does not hold
	ProofOfKeyOnly Reason = "proof_required"    // a token that is not a bearer token
)

// Refusal is why a token was refused.
type Refusal struct {
	Reason Reason

	// Rule names the broken rule, for the operator's log. It quotes no part of the
	// token except times and the names of known algorithms.
	Rule string
}

// Error returns the reason and the rule.
func (r *Refusal) Error() string { return "login: " + string(r.Reason) + ": " + r.Rule }

// Denial returns the refusal as the relay answers it. The client can tell apart only
// the reasons for refusing a verified token.
func (r *Refusal) Denial() *grant.Denial {
	reason := grant.Invalid
	switch r.Reason {
	case Expired:
		reason = grant.Expired
	case NotYetValid:
		reason = grant.NotYetValid
	case Unmet:
		reason = grant.BeyondGrant
	}
	return &grant.Denial{Reason: reason, Rule: "login: " + r.Rule}
}

func refuse(reason Reason, format string, args ...any) *Refusal {
	return &Refusal{Reason: reason, Rule: fmt.Sprintf(format, args...)}
}
