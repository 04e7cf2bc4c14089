package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

const (
	goodRate   = 100  // genuine calls a second
	floodRate  = 1000 // refused requests a second beside them
	floodConns = 10
)

// garbage is a kind of request that the relay refuses and that should cost little.
// request makes the nth; token is a genuine one, to be spoiled.
type garbage struct {
	name    string
	request func(token string, n int64) string // all but Host
	http2   bool                               // instead, with fields that the header table holds
}

var floods = []garbage{
	{name: "unknown tokens, right key id", request: func(token string, n int64) string { return withHead("", bearerOf(spoil(token, n))) }},
	{name: "one garbage token, repeated", request: func(token string, _ int64) string { return withHead("", bearerOf(spoil(token, 0))) }},
	{name: "subprotocols, 16 kB", request: func(string, int64) string {
		return withHead("", "Upgrade: websocket\r\nConnection: Upgrade\r\n"+strings.Repeat("Sec-WebSocket-Protocol: "+list(4000)+"\r\n", 4))
	}},
	{name: "query ?a&a&…, 8 kB", request: func(string, int64) string { return withHead("?"+strings.Repeat("a&", 4000), "") }},
	{name: "Connection: a,a,…, 8 kB", request: func(string, int64) string { return withHead("", "Connection: "+list(8000)+"\r\n") }},
	{name: "indexed field, HTTP/2", http2: true},
}

func list(length int) string       { return strings.Repeat("a,", length/2-1) + "a" }
func bearerOf(token string) string { return "Authorization: Bearer " + token + "\r\n" }
func withHead(query, head string) string {
	return "GET " + small.path + query + " HTTP/1.1\r\n" + head + "\r\n"
}

// spoil changes the middle of a token's ciphertext, so that nothing but opening it
// tells that it is none.
func spoil(token string, n int64) string {
	mark := fmt.Sprintf("%016d", n)
	at := strings.Index(token, "..") + 100
	return token[:at] + mark + token[at+len(mark):]
}

// runFlood measures genuine calls of a relay alone, and beside each kind of garbage.
func (b *bench) runFlood(ctx context.Context, w io.Writer) error {
	dir, err := os.MkdirTemp(b.dir, "flood-")
	if err != nil {
		return err
	}
	sub, err := b.startSubject(ctx, relay, dir, []string{"BENCH_KEY=" + realKey})
	if err != nil {
		return err
	}
	defer sub.stop()
	known := &target{url: "http://" + sub.plain + small.path, body: small.body, answer: small.answer, client: sub.client,
		tokens: &supply{size: 1, mint: func(n int) ([]string, error) { return b.issuer.mint(n, allPolicy) }}}
	fresh := *known
	fresh.url += "?first" // tells its results from the others'
	fresh.tokens = &supply{size: 1, uses: 1, mint: known.tokens.mint}
	if err := sub.until(func() error { _, err := known.sendEach(ctx, 1); return err }); err != nil {
		return err
	}
	tokens, err := b.issuer.mint(1, allPolicy)
	if err != nil {
		return err
	}

	fmt.Fprintf(w, "\n### flood\n\n%d calls a second, half of them with a token that the relay sees for the first time, alone and beside %d requests a second of each kind, %v each. Milliseconds.\n\n",
		goodRate, floodRate, b.duration)
	fmt.Fprintln(w, "| beside | sent, 1/s | calls p50 | alone | p99 | alone | ratio | first calls p99 | alone | ratio |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|")
	for _, kind := range floods {
		fmt.Fprintf(b.progress, "flood: %s\n", kind.name)
		alone, err := b.goodCalls(ctx, known, &fresh)
		if err != nil {
			return err
		}
		stop := kind.start(ctx, sub, tokens[0])
		beside, err := b.goodCalls(ctx, known, &fresh)
		sent, floodErr := stop()
		if err := cmp.Or(err, floodErr); err != nil {
			return fmt.Errorf("beside %s: %w", kind.name, err)
		}
		at := func(l [][]time.Duration, i int, q float64) float64 { return micros(quantile(l[i], q)) / 1000 }
		fmt.Fprintf(w, "| %s | %.0f | %.2f | %.2f | %.2f | %.2f | **%.2f** | %.2f | %.2f | **%.2f** |\n", kind.name, float64(sent)/b.duration.Seconds(),
			at(beside, 0, 0.5), at(alone, 0, 0.5), at(beside, 0, 0.99), at(alone, 0, 0.99), at(beside, 0, 0.99)/at(alone, 0, 0.99),
			at(beside, 1, 0.99), at(alone, 1, 0.99), at(beside, 1, 0.99)/at(alone, 1, 0.99))
	}
	return nil
}

