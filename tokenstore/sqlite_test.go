package tokenstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func contractStoreSurvivesReopening(t *testing.T, k kind) {
	path := k.place(t)
	s := k.openAt(t, path)
	tok := newToken("a")
	admit(t, s, tok, tok.calls(3, 5))
	if !s.Birth().Equal(noon) {
		t.Fatalf("born %v, want %v", s.Birth(), noon)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	tomorrow := func() time.Time { return noon.Add(24 * time.Hour) }
	for range 2 {
		again, err := k.open(context.Background(), path, tomorrow)
		if err != nil {
			t.Fatal(err)
		}
		if !again.Birth().Equal(noon) {
			t.Errorf("born %v, want %v", again.Birth(), noon)
		}
		wantUsed(t, again, TokenCounter("acme", "a"), 3)
		wantRefused(t, again, ErrExhausted, tok, tok.calls(3, 5))
		if err := again.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestCommitsReachTheDisk(t *testing.T) {
	s := openNew(t)
	for pragma, want := range map[string]string{
		"journal_mode": "wal", "synchronous": "2", "foreign_keys": "1", "busy_timeout": "5000", "fullfsync": "1",
	} {
		var got string
		if err := raw(s).QueryRow(`PRAGMA ` + pragma).Scan(&got); err != nil || got != want {
			t.Errorf("%s is %q (%v), want %q", pragma, got, err, want)
		}
	}
}

func TestAnyPathNamesOneFile(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a b.db", "100%25.db", "what?mode=memory.db", "#1.db", "a&b;c.db", "ü.db"} {
		path := filepath.Join(dir, name)
		s := openAt(t, path)
		admit(t, s, newToken("a"))
		if info, err := os.Stat(path); err != nil || info.Size() == 0 {
			t.Errorf("%q: %v, %v", name, info, err)
		}
	}
}

func TestSecondOpenerInTheSameProcessIsRefused(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "real", "relay.db")
	s := openAt(t, path)
	if err := os.Symlink(filepath.Join(dir, "real"), filepath.Join(dir, "dir")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(path, filepath.Join(dir, "file.db")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{path, filepath.Join(dir, "dir", "relay.db"), filepath.Join(dir, "file.db")} {
		_, err := OpenSQLite(context.Background(), name)
		if !errors.Is(err, ErrLocked) {
			t.Errorf("%s: %v, want ErrLocked", name, err)
		}
	}
	onSQLite.reopen(t, s, path)
}

func contractClosedStoreRefusesEverything(t *testing.T, k kind) {
	s := k.openNew(t)
	ctx := context.Background()
	tok := newToken("a")
	admit(t, s, tok)
	for range 2 {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	_, err := s.Used(ctx, TokenCounter("acme", "a"))
	for what, err := range map[string]error{
		"Admit, known":   s.charge(ctx, tok, nil),
		"Admit, charged": s.charge(ctx, tok, []Charge{tok.calls(1, 1)}),
		"Settle":         s.Settle([]Charge{tok.calls(1, 1)}, Amounts{}),
		"Settle nothing": s.Settle(nil, Amounts{}),
		"Used":           err,
	} {
		if !errors.Is(err, ErrUnavailable) {
			t.Errorf("%s: %v, want ErrUnavailable", what, err)
		}
	}
	if !s.Birth().Equal(noon) {
		t.Errorf("born %v", s.Birth())
	}
}

func contractCloseWaitsForWhatIsUnderWay(t *testing.T, k kind) {
	path := k.place(t)
	s := k.openAt(t, path)
	tok := newToken("a")
	var admitted int64
	var mu sync.Mutex
	var wg sync.WaitGroup
	first := make(chan struct{})
	var once sync.Once
	for range 8 {
		wg.Go(func() {
			for {
				err := s.charge(context.Background(), tok, []Charge{tok.calls(1, 1<<53)})
				if err != nil {
					if !errors.Is(err, ErrUnavailable) {
						t.Error(err)
					}
					return
				}
				mu.Lock()
				admitted++
				mu.Unlock()
				once.Do(func() { close(first) })
			}
		})
	}
	<-first
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	wg.Wait()
	if _, err := os.Stat(path + "-wal"); !errors.Is(err, os.ErrNotExist) { // of PostgreSQL there is none
		t.Errorf("the log was not brought in: %v", err)
	}
	wantUsed(t, k.openAt(t, path), TokenCounter("acme", "a"), admitted)
}

func contractNewerStoreIsRefused(t *testing.T, k kind) {
	path := k.place(t)
	s := k.openAt(t, path)
	if _, err := raw(s).Exec(`INSERT INTO goose_db_version (version_id, is_applied) VALUES (99, true)`); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the refusal leaves no lock behind
		_, err := k.open(context.Background(), path, atNoon)
		if !errors.Is(err, ErrNewer) || !strings.Contains(err.Error(), "99") {
			t.Errorf("error %v, want ErrNewer with the version", err)
		}
	}
}

func TestFileOfSomethingElseIsRefused(t *testing.T) {
	path := storePath(t)
	if err := os.WriteFile(path, []byte(strings.Repeat("not a database\n", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenSQLite(context.Background(), path); err == nil {
		t.Error("opened")
	}
	if _, err := OpenSQLite(context.Background(), t.TempDir()); err == nil {
		t.Error("opened a directory")
	}
}

func TestFullDiskAdmitsNothingUntilThereIsRoom(t *testing.T) {
	s := openNew(t)
	tok := newToken("a")
	admit(t, s, tok, tok.calls(1, 1000))
	resize := func(pages string) {
		t.Helper()
		if _, err := raw(s).Exec(`PRAGMA max_page_count = ` + pages); err != nil {
			t.Fatal(err)
		}
	}
	resize("1") // SQLite makes it what the file has

	long := Counter{Scope: ScopeSubject, ID: strings.Repeat("x", 10_000), Unit: UnitCalls}
	other := newToken("b")
	wantRefused(t, s, ErrUnavailable, other, other.calls(1, 10), Charge{long, 1, 10})
	wantUsed(t, s, TokenCounter("acme", "b"), 0)
	wantUsed(t, s, long, 0)

	resize("1000000")
	admit(t, s, other, other.calls(1, 10), Charge{long, 1, 10})
	wantUsed(t, s, TokenCounter("acme", "b"), 1)
}

// A store that was removed or replaced counts nothing that would be forgotten.
func TestStoreThatIsTakenAway(t *testing.T) {
	path := storePath(t)
	s := openAt(t, path)
	tok := newToken("a")
	admit(t, s, tok, tok.calls(1, 10))
	if err := os.Rename(path, path+".away"); err != nil {
		t.Fatal(err)
	}
	wantRefused(t, s, ErrUnavailable, tok, tok.calls(1, 10))
	if err := os.Rename(path+".away", path); err != nil {
		t.Fatal(err)
	}
	admit(t, s, tok, tok.calls(1, 10)) // it is back

	if err := os.Rename(path, path+".away"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	wantRefused(t, s, ErrUnavailable, tok, tok.calls(1, 10))
	if s.Err() == nil {
		t.Error("a store that was replaced is not said to be broken")
	}
}

// What is said to be durable is in the file that a restart opens.
func TestChangesOfAStoreThatIsTakenAway(t *testing.T) {
	yes := true
	for name, change := range map[string]func(*Ledger) error{
		"Update": func(l *Ledger) error {
			_, err := l.Update(t.Context(), "acme", "a", Change{Disabled: &yes})
			return err
		},
		"Revoke":            func(l *Ledger) error { return l.Revoke(t.Context(), Revocation{Scope: ScopeAll, Before: noon}) },
		"SetLimit":          func(l *Ledger) error { return l.SetLimit(t.Context(), Limit{Scope: ScopeIssuer, Unit: UnitCalls}) },
		"RemoveLimit":       func(l *Ledger) error { return l.RemoveLimit(t.Context(), Limit{Scope: ScopeSubject, Unit: UnitCalls}) },
		"AcceptIssuedSince": func(l *Ledger) error { return l.AcceptIssuedSince(t.Context(), noon.Add(-time.Hour)) },
		"UsageReport": func(l *Ledger) error {
			l.Observe(newToken("a"), "", Usage{Calls: 1})
			_, err := l.UsageReport(t.Context(), UsageFilter{})
			return err
		},
		"Prune": func(l *Ledger) error {
			_, err := l.Prune(t.Context(), noon)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := storePath(t)
			s, err := openSQLite(t.Context(), path, atNoon)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close() // which may fail
			admit(t, s, newToken("a"))
			if err := s.SetLimit(t.Context(), Limit{Scope: ScopeSubject, Unit: UnitCalls}); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(path, path+".away"); err != nil {
				t.Fatal(err)
			}
			if err := change(s); !errors.Is(err, ErrUnavailable) {
				t.Errorf("while the file is away: %v", err)
			}
			if err := os.Rename(path+".away", path); err != nil {
				t.Fatal(err)
			}
			if err := change(s); err != nil {
				t.Errorf("when it is back: %v", err)
			}
			if err := os.Remove(path + "-wal"); err != nil {
				t.Fatal(err)
			}
			if err := change(s); !errors.Is(err, ErrUnavailable) || s.Err() == nil {
				t.Errorf("without its log: %v, and then the store is %v", err, s.Err())
			}
		})
	}
}

// A statement that is interrupted costs SQLite its connection. Closing the last one
// removes a log that has nothing in it, as after a start.
func TestClientThatHangsUpLeavesTheStoreAlone(t *testing.T) {
	path := storePath(t)
	s := openAt(t, path)
	_, err := raw(s).Exec(`
		INSERT INTO tokens (issuer, id, subject, provider, fingerprint, issued_at, expires_at, first_seen)
		WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 50000)
		SELECT 'acme', 't' || i, 's', 'openai', zeroblob(32), 1, 2, 3 FROM n`)
	if err != nil {
		t.Fatal(err)
	}
	s = onSQLite.reopen(t, s, path)
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	_, _ = s.Tokens(ctx, Filter{Subject: "nobody"}) // looks at all of them
	tok := newToken("a")
	admit(t, s, tok, tok.calls(1, 10))
}

// A change that its client has hung up on is made or not, and the database and
// memory agree on which.
func contractChangesThatAreGivenUp(t *testing.T, k kind) {
	s := k.openNew(t)
	tok := newToken("a")
	admit(t, s, tok)
	limit := Limit{Scope: ScopeIssuer, ID: "acme", Unit: UnitCalls, Amount: 5}
	for i := range 200 {
		if err := s.SetLimit(t.Context(), limit); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*10*time.Microsecond)
		disabled := i%2 == 0
		_, _ = s.Update(ctx, "acme", "a", Change{Disabled: &disabled})
		_ = s.RemoveLimit(ctx, limit)
		cancel()

		r, err := s.Token(t.Context(), "acme", "a")
		if err != nil {
			t.Fatal(err)
		}
		if err := s.charge(t.Context(), tok, nil); (err == nil) != (r.Status == Active) {
			t.Fatalf("try %d: the token is %s in the database, and its use: %v", i, r.Status, err)
		}
		durable, err := s.db.limits()
		if err != nil || !slices.Equal(durable, s.Limits().Limits) {
			t.Fatalf("try %d: limits are %v in the database, and %v are in force; %v", i, durable, s.Limits().Limits, err)
		}
	}
}

// Counts that are only in a log that was removed would be forgotten.
func TestLogThatIsTakenAway(t *testing.T) {
	path := storePath(t)
	s := openAt(t, path)
	tok := newToken("a")
	admit(t, s, tok, tok.calls(1, 10))
	if err := os.Remove(path + "-wal"); err != nil {
		t.Fatal(err)
	}
	served := int64(0)
	for range 5 {
		if s.charge(context.Background(), tok, []Charge{tok.calls(1, 10)}) == nil {
			served++
		}
	}
	if served > 0 || s.Err() == nil {
		t.Errorf("%d served after the log was removed, %v", served, s.Err())
	}
}

// A log without its store holds counts that a new store would forget.
func TestStoreIsNotMadeBesideTheLogOfAnother(t *testing.T) {
	path := storePath(t)
	s := openAt(t, path)
	tok := newToken("a")
	admit(t, s, tok, tok.calls(3, 10))
	copied := filepath.Join(t.TempDir(), "copy.db") // as a killed process leaves it
	for _, suffix := range []string{"", "-wal"} {
		content, err := os.ReadFile(path + suffix)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(copied+suffix, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Rename(copied, copied+".away"); err != nil {
		t.Fatal(err)
	}
	for range 2 { // missing, then empty
		if _, err := OpenSQLite(t.Context(), copied); !errors.Is(err, ErrOrphanedLog) {
			t.Errorf("error %v, want ErrOrphanedLog", err)
		}
		if err := os.WriteFile(copied, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Rename(copied+".away", copied); err != nil {
		t.Fatal(err)
	}
	wantUsed(t, openAt(t, copied), TokenCounter("acme", "a"), 3)
}

func TestCorruptDatabaseClosesTheStore(t *testing.T) {
	path := storePath(t)
	s := openAt(t, path)
	tok := newToken("a")
	admit(t, s, tok, tok.calls(1, 10))
	var root int64
	if err := raw(s).QueryRow(`SELECT rootpage FROM sqlite_schema WHERE name = 'counters'`).Scan(&root); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	overwrite(t, path, (root-1)*4096)

	s = openAt(t, path)
	wantRefused(t, s, ErrUnavailable, tok, tok.calls(1, 10))
	// Its own row is intact, and still nothing is admitted.
	wantRefused(t, s, ErrUnavailable, tok)
	if _, err := s.Used(context.Background(), TokenCounter("acme", "a")); !errors.Is(err, ErrUnavailable) {
		t.Errorf("Used: %v, want ErrUnavailable", err)
	}
}

func overwrite(t *testing.T, path string, offset int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte(strings.Repeat("\xff", 4096)), offset); err != nil {
		t.Fatal(err)
	}
}

// checkIntegrity asks SQLite whether a closed store's file is sound.
func checkIntegrity(t *testing.T, path string) {
	t.Helper()
	db, err := sql.Open("sqlite", dsn(path))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var verdict string
	if err := db.QueryRow(`PRAGMA integrity_check`).Scan(&verdict); err != nil || verdict != "ok" {
		t.Errorf("integrity check: %q, %v", verdict, err)
	}
}

// A report of a year takes a second. Calls that need a commit do not wait for it, nor it
// for them.
func TestUsageReport_ReadsBesideTheWriter(t *testing.T) {
	s := openNew(t)
	tok := newToken("a")
	admit(t, s, tok)
	s.Observe(tok, "m", Usage{Calls: 1})
	if _, err := s.UsageReport(t.Context(), UsageFilter{}); err != nil { // writes what was observed
		t.Fatal(err)
	}

	release := block(t, s)
	read := make(chan error, 1)
	go func() {
		rows, err := s.UsageReport(t.Context(), UsageFilter{})
		if err == nil && len(rows) != 1 {
			err = fmt.Errorf("the report has %d rows, want 1", len(rows))
		}
		read <- err
	}()
	select {
	case err := <-read:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Error("the report waits for the writer")
	}
	release()
}
