//go:build unix

package tokenstore

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/relayapi/caddy-relayapi/internal/pgtest"
)

// A token is taken once its heartbeats have stopped in all processes, by one of them, and
// by another if that one does not revoke it.
func TestBeat_AcrossProcesses(t *testing.T) {
	t.Parallel()
	all := sharing(t, pgtest.DSN(t), 2)
	a, b, ctx := all[0], all[1], t.Context()
	beat := func(s *Shared, id string, ttl time.Duration, want bool) {
		t.Helper()
		if alive, err := s.Beat(ctx, "relay", id, ttl); err != nil || alive != want {
			t.Fatalf("heartbeat of %s: alive is %t, want %t; %v", id, alive, want, err)
		}
	}
	silent := func(s *Shared) []Silent {
		t.Helper()
		got, err := s.TakeSilent(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	set := func(column string, ago time.Duration) {
		t.Helper()
		_, err := a.db.db.ExecContext(ctx, `UPDATE heartbeats SET `+column+` = `+serverNow+` - $1 WHERE id = 'gone'`, ago.Milliseconds())
		if err != nil {
			t.Fatal(err)
		}
	}

	beat(a, "gone", time.Hour, true)
	beat(a, "alive", time.Second, true)
	beat(b, "alive", time.Hour, true) // from then on the other process gets them
	if got := silent(b); got != nil {
		t.Errorf("silent are %v, want none", got)
	}
	set("until", time.Millisecond)
	beat(b, "gone", time.Hour, true) // late, but nobody has found that: the database may have been away
	set("until", time.Millisecond)
	want := []Silent{{"relay", "gone"}}
	if got := silent(b); !slices.Equal(got, want) {
		t.Errorf("silent are %v, want %v", got, want)
	}
	beat(b, "gone", time.Hour, false) // too late, though nobody has revoked it yet
	if got := silent(a); got != nil {
		t.Errorf("what the other process has taken is %v, want none", got)
	}
	set("claimed", time.Millisecond) // it died
	if got := silent(a); !slices.Equal(got, want) {
		t.Errorf("left over are %v, want %v", got, want)
	}
	if err := a.Silenced(ctx, "relay", "gone"); err != nil {
		t.Fatal(err)
	}
	set("claimed", time.Millisecond)
	if got := silent(b); got != nil {
		t.Errorf("after it was revoked, silent are %v, want none", got)
	}
	beat(b, "gone", time.Hour, false)

	if err := b.ForgetBeats(ctx, "relay", "gone"); err != nil {
		t.Fatal(err)
	}
	beat(a, "gone", time.Hour, true) // it is known no more; the ledger has the revocation
	set("until", keptBeats+time.Hour)
	if err := a.Silenced(ctx, "relay", "gone"); err != nil {
		t.Fatal(err)
	}
	a.clean()
	rows, err := a.db.number(`SELECT count(*) FROM heartbeats`)
	if err != nil || rows != 1 {
		t.Errorf("%d rows are left, want that of the token that is alive; %v", rows, err)
	}
}

// Whoever looks after the database sees the size of all tables, and a copy may take long.
func TestPostgres_MeasuresEveryTableAndCopiesWithoutHaste(t *testing.T) {
	t.Parallel()
	p, err := openPlace(t.Context(), Place{DSN: pgtest.DSN(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	err = p.each(func(row scanner) error {
		var name string
		err := row.Scan(&name)
		if !strings.Contains(measureTables, "'"+name+"'") {
			t.Errorf("table %s is not measured", name)
		}
		return err
	}, `SELECT relname FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r'`)
	if err != nil {
		t.Fatal(err)
	}
	if ctx, cancel := p.context(); ctx.Done() != nil {
		cancel()
		t.Error("a statement of a copy ends before it is through")
	}
}
