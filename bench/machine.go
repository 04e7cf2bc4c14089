package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// machine is on what and with what was measured.
type machine struct {
	CPU       string `json:"cpu"`
	Cores     int    `json:"cores"`
	Kernel    string `json:"kernel"`
	Go        string `json:"go"`
	Caddy     string `json:"caddy"`
	Nginx     string `json:"nginx,omitempty"`
	Generator string `json:"generator"` // of closed loops of small requests
}

// thisMachine asks for the versions. Caddy's is the one that go.mod names.
func thisMachine(ctx context.Context, w *wrk) (*machine, error) {
	m := &machine{CPU: cpuModel(), Cores: runtime.NumCPU(), Go: runtime.Version()}
	kernel, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return nil, err
	}
	m.Kernel = strings.TrimSpace(string(kernel))
	out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Version}}", "github.com/caddyserver/caddy/v2").Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w", err)
	}
	m.Caddy = strings.TrimSpace(string(out))
	if out, err := exec.CommandContext(ctx, "nginx", "-v").CombinedOutput(); err == nil {
		_, version, _ := strings.Cut(strings.TrimSpace(string(out)), "nginx/")
		m.Nginx = version
	}
	m.Generator = "vegeta"
	if w != nil {
		m.Generator = "wrk"
	}
	return m, nil
}

func cpuModel() string {
	data, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(data)) {
		if name, model, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(model)
		}
	}
	return runtime.GOARCH
}

// buildCaddy builds Caddy with the module as it lies here.
func buildCaddy(ctx context.Context, dir string) (string, error) {
	program := filepath.Join(dir, "caddy")
	out, err := exec.CommandContext(ctx, "go", "build", "-o", program, "github.com/relayapi/caddy-relayapi/cmd/caddy").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("building Caddy: %w\n%s", err, out)
	}
	return program, nil
}
