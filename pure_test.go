package relayapi

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/relayapi/caddy-relayapi/grant"
	"github.com/relayapi/caddy-relayapi/internal/carrier"
	"github.com/relayapi/caddy-relayapi/internal/realkey"
	"github.com/relayapi/caddy-relayapi/provider"
)

func TestCutProvider(t *testing.T) {
	for path, want := range map[string][2]string{
		"/api/openai/v1/x": {"openai", "/v1/x"},
		"/api/openai/":     {"openai", "/"},
		"/api/openai":      {},
		"/api//v1":         {},
		"/api":             {},
		"/apix/openai/v1":  {},
		"/v1/api/openai/x": {},
	} {
		name, rest, ok := cutProvider(path, "/api")
		if !ok {
			name, rest = "", ""
		}
		if got := [2]string{name, rest}; got != want {
			t.Errorf("cutProvider(%q) = %q, want %q", path, got, want)
		}
	}
}

// outgoingCall is a call to a provider with a key.
func outgoingCall(base string, at provider.Placement) *call {
	u, err := url.Parse(base)
	if err != nil {
		panic(err)
	}
	return &call{
		permit: &permit{provider: &Provider{base: u, credential: at}},
		target: target{key: realkey.New("sk-1", at, "a test's key", true)},
	}
}

func TestCall_OutgoingURL(t *testing.T) {
	inQuery := provider.Placement{Query: "key"}
	for _, tt := range []struct {
		base string
		at   provider.Placement
		in   string
		want string
	}{
		{"https://p.example", provider.Placement{Header: "X-Key"}, "http://relay/v1/x?a=1", "https://p.example/v1/x?a=1"},
		{"https://p.example:8443/base", provider.Placement{Header: "X-Key"}, "/v1/x", "https://p.example:8443/base/v1/x"},
		{"https://p.example", provider.Placement{Header: "X-Key"}, "/a%2Fb?x=%20", "https://p.example/a%2Fb?x=%20"},
		{"https://p.example/b%2Fc", provider.Placement{Header: "X-Key"}, "/a%2Fb", "https://p.example/b%2Fc/a%2Fb"},
		{"https://p.example", inQuery, "/v1/x", "https://p.example/v1/x?key=sk-1"},
		{"https://p.example", inQuery, "/v1/x?a=1", "https://p.example/v1/x?a=1&key=sk-1"},
		{"https://p.example", provider.Placement{Header: "X-Key"}, "http://u:p@relay/v1/x#f", "https://p.example/v1/x"},
	} {
		in, err := url.Parse(tt.in)
		if err != nil {
			t.Fatal(err)
		}
		if got := outgoingCall(tt.base, tt.at).outgoingURL(in).String(); got != tt.want {
			t.Errorf("outgoingURL(%q) with base %q = %q, want %q", tt.in, tt.base, got, tt.want)
		}
	}
}

func TestCall_OutgoingHeader(t *testing.T) {
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
	if got := outgoingCall("https://p.example", at).outgoingHeader(in); !maps.EqualFunc(got, want, slices.Equal) {
		t.Errorf("outgoingHeader = %v, want %v", slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)))
	}
	if !maps.EqualFunc(in, before, slices.Equal) {
		t.Error("outgoingHeader changed the request's header, which is logged")
	}
}

// The client is told about the shape of its token, and nothing about what it did not
// verify.
func TestTokenless(t *testing.T) {
	for _, tt := range []struct {
		found      carrier.Found
		code, says string // says is part of what the client reads
	}{
		{carrier.Found{Problem: "no token"}, string(grant.Invalid), ""},
		{carrier.Found{Problem: "a token in quotes", Misshapen: true}, string(grant.Invalid), "a token in quotes"},
		{carrier.Found{Problem: "a bad query", Malformed: true}, codeInvalidRequest, "a bad query"},
	} {
		got := tokenless(&tt.found)
		if got.code != tt.code || got.rule != tt.found.Problem {
			t.Errorf("tokenless(%q) = %v, want code %s", tt.found.Problem, got, tt.code)
		}
		if told := strings.Contains(got.error().Message, tt.found.Problem); told != (tt.says != "") {
			t.Errorf("%q: the client is told %t, want %t", tt.found.Problem, told, tt.says != "")
		}
	}
}
