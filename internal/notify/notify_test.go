package notify

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/relayapi/caddy-relayapi/tokenstore"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

var (
	key    = []byte("0123456789abcdefghijklmnopqrstuv")
	secret = "whsec_" + base64.StdEncoding.EncodeToString(key)
	day    = time.Date(2030, 6, 1, 0, 0, 1, 0, time.UTC) // as counters have it
)

// warning is a warning about a budget of a subject.
func warning(raised time.Time) tokenstore.Warning {
	c := tokenstore.Counter{Scope: tokenstore.ScopeSubject, ID: "acme/user/1", Unit: tokenstore.UnitNanoUSD, Window: day}
	return tokenstore.Warning{Counter: c, Limit: 2_500_000_000, Threshold: 80, Used: 2_000_000_001, RaisedAt: raised}
}

func provisioned(t *testing.T, url string) *Config {
	t.Helper()
	t.Setenv("NOTIFY_SECRET", secret+"\n")
	c := &Config{URL: url, Secret: "{env.NOTIFY_SECRET}"}
	if err := c.Provision(); err != nil {
		t.Fatal(err)
	}
	return c
}

// store keeps warnings in memory.
type store struct {
	raised chan struct{}

	mu      sync.Mutex
	waiting map[string]tokenstore.Warning
	due     map[string]time.Time
	broken  error
	claims  int
}

func newStore(all ...tokenstore.Warning) *store {
	s := &store{raised: make(chan struct{}, 1), waiting: map[string]tokenstore.Warning{}, due: map[string]time.Time{}}
	for _, w := range all {
		s.waiting[w.ID()] = w
	}
	return s
}

func (s *store) WarningsRaised() <-chan struct{} { return s.raised }

func (s *store) ClaimWarnings(_ context.Context, n int, lasts time.Duration) (claimed []tokenstore.Warning, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.claims++
	for id, w := range s.waiting {
		if len(claimed) < n && !s.due[id].After(time.Now()) {
			s.due[id] = time.Now().Add(lasts)
			claimed = append(claimed, w)
		}
	}
	return claimed, s.broken
}

func (s *store) SettleWarning(w tokenstore.Warning, next time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := w.ID()
	if next.IsZero() {
		delete(s.waiting, id)
		return nil
	}
	w.Attempts++
	s.waiting[id], s.due[id] = w, next
	return nil
}

func (s *store) left() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.waiting)
}

func (s *store) claimed() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.claims
}

// transport answers without a network.
type transport func(*http.Request) (int, error)

func (t transport) RoundTrip(r *http.Request) (*http.Response, error) {
	status, err := t(r)
	if err != nil {
		return nil, err
	}
	return &http.Response{StatusCode: status, Body: io.NopCloser(strings.NewReader("")), Request: r}, nil
}

// notifier returns a notifier, its log and the events that it emits.
func notifier(s Store, c *Config, t http.RoundTripper) (n *Notifier, logs *observer.ObservedLogs, events func() []map[string]any) {
	core, logs := observer.New(zapcore.DebugLevel)
	var mu sync.Mutex
	var emitted []map[string]any
	n = &Notifier{Store: s, Config: c, Logger: zap.New(core), Ready: func() bool { return true }}
	n.Emit = func(name string, data map[string]any) {
		mu.Lock()
		defer mu.Unlock()
		if name == Event {
			emitted = append(emitted, data)
		}
	}
	n.client.Transport = t
	return n, logs, func() []map[string]any {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(emitted)
	}
}

