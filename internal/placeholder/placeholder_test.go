package placeholder

import (
	"os"
	"path/filepath"
	"testing"
)

func TestValue(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte("from a file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("RELAYAPI_TEST", " from the environment ")
	for text, tt := range map[string]struct {
		want string
		ok   bool
	}{
		"{env.RELAYAPI_TEST}":      {"from the environment", true},
		"{file." + file + "}":      {"from a file", true},
		"{env.RELAYAPI_TEST_NONE}": {"", true},
		"{http.request.header.X}":  {"", false},
		"x{env.RELAYAPI_TEST}":     {"", false},
		"{env.RELAYAPI_TEST}\n":    {"", false},
		"{env.{env.X}}":            {"", false},
		"literal":                  {"", false},
		"":                         {"", false},
	} {
		if got, ok := Value(text); got != tt.want || ok != tt.ok {
			t.Errorf("value of %q is %q, %t; want %q, %t", text, got, ok, tt.want, tt.ok)
		}
	}
	if got := Expand("/a/{env.RELAYAPI_TEST}/b"); got != "/a/ from the environment /b" {
		t.Errorf("the path expands to %q", got)
	}
}
