package relayapi

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/relayapi/caddy-relayapi/grant"
	"github.com/relayapi/caddy-relayapi/internal/limits"
	"github.com/relayapi/caddy-relayapi/tokenstore"
	"github.com/rogpeppe/go-internal/testscript"
)

func init() {
	scriptCommands["tokenstatus"] = scriptTokenStatus
	scriptCommands["until"] = scriptUntil
}

// scriptUntil runs a program until its output matches. A call is settled after its client
// has the answer.
//
//	until REGEXP PROGRAM [ARG...]
func scriptUntil(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, "until REGEXP PROGRAM [ARG...]", !neg && len(args) >= 2)
	pattern := regexp.MustCompile("(?m)" + args[0])
	if !eventually(func() bool {
		ts.Check(ts.Exec(args[1], args[2:]...))
		return pattern.MatchString(ts.ReadFile("stdout"))
	}) {
		ts.Fatalf("the output never matches %q", pattern)
	}
}

// scriptTokenStatus saves what an endpoint `token_status` says of the token in a file.
//
//	tokenstatus URL TOKENFILE OUT
func scriptTokenStatus(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, "tokenstatus URL TOKENFILE OUT", !neg && len(args) == 3)
	req, err := http.NewRequest(http.MethodGet, args[0], nil)
	ts.Check(err)
	req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(ts.ReadFile(args[1])))
	res, err := scriptClient.Do(req)
	ts.Check(err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	ts.Check(err)
	if res.StatusCode != http.StatusOK {
		ts.Fatalf("%s answered %s: %s", args[0], res.Status, body)
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[2]), body, 0o600))
}

func TestAdminLimits_RefusesAmounts(t *testing.T) {
	r := startRelay(t, simple(newUpstream(t, nil).URL))
	r.do(r.request(bearer(r.mint(id("used")))))
	for _, tc := range []struct{ method, path, body, message string }{
		{"PUT", "limits", `{"scope":"issuer"}`, "one of calls, tokens and usd"},
		{"PUT", "limits", `{"scope":"issuer","calls":1,"usd":"1"}`, "one of calls, tokens and usd"},
		{"PUT", "limits", `{"scope":"issuer","calls":null}`, "calls must not be null"},
		{"PUT", "limits", `{"scope":"issuer","tokens":-1}`, "tokens must be a whole number from 0"},
		{"PUT", "limits", `{"scope":"issuer","tokens":1.5}`, "tokens must be a whole number from 0"},
		{"PUT", "limits", `{"scope":"issuer","tokens":9007199254740992}`, "tokens must be a whole number from 0"},
		{"PUT", "limits", `{"scope":"issuer","usd":5}`, "usd must be a decimal string"},
		{"PUT", "limits", `{"scope":"issuer","usd":"-1"}`, "usd must be a decimal string"},
		{"PUT", "limits", `{"scope":"issuer","usd":"1e3"}`, "usd must be a decimal string"},
		{"PUT", "limits", `{"scope":"issuer","usd":""}`, "usd must be a decimal string"},
		{"PUT", "limits", `{"scope":"issuer","usd":"1000000.01"}`, `from "0" to "1000000.00"`},
		{"PUT", "limits", `{"scope":"issuer","nanousd":5}`, "unknown member"},
		{"DELETE", "limits?scope=issuer&unit=usd", "", "no such limit is set"},
		{"DELETE", "limits?scope=issuer&unit=nanousd", "", "must be one of calls, tokens, usd"},
		{"DELETE", "limits?scope=issuer&unit=", "", "must be one of calls, tokens, usd"},
		{"PATCH", "tokens/backend/used", `{"tokens_limit":"1"}`, "tokens_limit must be a whole number from 0"},
		{"PATCH", "tokens/backend/used", `{"usd_limit":1}`, "usd_limit must be a decimal string"},
		{"PATCH", "tokens/backend/used", `{"usd_limit":"0.0000000001"}`, "usd_limit must be a decimal string"},
		{"PATCH", "tokens/backend/used", `{"nanousd_limit":1}`, "unknown member"},
		{"GET", "usage?by=user", "", "by must be some of"},
		{"GET", "usage?by=day,", "", "by must be some of"},
		{"GET", "usage?token=a/b/c", "", "token: a token is named"},
		{"GET", "usage?token=backend/used&issuer=relay", "", "differs from issuer"},
	} {
		w, answer := admin(t, tc.method, "/relayapi/"+tc.path, tc.body)
		message, _ := answer["error"].(string)
		if want := map[bool]int{true: 404, false: 400}[strings.HasPrefix(tc.message, "no such")]; w.Code != want || !strings.Contains(message, tc.message) {
			t.Errorf("%s %s %s is answered %d %q, want %d with %q", tc.method, tc.path, tc.body, w.Code, message, want, tc.message)
		}
	}
	if _, answer := admin(t, "GET", "/relayapi/limits", ""); fmt.Sprint(answer["limits"]) != "[]" {
		t.Errorf("afterwards the limits are %v", answer["limits"])
	}
}

