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
func (h *Handler) charge(rt *route, _ *http.Request) *refusal {
	p := rt.permit
	var others []tokenstore.Charge
	others, rt.windowEnds = rt.relay.limitsInForce(h.app.Limits).charges(rt.room[:0], p, rt.countedAt)

	charges, err := rt.relay.ledger.Admit(rt, p.token, tokenstore.Amounts{Calls: 1}, others)
	if err != nil {
		return uncharged(rt.relay, p, err)
	}
	rt.charges = charges
	return nil
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
			p.IssuedAt, relay.ledger.Birth().UTC().Format(time.RFC3339)))
	case errors.Is(err, context.Canceled):
		return refuse(codeNotReady, err.Error()) // the client is gone
	default:
		return refuse(codeStoreUnavailable, err.Error())
	}
}

// settle gives the call back if no connection to the provider was had, and
// records what was used.
func (h *Handler) settle(rt *route, r *http.Request) {
	relay := rt.relay
	if f := ended(rt); f != nil && rt.answered {
		f.log(h.logger, h.fields(r, rt)...) // otherwise it is the answer, which was logged
	}
	if rt.complaint != "" {
		relay.ledger.keyRefusals.Add(rt.permit.tokenID, keyRefusal{time.Now().UTC(), rt.complaint})
	}
	used := tokenstore.Usage{BytesIn: rt.bytesIn.Load(), BytesOut: rt.bytesOut.Load(), Duration: time.Since(rt.start)}
	if rt.connected.Load() {
		used.Calls = 1
	} else if err := relay.ledger.Settle(rt.charges, tokenstore.Amounts{}); err != nil {
		h.logger.Error("a call could not be given back", zap.String("token_id", rt.grant.ID), zap.Error(err))
	}
	switch status := rt.status.Load(); {
	case status == 0 || status >= 500 || status == int32(answers[codeProviderRefusedKey].status):
		used.ProviderErrors = 1
	case status >= 400:
		used.ClientErrors = 1
	default:
		used.Succeeded = 1
	}
	relay.ledger.Observe(rt.token, "", used)
}
