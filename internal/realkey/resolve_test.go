package realkey

import (
	"strings"
	"testing"

	"github.com/relayapi/caddy-relayapi/provider"
)

func TestResolve(t *testing.T) {
	values := map[string]string{"{env.A}": "sk-a", "{env.B}": "sk-b", "{env.SAME}": "sk-a", "{env.EMPTY}": "", "{env.TWO}": "sk a", "{env.COLON}": "user:sk-a"}
	resolve := func(ref string) (string, bool) {
		value, ok := values[ref]
		return value, ok
	}
	for name, tc := range map[string]struct {
		refs   []string
		asUser bool
		says   string // empty: all are taken
	}{
		"several":                {refs: []string{"{env.A}", "{env.B}"}},
		"a literal key":          {refs: []string{"sk-a"}, says: "api_key must be a placeholder"},
		"an empty one":           {refs: []string{"{env.EMPTY}"}, says: "{env.EMPTY} is not set or empty"},
		"two words":              {refs: []string{"{env.TWO}"}, says: "{env.TWO} must be one word"},
		"the same twice":         {refs: []string{"{env.A}", "{env.SAME}"}, says: "{env.SAME} has the same key"},
		"a colon":                {refs: []string{"{env.COLON}"}},
		"a colon in a user name": {refs: []string{"{env.COLON}"}, asUser: true, says: "{env.COLON} has a colon"},
	} {
		keys, err := Resolve(tc.refs, provider.Placement{Header: "X-Key"}, tc.asUser, resolve)
		switch {
		case tc.says == "" && (err != nil || len(keys) != len(tc.refs)):
			t.Errorf("%s: got %d keys, %v, want %d", name, len(keys), err, len(tc.refs))
		case tc.says != "" && (err == nil || !strings.Contains(err.Error(), tc.says)):
			t.Errorf("%s: got %v, want an error with %q", name, err, tc.says)
		case err != nil && strings.Contains(err.Error(), "sk-"):
			t.Errorf("%s: the error quotes a key", name)
		}
	}
}
