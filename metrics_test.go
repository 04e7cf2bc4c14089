package relayapi

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/coder/websocket"
	"github.com/relayapi/caddy-relayapi/grant"
	"github.com/relayapi/caddy-relayapi/tokenstore"
)

// scrape returns the relay's series by name and labels, as Prometheus reads them.
func (r *testRelay) scrape() map[string]float64 {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), "GET", r.URL+"/metrics", nil)
	if err != nil {
		r.t.Fatal(err)
	}
	res, body := r.do(req)
	if res.StatusCode != http.StatusOK {
		r.t.Fatalf("the scrape is answered %d: %s", res.StatusCode, body)
	}
	series := make(map[string]float64)
	for line := range strings.Lines(body) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), " ")
		if i := strings.LastIndexByte(line, '}'); i >= 0 {
			name, value, ok = line[:i+1], strings.TrimSpace(line[i+1:]), true
		}
		if n, err := strconv.ParseFloat(value, 64); ok && err == nil && strings.HasPrefix(name, "caddy_relayapi_") {
			series[strings.TrimPrefix(name, "caddy_relayapi_")] = n
		}
	}
	return series
}

var labelPair = regexp.MustCompile(`(\w+)="([^"]*)"`)

// sums adds up the series of a metric by the values of some labels.
func sums(series map[string]float64, metric string, by ...string) map[string]float64 {
	sums := make(map[string]float64)
	for name, n := range series {
		if name != metric && !strings.HasPrefix(name, metric+"{") {
			continue
		}
		labels := make(map[string]string)
		for _, pair := range labelPair.FindAllStringSubmatch(name, -1) {
			labels[pair[1]] = pair[2]
		}
		var key []string
		for _, label := range by {
			key = append(key, labels[label])
		}
		sums[strings.Join(key, " ")] += n
	}
	return sums
}

// misbehaving answers by the path of the request.
func misbehaving(w http.ResponseWriter, r *http.Request) {
	const bill = `{"prompt_tokens":22,"completion_tokens":4,"total_tokens":26,"prompt_tokens_details":{"cached_tokens":15},"completion_tokens_details":{"reasoning_tokens":3}}`
	switch r.Header.Get("X-Test") {
	case "stream":
		answerEvents(chunk, usageChunk, "[DONE]")(w, r)
	case "unpriced":
		answerJSON(`{"model":"whatever-`+r.Header.Get("X-Model")+`","usage":`+bill+`}`)(w, r)
	case "untold":
		answerJSON(`{"model":"m"}`)(w, r)
	case "overrun":
		answerJSON(`{"model":"m","usage":{"prompt_tokens":1001,"completion_tokens":500,"total_tokens":1501}}`)(w, r)
	case "400", "429", "500":
		status, _ := strconv.Atoi(r.Header.Get("X-Test"))
		http.Error(w, `{"error":{}}`, status)
	case "401":
		http.Error(w, `{"error":{"message":"no"}}`, http.StatusUnauthorized)
	case "breaks":
		panic(http.ErrAbortHandler)
	default:
		answerJSON(`{"model":"m","usage":`+bill+`}`)(w, r)
	}
}

