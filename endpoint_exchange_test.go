package relayapi

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/relayapi/caddy-relayapi/eccrypto"
	"github.com/relayapi/caddy-relayapi/grant"
	"github.com/relayapi/caddy-relayapi/internal/adminapi"
	"github.com/relayapi/caddy-relayapi/internal/mint"
	"github.com/relayapi/caddy-relayapi/tokenstore"
)

// startExchange starts a relay that mints for the users of a login.
func startExchange(t *testing.T, p *loginProvider, lines string, respond http.HandlerFunc, options ...option) (*testRelay, *upstream) {
	t.Helper()
	return startLogin(t, p, lines, respond, append(options, inDirective("mint /mint", "token_status /status"))...)
}

// exchangeForm makes an exchange as RFC 8693 has it. Pairs of names and values change it; an
// empty value removes the parameter.
func exchangeForm(jwt string, pairs ...string) func(*http.Request) {
	form := url.Values{
		"grant_type": {mint.GrantExchange}, "subject_token": {jwt},
		"subject_token_type": {"urn:ietf:params:oauth:token-type:id_token"},
	}
	for i := 0; i < len(pairs); i += 2 {
		form.Set(pairs[i], pairs[i+1])
		if pairs[i+1] == "" {
			form.Del(pairs[i])
		}
	}
	return func(r *http.Request) {
		asks(form.Encode())(r)
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
}

// exchanged exchanges a login's token, and returns the relay's.
func (r *testRelay) exchanged(edits ...func(*http.Request)) string {
	r.t.Helper()
	res, body := r.do(r.request(edits...))
	var m struct {
		Token    string `json:"token"`
		Standard string `json:"access_token"`
	}
	err := json.Unmarshal([]byte(body), &m)
	token := m.Token + m.Standard
	if err != nil || res.StatusCode != 200 || !eccrypto.LooksLikeToken(token) {
		r.t.Fatalf("got %d %s", res.StatusCode, body)
	}
	r.canary.minted(token, inAnswers) // where its holder gets it
	return token
}

func TestExchange_AnswersInTheFormOfTheRequest(t *testing.T) {
	p := newLoginProvider(t)
	relay, up := startExchange(t, p, "max_ttl 2h", nil)
	jwt := p.token(t, "alice", nil)

	res, body := relay.do(relay.request(exchangeForm(jwt, "requested_token_type", "urn:ietf:params:oauth:token-type:jwt", "audience", "demo", "unknown", "ignored")))
	var got mint.TokenResponse
	if err := json.Unmarshal([]byte(body), &got); err != nil || res.StatusCode != 200 {
		t.Fatalf("got %d %s", res.StatusCode, body)
	}
	relay.canary.minted(got.AccessToken, inAnswers)
	token := got.AccessToken
	if got.ExpiresIn < 7190 || got.ExpiresIn > 7195 { // the login's token is 5 seconds old
		t.Errorf("expires in %d seconds, want max_ttl after the login's token was issued", got.ExpiresIn)
	}
	got.AccessToken, got.ExpiresIn = "", 0
	want := mint.TokenResponse{Issued: "urn:ietf:params:oauth:token-type:jwt", Type: "Bearer", Scope: "demo"}
	if got != want || res.Header.Get("Cache-Control") != "no-store" || hasCORS(res.Header) {
		t.Errorf("got %+v with %v, want %+v", got, res.Header, want)
	}
	if res, body := relay.do(relay.request(bearer(token))); res.StatusCode != 200 {
		t.Fatalf("the token is refused: %d %s", res.StatusCode, body)
	}
	checkCredential(t, up.one(t), token)

	res, body = relay.do(relay.request(bearer(jwt), asks(`{"limits":{"calls":2},"exp":`+fmt.Sprint(time.Now().Unix()+60)+`}`)))
	var m mint.Minted
	if err := json.Unmarshal([]byte(body), &m); err != nil || res.StatusCode != 200 || m.Issuer != "users" || time.Until(m.ExpiresAt) > time.Minute {
		t.Fatalf("got %d %s", res.StatusCode, body)
	}
	relay.canary.minted(m.Token, inAnswers)
	if got := relay.status(bearer(m.Token)); got.Subject != "alice" || got.ID != m.ID || *got.Calls != (adminapi.Left[int64]{Limit: 2, Remaining: 2}) {
		t.Errorf("the token's status is %+v", got)
	}
	if !relay.logged(`"minted"`, `"issuer":"users"`, `"token_id":"`+m.ID, `"subject":"alice"`, `"provider":"demo"`) {
		t.Error("the log does not tell of the token")
	}
	relay.keepsQuiet(jwt, token, m.Token)
}

// All tokens of a user count on the user's counters, under the plan that his claims pick,
// and each on its own.
func TestExchange_CountsOnTheUser(t *testing.T) {
	p := newLoginProvider(t)
	relay, _ := startExchange(t, p, "calls 3 per day\nrpm 100\nwhen plan pro {\ncalls 5 per day\n}", nil)
	jwt := p.token(t, "alice", nil)
	one := relay.exchanged(exchangeForm(jwt, "claims", `{"limits":{"calls":1}}`))
	other := relay.exchanged(bearer(jwt), asks(`{}`))
	pro := relay.exchanged(exchangeForm(p.token(t, "alice", map[string]any{"plan": "pro"})))
	for i, step := range []struct {
		token string
		code  string // empty means 200
	}{
		{one, ""}, {one, codeCallsExhausted}, // by its own limit
		{other, ""}, {jwt, ""},
		{other, codeCallsExhausted}, {jwt, codeCallsExhausted}, // by the user's
		{pro, ""}, {pro, ""}, {pro, codeCallsExhausted},
	} {
		res, body := relay.do(relay.request(bearer(step.token)))
		switch {
		case step.code != "":
			wantRefusal(t, res, body, step.code)
		case res.StatusCode != 200:
			t.Errorf("step %d: got %d %s", i, res.StatusCode, body)
		}
	}

	// Another config has other limits for the same plan, and none for one that is gone.
	relay.load(replaceOnce(t, relay.lastConfig, "calls 5 per day", "calls 6 per day"))
	if res, body := relay.do(relay.request(bearer(pro))); res.StatusCode != 200 {
		t.Errorf("under the new limit: got %d %s", res.StatusCode, body)
	}
	relay.load(replaceOnce(t, relay.lastConfig, "when plan pro", "when plan team"))
	res, body := relay.do(relay.request(bearer(pro)))
	wantRefusal(t, res, body, string(grant.BeyondGrant))
}

// A token can narrow what the login's token permits, and no more.
func TestExchange_Narrows(t *testing.T) {
	p := newLoginProvider(t)
	relay, _ := startExchange(t, p, "models m large\nconcurrency 4", nil)
	jwt := p.token(t, "alice", nil)
	token := relay.exchanged(bearer(jwt), asks(`{"allow":{"models":["m","other"]},"limits":{"concurrency":1}}`))
	for model, status := range map[string]int{"m": 200, "large": 403, "other": 403} {
		if res, body := relay.do(relay.request(bearer(token), text(`{"model":"`+model+`"}`))); res.StatusCode != status {
			t.Errorf("model %s: got %d %s, want %d", model, res.StatusCode, body, status)
		}
	}
}

func TestExchange_Refuses(t *testing.T) {
	wording := newGolden(t, "refusals/exchange.golden")
	p, other := newLoginProvider(t), newLoginProvider(t)
	relay, up := startExchange(t, p, "providers other\nmax_ttl 1h\nrpm 10", nil, withOtherPlacements)
	now := time.Now().Unix()
	jwt := p.token(t, "alice", nil)
	json := func(claims string) []func(*http.Request) {
		return []func(*http.Request){bearer(jwt), asks(claims)}
	}
	form := func(pairs ...string) []func(*http.Request) {
		return []func(*http.Request){exchangeForm(jwt, append([]string{"audience", "demo"}, pairs...)...)}
	}
	as := func(token string) []func(*http.Request) {
		return []func(*http.Request){exchangeForm(token, "scope", "demo")}
	}
	const request, target = "invalid_request", "invalid_target"
	for name, tc := range map[string]struct {
		edits []func(*http.Request)
		code  string // of the relay, or of OAuth if it is a form
	}{
		"another grant":            {form("grant_type", "client_credentials"), "unsupported_grant_type"},
		"no grant":                 {form("grant_type", ""), request},
		"no token":                 {form("subject_token", ""), request},
		"no type":                  {form("subject_token_type", ""), request},
		"another type":             {form("subject_token_type", "urn:ietf:params:oauth:token-type:saml2"), request},
		"another wish":             {form("requested_token_type", "urn:ietf:params:oauth:token-type:refresh_token"), request},
		"an actor":                 {form("actor_token", "x"), request},
		"not a form":               {[]func(*http.Request){exchangeForm(jwt), asks("a=%zz")}, request},
		"a relay's token":          {as(relay.mint()), request},
		"another login's":          {as(other.token(t, "alice", nil)), request},
		"another's signature":      {as(other.token(t, "alice", map[string]any{"iss": p.URL})), request},
		"another audience":         {as(p.token(t, "alice", map[string]any{"aud": "x"})), request},
		"an expired login":         {as(p.token(t, "alice", map[string]any{"exp": now - 1})), request},
		"an old login":             {as(p.token(t, "alice", map[string]any{"iat": now - 7200})), request},
		"an unmet demand":          {as(p.token(t, "alice", map[string]any{"email_verified": false})), request},
		"no provider":              {form("audience", ""), target},
		"another provider":         {form("audience", "backend"), target},
		"two providers":            {form("scope", "other"), target},
		"two audiences":            {form("claims", `{"provider":"other"}`), target},
		"a resource without name":  {form("audience", "", "resource", "https://relay.example.com/api/"), target},
		"a relative resource":      {form("audience", "", "resource", "/api/demo"), target},
		"claims that do not parse": {form("claims", "{"), request},
		"the token in a claim":     {form("claims", `{"sub":"`+jwt+`"}`), request},
		"a forged header":          {[]func(*http.Request){bearer(jwt + "x"), asks(`{"provider":"demo"}`)}, codeMintUnauthorized},
		"no provider in JSON":      {json(`{}`), string(grant.NoProvider)},
		"another issuer":           {json(`{"provider":"demo","iss":"backend"}`), string(grant.BeyondGrant)},
		"another user":             {json(`{"provider":"demo","sub":"bob"}`), string(grant.BeyondGrant)},
		"an id":                    {json(`{"provider":"demo","jti":"x.0"}`), codeInvalidRequest},
		"a time of issue":          {json(fmt.Sprintf(`{"provider":"demo","iat":%d}`, now)), codeInvalidRequest},
		"an audience":              {json(`{"provider":"demo","aud":"x"}`), codeInvalidRequest},
		"a higher rate":            {json(`{"provider":"demo","limits":{"rpm":11}}`), string(grant.BeyondGrant)},
		"a longer life":            {json(fmt.Sprintf(`{"provider":"demo","exp":%d}`, now+3600)), string(grant.BeyondGrant)},
		"a past life":              {json(fmt.Sprintf(`{"provider":"demo","exp":%d}`, now-1)), codeInvalidRequest},
		"a key":                    {json(`{"provider":"demo","api_key":"sk-carried-0123456789"}`), string(grant.BeyondGrant)},
		"a limit of none":          {json(`{"provider":"demo","limits":{"calls":0}}`), codeInvalidRequest},
		"an unknown claim":         {json(`{"provider":"demo","plan":"pro"}`), codeInvalidRequest},
		"the login's own token":    {json(`{"provider":"demo","sub":"` + jwt + `"}`), codeInvalidRequest},
		"many bytes":               {json(`{"provider":"` + strings.Repeat("x", mint.MaxBody) + `"}`), codeTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			rules := len(relay.rules())
			req := relay.request(tc.edits...)
			isForm := req.Header.Get("Content-Type") == "application/x-www-form-urlencoded"
			res, body := relay.do(req)
			if isForm {
				wantOAuthError(t, res, body, tc.code)
			} else {
				wantRefusal(t, res, body, tc.code)
			}
			if !relay.logged(`"refused"`) || len(relay.rules()) != rules+1 {
				t.Fatalf("the log tells of %d refusals, want 1", len(relay.rules())-rules)
			}
			wording.says(name, relay.rules()[rules])
			if leak(body, jwt, 12) {
				t.Error("the answer holds a piece of the login's token")
			}
		})
	}
	if n := len(up.requests()); n > 0 {
		t.Errorf("the provider received %d requests", n)
	}
	relay.keepsQuiet(jwt, "sk-carried-0123456789")
}

