package relayapi

import (
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/relayapi/caddy-relayapi/grant"
	"github.com/relayapi/caddy-relayapi/internal/limits"
	"github.com/relayapi/caddy-relayapi/internal/ratelimit"
	"github.com/relayapi/caddy-relayapi/internal/realkey"
	"github.com/relayapi/caddy-relayapi/tokenstore"
)

// pending is a request over HTTP/1.1 whose body has not come yet.
type pending struct {
	conn net.Conn
	body string
}

// pend sends the header of a call, and the first byte of its body.
func (r *testRelay) pend(token string) *pending {
	r.t.Helper()
	conn, err := net.Dial("tcp", "127.0.0.1:"+r.port)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	const body = `{"x":"y"}`
	_, err = fmt.Fprintf(conn, "POST /v1/x HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n%s", token, len(body), body[:1])
	if err != nil {
		r.t.Fatal(err)
	}
	return &pending{conn, body[1:]}
}

// finish sends the rest of the body and returns the status of the answer, 0 if
// there is none.
func (p *pending) finish() (status int) {
	_, _ = io.WriteString(p.conn, p.body) // the relay may have closed the connection
	answer, _ := io.ReadAll(p.conn)
	_, _ = fmt.Sscanf(string(answer), "HTTP/1.1 %d", &status)
	return status
}

// counting is a provider that counts the calls that reach it.
func counting(t *testing.T, http2 bool) (url string, calls *atomic.Int64) {
	t.Helper()
	calls = new(atomic.Int64)
	up := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		_, _ = io.Copy(io.Discard, r.Body)
	}))
	if up.EnableHTTP2 = http2; http2 {
		up.StartTLS()
	} else {
		up.Start()
	}
	t.Cleanup(up.Close)
	return up.URL, calls
}

// overBothToProviders runs a test against providers over HTTP/1.1 and HTTP/2.
func overBothToProviders(t *testing.T, test func(t *testing.T, relay *testRelay, calls *atomic.Int64)) {
	for _, http2 := range []bool{false, true} {
		t.Run(fmt.Sprintf("http2=%v", http2), func(t *testing.T) {
			url, calls := counting(t, http2)
			test(t, startRelay(t, simple(url, inTransport("tls_insecure_skip_verify"))), calls)
		})
	}
}

// A call that has ended while its body was awaited is not sent, and costs nothing.
func TestCall_ThatEndedIsNotSent(t *testing.T) {
	const calls, rounds = 20, 5
	overBothToProviders(t, func(t *testing.T, relay *testRelay, reached *atomic.Int64) {
		for round := range rounds {
			name := fmt.Sprintf("t%d", round)
			token := relay.mint(id(name), rpm(1000))
			ledger := activeApp(t).ledger
			var held []*pending
			for range calls {
				held = append(held, relay.pend(token))
			}
			under := func() (n int) {
				ledger.live.end(nil, func(t *tokenstore.Token) bool {
					if t.ID == name {
						n++
					}
					return false
				})
				return n
			}
			if !eventually(func() bool { return under() == calls }) {
				t.Fatalf("%d of %d calls are in flight", under(), calls)
			}
			ledger.live.end([]*refusal{endRevoked, endExpired}[round%2], func(t *tokenstore.Token) bool { return t.ID == name })
			for _, p := range held {
				if status := p.finish(); status != http.StatusUnauthorized {
					t.Errorf("a call that was ended got %d", status)
				}
			}
			if used, err := ledger.Used(t.Context(), tokenstore.TokenCounter("backend", name)); used != 0 || err != nil {
				t.Errorf("%d calls are counted, %v", used, err)
			}
		}
		if n := reached.Load(); n != 0 {
			t.Errorf("%d of %d calls reached the provider", n, calls*rounds)
		}
	})
}

// A call counts against its token's rate when it is sent, not when its header
// came: calls whose bodies are held back have not been counted, and are not sent
// all at once.
func TestRate_CountsCallsWhenTheyAreSent(t *testing.T) {
	const limit, rounds = 5, 20
	overBothToProviders(t, func(t *testing.T, relay *testRelay, reached *atomic.Int64) {
		for round := range rounds {
			token := relay.mint(id(fmt.Sprintf("t%d", round)), rpm(limit))
			var held []*pending
			for range 3 * limit {
				held = append(held, relay.pend(token))
			}
			if res, body := relay.do(relay.request(bearer(token))); res.StatusCode != 200 {
				t.Fatalf("while bodies are awaited, a call got %d %s", res.StatusCode, body)
			}
			passed := 1
			for _, p := range held {
				if status := p.finish(); status == 200 {
					passed++
				} else if status != http.StatusTooManyRequests {
					t.Errorf("got %d", status)
				}
			}
			if n := reached.Swap(0); passed != limit || n != limit {
				t.Errorf("%d calls passed and %d reached the provider, want %d", passed, n, limit)
			}
		}
	})
}

