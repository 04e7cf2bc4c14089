package tokenstore

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// clock is set by hand.
type clock struct {
	past atomic.Int64
	look atomic.Pointer[func()] // is called whenever somebody looks at it
}

func (c *clock) now() time.Time {
	if look := c.look.Load(); look != nil {
		(*look)()
	}
	return noon.Add(time.Duration(c.past.Load()))
}

func (c *clock) advance(d time.Duration) { c.past.Add(int64(d)) }

var errDisk = errors.New("disk trouble")

// fakeDB is a database in memory that fails, waits and loses replies on demand.
type fakeDB struct {
	backend // what is not implemented here is not called
	t       testing.TB

	mu      sync.Mutex
	rows    map[Counter]int64
	commits []committed
	// before fails a commit that did nothing, after one that is done.
	before, after func(n int, b *batch) error
}

// committed is what the database was asked to do in one commit.
type committed struct {
	returns []Charge
	grants  []grant
	err     error
}

func (f *fakeDB) birthday() time.Time { return noon }
func (f *fakeDB) close() error        { return nil }
func (f *fakeDB) ready() error        { return nil }

// raise forgets warnings.
func (f *fakeDB) raise([]Warning, time.Time) (int64, error) { return 0, nil }

func (f *fakeDB) used(c Counter) (int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.rows[c], nil
}

func (f *fakeDB) commit(b *batch) (err error) {
	f.mu.Lock()
	n, before, after := len(f.commits), f.before, f.after
	f.commits = append(f.commits, committed{returns: slices.Clone(b.returns)})
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		for _, g := range b.grants {
			f.commits[n].grants = append(f.commits[n].grants, *g)
		}
		f.commits[n].err = err
	}()
	if before != nil {
		if err := before(n, b); err != nil {
			return err
		}
	}
	f.apply(b)
	if after != nil {
		return after(n, b)
	}
	return nil
}

func (f *fakeDB) try() error { return f.commit(new(batch)) }

func (f *fakeDB) apply(b *batch) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range b.returns {
		f.rows[c.Counter] = max(0, f.rows[c.Counter]-c.Amount)
	}
	for _, k := range b.tokens {
		k.record.fingerprint, k.record.expires = k.token.Fingerprint, k.token.ExpiresAt.Unix()
	}
	b.applyOverrides()
	for _, g := range b.grants {
		g.granted = g.size(f.rows[g.counter])
		f.rows[g.counter] += g.granted
		if used := f.rows[g.counter]; used > 0 {
			g.place = place{row: 1, used: used}
		}
		if g.granted < 0 || g.granted > g.owed && f.rows[g.counter] > g.limit {
			f.t.Errorf("granted %d of %v, %d are durable then and %d the limit", g.granted, g.counter, f.rows[g.counter], g.limit)
		}
	}
}

// hooks sets what fails from now on.
func (f *fakeDB) hooks(before, after func(int, *batch) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.before, f.after = before, after
}

func (f *fakeDB) durable(c Counter) int64 {
	n, _ := f.used(c)
	return n
}

func (f *fakeDB) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.commits)
}

func (f *fakeDB) latest() committed {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.commits[len(f.commits)-1]
}

// newFake makes a ledger over a fake. Its clock and its sweeper stand still.
func newFake(t testing.TB) (*Ledger, *fakeDB, *clock) {
	t.Helper()
	f := &fakeDB{t: t, rows: make(map[Counter]int64)}
	c := new(clock)
	l := newLedger(f, c.now)
	l.sweeper.Stop()
	t.Cleanup(func() {
		f.hooks(nil, nil)
		l.Close()
	})
	return l, f, c
}

// always is a hook that fails with err.
func always(err error) func(int, *batch) error {
	return func(int, *batch) error { return err }
}

// gate is a hook that says when it is reached, and waits then.
func gate() (hook func(int, *batch) error, reached <-chan struct{}, open func()) {
	in, out := make(chan struct{}, 1000), make(chan struct{})
	return func(int, *batch) error { in <- struct{}{}; <-out; return nil }, in, sync.OnceFunc(func() { close(out) })
}

func sweepAll(l *Ledger, now time.Time) {
	for i := range l.accounts {
		l.sweepShard(&l.accounts[i], now)
	}
}

// leased is what memory holds of a counter.
func leased(l *Ledger, c Counter) (lease, ahead int64) {
	a := l.lock(c)
	defer a.mu.Unlock()
	return a.lease, a.ahead
}

// each admits a call and lets the writer finish what that has caused.
func each(t testing.TB, l *Ledger, tok *Token, charges ...Charge) {
	t.Helper()
	admit(t, l, tok, charges...)
	l.flush()
}

func start(l *Ledger, tok *Token, charges ...Charge) <-chan error {
	done := make(chan error, 1)
	go func() { done <- l.charge(context.Background(), tok, charges) }()
	return done
}