// wantOAuthError checks an error of a token endpoint (RFC 6749, section 5.2).
func wantOAuthError(t *testing.T, res *http.Response, body, code string) {
	t.Helper()
	var got map[string]string
	if err := json.Unmarshal([]byte(body), &got); err != nil || res.StatusCode != 400 || got["error"] != code || got["error_description"] == "" || len(got) != 2 {
		t.Errorf("got %d %s, want 400 and error %s", res.StatusCode, body, code)
	}
	if strings.ContainsFunc(got["error_description"], func(r rune) bool { return r < ' ' || r > '~' || r == '"' || r == '\\' }) {
		t.Errorf("the description has characters that the RFC does not permit: %s", body)
	}
}

// Revoking a user cuts what the exchanged tokens have open, and what the login's older
// token could still be exchanged for.
func TestExchange_Revoked(t *testing.T) {
	p := newLoginProvider(t)
	relay, _ := startExchange(t, p, "", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		tell(w, "data: {}\n\n")
		<-r.Context().Done()
	})
	jwt := p.token(t, "alice", nil)
	token := relay.exchanged(exchangeForm(jwt))
	res, err := relay.client.Do(relay.request(bearer(token), chatting(streamBody)))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if w, answer := admin(t, "POST", "/relayapi/revocations", `{"scope":"subject","issuer":"users","subject":"alice"}`); w.Code != 200 || answer["ended_calls"] != 1.0 {
		t.Fatalf("got %d %v", w.Code, answer)
	}
	if body, _ := io.ReadAll(res.Body); !strings.Contains(string(body), codeRevoked) {
		t.Errorf("the stream ends with %s", body)
	}
	again, body := relay.do(relay.request(bearer(token)))
	wantRefusal(t, again, body, codeRevoked)
	again, body = relay.do(relay.request(bearer(jwt), asks(`{}`)))
	wantRefusal(t, again, body, codeRevoked)
	again, body = relay.do(relay.request(exchangeForm(jwt)))
	wantOAuthError(t, again, body, "invalid_request")
}

