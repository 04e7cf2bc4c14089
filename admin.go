package relayapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/relayapi/caddy-relayapi/grant"
	"github.com/relayapi/caddy-relayapi/internal/adminapi"
	"github.com/relayapi/caddy-relayapi/internal/mint"
	"github.com/relayapi/caddy-relayapi/tokenstore"
	"go.uber.org/zap"
)

func init() {
	caddy.RegisterModule(adminAPI{})
}

// adminAPI adds the relay's endpoints to Caddy's admin API:
//
//	POST   /relayapi/tokens                mints a token; the body has its claims
//	GET    /relayapi/tokens                lists the tokens that were used, by issuer, subject, provider, status
//	GET    /relayapi/tokens/{issuer}/{id}  shows one
//	PATCH  /relayapi/tokens/{issuer}/{id}  changes its limits or its label, disables or enables it
//	DELETE /relayapi/tokens/{issuer}/{id}  revokes it, also before it is used
//	PUT    /relayapi/tokens/{issuer}/{id}/heartbeat  revokes it unless another heartbeat comes in time
//	POST   /relayapi/revocations           revokes the tokens of a subject, of an issuer, or all
//	GET    /relayapi/limits                lists the operator's limits
//	PUT    /relayapi/limits                sets one in calls, tokens or usd, for all or for one
//	DELETE /relayapi/limits                removes one that was set
//	GET    /relayapi/usage                 reports what was used, by day, provider, model, issuer, subject and token
//	GET    /relayapi/status                shows the state of the store, and what is configured
//	GET    /relayapi/keys                  shows the relay's public keys and the issuers' key ids
//	POST   /relayapi/inspect               shows what a token says and whether it is accepted; the body is the token
//
// Amounts of dollars are decimal strings. A limit that is lowered to what is used, or
// below, ends the calls under way that it counts.
//
// A path without {issuer} means the relay's own issuer. Whoever reaches the admin
// endpoint can mint.
type adminAPI struct{}

// CaddyModule returns the Caddy module information.
func (adminAPI) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "admin.api.relayapi",
		New: func() caddy.Module { return new(adminAPI) },
	}
}

// Routes returns the relay's admin routes. Their patterns have no methods, so that a
// wrong one is refused in JSON like everything else.
func (adminAPI) Routes() []caddy.AdminRoute {
	token := adminMethods{
		http.MethodGet: adminShow, http.MethodPatch: adminUpdate, http.MethodDelete: adminRevoke,
	}
	return []caddy.AdminRoute{
		{Pattern: "/relayapi/tokens", Handler: adminMethods{http.MethodGet: adminList, http.MethodPost: adminMint}},
		{Pattern: "/relayapi/tokens/{id}", Handler: token},
		{Pattern: "/relayapi/tokens/{issuer}/{id}", Handler: token},
		{Pattern: "/relayapi/tokens/{issuer}/{id}/heartbeat", Handler: adminMethods{http.MethodPut: adminHeartbeat}},
		{Pattern: "/relayapi/revocations", Handler: adminMethods{http.MethodPost: adminRevokeMany}},
		{Pattern: "/relayapi/limits", Handler: adminMethods{
			http.MethodGet: adminLimits, http.MethodPut: adminSetLimit, http.MethodDelete: adminRemoveLimit,
		}},
		{Pattern: "/relayapi/usage", Handler: adminMethods{http.MethodGet: adminUsage}},
		{Pattern: "/relayapi/status", Handler: adminMethods{http.MethodGet: adminStatus}},
		{Pattern: "/relayapi/keys", Handler: adminMethods{http.MethodGet: adminKeys}},
		{Pattern: "/relayapi/inspect", Handler: adminMethods{http.MethodPost: adminInspect}},
	}
}

// adminRequest is a request to the admin endpoint, with the relay that it is for.
type adminRequest struct {
	*http.Request
	app   *App
	relay *relay
	body  []byte
}

// adminMethods answer a path, by method. The answers become JSON.
type adminMethods map[string]func(*adminRequest) (answer any, err error)

