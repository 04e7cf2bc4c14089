//go:build unix

// Package pgtest gives tests a PostgreSQL server: the one that
// RELAYAPI_TEST_POSTGRES names, or else a server of its own from the PostgreSQL
// programs of this machine, on a Unix socket. Tests skip if there is neither.
package pgtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// Variable names the environment variable with the DSN of a server. Tests make
// schemas of their own in its database, and remove them.
const Variable = "RELAYAPI_TEST_POSTGRES"

// The servers of a test binary: the one for all tests, and the one that tests take
// away. They are started when they are needed. Nobody stops them: they end with this
// process.
var shared, faulty lazy

type lazy struct {
	mu     sync.Mutex
	server *Server
}

func (l *lazy) get(t testing.TB) *Server {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.server == nil {
		s, err := start("-c", "max_connections=300")
		must(t, err)
		l.server = s
	}
	return l.server
}

// DSN returns the DSN of an empty schema, which is removed after the test.
func DSN(t testing.TB) string {
	t.Helper()
	if dsn := os.Getenv(Variable); dsn != "" {
		return newSchema(t, dsn)
	}

	return newSchema(t, shared.get(t).DSN())
}

// newSchema makes a schema and returns the DSN that uses it.
func newSchema(t testing.TB, dsn string) string {
	t.Helper()
	name := fmt.Sprintf("test_%x", rand.Uint64())
	must(t, Exec(dsn, "CREATE SCHEMA "+name))
	t.Cleanup(func() {
		if err := Exec(dsn, "DROP SCHEMA "+name+" CASCADE"); err != nil {
			t.Errorf("removing schema: %v", err)
		}
	})

	if u, err := url.Parse(dsn); err == nil && u.Scheme != "" {
		q := u.Query()
		q.Set("search_path", name)
		u.RawQuery = q.Encode()
		return u.String()
	}
	return dsn + " search_path=" + name
}

// Exec runs statements.
func Exec(dsn, statement string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.PgConn().Exec(ctx, statement).ReadAll()
	return err
}

// Required names the environment variable that makes tests fail instead of skip if there
// is no server.
const Required = "RELAYAPI_TEST_POSTGRES_REQUIRED"

// must skips the test if the programs are missing, and fails it for other errors.
func must(t testing.TB, err error) {
	t.Helper()
	if errors.Is(err, errMissing) && os.Getenv(Required) == "" {
		t.Skipf("%v; set %s or install PostgreSQL", err, Variable)
	}
	if err != nil {
		t.Fatalf("PostgreSQL for tests: %v", err)
	}
}

var errMissing = errors.New("no PostgreSQL")

// Server is a throw-away server.
type Server struct {
	bin, dir string
	args     []string
	cmd      *exec.Cmd // a shell that waits for its standard input to end
	stdin    io.Closer
}

// turn is held by the test that uses the faulty server.
var turn sync.Mutex

// Faulty returns a running server of which a test may do what it likes, if it is
// running again when the test ends. Tests take turns.
func Faulty(t testing.TB) *Server {
	t.Helper()
	turn.Lock()
	t.Cleanup(turn.Unlock)
	return faulty.get(t)
}

func start(args ...string) (*Server, error) {
	bin, err := programs()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("/tmp", "pgtest") // a socket's path must be short
	if err != nil {
		return nil, err
	}
	s := &Server{bin: bin, dir: dir, args: args}
	if as := unprivileged(); as != nil {
		if err := os.Chown(dir, int(as.Uid), int(as.Gid)); err != nil {
			return nil, err
		}
	}

	initdb := s.command(filepath.Join(bin, "initdb"), "-D", s.data(), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync")
	if out, err := initdb.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w: %s", err, out)
	}
	return s, s.Run()
}

// programs finds the directory of initdb and postgres.
func programs() (string, error) {
	if path, err := exec.LookPath("initdb"); err == nil {
		return filepath.Dir(path), nil
	}
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if len(found) == 0 {
		return "", fmt.Errorf("%w: initdb was not found", errMissing)
	}
	slices.SortFunc(found, func(a, b string) int { return version(b) - version(a) })
	return filepath.Dir(found[0]), nil
}

func version(path string) int {
	n, _ := strconv.Atoi(strings.Split(path, "/")[4])
	return n
}

// unprivileged returns whom to run the server as: PostgreSQL refuses to run as root.
func unprivileged() *syscall.Credential {
	if os.Geteuid() != 0 {
		return nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		if u, err := user.Lookup(name); err == nil {
			uid, _ := strconv.Atoi(u.Uid)
			gid, _ := strconv.Atoi(u.Gid)
			return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		}
	}
	return nil
}

