package e2e

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
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
	_ "github.com/caddyserver/caddy/v2/modules/standard"
	_ "github.com/relayapi/caddy-relayapi"
	"github.com/relayapi/caddy-relayapi/eccrypto"
	"github.com/relayapi/caddy-relayapi/grant"
)

// realKey is the key that only the provider may see. Its characters need
// escaping in a query, in JSON and in HTML.
const realKey = "sk-real/4f9b+c2d7e8a1&b3c5d9e7f2=a4b6"

// How many consecutive characters of a secret count as a leak.
const (
	keyPiece   = 8
	tokenPiece = 16
)

// caddyfile configures a relay with the presets of the three SDKs, all at one
// upstream. The log is at DEBUG so that leak checks see everything.
const caddyfile = `{
	admin off
	metrics
	auto_https disable_redirects
	skip_install_trust
	persist_config off
	storage file_system {dir}/caddy
	grace_period 2s
	log {
		level DEBUG
		output file {dir}/log
	}
	relayapi {
		store sqlite {dir}/relayapi.db
		private_key {dir}/relay.pem
		issuer backend {
			public_key {dir}/backend.pub.pem
			providers openai anthropic gemini
		}
		provider openai {upstream} {
			api_key {env.RELAYAPI_TEST_KEY}
		}
		provider anthropic {upstream} {
			api_key {env.RELAYAPI_TEST_KEY}
		}
		provider gemini {upstream} {
			api_key {env.RELAYAPI_TEST_KEY}
		}
	}
}
http://127.0.0.1:{port} {
	log
	relayapi {
		{prefix}
	}
}`

// relay is Caddy in this process, with a back-end that mints for it.
type relay struct {
	t         testing.TB
	upstream  *upstream
	url       string
	prefix    string // "" means the path passes unchanged
	dir       string // holds keys, store and log
	relayKey  *eccrypto.PrivateKey
	issuerKey *eccrypto.PrivateKey
	tokens    []string // all that were minted
}

// startRelay starts a relay in front of an upstream. When the test ends, the
// relay is stopped and everything that it wrote is searched for secrets.
func startRelay(t *testing.T, up *upstream, prefix string) *relay {
	t.Helper()
	r := &relay{t: t, upstream: up, prefix: prefix, dir: t.TempDir(), relayKey: newKey(t), issuerKey: newKey(t)}
	r.writeKeys()
	port := freePort(t)
	r.url = "http://127.0.0.1:" + port

	line := ""
	if prefix != "" {
		line = "prefix " + prefix
	}
	text := strings.NewReplacer("{dir}", r.dir, "{port}", port, "{upstream}", up.URL, "{prefix}", line).Replace(caddyfile)
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), map[string]any{"filename": "Caddyfile"})
	if err != nil {
		t.Fatalf("adapting the Caddyfile: %v", err)
	}
	t.Cleanup(r.stopClean)
	if err := caddy.Load(config, true); err != nil {
		t.Fatalf("starting the relay: %v", err)
	}
	return r
}

// base returns the base URL of a provider.
func (r *relay) base(provider string) string {
	if r.prefix == "" {
		return r.url
	}
	return r.url + r.prefix + "/" + provider
}

// stopClean stops the relay and fails the test if a piece of a secret is in its
// log, metrics or database, or a piece of a token in what the upstream received.
func (r *relay) stopClean() {
	r.t.Helper()
	metrics := metricsNow(r.t)
	if err := caddy.Stop(); err != nil {
		r.t.Errorf("stopping the relay: %v", err)
	}

	keys, tokens, whole := piecesOf(keyPiece, realKey), r.tokenPieces(), piecesOf(2*tokenPiece, r.tokens...)
	written := map[string]string{"log": r.log(), "metrics": metrics, "database": r.database()}
	for place, text := range written {
		if text == "" {
			r.t.Errorf("nothing was found to search in the %s", place)
		}
		if keys.in(text) || tokens.in(text) || place == "log" && whole.in(text) {
			r.t.Errorf("a piece of a secret is in the %s", place)
		}
	}
	for _, got := range r.upstream.requests() {
		if tokens.in(got.raw) || tokens.in(string(got.body)) {
			r.t.Errorf("a piece of a token is in the request for %s", got.URL.Path)
		}
	}
}

