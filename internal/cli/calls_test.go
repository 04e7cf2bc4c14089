package cli

import (
	"strings"
	"testing"
	"time"

	"github.com/relayapi/caddy-relayapi/internal/adminapi"
)

func TestPrintCalls_TellsWhoseTheyAreAndHowFar(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	call := func(id string, ago time.Duration) adminapi.Call {
		return adminapi.Call{ID: id, Issuer: "relay", TokenID: "t", Provider: "openai", Since: now.Add(-ago)}
	}
	waiting, stream, socket := call("a1", 999*time.Millisecond), call("a2", 90*time.Second), call("a3", 2*time.Hour)
	stream.Status, stream.Subject, stream.Model, stream.BytesIn, stream.BytesOut = 200, "alice", "gpt-x", 12, 3456
	socket.WebSocket, socket.Status = true, 101

	var out strings.Builder
	if err := printCalls(&out, []adminapi.Call{waiting, stream, socket}, now); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"ID TOKEN SUBJECT PROVIDER MODEL STATE LASTS BYTES IN BYTES OUT",
		"a1 relay/t - openai - waiting 0s 0 0",
		"a2 relay/t alice openai gpt-x answering 1m30s 12 3456",
		"a3 relay/t - openai - websocket 2h0m0s 0 0",
	}
	for i, line := range strings.Split(strings.TrimSpace(out.String()), "\n") {
		if got := strings.Join(strings.Fields(line), " "); i >= len(want) || got != want[i] {
			t.Errorf("line %d: got %q, want one of %q", i, got, want)
		}
	}
}
