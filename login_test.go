package relayapi

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/relayapi/caddy-relayapi/tokenstore"
)

// loginProvider is an OpenID Connect provider.
type loginProvider struct {
	*httptest.Server
	signer jose.Signer
}

func newLoginProvider(t testing.TB) *loginProvider {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p := new(loginProvider)
	options := new(jose.SignerOptions).WithType("JWT").WithHeader("kid", "k1")
	if p.signer, err = jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, options); err != nil {
		t.Fatal(err)
	}
	set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "k1", Algorithm: "ES256", Use: "sig"}}}
	mux := http.NewServeMux()
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]string{"issuer": p.URL, "jwks_uri": p.URL + "/jwks"})
	})
	mux.HandleFunc("/jwks", func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(set) })
	p.Server = httptest.NewServer(mux)
	t.Cleanup(p.Close)
	return p
}

// claims are those of a user's token, changed by edits.
func (p *loginProvider) token(t testing.TB, user string, edits map[string]any) string {
	t.Helper()
	now := time.Now()
	claims := map[string]any{"iss": p.URL, "aud": "app", "sub": user, "iat": now.Unix() - 5, "exp": now.Unix() + 3600, "email_verified": true}
	for name, value := range edits {
		claims[name] = value
	}
	token, err := jwt.Signed(p.signer).Claims(claims).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	canaryOf(t).minted(token)
	return token
}

// startLogin starts a relay for the users of a login.
func startLogin(t *testing.T, p *loginProvider, lines string, respond http.HandlerFunc, options ...option) (*testRelay, *upstream) {
	t.Helper()
	up := newUpstream(t, respond)
	users := section("issuer users", section("login "+p.URL, "audience app"), "providers demo", "require email_verified true", lines)
	return startRelay(t, simple(up.URL, append(options, inApp(testPrices), func(c *testConfig) { c.issuers = users })...)), up
}

// The token that a login gives its user stands where the API key goes, in any carrier.
func TestLogin_InEveryCarrier(t *testing.T) {
	p := newLoginProvider(t)
	relay, up := startLogin(t, p, "", nil)
	token := p.token(t, "alice", nil)
	for name, put := range map[string]func(*http.Request){
		"Authorization": bearer(token),
		"X-API-Token":   header("X-Api-Token", token),
		"x-api-key":     header("X-Api-Key", token),
		"the query":     asking("POST", "/v1/chat/completions?key="+token),
		"Basic":         header("Authorization", basic("api", token)),
	} {
		before := len(up.requests())
		res, body := relay.do(relay.request(put))
		seen := up.requests()
		if res.StatusCode != 200 || len(seen) != before+1 {
			t.Fatalf("%s: got %d %s", name, res.StatusCode, body)
		}
		checkCredential(t, seen[before], token)
	}
}

func TestLogin_Refuses(t *testing.T) {
	p, other := newLoginProvider(t), newLoginProvider(t)
	relay, up := startLogin(t, p, "", nil)
	for name, tc := range map[string]struct {
		token string
		code  string
		rule  string
	}{
		"another audience":      {p.token(t, "alice", map[string]any{"aud": "other"}), "invalid_token", "login: "},
		"expired":               {p.token(t, "alice", map[string]any{"exp": time.Now().Unix() - 1}), "token_expired", "login: "},
		"an unverified address": {p.token(t, "alice", map[string]any{"email_verified": false}), "issuer_not_permitted", "email_verified"},
		"no subject":            {p.token(t, "", nil), "invalid_token", "login: "},
		"another login":         {other.token(t, "alice", nil), "invalid_token", "Authorization has"},
		"another's signature":   {other.token(t, "alice", map[string]any{"iss": p.URL}), "invalid_token", "login: "},
	} {
		t.Run(name, func(t *testing.T) {
			res, body := relay.do(relay.request(bearer(tc.token)))
			wantRefusal(t, res, body, tc.code)
			if !relay.logged(`"refused"`, tc.rule) {
				t.Errorf("no line in the log with %q", tc.rule)
			}
		})
	}
	if n := len(up.requests()); n > 0 {
		t.Errorf("the provider received %d requests", n)
	}
}

