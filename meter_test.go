package relayapi

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/coder/websocket"
	"github.com/relayapi/caddy-relayapi/grant"
	"github.com/relayapi/caddy-relayapi/internal/metering"
	"github.com/relayapi/caddy-relayapi/internal/ws"
	"github.com/relayapi/caddy-relayapi/tokenstore"
)

// Prices of the model m, in dollars for a million tokens, as the config has them and
// as the provider of these tests bills them.
const (
	testPrices  = "price demo m input 2 cache_read 1 output 10"
	inputNano   = 2000
	cachedNano  = 1000
	outputNano  = 10_000
	wholeBudget = 1_000_000_000 // $1.00
)

// metered starts a relay with prices before a provider.
func metered(t *testing.T, lines string, respond http.HandlerFunc) (*testRelay, *upstream) {
	t.Helper()
	up := newUpstream(t, respond)
	return startRelay(t, simple(up.URL, inApp(testPrices, lines))), up
}

func dollars(usd string) func(*grant.Claims) {
	amount, err := grant.ParseUSD(usd)
	if err != nil {
		panic(err)
	}
	return func(c *grant.Claims) { c.Limits = &grant.Limits{USD: &amount} }
}

func tokens(n int64) func(*grant.Claims) {
	return func(c *grant.Claims) { c.Limits = &grant.Limits{Tokens: &n} }
}

func chatting(body string) func(*http.Request) {
	return func(r *http.Request) { withBody(strings.NewReader(body), int64(len(body)))(r) }
}

// spent returns what is counted of a token's own budget.
func spent(t *testing.T, id string, unit tokenstore.Unit) int64 {
	t.Helper()
	counter := tokenstore.TokenCounter("backend", id)
	counter.Unit = unit
	used, err := activeApp(t).ledger.Used(t.Context(), counter)
	if err != nil {
		t.Fatal(err)
	}
	return used
}

// wantSpent waits until what is counted of a token's budget is as it should be.
func wantSpent(t *testing.T, id string, unit tokenstore.Unit, want int64) {
	t.Helper()
	if !eventually(func() bool { return spent(t, id, unit) == want }) {
		t.Errorf("%d %s are counted, want %d", spent(t, id, unit), unit, want)
	}
}

// tell writes a piece of an answer, and sends it at once.
func tell(w http.ResponseWriter, text string) {
	_, _ = io.WriteString(w, text)
	_ = http.NewResponseController(w).Flush()
}

func answerJSON(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, body)
	}
}

func answerEvents(events ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for _, e := range events {
			tell(w, "data: "+e+"\n\n")
		}
	}
}

const (
	chunk      = `{"id":"c","object":"chat.completion.chunk","model":"m","choices":[{"index":0,"delta":{"content":"hi"}}],"usage":null}`
	usageChunk = `{"id":"c","object":"chat.completion.chunk","model":"m","choices":[],"usage":{"prompt_tokens":22,"completion_tokens":4,"total_tokens":26,"prompt_tokens_details":{"cached_tokens":15}}}`
	usageNano  = 7*inputNano + 15*cachedNano + 4*outputNano
	askBody    = `{"model":"m","max_tokens":10,"messages":[{"role":"user","content":"hello"}]}`
	streamBody = `{"model":"m","stream":true,"max_tokens":10,"messages":[{"role":"user","content":"hello"}]}`
)

// asReserved is what a body with a cap of 10 tokens may cost at most. The relay asks a
// stream for its usage, which makes the body longer.
func asReserved(body string) int64 {
	if strings.Contains(body, `"stream":true`) {
		body += `"stream_options":{"include_usage":true},`
	}
	return int64(len(body))*inputNano + 10*outputNano
}

// usage returns what a token has used so far.
func (r *testRelay) usage(id string) (all tokenstore.Usage) {
	r.t.Helper()
	rows, err := activeApp(r.t.(*testing.T)).ledger.UsageReport(r.t.Context(), tokenstore.UsageFilter{Token: id, By: []tokenstore.Dimension{tokenstore.ByToken}})
	switch {
	case err != nil:
		r.t.Fatal(err)
	case len(rows) == 1:
		all = rows[0].Usage
	}
	return all
}