// A user whose login the operator has limited or disabled by its id gets no other token,
// which would not count there.
func TestExchange_OfALimitedLogin(t *testing.T) {
	p := newLoginProvider(t)
	relay, _ := startExchange(t, p, "", nil)
	jwt := p.token(t, "alice", nil)
	if res, body := relay.do(relay.request(bearer(jwt))); res.StatusCode != 200 {
		t.Fatalf("got %d %s", res.StatusCode, body)
	}
	page, err := activeApp(t).ledger.Tokens(t.Context(), tokenstore.Filter{Issuer: "users"})
	if err != nil || len(page.Records) != 1 {
		t.Fatalf("%d identities, want 1; %v", len(page.Records), err)
	}
	path := "/relayapi/tokens/users/" + page.Records[0].ID
	for change, code := range map[string]string{`{"calls_limit":9}`: string(grant.BeyondGrant), `{"calls_limit":null,"disabled":true}`: codeDisabled} {
		if w, answer := admin(t, "PATCH", path, change); w.Code != 200 {
			t.Fatalf("got %d %v", w.Code, answer)
		}
		res, body := relay.do(relay.request(bearer(jwt), asks(`{}`)))
		wantRefusal(t, res, body, code)
		if w, answer := admin(t, "PATCH", path, `{"calls_limit":null,"disabled":false}`); w.Code != 200 {
			t.Fatalf("got %d %v", w.Code, answer)
		}
	}
	relay.exchanged(bearer(jwt), asks(`{}`))
}

