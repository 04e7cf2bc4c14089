package relayapi

import (
	"strings"
	"testing"

	"github.com/relayapi/caddy-relayapi/grant"
	"github.com/relayapi/caddy-relayapi/internal/redact"
)

// TestLikelyProvider has refusals that come before a token is known.
func TestLikelyProvider(t *testing.T) {
	one, two := &Provider{name: "one"}, &Provider{name: "two"}
	for name, tc := range map[string]struct {
		prefix, path string
		all          map[string]*Provider
		token        *Provider
		want         *Provider
		below        string
	}{
		"the only one":        {"", "/v1/x", map[string]*Provider{"one": one}, nil, one, "/v1/x"},
		"several":             {"", "/v1/x", map[string]*Provider{"one": one, "two": two}, nil, nil, "/v1/x"},
		"the path's":          {"/api", "/api/two/v1/x", map[string]*Provider{"one": one, "two": two}, nil, two, "/v1/x"},
		"an unknown one":      {"/api", "/api/three/v1/x", map[string]*Provider{"one": one}, nil, nil, "/v1/x"},
		"the token's":         {"", "/v1/x", map[string]*Provider{"one": one, "two": two}, two, two, "/v1/x"},
		"the token's, below":  {"/api", "/v1/x", map[string]*Provider{"one": one, "two": two}, two, two, "/v1/x"},
		"the token's, before": {"/api", "/api/two/v1/x", map[string]*Provider{"one": one, "two": two}, two, two, "/v1/x"},
	} {
		t.Run(name, func(t *testing.T) {
			h := &Handler{Prefix: tc.prefix, app: &App{Providers: tc.all}}
			c := new(call)
			if tc.token != nil {
				c.permit = &permit{provider: tc.token}
			}
			got, below := h.likelyProvider(c, incoming(t, uri(tc.path)))
			if got != tc.want || below != tc.below {
				t.Errorf("is %v with %s, want %v with %s", got, below, tc.want, tc.below)
			}
		})
	}
}

// TestRefusalHidesKnown has a rule that quotes a token that is only known from the
// request.
func TestRefusalHidesKnown(t *testing.T) {
	token := newToken(t)
	f := refuse(string(grant.NoModel), "the token does not allow the model "+token[300:330])
	if !leak(f.rule, token, redact.PieceSize) {
		t.Fatal("the piece is told by its shape, so this proves nothing")
	}
	hidden := f.hiding(token)
	if leak(hidden.rule+hidden.error().Message, token, redact.PieceSize) || !strings.HasSuffix(hidden.rule, "***") {
		t.Errorf("the rule is %s", redact.Text(hidden.rule, token))
	}
}
