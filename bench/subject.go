package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	_ "embed"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"text/template"
	"time"

	"golang.org/x/sys/unix"
)

// The names of subjects.
const (
	direct    = "direct" // the provider itself
	bare      = "bare"   // every ratio is to it
	bareAgain = "bare again"
	relay     = "relay"
	against   = "against"
	allPolicy = ", all policy" // after that of a relay
)

// All policy is everything that a token may be limited to, and nothing that refuses
// a call of the bench. The handshake of a WebSocket names no model.
const (
	anyModel = `"limits": {"calls": 100000000, "rpm": 1000000, "concurrency": 10000},
		"allow": {"paths": ["/v1/*"], "methods": ["GET", "POST"], "ips": ["127.0.0.0/8"]`
	oneModel = anyModel + `, "models": ["bench-*"]`
)

// knownToken is what bare Caddys want instead of a token.
const knownToken = "known-to-bare-caddy"

//go:embed Caddyfile.tmpl
var caddyfile string

// subject is what is called: a Caddy, or the provider itself.
type subject struct {
	name   string
	cmd    *exec.Cmd                // nil for the provider
	key    string                   // what it wants instead of tokens; "" means it is a relay
	admin  string                   // the URL of Caddy's admin endpoint
	urls   map[string]string        // by the protocol to the provider
	tokens map[string]func() string // likewise
	client *http.Client
}

// start starts a subject and warms it up.
func (b *bench) start(ctx context.Context, name string) (*subject, error) {
	s := &subject{name: name, urls: b.urls, tokens: make(map[string]func() string), client: b.client}
	s.key = map[string]string{direct: realKey, bare: knownToken, bareAgain: knownToken}[name]
	if name != direct {
		if err := b.startCaddy(ctx, s); err != nil {
			return nil, err
		}
	}

	for _, protocol := range protocols {
		err := s.warm(ctx, protocol, b.duration/4)
		for deadline := time.Now().Add(15 * time.Second); err != nil && time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
			err = s.warm(ctx, protocol, b.duration/4) // Caddy was not up
		}
		if err != nil {
			stop(s.cmd)
			return nil, fmt.Errorf("warming up: %w", err)
		}
	}
	return s, nil
}

// warm mints the tokens for a protocol and uses them for a while.
func (s *subject) warm(ctx context.Context, protocol string, d time.Duration) (err error) {
	if s.tokens[protocol], err = s.mint(protocol, oneModel, 100); err == nil {
		_, err = saturate(ctx, s.caller(protocol, smallPath, s.tokens[protocol]), d, math.MaxInt64)
	}
	return err
}

// startCaddy starts a Caddy with a site for each protocol to the provider.
func (b *bench) startCaddy(ctx context.Context, s *subject) error {
	dir, err := os.MkdirTemp(b.dir, "caddy-")
	if err != nil {
		return err
	}
	addrs, err := freeAddrs(len(protocols) + 1)
	if err != nil {
		return err
	}
	s.admin, s.urls, s.client = "http://"+addrs[len(protocols)], make(map[string]string), newClient(nil)
	for i, protocol := range protocols {
		s.urls[protocol] = "http://" + addrs[i]
	}

	file, err := os.Create(filepath.Join(dir, "Caddyfile"))
	if err != nil {
		return err
	}
	defer file.Close()
	err = template.Must(template.New("").Parse(caddyfile)).Execute(file, map[string]any{"Admin": addrs[len(protocols)], "Dir": dir, "CA": b.ca,
		"Relay": s.key == "", "Providers": b.urls, "Sites": s.urls, "Known": knownToken, "Key": realKey})
	if err != nil {
		return fmt.Errorf("writing the Caddyfile: %w", err)
	}
	binary := b.caddy
	if strings.HasPrefix(s.name, against) {
		binary = b.against
	}
	s.cmd, _, err = startProcess(ctx, dir, binary, "run", "--adapter", "caddyfile", "--config", file.Name())
	return err
}

