package relayapi

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
	"github.com/relayapi/caddy-relayapi/eccrypto"
	"github.com/relayapi/caddy-relayapi/grant"
	"github.com/relayapi/caddy-relayapi/internal/keyfile"
	"github.com/relayapi/caddy-relayapi/internal/mint"
	"go.uber.org/zap"
)

// realKey is the key that only the provider may see. Its characters need
// escaping in a query, in JSON and in HTML.
const realKey = "sk-real/4f9b+c2d7e8a1&b3c5d9e7f2=a4b6"

// testRelay is a relay in this process, with a back-end that mints for it.
type testRelay struct {
	t          testing.TB
	URL        string
	dir        string // holds keys, store and log
	port       string
	relayKey   *eccrypto.PrivateKey
	issuerKey  *eccrypto.PrivateKey
	client     *http.Client
	canary     *canary
	lastConfig string   // the Caddyfile that was loaded last, not filled in
	env        []string // of its processes, see [startNode]
}

// newTestRelay prepares a relay's keys; load starts it.
func newTestRelay(t *testing.T) *testRelay {
	t.Helper()
	r := &testRelay{t: t, dir: t.TempDir(), port: freePort(t), client: newClient(t)}
	r.URL = "http://127.0.0.1:" + r.port
	r.canary = canaryOf(t)
	r.client.Transport.(*http.Transport).DialContext = r.canary.dial
	t.Cleanup(func() {
		r.canary.collect(t, r.dir)
		r.canary.check(t, inAnswers, inLog, inMetrics, inDatabase)
	})
	r.relayKey, r.issuerKey = newKey(t), newKey(t)
	r.writeKeys("relay", r.relayKey)
	r.writeKeys("backend", r.issuerKey)
	return r
}

// startRelay starts a relay from a Caddyfile in which {port} and {dir} are filled in.
func startRelay(t *testing.T, caddyfile string) *testRelay {
	t.Helper()
	r := newTestRelay(t)
	r.load(caddyfile)
	return r
}

func (r *testRelay) load(caddyfile string) {
	r.t.Helper()
	if err := r.tryLoad(caddyfile); err != nil {
		r.t.Fatal(err)
	}
}

// tryLoad loads a config on a port of its own. On the same port, Linux would
// hand some connections to the servers of the config before, which close them.
func (r *testRelay) tryLoad(caddyfile string) error {
	before := *r
	if r.lastConfig != "" {
		r.port = freePort(r.t)
		r.URL = strings.Replace(r.URL, before.port, r.port, 1)
	}
	r.lastConfig = caddyfile
	config, err := adapt(r.fill(caddyfile))
	if err == nil {
		err = r.run(config)
	}
	if err != nil {
		r.port, r.URL = before.port, before.URL
	}
	return err
}

// run runs a JSON config.
func (r *testRelay) run(config []byte) error {
	r.t.Cleanup(func() {
		r.canary.gather()
		_ = caddy.Stop()
	})
	defer r.client.CloseIdleConnections() // the servers of the config before are gone
	return caddy.Load(config, true)
}

func (r *testRelay) fill(caddyfile string) string {
	return strings.NewReplacer("{port}", r.port, "{dir}", r.dir).Replace(caddyfile)
}

// replaceOnce replaces the first place where a text stands in s, and fails the test if
// there is none.
func replaceOnce(t testing.TB, s, old, new string) string {
	t.Helper()
	if !strings.Contains(s, old) {
		t.Fatalf("%q is not in what is edited:\n%s", old, s)
	}
	return strings.Replace(s, old, new, 1)
}

func adapt(caddyfile string) ([]byte, error) {
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(caddyfile), map[string]any{"filename": "Caddyfile"})
	return config, err
}

func (r *testRelay) writeKeys(name string, key *eccrypto.PrivateKey) {
	r.t.Helper()
	if err := keyfile.WritePair(r.dir, name, key); err != nil {
		r.t.Fatal(err)
	}
}

