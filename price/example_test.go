package price_test

import (
	"fmt"
	"time"

	"github.com/relayapi/caddy-relayapi/price"
)

// A relay reserves the most that a call can cost, and charges what it did cost.
func Example() {
	table, err := price.Default()
	if err != nil {
		panic(err)
	}
	p, ok := table.Find("openai", "gpt-4o-mini", time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC))
	if !ok {
		panic("no price: refuse the call")
	}

	ceiling, err := p.Ceiling(price.Usage{Requests: 1, Input: 1000, Output: 500}, "default")
	if err != nil {
		panic(err)
	}
	cost, err := p.Cost(price.Usage{Requests: 1, Input: 300, CacheRead: 700, Output: 120}, "default")
	if err != nil {
		panic(err)
	}
	fmt.Println("at most", price.Format(ceiling), "and in the end", price.Format(cost))
	// Output: at most 0.00045 and in the end 0.0001695
}
