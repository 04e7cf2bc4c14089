package relayapi

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/relayapi/caddy-relayapi/internal/keyfile"
	"github.com/relayapi/caddy-relayapi/internal/store"
	"go.uber.org/zap"
)

func TestReloadKeepsCounts(t *testing.T) {
	up := newUpstream(t, nil)
	relay := startRelay(t, simple(up.URL))
	token := relay.mint(calls(3))
	for i := range 3 {
		if res, body := relay.do(relay.request(bearer(token))); res.StatusCode != 200 {
			t.Fatalf("got %d %s", res.StatusCode, body)
		}
		relay.load(relay.lastConfig + strings.Repeat("\n", i))
	}
	res, body := relay.do(relay.request(bearer(token)))
	wantRefusal(t, res, body, "calls_exhausted")
}

func TestRestartKeepsCounts(t *testing.T) {
	up := newUpstream(t, nil)
	relay := startRelay(t, simple(up.URL))
	token := relay.mint(calls(1))
	relay.do(relay.request(bearer(token)))
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	relay.load(relay.lastConfig)
	res, body := relay.do(relay.request(bearer(token)))
	wantRefusal(t, res, body, "calls_exhausted")
}

// A config that fails, in whichever of its phases, leaves the running relay
// whole: it still has its keys, its store and its counts.
func TestFailedReloadLeavesTheRelayWhole(t *testing.T) {
	up := newUpstream(t, nil)
	for name, spoil := range map[string]option{
		"adapting":                   func(c *testConfig) { c.provider = "two words" },
		"provisioning":               func(c *testConfig) { c.apiKey = "{env.NOT_SET}" },
		"another app's provisioning": inSite(section("reverse_proxy /x localhost:1", "trusted_proxies nonsense")),
		// Another app takes an address that is in use; the relay may have started.
		"starting":           func(c *testConfig) { c.sites = up.URL + " {\n}\n" },
		"starting the relay": func(c *testConfig) { c.store = "{dir}/log/relayapi.db" },
	} {
		t.Run(name, func(t *testing.T) {
			relay := startRelay(t, simple(up.URL))
			token := relay.mint(calls(2))
			relay.do(relay.request(bearer(token)))
			good := relay.lastConfig
			if err := relay.tryLoad(simple(up.URL, spoil)); err == nil {
				t.Fatal("the config loads")
			}
			if res, body := relay.do(relay.request(bearer(token))); res.StatusCode != 200 {
				t.Errorf("after the failed reload: %d %s", res.StatusCode, body)
			}
			relay.load(good + "\n")
			res, body := relay.do(relay.request(bearer(token)))
			wantRefusal(t, res, body, "calls_exhausted")
		})
	}
}

// A stream that outlives its config settles in the store all the same, and the
// store closes when the last stream has ended.
func TestStreamOutlivesItsConfig(t *testing.T) {
	proceed, started := make(chan struct{}), make(chan struct{})
	up := newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "first ")
		_ = http.NewResponseController(w).Flush()
		close(started)
		<-proceed
		_, _ = io.WriteString(w, "last")
	})
	// The old servers wait for their requests only this long.
	relay := newTestRelay(t)
	relay.load(simple(up.URL, func(c *testConfig) { c.grace = "1ms" }))
	res, err := relay.client.Do(relay.request(bearer(relay.mint(calls(1)))))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	<-started
	path := filepath.Join(relay.dir, "relayapi.db")
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	if refs, _ := stores.References(path); refs != 1 {
		t.Errorf("the store has %d references while a stream is live", refs)
	}
	close(proceed)
	if body, err := io.ReadAll(res.Body); err != nil || string(body) != "first last" {
		t.Errorf("the stream ends with %q, %v", body, err)
	}
	if !eventually(func() bool { refs, open := stores.References(path); return !open && refs == 0 }) {
		t.Error("the store stays open")
	}
}

// A config that comes while the one before closes the store gets it.
func TestStoreIsOpenedAgainWhileItCloses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "relayapi.db")
	open := func() *ledger {
		l, err := acquireLedger(t.Context(), &store.Config{Path: path}, zap.NewNop())
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	for range 20 {
		old := open()
		closed := make(chan struct{})
		go func() { old.release(); close(closed) }()
		for old.uses.Count() > 0 {
			runtime.Gosched()
		}
		open().release()
		<-closed
	}
}