func newKey(t testing.TB) *eccrypto.PrivateKey {
	t.Helper()
	key, err := eccrypto.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// mint mints as the back-end: for an hour and provider demo, changed by edits.
func (r *testRelay) mint(edits ...func(*grant.Claims)) string {
	r.t.Helper()
	return r.mintAs("backend", edits...)
}

// mintAs mints as another issuer that has the back-end's key.
func (r *testRelay) mintAs(issuer string, edits ...func(*grant.Claims)) string {
	r.t.Helper()
	now := time.Now()
	c := &grant.Claims{Provider: "demo", Subject: "user-1", ExpiresAt: grant.NumericDate(now.Add(time.Hour).Unix())}
	for _, edit := range edits {
		if edit != nil {
			edit(c)
		}
	}
	m := &mint.Minter{Issuer: grant.Issuer{Name: issuer}, Signer: r.issuerKey, Recipient: r.relayKey.Public()}
	minted, err := m.Mint(c, now)
	if err != nil {
		r.t.Fatal(err)
	}
	r.canary.minted(minted.Token)
	return minted.Token
}

func calls(n int64) func(*grant.Claims) {
	return func(c *grant.Claims) { c.Limits = &grant.Limits{Calls: &n} }
}

func forProvider(name string) func(*grant.Claims) {
	return func(c *grant.Claims) { c.Provider = name }
}

func id(id string) func(*grant.Claims) { return func(c *grant.Claims) { c.ID = id } }

// seal seals claims as they are, for tokens that no minter makes.
func (r *testRelay) seal(claims string) string {
	r.t.Helper()
	token, err := eccrypto.Seal([]byte(claims), "backend", r.issuerKey, r.relayKey.Public())
	if err != nil {
		r.t.Fatal(err)
	}
	r.canary.minted(token)
	return token
}

// request makes a POST with a small JSON body; edits change it.
func (r *testRelay) request(edits ...func(*http.Request)) *http.Request {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), "POST", r.URL+"/v1/chat/completions", strings.NewReader(`{"model":"m"}`))
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	for _, edit := range edits {
		edit(req)
	}
	return req
}

func bearer(token string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }
}

func asking(method, pathAndQuery string) func(*http.Request) {
	return func(r *http.Request) {
		u, err := r.URL.Parse(pathAndQuery)
		if err != nil {
			panic(err)
		}
		r.Method, r.URL = method, u
	}
}

// do sends a request and reads the answer.
func (r *testRelay) do(req *http.Request) (*http.Response, string) {
	r.t.Helper()
	res, err := r.client.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	r.canary.answered(res, body)
	return res, string(body)
}

// refusalBody has what both the common form and Google's have of a refusal.
type refusalBody struct {
	Type  string
	Error struct {
		Type, Message string
		Code          any // the relay's, or Google's number
		Details       []struct{ Reason string }
	}
}

// wantRefusal checks that an answer is a refusal with a code, in the common form or
// in Google's.
func wantRefusal(t testing.TB, res *http.Response, body, code string) refusalBody {
	t.Helper()
	var got refusalBody
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		t.Errorf("got %d %s: %v", res.StatusCode, body, err)
	}
	said := got.Error.Code
	if len(got.Error.Details) == 1 {
		said = got.Error.Details[0].Reason
	}
	if said != code || res.StatusCode != answers[code].status {
		t.Errorf("got %d %s, want refusal %s", res.StatusCode, body, code)
	}
	return got
}

// log returns what the relay has logged so far.
func (r *testRelay) log() string {
	r.t.Helper()
	data, err := os.ReadFile(filepath.Join(r.dir, "log"))
	if err != nil {
		r.t.Fatal(err)
	}
	return string(data)
}

// logged waits until the log has a line with all of the texts: an access line
// is written after the client has its answer.
func (r *testRelay) logged(texts ...string) bool {
	r.t.Helper()
	return eventually(func() bool {
	lines:
		for line := range strings.Lines(r.log()) {
			for _, text := range texts {
				if !strings.Contains(line, text) {
					continue lines
				}
			}
			return true
		}
		return false
	})
}

