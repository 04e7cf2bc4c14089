package relayapi

import (
	"context"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/relayapi/caddy-relayapi/grant"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

func rpm(n int64) func(*grant.Claims) {
	return func(c *grant.Claims) { c.Limits = &grant.Limits{RPM: &n} }
}

func concurrency(n int64) func(*grant.Claims) {
	return func(c *grant.Claims) { c.Limits = &grant.Limits{Concurrency: &n} }
}

// A token's rate holds over its refreshes and over a reload, is told in headers,
// and is no other token's.
func TestRateOfAToken(t *testing.T) {
	up := newUpstream(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("RateLimit", `"account";r=9;t=9`) // is not the client's business
	})
	relay := startRelay(t, simple(up.URL))
	token := relay.mint(rpm(2), id("t1"))
	refresh := relay.mint(rpm(2), id("t1"), func(c *grant.Claims) { c.ExpiresAt++ })
	for i, want := range []string{`"token";r=1;t=`, `"token";r=0;t=`} {
		res, _ := relay.do(relay.request(bearer([]string{token, refresh}[i])))
		if got := res.Header["Ratelimit"]; res.StatusCode != 200 || len(got) != 1 || !strings.HasPrefix(got[0], want) {
			t.Errorf("call %d: %d %q, want %s…", i, res.StatusCode, got, want)
		}
		if got := res.Header.Get("RateLimit-Policy"); got != `"token";q=2;w=60` {
			t.Errorf("policy %s", got)
		}
	}
	relay.load(relay.lastConfig + "\n")
	res, body := relay.do(relay.request(bearer(token)))
	wantRefusal(t, res, body, codeRateLimited)
	if retry := res.Header.Get("Retry-After"); len(retry) != 2 || retry < "50" || retry > "61" {
		t.Errorf("Retry-After %s", retry)
	}
	if !strings.HasPrefix(res.Header.Get("RateLimit"), `"token";r=0;t=`) || !strings.Contains(body, "2 calls per minute") {
		t.Errorf("got %v %s", res.Header, body)
	}
	if res, _ := relay.do(relay.request(bearer(relay.mint(rpm(2))))); res.StatusCode != 200 {
		t.Errorf("another token is refused with %d", res.StatusCode)
	}
}

func TestConcurrencyOfAToken(t *testing.T) {
	proceed := make(chan struct{})
	up := newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/slow" {
			w.WriteHeader(200)
			_ = http.NewResponseController(w).Flush()
			<-proceed
		}
	})
	relay := startRelay(t, simple(up.URL))
	token := relay.mint(concurrency(2), id("t1"))
	var open []*http.Response
	for range 2 {
		res, err := relay.client.Do(relay.request(bearer(token), asking("POST", "/v1/slow")))
		if err != nil || res.StatusCode != 200 {
			t.Fatal(res, err)
		}
		defer res.Body.Close()
		open = append(open, res)
	}
	res, body := relay.do(relay.request(bearer(token)))
	wantRefusal(t, res, body, codeConcurrency)
	if res.Header.Get("Retry-After") != "1" {
		t.Error("no Retry-After")
	}
	close(proceed)
	_, _ = io.Copy(io.Discard, open[0].Body)
	if !eventually(func() bool { res, _ := relay.do(relay.request(bearer(token))); return res.StatusCode == 200 }) {
		t.Error("no slot is free after a call has ended")
	}
}

// A call has its slot while its body comes, if that is held.
func TestBodyThatIsHeldTakesASlot(t *testing.T) {
	up := newUpstream(t, nil)
	relay := startRelay(t, modelConfig(up.URL))
	one := int64(1)
	token := relay.mintAs("backend", forProvider("openai"), models("small"), func(c *grant.Claims) { c.Limits = &grant.Limits{Concurrency: &one} })
	read, send := newPipe(t)
	done := relay.begin(relay.request(bearer(token), withBody(read, -1)))
	_, _ = io.WriteString(send, `{"model":`)
	if !eventually(func() bool { return activeApp(t).ledger.paces.UnderWay() == 1 }) {
		t.Fatal("no slot is taken")
	}
	res, body := relay.do(relay.request(bearer(token), text(`{"model":"small"}`)))
	wantRefusal(t, res, body, codeConcurrency)
	_, _ = io.WriteString(send, `"small"}`)
	send.Close()
	if got := wait(t, done, "the answer"); got.status != 200 {
		t.Errorf("got %d %s, %v", got.status, got.body, got.err)
	}
}

// Whatever way calls end, their slots are free in the end.
func TestSlotsAreFreedOnEveryWayOut(t *testing.T) {
	slow(t)
	up := newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		switch rand.IntN(4) {
		case 0:
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler) // breaks off
		case 1:
			select {
			case <-r.Context().Done():
			case <-time.After(time.Second):
			}
		case 2:
			w.WriteHeader(401)
		}
	})
	relay := startRelay(t, simple(up.URL, func(c *testConfig) { c.logLevel = "ERROR" }))
	token := relay.mint(concurrency(2), id("t1"))
	const requests = 10_000
	var wg sync.WaitGroup
	var admitted, refused int
	var mu sync.Mutex
	for range 20 {
		wg.Go(func() {
			for range requests / 20 {
				ctx, abort := context.WithTimeout(t.Context(), time.Duration(rand.IntN(4000))*time.Microsecond)
				res, err := relay.client.Do(relay.request(bearer(token)).WithContext(ctx))
				mu.Lock()
				if err == nil && res.StatusCode == 429 {
					refused++
				} else {
					admitted++
				}
				mu.Unlock()
				if err == nil {
					_, _ = io.Copy(io.Discard, res.Body)
					res.Body.Close()
				}
				abort()
			}
		})
	}
	wg.Wait()
	if admitted == 0 || refused == 0 {
		t.Errorf("%d admitted, %d refused: nothing was tried", admitted, refused)
	}
	paces := activeApp(t).ledger.paces
	if !eventually(func() bool { return paces.UnderWay() == 0 }) {
		t.Errorf("%d slots are in use", paces.UnderWay())
	}
}

