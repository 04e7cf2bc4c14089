package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

var list = strings.Repeat("a,", 1700) + "a"

// floods are of requests that the relay refuses, and that should cost it little. What
// has no header has a token that was changed, so that only opening it tells.
var floods = []struct {
	name, query   string
	header        http.Header
	differ, http2 bool // differ: each token from the others
}{
	{name: "nothing", header: http.Header{}}, // for comparison
	{name: "unknown tokens", differ: true},
	{name: "one unknown token, repeated"},
	{name: "query ?a&a&…, 8 kB", query: "?" + strings.Repeat("a&", 4000), header: http.Header{}},
	{name: "Connection: a,a,…, 7 kB", header: http.Header{"Connection": {list + "," + list}}},
	{name: "subprotocols, 14 kB", header: http.Header{"Sec-Websocket-Protocol": {list, list, list, list}}},
	{name: "the same over HTTP/2, from its header table", header: http.Header{"Sec-Websocket-Protocol": {list, list, list, list}}, http2: true},
}

// flood measures calls alone and beside each flood, of the relay and of bare, which
// shows what net/http takes.
func (b *bench) flood(ctx context.Context) error {
	fmt.Printf("%d calls/s beside %d others.\n\n| calls of | beside | p50, µs | p99, µs |\n|---|---|--:|--:|\n", goodRate, floodRate)
	token := ""
	for _, name := range []string{relay + allPolicy, bare} {
		s, err := b.start(ctx, name)
		if err != nil {
			return err
		}
		defer s.stop()
		if name != bare { // which refuses the same
			token = s.tokens[overH2]()
		}

		good := []call{b.caller(s, overH2, smallPath, s.tokens[overH2])}
		for i := range floods {
			var took []time.Duration
			err := together(ctx, 2, func(ctx context.Context, k int) error {
				if k == 1 {
					_, err := pace(ctx, []call{garbage(s, i, token)}, min(i, 1)*int(floodRate*b.duration.Seconds()), time.Second/floodRate)
					return err
				}
				all, err := pace(ctx, good, int(goodRate*b.duration.Seconds()), time.Second/goodRate)
				took = all[0]
				return err
			})
			if err != nil {
				return fmt.Errorf("%s beside %s: %w", name, floods[i].name, err)
			}
			fmt.Printf("| %s | %s | %.0f | %.0f |\n", name, floods[i].name, quantile(took, 0.5), quantile(took, 0.99))
		}
	}
	return nil
}

// garbage makes the requests of a flood, which must be refused.
func garbage(s *subject, i int, token string) call {
	transport := &http.Transport{MaxIdleConnsPerHost: connections, Protocols: new(http.Protocols)}
	transport.Protocols.SetHTTP1(!floods[i].http2)
	transport.Protocols.SetUnencryptedHTTP2(floods[i].http2)
	return func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.urls[overH2]+smallPath+floods[i].query, nil)
		if err != nil {
			return err
		}
		if req.Header = floods[i].header; req.Header == nil {
			mark := "AAAAAAAAAAAAAAAA"
			if floods[i].differ {
				mark = rand.Text()[:len(mark)]
			}
			req.Header = http.Header{"Authorization": {"Bearer " + token[:len(token)/2] + mark + token[len(token)/2+len(mark):]}}
		}
		res, err := transport.RoundTrip(req)
		if err != nil {
			return err
		}
		defer res.Body.Close()
		if _, err = io.Copy(io.Discard, res.Body); err == nil && res.StatusCode < 400 {
			err = fmt.Errorf("a request is answered %s", res.Status)
		}
		return err
	}
}
