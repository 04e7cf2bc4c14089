package relayapi

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/relayapi/caddy-relayapi/grant"
)

// incoming cleans the answer on its way back.
func (rt *route) incoming(ctx context.Context, res *http.Response) (*http.Response, error) {
	status := res.StatusCode
	if status == http.StatusUnauthorized || status == http.StatusTooManyRequests {
		rt.secret.rest(time.Now())
	}
	if status == http.StatusUnauthorized {
		res.Body.Close()
		return nil, refuse(codeProviderRefusedKey, "the provider answered 401 to "+rt.secret.source)
	}
	if m := rt.messages; m != nil && !m.named && status != http.StatusSwitchingProtocols && status < 400 {
		res.Body.Close()
		return nil, refuse(string(grant.NoModel), "no WebSocket came of the handshake, and the request names no model")
	}
	if status == http.StatusSwitchingProtocols && (!rt.socket || !strings.EqualFold(res.Header.Get("Upgrade"), "websocket")) {
		res.Body.Close()
		return nil, errNotAsked
	}
	if err := rt.filterModels(res); err != nil {
		return nil, err
	}
	if name := cleanHeader(res.Header, rt.secret); name != "" {
		res.Body.Close()
		return nil, refuse(codeAnswerWithheld, "its header "+name+" holds the key")
	}
	if status >= 400 {
		if err := maskBody(res, rt.secret); err != nil {
			return nil, err
		}
	}
	if rt.rateLimit.limit > 0 { // the client is told the relay's
		delete(res.Header, rateLimitField)
		delete(res.Header, rateLimitPolicy)
	}
	rt.status.Store(int32(status))
	if rt.protocol != "" && status == http.StatusSwitchingProtocols && res.Header.Get(protocolHeader) == "" {
		// Browsers take an answer without any for a failure
		// (https://websockets.spec.whatwg.org/#the-websocket-interface).
		res.Header.Set(protocolHeader, rt.protocol)
	}
	res.Body, rt.answered = rt.tapped(ctx, res), true
	return res, nil
}
