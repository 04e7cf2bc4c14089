//go:build unix

package relayapi

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/relayapi/caddy-relayapi/grant"
	"github.com/relayapi/caddy-relayapi/internal/notify"
	"github.com/relayapi/caddy-relayapi/internal/pgtest"
	"github.com/relayapi/caddy-relayapi/tokenstore"
)

func init() { caddy.RegisterModule(eventHandler{}) }

// eventHandler keeps what it is told of warnings.
type eventHandler struct{}

var heardEvents struct {
	sync.Mutex
	ids []string
}

func (eventHandler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "events.handlers.relayapi_test", New: func() caddy.Module { return new(eventHandler) }}
}

func (eventHandler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	return nil
}

func (eventHandler) Handle(_ context.Context, e caddy.Event) error {
	heardEvents.Lock()
	defer heardEvents.Unlock()
	id, _ := e.Data["id"].(string)
	heardEvents.ids = append(heardEvents.ids, id)
	return nil
}

// receiver is where warnings are sent.
type receiver struct {
	*httptest.Server
	t    *testing.T
	key  []byte
	hold chan struct{} // what is received waits until it is closed; nil: nothing waits

	mu   sync.Mutex
	seen []notify.Message
}

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	r := &receiver{t: t, key: []byte("a key of more than 24 bytes")}
	t.Setenv("NOTIFY_SECRET", "whsec_"+base64.StdEncoding.EncodeToString(r.key))
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, _ := io.ReadAll(req.Body)
	h := req.Header
	mac := hmac.New(sha256.New, r.key)
	fmt.Fprintf(mac, "%s.%s.%s", h.Get("webhook-id"), h.Get("webhook-timestamp"), body)
	var m notify.Message
	if err := json.Unmarshal(body, &m); err != nil || m.ID != h.Get("webhook-id") {
		r.t.Errorf("received %s as %s: %v", body, h.Get("webhook-id"), err)
	}
	if want := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil)); h.Get("webhook-signature") != want {
		r.t.Errorf("received signature %q, want %q", h.Get("webhook-signature"), want)
	}

	r.mu.Lock()
	r.seen = append(r.seen, m)
	hold := r.hold
	r.mu.Unlock()
	if hold != nil {
		<-hold
	}
}

// lines is the config of a relay that sends warnings here, with a handler of its events.
func (r *receiver) lines() option {
	return func(c *testConfig) {
		inApp("notify "+r.URL+"/hook {", "secret {env.NOTIFY_SECRET}", "}")(c)
		c.metrics += "\nevents {\non " + notify.Event + " relayapi_test\n}"
	}
}

func (r *receiver) messages() []notify.Message {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.seen)
}

// wants waits until what was received is as it should be: `threshold@used unit`.
func (r *receiver) wants(when string, want ...string) {
	r.t.Helper()
	var got []string
	if !eventually(func() bool {
		got = nil
		for _, m := range r.messages() {
			got = append(got, fmt.Sprintf("%d@%v %s", m.Data.Threshold, strings.TrimPrefix(m.Data.Used.String(), "$"), m.Data.Unit))
		}
		return slices.Equal(got, want)
	}) {
		r.t.Errorf("%s: received %v, want %v", when, got, want)
	}
}

func TestNotify_WarnsOnceForEachThreshold(t *testing.T) {
	hook, up := newReceiver(t), newUpstream(t, nil)
	relay := startRelay(t, simple(up.URL, hook.lines(), inApp("limit subject calls 5 per day")))
	token := relay.mint()
	call := func(want int) {
		t.Helper()
		if res, body := relay.do(relay.request(bearer(token))); res.StatusCode != want {
			t.Fatalf("got %d %s, want %d", res.StatusCode, body, want)
		}
	}
	for range 4 {
		call(200)
	}
	hook.wants("after 4 calls of 5", "80@4 calls")
	call(200)
	hook.wants("after 5", "80@4 calls", "100@5 calls")
	call(403)

	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	relay.load(relay.lastConfig)
	call(403)

	// The next day, as its calls will be counted.
	first := hook.messages()[0]
	tomorrow := tokenstore.Charge{Amount: 5, Limit: 5, Counter: tokenstore.Counter{
		Scope: tokenstore.ScopeSubject, ID: "backend/user-1", Unit: tokenstore.UnitCalls, Window: first.Data.End.Add(time.Second),
	}}
	permit, err := activeApp(t).running(t.Context()).tokens.open(t.Context(), netip.Prefix{}, token, "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := activeApp(t).ledger.Admit(t.Context(), permit.token, tokenstore.Amounts{}, []tokenstore.Charge{tomorrow}); err != nil {
		t.Fatal(err)
	}
	if !eventually(func() bool { return len(hook.messages()) >= 4 }) {
		t.Fatal("no warnings of the next day")
	}

	days := make(map[string]int)
	ids := make(map[string]bool)
	for _, m := range hook.messages() {
		days[fmt.Sprint(m.Data.Start.Format(time.DateOnly), " ", m.Data.Threshold)]++
		ids[m.ID] = true
		if m.Type != "limit.warning" || m.Data.Scope != "subject" || m.Data.Issuer != "backend" || m.Data.Subject != "user-1" ||
			m.Data.Limit.N != 5 || m.Data.End.Sub(*m.Data.Start) != 24*time.Hour {
			t.Errorf("received %+v", m)
		}
		if !relay.logged(`"logger":"relayapi.limits"`, `"level":"warn"`, fmt.Sprintf(`"threshold":%d`, m.Data.Threshold), m.ID, `"subject":"user-1"`) {
			t.Errorf("the log does not have %+v", m)
		}
	}
	if len(ids) != 4 || len(days) != 4 || len(hook.messages()) != 4 {
		t.Errorf("received %v under %d identifiers, want two on each day", days, len(ids))
	}
	heardEvents.Lock()
	defer heardEvents.Unlock()
	for id := range ids {
		if n := len(slices.DeleteFunc(slices.Clone(heardEvents.ids), func(heard string) bool { return heard != id })); n != 1 {
			t.Errorf("%d events of %s, want one", n, id)
		}
	}
}

