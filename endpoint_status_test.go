package relayapi

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/relayapi/caddy-relayapi/grant"
	"github.com/relayapi/caddy-relayapi/internal/adminapi"
	"github.com/relayapi/caddy-relayapi/tokenstore"
)

// polls makes a request for the status, with the query that the request has.
func polls(r *http.Request) {
	r.Method, r.Body, r.ContentLength = "GET", nil, 0
	r.URL.Path = "/status"
}

// status asks for the status of the token that edits put in the request.
func (r *testRelay) status(edits ...func(*http.Request)) adminapi.TokenStatus {
	r.t.Helper()
	res, body := r.do(r.request(append(edits, polls)...))
	var got adminapi.TokenStatus
	if err := json.Unmarshal([]byte(body), &got); err != nil || res.StatusCode != 200 {
		r.t.Fatalf("got %d %s", res.StatusCode, body)
	}
	return got
}

// startStatus starts a relay with the status of tokens at /status.
func startStatus(t *testing.T, up *upstream, lines ...string) *testRelay {
	t.Helper()
	return startRelay(t, simple(up.URL, withOtherPlacements, inDirective("token_status /status"), inDirective(lines...)))
}

// The status tells what is left and costs nothing: no call, and no row.
func TestTokenStatus(t *testing.T) {
	up := newUpstream(t, nil)
	relay := startStatus(t, up)
	token := relay.mint(calls(3), id("t1"), func(c *grant.Claims) { c.Allow = &grant.Allow{Paths: []string{"/v1/x"}} })
	for used := range int64(4) {
		for range 3 {
			got := relay.status(bearer(token))
			if got.ID != "t1" || got.Issuer != "backend" || got.Subject != "user-1" || got.Provider != "demo" ||
				got.ExpiresAt.Before(time.Now()) || *got.Calls != (adminapi.Left[int64]{Limit: 3, Used: used, Remaining: 3 - used}) {
				t.Errorf("after %d calls: %+v %+v", used, got, got.Calls)
			}
		}
		if used == 0 {
			if _, err := activeApp(t).ledger.Token(t.Context(), "backend", "t1"); !errors.Is(err, tokenstore.ErrUnknown) {
				t.Errorf("the status made the token known: %v", err)
			}
		}
		res, _ := relay.do(relay.request(bearer(token), asking("POST", "/v1/x")))
		if want := map[bool]int{true: 200, false: 403}[used < 3]; res.StatusCode != want {
			t.Errorf("call %d: %d", used, res.StatusCode)
		}
	}
	res, body := relay.do(relay.request(bearer(token), polls, header("Origin", "https://app.example")))
	if res.Header.Get("Cache-Control") != "no-store" || res.Header.Get("Content-Type") != "application/json" || res.Header.Get("Access-Control-Allow-Origin") != "*" {
		t.Errorf("the answer has headers %v", res.Header)
	}
	if !strings.Contains(body, `"calls":{"limit":3,"used":3,"remaining":0}`) {
		t.Errorf("got %s", body)
	}
	if n := len(up.requests()); n != 3 {
		t.Errorf("%d requests reached the provider", n)
	}
}

// The endpoint takes the token from where the relay does, see TestTokenInEveryCarrier.
func TestTokenStatusInOtherCarriers(t *testing.T) {
	relay := startStatus(t, newUpstream(t, nil))
	token := relay.mint(id("t1"))
	carriers := everyCarrier(token)
	for _, name := range []string{"Authorization: Bearer", "a configured provider's header", "a configured provider's parameter", "WebSocket subprotocol", "two places"} {
		t.Run(name, func(t *testing.T) {
			res, body := relay.do(relay.request(carriers[name], polls))
			var got map[string]any
			if err := json.Unmarshal([]byte(body), &got); err != nil || res.StatusCode != 200 || got["id"] != "t1" {
				t.Fatalf("got %d %s", res.StatusCode, body)
			}
			if _, limited := got["calls"]; limited {
				t.Errorf("a token without limit has one: %s", body)
			}
			if leak(body, token, 16) {
				t.Error("the answer holds a piece of the token")
			}
		})
	}
	if !relay.logged(`"logger":"http.handlers.relayapi_endpoint.access`, `"token_id":"t1"`, `"status":200`) ||
		!relay.logged(`"http.log.access`, `"uri":"/status"`, `"REDACTED"`) {
		t.Error("the requests are not logged")
	}
	relay.keepsQuiet(token)
}