// What a scrape tells is what usage reports tell, to the unit. A few hundred tokens of as
// many subjects, and as many models that clients make up, make few series.
func TestMetrics_SumUpToUsage(t *testing.T) {
	const completed = `{"type":"response.completed","response":{"id":"ID","model":"m","status":"completed","usage":{"input_tokens":10,"output_tokens":5,"total_tokens":15}}}`
	said := make(chan string, 9)
	sockets := responses(t, said, completed)
	up := newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/responses" {
			sockets(w, r)
			return
		}
		misbehaving(w, r)
	})
	relay := newTestRelay(t)
	relay.writeKeys("second", relay.issuerKey)
	output := new(lockedBuffer)
	stop := startProcess(t, relay, relay.fill(simple(up.URL, quiet, inSite("metrics /metrics"),
		inApp(testPrices, "issuer second {\npublic_key {dir}/second.pub.pem\nproviders demo\n}"))), output)

	conn, _, err := relay.dial("/v1/responses", wsBearer(relay.mint(id("socket"))))
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		say(t, conn, `{"type":"response.create","model":"m","input":"hi"}`)
		if _, _, err := conn.Read(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if got := relay.scrape()[`in_flight{kind="socket"}`]; got != 1 {
		t.Errorf("%v sockets are in flight, want 1", got)
	}

	kinds := []string{"", "stream", "untold", "overrun", "400", "429", "500", "401", "breaks"}
	calls := 0
	call := func(issuer, kind, name string, edits ...func(*grant.Claims)) {
		body := askBody
		switch kind {
		case "stream":
			body = streamBody
		case "unpriced":
			body = replaceOnce(t, body, `"m"`, `"whatever"`)
		}
		edits = append(edits, id(name), func(c *grant.Claims) { c.Subject = "subject-" + name })
		relay.do(relay.request(bearer(relay.mintAs(issuer, edits...)), chatting(body), header("X-Test", kind), header("X-Model", name)))
		calls++
	}
	for i, kind := range kinds {
		call("second", kind, fmt.Sprint("limited-", i), dollars("1"))
	}
	call("second", "", "near", dollars(grant.USD(asReserved(askBody)*21/20).String()))
	call("second", "", "poor", dollars("0.000001"))
	for i := range 300 {
		call([]string{"backend", "second"}[i%2], []string{"unpriced", "breaks", ""}[i%3], fmt.Sprint("t", i))
	}
	relay.do(relay.request(bearer("sk-nothing")))
	_ = conn.Close(websocket.StatusNormalClosure, "")

	var series map[string]float64
	if !eventually(func() bool {
		series = relay.scrape()
		return sums(series, "requests_total")[""] == float64(calls+2)
	}) {
		t.Errorf("%v requests are counted, want %d", sums(series, "requests_total"), calls+2)
	}
	if len(series) > 250 {
		t.Errorf("got %d series, want few", len(series))
	}
	stop()
	wantSameSums(t, series, filepath.Join(relay.dir, "relayapi.db"))

	for name, want := range map[string]float64{
		`requests_total{issuer="",outcome="refused",provider=""}`: 1,
		`refusals_total{code="invalid_token"}`:                    1,
		`refusals_total{code="provider_refused_key"}`:             sums(series, "provider_answers_total", "status")["401"],
		`token_cache_lookups_total{result="miss"}`:                float64(calls + 1),
		`token_cache_lookups_total{result="hit"}`:                 0,
		"commit_duration_seconds_count":                           math.Max(1, series["commit_duration_seconds_count"]),
		"commit_errors_total":                                     0,
		"store_up":                                                1,
		`in_flight{kind="call"}`:                                  0,
		`in_flight{kind="socket"}`:                                0,
	} {
		if got, ok := series[name]; got != want || !ok {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
	}
	for _, name := range []string{`limit_refusals_total{limit="usd",scope="token"}`, `near_limit_calls_total{limit="usd",scope="token"}`,
		"store_size_bytes", "last_commit_timestamp_seconds", "admission_duration_seconds_count", `time_to_first_byte_seconds_count{provider="demo"}`,
		`provider_answers_total{provider="demo",status="none"}`, `provider_answers_total{provider="demo",status="429"}`, `unmetered_calls_total{model="m",provider="demo"}`} {
		if series[name] <= 0 {
			t.Errorf("%s: got %v, want some", name, series[name])
		}
	}
}

// wantSameSums compares a scrape with the usage in a store, in every way in which both
// can be grouped.
func wantSameSums(t *testing.T, series map[string]float64, store string) {
	t.Helper()
	ledger, err := tokenstore.OpenSQLite(t.Context(), store)
	if err != nil {
		t.Fatal(err)
	}
	defer ledger.Close()
	usage := func(count func(tokenstore.Usage) int64, by ...tokenstore.Dimension) map[string]float64 {
		rows, err := ledger.UsageReport(t.Context(), tokenstore.UsageFilter{By: by})
		if err != nil {
			t.Fatal(err)
		}
		counts := make(map[string]float64)
		for _, row := range rows {
			last := row.Model
			if slices.Contains(by, tokenstore.ByIssuer) {
				last = row.Issuer
			}
			if n := count(row.Usage); n != 0 {
				counts[row.Provider+" "+last] = float64(n)
			}
		}
		return counts
	}
	of := func(metric, label, value string) map[string]float64 { // only the series with that label
		chosen := make(map[string]float64)
		for name, n := range series {
			if strings.Contains(name, fmt.Sprintf("%s=%q", label, value)) {
				chosen[name] = n
			}
		}
		return sums(chosen, metric, "provider", map[string]string{"kind": "model", "outcome": "issuer"}[label])
	}
	nano := func(metric, by string) map[string]float64 {
		all := sums(series, metric, "provider", by)
		for key, usd := range all {
			all[key] = math.Round(usd * 1e9)
		}
		return all
	}

	models, issuers := []tokenstore.Dimension{tokenstore.ByProvider, tokenstore.ByModel}, []tokenstore.Dimension{tokenstore.ByProvider, tokenstore.ByIssuer}
	for what, tc := range map[string]struct {
		got   map[string]float64
		count func(tokenstore.Usage) int64
		by    []tokenstore.Dimension
	}{
		"calls":           {sums(series, "calls_total", "provider", "model"), func(u tokenstore.Usage) int64 { return u.Calls }, models},
		"input":           {of("tokens_total", "kind", "input"), func(u tokenstore.Usage) int64 { return u.Input }, models},
		"cache_read":      {of("tokens_total", "kind", "cache_read"), func(u tokenstore.Usage) int64 { return u.CacheRead }, models},
		"output":          {of("tokens_total", "kind", "output"), func(u tokenstore.Usage) int64 { return u.Output }, models},
		"reasoning":       {sums(series, "reasoning_tokens_total", "provider", "model"), func(u tokenstore.Usage) int64 { return u.Reasoning }, models},
		"unmetered":       {sums(series, "unmetered_calls_total", "provider", "model"), func(u tokenstore.Usage) int64 { return u.Unmetered }, models},
		"cost":            {nano("cost_usd_total", "model"), func(u tokenstore.Usage) int64 { return u.Cost }, models},
		"overrun":         {nano("overrun_usd_total", "model"), func(u tokenstore.Usage) int64 { return u.Overrun }, models},
		"cost by issuer":  {nano("issuer_cost_usd_total", "issuer"), func(u tokenstore.Usage) int64 { return u.Cost }, issuers},
		"succeeded":       {of("requests_total", "outcome", "succeeded"), func(u tokenstore.Usage) int64 { return u.Succeeded }, issuers},
		"client errors":   {of("requests_total", "outcome", "client_error"), func(u tokenstore.Usage) int64 { return u.ClientErrors }, issuers},
		"provider errors": {of("requests_total", "outcome", "provider_error"), func(u tokenstore.Usage) int64 { return u.ProviderErrors }, issuers},
	} {
		if want := usage(tc.count, tc.by...); !maps.Equal(tc.got, want) || len(want) == 0 {
			t.Errorf("%s: the metrics have %v, usage has %v", what, tc.got, want)
		}
	}
}

// Calls are told apart while they are in flight.
func TestMetrics_TellWhatIsInFlight(t *testing.T) {
	goOn := make(chan struct{})
	var once sync.Once
	finish := func() { once.Do(func() { close(goOn) }) }
	defer finish()
	up := newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/stream" {
			answerEvents(chunk)(w, r)
		}
		<-goOn
	})
	relay := startRelay(t, simple(up.URL, inSite("metrics /metrics")))
	token := relay.mint()
	relay.begin(relay.request(bearer(token)))
	relay.begin(relay.request(bearer(token)))
	relay.begin(relay.request(bearer(token), asking("POST", "/v1/stream")))

	wantInFlight := func(call, stream float64) {
		t.Helper()
		var got map[string]float64
		if !eventually(func() bool {
			got = sums(relay.scrape(), "in_flight", "kind")
			return got["call"] == call && got["stream"] == stream && got["socket"] == 0
		}) {
			t.Errorf("got %v in flight, want %v calls and %v streams", got, call, stream)
		}
	}
	wantInFlight(2, 1)
	relay.load(relay.lastConfig) // what is in flight outlives the config
	wantInFlight(2, 1)
	finish()
	wantInFlight(0, 0)
}

