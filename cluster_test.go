//go:build unix

package relayapi

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/relayapi/caddy-relayapi/grant"
	"github.com/relayapi/caddy-relayapi/internal/pgtest"
	"github.com/relayapi/caddy-relayapi/tokenstore"
)

var clusterFaults = flag.Int("cluster.faults", 6, "how many faults TestCluster makes")

// node is a relay in a process of its own.
type node struct {
	t      *testing.T
	config string
	port   string
	cmd    *exec.Cmd
	dir    string
	env    []string // besides that of this process
}

// start starts the process. It serves a moment later.
func (n *node) start() {
	n.t.Helper()
	n.cmd = exec.Command("caddy", "run", "--config", n.config, "--adapter", "caddyfile")
	n.cmd.Env = append(append(os.Environ(), n.env...), "HOME="+n.dir, "XDG_DATA_HOME="+n.dir, "XDG_CONFIG_HOME="+n.dir)
	log, err := os.OpenFile(filepath.Join(n.dir, "stderr"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		n.t.Fatal(err)
	}
	defer log.Close()
	n.cmd.Stdout, n.cmd.Stderr = log, log
	if err := n.cmd.Start(); err != nil {
		n.t.Fatal(err)
	}
}

// kill ends the process without warning.
func (n *node) kill() {
	_ = n.cmd.Process.Kill()
	_ = n.cmd.Wait()
}

// call makes a call with a token, and returns the status and the code of a refusal. The
// status is 0 if the node is gone.
func (n *node) call(ctx context.Context, client *http.Client, token, body string) (status int, code string) {
	r, err := http.NewRequestWithContext(ctx, "POST", "http://127.0.0.1:"+n.port+"/v1/chat/completions", strings.NewReader(body))
	if err != nil {
		n.t.Error(err)
		return 0, ""
	}
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Content-Type", "application/json")
	res, err := client.Do(r)
	if err != nil {
		return 0, ""
	}
	defer res.Body.Close()
	var refused refusalBody
	_ = json.NewDecoder(res.Body).Decode(&refused)
	code, _ = refused.Error.Code.(string)
	return res.StatusCode, code
}

// startNode starts a relay with a config of its own, in a directory of its own.
func startNode(t *testing.T, r *testRelay, name string, options ...option) *node {
	t.Helper()
	dir := filepath.Join(r.dir, name)
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	n := &node{t: t, port: freePort(t), dir: dir, config: filepath.Join(dir, "Caddyfile"), env: r.env}
	own := func(c *testConfig) {
		c.store, c.storage, c.logOutput, c.address = dir+"/relayapi.db", dir+"/caddy", "stderr", "http://127.0.0.1:"+n.port
	}
	source := simple("", append([]option{own}, options...)...)
	if err := os.WriteFile(n.config, []byte(r.fill(source)), 0o600); err != nil {
		t.Fatal(err)
	}
	n.start()
	t.Cleanup(n.kill)
	return n
}

// ready waits until the process serves.
func (n *node) ready() {
	n.t.Helper()
	healthy := func() bool {
		res, err := http.Get("http://127.0.0.1:" + n.port + "/health")
		if err == nil {
			res.Body.Close()
		}
		return err == nil && res.StatusCode == 200
	}
	for range 6 { // a machine that is busy takes long to start several
		if eventually(healthy) {
			return
		}
	}
	log, _ := os.ReadFile(filepath.Join(n.dir, "stderr"))
	n.t.Fatalf("a node does not start: %s", log)
}

// cluster is three relays on one database, before one provider.
type cluster struct {
	*testRelay
	nodes [3]*node
	up    *upstream
}

func newCluster(t *testing.T, dsn string, respond http.HandlerFunc, options ...option) *cluster {
	t.Helper()
	c := &cluster{up: newUpstream(t, respond)}
	c.testRelay = newTestRelay(t)
	c.writeKeys("signing", newKey(t))
	c.env = []string{"TEST_DSN=" + dsn}
	for i := range c.nodes {
		c.nodes[i] = startNode(t, c.testRelay, fmt.Sprint(i), append([]option{
			func(config *testConfig) { config.store, config.baseURL = "", c.up.URL },
			inApp("store postgres {env.TEST_DSN} {", "max_offline 2s", "}", "signing_key {dir}/signing.pem", testPrices),
		}, options...)...)
	}
	for _, n := range c.nodes {
		n.ready()
	}
	return c
}

// faults are what happens to a cluster. Each is over when it returns.
var faults = map[string]func(t *testing.T, c *cluster, server *pgtest.Server){
	"a node is killed": func(_ *testing.T, c *cluster, _ *pgtest.Server) {
		n := c.nodes[rand.N(len(c.nodes))]
		n.kill()
		n.start()
	},
	"the database is restarted": func(t *testing.T, _ *cluster, server *pgtest.Server) {
		server.Stop()
		mustRun(t, server)
	},
	"the database is killed": func(t *testing.T, _ *cluster, server *pgtest.Server) {
		server.Kill()
		mustRun(t, server)
	},
	"the database hangs": func(_ *testing.T, _ *cluster, server *pgtest.Server) {
		server.Pause()
		time.Sleep(time.Duration(rand.N(3000)) * time.Millisecond)
		server.Continue()
	},
}

func mustRun(t *testing.T, server *pgtest.Server) {
	t.Helper()
	if err := server.Run(); err != nil {
		t.Error(err)
	}
}

// Three relays share the limits of a token in calls and in dollars, whatever becomes of
// them and of their database.
func TestCluster(t *testing.T) {
	slow(t)
	t.Parallel()
	server := pgtest.Faulty(t)
	var mu sync.Mutex
	served, billed := map[string]int64{}, map[string]int64{} // by subject, as the provider knows them
	c := newCluster(t, server.NewSchema(t), func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var asked struct {
			Max  int64 `json:"max_tokens"`
			User string
		}
		_ = json.Unmarshal(body, &asked)
		mu.Lock()
		served[asked.User]++
		billed[asked.User] += int64(len(body))*inputNano + asked.Max*outputNano
		mu.Unlock()
		answerJSON(fmt.Sprintf(`{"model":"m","usage":{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d}}`, len(body), asked.Max, int64(len(body))+asked.Max))(w, r)
	})

	const budget, most = 20_000_000, 400 // nano-USD and calls of each token
	usd, limit := grant.USD(budget), int64(most)
	var tokens []string
	mintAll := func() {
		for n := range 6 {
			name := fmt.Sprintf("u%d", len(tokens))
			tokens = append(tokens, c.mint(func(g *grant.Claims) {
				g.ID, g.Subject = name, name
				if g.Limits = (&grant.Limits{Calls: &limit}); n%2 == 0 {
					g.Limits = &grant.Limits{USD: &usd}
				}
			}))
		}
	}
	mintAll()

	var served200, unavailable atomic.Int64
	ctx, stop := context.WithCancel(t.Context())
	var callers sync.WaitGroup
	for range 12 {
		callers.Go(func() {
			client := newClient(t)
			client.Timeout = 20 * time.Second
			for ctx.Err() == nil {
				mu.Lock()
				i := rand.N(len(tokens))
				token := tokens[i]
				mu.Unlock()
				body := fmt.Sprintf(`{"model":"m","user":"u%d","max_tokens":%d,"messages":[]}`, i, 10+rand.N(90))
				switch status, _ := c.nodes[rand.N(3)].call(ctx, client, token, body); status {
				case 200:
					served200.Add(1)
				case 503:
					unavailable.Add(1)
					time.Sleep(20 * time.Millisecond)
				case 0, 403:
					time.Sleep(5 * time.Millisecond)
				}
			}
		})
	}

	names := []string{"a node is killed", "the database is restarted", "a node is killed", "the database is killed", "the database hangs", "a node is killed"}
	for n := range *clusterFaults {
		time.Sleep(time.Duration(200+rand.N(300)) * time.Millisecond)
		faults[names[n%len(names)]](t, c, server)
		if n%4 == 3 {
			mu.Lock()
			mintAll()
			mu.Unlock()
		}
	}
	// Everything recovers by itself.
	before := served200.Load()
	mu.Lock()
	mintAll()
	mu.Unlock()
	recovered := false
	for range 3 {
		recovered = recovered || eventually(func() bool { return served200.Load() > before+20 })
	}
	if !recovered {
		t.Error("the cluster does not serve after the last fault")
	}
	stop()
	callers.Wait()

	mu.Lock()
	defer mu.Unlock()
	for n := range len(tokens) {
		user := fmt.Sprintf("u%d", n)
		switch {
		case n%2 == 0 && billed[user] > budget:
			t.Errorf("%s costs $%s of a budget of $%s", user, grant.USD(billed[user]), usd)
		case n%2 == 1 && served[user] > most:
			t.Errorf("%s made %d calls of %d", user, served[user], int64(most))
		}
	}
	t.Logf("%d faults, %d tokens, %d calls served, %d answered 503", *clusterFaults, len(tokens), served200.Load(), unavailable.Load())
}

