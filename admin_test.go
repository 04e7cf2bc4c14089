package relayapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/relayapi/caddy-relayapi/grant"
	"github.com/relayapi/caddy-relayapi/internal/adminapi"
	"github.com/relayapi/caddy-relayapi/tokenstore"
)

// admin asks the admin endpoint as Caddy would: by its routes, and with errors
// written in JSON.
func admin(t *testing.T, method, target, body string) (*httptest.ResponseRecorder, map[string]any) {
	t.Helper()
	mux := http.NewServeMux()
	for _, route := range new(adminAPI).Routes() {
		mux.HandleFunc(route.Pattern, func(w http.ResponseWriter, r *http.Request) {
			err := route.Handler.ServeHTTP(w, r)
			if err == nil {
				return
			}
			var refused caddy.APIError
			if !errors.As(err, &refused) {
				t.Errorf("%s %s: %v is no APIError", method, target, err)
			}
			w.WriteHeader(refused.HTTPStatus)
			_ = json.NewEncoder(w).Encode(map[string]string{"error": refused.Err.Error()})
		})
	}
	w := newRecorder()
	mux.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), method, target, strings.NewReader(body)))
	var answer map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil && w.Code != http.StatusNotFound {
		t.Errorf("%s %s is answered %d and no JSON: %s", method, target, w.Code, w.Body)
	}
	return w, answer
}