// The site's other handlers and its logs can use what the relay knows of a call.
func TestPlaceholders(t *testing.T) {
	mayLeak(t, "an issuer puts a piece of a token into a subject", inDatabase)
	up := newUpstream(t, answerJSON(`{"model":"m-2030","usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}`))
	relay := startRelay(t, simple(up.URL, inSite(
		"log_append who {http.relayapi.issuer}/{http.relayapi.token_id}",
		"log_append subject {http.relayapi.subject}",
		"log_append model {http.relayapi.model}",
		"log_append code {http.relayapi.error}",
		"header >X-Called \"{http.relayapi.provider} {http.relayapi.model}\"",
	), inDirective(`header_up X-Caller "{http.relayapi.subject} {http.relayapi.model}"`)))
	token := relay.mint(id("t1"))
	_, secret, _ := strings.Cut(token, "..")
	edit := func(subject string) string {
		return relay.mint(id("t2"), func(c *grant.Claims) { c.Subject = subject })
	}

	for name, tc := range map[string]struct {
		edits          []func(*http.Request)
		called, caller string
		logged         []string
	}{
		"a call": {[]func(*http.Request){bearer(token), chatting(askBody)}, "demo m", "user-1 m",
			[]string{`"user_id":"t1"`, `"subject":"user-1"`, `"model":"m"`, `"code":""`}},
		"a subject that holds a token": {[]func(*http.Request){bearer(edit("x " + secret[:100])), chatting(askBody)}, "demo m", "x *** m",
			[]string{`"user_id":"t2"`, `"subject":"x ***"`}},
		"a refusal": {[]func(*http.Request){bearer(relay.mint(id("t3"), allowing(grant.Allow{Methods: []string{"GET"}}))), chatting(askBody)}, "demo", "",
			[]string{`"user_id":"t3"`, `"code":"method_not_permitted"`}},
		"no token": {nil, "", "", []string{`"user_id":""`, `"subject":""`, `"model":""`, `"code":"invalid_token"`}},
	} {
		t.Run(name, func(t *testing.T) {
			count := len(up.requests())
			res, _ := relay.do(relay.request(tc.edits...))
			if got := res.Header.Get("X-Called"); got != tc.called {
				t.Errorf("got header %q, want %q", got, tc.called)
			}
			if seen := up.requests()[count:]; len(seen) == 1 && seen[0].Header.Get("X-Caller") != tc.caller {
				t.Errorf("the provider got header %q, want %q", seen[0].Header.Get("X-Caller"), tc.caller)
			}
			if !relay.logged(append(tc.logged, `"http.log.access`)...) {
				t.Errorf("no line of the access log has all of %q", tc.logged)
			}
		})
	}
}

