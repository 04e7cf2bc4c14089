package tokenstore

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/relayapi/caddy-relayapi/internal/pgtest"
)

// BenchmarkPostgres measures what BenchmarkAdmit and BenchmarkLedger do, with
// processes on one PostgreSQL. Run it with -benchtime=1x: each part measures for
// -ledger.for.
func BenchmarkPostgres(b *testing.B) {
	for _, limit := range []int64{1_000_000, 50} {
		for _, k := range kinds {
			b.Run(fmt.Sprintf("latency/2000 calls a second, limits of %d, %s", limit, k.name), func(b *testing.B) {
				benchLatency(b, k, limit, 1)
			})
		}
		b.Run(fmt.Sprintf("latency/2000 calls a second, limits of %d, three nodes on postgres", limit), func(b *testing.B) {
			benchLatency(b, onPostgres, limit, 3)
		})
	}
	for _, tokens := range []int{1, 2000} {
		b.Run(fmt.Sprintf("rate/leases, %d tokens", tokens), func(b *testing.B) {
			s := onPostgres.openNow(b)
			call := admitting(b, s, benchTokens("a", tokens), 100_000_000)
			var got float64
			for range b.N {
				got = rate(b, call)
			}
			report(b, got, "calls/s")
		})
	}
	b.Run("rate/one update per call", func(b *testing.B) {
		db, err := sql.Open("pgx", pgtest.DSN(b))
		if err != nil {
			b.Fatal(err)
		}
		defer db.Close()
		db.SetMaxOpenConns(16)
		if _, err := db.Exec(`CREATE TABLE counters (id BIGINT PRIMARY KEY, used BIGINT NOT NULL); INSERT INTO counters VALUES (1, 0)`); err != nil {
			b.Fatal(err)
		}
		var got float64
		for range b.N {
			got = rate(b, func(*rand.Rand) error {
				_, err := db.ExecContext(context.Background(), `UPDATE counters SET used = used + 1 WHERE id = 1 AND used < 100000000`)
				return err
			})
		}
		report(b, got, "calls/s")
	})
}

// openNow opens a new store whose clock runs.
func (k kind) openNow(b *testing.B) *Ledger {
	b.Helper()
	s, err := k.open(context.Background(), k.place(b), time.Now)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	return s
}
