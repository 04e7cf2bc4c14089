package headers

import (
	"maps"
	"net/http"
	"slices"
	"testing"

	"github.com/relayapi/caddy-relayapi/internal/realkey"
	"github.com/relayapi/caddy-relayapi/provider"
)

func TestOutgoing(t *testing.T) {
	at := provider.Placement{Header: "X-Key"}
	in := http.Header{
		"X-Key": {"from the client"}, "x-key": {"in another spelling"}, "Authorization": {"Bearer x"}, "Cookie": {"a=b"},
		"X-Forwarded-For": {"192.0.2.1"}, "Origin": {"https://app.example"}, "Sec-Fetch-Mode": {"cors"}, "Via": {"1.1 x"},
		"Accept-Encoding": {"gzip"}, "Content-Type": {"application/json"}, "Idempotency-Key": {"i"}, "Sec-WebSocket-Key": {"k"},
	}
	before := maps.Clone(in)
	want := http.Header{
		"X-Key": {"sk-1"}, "Accept-Encoding": {"identity"}, "Content-Type": {"application/json"}, "idempotency-key": {"i"}, "Sec-WebSocket-Key": {"k"},
	}
	if got := Outgoing(in, realkey.New("sk-1", at, "a test's key", true), at.Header); !maps.EqualFunc(got, want, slices.Equal) {
		t.Errorf("Outgoing = %v, want %v", slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)))
	}
	if !maps.EqualFunc(in, before, slices.Equal) {
		t.Error("Outgoing changed the request's header, which is logged")
	}
}