// ServeHTTP implements [caddy.AdminHandler].
func (m adminMethods) ServeHTTP(w http.ResponseWriter, r *http.Request) error {
	handle := m[r.Method]
	if handle == nil {
		methods := strings.Join(slices.Sorted(maps.Keys(m)), ", ")
		w.Header().Set("Allow", methods)
		return apiError(http.StatusMethodNotAllowed, fmt.Errorf("use %s", methods))
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, adminapi.MaxBody+1))
	switch {
	case err != nil:
		return apiError(http.StatusBadRequest, errors.New("the request body broke off"))
	case len(body) > adminapi.MaxBody:
		return apiError(http.StatusRequestEntityTooLarge, fmt.Errorf("the request body is longer than %d bytes", adminapi.MaxBody))
	}
	app, relay, err := runningRelay()
	if err != nil {
		return apiError(http.StatusServiceUnavailable, err)
	}
	defer relay.ledger.release()
	answer, err := handle(&adminRequest{r, app, relay, body})
	var refused caddy.APIError
	switch {
	case errors.As(err, &refused):
		return refused
	case errors.Is(err, tokenstore.ErrUnavailable):
		return apiError(http.StatusServiceUnavailable, err)
	case err != nil:
		return apiError(http.StatusInternalServerError, err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	return json.NewEncoder(w).Encode(answer)
}

// runningRelay finds the running relay and holds its ledger, which the caller releases.
// It looks late, because routers are provisioned before apps and outlive them.
func runningRelay() (*App, *relay, error) {
	value, err := caddy.ActiveContext().AppIfConfigured("relayapi")
	if err != nil {
		return nil, nil, errors.New("no relay is configured; the running config has no relayapi directive")
	}
	app := value.(*App)
	relay := app.relay.Load()
	if relay == nil || !relay.ledger.hold() {
		return nil, nil, errors.New("the relay has not started or is shutting down")
	}
	return app, relay, nil
}

func adminMint(r *adminRequest) (any, error) {
	draft, err := grant.ParseDraft(r.body)
	if err != nil {
		return nil, apiError(http.StatusBadRequest, err)
	}
	if err := adminapi.CheckDraft(draft, slices.Sorted(maps.Keys(r.app.Providers))); err != nil {
		return nil, apiError(http.StatusBadRequest, err)
	}
	m, err := r.relay.minter.Mint(draft, time.Now())
	if err != nil {
		return nil, apiError(http.StatusBadRequest, err)
	}
	// The relay does not hand out what its config would refuse.
	if _, err := r.open(m.Token); err != nil {
		return nil, apiError(http.StatusBadRequest, err)
	}
	return m, nil
}

func adminInspect(r *adminRequest) (any, error) {
	return mint.Inspect(r.open, strings.TrimSpace(string(r.body))), nil
}

// open opens a token as a request would. It returns claims that verified even when it
// refuses them.
func (r *adminRequest) open(token string) (*grant.Claims, error) {
	permit, claims, err := r.relay.tokens.compile(r.Context(), token, anyProvider)
	if err != nil {
		return claims, err
	}
	return claims, permit.ValidAt(time.Now())
}

func adminStatus(r *adminRequest) (any, error) {
	if _, err := adminapi.ParseQuery(r.URL.RawQuery); err != nil {
		return nil, apiError(http.StatusBadRequest, err)
	}
	store, ledger := r.app.Store, r.relay.ledger
	s := adminapi.Status{
		Version: version(), Started: r.relay.started.UTC(), Issuers: slices.Sorted(maps.Keys(r.app.grants)), InFlight: ledger.live.count(),
		Store: adminapi.StoreStatus{Kind: store.Driver, Path: store.Path, Ready: true, Since: ledger.Birth().UTC(), LastCommit: ledger.LastCommit().UTC()},
	}
	if err := ledger.Health(); err != nil {
		s.Store.Ready, s.Store.Problem = false, err.Error()
	}
	for _, key := range r.relay.tokens.opener.Keys() {
		s.Keys = append(s.Keys, key.ID())
	}
	for _, name := range slices.Sorted(maps.Keys(r.app.Providers)) {
		p := r.app.Providers[name]
		s.Providers = append(s.Providers, adminapi.ProviderInfo{Name: name, Preset: p.Preset, BaseURL: p.base.String(), Keys: p.keys.Len()})
	}
	return &s, nil
}

// version returns the version of this module.
func version() string {
	info, _ := debug.ReadBuildInfo()
	if info != nil {
		for _, m := range append(info.Deps, &info.Main) {
			if m.Path == "github.com/relayapi/caddy-relayapi" && m.Version != "" {
				return m.Version
			}
		}
	}
	return "unknown"
}

func adminKeys(r *adminRequest) (any, error) {
	if _, err := adminapi.ParseQuery(r.URL.RawQuery); err != nil {
		return nil, apiError(http.StatusBadRequest, err)
	}
	public := r.relay.tokens.opener.Keys()
	answer, err := adminapi.NewKeys(public)
	if err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(r.app.grants)) {
		key := r.app.signers[name]
		if key == nil { // the relay's own issuer, and those for whom it mints
			key = r.relay.minter.Signer.Public()
		}
		answer.Issuers = append(answer.Issuers, adminapi.IssuerKeys{Issuer: name, KeyIDs: []string{key.ID()}})
	}
	return answer, nil
}