// wantCalls waits until the calls of a token have been settled.
func (r *testRelay) wantCalls(id string, n int64) {
	r.t.Helper()
	if !eventually(func() bool {
		used := r.usage(id)
		return used.Succeeded+used.ClientErrors+used.ProviderErrors == n
	}) {
		r.t.Errorf("the token's %d calls are not settled", n)
	}
}

// What a budget does not permit is refused before the provider sees it, and costs
// nothing.
func TestBudget_Refuses(t *testing.T) {
	for name, tc := range map[string]struct {
		edit       func(*grant.Claims)
		lines      string
		body       string
		code, says string
	}{
		"a model without a price":  {dollars("1"), "", `{"model":"new","max_tokens":9,"messages":[]}`, codeModelUnpriced, `"new"`},
		"no model":                 {dollars("1"), "", `{"max_tokens":9,"messages":[]}`, codeModelUnpriced, "no price"},
		"an unknown field":         {dollars("1"), "", `{"model":"m","max_tokens":9,"messages":[],"surprise":1}`, codeCostUnbounded, `"surprise"`},
		"a hosted tool":            {tokens(9999), "", `{"model":"m","max_tokens":9,"messages":[],"tools":[{"type":"web_search"}]}`, codeCostUnbounded, `"tools"`},
		"an image at a URL":        {dollars("1"), "", `{"model":"m","messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"https://x.example/i.png"}}]}]}`, codeCostUnbounded, "image_url"},
		"what is not JSON":         {dollars("1"), "", `{"model":"m"`, codeInvalidRequest, ""},
		"a budget that is too low": {dollars("0.000000001"), "", askBody, codeBudgetExhausted, "$0.000000001"},
		"too few tokens":           {tokens(30), "", askBody, codeTokensExhausted, "30 tokens"},
		"a subject's dollars":      {nil, "limit subject usd 0.00001 per day", askBody, codeBudgetExhausted, "of the subject since"},
		"an issuer's tokens":       {nil, "limit issuer tokens 20", askBody, codeTokensExhausted, "20 tokens of the issuer"},
		"an issuer's ceiling":      {nil, "", askBody, codeBudgetExhausted, "$0.00001"},
	} {
		t.Run(name, func(t *testing.T) {
			up := newUpstream(t, answerJSON(`{}`))
			relay := startRelay(t, simple(up.URL, inApp(testPrices, tc.lines), func(c *testConfig) {
				if name == "an issuer's ceiling" {
					c.issuer = "usd 0.00001"
				}
			}))
			res, body := relay.do(relay.request(bearer(relay.mint(id("t"), tc.edit)), chatting(tc.body)))
			refused := wantRefusal(t, res, body, tc.code)
			if !strings.Contains(refused.Error.Message, tc.says) {
				t.Errorf("the client is told %q, want something with %q", refused.Error.Message, tc.says)
			}
			if n := len(up.requests()); n > 0 {
				t.Errorf("the provider received %d requests", n)
			}
			wantSpent(t, "t", tokenstore.UnitNanoUSD, 0)
			wantSpent(t, "t", tokenstore.UnitTokens, 0)
		})
	}
}

// No budget is spent on a list of models.
func TestBudget_ListsModelsForFree(t *testing.T) {
	relay, _ := metered(t, "", answerJSON(`{"object":"list","data":[]}`))
	if res, body := relay.do(relay.request(bearer(relay.mint(dollars("0.000000001"), id("t"))), asking("GET", "/v1/models"))); res.StatusCode != 200 {
		t.Errorf("got %d %s", res.StatusCode, body)
	}
	relay.wantCalls("t", 1)
	wantSpent(t, "t", tokenstore.UnitNanoUSD, 0)
}