func (b *bench) goodCalls(ctx context.Context, targets ...*target) ([][]time.Duration, error) {
	for _, t := range targets {
		if err := t.tokens.reserve(int(goodRate*b.duration.Seconds()) + 1); err != nil {
			return nil, err
		}
	}
	return openLoops(ctx, targets, goodRate/len(targets), b.duration)
}

// start sends garbage on several connections until stop, which returns how much.
func (g garbage) start(ctx context.Context, sub *subject, token string) (stop func() (sent int64, err error)) {
	ctx, cancel := context.WithCancel(ctx)
	var sent atomic.Int64
	var wg sync.WaitGroup
	errs := make(chan error, floodConns)
	for range floodConns {
		wg.Go(func() {
			send := g.http1
			if g.http2 {
				send = g.overHTTP2
			}
			tick := time.NewTicker(time.Second * floodConns / floodRate)
			defer tick.Stop()
			for ctx.Err() == nil { // a connection that the relay has closed is replaced
				if err := send(ctx, sub, token, tick.C, &sent); err != nil && ctx.Err() == nil {
					errs <- err
					return
				}
			}
		})
	}
	return func() (int64, error) {
		cancel()
		wg.Wait()
		close(errs)
		return sent.Load(), <-errs
	}
}

// http1 uses one connection until the relay closes it.
func (g garbage) http1(ctx context.Context, sub *subject, token string, tick <-chan time.Time, sent *atomic.Int64) error {
	conn, err := net.Dial("tcp", sub.plain)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	answers := bufio.NewReader(conn)
	for ctx.Err() == nil {
		<-tick
		request := strings.TrimSuffix(g.request(token, sent.Add(1)), "\r\n") + "Host: " + sub.plain + "\r\n\r\n"
		if _, err := io.WriteString(conn, request); err != nil {
			return nil
		}
		res, err := http.ReadResponse(answers, nil)
		if err != nil {
			return nil
		}
		_, _ = io.Copy(io.Discard, res.Body)
		if res.StatusCode < 400 {
			return fmt.Errorf("garbage was answered %s", res.Status)
		}
		if res.Close {
			return nil
		}
	}
	return nil
}

// overHTTP2 names a field of 4 000 bytes four times by its place in the header
// table, so that a request of some 80 bytes holds 16 000.
func (g garbage) overHTTP2(ctx context.Context, sub *subject, _ string, tick <-chan time.Time, sent *atomic.Int64) error {
	conn, err := tls.Dial("tcp", sub.secure, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}}) // on loopback
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	framer := http2.NewFramer(conn, bufio.NewReader(conn))
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		return nil
	}
	_ = framer.WriteSettings()
	_ = framer.WriteSettingsAck()
	_ = framer.WriteWindowUpdate(0, 1<<30)
	go func() {
		for { // nothing that it says matters but that it is read
			if _, err := framer.ReadFrame(); err != nil {
				conn.Close()
				return
			}
		}
	}()
	var head bytes.Buffer
	table := hpack.NewEncoder(&head)
	field := hpack.HeaderField{Name: "sec-websocket-protocol", Value: list(4000)}
	for stream := uint32(1); ctx.Err() == nil && stream < 1<<31-2; stream += 2 {
		<-tick
		head.Reset()
		for _, f := range []hpack.HeaderField{{Name: ":method", Value: "GET"}, {Name: ":scheme", Value: "https"},
			{Name: ":authority", Value: sub.secure}, {Name: ":path", Value: small.path}, field, field, field, field} {
			_ = table.WriteField(f) // a buffer takes all
		}
		sent.Add(1)
		if err := framer.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: head.Bytes(), EndStream: true, EndHeaders: true}); err != nil {
			return nil
		}
	}
	return nil
}