// A relay serves what it has leased while the database is away, for max_offline, which is
// 5 seconds by default. Then it refuses, and recovers by itself.
func TestCluster_ServesThroughAnOutage(t *testing.T) {
	slow(t)
	t.Parallel()
	server := pgtest.Faulty(t)
	r := newTestRelay(t)
	r.writeKeys("signing", newKey(t))
	r.env = []string{"TEST_DSN=" + server.NewSchema(t)}
	up := newUpstream(t, answerJSON(`{}`))
	n := startNode(t, r, "alone", func(config *testConfig) { config.store, config.baseURL = "", up.URL },
		inApp("store postgres {env.TEST_DSN}", "signing_key {dir}/signing.pem"))
	n.ready()

	limit := int64(1_000_000)
	token := r.mint(func(c *grant.Claims) { c.Limits = &grant.Limits{Calls: &limit} })
	call := func() int {
		status, _ := n.call(t.Context(), r.client, token, `{"model":"m"}`)
		return status
	}
	for range 300 { // calls in quick succession are leased ahead
		if status := call(); status != 200 {
			t.Fatalf("before the outage a call got %d", status)
		}
	}

	const outage, maxOffline, late = 3 * time.Second, 5 * time.Second, 2 * time.Second
	server.Kill()
	away := time.Now()
	for time.Since(away) < outage {
		if status := call(); status != 200 {
			t.Fatalf("%v after the database was killed a call got %d", time.Since(away), status)
		}
		time.Sleep(150 * time.Millisecond)
	}
	for call() != 503 {
		if time.Since(away) > maxOffline+late {
			t.Fatalf("%v after the database was killed the relay still serves", time.Since(away))
		}
		time.Sleep(150 * time.Millisecond)
	}
	mustRun(t, server)
	if !eventually(func() bool { return call() == 200 }) {
		t.Error("the relay does not serve after the database came back")
	}
}