// Limits differ by their unit: each is set, listed, in force and removed alone.
func TestAdminLimits_ByUnit(t *testing.T) {
	r, _ := metered(t, "limit issuer tokens 5000\nlimit issuer usd 2.5 per month", answerJSON(`{"model":"m","usage":{"prompt_tokens":5,"completion_tokens":5,"total_tokens":10}}`))
	do := func(method, target, body string) string {
		t.Helper()
		w, _ := admin(t, method, "/relayapi/"+target, body)
		if w.Code != 200 {
			t.Errorf("%s %s %s is answered %d %s", method, target, body, w.Code, w.Body)
		}
		return strings.TrimSpace(w.Body.String())
	}
	const of = `{"scope":"subject","issuer":"backend","subject":"user-1"`
	for _, tc := range []struct{ method, target, body, want string }{
		{"PUT", "limits", of + `,"calls":9}`, of + `,"calls":9,"from":"admin"}`},
		{"PUT", "limits", of + `,"tokens":0,"per":"day"}`, of + `,"tokens":0,"per":"day","from":"admin"}`},
		{"PUT", "limits", of + `,"usd":"5"}`, of + `,"usd":"5.00","from":"admin"}`},
		{"PUT", "limits", of + `,"usd":"0.1"}`, of + `,"usd":"0.10","from":"admin"}`},
		{"DELETE", "limits?scope=subject&issuer=backend&subject=user-1", "", of + `,"calls":9,"from":"admin"}`},
		{"GET", "limits", "", `{"limits":[{"scope":"issuer","tokens":5000,"from":"config"},{"scope":"issuer","usd":"2.50","per":"month","from":"config"},` +
			of + `,"tokens":0,"per":"day","from":"admin"},` + of + `,"usd":"0.10","from":"admin"}]}`},
		{"DELETE", "limits?scope=subject&issuer=backend&subject=user-1&unit=tokens&per=day", "", of + `,"tokens":0,"per":"day","from":"admin"}`},
	} {
		if got := do(tc.method, tc.target, tc.body); got != tc.want {
			t.Errorf("%s %s is answered\n%s, want\n%s", tc.method, tc.target, got, tc.want)
		}
	}
	if res, body := r.do(r.request(bearer(r.mint(id("t"))), chatting(askBody))); res.StatusCode != 200 {
		t.Fatalf("a call is answered %d %s", res.StatusCode, body)
	}
	if !eventually(func() bool { return strings.Contains(do("GET", "tokens", ""), `"cost_usd":"0.00006"`) }) {
		t.Error("the call's cost is not listed")
	}
	shown := do("GET", "tokens/backend/t", "")
	for _, want := range []string{
		`{"scope":"issuer","unit":"tokens","amount":5000,"used":10,"left":4990}`,
		`{"scope":"issuer","unit":"usd","per":"month","amount":"2.50","used":"0.00006","left":"2.49994","ends":"` + nextMonth() + `"}`,
		`{"scope":"subject","unit":"usd","amount":"0.10","used":"0.00006","left":"0.09994"}`,
		`"cost_usd":"0.00006"`,
	} {
		if !strings.Contains(shown, want) {
			t.Errorf("the token is shown as\n%s\nwant %s", shown, want)
		}
	}
	for _, target := range []string{"tokens", "tokens/backend/t", "usage", "limits"} {
		if answer := do("GET", target, ""); strings.Contains(answer, "nanousd") {
			t.Errorf("%s tells nano-USD: %s", target, answer)
		}
	}
}

// nextMonth is when the month ends that counts now.
func nextMonth() string {
	_, ends := limits.Window("month", time.Now())
	return ends.Format(time.RFC3339)
}

