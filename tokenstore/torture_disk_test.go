//go:build unix

package tokenstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// smallDisk mounts a disk of so many kilobytes, where that is permitted.
func smallDisk(t *testing.T, kilobytes int) (dir string, remount func(option string), ok bool) {
	t.Helper()
	if runtime.GOOS != "linux" || os.Geteuid() != 0 {
		return "", nil, false
	}
	dir = t.TempDir()
	mount := func(options string) error {
		return exec.Command("mount", "-t", "tmpfs", "-o", fmt.Sprintf("size=%dk,mode=0700%s", kilobytes, options), "tmpfs", dir).Run()
	}
	if mount("") != nil {
		return "", nil, false // a container without the right
	}
	t.Cleanup(func() {
		if err := exec.Command("umount", dir).Run(); err != nil {
			t.Errorf("umount: %v", err)
		}
	})
	return dir, func(option string) {
		if err := mount(",remount," + option); err != nil {
			t.Errorf("remount: %v", err)
		}
	}, true
}

// A disk that is really full, again and again. Without the right to mount one,
// TestTorture and TestServiceReturnsWithTheDisk limit the size of files.
func TestTortureFullDisk(t *testing.T) {
	dir, _, ok := smallDisk(t, 64<<10) // the log alone may have 40 MB
	if !ok {
		return
	}
	path, filler := filepath.Join(dir, "relay.db"), filepath.Join(dir, "filler")
	s, err := openSQLite(context.Background(), path, atNoon) // its Close may fail
	if err != nil {
		t.Fatal(err)
	}
	served := make(map[string]*atomic.Int64)
	const limit = 100_000
	for i := range 4 {
		served[fmt.Sprint("a", i)] = new(atomic.Int64)
	}
	refused := 0
	for round := range 6 {
		if round%2 == 1 {
			fill(t, filler)
		}
		var unavailable atomic.Int64
		var wg sync.WaitGroup
		for id, count := range served {
			for c := range 4 {
				wg.Go(func() {
					for i := range 20 {
						tok := newToken(id)
						err := s.charge(context.Background(), tok, []Charge{tok.calls(1, limit)})
						if err == nil {
							count.Add(1)
						} else if !errors.Is(err, ErrUnavailable) {
							t.Error(err)
						}
						// Rows that need room.
						other := newToken(strings.Repeat("x", 500) + fmt.Sprint(id, c, round, i))
						if err := s.charge(context.Background(), other, []Charge{other.calls(1, 5)}); err != nil {
							unavailable.Add(1)
						}
					}
				})
			}
		}
		wg.Wait()
		if unavailable.Load() > 0 {
			refused++
		}
		if round%2 == 1 {
			if err := os.Remove(filler); err != nil {
				t.Fatal(err)
			}
		}
		if round == 0 && unavailable.Load() == 16*20 {
			t.Error("nothing was served with room on the disk")
		}
		if err := s.Err(); err != nil {
			t.Fatalf("a full disk has broken the store: %v", err)
		}
	}
	if refused == 0 {
		t.Error("the disk was never full")
	}
	// With the disk full to the last byte the store can be closed, and opened or not.
	fill(t, filler)
	_ = s.Close()
	if again, err := openSQLite(context.Background(), path, atNoon); err == nil {
		_ = again.Close()
	}
	_, err = openSQLite(context.Background(), filepath.Join(dir, "new.db"), atNoon)
	if err == nil || !strings.Contains(err.Error(), "if the disk is full") {
		t.Errorf("making a store: %v; want to be told that the disk is full", err)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	s = openAt(t, path)
	for id, count := range served {
		durable, err := s.db.used(counterOf(id))
		if err != nil || durable < count.Load() || durable > limit {
			t.Errorf("%s: %d served, %d durable, %v", id, count.Load(), durable, err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	checkIntegrity(t, path)
}

// fill takes all the room there is.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, size := range []int{4096, 512, 1} {
		for err = nil; err == nil; {
			_, err = f.Write(make([]byte, size))
		}
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
}

// A store that cannot be written serves nothing.
func TestTortureReadOnly(t *testing.T) {
	path := storePath(t)
	dir, remount, mounted := smallDisk(t, 4096)
	if mounted {
		path = filepath.Join(dir, "relay.db")
	}
	s := openAt(t, path)
	tok := newToken("a")
	admit(t, s, tok, tok.calls(1, 10))
	readOnly := func(on string) {
		if _, err := raw(s).Exec(`PRAGMA query_only = ` + on); err != nil {
			t.Fatal(err)
		}
	}
	readOnly("1")
	for range 20 {
		wantRefused(t, s, ErrUnavailable, tok, tok.calls(1, 10))
	}
	wantUsed(t, s, counterOf("a"), 1)
	readOnly("0")
	admit(t, s, tok, tok.calls(1, 10))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	switch {
	case mounted:
		remount("ro")
	case os.Geteuid() != 0:
		for name, mode := range map[string]os.FileMode{path: 0o400, filepath.Dir(path): 0o500} {
			if err := os.Chmod(name, mode); err != nil {
				t.Fatal(err)
			}
			defer os.Chmod(name, 0o700)
		}
	default:
		return // nothing is read-only for root
	}
	if s, err := openSQLite(context.Background(), path, atNoon); err == nil {
		wantRefused(t, s, ErrUnavailable, tok, tok.calls(1, 10))
		_ = s.Close()
		t.Error("opened")
	}
	if mounted {
		remount("rw")
		s = openAt(t, path)
		wantUsed(t, s, counterOf("a"), 2)
	}
}

// Whichever page of the file is spoilt: what is served before and after stays
// within the limit.
func TestTortureCorruptPages(t *testing.T) {
	path := storePath(t)
	s := openAt(t, path)
	const limit, before, others = 20, 10, 60
	tok := newToken("a")
	for i := range others {
		other := newToken(fmt.Sprint("other-", i))
		go s.charge(context.Background(), other, []Charge{other.calls(1, 10)})
	}
	for range before {
		admit(t, s, tok, tok.calls(1, limit))
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	sound, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	opened, refused := 0, 0
	spoil := []func(p []byte){
		func(p []byte) { copy(p, bytes.Repeat([]byte{0xff}, len(p))) },
		func(p []byte) { clear(p) },
		func(p []byte) { copy(p[1:8], bytes.Repeat([]byte{0xff}, 7)) }, // the page's header
		func(p []byte) { rand.Shuffle(len(p), func(i, j int) { p[i], p[j] = p[j], p[i] }) },
	}
	for page := range len(sound) / 4096 {
		copied := storePath(t)
		content := bytes.Clone(sound)
		spoil[page%len(spoil)](content[page*4096 : (page+1)*4096])
		if err := os.WriteFile(copied, content, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := openSQLite(context.Background(), copied, func() time.Time { return noon.Add(time.Hour) })
		if err != nil {
			continue
		}
		opened++
		served := before
		for range limit {
			if err := s.charge(context.Background(), tok, []Charge{tok.calls(1, limit)}); err == nil {
				served++
			} else if !errors.Is(err, ErrExhausted) {
				refused++
				break
			}
		}
		if served > limit {
			t.Errorf("page %d: %d served of %d", page+1, served, limit)
		}
		_ = s.Close()
	}
	t.Logf("%d pages, %d stores opened, %d of them refused", len(sound)/4096, opened, refused)
	if opened == 0 {
		t.Error("no store opened")
	}
}