// apiError returns an error of the admin API. Of a denial it has only the rule.
func apiError(status int, err error) error {
	var d *grant.Denial
	if errors.As(err, &d) {
		err = errors.New(d.Rule)
	}
	return caddy.APIError{HTTPStatus: status, Err: err}
}

func adminList(r *adminRequest) (any, error) {
	f, err := adminapi.ParseFilter(r.URL.RawQuery)
	if err != nil {
		return nil, apiError(http.StatusBadRequest, err)
	}
	limits := r.limitReader()
	f.Complete = limits.completeListed
	page, err := r.relay.ledger.Tokens(r.Context(), f)
	return adminapi.NewPage(&page, limits.ends), err
}

// limitReader finds the limits in force for tokens. It reads each counter once,
// because many tokens of a list share those of a subject or an issuer.
type limitReader struct {
	context.Context
	app   *App
	relay *relay
	rules *limitRules
	now   time.Time
	used  map[tokenstore.Counter]int64
}

func newLimitReader(ctx context.Context, app *App, relay *relay) *limitReader {
	return &limitReader{ctx, app, relay, relay.limitsInForce(), time.Now(), make(map[tokenstore.Counter]int64)}
}

func (r *adminRequest) limitReader() *limitReader { return newLimitReader(r.Context(), r.app, r.relay) }

// completeListed is complete for a list. It takes what is counted from the record, which
// may be a little more than is used while the token is in use.
func (l *limitReader) completeListed(r *tokenstore.Record) error {
	counted := tokenstore.Amounts{Calls: r.CallsCounted, Tokens: r.TokensCounted, NanoUSD: r.NanoUSDCounted}
	for _, unit := range tokenstore.Units {
		l.used[(&permit{tokenID: r.Issuer + "/" + r.ID}).ownCounter(unit)] = counted.Of(unit)
	}
	return l.complete(r)
}

// complete adds the limits in force to a record: its own and the operator's.
func (l *limitReader) complete(r *tokenstore.Record) error {
	p := &permit{
		Grant:   &grant.Grant{Issuer: r.Issuer, ID: r.ID, Subject: r.Subject},
		tokenID: r.Issuer + "/" + r.ID, subjectID: r.Issuer + "/" + r.Subject,
	}
	limits, err := l.inForce(p, adminapi.OwnLimits(r, l.app.grants[r.Issuer].Limits))
	r.SetLimits(limits)
	return err
}

// inForce returns a token's own limits, and the operator's that apply to it.
func (l *limitReader) inForce(p *permit, own tokenstore.Limits) (limits []tokenstore.LimitUse, err error) {
	add := func(c tokenstore.Counter, per string, limit int64) {
		var used int64
		if err == nil {
			used, err = l.usedOf(c)
		}
		limits = append(limits, tokenstore.LimitUse{Scope: c.Scope, Unit: c.Unit, Per: per, Amount: limit, Used: used})
	}
	for _, unit := range tokenstore.Units {
		if limit := own.Of(unit); limit != nil {
			add(p.ownCounter(unit), "", *limit)
		}
	}
	for i, rule := range l.rules.rules {
		one := limitRules{rules: l.rules.rules[i : i+1]}
		charges, _ := one.charges(nil, p, tokenstore.Amounts{Calls: 1, Tokens: 1, NanoUSD: 1}, l.now)
		for _, c := range charges {
			add(c.Counter, rule.per, c.Limit)
		}
	}
	return limits, err
}