// A page may poll what is left of every limit.
func TestTokenStatus_Budgets(t *testing.T) {
	up := newUpstream(t, answerJSON(`{"model":"m","usage":{"prompt_tokens":5,"completion_tokens":5,"total_tokens":10}}`))
	relay := startRelay(t, simple(up.URL, inApp(testPrices, "limit subject usd 2.5 per month", "limit issuer tokens 5000"), inDirective("token_status /status")))
	five, thousand := grant.USD(5e9), int64(1000)
	token := relay.mint(id("t"), func(c *grant.Claims) { c.Limits = &grant.Limits{USD: &five, Tokens: &thousand} })
	status := func() map[string]json.RawMessage {
		t.Helper()
		res, body := relay.do(relay.request(bearer(token), polls))
		var got map[string]json.RawMessage
		if err := json.Unmarshal([]byte(body), &got); err != nil || res.StatusCode != 200 {
			t.Fatalf("got %d %s", res.StatusCode, body)
		}
		return got
	}
	want := func(got map[string]json.RawMessage, member, want string) {
		t.Helper()
		if string(got[member]) != want {
			t.Errorf("%s is %s, want %s", member, got[member], want)
		}
	}

	before := status()
	want(before, "calls", "")
	want(before, "usd", `{"limit":"5.00","used":"0.00","remaining":"5.00"}`)
	relay.do(relay.request(bearer(token), chatting(askBody)))
	wantSpent(t, "t", tokenstore.UnitNanoUSD, 60_000)
	after := status()
	want(after, "tokens", `{"limit":1000,"used":10,"remaining":990}`)
	want(after, "usd", `{"limit":"5.00","used":"0.00006","remaining":"4.99994"}`)
	want(after, "limits", `[{"scope":"token","unit":"tokens","limit":1000,"used":10,"remaining":990},`+
		`{"scope":"token","unit":"usd","limit":"5.00","used":"0.00006","remaining":"4.99994"},`+
		`{"scope":"subject","unit":"usd","per":"month","limit":"2.50","used":"0.00006","remaining":"2.49994","ends":"`+nextMonth()+`"},`+
		`{"scope":"issuer","unit":"tokens","limit":5000,"used":10,"remaining":4990}]`)

	zero := int64(0)
	if _, err := activeApp(t).ledger.Update(t.Context(), "backend", "t", tokenstore.Change{Limits: map[tokenstore.Unit]*int64{tokenstore.UnitNanoUSD: &zero}}); err != nil {
		t.Fatal(err)
	}
	want(status(), "usd", `{"limit":"0.00","used":"0.00006","remaining":"0.00"}`)
}

// stream begins a streamed call, and waits for its first event. The channel has what
// follows, once the stream has ended.
func (r *testRelay) stream(token string) <-chan string {
	r.t.Helper()
	answer := bufio.NewReader(r.open(r.request(bearer(token), chatting(streamBody))).Body)
	for range 2 { // an event and an empty line
		if line, err := answer.ReadString('\n'); err != nil {
			r.t.Fatalf("the stream begins with %q, %v", line, err)
		}
	}
	rest := make(chan string, 1)
	go func() {
		all, _ := io.ReadAll(answer)
		rest <- string(all)
	}()
	return rest
}

func wantGoesOn(t *testing.T, streams ...<-chan string) {
	t.Helper()
	over := time.After(50 * time.Millisecond)
	for _, s := range streams {
		select {
		case rest := <-s:
			t.Errorf("a stream has ended with %q", rest)
		case <-over:
		}
	}
}