// The operator's rate limits come before a token is opened.
func TestOperatorsRateLimits(t *testing.T) {
	up := newUpstream(t, nil)
	for name, line := range map[string]string{"client": "rate_limit client 3 per hour", "total": "rate_limit total 3 per hour"} {
		t.Run(name, func(t *testing.T) {
			relay := startRelay(t, simple(up.URL, inApp("rate_limit total 100 per second", line)))
			token := relay.mint()
			for range 2 {
				if res, body := relay.do(relay.request(bearer(token))); res.StatusCode != 200 {
					t.Fatalf("%d %s", res.StatusCode, body)
				}
			}
			res, body := relay.do(relay.request(bearer("eyJhIjoxfQ..AAAA.AAAA.AAAA"))) // counts as well
			wantRefusal(t, res, body, string(grant.Invalid))
			relay.load(relay.lastConfig + "\n")
			for _, token := range []string{token, "eyJhIjoxfQ..AAAA.AAAA.AAAA"} {
				res, body := relay.do(relay.request(bearer(token), header("X-Forwarded-For", "192.0.2.1")))
				wantRefusal(t, res, body, codeRateLimited)
				if !strings.Contains(body, "3 requests per hour") || res.Header.Get("Retry-After") == "" {
					t.Errorf("%v %s", res.Header, body)
				}
			}
		})
	}
}

// Whoever goes by addresses is told once that a proxy stands before them.
func TestAddressesBehindATrustedProxy(t *testing.T) {
	const told = "believes the address that a client sends"
	for name, tc := range map[string]struct {
		servers, app string
		allow        grant.Allow
		warned       bool
	}{
		"a token for addresses":         {"trusted_proxies static 127.0.0.0/8", "", grant.Allow{IPs: []string{"127.0.0.0/8"}}, true},
		"clients that are counted":      {"trusted_proxies static 127.0.0.0/8", "rate_limit client 100 per minute", grant.Allow{}, true},
		"neither":                       {"trusted_proxies static 127.0.0.0/8", "rate_limit total 100 per minute", grant.Allow{Methods: []string{"POST"}}, false},
		"a proxy that is looked behind": {"trusted_proxies static 127.0.0.0/8\ntrusted_proxies_strict", "rate_limit client 100 per minute", grant.Allow{}, false},
	} {
		t.Run(name, func(t *testing.T) {
			relay := startRelay(t, simple(newUpstream(t, nil).URL, inServers(tc.servers), inApp(tc.app)))
			token := relay.mint(allowing(tc.allow))
			for range 2 {
				relay.do(relay.request(bearer(token), header("X-Forwarded-For", "203.0.113.9")))
			}
			relay.do(relay.request()) // its refusal is the last line
			want := 0
			if tc.warned {
				want = 1
			}
			if !relay.logged(`"refused"`, "invalid_token") || strings.Count(relay.log(), told) != want {
				t.Errorf("the log has %d warnings, want %d", strings.Count(relay.log(), told), want)
			}
		})
	}
}

// A slot is free before the relay logs the call, however the log ends: a client with
// one slot may make its next call when it has its answer.
func TestHandler_FreesTheSlotBeforeItLogs(t *testing.T) {
	startRelay(t, simple(newUpstream(t, nil).URL))
	app := activeApp(t)
	ledger := app.ledger
	for name, panics := range map[string]bool{"a log": false, "a log that panics": true} {
		t.Run(name, func(t *testing.T) {
			logged := int64(-1)
			hook := zap.Hooks(func(zapcore.Entry) error {
				logged = ledger.paces.UnderWay()
				if panics {
					panic("full")
				}
				return nil
			})
			core := zapcore.NewCore(zapcore.NewJSONEncoder(zapcore.EncoderConfig{}), zapcore.AddSync(io.Discard), zap.InfoLevel)
			h := &Handler{app: app, access: zap.New(core, hook)}
			r := httptest.NewRequest("GET", "/", nil)
			ctx := context.WithValue(r.Context(), caddyhttp.ServerCtxKey, &caddyhttp.Server{Logs: new(caddyhttp.ServerLogConfig)})
			r = r.WithContext(context.WithValue(ctx, caddyhttp.VarsCtxKey, make(map[string]any)))

			c := newCall(httptest.NewRecorder(), r)
			if refused := h.holdStore(c, r); refused != nil {
				t.Fatal(refused)
			}
			holds := ledger.uses.Count()
			c.held.slot, _ = ledger.paces.Enter("t", 1, c.start)
			func() {
				defer func() { _ = recover() }()
				h.finish(c, r)
			}()
			if logged != 0 {
				t.Errorf("%d slots are taken while the call is logged, want 0", logged)
			}
			if got := ledger.uses.Count(); got != holds-1 {
				t.Errorf("%d holds on the store are left, want %d", got, holds-1)
			}
		})
	}
}
