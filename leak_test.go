package relayapi

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/relayapi/caddy-relayapi/grant"
	"github.com/relayapi/caddy-relayapi/internal/realkey"
)

// lockedBuffer is a buffer that a process writes to while it is read.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// With DEBUG logs and access logs on and no filter, neither a token nor a key
// shows in what the process prints, keeps or answers: whichever carrier holds
// the token, whatever the provider does with the key.
func TestNothingLeaks(t *testing.T) {
	// Each path makes the provider misbehave in another way with the key.
	up := newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/v1/refused":
			w.WriteHeader(401)
			fmt.Fprintf(w, `{"error":"Incorrect API key provided: %s"}`, realKey)
		case "/v1/quoted":
			w.WriteHeader(400)
			fmt.Fprintf(w, `{"error":"%s… and …%s"}`, realKey[:12], realKey[8:])
		case "/v1/header":
			w.Header().Set("X-Echo", realKey)
		case "/v1/broken":
			conn, _, _ := http.NewResponseController(w).Hijack()
			conn.Close()
		}
	})
	relay := newTestRelay(t)
	output := new(lockedBuffer)
	caddyfile := simple(up.URL, withOtherPlacements, func(c *testConfig) { c.logOutput = "stdout" })
	stop := startProcess(t, relay, relay.fill(caddyfile), output)

	var answers strings.Builder
	send := func(edits ...func(*http.Request)) {
		res, body := relay.do(relay.request(edits...))
		_ = res.Header.Write(&answers)
		answers.WriteString(body)
	}
	good := relay.mint(calls(1000))
	expired := relay.mint(func(c *grant.Claims) { c.IssuedAt, c.ExpiresAt = 1, 2 })
	for _, token := range []string{good, expired, good[:len(good)-8] + "AAAAAAAA"} {
		for _, put := range everyCarrier(token) {
			send(put)
		}
	}
	for _, path := range []string{"/v1/refused", "/v1/quoted", "/v1/header", "/v1/broken", "/v1/" + good, "/v1/%2e%2e/x?key=" + good, "/v1/x?key=" + good + "&a=%zz"} {
		send(header("X-Api-Token", good), asking("POST", path))
	}
	carried := relay.mint(func(c *grant.Claims) { c.APIKey = realKey + "-carried" })
	send(header("X-Api-Key", carried))

	if !eventually(func() bool { return strings.Count(output.String(), `"handled request"`) > 50 }) {
		t.Error("the access log has too few lines to tell")
	}
	stop()
	for _, want := range []string{`"upstream roundtrip"`, `"logger":"http.log.access`, `"logger":"http.handlers.relayapi.access"`} {
		if !strings.Contains(output.String(), want) {
			t.Errorf("the output has no %s, so it proves nothing", want)
		}
	}
	texts := map[string]string{"output": output.String(), "answers": answers.String()}
	for _, file := range []string{"relayapi.db", "relayapi.db-wal"} {
		if data, err := os.ReadFile(filepath.Join(relay.dir, file)); err == nil {
			texts[file] = string(data)
		}
	}
	if texts["relayapi.db"] == "" {
		t.Error("there is no database")
	}
	for where, text := range texts {
		for name, token := range map[string]string{"good": good, "expired": expired, "carrying": carried} {
			if leak(text, token, 16) {
				t.Errorf("a piece of the %s token is in the %s", name, where)
			}
		}
		if leak(text, realKey, realkey.PieceSize) {
			t.Errorf("a piece of the key is in the %s", where)
		}
	}
}

// startProcess runs Caddy as a process of its own until stop is called.
func startProcess(t *testing.T, relay *testRelay, caddyfile string, output *lockedBuffer) (stop func()) {
	t.Helper()
	file := filepath.Join(relay.dir, "Caddyfile")
	if err := os.WriteFile(file, []byte(caddyfile), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("caddy", "run", "--config", file) // TestMain has put it in the path
	cmd.Env = append(os.Environ(), "HOME="+relay.dir, "XDG_DATA_HOME="+relay.dir, "XDG_CONFIG_HOME="+relay.dir)
	cmd.Stdout, cmd.Stderr = output, output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var once sync.Once
	stop = func() {
		once.Do(func() {
			_ = cmd.Process.Signal(os.Interrupt)
			_ = cmd.Wait()
		})
	}
	t.Cleanup(stop)
	if !eventually(func() bool {
		res, err := http.Get(relay.URL + "/health")
		if err == nil {
			res.Body.Close()
		}
		return err == nil && res.StatusCode == 200
	}) {
		t.Fatalf("the process does not serve: %s", output)
	}
	return stop
}
