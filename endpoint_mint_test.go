package relayapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/relayapi/caddy-relayapi/eccrypto"
	"github.com/relayapi/caddy-relayapi/grant"
	"github.com/relayapi/caddy-relayapi/internal/adminapi"
	"github.com/relayapi/caddy-relayapi/internal/mint"
	"github.com/relayapi/caddy-relayapi/internal/ratelimit"
	"github.com/relayapi/caddy-relayapi/internal/redact"
	"github.com/relayapi/caddy-relayapi/tokenstore"
)

// Secrets of the issuers shop and desk. Neither has a piece of another test's.
const (
	shopSecret = "shop-f27d81c05be94a63/19+77c2e"
	deskSecret = "desk-93b4a6d0e8f152c7b06d4e21"
)

// minting is a relay as simple, with two back-ends that mint over HTTP. Of
// them only desk may carry keys, for demo and for other.
func minting(upstream string, options ...option) string {
	base := func(c *testConfig) {
		c.issuers = section("issuer shop", "secret {env.RELAYAPI_TEST_SECRET}", "providers demo", "max_ttl 2h") +
			section("issuer desk", "secret {file.{dir}/desk.secret}", "providers demo other", "carried_keys")
		c.providers = section("provider other https://127.0.0.1", "credential header Xi-Api-Key", "api_key none")
		c.directive = "mint /mint\ntoken_status /status"
	}
	return simple(upstream, append([]option{base}, options...)...)
}

// startMinting starts a relay from minting, changed by the options.
func startMinting(t *testing.T, up *upstream, options ...option) *testRelay {
	t.Helper()
	relay := newMinting(t)
	relay.load(minting(up.URL, options...))
	return relay
}

