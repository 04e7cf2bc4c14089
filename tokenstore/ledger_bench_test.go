package tokenstore

import (
	"context"
	"database/sql"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var ledgerFor = flag.Duration("ledger.for", 2*time.Second, "how long BenchmarkLedger measures each of its parts")

const benchClients = 256

// BenchmarkLedger compares leases with one UPDATE per call, on one disk and in
// one run. Run it with -benchtime=1x: each part measures for -ledger.for.
func BenchmarkLedger(b *testing.B) {
	const large = 100_000_000
	// First, because what a disk does when files were removed takes seconds.
	for _, limit := range []int64{1_000_000, 50} {
		b.Run(fmt.Sprintf("latency/2000 calls a second, limits of %d", limit), func(b *testing.B) {
			benchLatency(b, onSQLite, limit, 1)
		})
	}
	var baseline float64
	b.Run("rate/one update per call", func(b *testing.B) {
		naive := newNaive(b)
		tok := newToken("a")
		for range b.N {
			baseline = rate(b, func(*rand.Rand) error { return naive.admit(tok.calls(1, large)) })
		}
		report(b, baseline, "calls/s")
	})
	b.Run("rate/leases, one token", func(b *testing.B) {
		s := onSQLite.openNow(b)
		call := admitting(b, s, benchTokens("a", 1), large)
		var got float64
		for range b.N {
			got = rate(b, call)
		}
		report(b, got, "calls/s")
		report(b, got/baseline, "x-baseline")
	})
	b.Run("rate/leases, 2000 tokens", func(b *testing.B) {
		call := admitting(b, onSQLite.openNow(b), benchTokens("a", 2000), large)
		var got float64
		for range b.N {
			got = rate(b, call)
		}
		report(b, got, "calls/s")
		report(b, got/baseline, "x-baseline")
	})
	b.Run("rate/leases, 2000 of a million tokens", func(b *testing.B) { benchMillion(b, large) })
}

// benchMillion compares 2 000 active tokens that are all there is with as many
// among a million: next to each other in the tables, and anywhere. They take
// turns, because the machine is not the same from one second to the next.
func benchMillion(b *testing.B, limit int64) {
	large := onSQLite.openNow(b)
	million(b, large)
	row, anywhere := make([]*Token, 2000), make([]*Token, 2000)
	for i, n := range rand.Perm(500_000)[:len(row)] {
		row[i] = newToken(fmt.Sprint("m", 500_000+i))
		anywhere[i] = newToken(fmt.Sprint("m", n))
		row[i].Fingerprint, anywhere[i].Fingerprint = [32]byte{}, [32]byte{}
	}
	const rounds = 4
	got := make(map[string][]float64)
	small := onSQLite.openNow(b)
	parts := []struct {
		name string
		s    *Ledger
		call func(*rand.Rand) error
	}{
		{"alone", small, admitting(b, small, benchTokens("a", 2000), limit)},
		{"row", large, admitting(b, large, row, limit)},
		{"anywhere", large, admitting(b, large, anywhere, limit)},
	}
	for range rounds * b.N {
		for _, part := range parts {
			got[part.name] = append(got[part.name], rate(b, part.call))
			sweepAll(part.s, time.Now().Add(forgetPast)) // the next turn begins with nothing leased
			part.s.flush()
		}
	}
	for name, v := range got {
		report(b, mean(v), "calls/s-"+name)
		report(b, slices.Min(v)/mean(v), "min-of-mean-"+name)
		report(b, slices.Max(v)/mean(v), "max-of-mean-"+name)
	}
	report(b, mean(got["row"])/mean(got["alone"]), "x-alone-row")
	report(b, mean(got["anywhere"])/mean(got["alone"]), "x-alone-anywhere")
}

func report(b *testing.B, v float64, unit string) {
	b.ReportMetric(0, "ns/op") // says nothing here
	b.ReportMetric(v, unit)
}

func mean(v []float64) (sum float64) {
	for _, x := range v {
		sum += x
	}
	return sum / float64(len(v))
}

// rate is how many calls a second the clients get through, after half a second
// in which leases grow.
func rate(b *testing.B, call func(*rand.Rand) error) float64 {
	b.Helper()
	var measuring, stop atomic.Bool
	var calls atomic.Int64
	var wg sync.WaitGroup
	for range benchClients {
		wg.Go(func() {
			mine, r := int64(0), rand.New(rand.NewPCG(rand.Uint64(), 0))
			for !stop.Load() {
				if err := call(r); err != nil {
					b.Error(err)
					return
				}
				if measuring.Load() {
					mine++
				}
			}
			calls.Add(mine)
		})
	}
	time.Sleep(500 * time.Millisecond)
	begin := time.Now()
	measuring.Store(true)
	time.Sleep(*ledgerFor)
	took := time.Since(begin)
	stop.Store(true)
	wg.Wait()
	return float64(calls.Load()) / took.Seconds()
}

func benchTokens(name string, n int) []*Token {
	tokens := make([]*Token, n)
	for i := range tokens {
		tokens[i] = newToken(fmt.Sprint(name, i))
	}
	return tokens
}

// admitting calls tokens at random. In the end all that was admitted must be
// durable, and nothing else: a rate of calls that nobody counted says nothing.
func admitting(b *testing.B, s *Ledger, tokens []*Token, limit int64) func(*rand.Rand) error {
	var admitted atomic.Int64
	before := durableSum(b, s, tokens)
	b.Cleanup(func() {
		s.flush()
		sweepAll(s, time.Now().Add(forgetPast))
		if n := durableSum(b, s, tokens) - before; n != admitted.Load() {
			b.Errorf("%d durable, %d admitted", n, admitted.Load())
		}
	})
	charges := make([][]Charge, len(tokens))
	for i, tok := range tokens {
		charges[i] = []Charge{tok.calls(1, limit)}
	}
	return func(r *rand.Rand) error {
		i := 0
		if len(tokens) > 1 {
			i = r.IntN(len(tokens))
		}
		err := s.charge(context.Background(), tokens[i], charges[i])
		if err == nil {
			admitted.Add(1)
		}
		return err
	}
}

func durableSum(b *testing.B, s *Ledger, tokens []*Token) (sum int64) {
	b.Helper()
	s.flush()
	for _, tok := range tokens {
		n, err := s.db.used(counterOf(tok.ID))
		if err != nil {
			b.Fatal(err)
		}
		sum += n
	}
	return sum
}

// naive counts every call with a transaction of its own, under the same
// settings as the ledger.
type naive struct {
	mu     sync.Mutex // SQLite admits one writer; this queue is fairer than its busy handler
	db     *sql.DB
	update *sql.Stmt
}

func newNaive(b *testing.B) *naive {
	b.Helper()
	path := storePath(b)
	s := openAt(b, path)
	admit(b, s, newToken("a"), newToken("a").calls(1, 10))
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	db, err := sql.Open("sqlite", dsn(path))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { db.Close() })
	db.SetMaxOpenConns(1)
	update, err := db.Prepare(`UPDATE counters SET used = used + ?5
		WHERE scope = ?1 AND id = ?2 AND unit = ?3 AND window_start = ?4 AND used < ?6`)
	if err != nil {
		b.Fatal(err)
	}
	return &naive{db: db, update: update}
}