// waitFor waits until something is true that others bring about.
func waitFor(t testing.TB, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !is(); time.Sleep(50 * time.Microsecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// waiting waits until so many units of a counter are asked for.
func waiting(t testing.TB, l *Ledger, c Counter, need int64) {
	t.Helper()
	waitFor(t, fmt.Sprint("need of ", need), func() bool {
		a := l.lock(c)
		defer a.mu.Unlock()
		return a.need == need
	})
}

func counterOf(id string) Counter { return TokenCounter("acme", id) }

// ---- durable first ----

func TestCallIsServedOnlyAfterTheCommit(t *testing.T) {
	l, f, _ := newFake(t)
	tok := newToken("a")
	each(t, l, tok)
	hook, reached, open := gate()
	defer open()
	f.hooks(hook, nil)
	done := start(l, tok, tok.calls(1, 10))
	<-reached
	select {
	case err := <-done:
		t.Fatalf("served before the commit: %v", err)
	case <-time.After(20 * time.Millisecond):
	}
	open()
	if err := <-done; err != nil || f.durable(counterOf("a")) != 1 {
		t.Errorf("%v, %d durable", err, f.durable(counterOf("a")))
	}
}

// A failed commit shows until one succeeds, for which nobody has to call.
func TestHealthFollowsCommits(t *testing.T) {
	l, f, _ := newFake(t)
	tok := newToken("a")
	f.hooks(always(errDisk), nil)
	if err := l.charge(t.Context(), tok, []Charge{tok.calls(1, 10)}); !errors.Is(err, ErrUnavailable) || !errors.Is(l.Health(), errDisk) || l.Err() != nil {
		t.Fatalf("%v; health is %v, and it is down for %v", err, l.Health(), l.Err())
	}
	l.flush()
	if err := l.Health(); !errors.Is(err, errDisk) || !errors.Is(err, ErrUnavailable) {
		t.Errorf("nothing could be written yet, and health is %v", err)
	}
	f.hooks(nil, nil)
	l.flush()
	if err := l.Health(); err != nil {
		t.Errorf("something could be written, and health is %v", err)
	}
	before := f.count()
	if l.flush(); f.count() != before {
		t.Error("a healthy ledger writes for nothing")
	}
}

func TestCommitThatFailedServesNobody(t *testing.T) {
	l, f, _ := newFake(t)
	tok := newToken("a")
	each(t, l, tok)
	f.hooks(always(errDisk), nil)
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if err := l.charge(context.Background(), tok, []Charge{tok.calls(1, 100)}); !errors.Is(err, ErrUnavailable) || !errors.Is(err, errDisk) {
				t.Errorf("error %v, want ErrUnavailable and its cause", err)
			}
		})
	}
	wg.Wait()
	f.hooks(nil, nil)
	l.flush()
	if lease, _ := leased(l, counterOf("a")); lease > f.durable(counterOf("a")) {
		t.Errorf("%d leased, %d durable", lease, f.durable(counterOf("a")))
	}
	each(t, l, tok, tok.calls(1, 100)) // the next one may succeed
}

func TestLostReplyLosesUnitsAndGivesNoneAway(t *testing.T) {
	l, f, _ := newFake(t)
	tok := newToken("a")
	each(t, l, tok)
	f.hooks(nil, always(errDisk))
	wantRefused(t, l, ErrUnavailable, tok, tok.calls(3, 10))
	f.hooks(nil, nil)
	if n := f.durable(counterOf("a")); n != 3 {
		t.Fatalf("%d durable, want the 3 whose reply was lost", n)
	}
	for range 7 {
		each(t, l, tok, tok.calls(1, 10))
	}
	wantRefused(t, l, ErrExhausted, tok, tok.calls(1, 10))
}

// Whatever fails and whenever: served ≤ durable ≤ limit.
func TestServedIsDurableWhateverFails(t *testing.T) {
	l, f, c := newFake(t)
	limits := map[string]int64{"a": 3, "b": 150, "c": 2_000, "d": 1_000_000}
	random := func(p float64) func(int, *batch) error {
		return func(int, *batch) error {
			if rand.Float64() < p {
				return errDisk
			}
			return nil
		}
	}
	f.hooks(random(0.2), random(0.2))
	served := map[string]*atomic.Int64{}
	var wg sync.WaitGroup
	for id, limit := range limits {
		count := new(atomic.Int64)
		served[id] = count
		for range 8 {
			wg.Go(func() {
				tok := newToken(id)
				for range 500 {
					before := count.Load() // those are durable, and stay so
					err := l.charge(context.Background(), tok, []Charge{tok.calls(1, limit)})
					if err == nil {
						count.Add(1)
					} else if !errors.Is(err, ErrExhausted) && !errors.Is(err, errDisk) {
						t.Error(err)
					}
					if n := f.durable(counterOf(id)); n < before || n > limit {
						t.Errorf("%s: %d served, %d durable, limit %d", id, before, n, limit)
					}
				}
			})
		}
	}
	wg.Go(func() {
		for range 200 {
			sweepAll(l, c.now().Add(time.Duration(rand.IntN(2))*forgetPast+idleAfter))
			time.Sleep(100 * time.Microsecond)
		}
	})
	wg.Wait()
	for id, limit := range limits {
		s, d := served[id].Load(), f.durable(counterOf(id))
		lostAll := s == 0 && limit > 100 // a few units may all be lost with their replies
		if s > d || d > limit || lostAll {
			t.Errorf("%s: %d served, %d durable, limit %d", id, s, d, limit)
		}
	}
}