func TestAdminRefuses(t *testing.T) {
	wording := newGolden(t, "refusals/admin.golden")
	r := startRelay(t, simple(newUpstream(t, nil).URL))
	r.do(r.request(bearer(r.mint(id("used")))))
	secretToken := r.mint()
	many := `{"scope":"subject","subject":"user-1"`
	tests := []struct {
		name         string
		method, path string
		body         string
		status       int
		about        string // is named; of a 405, what is allowed
	}{
		{"mint by PUT", "PUT", "tokens", `{}`, 405, "GET, POST"},
		{"token by POST", "POST", "tokens/backend/used", `{}`, 405, "DELETE, GET, PATCH"},
		{"revocations by GET", "GET", "revocations", ``, 405, "POST"},
		{"usage by POST", "POST", "usage", ``, 405, "GET"},
		{"limits by POST", "POST", "limits", ``, 405, "DELETE, GET, PUT"},
		{"limit: no body", "PUT", "limits", ``, 400, "body"},
		{"limit: unknown member", "PUT", "limits", `{"scope":"issuer","call":1}`, 400, "scope, issuer, subject, id, per, calls, tokens, usd"},
		{"limit: scope", "PUT", "limits", `{"scope":"user","calls":1}`, 400, `scope "user"`},
		{"limit: no calls", "PUT", "limits", `{"scope":"issuer"}`, 400, "calls"},
		{"limit: calls as text", "PUT", "limits", `{"scope":"issuer","calls":"1"}`, 400, "calls"},
		{"limit: negative", "PUT", "limits", `{"scope":"issuer","calls":-1}`, 400, "calls"},
		{"limit: per week", "PUT", "limits", `{"scope":"issuer","calls":1,"per":"week"}`, 400, `per "week"`},
		{"limit: a token in all", "PUT", "limits", `{"scope":"token","calls":1}`, 400, "PATCH /relayapi/tokens"},
		{"limit: subject of an issuer", "PUT", "limits", `{"scope":"issuer","subject":"x","calls":1}`, 400, "subject:"},
		{"limit: id of a subject", "PUT", "limits", `{"scope":"subject","id":"x","calls":1}`, 400, "id:"},
		{"limit: all of an issuer", "PUT", "limits", `{"scope":"subject","issuer":"backend","calls":1}`, 400, "issuer:"},
		{"limit: issuer with a slash", "PUT", "limits", `{"scope":"issuer","issuer":"a/b","calls":1}`, 400, "issuer"},
		{"limit: null", "PUT", "limits", `{"scope":null,"calls":1}`, 400, "scope"},
		{"limit: remove what is not set", "DELETE", "limits?scope=issuer", ``, 404, "GET /relayapi/limits"},
		{"keys by DELETE", "DELETE", "keys", ``, 405, "GET"},
		{"inspect by GET", "GET", "inspect", ``, 405, "POST"},
		{"long body", "POST", "inspect", strings.Repeat("x", adminapi.MaxBody+1), 413, "65536"},

		{"list: unknown parameter", "GET", "tokens?subjekt=x", ``, 400, "issuer, subject, provider, status, after, limit"},
		{"list: twice", "GET", "tokens?status=active&status=revoked", ``, 400, "status"},
		{"list: broken query", "GET", "tokens?status=%zz", ``, 400, "query"},
		{"list: status", "GET", "tokens?status=Active", ``, 400, "status"},
		{"list: limit 0", "GET", "tokens?limit=0", ``, 400, "limit"},
		{"list: limit 1001", "GET", "tokens?limit=1001", ``, 400, "limit"},
		{"list: limit", "GET", "tokens?limit=ten", ``, 400, "limit"},
		{"list: after", "GET", "tokens?after=used", ``, 400, "after"},

		{"show: unknown", "GET", "tokens/backend/never", ``, 404, "backend/never"},
		{"show: of another issuer", "GET", "tokens/used", ``, 404, "relay/used"},
		{"show: name", "GET", "tokens/backend/a%20b", ``, 400, "[issuer/]id"},
		{"show: slashes", "GET", "tokens/backend/a%2Fb", ``, 400, "[issuer/]id"},
		{"show: token", "GET", "tokens/" + secretToken, ``, 400, "jti"},

		{"change: unknown", "PATCH", "tokens/backend/never", `{"disabled":true}`, 404, "backend/never"},
		{"enable: unknown", "PATCH", "tokens/backend/never", `{"disabled":false}`, 404, "backend/never"},
		{"change: nothing", "PATCH", "tokens/backend/used", `{}`, 400, "calls_limit, tokens_limit, usd_limit, disabled or label"},
		{"change: no object", "PATCH", "tokens/backend/used", `null`, 400, "body"},
		{"change: empty", "PATCH", "tokens/backend/used", ``, 400, "body"},
		{"change: unknown member", "PATCH", "tokens/backend/used", `{"disabled":true,"calls":1}`, 400, "calls_limit, tokens_limit, usd_limit, disabled, label"},
		{"change: twice", "PATCH", "tokens/backend/used", `{"disabled":false,"disabled":true}`, 400, "member"},
		{"change: limit negative", "PATCH", "tokens/backend/used", `{"calls_limit":-1}`, 400, "calls_limit"},
		{"change: limit too large", "PATCH", "tokens/backend/used", `{"calls_limit":9007199254740992}`, 400, "calls_limit"},
		{"change: limit fraction", "PATCH", "tokens/backend/used", `{"calls_limit":1.5}`, 400, "calls_limit"},
		{"change: limit text", "PATCH", "tokens/backend/used", `{"calls_limit":"1"}`, 400, "calls_limit"},
		{"disabled: null", "PATCH", "tokens/backend/used", `{"disabled":null}`, 400, "disabled"},
		{"disabled: number", "PATCH", "tokens/backend/used", `{"disabled":1}`, 400, "disabled"},
		{"label: null", "PATCH", "tokens/backend/used", `{"label":null}`, 400, "label"},
		{"label: long", "PATCH", "tokens/backend/used", `{"label":"` + strings.Repeat("é", 201) + `"}`, 400, "label"},
		{"label: control", "PATCH", "tokens/backend/used", `{"label":"\u001b[2J"}`, 400, "label"},
		{"label: half a character", "PATCH", "tokens/backend/used", `{"label":"\ud800"}`, 400, "body"},

		{"revoke: name", "DELETE", "tokens/backend/a%20b", ``, 400, "[issuer/]id"},
		{"revoke: token", "DELETE", "tokens/" + secretToken, ``, 400, "jti"},
		{"revocation: no scope", "POST", "revocations", `{"subject":"user-1"}`, 400, "scope"},
		{"revocation: scope token", "POST", "revocations", `{"scope":"token","issuer":"backend"}`, 400, "DELETE /relayapi/tokens"},
		{"revocation: no subject", "POST", "revocations", `{"scope":"subject","issuer":"backend"}`, 400, "subject"},
		{"revocation: subject null", "POST", "revocations", `{"scope":"subject","subject":null}`, 400, "subject"},
		{"revocation: subject", "POST", "revocations", `{"scope":"subject","subject":"a\nb"}`, 400, "subject"},
		{"revocation: no issuer", "POST", "revocations", `{"scope":"issuer"}`, 400, "issuer"},
		{"revocation: issuer", "POST", "revocations", `{"scope":"issuer","issuer":"a b"}`, 400, "issuer"},
		{"revocation: issuer and subject", "POST", "revocations", `{"scope":"issuer","issuer":"backend","subject":"user-1"}`, 400, "subject:"},
		{"revocation: all of an issuer", "POST", "revocations", `{"scope":"all","issuer":"backend"}`, 400, "issuer:"},
		{"revocation: all of a subject", "POST", "revocations", `{"scope":"all","subject":"user-1"}`, 400, "subject:"},
		{"revocation: before", "POST", "revocations", many + `,"before":"2026-01-31"}`, 400, "before"},
		{"revocation: before 1970", "POST", "revocations", many + `,"before":"1969-01-31T00:00:00Z"}`, 400, "before"},
		{"revocation: future", "POST", "revocations", many + `,"before":"2999-01-31T00:00:00Z"}`, 400, "before"},
		{"revocation: unknown member", "POST", "revocations", many + `,"id":"x"}`, 400, "scope, issuer, subject, before"},
		{"revocation: twice", "POST", "revocations", many + `,"scope":"all"}`, 400, "member"},

		{"usage: day", "GET", "usage?from=2026-1-1", ``, 400, "from"},
		{"usage: no day", "GET", "usage?to=", ``, 400, "to"},
		{"usage: order", "GET", "usage?from=2026-01-02&to=2026-01-01", ``, 400, "to is before from"},
		{"usage: top", "GET", "usage?top=cost", ``, 400, "calls, tokens, usd"},
		{"usage: limit", "GET", "usage?limit=0", ``, 400, "limit"},
		{"usage: unknown parameter", "GET", "usage?user=x", ``, 400, "by, provider, model, issuer, subject, token, from, to, top, limit"},
		{"keys: parameter", "GET", "keys?private=1", ``, 400, "parameter"},

		{"calls by POST", "POST", "calls", ``, 405, "GET"},
		{"calls: parameter", "GET", "calls?issuer=x", ``, 400, "parameter"},
		{"call by GET", "GET", "calls/x", ``, 405, "DELETE"},
		{"end: unknown", "DELETE", "calls/x", ``, 404, "another relay"},
		{"end: token", "DELETE", "calls/" + secretToken, ``, 404, "another relay"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w, answer := admin(t, test.method, "/relayapi/"+test.path, test.body)
			message, _ := answer["error"].(string)
			wording.says(test.name, message)
			if w.Code != test.status || !strings.Contains(message, test.about) {
				t.Errorf("answered %d %q, want %d about %q", w.Code, message, test.status, test.about)
			}
			if allow := w.Header().Get("Allow"); test.status == 405 && allow != test.about || test.status != 405 && allow != "" {
				t.Errorf("allows %q, status %d", allow, test.status)
			}
			if leak(message, secretToken, 16) {
				t.Error("the message has a piece of the token")
			}
		})
	}
	// None of these had an effect.
	if res, body := r.do(r.request(bearer(secretToken))); res.StatusCode != 200 {
		t.Errorf("afterwards a call is answered %d %s", res.StatusCode, body)
	}
	if _, answer := admin(t, "GET", "/relayapi/tokens/backend/used", ""); answer["status"] != "active" || answer["label"] != nil {
		t.Errorf("afterwards the token is %v", answer)
	}
}

