package relayapi

import (
	"net/http"
	"testing"

	"github.com/relayapi/caddy-relayapi/grant"
)

// The presets' routes hold for paths as they come, and an escaped path reaches
// the provider as it came.
func TestPathsOfPresets(t *testing.T) {
	up := newUpstream(t, nil)
	relay := startRelay(t, modelConfig(up.URL))
	const profile = "/model/arn%3Aaws%3Abedrock%3Aeu-west-1%3A1%3Aapplication-inference-profile%2Fabc"
	handshake := []func(*http.Request){
		withBody(http.NoBody, 0),
		header("Upgrade", "websocket"), header("Connection", "Upgrade"), header("Sec-Websocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
	}
	for name, tc := range map[string]struct {
		provider, method, target string
		edits                    []func(*http.Request)
		allow                    []string
		code                     string // "": passes
	}{
		"an inference profile":         {provider: "bedrock", method: "POST", target: profile + "/converse"},
		"and another call of it":       {provider: "bedrock", method: "POST", target: profile + "/invoke"},
		"with small letters":           {provider: "bedrock", method: "POST", target: "/model/a%2fb/converse-stream"},
		"narrowed alike":               {provider: "bedrock", method: "POST", target: profile + "/converse", allow: []string{"POST /model/*/converse"}},
		"narrowed to one segment":      {provider: "bedrock", method: "POST", target: profile + "/converse", allow: []string{"/model/{id}/converse"}, code: "path_not_permitted"},
		"dots behind the slash":        {provider: "bedrock", method: "POST", target: "/model/a%2F..%2Fb/converse", code: "invalid_request"},
		"escaped twice":                {provider: "bedrock", method: "POST", target: "/model/a%252Fb/converse", code: "invalid_request"},
		"out of the star":              {provider: "bedrock", method: "POST", target: "/model%2Fa/converse", code: "invalid_request"},
		"a slash where text is":        {provider: "openai", method: "POST", target: "/v1%2Fchat/completions", code: "invalid_request"},
		"a space behind dots":          {provider: "bedrock", method: "POST", target: "/model/..%20/converse", code: "invalid_request"},
		"an overlong dot":              {provider: "bedrock", method: "POST", target: "/model/%c0%ae%c0%ae/converse", code: "invalid_request"},
		"models":                       {provider: "openai", method: "GET", target: "/v1/models"},
		"stored responses":             {provider: "openai", method: "GET", target: "/v1/responses", code: "upgrade_required"},
		"a stored response":            {provider: "openai", method: "GET", target: "/v1/responses/resp_1", code: "path_not_permitted"},
		"a WebSocket that is not open": {provider: "anthropic", method: "GET", target: "/v1/messages", edits: handshake, code: "upgrade_not_permitted"},
	} {
		t.Run(name, func(t *testing.T) {
			before := len(up.requests())
			token := relay.mint(forProvider(tc.provider), allowing(grant.Allow{Paths: tc.allow}))
			edits := append([]func(*http.Request){bearer(token), asking(tc.method, tc.target)}, tc.edits...)
			res, body := relay.do(relay.request(edits...))
			sent := up.requests()[before:]
			switch {
			case tc.code != "":
				wantRefusal(t, res, body, tc.code)
				if len(sent) > 0 {
					t.Errorf("the provider received %s", sent[0].RequestURI)
				}
			case res.StatusCode != 200 || len(sent) != 1:
				t.Fatalf("got %d %s, and the provider %d requests", res.StatusCode, body, len(sent))
			case sent[0].RequestURI != tc.target:
				t.Errorf("the provider received %s, want %s", sent[0].RequestURI, tc.target)
			}
		})
	}
}