// After a failed fsync nobody knows what the disk holds: those who came during
// that commit are refused as well, although the next one would succeed.
func TestBrokenDatabaseIsNotAskedAgain(t *testing.T) {
	l, f, _ := newFake(t)
	tok := newToken("a")
	each(t, l, tok)
	hook, reached, open := gate()
	f.hooks(func(n int, b *batch) error {
		if n == 1 {
			hook(n, b)
			return fmt.Errorf("%w: fsync", errBroken)
		}
		return nil
	}, nil)
	first := start(l, tok, tok.calls(1, 10))
	<-reached
	second := start(l, tok, tok.calls(1, 10))
	waiting(t, l, counterOf("a"), 1)
	stranger := start(l, newToken("b"))
	open()
	for i, done := range []<-chan error{first, second, stranger} {
		if err := <-done; !errors.Is(err, ErrUnavailable) {
			t.Errorf("call %d: %v, want ErrUnavailable", i, err)
		}
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if n := f.count(); n != 2 {
		t.Errorf("%d commits, want none after the broken one", n-2)
	}
}

// ---- returns ----

func TestReturnLeavesMemoryFirst(t *testing.T) {
	l, f, c := newFake(t)
	tok := newToken("a")
	each(t, l, tok, tok.calls(3, 3))
	if err := l.Settle([]Charge{tok.calls(3, 3)}, Amounts{}); err != nil {
		t.Fatal(err)
	}
	hook, reached, open := gate()
	defer open()
	f.hooks(hook, nil)
	sweepAll(l, c.now().Add(idleAfter))
	<-reached
	if lease, _ := leased(l, counterOf("a")); lease != 0 || f.durable(counterOf("a")) != 3 {
		t.Errorf("%d leased, %d durable while the return is in flight", lease, f.durable(counterOf("a")))
	}
	open()
	l.flush()
	if n := f.durable(counterOf("a")); n != 0 {
		t.Errorf("%d durable after the return", n)
	}
}

// A provider that is away gives all its calls back. A crash must not lose them.
func TestWhatIsGivenBackIsNotHoarded(t *testing.T) {
	l, f, _ := newFake(t)
	tok := newToken("a")
	each(t, l, tok, tok.calls(200, 300))
	for range 200 {
		if err := l.Settle([]Charge{tok.calls(1, 300)}, Amounts{}); err != nil {
			t.Fatal(err)
		}
	}
	l.flush()
	if lease, _ := leased(l, counterOf("a")); lease > maxAhead || f.durable(counterOf("a")) != lease {
		t.Errorf("%d leased and %d durable, with no call served", lease, f.durable(counterOf("a")))
	}
	each(t, l, tok, tok.calls(300, 300)) // none is lost
}

func TestReturnIsTriedOnce(t *testing.T) {
	for name, lost := range map[string]bool{"nothing done": false, "reply lost": true} {
		t.Run(name, func(t *testing.T) {
			l, f, c := newFake(t)
			tok := newToken("a")
			each(t, l, tok, tok.calls(3, 3))
			if err := l.Settle([]Charge{tok.calls(2, 3)}, Amounts{}); err != nil {
				t.Fatal(err)
			}
			want := int64(3)
			if f.hooks(always(errDisk), nil); lost {
				f.hooks(nil, always(errDisk))
				want = 1
			}
			sweepAll(l, c.now().Add(idleAfter))
			l.flush()
			f.hooks(nil, nil)
			before := f.count()
			l.flush()
			_ = l.charge(context.Background(), tok, []Charge{tok.calls(3, 3)}) // refused, and asks
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			for _, b := range f.commits[before:] {
				if len(b.returns) > 0 && b.returns[0].Amount > 3-want {
					t.Errorf("returned again: %v", b.returns)
				}
			}
			if n := f.durable(counterOf("a")); n != want {
				t.Errorf("%d durable, want %d", n, want)
			}
		})
	}
}

func TestIdleLeaseGoesBackAndTheAccountIsForgotten(t *testing.T) {
	l, f, c := newFake(t)
	tok := newToken("a")
	each(t, l, tok, tok.calls(5, 10))
	if err := l.Settle([]Charge{tok.calls(4, 10)}, Amounts{}); err != nil {
		t.Fatal(err)
	}
	accounts := func() (n int) {
		for i := range l.accounts {
			n += len(l.accounts[i].accounts)
		}
		return n
	}
	for _, step := range []struct {
		after    time.Duration
		durable  int64
		accounts int
	}{
		{idleAfter - 1, 5, 1},
		{1, 1, 1},
		{forgetPast - idleAfter - 1, 1, 1},
		{1, 1, 0},
	} {
		c.advance(step.after)
		sweepAll(l, c.now())
		l.flush()
		if d, n := f.durable(counterOf("a")), accounts(); d != step.durable || n != step.accounts {
			t.Errorf("after %v: %d durable, %d accounts; want %d, %d", time.Duration(c.past.Load()), d, n, step.durable, step.accounts)
		}
	}
	each(t, l, tok, tok.calls(9, 10))
	wantRefused(t, l, ErrExhausted, tok, tok.calls(1, 10))
}

// A grant that is in flight when its account would be forgotten is not lost.
func TestForgettingLosesNoGrant(t *testing.T) {
	l, f, c := newFake(t)
	tok := newToken("a")
	each(t, l, tok, tok.calls(1, 5))
	c.advance(forgetPast - 1)
	hook, reached, open := gate()
	f.hooks(nil, hook)
	done := start(l, tok, tok.calls(1, 5))
	<-reached
	c.advance(1)
	sweepAll(l, c.now())
	open()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	f.hooks(nil, nil)
	for range 3 {
		each(t, l, tok, tok.calls(1, 5))
	}
	wantRefused(t, l, ErrExhausted, tok, tok.calls(1, 5))
}

func TestCloseGivesBackWhatIsLeased(t *testing.T) {
	l, f, _ := newFake(t)
	tok := newToken("a")
	for range 500 {
		each(t, l, tok, tok.calls(1, 1_000_000))
	}
	if lease, _ := leased(l, counterOf("a")); lease == 0 {
		t.Error("nothing was leased")
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if n := f.durable(counterOf("a")); n != 500 {
		t.Errorf("%d durable, want 500", n)
	}
}

// A call that comes too late for Close leaves nothing granted behind.
func TestCloseGrantsNothingToLatecomers(t *testing.T) {
	l, f, c := newFake(t)
	tok := newToken("a")
	each(t, l, tok, tok.calls(1, 10))
	// The call has seen an open ledger when its clock stops, and asks for a unit
	// when Close has flushed what was asked for before.
	reading, resume, done := make(chan struct{}), make(chan struct{}), make(chan struct{})
	var looks atomic.Int32
	c.look.Store(new(func() {
		switch looks.Add(1) {
		case 1:
			close(reading)
			<-resume
		case 2:
			close(resume)
			<-done
		}
	}))
	go func() {
		if err := l.charge(context.Background(), tok, []Charge{tok.calls(1, 10)}); !errors.Is(err, ErrUnavailable) {
			t.Errorf("the latecomer: %v", err)
		}
		close(done)
	}()
	<-reading
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	<-done
	if n := f.durable(counterOf("a")); n != 1 {
		t.Errorf("%d durable after Close, want the one that was served", n)
	}
}

// ---- how a lease grows and shrinks ----

// refill admits calls until a commit has granted units and returns the grant.
func refill(t testing.TB, l *Ledger, f *fakeDB, tok *Token, limit int64) grant {
	t.Helper()
	for before := f.count(); ; {
		each(t, l, tok, tok.calls(1, limit))
		if f.count() > before {
			return f.latest().grants[0]
		}
	}
}

func TestLeaseGoesAheadFromTheSecondGrantUntilItIdles(t *testing.T) {
	for _, tt := range []struct{ limit, ahead int64 }{{1_000_000, 64}, {6_400, 64}, {3_200, 32}, {1_000, 10}, {199, 1}, {99, 0}} {
		t.Run(fmt.Sprint(tt.limit), func(t *testing.T) {
			l, f, c := newFake(t)
			tok := newToken("a")
			for range 2 {
				for i := range 5 {
					g := refill(t, l, f, tok, tt.limit)
					if lease, _ := leased(l, counterOf("a")); i == 0 && lease != 0 || i > 0 && lease != tt.ahead {
						t.Errorf("grant %d, of %d: %d leased", i, g.granted, lease)
					}
					c.advance(idleAfter - 1)
				}
				c.advance(1)
				sweepAll(l, c.now())
				l.flush()
			}
		})
	}
}

// What a crash could lose is bounded at every moment of a token's life.
func TestLeaseIsNeverFarAhead(t *testing.T) {
	for _, limit := range []int64{1, 7, 99, 100, 199, 200, 1_000, 5_000, 20_000} {
		t.Run(fmt.Sprint(limit), func(t *testing.T) {
			t.Parallel()
			l, f, _ := newFake(t)
			tok := newToken("a")
			for served := int64(1); ; served++ {
				err := l.charge(context.Background(), tok, []Charge{tok.calls(1, limit)})
				l.flush()
				if err != nil {
					if served-1 != limit || !errors.Is(err, ErrExhausted) {
						t.Errorf("%d served: %v", served-1, err)
					}
					return
				}
				lease, _ := leased(l, counterOf("a"))
				remaining := limit - f.durable(counterOf("a")) + lease // when it was granted
				if lease > min(maxAhead, limit/aheadShare, remaining/8) {
					t.Fatalf("%d leased after %d of %d", lease, served, limit)
				}
			}
		})
	}
}

func TestGrantIsTheNeedAndAShareOfTheRest(t *testing.T) {
	const top = math.MaxInt64
	for _, tt := range []struct{ limit, used, need, ahead, want int64 }{
		{100, 0, 1, 0, 1}, {100, 0, 1, 64, 13}, {100, 99, 1, 64, 1}, {100, 100, 1, 64, 0}, {100, 200, 1, 64, 0},
		{100, 92, 0, 64, 1}, {100, 93, 0, 64, 0}, {100, 0, 200, 64, 100}, {0, 0, 1, 1, 0},
		{top, 0, 1, 64, 65}, {top, top, 1, 64, 0}, {top, top - 1, top, 64, 1}, {top, 0, top, 64, top},
	} {
		g := grant{limit: tt.limit, need: tt.need, ahead: tt.ahead}
		if got := g.size(tt.used); got != tt.want {
			t.Errorf("%+v: granted %d", tt, got)
		}
	}
}

func TestSmallLimitsCommitEveryCall(t *testing.T) {
	for _, tt := range []struct{ limit, calls, least int64 }{{5, 5, 5}, {50, 50, 50}, {99, 99, 99}, {199, 100, 50}} {
		l, f, _ := newFake(t)
		tok := newToken("a")
		each(t, l, tok) // it may become known in a commit of its own
		before := f.count()
		for range tt.calls {
			each(t, l, tok, tok.calls(1, tt.limit))
		}
		if n := int64(f.count() - before); n < tt.least || n > tt.calls {
			t.Errorf("limit %d: %d commits for %d calls", tt.limit, n, tt.calls)
		}
	}
}

func TestLargeLimitsSeldomCommit(t *testing.T) {
	l, f, _ := newFake(t)
	tok := newToken("a")
	for range 10_000 {
		each(t, l, tok, tok.calls(1, 1_000_000))
	}
	if n := f.count(); n > 10_000/(maxAhead/2)+20 {
		t.Errorf("%d commits for 10 000 calls", n)
	}
}

func TestRefillComesBeforeItIsNeeded(t *testing.T) {
	l, f, _ := newFake(t)
	tok := newToken("a")
	for range 500 {
		each(t, l, tok, tok.calls(1, 1_000_000))
	}
	hook, reached, open := gate()
	defer open()
	f.hooks(hook, nil)
	lease, ahead := leased(l, counterOf("a"))
	for left := lease - 1; left >= 0; left-- { // all are served while the disk stands still
		admit(t, l, tok, tok.calls(1, 1_000_000))
		switch {
		case left > ahead/2 && len(reached) > 0:
			t.Fatalf("asked with %d of %d left", left, ahead)
		case left == ahead/2:
			<-reached
		}
	}
}

// ---- limits that change ----

// A lower limit takes the lease back in the transaction in which it first asks.
func TestLowerLimitTakesTheLeaseBack(t *testing.T) {
	for _, tt := range []struct{ limit, kept int64 }{
		{501, 1},    // what the call is for
		{502, 2},    // what the limit permits
		{600, 6},    // what it permits to be ahead
		{3_200, 32}, // likewise
	} {
		t.Run(fmt.Sprint(tt.limit), func(t *testing.T) {
			l, f, _ := newFake(t)
			tok := newToken("a")
			for range 500 {
				each(t, l, tok, tok.calls(1, 1_000_000))
			}
			if lease, _ := leased(l, counterOf("a")); lease <= tt.kept {
				t.Fatalf("only %d are leased", lease)
			}
			admit(t, l, tok, tok.calls(1, tt.limit))
			if lease, _ := leased(l, counterOf("a")); lease != tt.kept-1 {
				t.Errorf("%d leased after the call, want %d", lease, tt.kept-1)
			}
			for used := int64(501); used < min(tt.limit, 510); used++ {
				each(t, l, tok, tok.calls(1, tt.limit))
			}
			if tt.limit < 510 {
				wantRefused(t, l, ErrExhausted, tok, tok.calls(1, tt.limit))
			}
			l.flush()
			if n := f.durable(counterOf("a")); n > tt.limit {
				t.Errorf("%d durable", n)
			}
		})
	}
}

func TestUsedUpUnderALowerLimitIsKnownWithoutACommit(t *testing.T) {
	l, f, _ := newFake(t)
	tok := newToken("a")
	for range 500 {
		each(t, l, tok, tok.calls(1, 1_000_000))
	}
	before := f.count()
	wantRefused(t, l, ErrExhausted, tok, tok.calls(1, 500))
	wantRefused(t, l, ErrExhausted, tok, tok.calls(2, 501))
	if n := f.count(); n != before {
		t.Errorf("%d commits to find out", n-before)
	}
	admit(t, l, tok, tok.calls(1, 501))
}

func TestLimitLoweredDuringACommit(t *testing.T) {
	l, f, _ := newFake(t)
	tok := newToken("a")
	each(t, l, tok, tok.calls(5, 100))
	hook, reached, open := gate()
	defer open()
	f.hooks(nil, hook)
	higher := start(l, tok, tok.calls(4, 100))
	<-reached
	lower := start(l, tok, tok.calls(1, 6))
	waiting(t, l, counterOf("a"), 1)
	open()
	want := int64(9)
	switch err := <-lower; { // it depends on which of them comes first then
	case err == nil:
		want = 10
	case !errors.Is(err, ErrExhausted):
		t.Errorf("lower: %v", err)
	}
	if err := <-higher; err != nil { // it brings its own limit, and that is in force again
		t.Errorf("higher: %v", err)
	}
	l.flush()
	lease, _ := leased(l, counterOf("a"))
	if n := f.durable(counterOf("a")) - lease; n != want {
		t.Errorf("%d durable and not leased, want %d", n, want)
	}
}

// Calls that came by an old configuration and by a new one bring different limits.
func TestCallsWithDifferentLimitsDoNotTakeTurnsForEver(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for range 100 {
		l, f, _ := newFake(t)
		tok := newToken("a")
		var served atomic.Int64
		var wg sync.WaitGroup
		for i := range 16 {
			wg.Go(func() {
				units, limit := int64(1+i%4), []int64{5, 9, 50, 1_000}[i%4]
				switch err := l.charge(ctx, tok, []Charge{tok.calls(units, limit)}); {
				case err == nil:
					served.Add(units)
				case !errors.Is(err, ErrExhausted):
					t.Error(err)
				}
			})
		}
		wg.Wait()
		l.flush()
		lease, _ := leased(l, counterOf("a"))
		if n := f.durable(counterOf("a")) - lease; n != served.Load() {
			t.Errorf("%d served, %d durable and not leased", served.Load(), n)
		}
		if t.Failed() {
			return
		}
	}
}

// Who calls now and then waits for the disk twice, and then no more.
func TestSlowTokenDoesNotWait(t *testing.T) {
	l, f, c := newFake(t)
	tok := newToken("a")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	each(t, l, tok, tok.calls(1, 1000))
	each(t, l, tok, tok.calls(1, 1000))
	for range 100 {
		c.advance(idleAfter - 1)
		sweepAll(l, c.now())
		l.flush()
		hook, _, open := gate()
		f.hooks(hook, nil) // no commit comes to its end before the call
		err := l.charge(ctx, tok, []Charge{tok.calls(1, 1000)})
		open()
		if err != nil {
			t.Fatal(err)
		}
		l.flush()
		f.hooks(nil, nil)
	}
}

// Also the bound on what is ahead is that of the new limit.
func TestLowerLimitIsLeasedLessAhead(t *testing.T) {
	l, _, _ := newFake(t)
	tok := newToken("a")
	for range 500 {
		each(t, l, tok, tok.calls(1, 1_000_000))
	}
	each(t, l, tok, tok.calls(1, 1_000))
	if lease, _ := leased(l, counterOf("a")); lease > 1_000/aheadShare {
		t.Errorf("%d leased under a limit of 1000", lease)
	}
}

func TestHigherLimitHoldsAtOnce(t *testing.T) {
	l, _, _ := newFake(t)
	tok := newToken("a")
	each(t, l, tok, tok.calls(5, 5))
	wantRefused(t, l, ErrExhausted, tok, tok.calls(1, 5))
	each(t, l, tok, tok.calls(1, 6))
	wantRefused(t, l, ErrExhausted, tok, tok.calls(1, 6))
}

func TestLimitRaisedWhileARefusalIsBeingMade(t *testing.T) {
	l, f, _ := newFake(t)
	f.rows[counterOf("a")] = 6
	tok := newToken("a")
	hook, reached, open := gate()
	f.hooks(hook, nil)
	done := start(l, tok, tok.calls(2, 7))
	<-reached
	raised := start(l, tok, tok.calls(2, 8))
	waiting(t, l, counterOf("a"), 2)
	open()
	if err := <-raised; err != nil {
		t.Errorf("raised: %v", err)
	}
	if err := <-done; !errors.Is(err, ErrExhausted) {
		t.Errorf("not raised: %v", err)
	}
}

// What is given back under a lower limit was granted under the higher one: it
// is no unit of the lower one.
func TestSettlingUnderALowerLimitGrantsNothing(t *testing.T) {
	l, f, _ := newFake(t)
	tok := newToken("a")
	three := []Charge{tok.calls(3, 3)}
	each(t, l, tok, three...)
	wantRefused(t, l, ErrExhausted, tok, tok.calls(1, 1))
	if err := l.Settle([]Charge{tok.calls(1, 3)}, Amounts{}); err != nil {
		t.Fatal(err)
	}
	if err := l.charge(context.Background(), tok, []Charge{tok.calls(1, 1)}); !errors.Is(err, ErrExhausted) {
		t.Errorf("with 2 used and a limit of 1: %v", err)
	}
	if err := l.Settle([]Charge{tok.calls(2, 3)}, Amounts{}); err != nil {
		t.Fatal(err)
	}
	each(t, l, tok, tok.calls(1, 1))
	wantRefused(t, l, ErrExhausted, tok, tok.calls(1, 1))
	if n := f.durable(counterOf("a")); n != 1 {
		t.Errorf("%d durable", n)
	}
}

// Calls that bring different limits for one counter do not hold each other up.
func TestDifferentLimitsOnOneCounter(t *testing.T) {
	l, f, _ := newFake(t)
	limits := []int64{10, 500, 1_000, 3_000}
	var served atomic.Int64
	var wg sync.WaitGroup
	for _, limit := range limits {
		for range 4 {
			wg.Go(func() {
				tok := newToken(fmt.Sprint(limit))
				for {
					c := subjectTokens(1, limit)
					if err := l.charge(context.Background(), tok, []Charge{c}); err != nil {
						if !errors.Is(err, ErrExhausted) {
							t.Error(err)
						}
						return
					}
					served.Add(1)
				}
			})
		}
	}
	wg.Wait()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if n := f.durable(subjectTokens(1, 1).Counter); n != served.Load() || n != 3_000 {
		t.Errorf("%d durable, %d served, want 3000", n, served.Load())
	}
}

// ---- used up ----

func TestUsedUpIsBelievedBriefly(t *testing.T) {
	l, f, c := newFake(t)
	tok := newToken("a")
	each(t, l, tok, tok.calls(5, 5))
	wantRefused(t, l, ErrExhausted, tok, tok.calls(1, 5))
	asked := f.count()
	c.advance(believeFor - 1)
	for range 100 {
		wantRefused(t, l, ErrExhausted, tok, tok.calls(1, 5))
	}
	if n := f.count(); n != asked {
		t.Errorf("%d commits within %v", n-asked, believeFor)
	}
	f.mu.Lock()
	f.rows[counterOf("a")] = 4 // somebody else gave one back
	f.mu.Unlock()
	c.advance(1)
	each(t, l, tok, tok.calls(1, 5))
	wantRefused(t, l, ErrExhausted, tok, tok.calls(1, 5))

	// What is given back here is there at once.
	if err := l.Settle([]Charge{tok.calls(1, 5)}, Amounts{}); err != nil {
		t.Fatal(err)
	}
	each(t, l, tok, tok.calls(1, 5))
}

func TestUsedUpIsNotBelievedWhileUnitsAreOnTheirWayBack(t *testing.T) {
	l, f, c := newFake(t)
	tok := newToken("a")
	each(t, l, tok, tok.calls(10, 10))
	if err := l.Settle([]Charge{tok.calls(5, 10)}, Amounts{}); err != nil {
		t.Fatal(err)
	}
	c.advance(believeFor)
	hook, reached, open := gate()
	f.hooks(nil, hook)
	six := start(l, tok, tok.calls(6, 10)) // finds nothing for the sixth
	<-reached
	sweepAll(l, c.now().Add(idleAfter)) // and the five leave meanwhile
	open()
	if err := <-six; !errors.Is(err, ErrExhausted) {
		t.Errorf("six: %v", err)
	}
	each(t, l, tok, tok.calls(5, 10))
}

func TestSlowLeasesAreFilledTogether(t *testing.T) {
	l, f, c := newFake(t)
	const tokens = 20
	charges := make([]Charge, tokens)
	for i := range charges {
		tok := newToken(fmt.Sprint(i))
		charges[i] = tok.calls(1, 1_000_000)
		each(t, l, tok)
		for range 2 { // the second goes ahead
			each(t, l, tok, charges[i])
		}
	}
	l.flush()
	before := f.count()
	c.advance(2*sweepEvery + believeFor + 1)
	for i, charge := range charges {
		for range maxAhead * 3 / 4 {
			admit(t, l, newToken(fmt.Sprint(i)), charge)
		}
	}
	if n := f.count() - before; n != 0 {
		t.Errorf("%d commits for leases that last", n)
	}
	hook, reached, open := gate()
	open()
	f.hooks(hook, nil)
	l.sweeper.Reset(time.Millisecond)
	<-reached
	l.flush() // waits for the commit
	if n := len(f.latest().grants); n != tokens || f.count() != before+1 {
		t.Errorf("the next sweep fills %d of %d", n, tokens)
	}
}

func TestKnownTokenWithoutLimitsNeedsNoCommit(t *testing.T) {
	l, f, _ := newFake(t)
	tok := newToken("a")
	each(t, l, tok)
	f.hooks(always(errDisk), nil)
	for range 1_000 {
		admit(t, l, tok)
	}
	if n := f.count(); n != 1 {
		t.Errorf("%d commits", n)
	}
	wantRefused(t, l, ErrUnavailable, newToken("b"))
}

// ---- several counters ----

func TestSeveralCountersTakeOneCommit(t *testing.T) {
	l, f, _ := newFake(t)
	tok := newToken("a")
	each(t, l, tok)
	charges := make([]Charge, 12)
	for i := range charges {
		charges[i] = Charge{Counter{Scope: ScopeSubject, ID: fmt.Sprint(i), Unit: UnitCalls}, 1, 10_000}
	}
	const calls = 2_000
	for range calls {
		for i := range charges {
			a := l.lock(charges[i].Counter)
			a.ahead = 0 // so that nothing is leased beyond the need
			a.mu.Unlock()
		}
		admit(t, l, tok, charges...)
	}
	l.flush()
	if n := f.count() - 1; n > 2*calls { // the writer may wake between two of them
		t.Errorf("%d commits for %d calls", n, calls)
	}
	for _, c := range charges {
		if lease, _ := leased(l, c.Counter); lease > 0 {
			t.Errorf("%d are leased that nobody needs", lease)
		}
	}
}

// Many goroutines charge overlapping sets of counters in every order, while
// accounts are forgotten under their hands. It ends, and what is durable in the
// end is what was served.
func TestOverlappingChargesWhileAccountsAreForgotten(t *testing.T) {
	l, f, c := newFake(t)
	const counters, goroutines, calls = 8, 32, 400
	var charge [counters]Charge
	var served [counters]atomic.Int64
	for i := range charge {
		charge[i] = Charge{Counter{Scope: ScopeIssuer, ID: fmt.Sprint(i), Unit: UnitCalls}, 1, int64(10 + 300*i*i)}
	}
	stop := make(chan struct{})
	var sweeping, calling sync.WaitGroup
	sweeping.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				sweepAll(l, c.now().Add([]time.Duration{idleAfter, forgetPast}[rand.IntN(2)]))
			}
		}
	})
	for g := range goroutines {
		calling.Go(func() {
			tok := newToken(fmt.Sprint(g))
			for range calls {
				var charges []Charge
				set := rand.Perm(counters)[:1+rand.IntN(4)]
				if rand.IntN(4) == 0 {
					set = append(set, set[0]) // twice in one call
				}
				for _, i := range set {
					charges = append(charges, charge[i])
				}
				err := l.charge(context.Background(), tok, charges)
				if err != nil {
					if !errors.Is(err, ErrExhausted) {
						t.Error(err)
					}
					continue
				}
				if rand.IntN(10) == 0 {
					if err := l.Settle(charges, Amounts{}); err != nil {
						t.Error(err)
					}
					continue
				}
				for _, i := range set {
					served[i].Add(1)
				}
			}
		})
	}
	ended := make(chan struct{})
	go func() { calling.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-time.After(60 * time.Second):
		panic("deadlock") // with all stacks
	}
	close(stop)
	sweeping.Wait()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for i := range charge {
		if s, d := served[i].Load(), f.durable(charge[i].Counter); s != d || s == 0 {
			t.Errorf("limit %d: %d served, %d durable", charge[i].Limit, s, d)
		}
	}
}