// Pages may ask from the origins that the issuer or a plan allows, and from no others.
func TestExchange_CORS(t *testing.T) {
	p := newLoginProvider(t)
	relay, _ := startExchange(t, p, "origins https://app.example\nwhen plan pro {\norigins https://pro.example\n}", nil)
	jwt, pro := p.token(t, "alice", nil), p.token(t, "carol", map[string]any{"plan": "pro"})
	for origin, want := range map[string]bool{"https://app.example": true, "https://pro.example": true, "https://evil.example": false} {
		res, _ := relay.do(relay.request(asking("OPTIONS", "/mint"), header("Origin", origin),
			header("Access-Control-Request-Method", "POST"), header("Access-Control-Request-Headers", "authorization")))
		if (res.StatusCode == 204) != want || (res.Header.Get("Access-Control-Allow-Origin") == origin) != want || hasCORS(res.Header) != want {
			t.Errorf("a preflight from %s: got %d %v", origin, res.StatusCode, res.Header)
		}
	}
	for name, tc := range map[string]struct {
		token, origin string
		code          string // empty means 200
		readable      bool
	}{
		"the issuer's":       {jwt, "https://app.example", "", true},
		"the plan's":         {pro, "https://pro.example", "", true},
		"that of a plan":     {jwt, "https://pro.example", string(grant.NoOrigin), true},
		"not that of a plan": {pro, "https://app.example", string(grant.NoOrigin), true},
		"none":               {jwt, "", string(grant.NoOrigin), false},
		"another":            {jwt, "https://evil.example", string(grant.NoOrigin), false},
	} {
		edits := []func(*http.Request){bearer(tc.token), asks(`{}`)}
		if tc.origin != "" {
			edits = append(edits, header("Origin", tc.origin))
		}
		res, body := relay.do(relay.request(edits...))
		if tc.code != "" {
			wantRefusal(t, res, body, tc.code)
		} else {
			relay.exchanged(edits...)
			mayHold(t, relay, body)
		}
		allowed := res.Header.Get("Access-Control-Allow-Origin")
		if (allowed == tc.origin && allowed != "") != tc.readable || hasCORS(res.Header) != tc.readable || tc.readable && res.Header.Get("Vary") != "Origin" {
			t.Errorf("%s: got %v, want an answer that the page can read: %t", name, res.Header, tc.readable)
		}
	}
}

