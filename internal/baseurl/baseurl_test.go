package baseurl

import (
	"slices"
	"strings"
	"testing"

	"github.com/relayapi/caddy-relayapi/provider"
)

func TestParse(t *testing.T) {
	plain := provider.Preset{Name: "plain", BaseURL: "https://p.example/"}
	azure := provider.Preset{Name: "azure", BaseURL: "https://{resource}.p.example", Accounts: []string{"resource"}}
	for name, tc := range map[string]struct {
		preset   provider.Preset
		given    string
		accounts []string
		want     string // empty: it is refused
		says     string
	}{
		"of the preset":   {preset: plain, want: "https://p.example"},
		"of an account":   {preset: azure, accounts: []string{"mine"}, want: "https://mine.p.example"},
		"given":           {preset: azure, given: "http://10.0.0.1:8080/a%2Fb/", want: "http://10.0.0.1:8080/a%2Fb"},
		"none":            {says: "`provider x <base-url>`"},
		"no account":      {preset: azure, says: "`preset azure <resource>`"},
		"a bad account":   {preset: azure, accounts: []string{"a/b"}, says: `account "a/b"`},
		"another scheme":  {given: "ftp://p.example", says: "base URL must be"},
		"no host":         {given: "https:///v1", says: "base URL must be"},
		"with a user":     {given: "https://u:p@p.example", says: "must not have a user"},
		"with a query":    {given: "https://p.example?a=1", says: "must not have a user"},
		"with a fragment": {given: "https://p.example#a", says: "must not have a user"},
	} {
		u, err := Parse(tc.preset, "x", tc.given, tc.accounts)
		switch {
		case tc.want == "" && (err == nil || !strings.Contains(err.Error(), tc.says)):
			t.Errorf("%s: got %v, %v, want an error with %q", name, u, err, tc.says)
		case tc.want != "" && (err != nil || u.String() != tc.want):
			t.Errorf("%s: got %v, %v, want %s", name, u, err, tc.want)
		}
	}
}

func TestDialAndExposed(t *testing.T) {
	for base, want := range map[string]struct {
		dial    string
		exposed bool
	}{
		"https://p.example":      {"p.example:443", false},
		"http://p.example":       {"p.example:80", true},
		"http://p.example:8080":  {"p.example:8080", true},
		"http://localhost:11434": {"localhost:11434", false},
		"http://[::1]":           {"[::1]:80", false},
		"http://127.9.9.9":       {"127.9.9.9:80", false},
		"http://10.0.0.1":        {"10.0.0.1:80", true},
	} {
		u, err := Parse(provider.Preset{}, "x", base, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := Dial(u); got != want.dial {
			t.Errorf("Dial(%s) = %s, want %s", base, got, want.dial)
		}
		if got := Exposed(u); got != want.exposed {
			t.Errorf("Exposed(%s) = %t, want %t", base, got, want.exposed)
		}
	}
}

func TestStartsAll(t *testing.T) {
	for _, tc := range []struct {
		path   string
		routes []string
		want   bool
	}{
		{"/v1", []string{"POST /v1/chat", "/v1/models"}, true},
		{"/v1", []string{"POST /v1/chat", "/v2/models"}, false},
		{"/v1", []string{"/v10/chat"}, false},
		{"/v1", nil, false},
		{"", []string{"/v1/chat"}, false},
	} {
		if got := StartsAll(tc.path, tc.routes); got != tc.want {
			t.Errorf("StartsAll(%q, %q) = %t, want %t", tc.path, tc.routes, got, tc.want)
		}
	}
}

// The paths of a preset name the account of the config, and no other.
func TestRoutes_NameTheAccount(t *testing.T) {
	preset := provider.Preset{Name: "cloud", Accounts: []string{"project", "region"}, Routes: []string{"POST /{project}/{region}/{model}", "GET /models"}}
	got, err := Routes(preset, []string{"p1", "r1"})
	if want := []string{"POST /p1/r1/{model}", "GET /models"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
	for _, accounts := range [][]string{nil, {"p1"}, {"p1", "a/b"}, {"*", "r1"}} {
		if got, err := Routes(preset, accounts); err == nil || !strings.Contains(err.Error(), "preset cloud <project> <region>") {
			t.Errorf("%q: got %q, %v", accounts, got, err)
		}
	}
}
