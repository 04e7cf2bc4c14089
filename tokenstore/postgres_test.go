//go:build unix

package tokenstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/relayapi/caddy-relayapi/internal/pgtest"
)

// node opens a store as one of several processes do.
func node(t testing.TB, c PostgresConfig) *Ledger {
	t.Helper()
	s, err := openPostgres(context.Background(), c, atNoon)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() }) // which may fail: some tests take the server away
	return s
}

// ahead calls a token until a lease goes ahead of need.
func ahead(t testing.TB, s *Ledger, tok *Token) Charge {
	t.Helper()
	c := tok.calls(1, 1_000_000)
	for range 5 {
		each(t, s, tok, c)
	}
	if lease, _ := leased(s, c.Counter); lease < maxAhead/2 {
		t.Fatalf("%d leased, want about %d", lease, maxAhead)
	}
	return c
}

func TestPostgres_RefusesFsyncOff(t *testing.T) {
	server := pgtest.Faulty(t)
	set := func(fsync string) {
		t.Helper()
		if err := server.Set("fsync", fsync); err != nil {
			t.Fatal(err)
		}
	}
	set("off")
	defer set("on")
	waitFor(t, "fsync off", func() bool {
		return pgtest.Exec(server.DSN(), "DO $$ BEGIN ASSERT current_setting('fsync') = 'off'; END $$") == nil
	})
	if s, err := OpenPostgres(t.Context(), PostgresConfig{DSN: server.DSN()}); !errors.Is(err, ErrFsyncOff) {
		t.Fatalf("got %v, %v; want ErrFsyncOff", s, err)
	}
}

func TestPostgres_RefusesWhenFsyncIsTurnedOff(t *testing.T) {
	server := pgtest.Faulty(t)
	s := node(t, PostgresConfig{DSN: server.NewSchema(t), MaxOffline: time.Second})
	tok := newToken("a")
	c := ahead(t, s, tok)
	for _, tt := range []struct {
		fsync string
		want  error
	}{{"off", ErrFsyncOff}, {"on", nil}} {
		if err := server.Set("fsync", tt.fsync); err != nil {
			t.Fatal(err)
		}
		waitFor(t, "fsync "+tt.fsync, func() bool { return errors.Is(s.charge(t.Context(), tok, []Charge{c}), tt.want) })
	}
}

// An error must not show what may be a password.
func TestPostgres_ErrorsQuoteNoDSN(t *testing.T) {
	for _, dsn := range []string{
		"postgres://user:hunter2@localhost:port/db", "host=localhost password='hunter2", "hunter2",
		"postgres://user:hunter2@127.0.0.1:1/db?connect_timeout=1",
	} {
		_, err := OpenPostgres(t.Context(), PostgresConfig{DSN: dsn})
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("got %v, want an error without the password", err)
		}
		if err := AcceptFailover(t.Context(), dsn); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("AcceptFailover: got %v, want an error without the password", err)
		}
	}
}

func TestPostgres_RefusesAShortMaxOffline(t *testing.T) {
	if _, err := OpenPostgres(t.Context(), PostgresConfig{MaxOffline: time.Millisecond}); err == nil || !strings.Contains(err.Error(), "at least 1s") {
		t.Errorf("got %v, want the shortest that is permitted", err)
	}
}