func TestMessage_HasTheDocumentedForm(t *testing.T) {
	raised := time.Date(2030, 6, 1, 12, 0, 0, 0, time.UTC)
	total := func(scope tokenstore.Scope, id string, unit tokenstore.Unit) tokenstore.Warning {
		return tokenstore.Warning{Counter: tokenstore.Counter{Scope: scope, ID: id, Unit: unit}, Limit: 10, Threshold: 100, Used: 10, RaisedAt: raised}
	}
	month := total(tokenstore.ScopeIssuer, "acme", tokenstore.UnitTokens)
	month.Counter.Window = time.Date(2030, 12, 1, 0, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		warning tokenstore.Warning
		data    string
	}{
		{warning(raised), `{"threshold":80,"scope":"subject","issuer":"acme","subject":"user/1","unit":"usd","limit":"2.50","used":"2.000000001",` +
			`"window_start":"2030-06-01T00:00:00Z","window_end":"2030-06-02T00:00:00Z"}`},
		{total(tokenstore.ScopeToken, "acme/t1", tokenstore.UnitCalls), `{"threshold":100,"scope":"token","issuer":"acme","token_id":"t1","unit":"calls","limit":10,"used":10}`},
		{month, `{"threshold":100,"scope":"issuer","issuer":"acme","unit":"tokens","limit":10,"used":10,` +
			`"window_start":"2030-12-01T00:00:00Z","window_end":"2031-01-01T00:00:00Z"}`},
	} {
		m := messageOf(&tt.warning)
		got, err := json.Marshal(m)
		want := fmt.Sprintf(`{"type":"limit.warning","id":%q,"timestamp":"2030-06-01T12:00:00Z","data":%s}`, tt.warning.ID(), tt.data)
		if err != nil || string(got) != want {
			t.Errorf("got %s, %v\nwant %s", got, err, want)
		}

		// An event has the same values, flat.
		flat := map[string]any{"id": m.ID, "timestamp": m.Timestamp}
		var fields, data map[string]any
		for text, into := range map[string]*map[string]any{tt.data: &data, string(must(json.Marshal(m.Fields()))): &fields} {
			if err := json.Unmarshal([]byte(text), into); err != nil {
				t.Fatal(err)
			}
		}
		for name, value := range data {
			flat[name] = value
		}
		if fmt.Sprint(fields) != fmt.Sprint(flat) {
			t.Errorf("the event has %v, want %v", fields, flat)
		}
	}
}

func must(data []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return data
}

// The example of the Standard Webhooks libraries, whose signature they verify:
// https://github.com/standard-webhooks/standard-webhooks/blob/main/libraries/go/webhook_test.go
func TestSign_AsStandardWebhooks(t *testing.T) {
	key, err := parseSecret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	if err != nil {
		t.Fatal(err)
	}
	header := http.Header{}
	sign(header, key, "msg_p5jXN8AQM9LWM0D4loKWxJek", []byte(`{"test": 2432232314}`), time.Unix(1614265330, 0))
	want := http.Header{
		headerID: {"msg_p5jXN8AQM9LWM0D4loKWxJek"}, headerTimestamp: {"1614265330"},
		headerSignature: {"v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="},
	}
	if fmt.Sprint(header) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", header, want)
	}
}

func TestNotifier_SendsASignedMessage(t *testing.T) {
	got := make(chan *http.Request, 1)
	bodies := make(chan []byte, 1)
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got <- r
		bodies <- body
		for range 1 << 10 { // more than anybody reads
			_, _ = w.Write(make([]byte, 1<<10))
		}
	}))
	defer receiver.Close()

	w := warning(time.Now().Truncate(time.Second))
	s := newStore(w)
	n, logs, events := notifier(s, provisioned(t, receiver.URL+"/hook?a=b"), nil)
	stop := n.Start()
	defer stop()
	r, body := <-got, <-bodies

	if r.Method != "POST" || r.URL.String() != "/hook?a=b" || r.Header.Get("Content-Type") != "application/json" {
		t.Errorf("got %s %s of %s", r.Method, r.URL, r.Header.Get("Content-Type"))
	}
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "%s.%s.%s", w.ID(), r.Header.Get("webhook-timestamp"), body)
	if want := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil)); r.Header.Get("webhook-signature") != want || r.Header.Get("webhook-id") != w.ID() {
		t.Errorf("got signature %s of %s, want %s of %s", r.Header.Get("webhook-signature"), r.Header.Get("webhook-id"), want, w.ID())
	}
	for end := time.Now().Add(10 * time.Second); s.left() > 0 && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	stop()
	if len(events()) != 1 || logs.FilterLevelExact(zapcore.WarnLevel).Len() != 1 || s.left() != 0 {
		t.Errorf("emitted %v, logged %v and left %d, want one, one and none", events(), logs.All(), s.left())
	}
}