func (n *naive) admit(c Charge) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	tx, err := n.db.Begin() // IMMEDIATE, as the DSN says
	if err != nil {
		return err
	}
	defer tx.Rollback()
	result, err := tx.Stmt(n.update).Exec(c.Counter.Scope, c.Counter.ID, c.Counter.Unit, c.Counter.windowStart(), c.Amount, c.Limit)
	if err != nil {
		return err
	}
	if rows, err := result.RowsAffected(); err != nil || rows != 1 {
		return fmt.Errorf("%d rows, %w", rows, err)
	}
	return tx.Commit()
}

// million fills a store with as many tokens, each of which was used once.
func million(b *testing.B, s *Ledger) {
	b.Helper()
	const numbers = `WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 999999) `
	for _, insert := range []string{
		`INSERT INTO tokens (issuer, id, subject, provider, fingerprint, issued_at, expires_at, first_seen) ` + numbers +
			fmt.Sprintf(`SELECT 'acme', 'm' || i, 'user-' || i, 'openai', zeroblob(32), %d, %d, %d FROM n`,
				noon.Unix(), noon.Add(time.Hour).Unix(), noon.Unix()),
		`INSERT INTO counters (scope, id, unit, window_start, used) ` + numbers +
			`SELECT 'token', 'acme/m' || i, 'calls', 0, 1 FROM n`,
	} {
		if _, err := raw(s).Exec(insert); err != nil {
			b.Fatal(err)
		}
	}
	if _, err := raw(s).Exec(`PRAGMA wal_checkpoint(TRUNCATE)`); err != nil {
		b.Fatal(err)
	}
}

