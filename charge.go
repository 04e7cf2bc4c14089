package relayapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/relayapi/caddy-relayapi/grant"
	"github.com/relayapi/caddy-relayapi/tokenstore"
	"go.uber.org/zap"
)

// charge makes the token known to the ledger and takes what the call costs.
func (h *Handler) charge(ctx context.Context, relay *relay, p *permit, now time.Time) ([]tokenstore.Charge, *refusal) {
	terms, err := relay.ledger.Know(ctx, p.token)
	if err != nil {
		return nil, uncharged(relay, p, err)
	}
	var charges []tokenstore.Charge
	limit, limited := p.Calls, p.Calls > 0
	if terms.CallsLimited {
		limit, limited = terms.CallsLimit, true
	}
	if limited {
		charges = append(charges, tokenstore.Charge{Counter: limitCounter(tokenstore.ScopeToken, "", p, now), Amount: 1, Limit: limit})
	}
	charges = relay.limitsInForce(h.app.Limits).charges(charges, p, now)
	if err := relay.ledger.Admit(ctx, p.token, charges); err != nil {
		return nil, uncharged(relay, p, err)
	}
	return charges, nil
}

// uncharged turns an error of the ledger into a refusal.
func uncharged(relay *relay, p *permit, err error) *refusal {
	var used *tokenstore.ExhaustedError
	var why *refusal // that the call was ended for while it waited
	switch {
	case errors.As(err, &why):
		return why
	case errors.As(err, &used):
		return refuse(codeCallsExhausted, exhausted(used))
	case errors.Is(err, tokenstore.ErrConflict):
		return refuse(codeConflict, "its identity is known with other claims")
	case errors.Is(err, tokenstore.ErrRevoked):
		return refuse(codeRevoked, "the token is revoked")
	case errors.Is(err, tokenstore.ErrDisabled):
		return refuse(codeDisabled, "the token is disabled")
	case errors.Is(err, tokenstore.ErrPruned):
		return refuse(string(grant.Expired), "it had expired, and what it used is forgotten")
	case errors.Is(err, tokenstore.ErrPredates):
		return refuse(codePredates, fmt.Sprintf("iat %s is before the store was made, %s",
			p.IssuedAt.UTC().Format(time.RFC3339), relay.ledger.Birth().UTC().Format(time.RFC3339)))
	default:
		return refuse(codeStoreUnavailable, err.Error())
	}
}

// settle gives the call back if no connection to the provider was had, and
// records what was used.
func (h *Handler) settle(ctx context.Context, r *http.Request, relay *relay, rt *route, charges []tokenstore.Charge, start time.Time) {
	if f := ended(ctx); f != nil && rt.answered {
		f.log(h.logger, h.fields(r, rt)...) // otherwise it is the answer, which was logged
	}
	used := tokenstore.Usage{BytesIn: rt.received.Load(), BytesOut: rt.sent.Load(), Duration: time.Since(start)}
	if rt.connected.Load() {
		used.Calls = 1
	} else if err := relay.ledger.Settle(context.Background(), charges); err != nil {
		h.logger.Error("a call could not be given back", zap.String("token_id", rt.grant.ID), zap.Error(err))
	}
	switch status := rt.status.Load(); {
	case status == 0 || status >= 500:
		used.ProviderErrors = 1
	case status >= 400:
		used.ClientErrors = 1
	default:
		used.Succeeded = 1
	}
	relay.ledger.Observe(rt.token, used)
}