// mayHold tells the canary of the token in an answer.
func mayHold(t *testing.T, relay *testRelay, body string) {
	t.Helper()
	var m mint.Minted
	if err := json.Unmarshal([]byte(body), &m); err != nil {
		t.Fatal(err)
	}
	relay.canary.minted(m.Token, inAnswers)
}

// A user cannot mint without end.
func TestExchange_IsPaced(t *testing.T) {
	p := newLoginProvider(t)
	relay, _ := startExchange(t, p, "", nil)
	now := time.Now()
	for range maxExchanges {
		activeApp(t).ledger.exchanges.Take("users/alice", maxExchanges, now)
	}
	res, body := relay.do(relay.request(bearer(p.token(t, "alice", nil)), asks(`{}`)))
	wantRefusal(t, res, body, codeRateLimited)
	res, body = relay.do(relay.request(exchangeForm(p.token(t, "alice", nil))))
	if res.StatusCode != 429 || !strings.Contains(body, `"temporarily_unavailable"`) || res.Header.Get("Retry-After") == "" {
		t.Errorf("got %d %s %v", res.StatusCode, body, res.Header)
	}
	relay.exchanged(exchangeForm(p.token(t, "bob", nil)))
}

// The operator sees what a login's user has left, under his plan, and what his tokens
// permit.
func TestExchange_IsShown(t *testing.T) {
	p := newLoginProvider(t)
	relay, _ := startExchange(t, p, "calls 3 per day\nwhen plan pro {\ncalls 5 per day\nmodels m*\nrpm 9\n}", nil)
	jwt := p.token(t, "alice", map[string]any{"plan": "pro"})
	token := relay.exchanged(bearer(jwt), asks(`{"allow":{"models":["m","n"]},"limits":{"calls":4}}`))
	for _, token := range []string{jwt, token} {
		if res, body := relay.do(relay.request(bearer(token), text(`{"model":"m"}`))); res.StatusCode != 200 {
			t.Fatalf("got %d %s", res.StatusCode, body)
		}
	}
	page, err := activeApp(t).ledger.Tokens(t.Context(), tokenstore.Filter{Issuer: "users"})
	if err != nil || len(page.Records) != 2 {
		t.Fatalf("%d identities, want 2; %v", len(page.Records), err)
	}
	relay.load(replaceOnce(t, relay.lastConfig, "calls 5 per day", "calls 7 per day")) // what is in force counts
	w, _ := admin(t, "GET", "/relayapi/tokens?issuer=users", "")
	var list adminapi.Page
	if err := json.Unmarshal(w.Body.Bytes(), &list); err != nil || len(list.Records) != 2 {
		t.Fatalf("got %s, %v", w.Body, err)
	}
	for _, r := range list.Records {
		w, _ := admin(t, "GET", "/relayapi/tokens/users/"+r.ID, "")
		var shown adminapi.Record
		if err := json.Unmarshal(w.Body.Bytes(), &shown); err != nil || shown.Permits == nil {
			t.Fatalf("got %s, %v", w.Body, err)
		}
		own, want := "", "subject calls day 7 2 5"
		if !strings.HasPrefix(r.ID, "login-") {
			own, want = "m n", "token calls  4 1 3; "+want
		}
		for where, limits := range map[string][]adminapi.LimitUse{"list": r.Limits, "show": shown.Limits} {
			var got []string
			for _, l := range limits {
				got = append(got, fmt.Sprint(l.Scope, " ", l.Unit, " ", l.Per, " ", l.Amount, " ", l.Used, " ", l.Left))
				if l.Ends.IsZero() != (l.Per == "") {
					t.Errorf("%s: a limit per %q ends at %s", where, l.Per, l.Ends)
				}
			}
			if strings.Join(got, "; ") != want {
				t.Errorf("%s of %s has the limits %q, want %q", where, r.ID, got, want)
			}
		}
		if got := shown.Permits; got.RPM != 9 || strings.Join(got.Allow.Models, " ") != own || strings.Join(got.Issuer.Models, " ") != "m*" {
			t.Errorf("%s permits %+v", r.ID, got)
		}
	}
	w, _ = admin(t, "GET", "/relayapi/status", "")
	var status adminapi.Status
	if err := json.Unmarshal(w.Body.Bytes(), &status); err != nil || len(status.Budget) != 3 || status.Budget[2].Issuer != "users" || *status.Budget[2].User[0].Calls != 3 {
		t.Errorf("the status is %s, %v", w.Body, err)
	}
}