// A reservation that is returned raises nothing. A budget that pays for no call any more
// is used up, although a little is left.
func TestNotify_WarnsOfABudget(t *testing.T) {
	hook := newReceiver(t)
	up := newUpstream(t, answerJSON(`{"model":"m","usage":{"prompt_tokens":100,"completion_tokens":100,"total_tokens":200}}`))
	relay := startRelay(t, simple(up.URL, hook.lines(), inApp(testPrices)))
	token := relay.mint(dollars("0.01"), id("t1")) // a call costs $0.0012, and more is reserved
	body := `{"model":"m","messages":[{"role":"user","content":"` + strings.Repeat("x", 200) + `"}],"max_tokens":900}`
	send := func() int {
		res, _ := relay.do(relay.request(bearer(token), chatting(body)))
		return res.StatusCode
	}
	for n := range 7 {
		if status := send(); status != 200 {
			t.Fatalf("call %d: got %d, want 200", n, status)
		}
		wantSpent(t, "t1", tokenstore.UnitNanoUSD, int64(n+1)*1_200_000)
		if n == 5 && len(hook.messages()) > 0 {
			t.Errorf("warned of %+v with 72 %% used", hook.messages()[0])
		}
	}
	hook.wants("after 84 %", "80@0.0084 usd")
	for n := 0; send() == 200; n++ {
		wantSpent(t, "t1", tokenstore.UnitNanoUSD, int64(n+8)*1_200_000)
	}
	last := fmt.Sprintf("100@%s usd", grant.USD(spent(t, "t1", tokenstore.UnitNanoUSD)))
	hook.wants("after a refusal", "80@0.0084 usd", last)
}

// Of several relays one warns, when what all of them have served adds up.
func TestNotify_OneOfSeveralRelaysWarns(t *testing.T) {
	slow(t)
	hook := newReceiver(t)
	c := newCluster(t, pgtest.DSN(t), nil, inApp("notify "+hook.URL+" {", "secret {env.NOTIFY_SECRET}", "}"))
	client, token := newClient(t), c.mint(calls(30))
	for n := range 30 {
		if status, code := c.nodes[n%3].call(t.Context(), client, token, "{}"); status != 200 {
			t.Fatalf("call %d: got %d %s", n, status, code)
		}
	}
	var refused sync.WaitGroup
	for _, n := range c.nodes {
		refused.Go(func() {
			if status, code := n.call(t.Context(), client, token, "{}"); code != codeCallsExhausted {
				t.Errorf("got %d %s, want it to be refused", status, code)
			}
		})
	}
	refused.Wait()
	if !eventually(func() bool { return len(hook.messages()) >= 2 }) {
		t.Error("no warnings")
	}
	for _, n := range c.nodes {
		_ = n.cmd.Process.Signal(os.Interrupt) // what is in flight is sent before they end
		_ = n.cmd.Wait()
	}
	thresholds := make(map[int]int)
	for _, m := range hook.messages() {
		thresholds[m.Data.Threshold]++
		if most := int64(30); m.Data.Used.N < 24 || m.Data.Used.N > most {
			t.Errorf("warned of %d%% with %d of %d used", m.Data.Threshold, m.Data.Used.N, most)
		}
	}
	if thresholds[80] != 1 || thresholds[100] != 1 || len(thresholds) != 2 {
		t.Errorf("received %v, want one of each", thresholds)
	}
}

// A relay that is killed while it delivers a warning delivers it again.
func TestNotify_SurvivesAKill(t *testing.T) {
	slow(t)
	hook, up := newReceiver(t), newUpstream(t, nil)
	hook.hold = make(chan struct{})
	relay := newTestRelay(t)
	node := startNode(t, relay, "killed", func(c *testConfig) { c.baseURL = up.URL },
		inApp("notify "+hook.URL+" {", "secret {env.NOTIFY_SECRET}", "}"))
	node.ready()
	client, token := newClient(t), relay.mint(calls(5))
	for range 4 {
		if status, code := node.call(t.Context(), client, token, "{}"); status != 200 {
			t.Fatalf("got %d %s", status, code)
		}
	}
	hook.wants("before the kill", "80@4 calls")
	node.kill()
	hook.mu.Lock()
	close(hook.hold)
	hook.hold = nil
	hook.mu.Unlock()

	node.start()
	node.ready()
	hook.wants("after it", "80@4 calls", "80@4 calls")
	if m := hook.messages(); m[0].ID != m[1].ID {
		t.Errorf("the identifiers are %s and %s", m[0].ID, m[1].ID)
	}
	if status, code := node.call(t.Context(), client, token, "{}"); status != 200 {
		t.Fatalf("got %d %s", status, code)
	}
	hook.wants("after the last call", "80@4 calls", "80@4 calls", "100@5 calls")
}
