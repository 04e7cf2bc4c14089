package tokenstore

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

func (k kind) at(place string) Place {
	if k.name == onPostgres.name {
		return Place{DSN: place}
	}
	return Place{Path: place}
}

// content is all of a store, whatever its kind.
func content(t *testing.T, k kind, place string) []string {
	t.Helper()
	if k.name == onPostgres.name {
		path := filepath.Join(t.TempDir(), "content.db")
		if _, err := Copy(t.Context(), k.at(place), Place{Path: path}, nil); err != nil {
			t.Fatal(err)
		}
		place = path
	}
	return lines(t, place)
}

// crowd adds tokens to a store, so that a copy takes several pages.
func crowd(t *testing.T, s *Ledger, tokens int) {
	t.Helper()
	for i := range tokens {
		tok := newToken(fmt.Sprintf("crowd-%04d-ä", i))
		s.writer.ask(newLearning(tok))
		s.writer.giveBack(tok.calls(1, 1).Counter, 1)
	}
	s.flush()
	if _, err := raw(s).Exec(`INSERT INTO counters (scope, id, unit, window_start, used)
		SELECT 'token', issuer || '/' || id, 'calls', 0, 7 FROM tokens WHERE id LIKE 'crowd%'`); err != nil {
		t.Fatal(err)
	}
}

func TestCopy(t *testing.T) {
	t.Parallel()
	for _, from := range kinds {
		for _, to := range kinds {
			t.Run(from.name+" to "+to.name, func(t *testing.T) { testCopy(t, from, to) })
		}
	}
}

// A copy that is interrupted twice, with changes in between, ends with identical
// contents.
func testCopy(t *testing.T, from, to kind) {
	source, target := filledOf(t, from), to.place(t)
	s := from.openAt(t, source)
	crowd(t, s, 3*copyPage/2)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	for interruption := range int64(2) {
		ctx, cancel := context.WithCancel(t.Context())
		_, err := Copy(ctx, from.at(source), to.at(target), func(done, all int64) {
			if done > copyPage*(interruption+1) {
				cancel()
			}
		})
		if !errors.Is(err, context.Canceled) {
			t.Fatalf("got %v, want the copy to be interrupted", err)
		}
		if l, err := to.open(t.Context(), target, atNoon); !errors.Is(err, ErrCopying) {
			t.Fatalf("a target that is not complete: got %v, %v; want ErrCopying", l, err)
		}
		s := from.openAt(t, source)
		tok := newToken("crowd-0000-ä") // which was copied
		admit(t, s, tok, tok.calls(1, 100))
		if _, err := s.Prune(t.Context(), noon.Add(-time.Hour)); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}

	var told [2]int64
	rows, err := Copy(t.Context(), from.at(source), to.at(target), func(done, all int64) { told = [2]int64{done, all} })
	if err != nil {
		t.Fatal(err)
	}
	if told != [2]int64{rows, rows} || rows < 3*copyPage {
		t.Errorf("copied %d rows, told of %v", rows, told)
	}
	want, got := content(t, from, source), content(t, to, target)
	if !slices.Equal(got, want) {
		t.Errorf("got %d lines, want these %d, or others", len(got), len(want))
	}

	c := to.openAt(t, target)
	tok := newToken("crowd-0000-ä")
	wantUsed(t, c, tok.calls(1, 1).Counter, 9)
	wantRefused(t, c, ErrRevoked, newToken("t2"))
	wantSums(t, c)
}

func TestCopy_Refuses(t *testing.T) {
	t.Parallel()
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			source, other, empty := filledOf(t, k), filledOf(t, k), k.place(t)
			refused := func(what string, from, to Place, want error) {
				t.Helper()
				if _, err := Copy(t.Context(), from, to, nil); !errors.Is(err, want) {
					t.Errorf("%s: got %v, want %v", what, err, want)
				}
			}
			inUse := ErrInUse
			if k.name == onSQLite.name {
				inUse = ErrLocked
			}

			refused("a target with something in it", k.at(source), k.at(other), ErrNotEmpty)
			s := k.openAt(t, source)
			refused("a source in use", k.at(source), k.at(empty), inUse)
			refused("a target in use", k.at(other), k.at(source), inUse)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}

			ctx, cancel := context.WithCancel(t.Context())
			if _, err := Copy(ctx, k.at(source), k.at(empty), func(int64, int64) { cancel() }); err == nil {
				t.Fatal("the copy was not interrupted")
			}
			refused("a source that is not complete", k.at(empty), k.at(k.place(t)), ErrCopying)
			if _, err := Copy(t.Context(), Place{}, k.at(empty), nil); err == nil {
				t.Error("a source that is nowhere is copied")
			}
		})
	}
}

// A relay that starts during a copy would count what is not copied.
func TestCopy_KeepsRelaysOut(t *testing.T) {
	t.Parallel()
	source, target := filledOf(t, onPostgres), storePath(t)
	var err error
	_, failed := Copy(t.Context(), Place{DSN: source}, Place{Path: target}, func(done, all int64) {
		if done == all {
			_, err = onPostgres.open(t.Context(), source, atNoon)
		}
	})
	if failed != nil || !errors.Is(err, ErrCopying) {
		t.Errorf("copied with %v, and a relay started with %v; want ErrCopying", failed, err)
	}
}