func TestNotifier_TriesAgain(t *testing.T) {
	for name, tt := range map[string]struct {
		answers []any // a status or an error; the last one is repeated
		least   int   // attempts
		most    int
	}{
		"answers":    {[]any{204}, 1, 1},
		"comes back": {[]any{500, errors.New("refused"), 404, 410, 200}, 5, 5},
		"redirects":  {[]any{307, 301, 200}, 3, 3},
		"stays away": {[]any{errors.New("refused")}, 10 + 72*8/9, 10 + 72}, // for three days
	} {
		t.Run(name, func(t *testing.T) {
			config := provisioned(t, "https://ops.example.com/secret-path")
			synctest.Test(t, func(t *testing.T) {
				var tries []time.Time
				s := newStore(warning(time.Now()))
				n, logs, events := notifier(s, config, transport(func(r *http.Request) (int, error) {
					answer := tt.answers[min(len(tries), len(tt.answers)-1)]
					tries = append(tries, time.Now())
					if err, ok := answer.(error); ok {
						return 0, err
					}
					return answer.(int), nil
				}))
				stop := n.Start()
				time.Sleep(giveUp + 3*mostRetry)
				stop()

				if len(tries) < tt.least || len(tries) > tt.most || s.left() != 0 {
					t.Errorf("tried %d times, %d left; want %d to %d times, and none left", len(tries), s.left(), tt.least, tt.most)
				}
				for i := 1; i < len(tries); i++ {
					least := mostRetry
					if i < 11 {
						least = min(least, firstRetry<<(i-1))
					}
					if waited := tries[i].Sub(tries[i-1]); waited < least || waited > least+least/8+lookEvery {
						t.Errorf("attempt %d came after %v, want about %v", i+1, waited, least)
					}
				}
				if len(events()) != 1 || logs.FilterMessage("a limit is nearly used up").Len() != 1 {
					t.Errorf("emitted and logged %d and %d times, want once", len(events()), logs.FilterMessage("a limit is nearly used up").Len())
				}
				for _, line := range logs.All() {
					if strings.Contains(fmt.Sprint(line), "secret-path") {
						t.Errorf("the log shows the URL: %v", line)
					}
				}
			})
		})
	}
}

// A warning that was claimed by a relay that died is delivered again.
func TestNotifier_DeliversWhatAnotherHasClaimed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := warning(time.Now())
		s := newStore(w)
		if _, err := s.ClaimWarnings(t.Context(), 1, claimLasts); err != nil {
			t.Fatal(err)
		}
		n, _, events := notifier(s, nil, nil)
		defer n.Start()()
		time.Sleep(claimLasts - time.Second)
		if got := events(); len(got) != 0 {
			t.Errorf("emitted %v while another has the warning", got)
		}
		time.Sleep(time.Second + lookEvery)
		if got := events(); len(got) != 1 || s.left() != 0 {
			t.Errorf("emitted %v and left %d, want one and none", got, s.left())
		}
	})
}

// A config that ends in the middle of an attempt leaves the warning to the next one.
func TestNotifier_StopsAtOnce(t *testing.T) {
	config := provisioned(t, "https://ops.example.com")
	synctest.Test(t, func(t *testing.T) {
		s := newStore(warning(time.Now()))
		n, _, _ := notifier(s, config, transport(func(r *http.Request) (int, error) {
			<-r.Context().Done()
			return 0, r.Context().Err()
		}))
		begin := time.Now()
		stop := n.Start()
		synctest.Wait()
		stop()
		if took := time.Since(begin); took != 0 {
			t.Errorf("stopping took %v", took)
		}
		next, _, events := notifier(s, config, transport(func(*http.Request) (int, error) { return 200, nil }))
		stop = next.Start()
		synctest.Wait()
		stop()
		if s.left() != 0 || len(events()) != 0 {
			t.Errorf("the next config left %d and emitted %v, want none of both", s.left(), events())
		}
	})
}

func TestNotifier_WaitsUntilHandlersAreReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(warning(time.Now()))
		n, _, events := notifier(s, nil, nil)
		var ready atomic.Bool
		n.Ready = ready.Load
		stop := n.Start()
		time.Sleep(time.Minute)
		if s.claimed() != 0 {
			t.Error("claimed a warning too early")
		}
		ready.Store(true)
		time.Sleep(readyEvery)
		synctest.Wait()
		if len(events()) != 1 {
			t.Errorf("emitted %v, want one", events())
		}
		stop()
	})
}

