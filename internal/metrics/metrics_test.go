package metrics

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/relayapi/caddy-relayapi/tokenstore"
)

// store is a store that tells what it is told to.
type store struct {
	health   error
	size     int64
	flying   InFlight
	leases   map[tokenstore.Unit]tokenstore.Leases
	commit   time.Time
	onCommit func(time.Duration, error)
}

func (s *store) InFlight() InFlight                             { return s.flying }
func (s *store) Leases() map[tokenstore.Unit]tokenstore.Leases  { return s.leases }
func (s *store) Health() error                                  { return s.health }
func (s *store) LastCommit() time.Time                          { return s.commit }
func (s *store) OnCommit(f func(took time.Duration, err error)) { s.onCommit = f }
func (s *store) Size() (int64, error) {
	if s.size == 0 {
		return 0, errors.New("unknown")
	}
	return s.size, nil
}

// everything is one of each kind of usage.
var everything = tokenstore.Usage{
	Calls: 1, Succeeded: 1, ClientErrors: 1, ProviderErrors: 1, Input: 1, CacheRead: 1, CacheWrite: 1, CacheWriteHour: 1,
	Output: 1, Reasoning: 1, AudioInput: 1, AudioOutput: 1, ImageInput: 1, ImageOutput: 1, Cost: 1, Unmetered: 1, Overrun: 1,
}

// series returns what a scrape has, by name and labels.
func series(t *testing.T, s *Set) map[string]float64 {
	t.Helper()
	registry := prometheus.NewPedanticRegistry() // checks each metric against its description
	if err := registry.Register(s); err != nil {
		t.Fatal(err)
	}
	scrape := httptest.NewRecorder()
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(scrape, httptest.NewRequest("GET", "/metrics", nil))
	if scrape.Code != http.StatusOK {
		t.Fatalf("the scrape fails: %s", scrape.Body)
	}
	got := make(map[string]float64)
	for line := range strings.Lines(scrape.Body.String()) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			i := strings.LastIndexByte(line, ' ')
			var n float64
			if _, err := fmt.Sscan(line[i+1:], &n); err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			got[line[:i]] = n
		}
	}
	return got
}

// codes are more than there are.
var codes = func(yield func(string) bool) {
	for code := range 50 {
		if !yield(fmt.Sprintf("code_%d", code)) {
			return
		}
	}
}

// fill makes all series of a set, of many providers, issuers and models.
func fill(s *Set, providers, issuers, models int) {
	for p := range providers {
		for i := range issuers {
			c := s.Caller(fmt.Sprintf("provider-%d", p), fmt.Sprintf("issuer-%d", i))
			s.Refused(c)
			for m := range models {
				c.Observe(fmt.Sprintf("model-%d", m), &everything)
			}
			c.Observe(Other, &everything)
			c.Observe("", &everything)
			c.FirstByte(time.Second)
			for _, status := range []int{0, 101, 200, 302, 400, 401, 429, 500, 999} {
				c.Answered(status)
			}
		}
	}
	s.Refused(nil)
	for _, scope := range []tokenstore.Scope{tokenstore.ScopeToken, tokenstore.ScopeSubject, tokenstore.ScopeIssuer, "client", "total"} {
		for _, unit := range []tokenstore.Unit{"calls", "tokens", "nanousd", "rpm", "concurrency", "requests"} {
			s.Refusal("code_0", string(scope), string(unit))
			s.Left(&tokenstore.Charge{Counter: tokenstore.Counter{Scope: scope, Unit: unit}, Limit: 10}, 0)
		}
	}
	for result := range lookupResults {
		s.LookedUp(Lookup(result))
	}
	s.Admitted(time.Millisecond)
	s.committed(time.Millisecond, errors.New("full"))
	s.Watch(&store{size: 1, commit: time.Now(), leases: map[tokenstore.Unit]tokenstore.Leases{"calls": {Counters: 1, Amount: 1}}})
}

// maxSeries is what the docs promise.
const maxSeries = 2000

