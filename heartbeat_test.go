package relayapi

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

// A token whose heartbeats stop is refused, and its calls are ended. The heartbeats of
// others go on, over a reload too.
func TestHeartbeat_RevokesWhatFallsSilent(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	up := newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v1/responses" {
			return
		}
		_, _ = w.Write([]byte("data: first\n\n"))
		_ = http.NewResponseController(w).Flush()
		select {
		case <-release:
		case <-r.Context().Done():
		}
	})
	relay := startRelay(t, simple(up.URL))
	silent, alive := relay.mint(id("silent")), relay.mint(id("alive"))

	stream, err := relay.client.Do(relay.request(bearer(silent), func(r *http.Request) { r.URL.Path = "/v1/responses" }))
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Body.Close()
	beat := func(id, ttl string, want int) {
		t.Helper()
		if w, answer := admin(t, http.MethodPut, "/relayapi/tokens/backend/"+id+"/heartbeat", `{"ttl":"`+ttl+`"}`); w.Code != want {
			t.Errorf("heartbeat of %s: got %d %v, want %d", id, w.Code, answer, want)
		}
	}
	beat("alive", "1h", 200)
	beat("silent", "1s", 200)
	relay.load(relay.lastConfig)

	refused := func(token string) bool {
		res, body := relay.do(relay.request(bearer(token)))
		return res.StatusCode == http.StatusUnauthorized && strings.Contains(body, "token_revoked")
	}
	if refused(alive) {
		t.Error("the token with heartbeats is refused, want it accepted")
	}
	if !eventually(func() bool { return refused(silent) }) {
		t.Error("the silent token is still accepted, want it refused")
	}
	beat("silent", "1s", http.StatusConflict)

	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = stream.Body.Read(make([]byte, 1<<10))
		_, _ = stream.Body.Read(make([]byte, 1<<10))
	}()
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Error("the stream of the silent token goes on, want it ended")
	}
}

func TestHeartbeat_Refuses(t *testing.T) {
	startRelay(t, simple(newUpstream(t, nil).URL))
	for _, tc := range []struct {
		method, path, body string
		status             int
	}{
		{http.MethodPut, "/relayapi/tokens/relay/t1/heartbeat", `{}`, 400},
		{http.MethodPut, "/relayapi/tokens/relay/t1/heartbeat", `{"ttl":"2d"}`, 400},
		{http.MethodPut, "/relayapi/tokens/relay/a%20b/heartbeat", `{"ttl":"4s"}`, 400},
		{http.MethodGet, "/relayapi/tokens/relay/t1/heartbeat", ``, 405},
	} {
		if w, answer := admin(t, tc.method, tc.path, tc.body); w.Code != tc.status || answer["error"] == nil {
			t.Errorf("%s %s with %s: got %d %v, want %d with an error", tc.method, tc.path, tc.body, w.Code, answer, tc.status)
		}
	}
}
