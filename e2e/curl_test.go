package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// What a developer tries first.
func TestCurl(t *testing.T) {
	large := filepath.Join(t.TempDir(), "large.json")
	content := `{"model":"gpt-x","messages":[{"role":"user","content":"` + strings.Repeat("x", 2<<20) + `"}]}`
	if err := os.WriteFile(large, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	up := newUpstream(t, fakeProviders(t))
	relay := startRelay(t, up, "/api")
	token := relay.mint("openai")
	small := `{"model":"gpt-x","messages":[{"role":"user","content":"hello"}]}`
	chat, closed := relay.base("openai")+"/v1/chat/completions", relay.base("openai")+"/v1/files"
	for name, tc := range map[string]struct {
		args      []string
		want      string
		exit      int
		forwarded int
	}{
		"plain":      {[]string{"-H", "X-API-Token: " + token, "-d", small, chat}, "gpt-x got hello", 0, 1},
		"bearer":     {[]string{"-H", "Authorization: Bearer " + token, "-d", small, chat}, "gpt-x got hello", 0, 1},
		"large file": {[]string{"-H", "X-API-Token: " + token, "-d", "@" + large, chat}, "gpt-x got xxx", 0, 1},
		"stream": {[]string{"-N", "-H", "X-API-Token: " + token, "-d",
			`{"stream":true,"stream_options":{"include_usage":true},` + strings.TrimPrefix(small, "{"), chat}, "data: [DONE]\n", 0, 1},
		"closed path": {[]string{"-H", "X-API-Token: " + token, "-d", small, closed}, `"code":"path_not_permitted"`, 22, 0},
		"no token":    {[]string{"-d", small, chat}, `"code":"invalid_token"`, 22, 0},
	} {
		t.Run(name, func(t *testing.T) {
			before := len(up.requests())
			args := append([]string{"-q", "-sS", "--fail-with-body", "--noproxy", "*", "-m", "30", "-H", "Content-Type: application/json"}, tc.args...)
			cmd := exec.CommandContext(t.Context(), "curl", args...)
			out, err := cmd.Output()
			if cmd.ProcessState == nil {
				t.Fatal(err)
			}
			if exit := cmd.ProcessState.ExitCode(); exit != tc.exit || !strings.Contains(string(out), tc.want) {
				t.Errorf("curl ends with %d and %.300q, want %d and %q", exit, out, tc.exit, tc.want)
			}
			seen := up.requests()[before:]
			if len(seen) != tc.forwarded {
				t.Fatalf("the provider received %d requests, want %d", len(seen), tc.forwarded)
			}
			for _, got := range seen {
				checkPlacement(t, got, "openai", token)
			}
		})
	}
}
