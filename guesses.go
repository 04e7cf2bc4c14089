package relayapi

import (
	"net/netip"
	"sync"
	"time"

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