// The list of calls says whose they are and how far, and nothing that opens anything. A
// call that is ended leaves its token valid.
func TestAdminCalls_ListsAndEndsOne(t *testing.T) {
	event := `data: {"model":"served-` + realKey[2:14] + `","choices":[]}` + "\n\n"
	begun := make(chan struct{})
	up := newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		switch r.URL.Path {
		case "/v1/silent":
			begun <- struct{}{}
		case "/v1/chat/completions":
			w.Header().Set("Content-Type", "text/event-stream")
			_, _ = io.WriteString(w, event)
			flush(t, w)
		default:
			return
		}
		<-r.Context().Done()
	})
	mayLeak(t, "the provider names a piece of the key as the model, and says so to the client", inAnswers)
	r := startRelay(t, simple(up.URL, inDirective("on_disconnect cancel"), func(c *testConfig) { c.routes = "dialect openai\n" }))
	token := r.mint(id("t1"), calls(9))
	silent := make(chan string)
	go func() {
		res, body := r.do(r.request(bearer(token), asking("POST", "/v1/silent")))
		silent <- res.Status + body
	}()
	wait(t, begun, "the provider")
	stream := r.open(r.request(bearer(r.mint(id("t2")))))
	if _, err := io.ReadFull(stream.Body, make([]byte, len(event))); err != nil {
		t.Fatal(err)
	}

	w, answer := admin(t, "GET", "/relayapi/calls", "")
	if strings.Contains(w.Body.String(), "eyJ") || leak(w.Body.String(), token, 16) || leak(w.Body.String(), realKey, 8) {
		t.Error("the list has a piece of a token or key")
	}
	var list adminapi.Calls
	if err := json.Unmarshal(w.Body.Bytes(), &list); err != nil || list.Total != 2 || len(list.Calls) != 2 {
		t.Fatalf("the list is %v, want two calls", answer)
	}
	ids := []string{list.Calls[0].ID, list.Calls[1].ID}
	for i := range list.Calls {
		if age := time.Since(list.Calls[i].Since); age < 0 || age > time.Minute || ids[i] == "" {
			t.Errorf("call %q began %v ago", ids[i], age)
		}
		list.Calls[i].ID, list.Calls[i].Since = "", time.Time{}
	}
	want := []adminapi.Call{
		{Issuer: "backend", TokenID: "t1", Subject: "user-1", Provider: "demo", BytesIn: int64(len(`{"model":"m"}`))},
		{Issuer: "backend", TokenID: "t2", Subject: "user-1", Provider: "demo", Model: "served-***", Status: 200,
			BytesIn: int64(len(`{"model":"m"}`)), BytesOut: int64(len(event))},
	}
	if !slices.Equal(list.Calls, want) {
		t.Errorf("got calls\n%+v, want\n%+v", list.Calls, want)
	}

	if w, _ := admin(t, "DELETE", "/relayapi/calls/"+ids[0], ""); w.Code != 200 {
		t.Errorf("ending a call is answered %d", w.Code)
	}
	if got := wait(t, silent, "the client"); !strings.HasPrefix(got, "403 ") || !strings.Contains(got, codeEnded) {
		t.Errorf("the client got %s", got)
	}
	gone := func() bool { w, _ := admin(t, "DELETE", "/relayapi/calls/"+ids[0], ""); return w.Code == 404 }
	if !eventually(gone) {
		t.Error("the call is still in flight")
	}
	if _, answer := admin(t, "GET", "/relayapi/calls", ""); answer["total"] != 1.0 {
		t.Errorf("the other call was ended too: %v", answer)
	}
	if res, body := r.do(r.request(bearer(token), asking("POST", "/v1/other"))); res.StatusCode != 200 {
		t.Errorf("the token's next call is answered %d %s", res.StatusCode, body)
	}
}

