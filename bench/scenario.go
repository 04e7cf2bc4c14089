package main

import (
	"fmt"
	"time"

	"github.com/relayapi/caddy-relayapi/grant"
)

// scenario is a kind of request with a kind of token.
type scenario struct {
	name, about string
	work        work

	narrow   func(*grant.Claims) // what the tokens are limited to
	tokens   int                 // how many there are at once
	uses     int                 // how often each may be used; 0: endlessly
	warmEach bool                // the relay has seen each token before it is measured
	known    int                 // how many other tokens the store knows from before
	twin     bool                // a second relay is there, see [relayAgain]; its tokens must not be used up
	env      []string            // of the relay
	commits  bool                // each call waits for a commit: say how many of those it is
	short    bool                // belongs to -short
}

// small is the request of most scenarios: all the work is the proxy's.
var small = httpWork{
	path:   smallPath,
	body:   []byte(`{"model":"bench-1","messages":[{"role":"user","content":"Good morning!"}]}`),
	answer: len(smallAnswer),
}

var scenarios = []scenario{
	{
		name: "small/unlimited", about: "Small JSON, one token without limits.",
		work: small, tokens: 1, twin: true, short: true,
	},
	{
		name:  "small/all-policy",
		about: "Small JSON, 100 tokens with " + policyWords + ".",
		work:  small, tokens: 100, narrow: allPolicy, twin: true, short: true,
	},
	{
		name: "small/50-calls", about: "Small JSON, 10 000 tokens of 50 calls each, all seen before: every call waits for a commit that it shares with others.",
		work: small, tokens: 10_000, uses: 50, narrow: calls(50), warmEach: true, commits: true,
	},
	{
		name: "small/100k-tokens", about: "Small JSON, 100 000 tokens without limits in turn, all seen before.",
		work: small, tokens: 100_000, warmEach: true,
	},
	{
		name: "small/cold", about: "Small JSON, each token used once: every request opens one.",
		work: small, tokens: 1000, uses: 1,
	},
	{
		name: "small/beside-cold", about: fmt.Sprintf("%d calls a second of one token that is known, beside %d with tokens that are used once each (to bare Caddy they are like any).",
			gateRate, besideRate),
		work: besideWork{small}, tokens: 1000, uses: 1,
	},
	{
		name: "small/beside-cold/gogc", about: "The same with GOGC=400 in the environment of the relay, which so collects its garbage less often, and not in that of the others.",
		work: besideWork{small}, tokens: 1000, uses: 1, env: []string{"GOGC=400"},
	},
	{
		name: "small/million-known", about: "As small/50-calls, in a store that knows a million other tokens.",
		work: small, tokens: 10_000, uses: 50, narrow: calls(50), warmEach: true, known: 1_000_000, commits: true,
	},
	{
		name: "large", about: "Bodies of 100 KiB, there and back; the tokens of small/all-policy, without models.",
		work:   httpWork{path: largePath, body: largeBody, answer: len(largeBody)},
		tokens: 100, narrow: exceptModels, twin: true,
	},
	{
		name: "large/models", about: "The same with models, for which the body is held and looked into.",
		work:   httpWork{path: largePath, body: largeBody, answer: len(largeBody)},
		tokens: 100, narrow: allPolicy, twin: true,
	},
	{
		name: "http2", about: "Small JSON over HTTP/2 and TLS, on one connection; the tokens of small/all-policy.",
		work:   httpWork{path: small.path, body: small.body, answer: small.answer, http2: true},
		tokens: 100, narrow: allPolicy, twin: true,
	},
	{
		name: "sse", about: fmt.Sprintf("Server-sent events; the tokens of small/all-policy. Lag: %d streams of each at the same time, with an event each %v; throughput: %d streams as fast as they go, in events.",
			pacedStreams, eventEvery, fastStreams),
		work: sseWork{}, tokens: 100, narrow: allPolicy, twin: true,
	},
	{
		name: "sse/in-turn", about: "The same, with the paced streams of one subject after the other.",
		work: sseWork{inTurn: true}, tokens: 100, narrow: allPolicy,
	},
	{
		name: "websocket", about: fmt.Sprintf("WebSocket, %d bytes there and back; the same tokens, without models. Latency: %d round trips a second over %d connections; throughput: %d connections as fast as they go, in round trips.",
			echoSize, gateRate, echoPaced, echoFast),
		work: echoWork{}, tokens: 100, narrow: upgradePolicy,
	},
}

func calls(n int64) func(*grant.Claims) {
	return func(c *grant.Claims) { c.Limits = &grant.Limits{Calls: &n} }
}

const policyWords = "limits of calls, calls a minute and concurrency, and constraints on model, path, method and address"

// allPolicy is everything that a token may be limited to, and nothing that
// refuses a request of the bench.
func allPolicy(c *grant.Claims) {
	calls, rpm, concurrency := int64(100_000_000), int64(grant.MaxRate), int64(1000)
	c.Limits = &grant.Limits{Calls: &calls, RPM: &rpm, Concurrency: &concurrency}
	c.Allow = &grant.Allow{
		Models: []string{"bench-*"}, Paths: []string{"POST /v1/*"}, Methods: []string{"POST"}, IPs: []string{"127.0.0.0/8"},
	}
}

func exceptModels(c *grant.Claims) {
	allPolicy(c)
	c.Allow.Models = nil
}

// upgradePolicy is the same for a WebSocket, which begins with a GET and names no
// model.
func upgradePolicy(c *grant.Claims) {
	allPolicy(c)
	c.Allow.Models, c.Allow.Paths, c.Allow.Methods = nil, []string{"GET /v1/*"}, []string{"GET"}
}

// warmUp is for how long each subject works before it is measured.
const warmUp = time.Second
