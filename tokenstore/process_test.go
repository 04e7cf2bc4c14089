//go:build unix

package tokenstore

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// Some things only show in a process of one's own: the test binary runs
// itself again, in one of these roles, with the path of a store.
var roles = map[string]func(path string) error{
	"open":       roleOpen,
	"admit":      roleAdmit,
	"umask 000":  func(path string) error { return roleUmask(path, 0) },
	"umask 022":  func(path string) error { return roleUmask(path, 0o022) },
	"file limit": roleFileLimit,
}

const (
	roleVariable = "TOKENSTORE_TEST_ROLE"
	pathVariable = "TOKENSTORE_TEST_PATH"
)

func TestMain(m *testing.M) {
	role := os.Getenv(roleVariable)
	if role == "" {
		os.Exit(m.Run())
	}
	if err := roles[role](os.Getenv(pathVariable)); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

func child(t *testing.T, role, path string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), roleVariable+"="+role, pathVariable+"="+path)
	cmd.Stderr = os.Stderr
	return cmd
}

func roleOpen(path string) error {
	s, err := OpenSQLite(context.Background(), path)
	if err != nil {
		return err
	}
	return s.Close()
}

func TestSecondProcessIsRefused(t *testing.T) {
	path := storePath(t)
	s := openAt(t, path)
	out, err := child(t, "open", path).Output()
	if err == nil || !strings.Contains(string(out), ErrLocked.Error()) {
		t.Errorf("child said %q, %v; want it to be refused", out, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if out, err := child(t, "open", path).Output(); err != nil {
		t.Errorf("child said %q, %v after the store was closed", out, err)
	}
}

const (
	killWriters = 4
	killLimit   = 400
)

// roleAdmit admits calls until none are left, and prints a line for each.
func roleAdmit(path string) error {
	s, err := openSQLite(context.Background(), path, atNoon)
	if err != nil {
		return err
	}
	errs := make([]error, killWriters)
	var wg sync.WaitGroup
	for i := range killWriters {
		wg.Go(func() {
			tok := newToken("a")
			for {
				if err := s.charge(context.Background(), tok, []Charge{tok.calls(1, killLimit)}); err != nil {
					errs[i] = err
					return
				}
				fmt.Println("admitted") // one write, so that lines stay whole
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if !errors.Is(err, ErrExhausted) {
			return err
		}
	}
	return s.Close()
}

func TestKilledProcessHasCountedAllItAdmitted(t *testing.T) {
	path := storePath(t)
	lines := 0
	for round := range 5 {
		lines += admitUntilKilled(t, path, 1+rand.IntN(100))
		checkIntegrity(t, path)
		s := openAt(t, path)
		used, err := s.Used(context.Background(), TokenCounter("acme", "a"))
		if err != nil {
			t.Fatal(err)
		}
		// Each writer may have died between its commit and its line, and with
		// them the lease: what was granted ahead of need.
		most := min(lines+(round+1)*(killWriters+killLimit/aheadShare), killLimit)
		if used < int64(lines) || used > int64(most) {
			t.Errorf("round %d: %d used, %d were reported, at most %d are possible", round, used, lines, most)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// admitUntilKilled kills a child after so many lines and tells how many there were.
func admitUntilKilled(t *testing.T, path string, after int) (lines int) {
	t.Helper()
	cmd := child(t, "admit", path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for in := bufio.NewReader(out); ; {
		line, err := in.ReadString('\n')
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil || line != "admitted\n" {
			t.Errorf("child said %q, %v", line, err)
		}
		if lines++; lines == after {
			if err := cmd.Process.Kill(); err != nil {
				t.Error(err)
			}
		}
	}
	cmd.Wait()
	return lines
}

// roleUmask prints the modes of all that a new store makes.
func roleUmask(path string, mask int) error {
	syscall.Umask(mask)
	s, err := OpenSQLite(context.Background(), path)
	if err != nil {
		return err
	}
	defer s.Close()
	if err := s.charge(context.Background(), newToken("a"), nil); err != nil {
		return err
	}
	for _, suffix := range []string{"", "-wal", "-shm", ".lock"} {
		info, err := os.Stat(path + suffix)
		if err != nil {
			return err
		}
		if info.Mode() != 0o600 {
			return fmt.Errorf("%s has mode %v", info.Name(), info.Mode())
		}
	}
	for _, dir := range []string{filepath.Dir(path), filepath.Dir(filepath.Dir(path))} {
		if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
			return fmt.Errorf("directory: %v, %v", info.Mode(), err)
		}
	}
	return nil
}

func TestNewFilesAreForTheirOwnerOnly(t *testing.T) {
	for _, umask := range []string{"000", "022"} {
		path := filepath.Join(t.TempDir(), "one", "two", "relay.db")
		if out, err := child(t, "umask "+umask, path).Output(); err != nil {
			t.Errorf("umask %s: %s", umask, out)
		}
	}
}

func TestFilesOfOthersAreTakenOrRefused(t *testing.T) {
	tests := []struct {
		suffix string
		mode   os.FileMode
		want   error
	}{
		{"", 0o644, nil},
		{"", 0o660, nil},
		{"", 0o666, ErrWorldWritable},
		{"", 0o602, ErrWorldWritable},
		{"-wal", 0o644, nil},
		{"-wal", 0o666, ErrWorldWritable},
		{"-shm", 0o666, ErrWorldWritable},
	}
	for _, tt := range tests {
		t.Run(tt.suffix+strconv.FormatUint(uint64(tt.mode), 8), func(t *testing.T) {
			path := storePath(t)
			for _, name := range []string{path, path + tt.suffix} {
				if err := os.WriteFile(name, nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.Chmod(path+tt.suffix, tt.mode); err != nil {
				t.Fatal(err)
			}
			s, err := OpenSQLite(context.Background(), path)
			if !errors.Is(err, tt.want) {
				t.Fatalf("error %v, want %v", err, tt.want)
			}
			if err != nil {
				return
			}
			defer s.Close()
			if info, err := os.Stat(path + tt.suffix); err != nil || info.Mode() != 0o600 {
				t.Errorf("mode %v, %v", info.Mode(), err)
			}
		})
	}
}

// roleFileLimit lets writing fail, with an error that is not a full disk, and
// then lets it succeed again.
func roleFileLimit(path string) error {
	ctx := context.Background()
	signal.Ignore(syscall.SIGXFSZ)
	s, err := openSQLite(ctx, path, atNoon)
	if err != nil {
		return err
	}
	tok := newToken("a")
	charges := []Charge{tok.calls(1, 1000)}
	if err := s.charge(ctx, tok, charges); err != nil {
		return err
	}
	var old syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &old); err != nil {
		return err
	}
	low := old
	low.Cur = 100 << 10
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &low); err != nil {
		return err
	}
	admitted := int64(1)
	for err = s.charge(ctx, tok, charges); err == nil; err = s.charge(ctx, tok, charges) {
		admitted++
	}
	if !errors.Is(err, ErrUnavailable) {
		return fmt.Errorf("error %w, want ErrUnavailable", err)
	}
	if err := s.charge(ctx, newToken("b"), nil); !errors.Is(err, ErrUnavailable) {
		return fmt.Errorf("error %v, want ErrUnavailable", err)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &old); err != nil {
		return err
	}
	for range 20 { // service returns by itself
		if err := s.charge(ctx, tok, charges); err != nil {
			return err
		}
		admitted++
	}
	if err := s.Close(); err != nil {
		return err
	}
	if s, err = openSQLite(ctx, path, atNoon); err != nil {
		return err
	}
	used, err := s.Used(ctx, charges[0].Counter)
	if err != nil || used < admitted || used > admitted+1+1000/aheadShare {
		return fmt.Errorf("%d used, %v; %d were admitted", used, err, admitted)
	}
	return s.Close()
}

func TestServiceReturnsWithTheDisk(t *testing.T) {
	path := storePath(t)
	if out, err := child(t, "file limit", path).Output(); err != nil {
		t.Errorf("child said %q", out)
	}
	checkIntegrity(t, path)
}
