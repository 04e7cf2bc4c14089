package relayapi

import (
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/time/rate"
)

const (
	guessBurst    = 10              // wrong secrets that a client may send at once
	guessInterval = 6 * time.Second // and then one in this time
	guessClients  = 1 << 13         // that are remembered
)

// guesses bounds how often each client may be wrong about a secret. Being right
// costs nothing. The cache is 2Q, so that one who comes from many addresses
// does not make it forget those that go on.
type guesses struct {
	mu      sync.Mutex // over looking a client up and adding it
	clients *lru.TwoQueueCache[netip.Prefix, *guesser]
}

type guesser struct {
	mu   sync.Mutex // over a guess, so that those at once are no more than those in turn
	left *rate.Limiter
}

func newGuesses() *guesses {
	clients, err := lru.New2Q[netip.Prefix, *guesser](guessClients)
	if err != nil {
		panic(err) // only for a size that is not positive
	}
	return &guesses{clients: clients}
}

// try asks whether a client's guess is right, unless the client was wrong too
// often: then it asks nothing and returns how long to wait.
func (g *guesses) try(client netip.Prefix, now time.Time, right func() bool) (wait time.Duration) {
	c := g.of(client)
	c.mu.Lock()
	defer c.mu.Unlock()
	if left := c.left.TokensAt(now); left < 1 {
		return time.Duration((1 - left) * float64(guessInterval))
	}
	if !right() {
		c.left.AllowN(now, 1)
	}
	return 0
}

func (g *guesses) of(client netip.Prefix) *guesser {
	g.mu.Lock()
	defer g.mu.Unlock()
	c, ok := g.clients.Get(client)
	if !ok {
		c = &guesser{left: rate.NewLimiter(rate.Every(guessInterval), guessBurst)}
		g.clients.Add(client, c)
	}
	return c
}

// clientOf returns the network that counts as one client: an IPv4 address, or
// the /64 that one IPv6 host can fill. It is the zero prefix where there is no
// address, as on a unix socket.
func clientOf(r *http.Request) netip.Prefix {
	var ip netip.Addr
	if peer, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		ip = peer.Addr()
	}
	// Without strict, Caddy takes the left-most forwarded address, which is the
	// one that the client chooses.
	server, _ := r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if server != nil && server.TrustedProxiesStrict > 0 {
		forwarded, _ := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string)
		if addr, err := netip.ParseAddr(forwarded); err == nil {
			ip = addr
		}
	}
	ip = ip.Unmap()
	bits := ip.BitLen()
	if ip.Is6() {
		bits = 64
	}
	client, _ := ip.Prefix(bits) // drops the zone
	return client
}
