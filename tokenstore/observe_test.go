package tokenstore

import (
	"context"
	"errors"
	"os"
	"sync/atomic"
	"testing"
	"time"
)

func contractLeasesCommitsAndSizeAreTold(t *testing.T, k kind) {
	l := k.openNew(t)
	var commits, failed atomic.Int64
	l.OnCommit(func(took time.Duration, err error) {
		commits.Add(1)
		if err != nil {
			failed.Add(1)
		}
		if took <= 0 {
			t.Errorf("a commit took %v", took)
		}
	})
	if got := l.Leases(); len(got) != 0 {
		t.Errorf("got %v, want no lease before the first call", got)
	}

	tok := newToken("t")
	for range 3 { // the first grant leaves nothing, the next goes ahead
		admit(t, l, tok, tok.calls(1, 100_000), subjectTokens(10, 100_000_000))
	}
	l.flush()
	got := l.Leases()
	for _, c := range []Charge{tok.calls(1, 100_000), subjectTokens(10, 100_000_000)} {
		want := Leases{1, l.leased(c.Counter)}
		if want.Amount == 0 || got[c.Counter.Unit] != want {
			t.Errorf("%s: got %v, want %v", c.Counter.Unit, got[c.Counter.Unit], want)
		}
	}
	if n := commits.Load(); n == 0 || failed.Load() != 0 {
		t.Errorf("%d commits are told, %d of them failed; want some, and none that failed", n, failed.Load())
	}

	if size, err := l.Size(); err != nil || size < 8<<10 {
		t.Errorf("got %d bytes and %v, want a size", size, err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Size(); !errors.Is(err, ErrUnavailable) {
		t.Errorf("closed: got %v, want %v", err, ErrUnavailable)
	}
}

func TestLedger_TellsFailedCommits(t *testing.T) {
	path := storePath(t)
	l := openAt(t, path)
	var told error
	l.OnCommit(func(_ time.Duration, err error) { told = err })
	if err := os.Rename(path, path+".away"); err != nil {
		t.Fatal(err)
	}
	defer os.Rename(path+".away", path)
	tok := newToken("t")
	if err := l.charge(context.Background(), tok, []Charge{tok.calls(1, 10)}); err == nil || told == nil {
		t.Errorf("got %v, and %v was told, want errors", err, told)
	}
}