// The account of a counter that is charged twice is forgotten between the two.
func TestCounterChargedTwiceIsForgottenBetween(t *testing.T) {
	l, _, c := newFake(t)
	tok := newToken("a")
	each(t, l, tok, tok.calls(1, 10))
	a := l.account(counterOf("a"))
	c.look.Store(new(func() { // when the second account is made
		a.sweep(noon.Add(forgetPast))
	}))
	done := start(l, tok, tok.calls(1, 10), subjectTokens(1, 10), tok.calls(1, 10))
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		panic("deadlock")
	}
}

// ---- numbers without end ----

func TestSumsDoNotOverflow(t *testing.T) {
	const top = math.MaxInt64
	t.Run("in one call", func(t *testing.T) {
		l, f, _ := newFake(t)
		tok := newToken("a")
		each(t, l, tok)
		wantRefused(t, l, ErrExhausted, tok, tok.calls(top, 10), tok.calls(top, 10))
		wantRefused(t, l, ErrExhausted, tok, tok.calls(top, top-1), tok.calls(3, top-1))
		l.flush()
		if lease, _ := leased(l, counterOf("a")); lease < 0 || f.durable(counterOf("a")) < lease {
			t.Errorf("%d leased, %d durable", lease, f.durable(counterOf("a")))
		}
	})
	t.Run("of several calls", func(t *testing.T) {
		l, f, c := newFake(t)
		tok := newToken("a")
		each(t, l, tok, tok.calls(5, top))
		c.advance(believeFor)
		hook, reached, open := gate()
		f.hooks(hook, nil)
		first := start(l, newToken("b"))
		<-reached
		calls := []<-chan error{start(l, tok, tok.calls(top, top)), start(l, tok, tok.calls(top, top))}
		a := l.account(counterOf("a"))
		waitFor(t, "both", func() bool { a.mu.Lock(); defer a.mu.Unlock(); return a.asked })
		time.Sleep(20 * time.Millisecond)
		open()
		for _, done := range append(calls, first) {
			if err := <-done; err != nil && !errors.Is(err, ErrExhausted) {
				t.Error(err)
			}
		}
		l.flush()
		if lease, _ := leased(l, counterOf("a")); lease < 0 || f.durable(counterOf("a")) < 5+lease {
			t.Errorf("%d leased, %d durable, 5 served", lease, f.durable(counterOf("a")))
		}
	})
}