// One list has every kind of limit, and of how a token can stand under it.
func TestAdminList_LimitsInForce(t *testing.T) {
	r := startRelay(t, simple(newUpstream(t, nil).URL, inApp("limit token calls 2 per day"), func(c *testConfig) {
		c.issuers = section("issuer small", "public_key {dir}/backend.pub.pem", "providers demo", "calls 1")
	}))
	use := func(issuer, name string, n int, edits ...func(*grant.Claims)) {
		token := r.mintAs(issuer, append(edits, id(name), func(c *grant.Claims) { c.Subject = "of-" + name })...)
		for range n {
			if res, body := r.do(r.request(bearer(token))); res.StatusCode != 200 {
				t.Fatalf("%s is answered %d %s", name, res.StatusCode, body)
			}
		}
	}
	put := func(method, path, body string) {
		if w, answer := admin(t, method, "/relayapi/"+path, body); w.Code != 200 {
			t.Fatalf("%s %s is answered %d %v", method, path, w.Code, answer)
		}
	}
	patch := func(name, body string) { put("PATCH", "tokens/backend/"+name, body) }

	use("backend", "unlimited", 1)
	use("backend", "daily", 2)
	use("backend", "claims", 1, calls(1))
	use("backend", "claims-left", 1, calls(3))
	use("small", "ceiling", 1)
	use("backend", "raised", 1, calls(1))
	patch("raised", `{"calls_limit":5}`)
	use("backend", "lowered", 1, calls(5))
	patch("lowered", `{"calls_limit":0}`)
	use("backend", "disabled", 1, calls(1))
	patch("disabled", `{"disabled":true}`)
	use("backend", "revoked", 1, calls(1))
	put("DELETE", "tokens/backend/revoked", "")
	put("PUT", "limits", `{"scope":"subject","issuer":"backend","subject":"of-subject","per":"day","calls":1}`)
	use("backend", "subject", 1, calls(9))

	daily := "token/day 2 of which "
	want := map[string]string{
		"unlimited":   "active, " + daily + "1",
		"daily":       "exhausted, " + daily + "2",
		"claims":      "exhausted, token/ 1 of which 1, " + daily + "1",
		"claims-left": "active, token/ 3 of which 1, " + daily + "1",
		"ceiling":     "exhausted, token/ 1 of which 1, " + daily + "1",
		"raised":      "active, token/ 5 of which 1, " + daily + "1",
		"lowered":     "exhausted, token/ 0 of which 1, " + daily + "1",
		"disabled":    "disabled, token/ 1 of which 1, " + daily + "1",
		"subject":     "exhausted, token/ 9 of which 1, " + daily + "1, subject/day 1 of which 1",
		"revoked":     "revoked, token/ 1 of which 1, " + daily + "1",
	}
	w, _ := admin(t, "GET", "/relayapi/tokens", "")
	var page tokenstore.Page
	if err := json.Unmarshal(w.Body.Bytes(), &page); err != nil || len(page.Records) != len(want) {
		t.Fatalf("got %d tokens, %v, want %d", len(page.Records), err, len(want))
	}
	for _, record := range page.Records {
		if got := standing(record); got != want[record.ID] {
			t.Errorf("%s is listed as %q, want %q", record.ID, got, want[record.ID])
		}
		w, _ := admin(t, "GET", "/relayapi/tokens/"+record.Issuer+"/"+record.ID, "")
		var shown tokenstore.Record
		if err := json.Unmarshal(w.Body.Bytes(), &shown); err != nil || standing(shown) != want[record.ID] {
			t.Errorf("%s is shown as %q, %v, want %q", record.ID, standing(shown), err, want[record.ID])
		}
	}
}

