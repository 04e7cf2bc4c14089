package relayapi

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/relayapi/caddy-relayapi/tokenstore"
	"go.uber.org/zap"
)

// statusEndpoint tells the holder of a token what it is and what is left of it.
// That spends no call and writes nothing, so that pages can poll it.
type statusEndpoint struct {
	// door finds tokens, refuses and logs as for a call.
	door *Handler
}

func newStatusEndpoint(app *App, logger *zap.Logger, logRequests bool) *statusEndpoint {
	return &statusEndpoint{newDoor(app, logger, logRequests)}
}

// tokenStatus is what a token's holder is told of it.
type tokenStatus struct {
	ID        string       `json:"id"`
	Issuer    string       `json:"issuer"`
	Subject   string       `json:"subject,omitempty"`
	Provider  string       `json:"provider"`
	ExpiresAt time.Time    `json:"expires_at"`
	Calls     *callsStatus `json:"calls,omitempty"` // nil: not limited
}

type callsStatus struct {
	Limit     int64 `json:"limit"`
	Used      int64 `json:"used"`
	Remaining int64 `json:"remaining"`
}

// ServeHTTP answers GET and HEAD, with the token in any carrier.
func (e *statusEndpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rt := &route{start: time.Now()}
	rt.watchBody(w, r)
	found := e.door.carriers.take(r)
	rt.found = found
	if e.door.hideFromLog(r, found.bare) {
		defer e.door.logRequest(r, rt)
	}
	if preflight(w, r) {
		return
	}
	status, refused := e.status(r, found, rt, rt.start)
	if refused != nil {
		if refused.code == codeMethodNotAllowed {
			w.Header().Set("Allow", "GET, HEAD")
		}
		_ = e.door.refuse(r, rt, refused) // it has no error to return
		return
	}
	rt.status.Store(http.StatusOK)
	rt.keepConnection()
	allowAnyOrigin(w.Header())
	rt.bytesOut.Store(writeJSON(w, status))
}

func (e *statusEndpoint) status(r *http.Request, found found, rt *route, now time.Time) (*tokenStatus, *refusal) {
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		return nil, refuse(codeMethodNotAllowed, "token_status takes GET")
	case found.refused != nil:
		return nil, found.refused
	}
	relay := e.door.app.running(r.Context())
	if relay == nil || !relay.ledger.hold() {
		return nil, refuse(codeNotReady, "the relay has not started or is shutting down")
	}
	defer relay.ledger.release()
	if refused := relay.pass(r, e.door.app.RateLimits, now); refused != nil {
		return nil, refused
	}
	permit, err := relay.tokens.open(r.Context(), clientOf(r), found.token)
	if err != nil {
		return nil, denied(err)
	}
	rt.grant = permit.Grant
	if err := permit.ValidAt(now); err != nil {
		return nil, denied(err)
	}
	calls, refused := callsOf(r.Context(), relay, permit)
	if refused != nil {
		return nil, refused
	}
	return &tokenStatus{ID: permit.ID, Issuer: permit.Issuer, Subject: permit.Subject, Provider: permit.Provider,
		ExpiresAt: permit.ExpiresAt.Time().UTC(), Calls: calls}, nil
}

// callsOf reads how many of a token's calls are used, under the limit in force.
func callsOf(ctx context.Context, relay *relay, p *permit) (*callsStatus, *refusal) {
	if err := relay.ledger.Refusal(p.token); err != nil {
		return nil, uncharged(relay, p, err)
	}
	limit, limited := p.Calls, p.Calls > 0
	record, err := relay.ledger.Token(ctx, p.Issuer, p.ID)
	switch {
	case errors.Is(err, tokenstore.ErrUnknown): // it was not used yet
	case err != nil:
		return nil, uncharged(relay, p, err)
	case record.Status == tokenstore.Disabled:
		return nil, uncharged(relay, p, tokenstore.ErrDisabled)
	case record.CallsLimit != nil:
		limit, limited = *record.CallsLimit, true
	}
	if !limited {
		return nil, nil
	}
	// Not from the record: only this is exact while the token is in use.
	used, err := relay.ledger.Used(ctx, tokenstore.TokenCounter(p.Issuer, p.ID))
	if err != nil {
		return nil, uncharged(relay, p, err)
	}
	return &callsStatus{Limit: limit, Used: used, Remaining: max(0, limit-used)}, nil
}