// A call that wants more than there ever was takes nothing from others.
func TestImpossibleCallLeasesNothing(t *testing.T) {
	l, f, _ := newFake(t)
	tok := newToken("a")
	each(t, l, tok, tok.calls(1, 1_000_000))
	wantRefused(t, l, ErrExhausted, tok, tok.calls(1_000_001, 1_000_000))
	l.flush()
	if n := f.durable(counterOf("a")); n > 1+maxAhead {
		t.Errorf("%d durable after a call that was refused; a crash would lose them", n)
	}
}

// ---- many at once ----

func contractThousandGoroutinesGetExactlyTheLimit(t *testing.T, k kind) {
	for _, limit := range []int64{1, 7, 100, 20_000} {
		t.Run(fmt.Sprint(limit), func(t *testing.T) {
			t.Parallel()
			path := k.place(t)
			s := k.openAt(t, path)
			tok := newToken("a")
			var served atomic.Int64
			var wg sync.WaitGroup
			for range 1_000 {
				wg.Go(func() {
					for {
						err := s.charge(context.Background(), tok, []Charge{tok.calls(1, limit)})
						if err != nil {
							if !errors.Is(err, ErrExhausted) {
								t.Error(err)
							}
							return
						}
						served.Add(1)
					}
				})
			}
			wg.Wait()
			if served.Load() != limit {
				t.Errorf("served %d, want %d", served.Load(), limit)
			}
			s = k.reopen(t, s, path)
			if n, err := s.db.used(counterOf("a")); n != limit || err != nil {
				t.Errorf("%d durable, %v", n, err)
			}
		})
	}
}

