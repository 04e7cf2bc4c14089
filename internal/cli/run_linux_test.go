package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/relayapi/caddy-relayapi/internal/adminapi"
	"golang.org/x/sys/unix"
)

// helperVariable makes this binary run a shell script as `run` does. Its value is the
// address of an admin endpoint.
const helperVariable = "RELAYAPI_TEST_RUN"

func TestMain(m *testing.M) {
	address, helps := os.LookupEnv(helperVariable)
	if !helps {
		os.Exit(m.Run())
	}
	l := &lease{address: address, warn: os.Stderr, tokens: []leased{{adminapi.Identity{Issuer: "relay", ID: "t1"}, "demo"}}}
	code, err := runProcess("/bin/sh", []string{"sh", "-c", os.Args[1]}, os.Environ(), l)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(99)
	}
	os.Exit(code)
}

// heartbeats is an admin endpoint that keeps the times to live of heartbeats.
type heartbeats struct {
	*httptest.Server
	mu   sync.Mutex
	ttls []string
}

func newHeartbeats(t *testing.T) *heartbeats {
	h := new(heartbeats)
	h.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body struct{ TTL string }
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			t.Error(err)
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		h.ttls = append(h.ttls, body.TTL)
		_, _ = io.WriteString(w, "{}")
	}))
	t.Cleanup(h.Close)
	return h
}

func (h *heartbeats) got() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return strings.Join(h.ttls, " ")
}

// terminal is a terminal in which a helper runs.
type terminal struct {
	t      *testing.T
	master *os.File
	pid    int

	mu     sync.Mutex
	output bytes.Buffer
}

// startIn runs a script in a terminal, as a shell starts a job. With output, standard
// output is that file, as in a pipeline.
func startIn(t *testing.T, address, script string, output *os.File) *terminal {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { master.Close() })
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer slave.Close()

	cmd := exec.Command(os.Args[0], script)
	cmd.Env = append(os.Environ(), helperVariable+"="+strings.TrimPrefix(address, "http://"), "GORACE=atexit_sleep_ms=0")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	if output != nil {
		cmd.Stdout = output
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	term := &terminal{t: t, master: master, pid: cmd.Process.Pid}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	go func() {
		for buf := make([]byte, 1<<10); ; {
			n, err := master.Read(buf)
			term.mu.Lock()
			term.output.Write(buf[:n])
			term.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	return term
}

func (term *terminal) shows() string {
	term.mu.Lock()
	defer term.mu.Unlock()
	return term.output.String()
}

func poll(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !condition(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited 10 s: %s", what)
		}
	}
}

func (term *terminal) waitFor(text string) {
	term.t.Helper()
	poll(term.t, "the terminal does not show "+text, func() bool { return strings.Contains(term.shows(), text) })
}

func (term *terminal) press(key string) {
	term.t.Helper()
	if _, err := io.WriteString(term.master, key); err != nil {
		term.t.Fatal(err)
	}
}

// status waits until the helper ends or stops.
func (term *terminal) status() unix.WaitStatus {
	term.t.Helper()
	var status unix.WaitStatus
	poll(term.t, "the command neither ends nor stops", func() bool {
		pid, err := unix.Wait4(term.pid, &status, unix.WUNTRACED|unix.WNOHANG, nil)
		if err != nil && err != unix.EINTR {
			term.t.Fatal(err)
		}
		return pid == term.pid
	})
	return status
}

const (
	ctrlC = "\x03"
	ctrlZ = "\x1a"

	// traps tells each SIGINT, and ends when the file $END is there.
	traps = `trap "echo got" INT; echo ready; while ! test -e "$END"; do sleep 0.02; done; exit 5`
)

func TestRunProcess_GetsCtrlCOnce(t *testing.T) {
	for _, name := range []string{"terminal", "pipeline"} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			t.Setenv("END", filepath.Join(dir, "end"))
			var file *os.File
			if name == "pipeline" {
				var err error
				if file, err = os.Create(filepath.Join(dir, "output")); err != nil {
					t.Fatal(err)
				}
				defer file.Close()
			}
			term := startIn(t, newHeartbeats(t).URL, traps, file)
			output := func() string {
				if file == nil {
					return term.shows()
				}
				data, err := os.ReadFile(file.Name())
				if err != nil {
					t.Fatal(err)
				}
				return string(data)
			}

			poll(t, "the command does not start", func() bool { return strings.Contains(output(), "ready") })
			term.press(ctrlC)
			poll(t, "the command gets no signal", func() bool { return strings.Contains(output(), "got") })
			if err := os.WriteFile(os.Getenv("END"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			if status := term.status(); status.ExitStatus() != 5 {
				t.Errorf("ends with %d, want 5", status.ExitStatus())
			}
			if n := strings.Count(output(), "got"); n != 1 {
				t.Errorf("the command got %d signals, want 1", n)
			}
		})
	}
}

func TestRunProcess_TellsWhichSignalEndedIt(t *testing.T) {
	term := startIn(t, newHeartbeats(t).URL, "echo ready; exec sleep 60", nil)
	term.waitFor("ready")
	term.press(ctrlC)
	if status := term.status(); status.ExitStatus() != 130 {
		t.Errorf("ends with %d, want 130", status.ExitStatus())
	}
}

// A suspended command keeps its tokens. It has the terminal again when it goes on.
func TestRunProcess_IsSuspended(t *testing.T) {
	beats := newHeartbeats(t)
	term := startIn(t, beats.URL, `echo ready; read line; echo "read $line"; exit 6`, nil)
	term.waitFor("ready")
	term.press(ctrlZ)
	if status := term.status(); !status.Stopped() {
		t.Fatalf("ends with %d, want it stopped", status.ExitStatus())
	}
	if got := beats.got(); got != "24h0m0s" {
		t.Errorf("got heartbeats of %q, want one of 24h0m0s", got)
	}

	if err := unix.Kill(-term.pid, unix.SIGCONT); err != nil {
		t.Fatal(err)
	}
	term.press("again\n")
	term.waitFor("read again")
	if status := term.status(); status.ExitStatus() != 6 {
		t.Errorf("ends with %d, want 6", status.ExitStatus())
	}
	if got := beats.got(); got != "24h0m0s 4s" {
		t.Errorf("got heartbeats of %q, want those of 24h0m0s and 4s", got)
	}
}