func TestSet_BoundsItsSeries(t *testing.T) {
	for name, tc := range map[string]struct{ providers, issuers, models int }{
		"one of each":    {1, 1, 1},
		"many models":    {1, 1, 20_000},
		"many issuers":   {1, 3000, 3},
		"many providers": {500, 2, 3},
		"many of all":    {40, 40, 70},
	} {
		t.Run(name, func(t *testing.T) {
			s := New(codes)
			fill(s, tc.providers, tc.issuers, tc.models)
			got := series(t, s)
			if len(got) >= maxSeries {
				t.Errorf("got %d series, want fewer than %d", len(got), maxSeries)
			}
			t.Logf("%d series", len(got))

			// Nothing is lost beyond a bound.
			want := float64(tc.providers * tc.issuers * (tc.models + 2))
			for _, metric := range []string{"calls_total", "reasoning_tokens_total"} {
				if n := sum(got, metric, ""); n != want {
					t.Errorf("%s: got %v in all, want %v", metric, n, want)
				}
			}
			if n := sum(got, "tokens_total", `kind="image_output"`); n != want {
				t.Errorf("tokens_total: got %v in all, want %v", n, want)
			}
			if n := sum(got, "requests_total", `outcome="succeeded"`); n != want {
				t.Errorf("requests_total: got %v in all, want %v", n, want)
			}
			for _, metric := range []string{"cost_usd_total", "issuer_cost_usd_total", "overrun_usd_total"} {
				if n := math.Round(sum(got, metric, "") * 1e9); n != want {
					t.Errorf("%s: got %v nano-dollars in all, want %v", metric, n, want)
				}
			}
		})
	}
}

// sum adds up the series of a metric that have a text in their labels.
func sum(series map[string]float64, metric, label string) (n float64) {
	for name, value := range series {
		if rest, ok := strings.CutPrefix(name, prefix+metric); ok && (rest == "" || rest[0] == '{') && strings.Contains(rest, label) {
			n += value
		}
	}
	return n
}

// A million tokens of as many subjects pass, and their models are those that clients
// make up. The metering calls these "other", so nothing else can come here.
func TestSet_KnowsNoTokensAndSubjects(t *testing.T) {
	s := New(codes)
	each := 250_000
	if testing.Short() {
		each = 10_000
	}
	all := float64(4 * each)
	var callers sync.WaitGroup
	for g := range 4 {
		callers.Go(func() {
			for i := range each {
				c := s.Caller("demo", fmt.Sprintf("issuer-%d", i%3)) // each token resolves it anew
				c.Observe([]string{"m", Other, ""}[i%3], &tokenstore.Usage{Calls: 1, Succeeded: 1, Input: 3, Cost: 7})
				if i%1000 == g {
					s.Refused(c)
				}
			}
		})
	}
	callers.Wait()
	got := series(t, s)
	if len(got) > 150 {
		t.Errorf("got %d series, want at most 150", len(got))
	}
	for metric, want := range map[string]float64{"calls_total": all, "tokens_total": 3 * all, "cost_usd_total": 7e-9 * all, "issuer_cost_usd_total": 7e-9 * all} {
		if n := sum(got, metric, ""); math.Abs(n-want) > 1e-12 {
			t.Errorf("%s: got %v in all, want %v", metric, n, want)
		}
	}
}

func TestSet_IsCleanToPromlint(t *testing.T) {
	s := New(codes)
	fill(s, 2, 2, 2)
	problems, err := testutil.CollectAndLint(s)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

func TestFamilies_AreWhatIsExported(t *testing.T) {
	s := New(codes)
	fill(s, 1, 1, 1)
	registry := prometheus.NewRegistry()
	registry.MustRegister(s)
	exported, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]string) // type and labels by name
	for _, f := range exported {
		what := strings.ToLower(f.GetType().String())
		for _, l := range f.GetMetric()[0].GetLabel() {
			what += " " + l.GetName()
		}
		got[f.GetName()] = what
	}
	for _, f := range Families() {
		want := strings.Fields(f.Type + " " + strings.Join(f.Labels, " "))
		if have := strings.Fields(got[f.Name]); len(have) != len(want) || have[0] != want[0] || !sameLabels(have[1:], f.Labels) {
			t.Errorf("%s: got %q, want %q", f.Name, have, want)
		}
		delete(got, f.Name)
	}
	if len(got) > 0 {
		t.Errorf("there are also %v", got)
	}
}

func sameLabels(got, want []string) bool {
	for _, l := range want {
		if !strings.Contains(" "+strings.Join(got, " ")+" ", " "+l+" ") {
			return false
		}
	}
	return true
}

