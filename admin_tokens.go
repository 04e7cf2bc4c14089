package relayapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/relayapi/caddy-relayapi/eccrypto"
	"github.com/relayapi/caddy-relayapi/grant"
	"github.com/relayapi/caddy-relayapi/tokenstore"
	"go.uber.org/zap"
)

func adminList(r *adminRequest) (any, error) {
	q, err := r.parameters("issuer", "subject", "provider", "status", "after", "limit")
	if err != nil {
		return nil, err
	}
	f := tokenstore.Filter{
		Issuer: q.Get("issuer"), Subject: q.Get("subject"), Provider: q.Get("provider"),
		Status: tokenstore.Status(q.Get("status")), After: q.Get("after"),
	}
	statuses := []tokenstore.Status{"", tokenstore.Active, tokenstore.Disabled, tokenstore.Exhausted, tokenstore.Expired, tokenstore.Revoked}
	if !slices.Contains(statuses, f.Status) {
		return nil, apiError(http.StatusBadRequest, errors.New("status must be one of active, disabled, exhausted, expired, revoked"))
	}
	f.Complete = r.limitReader().complete
	if f.After != "" {
		if _, err := parseIdentity(f.After); err != nil || !strings.Contains(f.After, "/") {
			return nil, apiError(http.StatusBadRequest, errors.New("after is not what `next` of a page before says"))
		}
	}
	if q.Has("limit") {
		if f.Limit, err = strconv.Atoi(q.Get("limit")); err != nil || f.Limit < 1 || f.Limit > maxPage {
			return nil, apiError(http.StatusBadRequest, fmt.Errorf("limit is a number from 1 to %d", maxPage))
		}
	}
	page, err := r.relay.ledger.Tokens(r.Context(), f)
	if page.Records == nil {
		page.Records = []tokenstore.Record{} // in JSON a list, though empty
	}
	return page, err
}

// limitReader finds the limits in force for tokens. It reads each counter once,
// because many tokens of a list share those of a subject or an issuer.
type limitReader struct {
	*adminRequest
	rules *limitRules
	now   time.Time
	used  map[tokenstore.Counter]int64
}

func (r *adminRequest) limitReader() *limitReader {
	return &limitReader{r, r.relay.limitsInForce(r.app.Limits), time.Now(), make(map[tokenstore.Counter]int64)}
}

// complete adds the limits in force to a record: its own, and the operator's.
func (l *limitReader) complete(r *tokenstore.Record) error {
	var limits []tokenstore.LimitUse
	if own := l.own(r); own != nil {
		limits = append(limits, tokenstore.LimitUse{Scope: tokenstore.ScopeToken, Unit: tokenstore.UnitCalls, Amount: *own, Used: r.CallsCounted})
	}

	p := &permit{
		Grant:   &grant.Grant{Issuer: r.Issuer, ID: r.ID, Subject: r.Subject},
		tokenID: r.Issuer + "/" + r.ID, subjectID: r.Issuer + "/" + r.Subject,
	}
	for i, rule := range l.rules.rules {
		one := limitRules{rules: l.rules.rules[i : i+1]}
		charges, _ := one.charges(nil, p, l.now)
		for _, c := range charges {
			used, err := l.usedOf(c.Counter)
			if err != nil {
				return err
			}
			limits = append(limits, tokenstore.LimitUse{Scope: rule.scope, Unit: c.Counter.Unit, Per: rule.per, Amount: c.Limit, Used: used})
		}
	}
	r.SetLimits(limits)
	return nil
}

// own is the limit of a token's calls in all: the operator's override, or else that
// of the claims, or else its issuer's. nil means that there is none.
func (l *limitReader) own(r *tokenstore.Record) *int64 {
	switch {
	case r.CallsLimit != nil:
		return r.CallsLimit
	case r.ClaimedCalls == nil: // nobody knows what the claims say
		return nil
	case *r.ClaimedCalls > 0:
		return r.ClaimedCalls
	default:
		return l.app.grants[r.Issuer].Limits.Calls
	}
}