// ownCounter returns the counter of everything that the token has used of a unit.
func (p *permit) ownCounter(unit tokenstore.Unit) tokenstore.Counter {
	return tokenstore.Counter{Scope: tokenstore.ScopeToken, ID: p.tokenID, Unit: unit}
}

// ends returns when the current window of a period ends; zero means never.
func (l *limitReader) ends(per string) time.Time {
	_, end := windowOf(per, l.now)
	return end
}

func (l *limitReader) usedOf(c tokenstore.Counter) (int64, error) {
	if used, ok := l.used[c]; ok {
		return used, nil
	}
	used, err := l.relay.ledger.Used(l, c)
	if err != nil {
		return 0, fmt.Errorf("reading what %s %s has used: %w", c.Scope, c.ID, err)
	}
	l.used[c] = used
	return used, nil
}

// identity returns the token that the path names.
func (r *adminRequest) identity() (adminapi.Identity, error) {
	i, err := adminapi.ParseIdentity(strings.TrimPrefix(r.PathValue("issuer")+"/"+r.PathValue("id"), "/"))
	if err != nil {
		return i, apiError(http.StatusBadRequest, err)
	}
	return i, nil
}

// unknown turns the ledger's error for an unknown token into an answer.
func unknown(i adminapi.Identity, err error) error {
	if !errors.Is(err, tokenstore.ErrUnknown) {
		return err
	}
	return apiError(http.StatusNotFound,
		fmt.Errorf("no token %s was used here; a token is known from its first call on, and can be revoked before", i))
}

func adminShow(r *adminRequest) (any, error) {
	i, err := r.identity()
	if err != nil {
		return nil, err
	}
	record, err := r.relay.ledger.Token(r.Context(), i.Issuer, i.ID)
	if err != nil {
		return nil, unknown(i, err)
	}
	limits := r.limitReader()
	if err := limits.complete(&record); err != nil {
		return nil, err
	}
	shown := adminapi.NewRecord(&record, limits.ends)
	if refused, ok := r.relay.ledger.keyRefusals.Get(record.Issuer + "/" + record.ID); ok {
		shown.KeyRefused = &refused
	}
	return &shown, nil
}

func adminUpdate(r *adminRequest) (any, error) {
	i, err := r.identity()
	if err != nil {
		return nil, err
	}
	change, err := adminapi.ParseChange(r.body)
	if err != nil {
		return nil, apiError(http.StatusBadRequest, err)
	}
	ledger := r.relay.ledger
	if change.Disabled != nil && !*change.Disabled {
		record, err := ledger.Token(r.Context(), i.Issuer, i.ID)
		switch {
		case err != nil:
			return nil, unknown(i, err)
		case record.Status == tokenstore.Revoked:
			return nil, apiError(http.StatusConflict, fmt.Errorf("token %s is revoked for good; mint another", i))
		}
	}
	record, err := ledger.Update(r.Context(), i.Issuer, i.ID, change)
	if err != nil {
		return nil, unknown(i, err)
	}
	limits := r.limitReader()
	if err := limits.complete(&record); err != nil {
		return nil, err
	}
	answer := adminapi.Updated{Record: adminapi.NewRecord(&record, limits.ends)}
	if change.Disabled != nil && *change.Disabled {
		answer.Ended = ledger.live.end(endRevoked, i.Matches)
	} else if answer.Ended, err = r.endOwn(i, change); err != nil {
		return nil, err
	}
	r.app.logger.Info("token changed", zap.String("issuer", i.Issuer), zap.String("token_id", i.ID),
		zap.String("status", string(record.Status)), zap.Int64p("calls_limit", record.CallsLimit),
		zap.Int64p("tokens_limit", record.TokensLimit), zap.Reflect("usd_limit", answer.USDLimit), zap.Int("ended_calls", answer.Ended))
	return answer, nil
}

func adminUsage(r *adminRequest) (any, error) {
	f, err := adminapi.ParseUsage(r.URL.RawQuery)
	if err != nil {
		return nil, apiError(http.StatusBadRequest, err)
	}
	rows, err := r.relay.ledger.UsageReport(r.Context(), f)
	return adminapi.NewUsageReport(f, rows), err
}

