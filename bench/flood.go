package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"time"
)

const (
	goodRate  = 100  // calls a second
	floodRate = 1000 // refused requests a second beside them
)

// A flood is of requests that the relay refuses, and that should cost it little. One
// without a header has a genuine token, changed in its middle: only opening it tells
// that it is none.
type flood struct {
	name, query string
	header      http.Header
	differ      bool // each token from the others
	http2       bool
}

var (
	list         = strings.Repeat("a,", 1700) + "a"
	subprotocols = http.Header{"Sec-Websocket-Protocol": {list, list, list, list}}
)

var floods = []flood{
	{name: "unknown tokens", differ: true},
	{name: "one unknown token, repeated"},
	{name: "query ?a&a&…, 8 kB", query: "?" + strings.Repeat("a&", 4000), header: http.Header{}},
	{name: "Connection: a,a,…, 7 kB", header: http.Header{"Connection": {list + "," + list}}},
	{name: "subprotocols, 14 kB", header: subprotocols},
	{name: "the same over HTTP/2, from its header table", header: subprotocols, http2: true},
}

// flood measures calls alone and beside each flood, of the relay and of bare, which
// shows what net/http takes.
func (b *bench) flood(ctx context.Context) error {
	fmt.Printf("%d calls/s alone, and beside %d refused requests/s, %v each. All in µs.\n\n", goodRate, floodRate, b.duration)
	fmt.Println("| | beside | p50 alone | p50 | p99 alone | p99 | ratio |\n|---|---|--:|--:|--:|--:|--:|")
	token, seconds := "", b.duration.Seconds()
	for _, name := range []string{relay + allPolicy, bare} {
		s, err := b.start(ctx, name)
		if err != nil {
			return err
		}
		defer stop(s.cmd)
		if name != bare {
			token = s.tokens[overH2]()
		}

		for _, f := range floods {
			good := []call{s.caller(overH2, smallPath, s.tokens[overH2])}
			var took [2][]time.Duration
			for i, others := range []float64{0, floodRate} {
				err := together(ctx, 2, func(ctx context.Context, k int) error {
					if k == 1 {
						_, err := pace(ctx, []call{f.request(s, token)}, int(others*seconds), time.Second/floodRate)
						return err
					}
					all, err := pace(ctx, good, int(goodRate*seconds), time.Second/goodRate)
					took[i] = all[0]
					return err
				})
				if err != nil {
					return fmt.Errorf("%s beside %s: %w", name, f.name, err)
				}
			}
			fmt.Printf("| %s | %s | %.0f | %.0f | %.0f | %.0f | **%.2f** |\n", name, f.name, quantile(took[0], 0.5), quantile(took[1], 0.5),
				quantile(took[0], 0.99), quantile(took[1], 0.99), quantile(took[1], 0.99)/quantile(took[0], 0.99))
		}
	}
	return nil
}

// request makes the requests of a flood, which must be refused.
func (f flood) request(s *subject, token string) call {
	var n atomic.Int64
	transport := &http.Transport{MaxIdleConnsPerHost: connections, Protocols: new(http.Protocols)}
	transport.Protocols.SetHTTP1(!f.http2)
	transport.Protocols.SetUnencryptedHTTP2(f.http2)
	middle := len(token) / 2
	return func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.urls[overH2]+smallPath+f.query, nil)
		if err != nil {
			return err
		}
		req.Header = f.header
		if f.header == nil {
			mark := fmt.Sprintf("%016d", n.Load())
			req.Header = http.Header{"Authorization": {"Bearer " + token[:middle] + mark + token[middle+len(mark):]}}
		}
		if f.differ {
			n.Add(1)
		}
		res, err := transport.RoundTrip(req)
		if err != nil {
			return err
		}
		defer res.Body.Close()
		if res.StatusCode < 400 {
			return fmt.Errorf("a request is answered %s", res.Status)
		}
		return nil
	}
}
