package relayapi

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/relayapi/caddy-relayapi/internal/credential"
	"github.com/relayapi/caddy-relayapi/internal/realkey"
	"github.com/relayapi/caddy-relayapi/provider"
	"go.uber.org/zap"
)

// What is wrong with a provider is said when the relay starts, and in words
// that name what to write instead. No error quotes a key.
func TestProvisionProviderRefuses(t *testing.T) {
	wording := newGolden(t, "refusals/provider.golden")
	file := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(file, []byte("two words"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TEST_KEY", realKey)
	t.Setenv("TEST_KEY_AGAIN", realKey)
	t.Setenv("TEST_KEY_COLON", "a:"+realKey)
	t.Setenv("OPENAI_API_KEY", "")
	for name, tc := range map[string]struct {
		name  string
		p     Provider
		about string // is named
	}{
		"preset without its variable": {"openai", Provider{}, "{env.OPENAI_API_KEY}"},
		"variable that is not set":    {"openai", Provider{APIKeys: []string{"{env.NO_SUCH}"}}, "{env.NO_SUCH}"},
		"file that is not there":      {"openai", Provider{APIKeys: []string{"{file./no/such}"}}, "{file./no/such}"},
		"file with more than a key":   {"openai", Provider{APIKeys: []string{"{file." + file + "}"}}, "{file."},
		"literal key":                 {"openai", Provider{APIKeys: []string{realKey}}, "api_key"},
		"placeholder of another kind": {"openai", Provider{APIKeys: []string{"{http.request.header.X}"}}, "api_key"},
		"the same key twice":          {"openai", Provider{APIKeys: []string{"{env.TEST_KEY}", "{env.TEST_KEY_AGAIN}"}}, "{env.TEST_KEY_AGAIN}"},
		"keys and none":               {"openai", Provider{APIKeys: []string{"{env.TEST_KEY}"}, NoAPIKey: true}, "api_key"},
		"unknown preset":              {"x", Provider{Preset: "opnai"}, "did you mean openai?"},
		"neither preset nor place":    {"x", Provider{BaseURL: "https://x.example"}, `"x"`},
		"two places":                  {"x", Provider{BaseURL: "https://x.example", Credential: &Credential{Header: "a", Query: "b"}}, "credential"},
		"a header and basic":          {"x", Provider{BaseURL: "https://x.example", Credential: &Credential{Header: "a", Basic: true}}, "credential"},
		"no place":                    {"x", Provider{BaseURL: "https://x.example", Credential: &Credential{User: "a"}}, "credential"},
		"a user in a header":          {"x", Provider{BaseURL: "https://x.example", Credential: &Credential{Header: "a", User: "u"}}, "credential"},
		"a prefix in the query":       {"x", Provider{BaseURL: "https://x.example", Credential: &Credential{Query: "a", Prefix: "Bearer"}}, "credential"},
		"a user with a colon":         {"x", Provider{BaseURL: "https://x.example", Credential: &Credential{Basic: true, User: realKey + ":x"}}, "credential basic"},
		"a user that is not set":      {"x", Provider{BaseURL: "https://x.example", Credential: &Credential{Basic: true, User: "{env.NO_SUCH}"}}, "{env.NO_SUCH}"},
		"a user of two placeholders":  {"x", Provider{BaseURL: "https://x.example", Credential: &Credential{Basic: true, User: "{env.A}{env.B}"}}, "credential basic"},
		"a key with a colon as user":  {"x", Provider{BaseURL: "https://x.example", Credential: &Credential{Basic: true}, APIKeys: []string{"{env.TEST_KEY_COLON}"}}, "{env.TEST_KEY_COLON}"},
		"no base URL":                 {"openai-compatible", Provider{NoAPIKey: true}, "provider openai-compatible"},
		"no key for a custom one":     {"x", Provider{BaseURL: "https://x.example", Credential: &Credential{Header: "a"}}, "api_key"},
		"no account":                  {"azure-openai", Provider{}, "resource"},
		"account with a slash":        {"azure-openai", Provider{Preset: "azure-openai", Accounts: []string{"evil.example/"}}, `account "evil.example/"`},
		"another scheme":              {"openai", Provider{BaseURL: "ftp://x.example"}, "base URL"},
		"user in the base URL":        {"openai", Provider{BaseURL: "https://a:b@x.example"}, "base URL"},
		"query in the base URL":       {"openai", Provider{BaseURL: "https://x.example?a"}, "base URL"},
		"a header with a colon":       {"x", Provider{BaseURL: "https://x.example", Credential: &Credential{Header: "X-Key:"}}, "credential"},
		"a prefix with a new line":    {"x", Provider{BaseURL: "https://x.example", Credential: &Credential{Header: "X-Key", Prefix: "a\nb"}}, "credential"},
		"base URL as SDKs have it":    {"openai", Provider{BaseURL: "https://x.example/v1/", APIKeys: []string{"{env.TEST_KEY}"}}, "/v1/v1"},
		"a cloud's and a header":      {"x", Provider{BaseURL: "https://x.example", Credential: &Credential{Header: "a", Cloud: credential.Cloud{Entra: new(credential.Entra)}}}, "credential"},
		"a cloud's and a key":         {"x", Provider{BaseURL: "https://x.example", APIKeys: []string{"{env.TEST_KEY}"}, Credential: &Credential{Cloud: credential.Cloud{Entra: new(credential.Entra)}}}, "api_key"},
		"a cloud's without a region":  {"x", Provider{BaseURL: "https://x.example", Credential: &Credential{Cloud: credential.Cloud{AWS: new(credential.AWS)}}}, "region"},
		"a literal key of a cloud":    {"x", Provider{BaseURL: "https://x.example", Credential: &Credential{Cloud: credential.Cloud{AWS: &credential.AWS{Region: "r", Service: "s", AccessKey: []string{realKey, realKey}}}}}, "access_key"},
		"paths without an account":    {"vertex", Provider{Preset: "vertex", BaseURL: "https://x.example", NoAPIKey: true}, "project"},
		"bad path":                    {"openai", Provider{APIKeys: []string{"{env.TEST_KEY}"}, Paths: []string{"x"}}, `"x"`},
	} {
		t.Run(name, func(t *testing.T) {
			err := tc.p.provision(tc.name, zap.NewNop())
			if err == nil {
				t.Fatal("it provisions")
			}
			wording.says(name, strings.ReplaceAll(err.Error(), file, "{dir}/key"))
			if !strings.Contains(err.Error(), tc.about) {
				t.Errorf("says %v, want an error about %q", err, tc.about)
			}
			if leak(err.Error(), realKey, realkey.PieceSize) {
				t.Error("quotes the key")
			}
		})
	}
}

func TestProvisionProvider(t *testing.T) {
	t.Setenv("TEST_KEY", realKey)
	for name, tc := range map[string]struct {
		name            string
		p               Provider
		base, dial, key string
	}{
		"preset":                    {"openai", Provider{APIKeys: []string{"{env.TEST_KEY}"}}, "https://api.openai.com", "api.openai.com:443", realKey},
		"preset elsewhere":          {"openai", Provider{BaseURL: "http://127.0.0.1:9/x/", APIKeys: []string{"{env.TEST_KEY}"}}, "http://127.0.0.1:9/x", "127.0.0.1:9", realKey},
		"preset by another name":    {"mine", Provider{Preset: "openai", NoAPIKey: true}, "https://api.openai.com", "api.openai.com:443", ""},
		"account in the base URL":   {"azure", Provider{Preset: "azure-openai", Accounts: []string{"res"}, NoAPIKey: true}, "https://res.openai.azure.com", "res.openai.azure.com:443", ""},
		"one that needs no key":     {"ollama", Provider{}, "http://127.0.0.1:11434", "127.0.0.1:11434", ""},
		"IPv6":                      {"openai", Provider{BaseURL: "http://[::1]", NoAPIKey: true}, "http://[::1]", "[::1]:80", ""},
		"custom":                    {"x", Provider{BaseURL: "https://x.example", Credential: &Credential{Header: "x-key"}, NoAPIKey: true}, "https://x.example", "x.example:443", ""},
		"preset with other account": {"openai", Provider{BaseURL: "https://[2001:db8::1]:8443", NoAPIKey: true}, "https://[2001:db8::1]:8443", "[2001:db8::1]:8443", ""},
	} {
		t.Run(name, func(t *testing.T) {
			if err := tc.p.provision(tc.name, zap.NewNop()); err != nil {
				t.Fatal(err)
			}
			if tc.p.base.String() != tc.base || tc.p.dial != tc.dial || pick(t, tc.p.keys).In(tc.key) != (tc.key != "") {
				t.Errorf("base %s, dial %s", tc.p.base, tc.p.dial)
			}
		})
	}
}

// Every preset provisions with nothing but its accounts and a key.
func TestEveryPresetProvisions(t *testing.T) {
	t.Setenv("TEST_KEY", realKey)
	for _, preset := range provider.All() {
		p := Provider{Preset: preset.Name, APIKeys: []string{"{env.TEST_KEY}"}}
		for range preset.Accounts {
			p.Accounts = append(p.Accounts, "mine-1")
		}
		if preset.BaseURL == "" {
			p.BaseURL = "https://x.example"
		}
		if err := p.provision("x", zap.NewNop()); err != nil {
			t.Errorf("%s: %v", preset.Name, err)
		}
	}
}

// One line in a Caddyfile and a variable in the environment are a relay.
func TestProvidersFromEnvironment(t *testing.T) {
	for _, preset := range provider.All() {
		if preset.Env != "" {
			t.Setenv(preset.Env, "")
		}
	}
	relay := newTestRelay(t)
	oneLine := simple("", quiet, func(c *testConfig) { c.keys, c.grants, c.provider = "", "", "" })
	if err := relay.tryLoad(oneLine); err == nil || !strings.Contains(err.Error(), "no provider") {
		t.Errorf("without any variable: %v", err)
	}
	t.Setenv("OPENAI_API_KEY", realKey)
	t.Setenv("GEMINI_API_KEY", realKey)
	relay.load(oneLine)
	if !relay.logged("relay is ready", `"providers":["gemini","openai"]`) {
		t.Errorf("the log is %s", relay.log())
	}
	res, body := relay.do(relay.request())
	wantRefusal(t, res, body, "invalid_token")
}

// pick returns a key of a pool that has static ones.
func pick(t *testing.T, pool *realkey.Pool) *realkey.Key {
	t.Helper()
	key, err := pool.Pick(t.Context(), epoch)
	if err != nil {
		t.Fatal(err)
	}
	return key
}