// metricsNow returns the metrics of the running Caddy.
func metricsNow(t testing.TB) string {
	t.Helper()
	ctx := caddy.ActiveContext()
	if ctx.Context == nil {
		return "" // nothing is running
	}
	families, err := ctx.GetMetricsRegistry().Gather()
	if err != nil {
		t.Errorf("gathering metrics: %v", err)
	}
	var all strings.Builder
	for _, family := range families {
		fmt.Fprintln(&all, family)
	}
	return all.String()
}

// log returns what the relay has logged so far.
func (r *relay) log() string {
	r.t.Helper()
	data, err := os.ReadFile(filepath.Join(r.dir, "log"))
	if err != nil {
		r.t.Errorf("reading the log: %v", err)
	}
	return string(data)
}

// database returns the bytes of the store.
func (r *relay) database() string {
	r.t.Helper()
	files, err := filepath.Glob(filepath.Join(r.dir, "relayapi.db*"))
	if err != nil {
		r.t.Fatal(err)
	}
	var all []byte
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			r.t.Errorf("reading the store: %v", err)
		}
		all = append(all, data...)
	}
	return string(all)
}

// refusals counts the refusals that the relay has logged.
func (r *relay) refusals() int { return strings.Count(r.log(), `"msg":"refused"`) }

// refusal makes a plain request, which the relay must refuse with a code, and
// returns the message of the refusal. The route is a method and a path.
func (r *relay) refusal(route, base, token, code string) string {
	r.t.Helper()
	method, path, _ := strings.Cut(route, " ")
	req, err := http.NewRequestWithContext(r.t.Context(), method, base+path, strings.NewReader("{}"))
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("X-API-Token", token)
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatalf("requesting %s: %v", route, err)
	}
	defer res.Body.Close()

	var body struct {
		Error struct {
			Code    any // a number in Google's form, which has ours in the details
			Message string
			Details []struct{ Reason string }
		}
	}
	if err := json.NewDecoder(res.Body).Decode(&body); err != nil {
		r.t.Fatalf("decoding the answer to %s: %v", route, err)
	}
	got := fmt.Sprint(body.Error.Code)
	if len(body.Error.Details) == 1 {
		got = body.Error.Details[0].Reason
	}
	if got != code || body.Error.Message == "" {
		r.t.Fatalf("%s is refused with %s and %q, want %s and a message", route, got, body.Error.Message, code)
	}
	return body.Error.Message
}

func (r *relay) writeKeys() {
	r.t.Helper()
	private, err := r.relayKey.MarshalPEM()
	if err != nil {
		r.t.Fatal(err)
	}
	public, err := r.issuerKey.Public().MarshalPEM()
	if err != nil {
		r.t.Fatal(err)
	}
	for name, data := range map[string][]byte{"relay.pem": private, "backend.pub.pem": public} {
		if err := os.WriteFile(filepath.Join(r.dir, name), data, 0o600); err != nil {
			r.t.Fatal(err)
		}
	}
}

// mint mints as the back-end: for an hour and one provider, changed by edits.
func (r *relay) mint(provider string, edits ...func(*grant.Claims)) string {
	r.t.Helper()
	now, id := time.Now(), rand.Text()
	c := &grant.Claims{
		Issuer: "backend", Subject: "user-1", Audience: grant.Audience(r.relayKey.Public().ID()), ID: id,
		IssuedAt: grant.NumericDate(now.Unix()), ExpiresAt: grant.NumericDate(now.Add(time.Hour).Unix()),
		Provider: provider,
	}
	for _, edit := range edits {
		edit(c)
	}
	claims, err := json.Marshal(c)
	if err != nil {
		r.t.Fatal(err)
	}
	token, err := eccrypto.Seal(claims, c.Issuer, r.issuerKey, r.relayKey.Public())
	if err != nil {
		r.t.Fatalf("sealing a token: %v", err)
	}
	r.tokens = append(r.tokens, token)
	return token
}