// Before a call is written, whatever depends on time is asked again.
func TestCall_IsAskedAgainBeforeItIsSent(t *testing.T) {
	now := time.Now()
	in := func(d time.Duration) grant.NumericDate { return grant.NumericDate(now.Add(d).Unix()) }
	for name, tc := range map[string]struct {
		after time.Duration
		ends  time.Time
		taken int // calls of others that are counted meanwhile
		code  string
	}{
		"at once":                          {},
		"later":                            {after: 10 * time.Second, taken: 1},
		"after the token expired":          {after: time.Hour + time.Second, code: string(grant.Expired)},
		"on the next day":                  {after: time.Minute, ends: now.Add(30 * time.Second), code: codeBusy},
		"when others have used the minute": {after: 62 * time.Second, taken: 3, code: codeRateLimited},
		"when its own minute is over":      {after: 2 * time.Minute, taken: 2},
	} {
		t.Run(name, func(t *testing.T) {
			p := &permit{Grant: &grant.Grant{RPM: 3, Lifetime: grant.Lifetime{IssuedAt: in(-time.Minute), ExpiresAt: in(time.Hour)}}, holder: limits.Holder{Token: "t"}}
			all := ratelimit.New[string](time.Minute, 10)
			alone := &relay{ledger: &ledger{pooledStore: &pooledStore{Ledger: new(tokenstore.Ledger)}}}
			c := &call{relay: alone, permit: p, start: now, target: target{windowEnds: tc.ends}}
			c.held.slot, _ = all.Enter(p.holder.Token, 0, now)
			if refused := c.countRate(now); refused != nil {
				t.Fatal(refused)
			}
			later := now.Add(tc.after)
			for range tc.taken {
				all.Take(p.holder.Token, p.RPM, later)
			}
			code := ""
			if refused := c.stillPermitted(later); refused != nil {
				code = refused.code
			}
			if code != tc.code {
				t.Errorf("refused with %q, want %q", code, tc.code)
			}
			if code == "" && c.rateLimit.Used > p.RPM {
				t.Errorf("%d calls are counted, want at most %d", c.rateLimit.Used, p.RPM)
			}
		})
	}
}

// A token that was refused is not opened again for a while.
func TestTokenCache_RemembersRefusals(t *testing.T) {
	relay := startRelay(t, simple(newUpstream(t, nil).URL))
	good := relay.mint()
	bad := good[:len(good)-8] + "AAAAAAAA"
	cache := activeApp(t).relay.Load().tokens
	client := netip.MustParsePrefix("192.0.2.1/32")
	for range 3 {
		if _, err := cache.open(t.Context(), client, bad, ""); err == nil {
			t.Fatal("it is opened")
		}
	}
	if n := cache.refused.Len(); n != 1 {
		t.Errorf("%d refusals are remembered, want 1", n)
	}
	if _, err := cache.open(t.Context(), client, good, ""); err != nil || cache.refused.Len() != 1 {
		t.Errorf("a good one: %v", err)
	}
}

// The key that a provider sends past its Content-Length is in no log, whoever has
// set the output of the standard logger since.
func TestKeyAfterAnswer_IsNotLogged(t *testing.T) {
	up := newBareProvider(t, func(conn net.Conn, _ *http.Request, _ string) bool {
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"+realKey)
		return true
	})
	relay := startRelay(t, simple(up.URL))
	before, out := log.Writer(), new(lockedBuffer)
	log.SetOutput(out)
	defer log.SetOutput(before)
	relay.do(relay.request(bearer(relay.mint())))
	if !eventually(func() bool { return strings.Contains(out.String(), "Unsolicited response") }) {
		t.Error("the log does not say that there was more")
	}
	if leak(out.String(), realKey, realkey.PieceSize) {
		t.Error("a piece of the key is in the log")
	}
}
