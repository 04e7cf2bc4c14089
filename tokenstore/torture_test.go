//go:build unix

package tokenstore

import (
	"bufio"
	"bytes"
	"context"
	"database/sql"
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/relayapi/caddy-relayapi/internal/pgtest"
)

var (
	tortureFor    = flag.Duration("torture.for", 2*time.Second, "how long TestTorture kills processes")
	tortureRounds = flag.Int("torture.rounds", 0, "how many processes TestTorture kills, instead of -torture.for")
)

const (
	tortureVariable = "TOKENSTORE_TEST_TORTURE"
	tortureCallers  = 8 // goroutines on each token
)

// tortureLimits are those of the four tokens that are called at the same time.
// One that is used up is followed by the next of its kind.
var tortureLimits = [...]int64{5, 50, 5_000, 1_000_000}

func init() { roles["torture"] = roleTorture }

// torturePlan is what the parent tells a child.
type torturePlan struct {
	DSN       string        // of a store in PostgreSQL
	Offset    time.Duration // of the clock
	Jumps     bool          // it jumps forward and back
	FileLimit bool          // now and then files cannot grow
	Next      [len(tortureLimits)]uint32
}

func tortureToken(kind int, n uint32) (*Token, []Charge) {
	tok := newToken(fmt.Sprintf("t%d-%d", kind, n))
	tok.ExpiresAt = noon.Add(10 * 365 * 24 * time.Hour)
	return tok, []Charge{tok.calls(1, tortureLimits[kind])}
}

// roleTorture serves calls until it is killed. A call has been served when its
// record is in the pipe, which outlives the process.
func roleTorture(path string) error {
	signal.Ignore(syscall.SIGXFSZ)
	var plan torturePlan
	if err := json.Unmarshal([]byte(os.Getenv(tortureVariable)), &plan); err != nil {
		return err
	}
	var jump atomic.Int64
	opened := time.Now()
	k := onSQLite
	if plan.DSN != "" {
		k, path = onPostgres, plan.DSN
	}
	s, err := k.open(context.Background(), path, func() time.Time {
		return noon.Add(plan.Offset + time.Since(opened) + time.Duration(jump.Load()))
	})
	if err != nil {
		return err
	}
	failed := make(chan error)
	for kind := range tortureLimits {
		next := new(atomic.Uint32)
		next.Store(plan.Next[kind])
		for range tortureCallers {
			go func() { failed <- tortureCaller(s, kind, next) }()
		}
	}
	for {
		select {
		case err := <-failed:
			return err
		case <-time.After(time.Duration(rand.IntN(30)) * time.Millisecond):
		}
		if plan.Jumps {
			jump.Store(rand.Int64N(int64(5*time.Minute)) - int64(2*time.Minute))
		}
		if plan.FileLimit {
			if err := tortureFileLimit(path); err != nil {
				return err
			}
		}
	}
}

func tortureCaller(s *Ledger, kind int, next *atomic.Uint32) error {
	for {
		n := next.Load()
		tok, charges := tortureToken(kind, n)
		err := s.charge(context.Background(), tok, charges)
		switch {
		case err == nil:
			if _, err := os.Stdout.Write(binary.BigEndian.AppendUint32(nil, uint32(kind)<<28|n)); err != nil {
				return err
			}
		case errors.Is(err, ErrExhausted):
			next.CompareAndSwap(n, n+1)
			time.Sleep(time.Millisecond)
		case errors.Is(err, ErrUnavailable):
			time.Sleep(time.Millisecond)
		default:
			return err
		}
	}
}

// tortureFileLimit keeps files from growing for a while.
func tortureFileLimit(path string) error {
	var old syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &old); err != nil {
		return err
	}
	low := old
	if info, err := os.Stat(path + "-wal"); err == nil {
		low.Cur = uint64(info.Size() + rand.Int64N(20_000))
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &low); err != nil {
		return err
	}
	time.Sleep(time.Duration(rand.IntN(20)) * time.Millisecond)
	return syscall.Setrlimit(syscall.RLIMIT_FSIZE, &old)
}

// torture is what the parent knows.
type torture struct {
	t         *testing.T
	path      string         // of a store of SQLite
	server    *pgtest.Server // of one in PostgreSQL
	dsn       string         // and its schema
	processes int            // that serve at the same time

	mu      sync.Mutex // guards served and next
	served  [len(tortureLimits)]map[uint32]int64
	next    [len(tortureLimits)]uint32
	rounds  map[string]int // by what was done to them
	crashes int64          // how often a lease may have been lost
	lost    [len(tortureLimits)]int64
	durable [len(tortureLimits)]int64
}