// standing is a record's status, and its limits.
func standing(r tokenstore.Record) string {
	text := string(r.Status)
	for _, l := range r.Limits {
		text += fmt.Sprintf(", %s/%s %d of which %d", l.Scope, l.Per, l.Amount, l.Used)
	}
	return text
}

func TestAdminRevokedIsForGood(t *testing.T) {
	r := startRelay(t, simple(newUpstream(t, nil).URL))
	r.do(r.request(bearer(r.mint(id("used")))))
	if w, _ := admin(t, "DELETE", "/relayapi/tokens/backend/used", ""); w.Code != 200 {
		t.Fatalf("revoking is answered %d", w.Code)
	}
	if w, answer := admin(t, "PATCH", "/relayapi/tokens/backend/used", `{"disabled":false}`); w.Code != 409 {
		t.Errorf("enabling is answered %d %v", w.Code, answer)
	}
	w, answer := admin(t, "PATCH", "/relayapi/tokens/backend/used", `{"label":"stolen"}`)
	if w.Code != 200 || answer["status"] != "revoked" || answer["label"] != "stolen" {
		t.Errorf("a label is answered %d %v", w.Code, answer)
	}
	// Dots are an id too, when they are escaped.
	if _, answer := admin(t, "DELETE", "/relayapi/tokens/backend/%2E%2E", ""); answer["id"] != ".." {
		t.Errorf("answered %v", answer)
	}
}