// timedDB measures the commits of a ledger.
type timedDB struct {
	backend
	mu   sync.Mutex
	took []time.Duration
}

func (t *timedDB) commit(b *batch) error {
	begin := time.Now()
	err := t.backend.commit(b)
	took := time.Since(begin)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.took = append(t.took, took)
	return err
}

// benchLatency offers 2 000 calls a second over 100 tokens, however long each
// takes, in rounds: one slow moment of a disk decides the 99th percentile of the
// round that it falls into. Reported are medians, and the worst round.
func benchLatency(b *testing.B, k kind, limit int64, nodes int) {
	const rounds = 5
	got := make(map[string][]float64)
	for range rounds * b.N {
		calls, commits := offer(b, k, limit, nodes)
		p99, sum := at(calls, 0.99), time.Duration(0)
		for _, took := range commits {
			sum += took
		}
		for unit, v := range map[string]float64{
			"µs-p50": at(calls, 0.5), "µs-p99": p99, "µs-commit-p50": at(commits, 0.5), "µs-commit-p99": at(commits, 0.99),
			"p99-in-mean-commits":   p99 / micros(sum/time.Duration(len(commits))),
			"p99-in-median-commits": p99 / at(commits, 0.5),
			"p99-in-p99-commits":    p99 / at(commits, 0.99), // like with like
		} {
			got[unit] = append(got[unit], v)
		}
	}
	for unit, v := range got {
		slices.Sort(v)
		report(b, v[len(v)/2], unit)
	}
	worst := got["p99-in-mean-commits"]
	report(b, worst[len(worst)-1], "p99-in-mean-commits-worst")
}

func micros(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 }

// at is a quantile in microseconds, of durations in order of size.
func at(sorted []time.Duration, part float64) float64 {
	return micros(sorted[int(part*float64(len(sorted)-1))])
}

// offer makes one round of calls, and returns how long they and the commits took,
// in order of size. A token that is used up is followed by another. Several nodes on one
// store take calls in turn; the commits are those of the first.
func offer(b *testing.B, k kind, limit int64, nodes int) (latencies, commits []time.Duration) {
	const perSecond, tokens = 2000, 100
	place := k.place(b)
	var all []*Ledger
	for range nodes {
		s, err := k.open(context.Background(), place, time.Now)
		if err != nil {
			b.Fatal(err)
		}
		defer s.Close()
		all = append(all, s)
	}
	s := all[0]
	timed := &timedDB{backend: s.db}
	s.writer.flushing.Lock()
	s.db = timed
	s.writer.flushing.Unlock()
	var mu sync.Mutex
	warm := perSecond // the first second is not measured
	total := warm + int(ledgerFor.Seconds()*perSecond)
	var wg sync.WaitGroup
	begin := time.Now()
	for k := range total {
		time.Sleep(time.Until(begin.Add(time.Duration(k) * time.Second / perSecond)))
		if k == warm {
			timed.mu.Lock()
			timed.took = nil
			timed.mu.Unlock()
		}
		tok := newToken(fmt.Sprint(k%tokens, "-", int64(k/tokens)/limit))
		charges := []Charge{tok.calls(1, limit)}
		wg.Go(func() {
			begin := time.Now()
			err := all[k%nodes].charge(context.Background(), tok, charges)
			took := time.Since(begin)
			if err != nil {
				b.Error(err)
			}
			if k >= warm {
				mu.Lock()
				defer mu.Unlock()
				latencies = append(latencies, took)
			}
		})
	}
	wg.Wait()
	if late := time.Since(begin) - time.Duration(total)*time.Second/perSecond; late > time.Second {
		b.Errorf("the calls were offered %v late", late)
	}
	timed.mu.Lock()
	defer timed.mu.Unlock()
	slices.Sort(latencies)
	slices.Sort(timed.took)
	return latencies, timed.took
}