// Processes are killed, deprived of their disk, their file and their server, and
// started again with another clock: served ≤ durable ≤ limit, and little is lost.
func TestTorture(t *testing.T) {
	t.Run(onSQLite.name, func(t *testing.T) {
		h := &torture{t: t, path: storePath(t), processes: 1}
		h.run("kill", "kill", "clock", "file limit", "moved away", "replaced")
	})
	t.Run(onPostgres.name, func(t *testing.T) {
		server := pgtest.Faulty(t)
		h := &torture{t: t, server: server, dsn: server.NewSchema(t), processes: 3}
		h.run("kill", "clock", "server stopped", "server killed", "server killed", "server paused")
	})
}

func (h *torture) run(kinds ...string) {
	if testing.Short() {
		*tortureFor = min(*tortureFor, 300*time.Millisecond)
	}
	h.rounds = make(map[string]int)
	for i := range h.served {
		h.served[i] = make(map[uint32]int64)
	}

	begin := time.Now()
	for n := 0; !h.t.Failed(); n++ {
		if *tortureRounds > 0 && n >= *tortureRounds || *tortureRounds == 0 && time.Since(begin) > *tortureFor {
			break
		}
		kind := kinds[rand.IntN(len(kinds))]
		if n == 0 {
			kind = "kill" // the store is born at noon
		}
		h.round(n, kind)
		h.check()
	}
	h.table(time.Since(begin))
}

// tortured is a process that serves calls.
type tortured struct {
	cmd          *exec.Cmd
	said         bytes.Buffer
	first, ended chan struct{} // its first call was served, it has ended
}

func (h *torture) start(plan torturePlan) *tortured {
	h.t.Helper()
	plan.DSN = h.dsn
	text, err := json.Marshal(plan)
	if err != nil {
		h.t.Fatal(err)
	}
	p := &tortured{cmd: child(h.t, "torture", h.path), first: make(chan struct{}), ended: make(chan struct{})}
	p.cmd.Env = append(p.cmd.Env, tortureVariable+"="+string(text))
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		h.t.Fatal(err)
	}
	p.cmd.Stderr = &p.said
	if err := p.cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	go func() { h.read(out, p.first); close(p.ended) }()
	return p
}

// wait waits until the process has served its first call.
func (p *tortured) wait(t *testing.T) {
	select {
	case <-p.first:
	case <-p.ended:
	case <-time.After(10 * time.Second):
		t.Error("nothing was served for ten seconds")
	}
}

func (p *tortured) kill(t *testing.T) {
	if err := p.cmd.Process.Kill(); err != nil {
		t.Error(err)
	}
	<-p.ended
	if err := p.cmd.Wait(); p.cmd.ProcessState.ExitCode() >= 0 {
		t.Errorf("child ended by itself: %v; it said %q", err, p.said.String())
	}
}

// round starts processes, plagues them and kills them.
func (h *torture) round(n int, kind string) {
	plan := torturePlan{Next: h.next, Jumps: kind == "clock", FileLimit: kind == "file limit"}
	if n > 0 {
		plan.Offset = time.Duration(rand.Int64N(int64(60*time.Hour))) - 30*time.Hour
	}
	early := n > 0 && (kind == "kill" || kind == "clock" || kind == "file limit") && rand.IntN(4) == 0
	var all []*tortured
	for range h.processes {
		all = append(all, h.start(plan))
	}
	if !early { // else they may die before they have opened the store
		for _, p := range all {
			p.wait(h.t)
		}
	}

	time.Sleep(time.Duration(rand.IntN(100)) * time.Millisecond)
	restore := h.take(kind)
	for _, p := range all {
		p.kill(h.t)
		h.crashes++
	}
	restore()
	h.rounds[kind]++
}

// read counts what a child reports, until it ends.
func (h *torture) read(out io.Reader, first chan<- struct{}) {
	var record [4]byte
	for in := bufio.NewReaderSize(out, 1<<16); ; {
		if _, err := io.ReadFull(in, record[:]); err != nil {
			if err != io.EOF {
				h.t.Errorf("a torn record: %v", err)
			}
			return
		}
		if first != nil {
			close(first)
			first = nil
		}
		v := binary.BigEndian.Uint32(record[:])
		kind, n := v>>28, v&(1<<28-1)
		if int(kind) >= len(tortureLimits) {
			h.t.Errorf("no record: %q", record)
			return
		}
		h.mu.Lock()
		h.served[kind][n]++
		h.next[kind] = max(h.next[kind], n)
		h.mu.Unlock()
	}
}

