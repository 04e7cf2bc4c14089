package relayapi

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/relayapi/caddy-relayapi/grant"
	"github.com/relayapi/caddy-relayapi/tokenstore"
)

func subject(s string) func(*grant.Claims) { return func(c *grant.Claims) { c.Subject = s } }

// The operator's limits hold over all tokens of a subject or an issuer, and a
// call that one of them refuses costs nothing of the others.
func TestLimits(t *testing.T) {
	up := newUpstream(t, nil)
	relay := startRelay(t, simple(up.URL, inApp("limit subject calls 2 per day", "limit issuer calls 3")))
	alice, again, bob, eve := relay.mint(subject("alice"), calls(9), id("a1")), relay.mint(subject("alice")), relay.mint(subject("bob")), relay.mint(subject("eve"))
	for i, step := range []struct {
		token string
		rule  string // of the refusal; empty: admitted
	}{
		{alice, ""},
		{again, ""},
		{alice, "all 2 calls of the subject are used since " + time.Now().UTC().Format(time.DateOnly)},
		{bob, ""},
		{eve, "all 3 calls of the issuer are used"},
		{bob, "all 3 calls of the issuer are used"},
	} {
		res, body := relay.do(relay.request(bearer(step.token)))
		if step.rule == "" {
			if res.StatusCode != 200 {
				t.Errorf("step %d: %d %s", i, res.StatusCode, body)
			}
			continue
		}
		wantRefusal(t, res, body, codeCallsExhausted)
		if !strings.Contains(body, step.rule) {
			t.Errorf("step %d: %s", i, body)
		}
	}
	used, err := activeApp(t).ledger.Used(t.Context(), tokenstore.TokenCounter("backend", "a1"))
	if err != nil || used != 1 {
		t.Errorf("%d calls of the first token counted, %v; a refused one costs nothing", used, err)
	}
}

// A limit that is set acts on the next call, goes before that of the config, and
// outlives a restart; one for a subject goes before that for all.
func TestLimitsThatAreSet(t *testing.T) {
	up := newUpstream(t, nil)
	relay := startRelay(t, simple(up.URL, inApp("limit subject calls 1 per day")))
	tokens := map[string]string{"alice": relay.mint(subject("alice")), "bob": relay.mint(subject("bob")), "eve": relay.mint(subject("eve"))}
	call := func(who, refusal string) {
		t.Helper()
		res, body := relay.do(relay.request(bearer(tokens[who])))
		if refusal == "" && res.StatusCode != 200 || refusal != "" && (res.StatusCode != 403 || !strings.Contains(body, refusal)) {
			t.Errorf("%s got %d %s, want %q", who, res.StatusCode, body, refusal)
		}
	}
	do := func(method, target, body string) {
		t.Helper()
		if w, answer := admin(t, method, target, body); w.Code != 200 {
			t.Errorf("%s %s: %d %v", method, target, w.Code, answer)
		}
	}
	const alice = "/relayapi/limits?scope=subject&issuer=backend&subject=alice&per=day"
	call("alice", "")
	call("alice", "all 1 calls of the subject")
	do("PUT", "/relayapi/limits", `{"scope":"subject","issuer":"backend","subject":"alice","per":"day","calls":2}`)
	call("alice", "")
	call("alice", "all 2 calls of the subject")
	call("bob", "")
	call("bob", "all 1 calls of the subject")
	do("PUT", "/relayapi/limits", `{"scope":"subject","per":"day","calls":3}`)
	call("bob", "")
	call("alice", "all 2 calls of the subject")
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	relay.load(relay.lastConfig)
	call("bob", "")
	call("bob", "all 3 calls of the subject")
	call("alice", "all 2 calls of the subject")
	do("DELETE", alice, "")
	call("alice", "")
	call("alice", "all 3 calls of the subject")
	do("PUT", "/relayapi/limits", `{"scope":"issuer","issuer":"backend","calls":0}`)
	call("eve", "the operator has put the issuer on hold")
	do("DELETE", "/relayapi/limits?scope=issuer&issuer=backend", "")
	do("DELETE", "/relayapi/limits?scope=subject&per=day", "")
	call("bob", "all 1 calls of the subject")
	if w, answer := admin(t, "GET", "/relayapi/limits", ""); w.Code != 200 || len(answer["limits"].([]any)) != 1 {
		t.Errorf("in the end there are %d %v", w.Code, answer)
	}
}