// The limit goes up and down while a thousand goroutines call.
func contractLimitsThatChangeUnderLoad(t *testing.T, k kind) {
	for _, limits := range [][]int64{{1, 7, 3, 9}, {100, 50, 120, 60, 150}, {20_000, 500, 3_000, 20_000, 10_000}} {
		t.Run(fmt.Sprint(limits), func(t *testing.T) {
			t.Parallel()
			path := k.place(t)
			s := k.openAt(t, path)
			tok := newToken("a")
			highest := slices.Max(limits)
			var served, limit atomic.Int64
			stop := make(chan struct{})
			var wg sync.WaitGroup
			limit.Store(limits[0])
			for range 1_000 {
				wg.Go(func() {
					for {
						select {
						case <-stop:
							return
						default:
						}
						l := limit.Load()
						err := s.charge(context.Background(), tok, []Charge{tok.calls(1, l)})
						if err == nil {
							served.Add(1)
						} else if !errors.Is(err, ErrExhausted) {
							t.Error(err)
							return
						} else {
							time.Sleep(10 * time.Millisecond)
						}
					}
				})
			}
			for _, l := range limits {
				limit.Store(l)
				time.Sleep(100 * time.Millisecond)
				for range 3 { // now no call that brings an older limit is in flight for long
					n, err := s.db.used(counterOf("a"))
					if err != nil || n > highest {
						t.Errorf("%d durable, %v; the highest limit is %d", n, err, highest)
					}
				}
			}
			// Under the highest limit all that remains is served, and no more.
			limit.Store(highest)
			waitFor(t, "the highest limit", func() bool { return served.Load() >= highest })
			time.Sleep(20 * time.Millisecond)
			close(stop)
			wg.Wait()
			s = k.reopen(t, s, path)
			n, err := s.db.used(counterOf("a"))
			if err != nil || n != highest || served.Load() != highest {
				t.Errorf("%d durable, %v, %d served; want %d", n, err, served.Load(), highest)
			}
		})
	}
}
