package relayapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/relayapi/caddy-relayapi/grant"
	"github.com/relayapi/caddy-relayapi/tokenstore"
	"go.uber.org/zap"
)

// adminLimit is a limit as the admin endpoint tells of it: of the config, or set
// since.
type adminLimit struct {
	Scope   tokenstore.Scope `json:"scope"`
	Issuer  string           `json:"issuer,omitempty"` // empty: of all in the scope
	Subject *string          `json:"subject,omitempty"`
	ID      string           `json:"id,omitempty"`
	Calls   int64            `json:"calls"`
	Per     string           `json:"per,omitempty"` // day or month; empty: in all
	From    string           `json:"from"`          // config or admin
}

type limitList struct {
	Limits []adminLimit `json:"limits"`
}

// adminLimits lists the limits of the config, and then those that were set.
func adminLimits(r *adminRequest) (any, error) {
	if _, err := r.parameters(); err != nil {
		return nil, err
	}
	list := limitList{Limits: []adminLimit{}}
	for _, l := range r.app.Limits {
		list.Limits = append(list.Limits, adminLimit{Scope: tokenstore.Scope(l.Scope), Calls: l.Calls, Per: l.Per, From: "config"})
	}
	for _, l := range r.relay.ledger.Limits().Limits {
		list.Limits = append(list.Limits, shownLimit(l))
	}
	return list, nil
}

func shownLimit(l tokenstore.Limit) adminLimit {
	shown := adminLimit{Scope: l.Scope, Calls: l.Amount, Per: l.Per, From: "admin"}
	issuer, rest, _ := strings.Cut(l.ID, "/")
	shown.Issuer = issuer
	switch {
	case l.ID == "":
	case l.Scope == tokenstore.ScopeSubject:
		shown.Subject = &rest
	case l.Scope == tokenstore.ScopeToken:
		shown.ID = rest
	}
	return shown
}

// adminSetLimit sets a limit, which acts on the next call.
func adminSetLimit(r *adminRequest) (any, error) {
	members, err := parseMembers(r.body, "scope", "issuer", "subject", "id", "calls", "per")
	if err != nil {
		return nil, apiError(http.StatusBadRequest, err)
	}
	var calls *int64
	text := make(map[string]string)
	for name, data := range members {
		var s *string
		switch {
		case name == "calls" && (json.Unmarshal(data, &calls) != nil || calls == nil):
			return nil, apiError(http.StatusBadRequest, errors.New("calls is not a number"))
		case name == "calls":
		case json.Unmarshal(data, &s) != nil || s == nil:
			return nil, apiError(http.StatusBadRequest, fmt.Errorf("%s is not a text", name))
		default:
			text[name] = *s
		}
	}
	limit, err := parseLimitKey(func(name string) (string, bool) { s, ok := text[name]; return s, ok })
	switch {
	case err != nil:
		return nil, apiError(http.StatusBadRequest, err)
	case calls == nil:
		return nil, apiError(http.StatusBadRequest, errors.New("calls is missing: how many?"))
	case *calls < 0 || *calls > grant.MaxCalls:
		return nil, apiError(http.StatusBadRequest, fmt.Errorf("calls must be from 0, which refuses all, to %d", int64(grant.MaxCalls)))
	}
	limit.Amount = *calls
	if err := r.relay.ledger.SetLimit(r.Context(), limit); err != nil {
		return nil, err
	}
	r.app.logger.Info("limit set", zap.String("scope", string(limit.Scope)), zap.String("id", limit.ID),
		zap.String("per", limit.Per), zap.Int64("calls", limit.Amount))
	return shownLimit(limit), nil
}

// adminRemoveLimit removes a limit that was set. What the config says for it, or
// what is set for all, holds again.
func adminRemoveLimit(r *adminRequest) (any, error) {
	query, err := r.parameters("scope", "issuer", "subject", "id", "per")
	if err != nil {
		return nil, err
	}
	limit, err := parseLimitKey(func(name string) (string, bool) { return query.Get(name), query.Has(name) })
	if err != nil {
		return nil, apiError(http.StatusBadRequest, err)
	}
	switch err := r.relay.ledger.RemoveLimit(r.Context(), limit); {
	case errors.Is(err, tokenstore.ErrUnknown):
		return nil, apiError(http.StatusNotFound, errors.New("no such limit is set; GET /relayapi/limits and `caddy relayapi limit list` list those that are (one of the config is changed there)"))
	case err != nil:
		return nil, err
	}
	r.app.logger.Info("limit removed", zap.String("scope", string(limit.Scope)), zap.String("id", limit.ID), zap.String("per", limit.Per))
	return shownLimit(limit), nil
}

// parseLimitKey reads for whom and for which time a limit is.
func parseLimitKey(get func(name string) (value string, given bool)) (l tokenstore.Limit, err error) {
	scope, _ := get("scope")
	issuer, hasIssuer := get("issuer")
	subject, hasSubject := get("subject")
	id, hasID := get("id")
	l.Scope, l.Unit = tokenstore.Scope(scope), tokenstore.UnitCalls
	l.Per, _ = get("per")
	if err := (Limit{Scope: scope, Calls: 1, Per: l.Per}).check(nil); err != nil {
		if l.Scope == tokenstore.ScopeToken && l.Per == "" {
			err = errors.New("the calls of a token in all are changed with PATCH /relayapi/tokens/{issuer}/{id} or `caddy relayapi token update <id> --calls <n>`; say per day or month")
		}
		return l, err
	}
	switch {
	case hasSubject && l.Scope != tokenstore.ScopeSubject:
		return l, fmt.Errorf("subject goes with scope subject, and this is scope %s", scope)
	case hasID && l.Scope != tokenstore.ScopeToken:
		return l, fmt.Errorf("id goes with scope token, and this is scope %s", scope)
	case hasIssuer && !grant.ValidName(issuer):
		return l, errors.New("issuer has 1 to 64 letters, digits, dots, dashes and underscores")
	case hasID && !grant.ValidName(id):
		return l, errors.New("id has 1 to 64 letters, digits, dots, dashes and underscores")
	case !grant.ValidSubject(subject):
		return l, errors.New("no token has such a subject: it is not printable or too long")
	case hasIssuer && l.Scope != tokenstore.ScopeIssuer && !hasSubject && !hasID:
		return l, errors.New("whose of that issuer? Name the subject or the id, or leave the issuer out, which means all")
	case (hasSubject || hasID) && !hasIssuer:
		issuer = relayIssuer
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
