package relayapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/relayapi/caddy-relayapi/grant"
	"github.com/relayapi/caddy-relayapi/internal/mint"
)

// BenchmarkCall is what the relay itself does for one call of a cached token:
// from the handler to where the request would be sent, and back. The rest is
// reverse_proxy's and net/http's.
func BenchmarkCall(b *testing.B) {
	for name, edit := range map[string]func(*grant.Claims){
		"unlimited": nil,
		"limited": func(c *grant.Claims) {
			calls, rpm, concurrency := int64(grant.MaxCalls), int64(grant.MaxRate), int64(grant.MaxRate)
			c.Limits = &grant.Limits{Calls: &calls, RPM: &rpm, Concurrency: &concurrency}
			c.Allow = &grant.Allow{Methods: []string{"POST"}, Paths: []string{"/v1/*"}, IPs: []string{"192.0.2.0/24"}}
		},
		"model-bound": func(c *grant.Claims) { c.Allow = &grant.Allow{Models: []string{"m*"}} },
	} {
		b.Run(name, func(b *testing.B) {
			h, mint := benchHandler(b)
			benchCalls(b, h, func() {}, func() string { return mint(edit) })
		})
	}
}

// BenchmarkLogin is what a call costs with the token of a login, beside one with a token
// that the user got for it at `mint`, and so under the same limits. Cold, the login's
// token is verified for each call.
func BenchmarkLogin(b *testing.B) {
	p := newLoginProvider(b)
	h, _ := benchHandler(b, func(c *testConfig) {
		c.issuers = section("issuer users", section("login "+p.URL, "audience app"), "providers demo", "calls 1000000000 per day", "rpm 1000000", "when plan pro {\nmodels m*\n}")
	})
	relay, users := h.app.relay.Load(), 0
	login := func() string {
		users++
		return p.token(b, fmt.Sprint("user-", users), map[string]any{"plan": "pro", "name": "A. User", "email": "user@app.example.com", "picture": "https://app.example.com/pictures/1"})
	}
	b.Run("login", func(b *testing.B) { benchCalls(b, h, func() {}, login) })
	b.Run("cold", func(b *testing.B) { benchCalls(b, h, relay.tokens.cache.Purge, login) })
	b.Run("token", func(b *testing.B) {
		benchCalls(b, h, func() {}, func() string {
			permit, _, err := relay.tokens.compile(b.Context(), login(), "")
			if err != nil {
				b.Fatal(err)
			}
			user := mint.User{Subject: permit.Subject, Plan: h.app.Issuers["users"].Login.verifier.RuleID(permit.plan), IssuedAt: permit.IssuedAt}
			m, err := relay.minters["users"].MintFor(user, &grant.Claims{Provider: "demo"}, time.Now())
			if err != nil {
				b.Fatal(err)
			}
			return m.Token
		})
	})
}

// benchCalls makes calls with some tokens, each after something else.
func benchCalls(b *testing.B, h *Handler, before func(), mint func() string) {
	var bearers [16][]string // one token lets only so many calls in within a second
	for i := range bearers {
		bearers[i] = []string{"Bearer " + mint()}
	}
	header := http.Header{
		"Accept": {"*/*"}, "Accept-Encoding": {"gzip"}, "Content-Type": {"application/json"},
		"Content-Length": {"13"}, "User-Agent": {"bench"}, "Origin": {"https://app.example.com"},
	}
	body := []byte(`{"model":"m"}`)
	answer := http.Header{"Content-Type": {"application/json"}, "Content-Length": {"11"}}
	ctx := context.WithValue(b.Context(), caddyhttp.VarsCtxKey, make(map[string]any))
	ctx = context.WithValue(ctx, caddyhttp.ServerCtxKey, new(caddyhttp.Server))
	res := &http.Response{StatusCode: 200, Header: make(http.Header), ContentLength: 11}
	next := caddyhttp.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) error {
		res.Header, res.Body = copyInto(res.Header, answer), http.NoBody
		return pretend(r, res)
	})
	reader, w := new(bytes.Reader), httptest.NewRecorder()
	shared := httptest.NewRequest("POST", "/v1/chat/completions", nil).WithContext(ctx)
	shared.Body, shared.ContentLength = io.NopCloser(reader), int64(len(body))
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		r := *shared
		r.Header = copyInto(r.Header, header)
		r.Header["Authorization"] = bearers[i%len(bearers)]
		reader.Reset(body)
		before()
		if err := h.ServeHTTP(w, &r, next); err != nil || w.Code != 200 {
			b.Fatal(w.Code, w.Body, err)
		}
	}
}

// copyInto refills a header without allocating.
func copyInto(to, from http.Header) http.Header {
	clear(to)
	for name, values := range from {
		to[name] = values
	}
	return to
}

// pretend does what the transport does but for the round trip.
func pretend(r *http.Request, res *http.Response) error {
	c := callOf(r.Context())
	c.outgoing(r)
	c.outcome.connected.Store(true)
	res, err := c.incoming(r.Context(), c.asked(r), res)
	if err != nil {
		return err
	}
	_, _ = io.Copy(io.Discard, res.Body)
	return res.Body.Close()
}

func benchHandler(b *testing.B, options ...option) (h *Handler, mint func(edit func(*grant.Claims)) string) {
	b.Helper()
	r := &testRelay{t: b, dir: b.TempDir()}
	r.relayKey, r.issuerKey = newKey(b), newKey(b)
	r.writeKeys("relay", r.relayKey)
	r.writeKeys("backend", r.issuerKey)
	app := startApp(b, r.fill(simple("http://127.0.0.1:1", options...)))
	h = &Handler{app: app, logger: nopLogger(), access: nopLogger(), carriers: app.carriers()}
	return h, func(edit func(*grant.Claims)) string {
		return r.mint(edit, func(c *grant.Claims) { c.ExpiresAt = grant.NumericDate(time.Now().Add(time.Hour).Unix()) })
	}
}

// startApp starts the relay of a Caddyfile without the rest of Caddy.
func startApp(b *testing.B, caddyfile string) *App {
	b.Helper()
	config, err := adapt(caddyfile)
	if err != nil {
		b.Fatal(err)
	}
	var parsed struct {
		Apps struct {
			Relay *App `json:"relayapi"`
		} `json:"apps"`
	}
	if err := json.Unmarshal(config, &parsed); err != nil {
		b.Fatal(err)
	}
	app := parsed.Apps.Relay
	if err := caddy.Run(&caddy.Config{Admin: &caddy.AdminConfig{Disabled: true}}); err != nil { // it has the other apps
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = caddy.Stop() })
	ctx, cancel := caddy.NewContext(caddy.ActiveContext())
	b.Cleanup(cancel)
	if err := errors.Join(app.Provision(ctx), app.Start()); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = app.Cleanup() })
	return app
}
