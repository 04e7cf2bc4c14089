package limits

import (
	"github.com/relayapi/caddy-relayapi/grant"
	"github.com/relayapi/caddy-relayapi/tokenstore"
)

// Claimed returns the limits that the claims name. The issuer's limits, which may
// apply instead, can change with the config.
func Claimed(c *grant.Claims) tokenstore.Limits {
	if c.Limits == nil {
		return tokenstore.Limits{}
	}
	return tokenstore.Limits{Calls: c.Limits.Calls, Tokens: c.Limits.Tokens, NanoUSD: (*int64)(c.Limits.USD)}
}

// Own returns the limits of a grant: those of the claims, else the issuer's.
func Own(g *grant.Grant) (l tokenstore.Limits) {
	for _, own := range []struct {
		limit *int64
		to    **int64
	}{{&g.Calls, &l.Calls}, {&g.Tokens, &l.Tokens}, {(*int64)(&g.USD), &l.NanoUSD}} {
		if *own.limit > 0 {
			*own.to = own.limit
		}
	}
	return l
}