func TestNotifier_ReportsABrokenStoreOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore()
		s.broken = errors.New("broken")
		n, logs, _ := notifier(s, nil, nil)
		stop := n.Start()
		time.Sleep(time.Minute)
		stop()
		if logs.Len() != 1 || s.claims < 10 {
			t.Errorf("logged %d times in %d looks, want once in many", logs.Len(), s.claims)
		}
	})
}

func TestNotifier_DeliversManyAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var all []tokenstore.Warning
		for i := range 5*batch + 1 {
			w := warning(time.Now())
			w.Limit += int64(i)
			all = append(all, w)
		}
		s := newStore(all...)
		n, _, events := notifier(s, nil, nil)
		stop := n.Start()
		synctest.Wait() // without a pause
		stop()
		if len(events()) != len(all) || s.left() != 0 {
			t.Errorf("emitted %d and left %d, want %d and none", len(events()), s.left(), len(all))
		}
	})
}

func TestConfig_Provision(t *testing.T) {
	const literal = "whsec_sk-literal-0123456789abcdef"
	t.Setenv("GOOD", secret)
	t.Setenv("SHORT", "whsec_"+base64.StdEncoding.EncodeToString(key[:23]))
	t.Setenv("LONG", "whsec_"+base64.StdEncoding.EncodeToString(make([]byte, 65)))
	t.Setenv("BARE", strings.TrimPrefix(secret, "whsec_"))
	t.Setenv("LITERAL", literal)
	t.Setenv("HOOK", "https://ops.example.com/sk-literal-path")
	t.Setenv("PLAIN", "http://ops.example.com/sk-literal-path")
	for name, tt := range map[string]struct {
		url, secret string
		want        string // empty: it is right
	}{
		"https":                       {"https://ops.example.com/hook", "{env.GOOD}", ""},
		"this machine":                {"http://127.0.0.1:9000", "{env.GOOD}", ""},
		"this machine by name":        {"http://localhost", "{env.GOOD}", ""},
		"this machine in IPv6":        {"http://[::1]:9000/x", "{env.GOOD}", ""},
		"a URL from the environment":  {"{env.HOOK}", "{env.GOOD}", ""},
		"no URL":                      {"", "{env.GOOD}", "url is invalid"},
		"no scheme":                   {"ops.example.com", "{env.GOOD}", "url is invalid"},
		"another scheme":              {"ftp://ops.example.com", "{env.GOOD}", `scheme "ftp"`},
		"plain http":                  {"http://ops.example.com", "{env.GOOD}", `"ops.example.com"`},
		"plain http by a placeholder": {"{env.PLAIN}", "{env.GOOD}", `"ops.example.com"`},
		"a host that reads like this": {"http://127.0.0.1.example.com", "{env.GOOD}", `"127.0.0.1.example.com"`},
		"an unset URL":                {"{env.NOT_SET}", "{env.GOOD}", "url is invalid"},
		"a user":                      {"https://sk-literal@ops.example.com", "{env.GOOD}", "user or password"},
		"no secret":                   {"https://ops.example.com", "", "secret is missing"},
		"a literal secret":            {"https://ops.example.com", literal, "must be a placeholder"},
		"an unset secret":             {"https://ops.example.com", "{env.NOT_SET}", "{env.NOT_SET} is not set or empty"},
		"a short secret":              {"https://ops.example.com", "{env.SHORT}", "{env.SHORT} must be whsec_"},
		"a long secret":               {"https://ops.example.com", "{env.LONG}", "{env.LONG} must be whsec_"},
		"a secret without its prefix": {"https://ops.example.com", "{env.BARE}", "{env.BARE} must be whsec_"},
		"a secret that is no base64":  {"https://ops.example.com", "{env.LITERAL}", "{env.LITERAL} must be whsec_"},
	} {
		t.Run(name, func(t *testing.T) {
			err := (&Config{URL: tt.url, Secret: tt.secret}).Provision()
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
			if err != nil && (strings.Contains(err.Error(), "literal") && !errors.Is(err, errLiteralSecret) || strings.Contains(err.Error(), "sk-literal")) {
				t.Errorf("quotes a secret: %v", err)
			}
		})
	}
}