// rules returns the broken rules of the refusals in the log so far.
func (r *testRelay) rules() []string {
	r.t.Helper()
	var rules []string
	for line := range strings.Lines(r.log()) {
		var entry struct{ Msg, Rule string }
		if strings.Contains(line, `"refused"`) && json.Unmarshal([]byte(line), &entry) == nil && entry.Msg == "refused" {
			rules = append(rules, entry.Rule)
		}
	}
	return rules
}

// eventually polls a condition for some seconds.
func eventually(condition func() bool) bool {
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if condition() {
			return true
		}
	}
	return false
}

func newClient(t testing.TB) *http.Client {
	transport := &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 64}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{
		Transport:     transport,
		Timeout:       30 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

func freePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// received is a request as a provider saw it.
type received struct {
	*http.Request
	raw  string // method, URI and headers in one text
	body []byte
}

// upstream is a provider that keeps what it received.
type upstream struct {
	*httptest.Server
	mu   sync.Mutex
	seen []received
}

// newUpstream starts a provider; respond may be nil.
func newUpstream(t *testing.T, respond http.HandlerFunc) *upstream {
	t.Helper()
	u := new(upstream)
	u.Server = httptest.NewServer(u.record(respond))
	t.Cleanup(func() {
		u.Close()
		c := canaryOf(t)
		for _, r := range u.requests() {
			c.wrote(inProvider, slices.Concat([]byte(r.raw), r.body, []byte("\n")))
		}
		c.check(t, inProvider)
	})
	return u
}

func (u *upstream) record(respond http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var raw bytes.Buffer
		raw.WriteString(r.Method + " " + r.RequestURI + "\n")
		_ = r.Header.Write(&raw)
		got := received{Request: r, raw: raw.String()}
		if respond == nil {
			got.body, _ = io.ReadAll(r.Body)
		}
		u.mu.Lock()
		u.seen = append(u.seen, got)
		u.mu.Unlock()
		if respond != nil {
			respond(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"ok":true}`)
	})
}

func (u *upstream) requests() []received {
	u.mu.Lock()
	defer u.mu.Unlock()
	return append([]received(nil), u.seen...)
}

// one returns the only request that the provider received.
func (u *upstream) one(t *testing.T) received {
	t.Helper()
	seen := u.requests()
	if len(seen) != 1 {
		t.Fatalf("the provider received %d requests, want 1", len(seen))
	}
	return seen[0]
}

// checkCredential checks that a request holds the real key exactly once, as a
// bearer, and nothing of the token.
func checkCredential(t *testing.T, got received, token string) {
	t.Helper()
	if auth := got.Header.Values("Authorization"); len(auth) != 1 || auth[0] != "Bearer "+realKey {
		t.Errorf("the provider received Authorization %d times, not the real key alone", len(auth))
	}
	if n := strings.Count(got.raw, realKey); n != 1 {
		t.Errorf("the provider received the key %d times", n)
	}
	if leaked := leak(got.raw+string(got.body), token, 16); leaked {
		t.Error("the provider received a piece of the token")
	}
}

// leak reports whether text holds size consecutive characters of secret.
func leak(text, secret string, size int) bool {
	for i := 0; i+size <= len(secret); i++ {
		if strings.Contains(text, secret[i:i+size]) {
			return true
		}
	}
	return false
}

func nopLogger() *zap.Logger { return zap.NewNop() }

func newRecorder() *httptest.ResponseRecorder { return httptest.NewRecorder() }

// newServerRequest makes a request as Caddy's server hands it to handlers.
func newServerRequest(t *testing.T) *http.Request {
	t.Helper()
	r := httptest.NewRequest("POST", "/v1/x", strings.NewReader("{}"))
	ctx := context.WithValue(r.Context(), caddyhttp.VarsCtxKey, make(map[string]any))
	return r.WithContext(ctx)
}

// epoch is a time for which nothing depends on the clock.
var epoch = time.Unix(0, 0)

// slow skips a test that takes seconds. CI runs it.
func slow(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("slow; run without -short")
	}
}
