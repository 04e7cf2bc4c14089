package relayapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/relayapi/caddy-relayapi/grant"
	"github.com/relayapi/caddy-relayapi/internal/adminapi"
	"github.com/relayapi/caddy-relayapi/internal/limits"
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
//	GET    /relayapi/calls                 lists the calls in flight at this relay
//	DELETE /relayapi/calls/{id}            ends one
//	GET    /relayapi/limits                lists the operator's limits
//	PUT    /relayapi/limits                sets one in calls, tokens or usd, for all or for one
//	DELETE /relayapi/limits                removes one that was set
//	GET    /relayapi/usage                 reports usage by day, provider, model, issuer, subject and token
//	GET    /relayapi/status                shows the state of the store, and what is configured
//	GET    /relayapi/keys                  shows the relay's public keys and the issuers' key ids
//	POST   /relayapi/inspect               shows the claims of a token and whether it is accepted; the body is the token
//
// Amounts of dollars are decimal strings. Lowering a limit to the used amount or below
// ends the calls in flight that it counts.
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

// Routes returns the relay's admin routes. Their patterns have no methods, so that the
// relay refuses a wrong method in JSON, as it does everything else.
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
		{Pattern: "/relayapi/calls", Handler: adminMethods{http.MethodGet: withoutQuery(adminCalls)}},
		{Pattern: "/relayapi/calls/{id}", Handler: adminMethods{http.MethodDelete: adminEndCall}},
		{Pattern: "/relayapi/limits", Handler: adminMethods{
			http.MethodGet: withoutQuery(adminLimits), http.MethodPut: adminSetLimit, http.MethodDelete: adminRemoveLimit,
		}},
		{Pattern: "/relayapi/usage", Handler: adminMethods{http.MethodGet: adminUsage}},
		{Pattern: "/relayapi/status", Handler: adminMethods{http.MethodGet: withoutQuery(adminStatus)}},
		{Pattern: "/relayapi/keys", Handler: adminMethods{http.MethodGet: withoutQuery(adminKeys)}},
		{Pattern: "/relayapi/inspect", Handler: adminMethods{http.MethodPost: adminInspect}},
	}
}

// adminRequest is a request to the admin endpoint, with the running relay.
type adminRequest struct {
	*http.Request
	app   *App
	relay *relay
	body  []byte
}

// adminMethods answers a path, by method. The answers become JSON.
type adminMethods map[string]func(*adminRequest) (answer any, err error)