func (l *limitReader) usedOf(c tokenstore.Counter) (int64, error) {
	if used, ok := l.used[c]; ok {
		return used, nil
	}
	used, err := l.relay.ledger.Used(l.Context(), c)
	if err != nil {
		return 0, fmt.Errorf("reading what %s %s has used: %w", c.Scope, c.ID, err)
	}
	l.used[c] = used
	return used, nil
}

// maxPage is how many tokens one page of a list can have.
const maxPage = 1000

// shownRecord is what is told of one token.
type shownRecord struct {
	tokenstore.Record

	// KeyRefused is the latest answer to a call of the token in which the provider
	// refused the key; nil means that there was none since the relay started.
	KeyRefused *keyRefusal `json:"key_refused,omitempty"`
}

// keyRefusal is what a provider said when it refused a key.
type keyRefusal struct {
	At      time.Time `json:"at"`
	Message string    `json:"message"` // without the key
}

// identity is what a token is known by.
type identity struct{ issuer, id string }

func (i identity) String() string { return i.issuer + "/" + i.id }

func (i identity) matches(t *tokenstore.Token) bool { return t.Issuer == i.issuer && t.ID == i.id }

// parseIdentity reads `[issuer/]id`. The errors quote nothing: it may be a token.
func parseIdentity(s string) (identity, error) {
	issuer, id, ok := strings.Cut(s, "/")
	if !ok {
		issuer, id = relayIssuer, s
	}
	switch {
	case eccrypto.LooksLikeToken(strings.TrimSpace(s)):
		return identity{}, errors.New("this is a whole token, and its id is wanted: `token inspect` tells it (jti)")
	case !grant.ValidName(issuer) || !grant.ValidName(id):
		return identity{}, errors.New("a token is named by [issuer/]id, each of 1 to 64 letters, digits, dots, dashes and underscores")
	}
	return identity{issuer, id}, nil
}

// identity is the token that the path names.
func (r *adminRequest) identity() (identity, error) {
	name := r.PathValue("id")
	if issuer := r.PathValue("issuer"); issuer != "" {
		name = issuer + "/" + name
	}
	i, err := parseIdentity(name)
	if err != nil {
		return i, apiError(http.StatusBadRequest, err)
	}
	return i, nil
}

// known answers for a token that the ledger does not have.
func (i identity) known(err error) error {
	if !errors.Is(err, tokenstore.ErrUnknown) {
		return err
	}
	return apiError(http.StatusNotFound,
		fmt.Errorf("no token %s was used here. A token is known from its first call on; revoking works before", i))
}

func adminShow(r *adminRequest) (any, error) {
	i, err := r.identity()
	if err != nil {
		return nil, err
	}
	record, err := r.relay.ledger.Token(r.Context(), i.issuer, i.id)
	if err != nil {
		return nil, i.known(err)
	}
	shown := shownRecord{Record: record}
	if refused, ok := r.relay.ledger.keyRefusals.Get(record.Issuer + "/" + record.ID); ok {
		shown.KeyRefused = &refused
	}
	return &shown, r.limitReader().complete(&shown.Record)
}

// updated is a token after a change.
type updated struct {
	tokenstore.Record
	Ended int `json:"ended_calls"` // that were under way
}

func adminUpdate(r *adminRequest) (any, error) {
	i, err := r.identity()
	if err != nil {
		return nil, err
	}
	change, err := parseChange(r.body)
	if err != nil {
		return nil, apiError(http.StatusBadRequest, err)
	}
	ledger := r.relay.ledger
	if change.Disabled != nil && !*change.Disabled {
		record, err := ledger.Token(r.Context(), i.issuer, i.id)
		switch {
		case err != nil:
			return nil, i.known(err)
		case record.Status == tokenstore.Revoked:
			return nil, apiError(http.StatusConflict, fmt.Errorf("token %s is revoked, and that is for good: mint another", i))
		}
	}
	record, err := ledger.Update(r.Context(), i.issuer, i.id, change)
	if err != nil {
		return nil, i.known(err)
	}
	if err := r.limitReader().complete(&record); err != nil {
		return nil, err
	}
	answer := updated{Record: record}
	if change.Disabled != nil && *change.Disabled {
		answer.Ended = ledger.live.end(endRevoked, i.matches)
	}
	r.app.logger.Info("token changed", zap.String("issuer", i.issuer), zap.String("token_id", i.id),
		zap.String("status", string(record.Status)), zap.Int64p("calls_limit", record.CallsLimit), zap.Int("ended_calls", answer.Ended))
	return answer, nil
}