// What the operator says of a token is told as it is in force.
func TestTokenStatusFollowsTheOperator(t *testing.T) {
	relay := startStatus(t, newUpstream(t, nil))
	ledger := activeApp(t).ledger
	change := func(id string, c tokenstore.Change) {
		t.Helper()
		if _, err := ledger.Update(t.Context(), "backend", id, c); err != nil {
			t.Fatal(err)
		}
	}
	n, yes := int64(1), true
	limited, unlimited := relay.mint(calls(5), id("limited")), relay.mint(id("unlimited"))
	for _, token := range []string{limited, limited, unlimited} {
		relay.do(relay.request(bearer(token)))
	}
	change("limited", tokenstore.Change{Limits: map[tokenstore.Unit]*int64{tokenstore.UnitCalls: &n}})
	change("unlimited", tokenstore.Change{Limits: map[tokenstore.Unit]*int64{tokenstore.UnitCalls: &n}})
	if got := relay.status(bearer(limited)); *got.Calls != (adminapi.Left[int64]{Limit: 1, Used: 2, Remaining: 0}) {
		t.Errorf("got %+v", got.Calls)
	}
	if got := relay.status(bearer(unlimited)); *got.Calls != (adminapi.Left[int64]{Limit: 1, Used: 0, Remaining: 1}) { // counted from then on
		t.Errorf("got %+v", got.Calls)
	}
	change("limited", tokenstore.Change{Disabled: &yes})
	res, body := relay.do(relay.request(bearer(limited), polls))
	wantRefusal(t, res, body, codeDisabled)
	if err := ledger.Revoke(t.Context(), tokenstore.Revocation{Scope: tokenstore.ScopeIssuer, Issuer: "backend", Before: time.Now().Add(time.Hour)}); err != nil {
		t.Fatal(err)
	}
	for _, token := range []string{unlimited, relay.mint(id("not-used-yet"))} {
		res, body = relay.do(relay.request(bearer(token), polls))
		wantRefusal(t, res, body, codeRevoked)
	}
}

func TestTokenStatusRefusals(t *testing.T) {
	relay := startStatus(t, newUpstream(t, nil))
	now := time.Now()
	good := relay.mint()
	type edits = []func(*http.Request)
	for name, tc := range map[string]struct {
		edits edits
		code  string
	}{
		"no token":      {edits{polls}, string(grant.Invalid)},
		"not a token":   {edits{polls, bearer("sk-1234")}, string(grant.Invalid)},
		"two tokens":    {edits{polls, bearer(good), header("X-Api-Key", relay.mint())}, string(grant.Invalid)},
		"a broken one":  {edits{polls, bearer(good[:len(good)-8] + "AAAAAAAA")}, string(grant.Invalid)},
		"expired":       {edits{polls, bearer(relay.mint(func(c *grant.Claims) { c.IssuedAt, c.ExpiresAt = ago(now, 60), ago(now, 1) }))}, string(grant.Expired)},
		"not yet valid": {edits{polls, bearer(relay.mint(func(c *grant.Claims) { c.NotBefore = ago(now, -600) }))}, string(grant.NotYetValid)},
		"no provider":   {edits{polls, bearer(relay.mint(func(c *grant.Claims) { c.Provider = "openai" }))}, string(grant.NoProvider)},
		"a broken query": {edits{polls, bearer(good), func(r *http.Request) {
			r.URL = &url.URL{Scheme: "http", Host: r.URL.Host, Path: "/status", RawQuery: "a=%zz"}
		}},
			codeInvalidRequest},
		"POST": {edits{asking("POST", "/status"), header("X-Api-Token", good)}, codeMethodNotAllowed},
	} {
		t.Run(name, func(t *testing.T) {
			res, body := relay.do(relay.request(tc.edits...))
			wantRefusal(t, res, body, tc.code)
			if res.Header.Get("Cache-Control") != "no-store" || res.Header.Get("Access-Control-Allow-Origin") != "*" {
				t.Errorf("the refusal has headers %v", res.Header)
			}
			if tc.code == codeMethodNotAllowed && res.Header.Get("Allow") != "GET, HEAD" {
				t.Errorf("allows %q", res.Header.Get("Allow"))
			}
			if !relay.logged(`"refused"`, `"http.handlers.relayapi_endpoint"`, tc.code) {
				t.Error("the log does not tell")
			}
		})
	}
	if err := activeApp(t).ledger.Close(); err != nil {
		t.Fatal(err)
	}
	res, body := relay.do(relay.request(polls, bearer(relay.mint(calls(1)))))
	wantRefusal(t, res, body, codeStoreUnavailable)
	relay.keepsQuiet(good)
}

// A page may ask, and is told by a preflight.
func TestTokenStatusPreflight(t *testing.T) {
	relay := startStatus(t, newUpstream(t, nil))
	res, _ := relay.do(relay.request(asking("OPTIONS", "/status"), header("Origin", "https://app.example"),
		header("Access-Control-Request-Method", "GET"), header("Access-Control-Request-Headers", "authorization")))
	if res.StatusCode != 204 || res.Header.Get("Access-Control-Allow-Origin") != "*" || res.Header.Get("Access-Control-Allow-Headers") != "authorization" {
		t.Errorf("got %d %v", res.StatusCode, res.Header)
	}
	res, body := relay.do(relay.request(asking("HEAD", "/status"), bearer(relay.mint())))
	if res.StatusCode != 200 || body != "" || res.ContentLength < 50 {
		t.Errorf("HEAD: got %d %s", res.StatusCode, body)
	}
}

// log_requests is for the status too.
func TestTokenStatusIsLoggedOnRequest(t *testing.T) {
	mayLeak(t, "log_requests leaves tokens to the log's filter, which this config has none of", inLog)
	relay := startStatus(t, newUpstream(t, nil), "log_requests")
	relay.status(header("X-Api-Token", relay.mint()))
	if !relay.logged(`"http.log.access`, `"/status"`, `"X-Api-Token"`) {
		t.Error("the access log does not have the request")
	}
}
