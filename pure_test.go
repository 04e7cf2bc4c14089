package relayapi

import (
	"strings"
	"testing"

	"github.com/relayapi/caddy-relayapi/grant"
	"github.com/relayapi/caddy-relayapi/internal/carrier"
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