// A budget that does not pay for the whole output lowers the cap of the output, down to
// a floor. A call without a cap gets one.
func TestBudget_CapsOutput(t *testing.T) {
	const body = `{"model":"m","messages":[],"max_tokens":1000}`
	const uncapped = `{"model":"m","messages":[]}`
	nano := func(body string, output int64) string { // with room for the relay's own cap
		return grant.USD(int64(len(body)+64)*inputNano + output*outputNano).String()
	}
	for name, tc := range map[string]struct {
		usd, body string
		capped    string // header of the answer
		sent      string // cap that the provider reads
	}{
		"enough":               {"1", body, "", `"max_tokens":1000`},
		"half":                 {nano(body, 500), body, "max_tokens=500", `"max_tokens":500`},
		"the floor":            {nano(body, metering.MinCap), body, "max_tokens=16", `"max_tokens":16`},
		"no cap":               {"1", uncapped, "max_tokens=4096", `"max_tokens":4096`},
		"no cap, and not much": {nano(uncapped, 20), uncapped, "max_tokens=20", `"max_tokens":20`},
		"below the floor":      {nano(body, metering.MinCap-1), body, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			relay, up := metered(t, "", nil)
			res, answer := relay.do(relay.request(bearer(relay.mint(dollars(tc.usd))), chatting(tc.body)))
			if tc.sent == "" {
				wantRefusal(t, res, answer, codeBudgetExhausted)
				return
			}
			if got := res.Header.Get("RelayAPI-Capped"); res.StatusCode != 200 || got != tc.capped {
				t.Errorf("%d, capped %q, want %q: %s", res.StatusCode, got, tc.capped, answer)
			}
			if got := string(up.one(t).body); !strings.Contains(got, tc.sent) {
				t.Errorf("the provider received %s, want %s", got, tc.sent)
			}
		})
	}
}

// The answer tells what remains of every limit that there is.
func TestRemainingHeaders(t *testing.T) {
	relay, _ := metered(t, "limit subject tokens 500 per day", answerJSON(`{"model":"m","usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}`))
	three, one := int64(3), grant.USD(wholeBudget)
	token := relay.mint(func(c *grant.Claims) { c.Limits = &grant.Limits{Calls: &three, USD: &one} })
	reserve := grant.USD(wholeBudget - asReserved(askBody)).String()
	for i, want := range [][3]string{
		{"2", fmt.Sprint(500 - len(askBody) - 10), reserve},
		{"1", fmt.Sprint(500 - 2 - len(askBody) - 10), grant.USD(wholeBudget - asReserved(askBody) - inputNano - outputNano).String()},
	} {
		res, body := relay.do(relay.request(bearer(token), chatting(askBody)))
		got := [3]string{res.Header.Get("RelayAPI-Remaining-Calls"), res.Header.Get("RelayAPI-Remaining-Tokens"), res.Header.Get("RelayAPI-Remaining-Usd")}
		if got != want {
			t.Errorf("call %d: remaining %q, want %q: %s", i, got, want, body)
		}
	}
	res, _ := relay.do(relay.request(bearer(relay.mint(subject("other"))), chatting(askBody)))
	for name := range res.Header {
		if strings.HasPrefix(name, "Relayapi-Remaining-Usd") {
			t.Errorf("%s is told without a budget", name)
		}
	}
}

// A thousand calls at once never cost more than the budget, and use most of it.
func TestBudget_HoldsUnderLoad(t *testing.T) {
	var billed atomic.Int64
	var seed atomic.Uint64
	relay, _ := metered(t, "", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var asked struct {
			Max    int64 `json:"max_tokens"`
			Stream bool
		}
		_ = json.Unmarshal(body, &asked)
		n := seed.Add(1)
		if n%7 == 0 {
			http.Error(w, "{}", http.StatusServiceUnavailable)
			return
		}
		output := asked.Max * int64(1+n%4) / 4
		input := int64(len(body)) / int64(1+n%3)
		billed.Add(input*inputNano + output*outputNano)
		usage := fmt.Sprintf(`{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d}`, input, output, input+output)
		if asked.Stream {
			answerEvents(chunk, `{"model":"m","choices":[],"usage":`+usage+`}`, "[DONE]")(w, r)
			return
		}
		answerJSON(`{"model":"m","usage":`+usage+`}`)(w, r)
	})
	token := relay.mint(dollars("1"), id("t"))
	work := make(chan int)
	var group sync.WaitGroup
	for range 16 {
		group.Go(func() {
			for n := range work {
				body := `{"model":"m","messages":[],"max_tokens":500}`
				if n%2 == 0 {
					body = `{"model":"m","messages":[],"max_tokens":300,"stream":true}`
				}
				relay.do(relay.request(bearer(token), chatting(body)))
			}
		})
	}
	for n := range 1000 {
		work <- n
	}
	close(work)
	group.Wait()

	if got := billed.Load(); got > wholeBudget || got < wholeBudget*9/10 {
		t.Errorf("the provider bills $%s of a budget of $1.00", grant.USD(got))
	}
	wantSpent(t, "t", tokenstore.UnitNanoUSD, billed.Load())
}