// What an operator says of a token acts on the next request.
func TestChangesActAtOnce(t *testing.T) {
	up := newUpstream(t, nil)
	relay := startRelay(t, simple(up.URL))
	token := relay.mint(calls(3), id("t1"))
	ledger := func() *tokenstore.Ledger { return activeApp(t).ledger.Ledger }
	change := func(c tokenstore.Change) {
		t.Helper()
		if _, err := ledger().Update(t.Context(), "backend", "t1", c); err != nil {
			t.Fatal(err)
		}
	}
	want := func(code string) {
		t.Helper()
		res, body := relay.do(relay.request(bearer(token)))
		if code == "" && res.StatusCode != 200 || code != "" && !strings.Contains(body, `"`+code+`"`) {
			t.Errorf("got %d %s, want %q", res.StatusCode, body, code)
		}
	}
	limit := func(n int64) tokenstore.Change {
		return tokenstore.Change{Limits: map[tokenstore.Unit]*int64{tokenstore.UnitCalls: &n}}
	}
	yes, no := true, false
	want("")
	change(limit(1))
	want(codeCallsExhausted)
	change(limit(2))
	want("")
	want(codeCallsExhausted)
	change(tokenstore.Change{Limits: map[tokenstore.Unit]*int64{tokenstore.UnitCalls: nil}}) // that of the claims again
	want("")
	want(codeCallsExhausted)
	change(limit(1_000_000))
	want("")
	change(tokenstore.Change{Disabled: &yes})
	want(codeDisabled)
	change(tokenstore.Change{Disabled: &no})
	want("")
	if err := ledger().Revoke(t.Context(), tokenstore.Revocation{Scope: tokenstore.ScopeToken, Issuer: "backend", ID: "t1", Before: time.Now().Add(time.Hour)}); err != nil {
		t.Fatal(err)
	}
	want(codeRevoked)
	relay.load(relay.lastConfig)
	want(codeRevoked)
	if len(up.requests()) != 5 {
		t.Errorf("%d calls reached the provider", len(up.requests()))
	}
}

// A revocation ends what is in flight, and says so where nothing was answered.
func TestRevocationEndsCalls(t *testing.T) {
	started := make(chan struct{}, 2)
	up := newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // or the server would not notice that the relay breaks off
		if r.URL.Path == "/v1/stream" {
			_, _ = io.WriteString(w, "first")
			_ = http.NewResponseController(w).Flush()
		}
		started <- struct{}{}
		<-r.Context().Done() // until the relay breaks off
	})
	relay := startRelay(t, simple(up.URL))
	token := relay.mint(id("t1"))
	stream, err := relay.client.Do(relay.request(bearer(token), asking("POST", "/v1/stream")))
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Body.Close()
	silent := make(chan string)
	go func() {
		_, body := relay.do(relay.request(bearer(token), asking("POST", "/v1/silent")))
		silent <- body
	}()
	<-started
	<-started
	revocation := tokenstore.Revocation{Scope: tokenstore.ScopeSubject, Issuer: "backend", ID: "user-1", Before: time.Now().Add(time.Minute)}
	ledger := activeApp(t).ledger
	if err := ledger.Revoke(t.Context(), revocation); err != nil {
		t.Fatal(err)
	}
	if n := ledger.live.end(endRevoked, revocation.Matches); n != 2 {
		t.Errorf("%d calls ended, want 2", n)
	}
	if _, err := io.ReadAll(stream.Body); err == nil {
		t.Error("the stream ends well")
	}
	if body := <-silent; !strings.Contains(body, codeRevoked) {
		t.Errorf("the call without an answer got %s", body)
	}
	if !eventually(func() bool { return ledger.live.end(endRevoked, func(*tokenstore.Token) bool { return true }) == 0 }) {
		t.Error("calls are still registered")
	}
}

// What was used is recorded, whatever becomes of the call.
func TestUsageIsRecorded(t *testing.T) {
	up := newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		switch r.URL.Path {
		case "/v1/bad":
			w.WriteHeader(400)
		case "/v1/broken":
			w.WriteHeader(503)
		}
		_, _ = io.WriteString(w, "12345")
	})
	relay := startRelay(t, simple(up.URL))
	token := relay.mint(id("t1"))
	for _, path := range []string{"/v1/good", "/v1/bad", "/v1/broken", "/v1/good"} {
		relay.do(relay.request(bearer(token), asking("POST", path)))
	}
	var record tokenstore.Record
	if !eventually(func() bool {
		page, err := activeApp(t).ledger.Tokens(t.Context(), tokenstore.Filter{})
		if err != nil || len(page.Records) != 1 {
			t.Fatalf("%+v, %v", page, err)
		}
		record = page.Records[0]
		return record.Usage.Calls == 4
	}) {
		t.Fatalf("recorded %+v", record.Usage)
	}
	u := record.Usage
	if u.Succeeded != 2 || u.ClientErrors != 1 || u.ProviderErrors != 1 || u.BytesIn != 4*int64(len(`{"model":"m"}`)) || u.BytesOut != 20 ||
		u.Duration <= 0 || record.LastSeen.IsZero() || record.Subject != "user-1" || record.Status != tokenstore.Active {
		t.Errorf("recorded %+v", record)
	}
	report, err := activeApp(t).ledger.UsageReport(t.Context(), tokenstore.UsageFilter{Provider: "demo"})
	if err != nil || len(report) != 1 || report[0].Calls != 4 || report[0].Subject != "user-1" || report[0].Day != time.Now().UTC().Format(time.DateOnly) {
		t.Errorf("reported %+v, %v", report, err)
	}
}
