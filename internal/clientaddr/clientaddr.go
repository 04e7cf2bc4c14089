// Package clientaddr tells the address of a client, which it cannot choose itself.
package clientaddr

import (
	"net/http"
	"net/netip"
	"sync"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
	"golang.org/x/net/http/httpguts"
)

// Of returns the address of a client. It is the zero address if there is none,
// as on a unix socket.
func Of(r *http.Request) netip.Addr {
	// Without strict, Caddy takes the left-most forwarded address, which the client
	// chooses.
	server, _ := r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if server != nil && server.TrustedProxiesStrict > 0 {
		forwarded, _ := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string)
		if addr, err := netip.ParseAddr(forwarded); err == nil {
			return addr.Unmap().WithZone("")
		}
	}
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return peer.Addr().Unmap().WithZone("")
}

// Network returns the network that counts as one client: an IPv4 address, or the /64
// that one IPv6 host can fill.
func Network(r *http.Request) netip.Prefix {
	addr := Of(r)
	bits := addr.BitLen()
	if addr.Is6() {
		bits = 64
	}
	client, _ := addr.Prefix(bits)
	return client
}

// Secure reports whether a client reached the relay over HTTPS, by itself or
// through a trusted proxy.
func Secure(r *http.Request) bool {
	trusted, _ := caddyhttp.GetVar(r.Context(), caddyhttp.TrustedProxyVarKey).(bool)
	return r.TLS != nil || trusted && httpguts.HeaderValuesContainsToken(r.Header["X-Forwarded-Proto"], "https")
}

// ProxyWarning warns once that the relay ignores addresses that clients choose.
type ProxyWarning struct{ once sync.Once }

// Check checks a request whose client is identified by its address.
func (p *ProxyWarning) Check(r *http.Request, logger *zap.Logger) {
	server, _ := r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	trusted, _ := caddyhttp.GetVar(r.Context(), caddyhttp.TrustedProxyVarKey).(bool)
	if server == nil || !trusted || server.TrustedProxiesStrict > 0 {
		return
	}
	p.once.Do(func() {
		logger.Warn("trusted_proxies without trusted_proxies_strict believes the address that a client sends; " +
			"the relay uses the proxy's address instead, which all its clients share; set trusted_proxies_strict")
	})
}