// responses answers each message on a WebSocket with an event that tells usage. It keeps
// what the client said.
func responses(t *testing.T, said chan<- string, event string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true})
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.CloseNow()
		for n := 0; ; n++ {
			_, data, err := conn.Read(r.Context())
			if err != nil {
				return
			}
			said <- string(data)
			if err := conn.Write(r.Context(), websocket.MessageText, []byte(strings.ReplaceAll(event, "ID", fmt.Sprint("r", n)))); err != nil {
				return
			}
		}
	}
}

// Each response on a WebSocket is paid for before it is asked for, and settled with
// what it used. The one that the budget does not pay for ends the connection.
func TestBudget_PaysForResponsesOnWebSockets(t *testing.T) {
	const create = `{"type":"response.create","model":"m","max_output_tokens":100,"input":"hi"}`
	const completed = `{"type":"response.completed","response":{"id":"ID","model":"m","status":"completed","usage":{"input_tokens":10,"output_tokens":5,"total_tokens":15}}}`
	const each = 10*inputNano + 5*outputNano
	said := make(chan string, 9)
	relay, _ := metered(t, "", responses(t, said, completed))
	// Two responses in full, a third with a lower cap, and none after that.
	budget := each + int64(len(create))*inputNano + 100*outputNano
	const lower = 100 - (each+64*inputNano+outputNano-1)/outputNano // what the third one's cap is lowered to
	conn, _, err := relay.dial("/v1/responses", wsBearer(relay.mint(dollars(grant.USD(budget).String()), id("t"))))
	if err != nil {
		t.Fatal(err)
	}

	for n, want := range []string{`"max_output_tokens":100`, `"max_output_tokens":100`, fmt.Sprintf(`"max_output_tokens":%d`, lower)} {
		say(t, conn, create)
		if _, _, err := conn.Read(t.Context()); err != nil {
			t.Fatalf("response %d: %v", n, err)
		}
		if got := <-said; !strings.Contains(got, want) {
			t.Errorf("response %d: the provider was told %s, want %s", n, got, want)
		}
		wantSpent(t, "t", tokenstore.UnitNanoUSD, int64(n+1)*each)
	}
	say(t, conn, strings.Replace(create, "hi", strings.Repeat("hi", 400), 1))
	_, _, err = conn.Read(t.Context())
	wantClose(t, err, ws.ClosePolicy, codeBudgetExhausted+": "+answers[codeBudgetExhausted].message)
	relay.wantCalls("t", 1)
	wantSpent(t, "t", tokenstore.UnitNanoUSD, 3*each)
	if used := relay.usage("t"); used.Calls != 1 || used.Requests != 3 || used.Input != 30 || used.Output != 15 || used.Cost != 3*each {
		t.Errorf("usage %+v, want 3 responses in 1 call", used)
	}
}

// What the relay cannot bound on a WebSocket is refused, and says why.
func TestBudget_RefusesOnWebSockets(t *testing.T) {
	for name, tc := range map[string]struct{ uri, message, code string }{
		"a stored response":     {"/v1/responses", `{"type":"response.create","model":"m","previous_response_id":"resp_1","input":"hi"}`, codeCostUnbounded},
		"an unknown message":    {"/v1/responses", `{"type":"response.surprise","model":"m"}`, codeCostUnbounded},
		"a model without price": {"/v1/responses", `{"type":"response.create","model":"new","input":"hi"}`, codeModelUnpriced},
		"audio without a cap":   {"/v1/realtime?model=m", `{"type":"input_audio_buffer.append","audio":"AAAA"}`, codeCostUnbounded},
	} {
		t.Run(name, func(t *testing.T) {
			said := make(chan string, 9)
			relay, _ := metered(t, "", responses(t, said, `{}`))
			conn, _, err := relay.dial(tc.uri, wsBearer(relay.mint(dollars("1"), id("t"))))
			if err != nil {
				t.Fatal(err)
			}
			say(t, conn, tc.message)
			_, _, err = conn.Read(t.Context())
			wantClose(t, err, ws.ClosePolicy, tc.code+": "+answers[tc.code].message)
			relay.wantCalls("t", 1)
			wantSpent(t, "t", tokenstore.UnitNanoUSD, 0)
			if len(said) > 0 {
				t.Errorf("the provider was told %s", <-said)
			}
		})
	}
}