// Each way to take a token back ends the calls that are in flight with it, and
// no others.
func TestAdminEndsCalls(t *testing.T) {
	tests := []struct {
		name, method, path, body string
	}{
		{"disable", "PATCH", "tokens/backend/ends", `{"disabled":true}`},
		{"revoke", "DELETE", "tokens/backend/ends", ``},
		{"subject", "POST", "revocations", `{"scope":"subject","issuer":"backend","subject":"ends"}`},
		{"before", "POST", "revocations", `{"scope":"all","before":"` + time.Now().Add(-30*time.Minute).Format(time.RFC3339) + `"}`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := startRelay(t, simple(newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
				_ = http.NewResponseController(w).Flush()
				<-r.Context().Done()
			}).URL))
			begin := func(edits ...func(*grant.Claims)) io.ReadCloser {
				res, err := r.client.Do(r.request(bearer(r.mint(edits...)), asking("POST", "/v1/x")))
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { res.Body.Close() })
				return res.Body
			}
			ends := begin(id("ends"), func(c *grant.Claims) {
				c.Subject = "ends"
				c.IssuedAt = grant.NumericDate(time.Now().Add(-40 * time.Minute).Unix())
			})
			goesOn := begin(id("goes-on"))
			w, answer := admin(t, test.method, "/relayapi/"+test.path, test.body)
			if w.Code != 200 || answer["ended_calls"] != 1.0 {
				t.Fatalf("answered %d %v, want one ended call", w.Code, answer)
			}
			select {
			case <-over(ends):
			case <-time.After(10 * time.Second):
				t.Error("the call goes on")
			}
			select {
			case <-over(goesOn):
				t.Error("another call was ended too")
			case <-time.After(50 * time.Millisecond):
			}
		})
	}
}

// over is closed when an answer ends.
func over(body io.Reader) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, body)
		close(done)
	}()
	return done
}

func TestAdminKeys(t *testing.T) {
	r := newTestRelay(t)
	old := newKey(t)
	r.writeKeys("old", old)
	r.load(simple(newUpstream(t, nil).URL, func(c *testConfig) { c.keys = "{dir}/relay.pem {dir}/old.pem" }))
	w, _ := admin(t, "GET", "/relayapi/keys", "")
	var got struct {
		Keys []struct {
			ID      string
			Current bool
			JWK     map[string]string
		}
		Issuers []struct {
			Issuer string
			KeyIDs []string `json:"key_ids"`
		}
	}
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Keys) != 2 || got.Keys[0].ID != r.relayKey.Public().ID() || !got.Keys[0].Current ||
		got.Keys[1].ID != old.Public().ID() || got.Keys[1].Current {
		t.Errorf("the keys are %+v", got.Keys)
	}
	for _, key := range got.Keys {
		if key.JWK["kid"] != key.ID || key.JWK["x"] == "" || key.JWK["d"] != "" {
			t.Errorf("the JWK has the members %v", key.JWK)
		}
	}
	if len(got.Issuers) != 2 || got.Issuers[0].Issuer != "backend" || got.Issuers[1].Issuer != "relay" ||
		got.Issuers[0].KeyIDs[0] != r.issuerKey.Public().ID() || got.Issuers[1].KeyIDs[0] == "" {
		t.Errorf("the issuers are %+v", got.Issuers)
	}
}

func TestAdminUnavailable(t *testing.T) {
	requests := [][3]string{
		{"GET", "tokens", ""},
		{"GET", "tokens/t", ""},
		{"PATCH", "tokens/t", `{"label":"x"}`},
		{"DELETE", "tokens/t", ""},
		{"POST", "revocations", `{"scope":"all"}`},
		{"GET", "usage", ""},
	}
	unavailable := func(why string) {
		t.Helper()
		for _, request := range requests {
			if w, answer := admin(t, request[0], "/relayapi/"+request[1], request[2]); w.Code != 503 {
				t.Errorf("%s: %s %s is answered %d %v", why, request[0], request[1], w.Code, answer)
			}
		}
	}
	unavailable("without a relay")
	startRelay(t, simple(newUpstream(t, nil).URL))
	_, relay, err := runningRelay()
	if err != nil {
		t.Fatal(err)
	}
	defer relay.ledger.release()
	_ = relay.ledger.Close() // as after an fsync that failed
	unavailable("without a store")
}