// A server that is closing takes requests for a while, over HTTP/2, and its config
// is cleaned up by then.
func TestLateRequestHoldsTheStore(t *testing.T) {
	up := newUpstream(t, nil)
	relay := startRelay(t, simple(up.URL))
	old := activeApp(t).ledger
	relay.load(relay.lastConfig + "\n")
	if !eventually(func() bool { return old.uses.Count() == 0 }) {
		t.Fatal("the config before holds the store")
	}
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			if !old.hold() {
				t.Error("a late request is refused")
				return
			}
			old.release()
		})
	}
	wg.Wait()
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	if !eventually(func() bool { _, open := stores.References(old.uses.Key); return !open }) {
		t.Fatal("the store stays open")
	}
	if old.hold() {
		t.Error("a store that is closed is held")
	}
	relay.load(relay.lastConfig)
	if old.hold() {
		t.Error("a store that was opened anew is taken for the one before")
	}
}

func TestMissingKeysAreMadeOnce(t *testing.T) {
	up := newUpstream(t, nil)
	config := simple(up.URL, func(c *testConfig) { c.keys = "" })
	relay := startRelay(t, config)
	before := relay.keyFiles()
	if len(before) != 4 {
		t.Fatalf("made %d key files", len(before))
	}
	relay.load(config + "\n")
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	relay.load(config)
	for name, content := range relay.keyFiles() {
		if before[name] != content {
			t.Errorf("%s has changed", name)
		}
	}
}

// A public key file that is missing or another key's is made anew: tokens that
// were minted for it would be refused.
func TestPublicKeyFileFollowsThePrivateOne(t *testing.T) {
	up := newUpstream(t, nil)
	config := simple(up.URL, func(c *testConfig) { c.keys = "" })
	for name, spoil := range map[string]func(*testRelay) error{
		"missing": func(r *testRelay) error { return os.Remove(keyfile.PublicPath(r.dir, keyfile.Encryption)) },
		"another key's": func(r *testRelay) error {
			return os.Rename(keyfile.PublicPath(r.dir, "backend"), keyfile.PublicPath(r.dir, keyfile.Encryption))
		},
	} {
		t.Run(name, func(t *testing.T) {
			relay := startRelay(t, config)
			before := relay.keyFiles()
			if err := caddy.Stop(); err != nil {
				t.Fatal(err)
			}
			backend, err := os.ReadFile(keyfile.PublicPath(relay.dir, "backend"))
			if err != nil {
				t.Fatal(err)
			}
			if err := spoil(relay); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(keyfile.PublicPath(relay.dir, "backend"), backend, 0o644); err != nil {
				t.Fatal(err)
			}
			relay.load(config)
			for name, content := range relay.keyFiles() {
				if before[name] != content {
					t.Errorf("%s has changed", name)
				}
			}
		})
	}
}

// keyFiles returns the relay's own key files, and checks their modes.
func (r *testRelay) keyFiles() map[string]string {
	r.t.Helper()
	files := make(map[string]string)
	for _, name := range []string{keyfile.Encryption, keyfile.Signing} {
		for _, file := range []string{keyfile.PrivatePath(r.dir, name), keyfile.PublicPath(r.dir, name)} {
			data, err := os.ReadFile(file)
			if err != nil {
				r.t.Fatal(err)
			}
			files[file] = string(data)
		}
		if info, _ := os.Stat(keyfile.PrivatePath(r.dir, name)); info.Mode().Perm() != 0o600 {
			r.t.Errorf("%s has mode %v", name, info.Mode())
		}
	}
	return files
}

