package main

import (
	"context"
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

var knownToken = strings.Repeat("known-to-bare-Caddy-", 42) // what bare Caddys want instead of a token, and as long

// subject is what is called: a Caddy, or the provider itself.
type subject struct {
	name   string
	cmd    *exec.Cmd
	key    string                   // what it wants instead of tokens; "" means it is a relay
	admin  string                   // the URL of Caddy's admin endpoint; the provider has none
	urls   map[string]string        // by the protocol to the provider
	tokens map[string]func() string // likewise
}

// start starts a subject and warms it up.
func (b *bench) start(ctx context.Context, name string) (*subject, error) {
	s := &subject{name: name, cmd: b.provider, urls: b.urls, tokens: make(map[string]func() string)}
	s.key = map[string]string{direct: realKey, bare: knownToken, bareAgain: knownToken}[name]
	if name != direct {
		if err := b.startCaddy(ctx, s); err != nil {
			return nil, err
		}
	}

	for _, protocol := range protocols {
		deadline := time.Now().Add(15 * time.Second)
		err := b.warm(ctx, s, protocol)
		for ; err != nil && time.Now().Before(deadline); err = b.warm(ctx, s, protocol) {
			time.Sleep(20 * time.Millisecond) // Caddy is not up
		}
		if err != nil {
			s.stop()
			return nil, fmt.Errorf("warming up: %w", err)
		}
	}
	return s, nil
}

// warm mints the tokens for a protocol and uses them for a while.
func (b *bench) warm(ctx context.Context, s *subject, protocol string) (err error) {
	if s.tokens[protocol], err = s.mint(protocol, oneModel, 100); err == nil {
		_, err = saturate(ctx, b.caller(s, protocol, smallPath, s.tokens[protocol]), b.duration/4, math.MaxInt64)
	}
	return err
}

// startCaddy starts a Caddy with a site for each protocol to the provider.
func (b *bench) startCaddy(ctx context.Context, s *subject) error {
	home, err := os.MkdirTemp(b.dir, "caddy-")
	if err != nil {
		return err
	}
	addrs, err := freeAddrs(len(protocols) + 1)
	if err != nil {
		return err
	}
	s.admin, s.urls = "http://"+addrs[len(protocols)], make(map[string]string)
	env := []string{"HOME=" + home, "ADMIN=" + addrs[len(protocols)], "CA=" + b.ca, "KEY=" + realKey, "KNOWN=" + knownToken}
	for i, protocol := range protocols {
		s.urls[protocol] = "http://" + addrs[i]
		env = append(env, "SITE_"+protocol+"="+s.urls[protocol], "PROVIDER_"+protocol+"="+b.urls[protocol])
	}

	binary, config := b.caddy, "relay.Caddyfile"
	if s.key != "" {
		config = "bare.Caddyfile"
	} else if strings.HasPrefix(s.name, against) {
		binary = b.against
	}
	s.cmd, _, err = startProcess(ctx, env, binary, "run", "--adapter", "caddyfile", "--config", config)
	return err
}

// mint mints tokens and returns what takes one after the other, and begins again.
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

	server := httptest.NewUnstartedServer(nil) // for its certificate, which is the provider's too
	server.EnableHTTP2 = true
	server.StartTLS()
	server.Close()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(b.ca, ca, 0o600); err != nil {
		return err
	}
	b.client = server.Client()
	b.client.Transport.(*http.Transport).MaxIdleConnsPerHost = 4 * connections
	b.client.Transport.(*http.Transport).DisableCompression = true

	provider, out, err := startProcess(ctx, nil, "/proc/self/exe", providerCommand)
	if err != nil {
		return err
	}
	var h2, h1, plain string
	b.provider = provider
	if _, err := fmt.Fscan(out, &h2, &h1, &plain); err != nil {
		return fmt.Errorf("reading the provider's URLs: %w", err)
	}
	b.urls = map[string]string{overH2: h2, overH1: h1, overPlain: plain}
	return nil
}

// startProcess runs a command, and returns what it prints.
func startProcess(ctx context.Context, env []string, command string, args ...string) (*exec.Cmd, io.Reader, error) {
	cmd := exec.CommandContext(ctx, command, args...)
	cmd.Env, cmd.Stderr = env, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // no child outlives the bench
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return nil, nil, fmt.Errorf("starting %s: %w", command, err)
	}
	return cmd, out, nil
}

// stop kills a Caddy: nothing that it has is wanted. The provider ends with the bench.
func (s *subject) stop() {
	if s.admin != "" {
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
	}
}

// cpu is the CPU time of a subject, in nanoseconds: /proc has it in ten milliseconds.
func (s *subject) cpu() time.Duration {
	const sched = 2 // the clock of a process is made of its id and this, see clock_getcpuclockid(3)
	var used unix.Timespec
	_ = unix.ClockGettime(int32(^s.cmd.Process.Pid<<3|sched), &used) // fails if the process ended, as the next call will
	return time.Duration(used.Nano())
}

// rss is the resident memory of a subject in KiB.
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