// With Caddy's tracing on, the span has what the conventions for generative AI name.
func TestTracing(t *testing.T) {
	t.Setenv("OTEL_TRACES_EXPORTER", "console")
	t.Setenv("OTEL_TRACES_SAMPLER", "always_on")
	up := newUpstream(t, misbehaving)
	relay := newTestRelay(t)
	output := new(lockedBuffer)
	stop := startProcess(t, relay, relay.fill(simple(up.URL, quiet, inApp(testPrices), inSite("tracing {\nspan chat\n}"))), output)
	token := relay.mint(id("t1"))
	relay.do(relay.request(bearer(token), chatting(askBody)))
	relay.do(relay.request(bearer(token), chatting(streamBody), header("X-Test", "stream")))
	relay.do(relay.request(bearer(token), chatting(askBody), header("X-Test", "429")))
	relay.do(relay.request(bearer(token), chatting(askBody), header("X-Test", "401")))
	relay.do(relay.request(bearer("sk-nothing"), chatting(askBody)))
	relay.do(relay.request(header("X-Api-Token", token), header("User-Agent", "curl "+token), asking("POST", "/v1/"+token+"/messages?key="+token)))
	relay.do(relay.request(bearer(token), asking("POST", "/v1/messages?key="+token), header("User-Agent", token[200:300])))
	relay.do(relay.request(bearer(token), asking("POST", "/v1/messages"), header("X-Forwarded-For", token[200:300])))
	stop()

	var got []map[string]any
	for n, line := range strings.Split(output.String(), "\n") {
		var span struct {
			Name       string
			Attributes []struct {
				Key   string
				Value struct{ Value any }
			}
		}
		if leak(line, token, tokenPiece) || leak(line, realKey, keyPiece) {
			t.Errorf("line %d of what the process prints holds a secret", n)
		}
		if json.Unmarshal([]byte(line), &span) != nil || span.Name != "chat" || strings.Contains(line, `"/health"`) {
			continue
		}
		attributes := make(map[string]any)
		for _, a := range span.Attributes {
			if strings.HasPrefix(a.Key, "gen_ai.") || strings.HasPrefix(a.Key, "relayapi.") || a.Key == "error.type" {
				attributes[a.Key] = a.Value.Value
			}
		}
		got = append(got, attributes)
	}
	asked := map[string]any{"relayapi.token_id": "t1", "relayapi.issuer": "backend", "gen_ai.operation.name": "chat", "gen_ai.provider.name": "demo", "gen_ai.request.model": "m"}
	with := func(more map[string]any) map[string]any {
		all := maps.Clone(asked)
		maps.Copy(all, more)
		return all
	}
	want := []map[string]any{
		with(map[string]any{"gen_ai.response.model": "m", "gen_ai.usage.input_tokens": 22.0, "gen_ai.usage.cache_read.input_tokens": 15.0,
			"gen_ai.usage.output_tokens": 4.0, "gen_ai.usage.reasoning.output_tokens": 3.0}),
		with(map[string]any{"gen_ai.response.model": "m", "gen_ai.usage.input_tokens": 22.0, "gen_ai.usage.cache_read.input_tokens": 15.0, "gen_ai.usage.output_tokens": 4.0}),
		with(map[string]any{"error.type": "429"}),
		with(map[string]any{"error.type": "provider_refused_key"}),
		{"gen_ai.operation.name": "chat", "error.type": "invalid_token"},
	}
	if len(got) != len(want)+3 {
		t.Fatalf("got %d spans, want %d, and three of misplaced tokens", len(got), len(want))
	}
	for i := range want {
		if !maps.Equal(got[i], want[i]) {
			t.Errorf("span %d: got %v, want %v", i, got[i], want[i])
		}
	}
}
