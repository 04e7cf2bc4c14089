package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// The subjects: what is compared.
const (
	bare      = "bare"       // Caddy's reverse_proxy with a static key
	bareAgain = "bare again" // a second process of the same: what differs between these two is noise
	relay     = "relay"      // the same Caddy with a relay
	nginx     = "nginx"      // as a reference, where it is installed

	// relayAgain takes part where all are measured at the same time, and is not
	// compared. Without it, bare's code would run twice as often as the relay's, and
	// the processors' caches would hold more of it.
	relayAgain = "relay again"
)

func isRelay(name string) bool { return name == relay || name == relayAgain }

// subject is a proxy that is measured, in a process of its own.
type subject struct {
	*process
	plain, secure, admin string // addresses; nginx has no admin
	client               *http.Client
}

// setup is what all subjects of a run have in common.
type setup struct {
	caddy     string // the built binary
	cert, key string
	upstream  string // its address
	issuer    *issuer
}

// startSubject starts a subject in a directory of its own.
func (s *setup) startSubject(ctx context.Context, name, dir string, env []string) (*subject, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	sub := &subject{client: newClient()}
	names := map[string]string{"dir": dir, "cert": s.cert, "key": s.key, "upstream": s.upstream}
	for name, address := range map[string]*string{"plain": &sub.plain, "secure": &sub.secure, "admin": &sub.admin} {
		var err error
		if *address, err = freeAddr(); err != nil {
			return nil, err
		}
		names[name] = *address
	}
	var err error
	if name == nginx {
		sub.admin = ""
		sub.process, err = startNginx(ctx, dir, names)
	} else {
		sub.process, err = s.startCaddy(ctx, name, dir, env, names)
	}
	return sub, err
}

func (s *setup) startCaddy(ctx context.Context, name, dir string, env []string, names map[string]string) (*process, error) {
	parts := map[string]string{"relayapi": "", "site": bareSite}
	if isRelay(name) {
		parts = map[string]string{"relayapi": relayOption, "site": "relayapi"}
		if err := s.issuer.writeKeys(dir); err != nil {
			return nil, err
		}
	}
	file := filepath.Join(dir, "Caddyfile")
	if err := writeConfig(file, caddyfile, parts, names); err != nil {
		return nil, err
	}
	return start(ctx, name, dir, env, s.caddy, "run", "--adapter", "caddyfile", "--config", file)
}

func startNginx(ctx context.Context, dir string, names map[string]string) (*process, error) {
	program, err := exec.LookPath("nginx")
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "nginx.conf")
	if err := writeConfig(file, nginxConf, nil, names); err != nil {
		return nil, err
	}
	return start(ctx, nginx, dir, nil, program, "-e", "stderr", "-p", dir, "-c", file)
}

// newClient is a client that keeps its connections; to an https address it speaks
// HTTP/2.
func newClient() *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			MaxIdleConnsPerHost:   connections,
			DisableCompression:    true,
			ForceAttemptHTTP2:     true,
			ResponseHeaderTimeout: 30 * time.Second,
			TLSClientConfig:       &tls.Config{InsecureSkipVerify: true}, // of the bench's own certificate, on loopback
		},
	}
}

// memory is of what a Go process tells of its memory since its start.
type memory struct {
	Mallocs   uint64
	HeapAlloc uint64
}

// memory asks a Caddy for its memory, after a garbage collection if wanted.
func (s *subject) memory(ctx context.Context, collect bool) (memory, error) {
	if s.admin == "" {
		return memory{}, nil
	}
	if collect {
		if _, err := s.get(ctx, "/debug/pprof/heap?gc=1"); err != nil {
			return memory{}, err
		}
	}
	data, err := s.get(ctx, "/debug/vars")
	if err != nil {
		return memory{}, err
	}
	var vars struct{ Memstats memory }
	err = json.Unmarshal(data, &vars)
	return vars.Memstats, err
}

// get reads a path of a Caddy's admin endpoint.
func (s *subject) get(ctx context.Context, path string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, "GET", "http://"+s.admin+path, nil)
	if err != nil {
		return nil, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("the admin endpoint of %s answers %s to %s", s.name, res.Status, path)
	}
	return data, err
}

// meter measures what a subject uses for some work.
type meter struct {
	s       *subject
	cpu     time.Duration
	mallocs uint64
}

func (s *subject) meter(ctx context.Context) (*meter, error) {
	m, err := s.memory(ctx, false)
	if err != nil {
		return nil, err
	}
	cpu, err := s.cpu()
	return &meter{s, cpu, m.Mallocs}, err
}

// read adds what was used for each of n requests to the figures.
func (m *meter) read(ctx context.Context, n int64, f figures) error {
	cpu, err := m.s.cpu()
	if err != nil {
		return err
	}
	now, err := m.s.memory(ctx, false)
	if err != nil {
		return err
	}
	rss, err := m.s.rss()
	if err != nil {
		return err
	}
	f[cpuPer] = micros(cpu-m.cpu) / float64(n)
	if m.s.admin != "" {
		f[allocsPer] = float64(now.Mallocs-m.mallocs) / float64(n)
	}
	f[resident] = float64(rss) / (1 << 20)
	return nil
}
