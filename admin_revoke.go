package relayapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/relayapi/caddy-relayapi/grant"
	"github.com/relayapi/caddy-relayapi/tokenstore"
	"go.uber.org/zap"
)

// revoked is what was taken back.
type revoked struct {
	Scope   tokenstore.Scope `json:"scope"`
	Issuer  string           `json:"issuer,omitempty"`
	ID      string           `json:"id,omitempty"`
	Subject *string          `json:"subject,omitempty"`
	Before  time.Time        `json:"before,omitzero"` // tokens that were issued before it; of a single token: whenever
	Ended   int              `json:"ended_calls"`     // that were under way
	// Note says what may be a mistake.
	Note string `json:"note,omitempty"`
}

// forever is after every time at which a token can be issued.
var forever = time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)

// adminRevoke revokes one token, and whatever will be minted with its identity.
func adminRevoke(r *adminRequest) (any, error) {
	i, err := r.identity()
	if err != nil {
		return nil, err
	}
	answer := revoked{Scope: tokenstore.ScopeToken, Issuer: i.issuer, ID: i.id}
	switch _, err := r.relay.ledger.Token(r.Context(), i.issuer, i.id); {
	case errors.Is(err, tokenstore.ErrUnknown):
		answer.Note = fmt.Sprintf("no token %s was used here so far", i)
	case err != nil:
		return nil, err
	}
	return r.revoke(answer, tokenstore.Revocation{Scope: tokenstore.ScopeToken, Issuer: i.issuer, ID: i.id, Before: forever})
}

// adminRevokeMany revokes the tokens of a subject or an issuer, or all.
func adminRevokeMany(r *adminRequest) (any, error) {
	rev, err := parseRevocation(r.body, time.Now())
	if err != nil {
		return nil, apiError(http.StatusBadRequest, err)
	}
	answer := revoked{Scope: rev.Scope, Issuer: rev.Issuer, Before: rev.Before}
	if rev.Scope == tokenstore.ScopeSubject {
		answer.Subject = &rev.ID
	}
	return r.revoke(answer, rev)
}

// revoke makes a revocation durable, and then ends the calls that are under way.
// A call that comes in between is refused or found: it is registered before the
// ledger is asked.
func (r *adminRequest) revoke(answer revoked, rev tokenstore.Revocation) (any, error) {
	if err := r.relay.ledger.Revoke(r.Context(), rev); err != nil {
		return nil, err
	}
	answer.Ended = r.relay.ledger.live.end(endRevoked, rev.Matches)
	if _, ok := r.app.grants[rev.Issuer]; !ok && rev.Scope != tokenstore.ScopeAll {
		// Not refused: an issuer that is taken out of the config may have calls
		// under way.
		answer.Note = fmt.Sprintf("the config has no issuer %s", rev.Issuer)
	} else if rev.Scope == tokenstore.ScopeSubject && rev.ID != "" {
		answer.Note = r.namesakes(rev)
	}
	r.app.logger.Info("revoked", zap.String("scope", string(rev.Scope)), zap.String("issuer", rev.Issuer),
		zap.String("id", rev.ID), zap.Time("before", rev.Before), zap.Int("ended_calls", answer.Ended))
	return answer, nil
}

// namesakes tells of subjects of the same name whose tokens are not taken back, for
// they are another issuer's.
func (r *adminRequest) namesakes(rev tokenstore.Revocation) string {
	page, _ := r.relay.ledger.Tokens(r.Context(), tokenstore.Filter{Subject: rev.ID, Status: tokenstore.Active, Limit: 1000}) // none, if that fails
	var issuers []string
	for _, t := range page.Records {
		if t.Issuer != rev.Issuer && !slices.Contains(issuers, t.Issuer) {
			issuers = append(issuers, t.Issuer)
		}
	}
	if len(issuers) == 0 {
		return ""
	}
	return fmt.Sprintf("subject %q has tokens of %s too, which go on", rev.ID, strings.Join(issuers, ", "))
}

// parseRevocation reads {"scope": …, "issuer": …, "subject": …, "before": …}.
func parseRevocation(body []byte, now time.Time) (tokenstore.Revocation, error) {
	var rev tokenstore.Revocation
	members, err := parseMembers(body, "scope", "issuer", "subject", "before")
	if err != nil {
		return rev, err
	}
	text := make(map[string]string)
	for name, data := range members {
		var s *string
		if err := json.Unmarshal(data, &s); err != nil || s == nil {
			return rev, fmt.Errorf("%s is not a text", name)
		}
		text[name] = *s
	}
	issuer, hasIssuer := text["issuer"]
	subject, hasSubject := text["subject"]
	rev.Scope, rev.Issuer, rev.ID = tokenstore.Scope(text["scope"]), issuer, subject
	switch {
	case rev.Scope == tokenstore.ScopeToken:
		return rev, errors.New("a single token is revoked with DELETE /relayapi/tokens/{issuer}/{id}")
	case rev.Scope != tokenstore.ScopeSubject && rev.Scope != tokenstore.ScopeIssuer && rev.Scope != tokenstore.ScopeAll:
		return rev, errors.New("scope is subject, issuer or all")
	case hasSubject && rev.Scope != tokenstore.ScopeSubject:
		return rev, fmt.Errorf("subject goes with scope subject, and this is scope %s", rev.Scope)
	case hasIssuer && rev.Scope == tokenstore.ScopeAll:
		return rev, errors.New("scope all has no issuer: the scope of one is issuer")
	case rev.Scope == tokenstore.ScopeIssuer && !hasIssuer:
		return rev, errors.New("issuer is missing: whose tokens?")
	case rev.Scope == tokenstore.ScopeSubject && !hasSubject:
		return rev, errors.New("subject is missing: whose tokens? An empty one means the tokens without subject")
	case !grant.ValidSubject(subject):
		return rev, errors.New("no token has such a subject: it is not printable or too long")
	}
	if rev.Scope == tokenstore.ScopeSubject && !hasIssuer {
		rev.Issuer = relayIssuer
	}
	if rev.Scope != tokenstore.ScopeAll && !grant.ValidName(rev.Issuer) {
		return rev, errors.New("issuer has 1 to 64 letters, digits, dots, dashes and underscores")
	}
	rev.Before, err = parseBefore(text, now)
	return rev, err
}

// parseBefore reads `before`; without it, all that was issued by now is meant.
// Tokens' times are whole seconds, so up to now is before the next.
func parseBefore(text map[string]string, now time.Time) (time.Time, error) {
	next := now.UTC().Truncate(time.Second).Add(time.Second)
	s, ok := text["before"]
	if !ok {
		return next, nil
	}
	before, err := time.Parse(time.RFC3339, s)
	if err != nil || before.Unix() <= 0 {
		return before, errors.New("before is a time such as 2026-01-31T12:00:00Z (RFC 3339)")
	}
	if before.After(next.Add(grant.Leeway)) {
		return before, errors.New("before is in the future: tokens that are yet to be minted would be refused, and that cannot be taken back")
	}
	if whole := before.Truncate(time.Second); !whole.Equal(before) {
		before = whole.Add(time.Second)
	}
	return before.UTC(), nil
}