// adminLimits lists the limits of the config, and then those that were set.
func adminLimits(r *adminRequest) (any, error) {
	if _, err := adminapi.ParseQuery(r.URL.RawQuery); err != nil {
		return nil, apiError(http.StatusBadRequest, err)
	}
	list := adminapi.Limits{Limits: []adminapi.Limit{}}
	for _, l := range r.app.Limits {
		unit, amount := l.amount()
		limit := tokenstore.Limit{Scope: tokenstore.Scope(l.Scope), Unit: unit, Per: l.Per, Amount: amount}
		list.Limits = append(list.Limits, adminapi.NewLimit(limit, "config"))
	}
	for _, l := range r.relay.ledger.Limits().Limits {
		list.Limits = append(list.Limits, adminapi.NewLimit(l, "admin"))
	}
	return list, nil
}

// adminSetLimit sets a limit, which acts on the next call.
func adminSetLimit(r *adminRequest) (any, error) {
	limit, err := adminapi.ParseLimit(r.body)
	if err != nil {
		return nil, apiError(http.StatusBadRequest, err)
	}
	if err := r.relay.ledger.SetLimit(r.Context(), limit); err != nil {
		return nil, fmt.Errorf("setting limit: %w", err)
	}
	return r.changed("limit set", limit)
}

// adminRemoveLimit removes a limit that was set. The limit for all, or that of the
// config, applies again.
func adminRemoveLimit(r *adminRequest) (any, error) {
	limit, err := adminapi.ParseLimitKey(r.URL.RawQuery)
	if err != nil {
		return nil, apiError(http.StatusBadRequest, err)
	}
	for _, set := range r.relay.ledger.Limits().Limits {
		if set.SameKey(limit) {
			limit = set // to tell what was removed
		}
	}
	switch err := r.relay.ledger.RemoveLimit(r.Context(), limit); {
	case errors.Is(err, tokenstore.ErrUnknown):
		return nil, apiError(http.StatusNotFound, errors.New("no such limit is set; GET /relayapi/limits and `caddy relayapi limit list` list all (change a limit of the config there)"))
	case err != nil:
		return nil, err
	}
	return r.changed("limit removed", limit)
}

// changed ends the calls that a limit no longer permits after it was set or removed. It
// logs and returns the limit.
func (r *adminRequest) changed(what string, limit tokenstore.Limit) (any, error) {
	shown := adminapi.NewLimit(limit, "admin")
	for _, rule := range r.relay.limitsInForce().rules {
		if rule.scope != limit.Scope || rule.unit != limit.Unit || rule.per != limit.Per {
			continue
		}
		var err error
		shown.Ended, err = r.endSpent(limit, func(p *permit) *int64 {
			if limit.ID != "" && limit.ID != p.counterID(rule.scope) {
				return nil
			}
			return rule.of(p)
		})
		if err != nil {
			return nil, err
		}
	}
	r.app.logger.Info(what, zap.String("scope", string(limit.Scope)), zap.String("id", limit.ID),
		zap.String("per", limit.Per), zap.Stringer("amount", shown.Amount), zap.Int("ended_calls", shown.Ended))
	return shown, nil
}

// endOwn ends the calls that a token's own limits no longer permit after a change.
func (r *adminRequest) endOwn(i adminapi.Identity, change tokenstore.Change) (ended int, err error) {
	for unit, limit := range change.Limits {
		n, err := r.endSpent(tokenstore.Limit{Scope: tokenstore.ScopeToken, Unit: unit}, func(p *permit) *int64 {
			switch {
			case !i.Matches(p.token):
				return nil
			case limit == nil:
				return p.token.Limits.Of(unit)
			}
			return limit
		})
		if err != nil {
			return ended, err
		}
		ended += n
	}
	return ended, nil
}