// mint mints tokens for a protocol, with limits if the subject is measured with all
// policy, and returns what takes one after the other and begins again.
func (s *subject) mint(protocol, limits string, n int) (func() string, error) {
	if s.key != "" {
		return func() string { return s.key }, nil
	}
	claims := `{"provider": "` + protocol + `"}`
	if strings.HasSuffix(s.name, allPolicy) {
		claims = `{"provider": "` + protocol + `", ` + limits + `}}`
	}

	all := make([]string, n)
	for i := range all {
		res, err := http.Post(s.admin+"/relayapi/tokens", "application/json", strings.NewReader(claims))
		if err != nil {
			return nil, err
		}
		var minted struct{ Token string }
		err = json.NewDecoder(res.Body).Decode(&minted)
		res.Body.Close()
		if err != nil || minted.Token == "" {
			return nil, fmt.Errorf("the admin endpoint answers %s", res.Status)
		}
		all[i] = minted.Token
	}
	var next atomic.Int64
	return func() string { return all[int(next.Add(1)-1)%n] }, nil
}

// prepare builds Caddy and starts the provider, as a process of its own so that its
// CPU time is not the bench's.
func (b *bench) prepare(ctx context.Context) error {
	fmt.Fprintln(os.Stderr, "building Caddy with this module")
	b.caddy, b.ca = filepath.Join(b.dir, "caddy"), filepath.Join(b.dir, "ca.pem")
	if out, err := exec.CommandContext(ctx, "go", "build", "-C", "..", "-o", b.caddy, "./cmd/caddy").CombinedOutput(); err != nil {
		return fmt.Errorf("building Caddy; run the bench in its own directory: %w\n%s", err, out)
	}

	server := httptest.NewTLSServer(nil) // its certificate is the provider's too
	server.Close()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(b.ca, ca, 0o600); err != nil {
		return err
	}
	trusted := x509.NewCertPool()
	trusted.AddCert(server.Certificate())
	b.client, b.urls = newClient(trusted), make(map[string]string)

	self, err := os.Executable()
	if err != nil {
		return err
	}
	var out io.Reader
	if b.provider, out, err = startProcess(ctx, b.dir, self, providerCommand); err != nil {
		return err
	}
	for _, protocol := range protocols {
		var url string
		if _, err := fmt.Fscanln(out, &url); err != nil {
			return fmt.Errorf("reading the provider's URLs: %w", err)
		}
		b.urls[protocol] = url
	}
	return nil
}

// newClient is a client that keeps its connections; to a trusted https address it
// speaks HTTP/2 if that is offered.
func newClient(trusted *x509.CertPool) *http.Client {
	return &http.Client{Transport: &http.Transport{
		MaxIdleConnsPerHost: 4 * connections, DisableCompression: true, ForceAttemptHTTP2: true,
		TLSClientConfig: &tls.Config{RootCAs: trusted}, ResponseHeaderTimeout: 30 * time.Second,
	}}
}

// startProcess runs a command with a home of its own, and returns what it prints.
func startProcess(ctx context.Context, home, command string, args ...string) (*exec.Cmd, io.Reader, error) {
	cmd := exec.CommandContext(ctx, command, args...)
	cmd.Env, cmd.Stderr = []string{"HOME=" + home, "BENCH_KEY=" + realKey}, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // no child outlives the bench
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, nil, err
	}
	return cmd, out, cmd.Start()
}

// stop kills a process: all that it has is thrown away.
func stop(cmd *exec.Cmd) {
	if cmd != nil && cmd.Process != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
}

// cpu is the CPU time that a Caddy has used, in user and in kernel. /proc has it in
// hundredths of a second, in which thirty calls are made; this clock has nanoseconds.
func (s *subject) cpu() time.Duration {
	if s.cmd == nil {
		return 0
	}
	const sched = 2 // the clock of a process is made of its id and this, see clock_getcpuclockid(3)
	var used unix.Timespec
	_ = unix.ClockGettime(int32(^s.cmd.Process.Pid<<3|sched), &used) // fails if the process ended, as the next call will
	return time.Duration(used.Nano())
}

// rss is the resident memory of a Caddy in KiB.
func (s *subject) rss() (kib float64) {
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	_, _ = fmt.Sscan(rest, &kib)
	return kib
}

// freeAddrs returns loopback addresses on which nothing listens now.
func freeAddrs(n int) ([]string, error) {
	var addrs []string
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		addrs = append(addrs, l.Addr().String())
	}
	return addrs, nil
}