func (s *Server) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: unprivileged(), Setpgid: true}
	return cmd
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

// DSN returns the DSN of the server's database.
func (s *Server) DSN() string { return "host=" + s.dir + " user=postgres dbname=postgres" }

// NewSchema returns the DSN of an empty schema on this server.
func (s *Server) NewSchema(t testing.TB) string {
	t.Helper()
	name := fmt.Sprintf("test_%x", rand.Uint64())
	must(t, Exec(s.DSN(), "CREATE SCHEMA "+name))
	return s.DSN() + " search_path=" + name
}

// Run starts the server again. A shell holds it: when this process ends, however it
// ends, the shell's input ends, and the shell ends the server and removes its files.
func (s *Server) Run() error {
	// After a crash, the processes of the former server may take a moment to end. Until
	// then PostgreSQL refuses to start, so the shell tries again.
	script := `dir=$1; shift
for try in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
	"$@" >>"$dir/log" 2>&1 & pid=$!
	sleep 0.3
	kill -0 $pid 2>/dev/null && break
done
read -r keep; kill -QUIT $pid 2>/dev/null; wait $pid; [ "$keep" ] || rm -rf "$dir"`
	args := append([]string{"-c", script, "sh", s.dir, filepath.Join(s.bin, "postgres"), "-D", s.data(), "-k", s.dir, "-c", "listen_addresses="}, s.args...)
	s.cmd = s.command("/bin/sh", args...)
	stdin, err := s.cmd.StdinPipe()
	if err != nil {
		return err
	}
	s.stdin = stdin
	if err := s.cmd.Start(); err != nil {
		return err
	}

	for end := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if err = Exec(s.DSN(), "SELECT 1"); err == nil {
			return nil
		}
		if time.Now().After(end) {
			log, _ := os.ReadFile(filepath.Join(s.dir, "log"))
			return fmt.Errorf("server does not answer: %w: %s", err, log)
		}
	}
}

// Stop ends the server and keeps its files. [Server.Run] starts it again.
func (s *Server) Stop() {
	if s.cmd == nil {
		return
	}
	_, _ = io.WriteString(s.stdin.(io.Writer), "keep\n")
	_ = s.stdin.Close()
	_ = s.cmd.Wait()
	s.cmd = nil
}

// Kill kills the server with all its processes, as a crash does.
func (s *Server) Kill() {
	s.signal(syscall.SIGKILL)
	s.Stop()
}

// Pause stops all processes of the server until [Server.Continue], so that it
// accepts connections and does not answer.
func (s *Server) Pause() { s.signal(syscall.SIGSTOP) }

// Continue undoes [Server.Pause].
func (s *Server) Continue() { s.signal(syscall.SIGCONT) }

// signal sends a signal to the postmaster and its children, which are in process groups
// of their own. The postmaster is stopped first, so that it starts no other child.
func (s *Server) signal(sig syscall.Signal) {
	content, err := os.ReadFile(filepath.Join(s.data(), "postmaster.pid"))
	if err != nil {
		return
	}
	pid := strings.TrimSpace(strings.SplitN(string(content), "\n", 2)[0])
	postmaster, err := strconv.Atoi(pid)
	if err != nil {
		return
	}
	if sig != syscall.SIGCONT {
		_ = syscall.Kill(postmaster, syscall.SIGSTOP)
	}
	out, _ := exec.Command("ps", "-o", "pid=", "--ppid", pid).Output()
	for _, p := range strings.Fields(string(out)) {
		if n, err := strconv.Atoi(p); err == nil {
			_ = syscall.Kill(n, sig)
		}
	}
	_ = syscall.Kill(postmaster, sig)
}

// Failover makes the server what a promoted standby is: it has the same data and
// another timeline.
func (s *Server) Failover() error {
	s.Stop()
	signal := filepath.Join(s.data(), "standby.signal")
	if err := os.WriteFile(signal, nil, 0o666); err != nil {
		return err
	}
	if as := unprivileged(); as != nil {
		if err := os.Chown(signal, int(as.Uid), int(as.Gid)); err != nil {
			return err
		}
	}
	if err := s.Run(); err != nil {
		return err
	}
	return Exec(s.DSN(), "SELECT pg_promote()")
}

// Set changes a setting of the running server.
func (s *Server) Set(setting, value string) error {
	if err := Exec(s.DSN(), "ALTER SYSTEM SET "+setting+" = "+value); err != nil {
		return err
	}
	return Exec(s.DSN(), "SELECT pg_reload_conf()")
}