// maxLabel is how many characters a label can have.
const maxLabel = 200

// parseChange reads {"calls_limit": n|null, "disabled": bool, "label": "…"}.
func parseChange(body []byte) (c tokenstore.Change, err error) {
	members, err := parseMembers(body, "calls_limit", "disabled", "label")
	if err != nil {
		return c, err
	}
	if len(members) == 0 {
		return c, errors.New("nothing to change: there are calls_limit, disabled and label")
	}
	if data, ok := members["calls_limit"]; ok {
		var limit *int64
		if err := json.Unmarshal(data, &limit); err != nil || limit != nil && (*limit < 0 || *limit > grant.MaxCalls) {
			return c, fmt.Errorf("calls_limit is a whole number from 0 to %d, or null for the limit in the token's claims", int64(grant.MaxCalls))
		}
		c.Limits = map[tokenstore.Unit]*int64{tokenstore.UnitCalls: limit}
	}
	if data, ok := members["disabled"]; ok {
		if err := json.Unmarshal(data, &c.Disabled); err != nil || c.Disabled == nil {
			return c, errors.New("disabled is true or false")
		}
	}
	if data, ok := members["label"]; ok {
		if err := json.Unmarshal(data, &c.Label); err != nil || c.Label == nil || !validLabel(*c.Label) {
			return c, fmt.Errorf("label is a text of at most %d printable characters", maxLabel)
		}
	}
	return c, nil
}

func validLabel(s string) bool {
	return utf8.RuneCountInString(s) <= maxLabel &&
		!strings.ContainsFunc(s, func(r rune) bool { return !strconv.IsPrint(r) || r == utf8.RuneError })
}

// parseMembers reads a JSON object as strictly as claims are read: names that
// are not known or come twice are refused, and so is anything after it.
func parseMembers(data []byte, known ...string) (map[string]json.RawMessage, error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') || !utf8.Valid(data) {
		return nil, errors.New("the request body is not a JSON object")
	}
	members := make(map[string]json.RawMessage)
	for dec.More() {
		t, err := dec.Token()
		name, ok := t.(string)
		var value json.RawMessage
		if err != nil || !ok || dec.Decode(&value) != nil {
			return nil, errors.New("the request body does not parse")
		}
		if !slices.Contains(known, name) {
			return nil, fmt.Errorf("unknown member: there are %s", strings.Join(known, ", "))
		}
		if members[name] != nil {
			return nil, fmt.Errorf("%s is given twice", name)
		}
		members[name] = value
	}
	if _, err := dec.Token(); err != nil {
		return nil, errors.New("the request body does not parse")
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, errors.New("there is something after the JSON object")
	}
	return members, nil
}

func adminUsage(r *adminRequest) (any, error) {
	q, err := r.parameters("provider", "issuer", "subject", "from", "to")
	if err != nil {
		return nil, err
	}
	f := tokenstore.UsageFilter{Provider: q.Get("provider"), Issuer: q.Get("issuer"), Subject: q.Get("subject")}
	for name, day := range map[string]*time.Time{"from": &f.From, "to": &f.To} {
		if !q.Has(name) {
			continue
		}
		if *day, err = time.Parse(time.DateOnly, q.Get(name)); err != nil || day.Unix() <= 0 {
			return nil, apiError(http.StatusBadRequest, fmt.Errorf("%s is a day such as 2026-01-31", name))
		}
	}
	if q.Has("from") && q.Has("to") && f.To.Before(f.From) {
		return nil, apiError(http.StatusBadRequest, errors.New("to is before from"))
	}
	rows, err := r.relay.ledger.UsageReport(r.Context(), f)
	if rows == nil {
		rows = []tokenstore.UsageRow{} // in JSON a list, though empty
	}
	return usageReport{rows}, err
}

// usageReport is what was used, by day, provider, issuer and subject.
type usageReport struct {
	Usage []tokenstore.UsageRow `json:"usage"`
}