// tokenPieces returns the pieces of all tokens. What precedes a token's first dot
// is its header, which is no secret and alike in all of them.
func (r *relay) tokenPieces() pieces {
	var secrets []string
	for _, token := range r.tokens {
		_, secret, _ := strings.Cut(token, ".")
		secrets = append(secrets, secret)
	}
	return piecesOf(tokenPiece, secrets...)
}

// pieces finds pieces of secrets in texts: all substrings of one length.
type pieces struct {
	length int
	set    map[string]bool
}

func piecesOf(length int, secrets ...string) pieces {
	p := pieces{length, make(map[string]bool)}
	for _, secret := range secrets {
		for i := 0; i+length <= len(secret); i++ {
			p.set[secret[i:i+length]] = true
		}
	}
	return p
}

func (p pieces) in(text string) bool {
	for i := 0; i+p.length <= len(text); i++ {
		if p.set[text[i:i+p.length]] {
			return true
		}
	}
	return false
}

func newKey(t testing.TB) *eccrypto.PrivateKey {
	t.Helper()
	key, err := eccrypto.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	return key
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

// received is a request as the upstream saw it.
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

func newUpstream(t *testing.T, respond http.HandlerFunc) *upstream {
	t.Helper()
	t.Setenv("RELAYAPI_TEST_KEY", realKey)
	u := new(upstream)
	u.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u.keep(r)
		respond(w, r)
	}))
	t.Cleanup(u.Close)
	return u
}

// keep records a request, whose body can still be read afterwards.
func (u *upstream) keep(r *http.Request) {
	var raw bytes.Buffer
	raw.WriteString(r.Method + " " + r.RequestURI + "\n")
	_ = r.Header.Write(&raw) // a buffer takes everything
	body, err := io.ReadAll(r.Body)
	r.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(body), failing{err}), r.Body}

	u.mu.Lock()
	defer u.mu.Unlock()
	u.seen = append(u.seen, received{r, raw.String(), body})
}

// failing is a reader that ends in an error; nil means the end of the body.
type failing struct{ err error }

func (f failing) Read([]byte) (int, error) {
	if f.err == nil {
		return 0, io.EOF
	}
	return 0, f.err
}

func (u *upstream) requests() []received {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Clone(u.seen)
}

// checkPlacement checks that the provider received its key where it reads it,
// and in no other place, and nothing of the token.
func checkPlacement(t *testing.T, got received, provider, token string) {
	t.Helper()
	place, value := "Authorization", "Bearer "+realKey
	switch provider {
	case "anthropic":
		place, value = "X-Api-Key", realKey
	case "gemini":
		place, value = "X-Goog-Api-Key", realKey
	}
	for _, name := range []string{"Authorization", "X-Api-Token", "X-Api-Key", "X-Goog-Api-Key", "Api-Key"} {
		want := []string(nil)
		if name == place {
			want = []string{value}
		}
		if !slices.Equal(got.Header.Values(name), want) {
			t.Errorf("the provider received %s %d times, or with another value than the key's, want %d", name, len(got.Header.Values(name)), len(want))
		}
	}
	if n := strings.Count(got.raw, realKey); n != 1 {
		t.Errorf("the provider received the key %d times, want 1", n)
	}
	if piecesOf(tokenPiece, token).in(got.raw) {
		t.Error("the provider received a piece of the token")
	}
}

// TestPieces checks that the search for secrets finds what it is for.
func TestPieces(t *testing.T) {
	p := piecesOf(keyPiece, realKey)
	for text, want := range map[string]bool{
		"":                       false,
		realKey[3:10]:            false,
		"x" + realKey[5:13]:      true,
		realKey[len(realKey)-8:]: true,
		"- " + realKey + " -":    true,
	} {
		if got := p.in(text); got != want {
			t.Errorf("in %d characters a piece is found: %t, want %t", len(text), got, want)
		}
	}
}