// endSpent ends the calls under way that a lowered limit no longer permits: those that
// are charged on a counter that has reached it, and all calls if the limit is 0. limitOf
// returns the limit of a token; nil means that it has not changed.
func (r *adminRequest) endSpent(limit tokenstore.Limit, limitOf func(*permit) *int64) (ended int, err error) {
	live, used := &r.relay.ledger.live, make(map[tokenstore.Counter]int64)
	live.each(func(c *call) {
		for _, charge := range c.held.charges {
			counter := charge.Counter
			start, _ := windowOf(limit.Per, counter.Window)
			sameWindow := counter.Window.IsZero() == (limit.Per == "") && counter.Window.Equal(start)
			if lowered := limitOf(c.permit); lowered != nil && *lowered < charge.Limit &&
				counter.Scope == limit.Scope && counter.Unit == limit.Unit && sameWindow {
				used[counter] = 0
			}
		}
	})
	for counter := range used {
		if used[counter], err = r.relay.ledger.Used(r.Context(), counter); err != nil {
			return 0, fmt.Errorf("ending the calls that a limit no longer permits: %w", err)
		}
	}

	code, _ := exhausted(&tokenstore.ExhaustedError{Counter: tokenstore.Counter{Unit: limit.Unit}})
	why := refuse(code, "the operator lowered the limit during the call")
	live.each(func(c *call) {
		lowered := limitOf(c.permit)
		spent := func(charge tokenstore.Charge) bool {
			n, found := used[charge.Counter]
			return found && *lowered < charge.Limit && n >= *lowered
		}
		if lowered != nil && (*lowered == 0 || slices.ContainsFunc(c.held.charges, spent)) {
			c.end(why)
			ended++
		}
	})
	return ended, nil
}

// forever is after every time at which a token can be issued.
var forever = time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)

// adminRevoke revokes one token, and everything that will be minted with its identity.
func adminRevoke(r *adminRequest) (any, error) {
	i, err := r.identity()
	if err != nil {
		return nil, err
	}
	answer := adminapi.Revoked{Scope: tokenstore.ScopeToken, Issuer: i.Issuer, ID: i.ID}
	switch _, err := r.relay.ledger.Token(r.Context(), i.Issuer, i.ID); {
	case errors.Is(err, tokenstore.ErrUnknown):
		answer.Note = fmt.Sprintf("no token %s was used here so far", i)
	case err != nil:
		return nil, err
	}
	revoked, err := r.revoke(answer, tokenstore.Revocation{Scope: tokenstore.ScopeToken, Issuer: i.Issuer, ID: i.ID, Before: forever})
	if err == nil {
		r.relay.ledger.heartbeats.Forget(i)
	}
	return revoked, err
}

// adminRevokeMany revokes the tokens of a subject or an issuer, or all.
func adminRevokeMany(r *adminRequest) (any, error) {
	rev, err := adminapi.ParseRevocation(r.body, time.Now())
	if err != nil {
		return nil, apiError(http.StatusBadRequest, err)
	}
	answer := adminapi.Revoked{Scope: rev.Scope, Issuer: rev.Issuer, Before: rev.Before}
	if rev.Scope == tokenstore.ScopeSubject {
		answer.Subject = &rev.ID
	}
	return r.revoke(answer, rev)
}

// revoke makes a revocation durable, and then ends the calls under way. A call that
// comes in between is refused or found, because it is registered before the ledger is
// asked.
func (r *adminRequest) revoke(answer adminapi.Revoked, rev tokenstore.Revocation) (any, error) {
	if err := r.relay.ledger.Revoke(r.Context(), rev); err != nil {
		return nil, err
	}
	answer.Ended = r.relay.ledger.live.end(endRevoked, rev.Matches)
	if _, ok := r.app.grants[rev.Issuer]; !ok && rev.Scope != tokenstore.ScopeAll {
		// Not refused, because an issuer that was removed from the config may have
		// calls under way.
		answer.Note = fmt.Sprintf("the config has no issuer %s", rev.Issuer)
	} else if rev.Scope == tokenstore.ScopeSubject && rev.ID != "" {
		namesakes := tokenstore.Filter{Subject: rev.ID, Status: tokenstore.Active, Limit: adminapi.MaxPage}
		page, _ := r.relay.ledger.Tokens(r.Context(), namesakes) // none, if that fails
		answer.Note = adminapi.Namesakes(rev, page.Records)
	}
	r.app.logger.Info("revoked", zap.String("scope", string(rev.Scope)), zap.String("issuer", rev.Issuer),
		zap.String("id", rev.ID), zap.Time("before", rev.Before), zap.Int("ended_calls", answer.Ended))
	return answer, nil
}

// Interface guards
var (
	_ caddy.AdminRouter  = (*adminAPI)(nil)
	_ caddy.AdminHandler = adminMethods(nil)
)