// A token that is revoked by one process ends its streams in another within a second. So
// does one whose heartbeats stop, also when the relay that got them is gone.
func TestCluster_RevocationsEndStreamsEverywhere(t *testing.T) {
	slow(t)
	server := pgtest.Faulty(t)
	schema := server.NewSchema(t)
	c := newCluster(t, schema, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		tell(w, "data: "+chunk+"\n\n")
		<-r.Context().Done()
	})
	ledger, err := tokenstore.OpenPostgres(t.Context(), tokenstore.PostgresConfig{DSN: schema})
	if err != nil {
		t.Fatal(err)
	}
	defer ledger.Close()

	for n := range *clusterFaults {
		name := fmt.Sprint("r", n)
		token := c.mint(id(name))
		r := c.request(bearer(token), chatting(streamBody))
		r.URL.Host = "127.0.0.1:" + c.nodes[n%3].port
		res, err := c.client.Do(r)
		if err != nil || res.StatusCode != 200 {
			t.Fatalf("got %v, %v", res, err)
		}
		begin := time.Now()
		if err := ledger.Revoke(t.Context(), tokenstore.Revocation{Scope: tokenstore.ScopeToken, Issuer: "backend", ID: name, Before: forever}); err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if took := time.Since(begin); took > time.Second || !strings.Contains(string(body), codeRevoked) {
			t.Errorf("stream %d ends after %v with %s", n, took, body)
		}
	}

	const ttl = time.Second
	r := c.request(bearer(c.mint(id("silent"))), chatting(streamBody))
	r.URL.Host = "127.0.0.1:" + c.nodes[0].port
	res, err := c.client.Do(r)
	if err != nil || res.StatusCode != 200 {
		t.Fatalf("got %v, %v", res, err)
	}
	begin := time.Now()
	alive, err := ledger.Shared().Beat(t.Context(), "backend", "silent", ttl)
	if err := errors.Join(err, ledger.Close()); err != nil || !alive {
		t.Fatalf("a heartbeat got %t, %v", alive, err)
	}
	body, _ := io.ReadAll(res.Body)
	res.Body.Close()
	if took := time.Since(begin); took < ttl || took > ttl+time.Second || !strings.Contains(string(body), codeRevoked) {
		t.Errorf("the stream of a silent token ends after %v with %s", took, body)
	}
}