// A limit that is lowered to what is used ends the calls that it counts, with an event
// that SDKs throw. Other calls go on.
func TestAdminLowersLimit_EndsStreams(t *testing.T) {
	const of = `{"scope":"subject","issuer":"backend","subject":"mine"`
	const all = `{"scope":"subject"`
	reserved := grant.USD(asReserved(streamBody)).String()
	nineCalls, dollar := calls(9), dollars("1")
	for name, tc := range map[string]struct {
		lines, before      string              // limits of the config, and set before
		edit               func(*grant.Claims) // of the token
		method, path, body string
		code               string // empty means that both calls go on
		other              bool   // the call of another subject ends instead
	}{
		"the token's budget to what is reserved": {edit: dollar, method: "PATCH", path: "tokens/backend/mine", body: `{"usd_limit":"` + reserved + `"}`, code: codeBudgetExhausted},
		"the token's budget to more":             {edit: dollar, method: "PATCH", path: "tokens/backend/mine", body: `{"usd_limit":"0.9"}`},
		"the token's budget to 0":                {edit: dollar, method: "PATCH", path: "tokens/backend/mine", body: `{"usd_limit":"0"}`, code: codeBudgetExhausted},
		"the token's tokens, which had no limit": {method: "PATCH", path: "tokens/backend/mine", body: `{"tokens_limit":0}`, code: codeTokensExhausted},
		"the token's calls to what is used":      {edit: nineCalls, method: "PATCH", path: "tokens/backend/mine", body: `{"calls_limit":1}`, code: codeCallsExhausted},
		"the token's calls to more":              {edit: nineCalls, method: "PATCH", path: "tokens/backend/mine", body: `{"calls_limit":2}`},
		"the token's label":                      {edit: dollar, method: "PATCH", path: "tokens/backend/mine", body: `{"label":"x"}`},

		"the subject's budget":        {lines: "limit subject usd 1 per day", method: "PUT", path: "limits", body: of + `,"per":"day","usd":"0.0001"}`, code: codeBudgetExhausted},
		"the same budget once more":   {lines: "limit subject usd " + reserved + " per day", method: "PUT", path: "limits", body: of + `,"per":"day","usd":"` + reserved + `"}`},
		"a budget for another period": {lines: "limit subject usd 1 per day", method: "PUT", path: "limits", body: of + `,"per":"month","usd":"0.0001"}`},
		"a budget of all time":        {lines: "limit subject usd 1 per month", method: "PUT", path: "limits", body: of + `,"usd":"0.0001"}`},
		"the subject's tokens":        {lines: "limit subject tokens 1000", method: "PUT", path: "limits", body: of + `,"tokens":50}`, code: codeTokensExhausted},
		"another unit":                {lines: "limit subject usd 1", method: "PUT", path: "limits", body: of + `,"tokens":50}`},
		"another subject's budget":    {lines: "limit subject usd 1", method: "PUT", path: "limits", body: `{"scope":"subject","issuer":"backend","subject":"user-1","usd":"0.0001"}`, code: codeBudgetExhausted, other: true},
		"that of all, but its own":    {lines: "limit subject usd 1", before: of + `,"usd":"0.5"}`, method: "PUT", path: "limits", body: all + `,"usd":"0.0001"}`, code: codeBudgetExhausted, other: true},
		"on hold, without a limit":    {method: "PUT", path: "limits", body: of + `,"usd":"0"}`, code: codeBudgetExhausted},
		"a limit that is removed":     {lines: "limit subject usd 0.001", before: of + `,"usd":"0.5"}`, method: "DELETE", path: "limits?scope=subject&issuer=backend&subject=mine&unit=usd"},
	} {
		t.Run(name, func(t *testing.T) {
			up := newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body) // or the server would not notice that the relay breaks off
				w.Header().Set("Content-Type", "text/event-stream")
				tell(w, "data: "+chunk+"\n\n")
				<-r.Context().Done()
			})
			relay := startRelay(t, simple(up.URL, inApp(testPrices, tc.lines), inDirective("on_disconnect cancel")))
			if tc.before != "" {
				admin(t, "PUT", "/relayapi/limits", tc.before)
			}
			ends := relay.stream(relay.mint(id("mine"), tc.edit, subject("mine")))
			goesOn := relay.stream(relay.mint(id("other")))
			if tc.other {
				ends, goesOn = goesOn, ends
			}

			lowered := time.Now()
			w, answer := admin(t, tc.method, "/relayapi/"+tc.path, tc.body)
			ended, _ := answer["ended_calls"].(float64)
			if want := map[bool]float64{true: 1}[tc.code != ""]; w.Code != 200 || ended != want {
				t.Fatalf("answered %d %v, want %v ended calls", w.Code, answer, want)
			}
			if wantGoesOn(t, goesOn); tc.code == "" {
				wantGoesOn(t, ends)
				return
			}

			var event string
			select {
			case event = <-ends:
			case <-time.After(250*time.Millisecond - time.Since(lowered)):
				t.Fatal("the stream goes on after 250 ms")
			}
			data, _ := strings.CutPrefix(event, "event: error\ndata: ")
			var refused struct {
				Error struct{ Code, Message string }
			}
			if err := json.Unmarshal([]byte(data), &refused); err != nil || refused.Error.Code != tc.code ||
				!strings.Contains(refused.Error.Message, "the operator lowered the limit during the call") {
				t.Errorf("the stream ends with %q, %v, want an event with %s", event, err, tc.code)
			}
		})
	}
}
