package telemetry

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

// source is a call that tells what it is told to.
type source func() Call

func (s source) Describe(*http.Request) Call { return s() }

// with returns a request as Caddy's server hands it on.
func with(repl *caddy.Replacer) *http.Request {
	return to(context.WithValue(context.Background(), caddy.ReplacerCtxKey, repl), "/v1/chat/completions")
}

func TestTrace_OffersPlaceholders(t *testing.T) {
	token := "eyJhbGciOiJFQ0RILUVTIn0.." + strings.Repeat("aB3", 20)
	c := Call{
		TokenID: "t1", Issuer: "backend", Provider: "demo", Error: "budget_exhausted",
		Subject: "alice " + token[30:50], Known: []string{token}, Answered: always("m-2026"),
	}
	repl := caddy.NewEmptyReplacer()
	var call Trace
	call.Begin(source(func() Call { return c }), with(repl))

	get := func(key, want string, known bool) {
		t.Helper()
		if got, ok := repl.GetString(key); got != want || ok != known {
			t.Errorf("%s: got %q (known: %t), want %q (%t)", key, got, ok, want, known)
		}
	}
	get("http.auth.user.id", "t1", true)
	get("http.relayapi.token_id", "t1", true)
	get("http.relayapi.issuer", "backend", true)
	get("http.relayapi.subject", "alice ***", true)
	get("http.relayapi.provider", "demo", true)
	get("http.relayapi.error", "budget_exhausted", true)
	get("http.relayapi.model", "m-2026", true) // only the answer tells it so far
	get("http.relayapi.colour", "", false)
	get("http.relayapi", "", false)
	get("token_id", "", false)

	c.Asked = always("m")
	get("http.relayapi.model", "m", true)
	c.Asked = always("")
	get("http.relayapi.model", "m", true) // the body is gone, but not the name

	repl.Set("http.auth.user.id", "somebody")
	get("http.auth.user.id", "somebody", true)
}

func TestTrace_TellsNothingOfARequestWithoutAToken(t *testing.T) {
	repl := caddy.NewEmptyReplacer()
	var call Trace
	call.Begin(source(func() Call { return Call{} }), with(repl))
	for _, name := range []string{"token_id", "issuer", "subject", "provider", "model", "error"} {
		if got, ok := repl.GetString("http.relayapi." + name); got != "" || !ok {
			t.Errorf("%s: got %q (known: %t), want an empty value", name, got, ok)
		}
	}
	if got, ok := repl.GetString("http.auth.user.id"); ok {
		t.Errorf("the user is %q, want none", got)
	}
}

func TestTrace_CostsNothingWhereNobodyLooks(t *testing.T) {
	repl := caddy.NewEmptyReplacer()
	var call Trace
	call.Begin(source(func() Call {
		t.Error("the call is looked at")
		return Call{}
	}), with(repl))
	call.Admitted()
	call.End()
	repl.ReplaceAll("{http.request.uri} {http.error.message}", "")
	new(Trace).End() // of an endpoint
}

func TestName(t *testing.T) {
	secret := "a-secret-of-somebody-0123456789"
	for what, tc := range map[string]struct{ text, want string }{
		"a model":             {"gpt-5-2026-01-01", "gpt-5-2026-01-01"},
		"a token":             {"eyJhbGciOiJFQ0RILUVTIn0.." + strings.Repeat("aB3", 20), "***"},
		"a piece of a secret": {"gpt " + secret[3:25], "gpt ***"},
		"a long name":         {strings.Repeat("model-", 50), strings.Repeat("model-", 50)[:maxName]},
		"cut within a letter": {strings.Repeat("é", 100), strings.Repeat("é", maxName/2)},
		"a cut letter":        {"x" + strings.Repeat("é", 100), "x" + strings.Repeat("é", maxName/2-1)},
		"no UTF-8":            {"a\xffb", "ab"},
	} {
		if got := name(tc.text, secret); got != tc.want {
			t.Errorf("%s: got %q, want %q", what, got, tc.want)
		}
	}
}