var budgetRuns = flag.Int("budget.runs", 1, "how often TestBudget_HoldsAcrossKills repeats")

// A budget of $1.00 is never exceeded by what the provider bills, and mostly used, however
// clients leave, the provider fails and the relay is killed. What a kill loses is at most
// what the calls in flight had reserved.
func TestBudget_HoldsAcrossKills(t *testing.T) {
	slow(t)
	for run := range *budgetRuns {
		var mu sync.Mutex
		var billed int64
		up := newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			var asked struct {
				Max    int64 `json:"max_tokens"`
				Stream bool
			}
			_ = json.Unmarshal(body, &asked)
			switch rand.N(12) {
			case 0:
				http.Error(w, "{}", http.StatusServiceUnavailable)
				return
			case 1:
				panic(http.ErrAbortHandler)
			}
			input, output := int64(len(body))/int64(1+rand.N(3)), asked.Max*int64(1+rand.N(4))/4
			mu.Lock()
			billed += input*inputNano + output*outputNano
			mu.Unlock()
			usage := fmt.Sprintf(`{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d}`, input, output, input+output)
			if asked.Stream {
				answerEvents(chunk, chunk, `{"model":"m","choices":[],"usage":`+usage+`}`, "[DONE]")(w, r)
				return
			}
			answerJSON(`{"model":"m","usage":`+usage+`}`)(w, r)
		})
		r := newTestRelay(t)
		n := startNode(t, r, fmt.Sprint("run", run), func(c *testConfig) { c.baseURL = up.URL }, inApp(testPrices))
		n.ready()
		token := r.mint(dollars("1"), id(fmt.Sprint("t", run)))

		const callers, most = 16, 16 * (200*inputNano + 500*outputNano) // what the calls in flight may have reserved
		kills := int64(0)
		ctx, stop := context.WithCancel(t.Context())
		var group sync.WaitGroup
		for range callers {
			group.Go(func() {
				client := newClient(t)
				for ctx.Err() == nil {
					body := fmt.Sprintf(`{"model":"m","messages":[],"max_tokens":%d,"stream":%t}`, 50+rand.N(450), rand.N(2) == 0)
					leaves, abort := context.WithTimeout(ctx, time.Duration(1+rand.N(200))*time.Millisecond)
					_, code := n.call(leaves, client, token, body)
					abort()
					if code == codeBudgetExhausted {
						return
					}
				}
			})
		}
		done := make(chan struct{})
		go func() { group.Wait(); close(done) }()
		for over := false; !over; {
			select {
			case <-done:
				over = true
			case <-time.After(time.Duration(100+rand.N(300)) * time.Millisecond):
				if kills < 3 {
					n.kill()
					n.start()
					kills++
				}
			case <-t.Context().Done():
				over = true
			}
		}
		stop()

		mu.Lock()
		if billed > wholeBudget || billed < wholeBudget*9/10-kills*most {
			t.Errorf("run %d: the provider bills $%s of $1.00 after %d kills", run, grant.USD(billed), kills)
		}
		mu.Unlock()
		n.kill()
	}
}