// Whoever can write to a key file mints tokens.
func TestKeyFileModes(t *testing.T) {
	up := newUpstream(t, nil)
	relay := newTestRelay(t)
	file := keyfile.PrivatePath(relay.dir, "relay")
	chmod := func(file string, mode os.FileMode) {
		t.Helper()
		if err := os.Chmod(file, mode); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range []string{file, keyfile.PublicPath(relay.dir, "backend")} {
		chmod(file, 0o602)
		if err := relay.tryLoad(simple(up.URL)); err == nil || !strings.Contains(err.Error(), file+": everybody can write it") {
			t.Errorf("a world-writable %s: %v", file, err)
		}
		chmod(file, 0o644)
	}
	relay.load(simple(up.URL))
	if !relay.logged(`"warn"`, "everybody can read", file) {
		t.Error("no warning of a world-readable key")
	}
}

// A thousand clients go on through twenty reloads: every request is answered, and
// every limit is reached exactly. The relay listens on a unix socket, which Caddy
// hands on from config to config; of a TCP port, Linux hands some new connections
// to servers that are closing.
//
// A server of Go that is closing drops requests over HTTP/1.1 that it has read and
// not passed on, and Caddy's has no certificate any more for new connections over TLS,
// so clients try those again, as all SDKs do; they must not have been counted. Over
// HTTP/2 such a server goes on taking requests for a while.
func TestReloadsUnderLoad(t *testing.T) {
	slow(t)
	t.Run("HTTP/1.1", func(t *testing.T) { reloadsUnderLoad(t, false) })
	t.Run("HTTP/2", func(t *testing.T) { reloadsUnderLoad(t, true) })
}

func reloadsUnderLoad(t *testing.T, http2 bool) {
	const clients, connections, reloads = 1000, 100, 20
	up := newUpstream(t, nil)
	socket := filepath.Join(t.TempDir(), "relay.sock")
	relay := newTestRelay(t)
	config := simple(up.URL, quiet, inSite("bind unix/"+socket), func(c *testConfig) {
		c.logLevel = "ERROR"
		if http2 {
			c.address, relay.URL = "https://localhost:{port}", "https://localhost:"+relay.port
			inSite("tls internal")(c)
		}
	})
	relay.load(config)
	relay.client.Transport = &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
		MaxIdleConnsPerHost: clients, MaxConnsPerHost: connections,
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: http2,
	}
	limits := []int64{1, 7, 100, 2_100, 0} // 0: not limited, for load until the end
	tokens := make([]string, len(limits))
	admitted := make([]atomic.Int64, len(limits))
	for i, limit := range limits {
		tokens[i] = relay.mint()
		if limit > 0 {
			tokens[i] = relay.mint(calls(limit))
		}
	}
	var dropped atomic.Int64
	var done atomic.Bool
	var wg sync.WaitGroup
	for n := range clients {
		wg.Go(func() {
			for i := n % len(limits); ; i = (i + 1) % len(limits) {
				if done.Load() && admitted[3].Load() >= limits[3] || t.Failed() {
					return
				}
				res, err := relay.client.Do(relay.request(bearer(tokens[i])))
				if err != nil {
					dropped.Add(1)
					continue
				}
				body, err := io.ReadAll(res.Body)
				res.Body.Close()
				switch exhausted := strings.Contains(string(body), codeCallsExhausted); {
				case err != nil || res.StatusCode != 200 && !exhausted:
					t.Errorf("got %d %s, %v", res.StatusCode, body, err)
					return
				case !exhausted:
					admitted[i].Add(1)
				}
			}
		})
	}
	for i := range reloads { // while calls are in flight: after each further part of the longest limit
		for admitted[3].Load() < limits[3]*int64(i+1)/(reloads+1) && !t.Failed() {
			time.Sleep(time.Millisecond)
		}
		adapted, err := adapt(relay.fill(config + strings.Repeat("\n# again", i+1)))
		if err != nil {
			t.Fatal(err)
		}
		if err := caddy.Load(adapted, true); err != nil {
			t.Fatal(err)
		}
	}
	done.Store(true)
	wg.Wait()
	for i, limit := range limits {
		if n := admitted[i].Load(); limit > 0 && n != limit {
			t.Errorf("%d calls admitted, the limit is %d", n, limit)
		}
	}
	var all int64
	for i := range admitted {
		all += admitted[i].Load()
	}
	if n := int64(len(up.requests())); n != all {
		t.Errorf("%d calls reached the provider, %d were answered", n, all)
	}
	t.Logf("%d requests were answered, %d dropped by servers that were closing", all, dropped.Load())
	if n := dropped.Load(); n > connections*reloads {
		t.Errorf("%d requests were dropped: more than one for each connection to a server that was closing", n)
	}
}