// take takes the store away from the child, or not.
func (h *torture) take(kind string) (restore func()) {
	if h.server != nil {
		return h.takeServer(kind)
	}
	away := h.path + ".away"
	if kind != "moved away" && kind != "replaced" {
		return func() {}
	}
	if _, err := os.Stat(h.path); err != nil {
		return func() {} // none yet
	}
	h.crashes++ // what is committed in that moment is not served either
	must := func(err error) {
		if err != nil {
			h.t.Fatal(err)
		}
	}
	must(os.Rename(h.path, away))
	if kind == "replaced" {
		must(os.WriteFile(h.path, nil, 0o600))
	}
	time.Sleep(time.Duration(rand.IntN(20)) * time.Millisecond)
	return func() { must(os.Rename(away, h.path)) }
}

// takeServer takes the server away from the children for a while. Half of the time it
// comes back while they live.
func (h *torture) takeServer(kind string) (restore func()) {
	running := func() {
		if err := h.server.Run(); err != nil {
			h.t.Fatal(err)
		}
	}
	switch kind {
	case "server stopped":
		h.server.Stop()
	case "server killed":
		h.server.Kill()
	case "server paused":
		h.server.Pause()
		running = h.server.Continue
	default:
		return func() {}
	}

	h.crashes += int64(h.processes) // the replies to commits of that moment are lost
	time.Sleep(time.Duration(rand.IntN(300)) * time.Millisecond)
	if rand.IntN(2) == 0 {
		return running
	}
	running()
	time.Sleep(time.Duration(rand.IntN(500)) * time.Millisecond)
	return func() {}
}

// check compares what was served with what is durable.
func (h *torture) check() {
	h.t.Helper()
	used := h.durableCounts()
	for kind, limit := range tortureLimits {
		h.lost[kind], h.durable[kind] = 0, 0
		for n := range h.next[kind] + 2 {
			tok, _ := tortureToken(kind, n)
			served, durable := h.served[kind][n], used[tok.Issuer+"/"+tok.ID]
			if served > durable || durable > limit {
				h.t.Errorf("limit %d, token %d: %d served, %d durable", limit, n, served, durable)
			}
			h.durable[kind] += durable
			h.lost[kind] += durable - served
		}
		if h.lost[kind] > h.bound(limit) {
			h.t.Errorf("limit %d: %d lost in %d crashes, the bound is %d", limit, h.lost[kind], h.crashes, h.bound(limit))
		}
	}
}

// durableCounts reads the counters by their names. Of SQLite it reads a copy of what
// the child has left, so that the next one has to recover from that by itself.
func (h *torture) durableCounts() map[string]int64 {
	h.t.Helper()
	if h.server != nil {
		return durableCounts(h.t, "pgx", h.dsn)
	}
	path := filepath.Join(h.t.TempDir(), "copy.db")
	defer os.RemoveAll(filepath.Dir(path))
	for _, suffix := range []string{"", "-wal"} {
		content, err := os.ReadFile(h.path + suffix)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err == nil {
			err = os.WriteFile(path+suffix, content, 0o600)
		}
		if err != nil {
			h.t.Fatal(err)
		}
	}
	checkIntegrity(h.t, path)
	return durableCounts(h.t, "sqlite", dsn(path))
}

// bound is what all crashes may have lost of tokens with a limit: what was
// leased ahead, and one for each call that was waiting or just served.
func (h *torture) bound(limit int64) int64 {
	return h.crashes * (tortureCallers + min(maxAhead, limit/aheadShare, limit/8))
}

func (h *torture) table(took time.Duration) {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "limit\ttokens\tserved\tdurable\tlost\tbound\tlost per crash\t")
	for kind, limit := range tortureLimits {
		var served int64
		for _, n := range h.served[kind] {
			served += n
		}
		fmt.Fprintf(w, "%d\t%d\t%d\t%d\t%d\t%d\t%.2f\t\n", limit, len(h.served[kind]), served, h.durable[kind],
			h.lost[kind], h.bound(limit), float64(h.lost[kind])/float64(max(1, h.crashes)))
	}
	w.Flush()
	kills := 0
	for _, n := range h.rounds {
		kills += n
	}
	h.t.Logf("%d kills in %v: %v\n%s", kills, took.Round(time.Millisecond), h.rounds, b.String())
}

// durableCounts reads a database that nobody uses.
func durableCounts(t *testing.T, driver, dsn string) map[string]int64 {
	t.Helper()
	used := make(map[string]int64)
	db, err := sql.Open(driver, dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	rows, err := db.Query(`SELECT id, used FROM counters`)
	if err != nil {
		if strings.Contains(err.Error(), "no such table") || strings.Contains(err.Error(), "does not exist") {
			return used // killed before there was one
		}
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var id string
		var n int64
		if err := rows.Scan(&id, &n); err != nil {
			t.Fatal(err)
		}
		used[id] = n
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return used
}