func TestSet_LooksAtOpenStores(t *testing.T) {
	s := New(codes)
	if got := series(t, s)[prefix+"store_up"]; got != 0 {
		t.Errorf("without a store: store_up is %v, want 0", got)
	}
	one := &store{size: 100, commit: time.Unix(5, 0), flying: InFlight{1, 2, 3},
		leases: map[tokenstore.Unit]tokenstore.Leases{"nanousd": {Counters: 2, Amount: 1_500_000_001}}}
	two := &store{size: 11, commit: time.Unix(9, 5e8), flying: InFlight{10, 20, 30},
		leases: map[tokenstore.Unit]tokenstore.Leases{"nanousd": {Counters: 1, Amount: 1}, "calls": {Counters: 1, Amount: 64}}}
	stop := s.Watch(one)
	defer s.Watch(two)()
	want := map[string]float64{
		"store_up": 1, "store_size_bytes": 111, "last_commit_timestamp_seconds": 9.5,
		`in_flight{kind="call"}`: 11, `in_flight{kind="stream"}`: 22, `in_flight{kind="socket"}`: 33,
		`leases{unit="usd"}`: 3, `leases{unit="calls"}`: 1, `leases{unit="tokens"}`: 0, "leased_usd": 1.500000002, "leased_calls": 64, "leased_tokens": 0,
	}
	wantSeries(t, s, want)

	one.onCommit(2*time.Millisecond, nil)
	two.onCommit(2*time.Second, errors.New("full"))
	two.health = errors.New("full")
	wantSeries(t, s, map[string]float64{"store_up": 0, "commit_errors_total": 1, "commit_duration_seconds_count": 2, `commit_duration_seconds_bucket{le="0.0025"}`: 1})

	stop()
	two.health, two.size = nil, 0
	got := wantSeries(t, s, map[string]float64{"store_up": 1, `in_flight{kind="call"}`: 10})
	if size, ok := got[prefix+"store_size_bytes"]; ok {
		t.Errorf("an unknown size is told as %v", size)
	}
}

func wantSeries(t *testing.T, s *Set, want map[string]float64) map[string]float64 {
	t.Helper()
	got := series(t, s)
	for name, n := range want {
		if have, ok := got[prefix+name]; !ok || have != n {
			t.Errorf("%s: got %v (%t), want %v", name, have, ok, n)
		}
	}
	return got
}

func TestSet_CountsWhatNearsALimit(t *testing.T) {
	s := New(codes)
	charge := func(unit tokenstore.Unit, limit int64) *tokenstore.Charge {
		return &tokenstore.Charge{Counter: tokenstore.Counter{Scope: tokenstore.ScopeIssuer, Unit: unit}, Limit: limit}
	}
	s.Left(charge("nanousd", 1000), 100) // a tenth is not less
	s.Left(charge("nanousd", 1000), 99)
	s.Left(charge("nanousd", 1000), 0)
	s.Left(charge("calls", 9), 0) // too small to be nearly used up
	wantSeries(t, s, map[string]float64{`refusals_total{code="code_7"}`: 0, `near_limit_calls_total{limit="usd",scope="issuer"}`: 2})
	if n := sum(series(t, s), "near_limit_calls_total", `limit="calls"`); n != 0 {
		t.Errorf("a small limit counted %v times, want 0", n)
	}
}

func TestCaller_NilCountsNothing(t *testing.T) {
	var c *Caller
	c.Observe("m", &everything)
	c.Answered(200)
	c.FirstByte(time.Second)
	s := New(codes)
	s.Refused(c)
	wantSeries(t, s, map[string]float64{`requests_total{issuer="",outcome="refused",provider=""}`: 1})
}

func BenchmarkCaller_Observe(b *testing.B) {
	s := New(codes)
	u := &tokenstore.Usage{Calls: 1, Succeeded: 1, Input: 900, CacheRead: 100, Output: 200, Cost: 12345}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		c := s.Caller("openai", "backend")
		for pb.Next() {
			c.Observe("gpt-5", u)
			c.Answered(200)
			c.FirstByte(time.Second)
			s.Admitted(time.Millisecond)
			s.LookedUp(Hit)
		}
	})
}