func TestPostgres_ServesLeasesWhileOfflineAndRecovers(t *testing.T) {
	server := pgtest.Faulty(t)
	for name, away := range map[string]struct{ take, bring func() }{
		"stopped": {server.Stop, func() { run(t, server) }},
		"killed":  {server.Kill, func() { run(t, server) }},
		"paused":  {server.Pause, server.Continue},
	} {
		t.Run(name, func(t *testing.T) {
			const offline = minOffline
			s := node(t, PostgresConfig{DSN: server.NewSchema(t), MaxOffline: offline})
			tok := newToken("a")
			c := ahead(t, s, tok)

			away.take()
			took := time.Now()
			for range 10 {
				admit(t, s, tok, c)
			}
			waitFor(t, "the refusal", func() bool {
				return errors.Is(s.charge(t.Context(), tok, nil), ErrUnavailable) // it needs no lease at all
			})
			if d := time.Since(took); d > offline+pollEvery {
				t.Errorf("refused after %v, want at most %v", d, offline)
			}
			if err := s.Health(); !errors.Is(err, ErrUnavailable) {
				t.Errorf("health is %v", err)
			}

			away.bring()
			waitFor(t, "recovery", func() bool { return s.charge(t.Context(), tok, []Charge{c}) == nil })
			waitFor(t, "health", func() bool { return s.Health() == nil })
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

func run(t *testing.T, server *pgtest.Server) {
	t.Helper()
	if err := server.Run(); err != nil {
		t.Fatal(err)
	}
}

func TestPostgres_AdmitsNothingAfterAFailoverUntilAccepted(t *testing.T) {
	server := pgtest.Faulty(t)
	dsn := server.NewSchema(t)
	s := node(t, PostgresConfig{DSN: dsn})
	tok := newToken("a")
	c := ahead(t, s, tok)
	used, err := s.Used(t.Context(), c.Counter)
	if err != nil {
		t.Fatal(err)
	}

	if err := server.Failover(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the refusal", func() bool { return errors.Is(s.charge(t.Context(), tok, []Charge{c}), ErrFailover) })
	later := node(t, PostgresConfig{DSN: dsn})
	for name, l := range map[string]*Ledger{"open before": s, "opened afterwards": later} {
		if err := l.charge(t.Context(), tok, []Charge{c}); !errors.Is(err, ErrFailover) || !errors.Is(l.Health(), ErrFailover) {
			t.Errorf("%s: got %v, health %v; want ErrFailover", name, err, l.Health())
		}
	}
	durable, err := later.db.used(c.Counter)
	if err != nil {
		t.Fatal(err)
	}

	if err := AcceptFailover(t.Context(), dsn); err != nil {
		t.Fatal(err)
	}
	for name, l := range map[string]*Ledger{"open before": s, "opened afterwards": later} {
		waitFor(t, name, func() bool { return l.charge(t.Context(), tok, []Charge{c}) == nil })
	}
	if got, err := later.db.used(c.Counter); err != nil || got < durable+2 {
		t.Errorf("%d durable, %v; want %d of before, none returned, and two calls: %d were used", got, err, durable, used)
	}
}

// changesOfOthers are what one process changes and another must hear of.
var changesOfOthers = map[string]func(t *testing.T, by *Ledger) error{
	"revocation of a token": func(t *testing.T, by *Ledger) error {
		return by.Revoke(t.Context(), Revocation{Scope: ScopeToken, Issuer: "acme", ID: "a", Before: noon.Add(time.Hour)})
	},
	"revocation of a subject": func(t *testing.T, by *Ledger) error {
		return by.Revoke(t.Context(), Revocation{Scope: ScopeSubject, Issuer: "acme", ID: "user-1", Before: noon.Add(time.Hour)})
	},
	"disabled": func(t *testing.T, by *Ledger) error {
		_, err := by.Update(t.Context(), "acme", "a", Change{Disabled: ptr(true)})
		return err
	},
	"a notification that is lost": func(t *testing.T, by *Ledger) error {
		_, err := raw(by).Exec(`WITH n AS (UPDATE state SET change = change + 1 RETURNING change),
			r AS (INSERT INTO revocations VALUES ('token', 'acme', 'a', 99999999999, 0))
			INSERT INTO changes SELECT change, 'revocation', 'token', 'acme', 'a', '' FROM n`)
		return err
	},
	"a change that is not kept any more": func(t *testing.T, by *Ledger) error {
		tx, err := raw(by).Begin()
		if err != nil {
			return err
		}
		defer tx.Rollback()
		for _, statement := range []string{
			`UPDATE state SET change = change + 2`, `DELETE FROM changes`,
			`INSERT INTO revocations (scope, issuer, id, before, made_at) VALUES ('issuer', 'acme', '', 99999999999, 0)`,
		} {
			if _, err := tx.Exec(statement); err != nil {
				return err
			}
		}
		return tx.Commit()
	},
}

func TestPostgres_ChangesReachOtherProcessesWithinASecond(t *testing.T) {
	t.Parallel()
	for name, change := range changesOfOthers {
		t.Run(name, func(t *testing.T) {
			dsn := pgtest.DSN(t)
			tok, other := newToken("a"), newToken("b")
			other.Issuer, other.Subject = "elsewhere", "user-2"
			heard := make(chan time.Time, 10)
			here := node(t, PostgresConfig{DSN: dsn})
			there := node(t, PostgresConfig{DSN: dsn, Changed: func(matches func(*Token) bool) {
				if matches(other) {
					t.Error("another token matches")
				}
				if matches(tok) {
					heard <- time.Now()
				}
			}})
			for _, l := range []*Ledger{here, there} {
				admit(t, l, tok, tok.calls(1, 100))
				admit(t, l, other)
			}

			begin := time.Now()
			if err := change(t, here); err != nil {
				t.Fatal(err)
			}
			select {
			case at := <-heard:
				if d := at.Sub(begin); d > time.Second {
					t.Errorf("heard after %v, want at most a second", d)
				}
			case <-time.After(10 * time.Second):
				t.Fatal("not heard")
			}
			err := there.charge(t.Context(), tok, []Charge{tok.calls(1, 100)})
			if !errors.Is(err, ErrRevoked) && !errors.Is(err, ErrDisabled) {
				t.Errorf("the token is still admitted there: %v", err)
			}
			admit(t, there, other)
		})
	}
}

// A lower limit takes the leases of the other processes back.
func TestPostgres_ALowerLimitReturnsLeasesEverywhere(t *testing.T) {
	t.Parallel()
	subject := func(limit int64) Charge {
		return Charge{Counter{Scope: ScopeSubject, ID: "acme/user-1", Unit: UnitCalls}, 1, limit}
	}
	for name, tt := range map[string]struct {
		counter Counter
		lower   func(l *Ledger) error
	}{
		"of a token": {counterOf("a"), func(l *Ledger) error {
			_, err := l.Update(t.Context(), "acme", "a", Change{Limits: map[Unit]*int64{UnitCalls: ptr(int64(3))}})
			return err
		}},
		"of a subject": {subject(1).Counter, func(l *Ledger) error {
			return l.SetLimit(t.Context(), Limit{Scope: ScopeSubject, Unit: UnitCalls, Amount: 3})
		}},
	} {
		t.Run(name, func(t *testing.T) {
			dsn := pgtest.DSN(t)
			nodes := []*Ledger{node(t, PostgresConfig{DSN: dsn}), node(t, PostgresConfig{DSN: dsn})}
			tok := newToken("a")
			tok.Limits.Calls = ptr(int64(1_000_000))
			call := func(l *Ledger, limit int64) error {
				_, err := l.Admit(t.Context(), tok, Amounts{Calls: 1}, []Charge{subject(limit)})
				return err
			}
			const calls = 5
			for _, l := range nodes {
				for range calls {
					if err := call(l, 1_000_000); err != nil {
						t.Fatal(err)
					}
					l.flush()
				}
			}

			if err := tt.lower(nodes[0]); err != nil {
				t.Fatal(err)
			}
			waitFor(t, "returns", func() bool {
				n, err := nodes[0].db.used(tt.counter)
				return err == nil && n == calls*int64(len(nodes))
			})
			for i, l := range nodes {
				if err := call(l, 3); !errors.Is(err, ErrExhausted) {
					t.Errorf("node %d under the lower limit: %v, want ErrExhausted", i, err)
				}
				if got := l.Limits().Limits; name == "of a subject" && !slices.Equal(got, nodes[0].Limits().Limits) {
					t.Errorf("node %d has limits %v", i, got)
				}
			}
		})
	}
}

// However many processes serve a token, they serve its limit and no more.
func TestPostgres_SeveralProcessesShareALimit(t *testing.T) {
	t.Parallel()
	for _, limit := range []int64{1, 7, 300, 5_000} {
		t.Run(fmt.Sprint(limit), func(t *testing.T) {
			dsn := pgtest.DSN(t)
			var served atomic.Int64
			var wg sync.WaitGroup
			nodes := make([]*Ledger, 3)
			for i := range nodes {
				nodes[i] = node(t, PostgresConfig{DSN: dsn})
				for range 20 {
					wg.Go(func() {
						tok := newToken("a")
						for {
							err := nodes[i].charge(context.Background(), tok, []Charge{tok.calls(1, limit)})
							if errors.Is(err, ErrExhausted) {
								return
							} else if err != nil {
								t.Error(err)
								return
							}
							served.Add(1)
						}
					})
				}
			}
			wg.Wait()
			for _, l := range nodes[1:] {
				if err := l.Close(); err != nil {
					t.Error(err)
				}
			}
			durable, err := nodes[0].Used(t.Context(), counterOf("a"))
			if err != nil || durable != served.Load() || durable > limit {
				t.Errorf("%d served, %d durable, %v; the limit is %d", served.Load(), durable, err, limit)
			}
			if served.Load() < limit-limit/8 {
				t.Errorf("%d of %d served", served.Load(), limit)
			}
		})
	}
}

func TestBindPostgres_NumbersParameters(t *testing.T) {
	for query, want := range map[string]string{
		`SELECT 1`:                     `SELECT 1`,
		`INSERT INTO t VALUES (?, ?)`:  `INSERT INTO t VALUES ($1, $2)`,
		`a = ?2 AND b = ?1 AND c = ?1`: `a = $2 AND b = $1 AND c = $1`,
		`SET x = max(t.x, ?)`:          `SET x = greatest(t.x, $1)`,
	} {
		if got := bindPostgres(query); got != want {
			t.Errorf("%s: got %s, want %s", query, got, want)
		}
	}
}

func TestPostgres_NeedsNoPrivileges(t *testing.T) {
	server := pgtest.Faulty(t)
	if err := pgtest.Exec(server.DSN(), "DROP SCHEMA IF EXISTS plain CASCADE; DROP ROLE IF EXISTS plain; CREATE ROLE plain LOGIN; CREATE SCHEMA plain AUTHORIZATION plain"); err != nil {
		t.Fatal(err)
	}
	s := node(t, PostgresConfig{DSN: server.DSN() + " user=plain"})
	tok := newToken("a")
	admit(t, s, tok, tok.calls(1, 10))
}