// ServeHTTP implements [caddy.AdminHandler].
func (m adminMethods) ServeHTTP(w http.ResponseWriter, r *http.Request) error {
	handle := m[r.Method]
	if handle == nil {
		methods := strings.Join(slices.Sorted(maps.Keys(m)), ", ")
		w.Header().Set("Allow", methods)
		return apiError(http.StatusMethodNotAllowed, fmt.Errorf("use %s", methods))
	}
	body, status, err := adminapi.ReadBody(r.Body)
	if err != nil {
		return apiError(status, err)
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

// withoutQuery refuses a query, because nothing would read it.
func withoutQuery(handle func(*adminRequest) (any, error)) func(*adminRequest) (any, error) {
	return func(r *adminRequest) (any, error) {
		if _, err := adminapi.ParseQuery(r.URL.RawQuery); err != nil {
			return nil, apiError(http.StatusBadRequest, err)
		}
		return handle(r)
	}
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
	// The relay does not hand out tokens that its config would refuse.
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
	store, ledger := r.app.Store, r.relay.ledger
	s := adminapi.Status{
		Version: adminapi.Version(), Started: r.relay.started.UTC(), Issuers: slices.Sorted(maps.Keys(r.app.grants)), InFlight: ledger.live.Len(),
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
	reader := r.limitReader()
	s.Limits = r.limits()
	for _, name := range s.Issuers {
		may, user := r.issued(&tokenstore.Record{Issuer: name})
		all, err := reader.OfIssuer(name)
		if err != nil {
			return nil, err
		}
		s.Budget = append(s.Budget, adminapi.NewIssuerStatus(name, may.Limits, user, all, reader.Ends))
	}
	return &s, nil
}

func adminKeys(r *adminRequest) (any, error) {
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

// apiError returns an error of the admin API. For a denial, it has only the rule.
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
	reader := r.limitReader()
	f.Complete = func(record *tokenstore.Record) error {
		may, user := r.issued(record)
		return reader.Listed(record, adminapi.OwnLimits(record, may.Limits), user...)
	}
	page, err := r.relay.ledger.Tokens(r.Context(), f)
	return adminapi.NewPage(&page, reader.Ends), err
}

func newLimitReader(ctx context.Context, relay *relay) *limits.Reader {
	return limits.NewReader(relay.limitsInForce(), time.Now(), func(c tokenstore.Counter) (int64, error) { return relay.ledger.Used(ctx, c) })
}

// limitReader returns a reader of the limits in force for tokens.
func (r *adminRequest) limitReader() *limits.Reader { return newLimitReader(r.Context(), r.relay) }

// issued returns what the issuer of a token may grant, and the limits of the user whose
// login it is.
func (r *adminRequest) issued(of *tokenstore.Record) (grant.Issuer, []tokenstore.Limit) {
	issuer := r.app.Issuers[of.Issuer]
	if issuer == nil || issuer.Login == nil {
		return r.app.grants[of.Issuer], nil
	}
	plan, _ := issuer.Login.verifier.RuleOf(adminapi.PlanOf(of))
	return r.relay.tokens.userGrant(of.Issuer, plan)
}

// shown returns a record as clients see it, with the limits in force.
func (r *adminRequest) shown(record *tokenstore.Record) (adminapi.Record, error) {
	reader := r.limitReader()
	may, user := r.issued(record)
	if err := reader.Complete(record, adminapi.OwnLimits(record, may.Limits), user...); err != nil {
		return adminapi.Record{}, err
	}
	shown := adminapi.NewRecord(record, reader.Ends)
	if shown.Permits = adminapi.PermitsOf(record); shown.Permits != nil {
		shown.Permits.Issuer = may.Allow
	}
	return shown, nil
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
	shown, err := r.shown(&record)
	if err != nil {
		return nil, err
	}
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
	shown, err := r.shown(&record)
	if err != nil {
		return nil, err
	}
	answer := adminapi.Updated{Record: shown}
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
	return adminapi.Limits{Limits: r.limits()}, nil
}

// limits returns the limits of the config, and then those that were set.
func (r *adminRequest) limits() []adminapi.Limit {
	return append(adminapi.NewLimits(r.relay.config, "config"), adminapi.NewLimits(r.relay.ledger.Limits().Limits, "admin")...)
}

// adminSetLimit sets a limit, which applies from the next call on.
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
			limit = set // for the answer: the limit that was removed
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
	rules := r.relay.limitsInForce()
	var err error
	shown.Ended, err = r.endSpent(limit, func(p *permit) *int64 { return rules.InPlaceOf(limit, &p.holder) })
	if err != nil {
		return nil, err
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

// endSpent ends the calls in flight that a lowered limit no longer permits: those that
// are charged on a counter that has reached it, and all calls if the limit is 0. limitOf
// returns the limit of a token; nil means that it has not changed.
func (r *adminRequest) endSpent(limit tokenstore.Limit, limitOf func(*permit) *int64) (ended int, err error) {
	live, used := &r.relay.ledger.live, make(map[tokenstore.Counter]int64)
	live.Each(func(c *call) {
		for _, charge := range c.held.charges {
			if lowered := limitOf(c.permit); lowered != nil && *lowered < charge.Limit && limits.Counts(limit, charge.Counter) {
				used[charge.Counter] = 0
			}
		}
	})
	for counter := range used {
		if used[counter], err = r.relay.ledger.Used(r.Context(), counter); err != nil {
			return 0, fmt.Errorf("ending the calls that a limit no longer permits: %w", err)
		}
	}

	why := refuse(exhausted[limit.Unit], "the operator lowered the limit during the call")
	live.Each(func(c *call) {
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

func adminCalls(r *adminRequest) (any, error) {
	list := []adminapi.Call{}
	for c, id := range r.relay.ledger.live.IDs() {
		list = append(list, c.shown(id))
	}
	return adminapi.NewCalls(list), nil
}

// adminEndCall ends a call as a revocation would. Its token stays valid.
func adminEndCall(r *adminRequest) (any, error) {
	for c, id := range r.relay.ledger.live.IDs() {
		if id == r.PathValue("id") {
			c.end(endByHand)
			r.app.logger.Info("call ended", zap.String("issuer", c.permit.Issuer), zap.String("token_id", c.permit.ID))
			return c.shown(id), nil
		}
	}
	return nil, apiError(http.StatusNotFound, adminapi.ErrNoCall)
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

// revoke makes a revocation durable, and then ends the calls in flight. A call that
// arrives in between is refused or found, because it is registered before it asks the
// ledger.
func (r *adminRequest) revoke(answer adminapi.Revoked, rev tokenstore.Revocation) (any, error) {
	if err := r.relay.ledger.Revoke(r.Context(), rev); err != nil {
		return nil, err
	}
	answer.Ended = r.relay.ledger.live.end(endRevoked, rev.Matches)
	if _, ok := r.app.grants[rev.Issuer]; !ok && rev.Scope != tokenstore.ScopeAll {
		// Not refused, because an issuer that was removed from the config may have
		// calls in flight.
		answer.Note = fmt.Sprintf("the config has no issuer %s", rev.Issuer)
	} else if rev.Scope == tokenstore.ScopeSubject && rev.ID != "" {
		namesakes := tokenstore.Filter{Subject: rev.ID, Status: tokenstore.Active, Limit: adminapi.MaxPage}
		page, _ := r.relay.ledger.Tokens(r.Context(), namesakes) // no note, if this fails
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
