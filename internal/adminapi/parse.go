package adminapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/relayapi/caddy-relayapi/grant"
	"github.com/relayapi/caddy-relayapi/internal/mint"
	"github.com/relayapi/caddy-relayapi/internal/strictjson"
	"github.com/relayapi/caddy-relayapi/tokenstore"
)

var scopes = []tokenstore.Scope{tokenstore.ScopeToken, tokenstore.ScopeSubject, tokenstore.ScopeIssuer}

// maxLabel is the longest label, in characters.
const maxLabel = 200

// ParseChange reads {"calls_limit": n|null, "tokens_limit": n|null, "usd_limit":
// "1.50"|null, "disabled": bool, "label": "…"}.
func ParseChange(body []byte) (c tokenstore.Change, err error) {
	members, err := strictjson.Parse(body, "calls_limit", "tokens_limit", "usd_limit", "disabled", "label")
	if err != nil {
		return c, err
	}
	if len(members) == 0 {
		return c, errors.New("nothing to change; give calls_limit, tokens_limit, usd_limit, disabled or label")
	}
	c.Limits = make(map[tokenstore.Unit]*int64)
	for i, unit := range tokenstore.Units {
		name := string(units[i]) + "_limit"
		data, ok := members[name]
		if !ok {
			continue
		}
		if c.Limits[unit], err = parseAmount(name, unit, data); err != nil {
			return c, fmt.Errorf("%w, or null for the limit in the token's claims", err)
		}
	}
	if data, ok := members["disabled"]; ok {
		if err := json.Unmarshal(data, &c.Disabled); err != nil || c.Disabled == nil {
			return c, errors.New("disabled must be true or false")
		}
	}
	if data, ok := members["label"]; ok {
		if err := json.Unmarshal(data, &c.Label); err != nil || c.Label == nil || !validLabel(*c.Label) {
			return c, fmt.Errorf("label must be a string of at most %d printable characters", maxLabel)
		}
	}
	return c, nil
}

func validLabel(s string) bool {
	return utf8.RuneCountInString(s) <= maxLabel &&
		!strings.ContainsFunc(s, func(r rune) bool { return !strconv.IsPrint(r) || r == utf8.RuneError })
}

// ParseLimit reads {"scope": …, "issuer": …, "subject": …, "id": …, "per": …} with one of
// calls, tokens and usd.
func ParseLimit(body []byte) (limit tokenstore.Limit, err error) {
	members, err := strictjson.Parse(body, "scope", "issuer", "subject", "id", "per", "calls", "tokens", "usd")
	if err != nil {
		return limit, err
	}
	unit, amount, err := takeAmount(members)
	if err != nil {
		return limit, err
	}

	text, err := members.Text()
	if err != nil {
		return limit, err
	}
	limit, err = parseLimitKey(func(name string) (string, bool) { s, ok := text[name]; return s, ok })
	limit.Unit, limit.Amount = unit, amount
	return limit, err
}

// ParseLimitKey reads the holder, the unit and the period of a limit from a query.
func ParseLimitKey(query string) (limit tokenstore.Limit, err error) {
	q, err := ParseQuery(query, "scope", "issuer", "subject", "id", "per", "unit")
	if err != nil {
		return limit, err
	}
	unit := tokenstore.UnitCalls
	if q.Has("unit") {
		if unit, err = ParseUnit(q.Get("unit")); err != nil {
			return limit, err
		}
	}
	limit, err = parseLimitKey(func(name string) (string, bool) { return q.Get(name), q.Has(name) })
	limit.Unit = unit
	return limit, err
}

func parseLimitKey(get func(name string) (value string, given bool)) (l tokenstore.Limit, err error) {
	scope, _ := get("scope")
	issuer, hasIssuer := get("issuer")
	subject, hasSubject := get("subject")
	id, hasID := get("id")
	l.Scope = tokenstore.Scope(scope)
	l.Per, _ = get("per")
	switch {
	case !slices.Contains(scopes, l.Scope):
		return l, fmt.Errorf("scope %q: must be one of token, subject, issuer", scope)
	case l.Per != "" && l.Per != "day" && l.Per != "month":
		return l, fmt.Errorf("per %q: must be one of day, month; leave it out to count forever", l.Per)
	case l.Scope == tokenstore.ScopeToken && l.Per == "":
		return l, errors.New("per: must be day or month; change the limits of a token in all with PATCH /relayapi/tokens/{issuer}/{id} or `caddy relayapi token update <id>`")
	}
	switch {
	case hasSubject && l.Scope != tokenstore.ScopeSubject:
		return l, fmt.Errorf("subject: needs scope subject, not %s", scope)
	case hasID && l.Scope != tokenstore.ScopeToken:
		return l, fmt.Errorf("id: needs scope token, not %s", scope)
	case hasIssuer && !grant.ValidName(issuer):
		return l, errors.New("issuer must have 1 to 64 letters, digits, dots, dashes and underscores")
	case hasID && !grant.ValidName(id):
		return l, errors.New("id must have 1 to 64 letters, digits, dots, dashes and underscores")
	case !grant.ValidSubject(subject):
		return l, errors.New("subject must be printable and not longer than a token's")
	case hasIssuer && l.Scope != tokenstore.ScopeIssuer && !hasSubject && !hasID:
		return l, errors.New("issuer: also give the subject or the id, or leave it out for all")
	case (hasSubject || hasID) && !hasIssuer:
		issuer = mint.RelayIssuer
	}
	switch {
	case hasSubject:
		l.ID = issuer + "/" + subject
	case hasID:
		l.ID = issuer + "/" + id
	default:
		l.ID = issuer
	}
	return l, nil
}