func newMinting(t *testing.T) *testRelay {
	t.Helper()
	t.Setenv("RELAYAPI_TEST_SECRET", shopSecret)
	relay := newTestRelay(t)
	if err := os.WriteFile(filepath.Join(relay.dir, "desk.secret"), []byte(deskSecret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return relay
}

// asks makes a request for a token.
func asks(claims string) func(*http.Request) {
	return func(r *http.Request) {
		asking("POST", "/mint")(r)
		r.Body, r.ContentLength = io.NopCloser(strings.NewReader(claims)), int64(len(claims))
	}
}

// mintsAs mints over HTTP.
func (r *testRelay) mintsAs(secret, claims string) mint.Minted {
	r.t.Helper()
	res, body := r.do(r.request(asks(claims), bearer(secret)))
	var m mint.Minted
	if err := json.Unmarshal([]byte(body), &m); err != nil || res.StatusCode != 200 || !eccrypto.LooksLikeToken(m.Token) {
		r.t.Fatalf("got %d %s", res.StatusCode, body)
	}
	r.canary.minted(m.Token, inAnswers) // where its holder gets it
	return m
}

// keepsQuiet checks that the log has nothing of the secrets and the tokens.
func (r *testRelay) keepsQuiet(secrets ...string) {
	r.t.Helper()
	log := r.log()
	for i, secret := range append(secrets, shopSecret, deskSecret) {
		if leak(log, secret, 12) {
			r.t.Errorf("a piece of secret %d is in the log", i)
		}
	}
}

func TestMintOverHTTP(t *testing.T) {
	up := newUpstream(t, nil)
	relay := startMinting(t, up)
	before := time.Now()
	res, body := relay.do(relay.request(bearer(shopSecret), header("Origin", "https://app.example"),
		asks(`{"provider":"demo","sub":"alice","limits":{"calls":2}}`)))
	var got map[string]any
	if err := json.Unmarshal([]byte(body), &got); err != nil || res.StatusCode != 200 || len(got) != 4 {
		t.Fatalf("got %d %s", res.StatusCode, body)
	}
	token, id := got["token"].(string), got["id"].(string)
	expires, err := time.Parse(time.RFC3339, got["expires_at"].(string))
	if err != nil || got["issuer"] != "shop" || expires.Before(before.Add(2*time.Hour-time.Second)) || expires.After(time.Now().Add(2*time.Hour)) {
		t.Errorf("got %v; want two hours, the issuer's longest", got)
	}
	if res.Header.Get("Cache-Control") != "no-store" || res.Header.Get("Content-Type") != "application/json" || hasCORS(res.Header) {
		t.Errorf("the answer has headers %v", res.Header)
	}
	if _, err := activeApp(t).ledger.Token(t.Context(), "shop", id); !errors.Is(err, tokenstore.ErrUnknown) {
		t.Errorf("the store knows the token before its first use: %v", err)
	}
	if got := relay.status(bearer(token)); got.Calls == nil || *got.Calls != (adminapi.Left[int64]{Limit: 2, Used: 0, Remaining: 2}) {
		t.Errorf("before its use the token's status is %+v", got)
	}
	if res, body := relay.do(relay.request(bearer(token))); res.StatusCode != 200 {
		t.Fatalf("the token is refused: %d %s", res.StatusCode, body)
	}
	checkCredential(t, up.one(t), token)
	if got := relay.status(bearer(token)); *got.Calls != (adminapi.Left[int64]{Limit: 2, Used: 1, Remaining: 1}) || got.ID != id || got.Subject != "alice" {
		t.Errorf("after its use the token's status is %+v", got)
	}
	if !relay.logged(`"minted"`, `"issuer":"shop"`, `"token_id":"`+id, `"subject":"alice"`, `"provider":"demo"`, `"exp"`) {
		t.Error("the log does not tell of the token")
	}
	if !relay.logged(`"handled request"`, `"uri":"/mint"`, `"Authorization":["REDACTED"]`) {
		t.Error("the access log does not tell of the request")
	}
	relay.keepsQuiet(token)
}

func hasCORS(header http.Header) bool {
	for name := range header {
		if strings.HasPrefix(name, "Access-Control-") {
			return true
		}
	}
	return false
}

// Each secret mints as its own issuer and within what that one was granted.
func TestEachSecretHasItsIssuer(t *testing.T) {
	up := newUpstream(t, nil)
	relay := startMinting(t, up)
	for secret, issuer := range map[string]string{shopSecret: "shop", deskSecret: "desk"} {
		for _, claims := range []string{`{"provider":"demo"}`, `{"provider":"demo","iss":"` + issuer + `"}`} {
			m := relay.mintsAs(secret, claims)
			got := relay.status(bearer(m.Token))
			if m.Issuer != issuer || got.Issuer != issuer || got.ID != m.ID {
				t.Errorf("the secret of %s minted as %s, %+v", issuer, m.Issuer, got)
			}
		}
	}
	m := relay.mintsAs(deskSecret, `{"provider":"other","api_key":"sk-carried-0123456789","jti":"mine"}`)
	if got := relay.status(bearer(m.Token)); got.ID != "mine" || got.Provider != "other" {
		t.Errorf("got %+v", got)
	}
	// The relay's own key does not make its holder every issuer: what is signed
	// as one and says another is refused.
	app := activeApp(t).relay.Load()
	claims := fmt.Sprintf(`{"iss":"desk","aud":%q,"jti":"x","iat":%d,"exp":%d,"provider":"demo"}`,
		relay.relayKey.Public().ID(), time.Now().Unix(), time.Now().Unix()+60)
	forged, err := eccrypto.Seal([]byte(claims), "shop", app.minter.Signer, relay.relayKey.Public())
	if err != nil {
		t.Fatal(err)
	}
	res, body := relay.do(relay.request(bearer(forged)))
	wantRefusal(t, res, body, string(grant.Invalid))
	relay.keepsQuiet("sk-carried-0123456789")
}

func TestMintRefusals(t *testing.T) {
	wording := newGolden(t, "refusals/mint.golden")
	relay := startMinting(t, newUpstream(t, nil))
	now := time.Now().Unix()
	type edits = []func(*http.Request)
	shop := func(claims string) edits { return edits{asks(claims), bearer(shopSecret)} }
	as := func(name, value string) edits {
		return edits{asks(`{"provider":"demo"}`), header(name, value)}
	}
	method := func(method string) edits {
		return edits{bearer(shopSecret), asking(method, "/mint"), header("Origin", "https://app.example"), header("Access-Control-Request-Method", "POST")}
	}
	for name, tc := range map[string]struct {
		edits edits
		code  string
		about string // is named in the rule
	}{
		"no secret":        {edits{asks(`{"provider":"demo"}`)}, codeMintUnauthorized, "Authorization"},
		"a wrong secret":   {as("Authorization", "Bearer "+shopSecret+"x"), codeMintUnauthorized, ""},
		"a part of it":     {as("Authorization", "Bearer "+shopSecret[:20]), codeMintUnauthorized, ""},
		"a token":          {as("Authorization", "Bearer "+relay.mint()), codeMintUnauthorized, ""},
		"without scheme":   {as("Authorization", shopSecret), codeMintUnauthorized, "Authorization"},
		"GET":              {method("GET"), codeMethodNotAllowed, "POST"},
		"a preflight":      {method("OPTIONS"), codeMethodNotAllowed, "POST"},
		"no claims":        {shop(``), codeInvalidRequest, "JSON"},
		"no provider":      {shop(`{}`), codeInvalidRequest, "provider"},
		"an unknown claim": {shop(`{"provider":"demo","admin":true}`), codeInvalidRequest, "admin"},
		"another issuer":   {shop(`{"provider":"demo","iss":"desk"}`), string(grant.BeyondGrant), "shop"},
		"the relay's own":  {shop(`{"provider":"demo","iss":"relay"}`), string(grant.BeyondGrant), "shop"},
		"an audience":      {shop(`{"provider":"demo","aud":"x"}`), codeInvalidRequest, "aud"},
		"another provider": {shop(`{"provider":"other"}`), string(grant.NoProvider), "issuer shop may grant providers [demo]"},
		"a carried key":    {shop(`{"provider":"demo","api_key":"sk-carried-0123456789"}`), string(grant.BeyondGrant), "issuer shop"},
		"a long life":      {shop(fmt.Sprintf(`{"provider":"demo","exp":%d}`, now+3*3600)), string(grant.BeyondGrant), "issuer shop"},
		"a past life":      {shop(fmt.Sprintf(`{"provider":"demo","iat":%d,"exp":%d}`, now-60, now-30)), codeInvalidRequest, ""},
		"a life to come":   {shop(fmt.Sprintf(`{"provider":"demo","iat":%d}`, now+3600)), codeInvalidRequest, "iat"},
		"a provider without key": {edits{asks(`{"provider":"other"}`), bearer(deskSecret)}, string(grant.NoProvider),
			"provider other"},
		"claims of many bytes": {shop(`{"provider":"` + strings.Repeat("x", mint.MaxBody) + `"}`), codeTooLarge, "65536"},
		"a token of many bytes": {shop(`{"provider":"demo","allow":{"paths":["/` + strings.Repeat("x", 9000) + `"]}}`), codeInvalidRequest,
			"8192"},
		"the secret as a claim":    {shop(`{"provider":"demo","` + shopSecret + `":1}`), codeInvalidRequest, "secret"},
		"the secret in a claim":    {shop(`{"provider":"demo","sub":"` + shopSecret + `"}`), codeInvalidRequest, "secret"},
		"the secret, escaped":      {shop(`{"provider":"demo","sub":"\u0073` + shopSecret[1:] + `"}`), codeInvalidRequest, "secret"},
		"the secret, all escaped":  {shop(`{"provider":"demo","sub":"` + escaped(shopSecret) + `"}`), codeInvalidRequest, "secret"},
		"a piece of the secret":    {shop(`{"provider":"demo","sub":"` + shopSecret[:redact.PieceSize] + `"}`), codeInvalidRequest, "secret"},
		"the secret in a URL":      {shop(`{"provider":"demo","sub":"x%` + fmt.Sprintf("%x", shopSecret[0]) + shopSecret[1:] + `"}`), codeInvalidRequest, "secret"},
		"a token as subject":       {shop(`{"provider":"demo","sub":"` + relay.mint() + `"}`), codeInvalidRequest, "token"},
		"the secret as a provider": {shop(`{"provider":"` + shopSecret + `"}`), codeInvalidRequest, "secret"},
	} {
		t.Run(name, func(t *testing.T) {
			activeApp(t).ledger.guesses = ratelimit.New[netip.Prefix](time.Minute, guessClients)
			rules := len(relay.rules())
			res, body := relay.do(relay.request(tc.edits...))
			message := wantRefusal(t, res, body, tc.code).Error.Message
			if res.Header.Get("Cache-Control") != "no-store" || hasCORS(res.Header) {
				t.Errorf("the refusal has headers %v", res.Header)
			}
			if tc.code == codeMethodNotAllowed && res.Header.Get("Allow") != "POST" {
				t.Errorf("allows %q", res.Header.Get("Allow"))
			}
			if !relay.logged(`"refused"`, `"code":"`+tc.code+`"`) || len(relay.rules()) != rules+1 {
				t.Fatalf("the log tells of %d refusals, want 1 with %s", len(relay.rules())-rules, tc.code)
			}
			rule := relay.rules()[rules]
			wording.says(name, rule)
			if !strings.Contains(rule, tc.about) || answers[tc.code].detail && !strings.Contains(message, rule) {
				t.Errorf("the rule is %q, want one about %q; the client is told %q", rule, tc.about, message)
			}
			if leak(body, shopSecret, 8) {
				t.Error("the answer holds a piece of the secret")
			}
		})
	}
	relay.keepsQuiet("sk-carried-0123456789")
}

// A secret that is put in another place mints nothing, and is in no log.
func TestMintSecretInWrongPlaces(t *testing.T) {
	relay := startMinting(t, newUpstream(t, nil), func(c *testConfig) { c.accessLog = section("log", "output file {dir}/access") })
	claims := asks(`{"provider":"demo"}`)
	query := func(q string) func(*http.Request) { return func(r *http.Request) { r.URL.RawQuery = q } }
	escaped := strings.NewReplacer("/", "%2f", "-", "%2D").Replace(shopSecret)
	for name, put := range map[string]func(*http.Request){
		"query":              query("secret=" + shopSecret),
		"query, escaped":     query("secret=" + escaped),
		"X-API-Key":          header("X-Api-Key", shopSecret),
		"another header":     header("X-Mint-Secret", "Bearer "+shopSecret),
		"Authorization: Key": header("Authorization", "Key "+shopSecret),
		"basic":              func(r *http.Request) { r.SetBasicAuth("shop", shopSecret) },
		"twice":              func(r *http.Request) { bearer(shopSecret)(r); header("Authorization", "Bearer "+shopSecret)(r) },
		"cookie":             header("Cookie", "secret="+shopSecret),
		"GET": func(r *http.Request) {
			r.Method, r.Body, r.ContentLength = "GET", nil, 0
			query("secret=" + shopSecret)(r)
		},
	} {
		t.Run(name, func(t *testing.T) {
			activeApp(t).ledger.guesses = ratelimit.New[netip.Prefix](time.Minute, guessClients)
			res, body := relay.do(relay.request(claims, put))
			if res.StatusCode/100 != 4 || leak(body, shopSecret, 8) {
				t.Errorf("got %d %s", res.StatusCode, body)
			}
		})
	}
	// In its own place as well, it mints.
	for name, put := range map[string]func(*http.Request){
		"query": query("a=1&b=" + shopSecret), "query, escaped": query(escaped), "header": header("Referer", "https://x/?s="+shopSecret),
	} {
		if res, body := relay.do(relay.request(claims, bearer(shopSecret), put)); res.StatusCode != 200 {
			t.Errorf("%s: %d %s", name, res.StatusCode, body)
		}
	}
	// The line of the last request says that those before are written.
	relay.do(relay.request(asking("GET", "/health?last")))
	access := func() string {
		data, _ := os.ReadFile(filepath.Join(relay.dir, "access"))
		return string(data)
	}
	if !eventually(func() bool { return strings.Contains(access(), "/health?last") }) {
		t.Fatal("the access log has no lines")
	}
	if text := access(); strings.Contains(text, "/mint") || leak(text, shopSecret, 12) || leak(text, escaped, 12) {
		t.Errorf("the access log has %s", text)
	}
	relay.keepsQuiet(escaped)
}

// With log_credentials the access log would show Authorization, so that it
// shows no request that holds a secret or a token there.
func TestMintWithLogCredentials(t *testing.T) {
	relay := startMinting(t, newUpstream(t, nil), inServers("log_credentials"), inSite("respond /plain 204"))
	m := relay.mintsAs(shopSecret, `{"provider":"demo"}`)
	relay.status(bearer(m.Token))
	relay.do(relay.request(asks(`{}`), bearer("another-secret-0123456789")))
	relay.do(relay.request(asking("GET", "/plain"), header("Authorization", "shown")))
	if !relay.logged(`"handled request"`, `"/plain"`, `"Authorization":["shown"]`) {
		t.Fatal("the access log does not show credentials, so this proves nothing")
	}
	relay.keepsQuiet(m.Token, "another-secret-0123456789")
}

// Who guesses is locked out, also with the right secret, whatever address it
// says that it comes from. Claims that are refused are no guesses.
func TestMintGuessesAreBounded(t *testing.T) {
	relay := startMinting(t, newUpstream(t, nil), inServers("trusted_proxies static private_ranges"))
	for range maxGuesses + 5 {
		res, body := relay.do(relay.request(asks(`{}`), bearer(shopSecret)))
		wantRefusal(t, res, body, codeInvalidRequest)
	}
	from := func(i int) func(*http.Request) { return header("X-Forwarded-For", fmt.Sprint("203.0.113.", i)) }
	for i := range maxGuesses {
		res, body := relay.do(relay.request(asks(`{}`), bearer(fmt.Sprintf("guess-%024d", i)), from(i)))
		wantRefusal(t, res, body, codeMintUnauthorized)
		if res.Header.Get("WWW-Authenticate") != "Bearer" {
			t.Errorf("the refusal has headers %v", res.Header)
		}
	}
	for i, secret := range []string{"guess-again-0123456789", shopSecret} {
		res, body := relay.do(relay.request(asks(`{"provider":"demo"}`), bearer(secret), from(100+i)))
		wantRefusal(t, res, body, codeRateLimited)
		if retry := res.Header.Get("Retry-After"); retry < "55" || retry > "61" || res.Header.Get("X-Should-Retry") != "" || hasCORS(res.Header) {
			t.Errorf("the refusal has headers %v", res.Header)
		}
	}
	if !relay.logged(`"warn"`, "trusted_proxies_strict") || strings.Count(relay.log(), "believes the address that a client sends") != 1 {
		t.Error("the log does not say once that forwarded addresses are not believed")
	}
	relay.load(relay.lastConfig + "\n") // forgets nothing
	res, body := relay.do(relay.request(asks(`{"provider":"demo"}`), bearer(shopSecret)))
	wantRefusal(t, res, body, codeRateLimited)
	relay.keepsQuiet()
}

// Behind a proxy that is believed strictly, clients are told apart.
func TestMintGuessesBehindStrictProxy(t *testing.T) {
	relay := startMinting(t, newUpstream(t, nil), inServers("trusted_proxies static private_ranges", "trusted_proxies_strict"))
	from := func(i int) func(*http.Request) {
		return header("X-Forwarded-For", fmt.Sprintf("198.51.100.%d, 203.0.113.%d", i, i%2)) // the proxy adds the last
	}
	for i := range 2 * maxGuesses {
		res, body := relay.do(relay.request(asks(`{}`), bearer("guess"), from(i)))
		wantRefusal(t, res, body, codeMintUnauthorized)
	}
	for i := range 2 {
		res, body := relay.do(relay.request(asks(`{}`), bearer("guess"), from(i)))
		wantRefusal(t, res, body, codeRateLimited)
	}
	res, body := relay.do(relay.request(asks(`{}`), bearer("guess"), header("X-Forwarded-For", "203.0.113.77")))
	wantRefusal(t, res, body, codeMintUnauthorized)
}

// A subject that is locked out gets no new tokens that nobody would take.
func TestMintForARevokedSubject(t *testing.T) {
	relay := startMinting(t, newUpstream(t, nil))
	lockOut := tokenstore.Revocation{Scope: tokenstore.ScopeSubject, Issuer: "shop", ID: "mallory", Before: time.Now().Add(time.Hour)}
	if err := activeApp(t).ledger.Revoke(t.Context(), lockOut); err != nil {
		t.Fatal(err)
	}
	res, body := relay.do(relay.request(asks(`{"provider":"demo","sub":"mallory"}`), bearer(shopSecret)))
	wantRefusal(t, res, body, codeRevoked)
	relay.mintsAs(shopSecret, `{"provider":"demo","sub":"alice"}`)
}

func TestMintIsPaced(t *testing.T) {
	relay := startMinting(t, newUpstream(t, nil))
	secrets := activeApp(t).relay.Load().secrets
	secrets.Find(shopSecret).Pace.SetBurst(0)
	res, body := relay.do(relay.request(asks(`{"provider":"demo"}`), bearer(shopSecret)))
	wantRefusal(t, res, body, codeRateLimited)
	if res.Header.Get("Retry-After") != "1" || !strings.Contains(body, "100 ") {
		t.Errorf("got %s, %v", body, res.Header)
	}
	relay.mintsAs(deskSecret, `{"provider":"demo"}`) // of another issuer
}

// What a config says wrong of a secret keeps the relay from starting, and is
// not quoted.
func TestMintConfigRefused(t *testing.T) {
	wording := newGolden(t, "refusals/mint_config.golden")
	up := newUpstream(t, nil)
	asItIs := func(*testConfig) {}
	for name, tc := range map[string]struct {
		secret   string
		option   option
		old, new string // of the JSON, where the Caddyfile would be refused before it is run
		about    string // is named in the error; empty: there is none
	}{
		"not set":                {"", asItIs, "", "", "{env.RELAYAPI_TEST_SECRET}"},
		"blank":                  {" \n", asItIs, "", "", "{env.RELAYAPI_TEST_SECRET}"},
		"short":                  {"sk-literal-0123", asItIs, "", "", "issuer shop"},
		"two words":              {"sk-literal-01234 sk-literal", asItIs, "", "", "issuer shop"},
		"like a login's token":   {"sk-literal.0123456789.x", asItIs, "", "", "issuer shop"},
		"shared":                 {deskSecret, asItIs, "", "", "issuer desk"},
		"no file":                {shopSecret, asItIs, "desk.secret", "none.secret", "none.secret}"},
		"none at all":            {shopSecret, func(c *testConfig) { c.directive = "token_status /status" }, "", "", ""},
		"literal":                {shopSecret, asItIs, `"{env.RELAYAPI_TEST_SECRET}"`, `"sk-literal-0123456789"`, "issuer shop: secret"},
		"and a key":              {shopSecret, asItIs, `"secret":`, `"public_key":"x","secret":`, "issuer desk"},
		"neither":                {shopSecret, asItIs, `"secret":"{env.RELAYAPI_TEST_SECRET}",`, ``, "issuer shop: public_key"},
		"the relay's":            {shopSecret, asItIs, `"shop":{`, `"relay":{`, "issuer relay"},
		"mint without an issuer": {shopSecret, func(c *testConfig) { c.issuers = "" }, "", "", "mint:"},
	} {
		t.Run(name, func(t *testing.T) {
			relay := newMinting(t)
			t.Setenv("RELAYAPI_TEST_SECRET", tc.secret)
			config, err := adapt(relay.fill(minting(up.URL, tc.option)))
			if err != nil {
				t.Fatal(err)
			}
			err = relay.run([]byte(replaceOnce(t, string(config), tc.old, tc.new)))
			if tc.about == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil {
				t.Fatal("the relay starts")
			}
			message := strings.ReplaceAll(err.Error(), relay.dir, "{dir}")
			wording.says(name, message[max(0, strings.LastIndex(message, "provision ")):]) // before it is what Caddy says
			if !strings.Contains(err.Error(), tc.about) || strings.Contains(err.Error(), "sk-literal") || leak(err.Error(), deskSecret, 12) {
				t.Errorf("says %v, want an error about %q", err, tc.about)
			}
		})
	}
}

// What waits for a body does not wait for one that was refused.
func TestMintRefusesBeforeTheBody(t *testing.T) {
	relay := startMinting(t, newUpstream(t, nil))
	start := "POST /mint HTTP/1.1\r\nHost: " + strings.TrimPrefix(relay.URL, "http://") + "\r\n"
	res, body := relay.send(start + "Expect: 100-continue\r\nContent-Length: 70000\r\n\r\n")
	wantRefusal(t, res, body, codeMintUnauthorized)
	if !res.Close {
		t.Error("the connection stays open for a body that does not come")
	}
	res, body = relay.send(start + "Authorization: bearer " + shopSecret + "\r\nContent-Length: 19\r\nConnection: close\r\n\r\n{\"provider\":\"demo\"}")
	if res.StatusCode != 200 {
		t.Errorf("got %d %s", res.StatusCode, body)
	}
}

// A relay that has not started says so, and asks nobody for a secret.
func TestMintBeforeStart(t *testing.T) {
	started := make(chan struct{})
	close(started)
	app := &App{started: started}
	e := &mintEndpoint{door: newDoor(app, nopLogger(), false), app: app, logger: nopLogger()}
	rec, r := newRecorder(), newServerRequest(t)
	e.ServeHTTP(rec, r)
	if rec.Code != 503 || !strings.Contains(rec.Body.String(), codeNotReady) || caddyhttp.GetVar(r.Context(), caddyhttp.LogSkipVar) != true {
		t.Errorf("got %d %s", rec.Code, rec.Body)
	}
}

// escaped writes every character of a text as JSON escapes it.
func escaped(text string) string {
	var b strings.Builder
	for i := range len(text) {
		fmt.Fprintf(&b, `\u%04x`, text[i])
	}
	return b.String()
}