// A user's limits count over all tokens of the login, each user has limits of his own,
// and a claim picks others.
func TestLogin_LimitsEachUser(t *testing.T) {
	p := newLoginProvider(t)
	relay, _ := startLogin(t, p, "calls 2 per day\nwhen app.plan pro team {\ncalls 3 per day\nmodels m\n}", nil)
	pro := map[string]any{"app": map[string]any{"plan": "pro"}}
	for i, step := range []struct {
		user   string
		claims map[string]any
		status int
	}{
		{"alice", nil, 200},
		{"alice", map[string]any{"nonce": "another token"}, 200},
		{"alice", nil, 403},
		{"bob", nil, 200},
		{"carol", pro, 200},
		{"carol", pro, 200},
		{"carol", pro, 200},
		{"carol", pro, 403},
		{"alice", pro, 200}, // two were used, and now three are permitted
		{"alice", pro, 403},
	} {
		if res, body := relay.do(relay.request(bearer(p.token(t, step.user, step.claims)))); res.StatusCode != step.status {
			t.Errorf("step %d: got %d, want %d: %s", i, res.StatusCode, step.status, body)
		}
	}
	if res, body := relay.do(relay.request(bearer(p.token(t, "dave", pro)), text(`{"model":"large"}`))); res.StatusCode != 403 {
		t.Errorf("another model: got %d %s", res.StatusCode, body)
	}
}

// A user's budget holds as that of a token does.
func TestLogin_Budget(t *testing.T) {
	p := newLoginProvider(t)
	relay, _ := startLogin(t, p, "usd 0.001 per month", answerJSON(`{"model":"m","usage":{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15}}`))
	token := p.token(t, "alice", nil)
	admitted := 0
	for {
		res, body := relay.do(relay.request(bearer(token), chatting(askBody)))
		if res.StatusCode != 200 {
			wantRefusal(t, res, body, codeBudgetExhausted)
			break
		}
		admitted++
	}
	if most := 1_000_000 / (10*inputNano + 5*outputNano); admitted < most-8 || admitted > most {
		t.Errorf("%d calls are admitted, want nearly %d", admitted, most)
	}
}

// Revoking a user ends what his older tokens have open, and refuses them.
func TestLogin_Revoked(t *testing.T) {
	p := newLoginProvider(t)
	relay, _ := startLogin(t, p, "", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		tell(w, "data: {}\n\n")
		<-r.Context().Done()
	})
	token := p.token(t, "alice", nil)
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
}

// The path names the provider if the issuer has several. There is one identity for each
// user and provider, whatever tokens the user has had.
func TestLogin_Providers(t *testing.T) {
	p := newLoginProvider(t)
	relay, _ := startLogin(t, p, "providers other", nil, withOtherPlacements, inDirective("prefix /api", "token_status /status"))
	for _, path := range []string{"/api/demo/v1/x", "/api/demo/v1/y"} {
		if res, body := relay.do(relay.request(bearer(p.token(t, "alice", map[string]any{"nonce": path})), asking("POST", path))); res.StatusCode != 200 {
			t.Errorf("%s: got %d %s", path, res.StatusCode, body)
		}
	}
	res, body := relay.do(relay.request(bearer(p.token(t, "alice", nil)), asking("POST", "/api/nowhere/v1/x")))
	if res.StatusCode != 403 {
		t.Errorf("an unknown provider: got %d %s", res.StatusCode, body)
	}
	if res, body := relay.do(relay.request(bearer(p.token(t, "alice", nil)), asking("GET", "/status"))); res.StatusCode != 200 || !strings.Contains(body, `"alice"`) {
		t.Errorf("status: got %d %s", res.StatusCode, body)
	}
	page, err := activeApp(t).ledger.Tokens(t.Context(), tokenstore.Filter{Issuer: "users"})
	if err != nil || len(page.Records) != 1 {
		t.Errorf("%d identities, want 1; %v", len(page.Records), err)
	}
}