// CheckDraft checks claims that the admin endpoint is to mint. providers are those of
// the config.
func CheckDraft(draft *grant.Claims, providers []string) error {
	switch {
	case draft.Issuer != "" && draft.Issuer != mint.RelayIssuer:
		return fmt.Errorf("iss: the admin endpoint mints as %q only", mint.RelayIssuer)
	case draft.Audience != "":
		return errors.New("aud: leave it out; it is this relay")
	case !slices.Contains(providers, draft.Provider):
		return fmt.Errorf("unknown provider %q; must be one of %s", draft.Provider, strings.Join(providers, ", "))
	}
	return nil
}

// ParseRevocation reads {"scope": …, "issuer": …, "subject": …, "before": …}.
func ParseRevocation(body []byte, now time.Time) (tokenstore.Revocation, error) {
	var rev tokenstore.Revocation
	members, err := strictjson.Parse(body, "scope", "issuer", "subject", "before")
	if err != nil {
		return rev, err
	}
	text, err := members.Text()
	if err != nil {
		return rev, err
	}

	issuer, hasIssuer := text["issuer"]
	subject, hasSubject := text["subject"]
	rev.Scope, rev.Issuer, rev.ID = tokenstore.Scope(text["scope"]), issuer, subject
	switch {
	case rev.Scope == tokenstore.ScopeToken:
		return rev, errors.New("scope token: revoke a single token with DELETE /relayapi/tokens/{issuer}/{id}")
	case rev.Scope != tokenstore.ScopeSubject && rev.Scope != tokenstore.ScopeIssuer && rev.Scope != tokenstore.ScopeAll:
		return rev, errors.New("scope must be one of subject, issuer, all")
	case hasSubject && rev.Scope != tokenstore.ScopeSubject:
		return rev, fmt.Errorf("subject: needs scope subject, not %s", rev.Scope)
	case hasIssuer && rev.Scope == tokenstore.ScopeAll:
		return rev, errors.New("issuer: does not go with scope all; use scope issuer")
	case rev.Scope == tokenstore.ScopeIssuer && !hasIssuer:
		return rev, errors.New("issuer is missing")
	case rev.Scope == tokenstore.ScopeSubject && !hasSubject:
		return rev, errors.New("subject is missing; an empty one means the tokens without subject")
	case !grant.ValidSubject(subject):
		return rev, errors.New("subject must be printable and not longer than a token's")
	}
	if rev.Scope == tokenstore.ScopeSubject && !hasIssuer {
		rev.Issuer = mint.RelayIssuer
	}
	if rev.Scope != tokenstore.ScopeAll && !grant.ValidName(rev.Issuer) {
		return rev, errors.New("issuer must have 1 to 64 letters, digits, dots, dashes and underscores")
	}
	rev.Before, err = parseBefore(text, now)
	return rev, err
}

// parseBefore reads `before`. The default is everything that was issued up to now.
// Tokens' times are whole seconds, so that is before the next second.
func parseBefore(text map[string]string, now time.Time) (time.Time, error) {
	next := now.UTC().Truncate(time.Second).Add(time.Second)
	s, ok := text["before"]
	if !ok {
		return next, nil
	}
	before, err := time.Parse(time.RFC3339, s)
	if err != nil || before.Unix() <= 0 {
		return before, errors.New("before must be a time such as 2026-01-31T12:00:00Z (RFC 3339)")
	}
	if before.After(next.Add(grant.Leeway)) {
		return before, errors.New("before must not be in the future; it would refuse tokens that are yet to be minted, which cannot be undone")
	}
	if whole := before.Truncate(time.Second); !whole.Equal(before) {
		before = whole.Add(time.Second)
	}
	return before.UTC(), nil
}

// Namesakes warns about same-named subjects of other issuers, whose tokens are not
// revoked. The records are active tokens of subjects of that name. The warning is empty
// if there are none.
func Namesakes(rev tokenstore.Revocation, records []tokenstore.Record) string {
	var issuers []string
	for _, t := range records {
		if t.Issuer != rev.Issuer && !slices.Contains(issuers, t.Issuer) {
			issuers = append(issuers, t.Issuer)
		}
	}
	if len(issuers) == 0 {
		return ""
	}
	return fmt.Sprintf("subject %q also has tokens of %s, which stay valid", rev.ID, strings.Join(issuers, ", "))
}
