package relayapi

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/relayapi/caddy-relayapi/internal/adminapi"
	"github.com/relayapi/caddy-relayapi/tokenstore"
	"go.uber.org/zap"
)

// revokeTimeout bounds a revocation that no request waits for.
const revokeTimeout = 10 * time.Second

// adminHeartbeat records a heartbeat of a token. From the first one on, the token
// depends on the next.
func adminHeartbeat(r *adminRequest) (any, error) {
	i, err := r.identity()
	if err != nil {
		return nil, err
	}
	ttl, err := adminapi.ParseHeartbeat(r.body)
	if err != nil {
		return nil, apiError(http.StatusBadRequest, err)
	}

	store, logger := r.relay.ledger.pooledStore, r.app.logger
	answer, err := store.heartbeats.Beat(i, ttl, func() error { return store.revokeSilent(i, logger) })
	switch {
	case errors.Is(err, adminapi.ErrSilent):
		return nil, apiError(http.StatusConflict, err)
	case err != nil:
		return nil, apiError(http.StatusServiceUnavailable, err)
	}
	return answer, nil
}

// revokeSilent revokes a token whose heartbeats have stopped, and ends its calls.
func (s *pooledStore) revokeSilent(i adminapi.Identity, logger *zap.Logger) error {
	ctx, cancel := context.WithTimeout(context.Background(), revokeTimeout)
	defer cancel()
	rev := tokenstore.Revocation{Scope: tokenstore.ScopeToken, Issuer: i.Issuer, ID: i.ID, Before: forever}
	if err := s.Revoke(ctx, rev); err != nil {
		logger.Error("revoking a token whose heartbeats stopped failed", zap.String("issuer", i.Issuer), zap.String("id", i.ID), zap.Error(err))
		return err
	}
	ended := s.live.end(endRevoked, rev.Matches)
	logger.Info("revoked a token whose heartbeats stopped",
		zap.String("issuer", i.Issuer), zap.String("id", i.ID), zap.Int("ended_calls", ended))
	return nil
}
