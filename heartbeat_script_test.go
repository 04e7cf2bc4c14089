package relayapi

import (
	"io"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

func init() {
	scriptCommands["waitcall"] = scriptWaitCall
	scriptCommands["waitfile"] = scriptWaitFile
}

// scriptWaitFile polls until a file is there.
//
//	waitfile FILE
func scriptWaitFile(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, "waitfile FILE", !neg && len(args) == 1)
	name := ts.MkAbs(args[0])
	if !eventually(func() bool { _, err := os.Stat(name); return err == nil }) {
		ts.Fatalf("%s is not there after 10 s", args[0])
	}
}

// scriptWaitCall sends chat completions with the token in a file until one is answered
// with a status and a body that matches a regular expression.
//
//	waitcall WITHIN URL TOKENFILE STATUS BODY
func scriptWaitCall(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, "waitcall WITHIN URL TOKENFILE STATUS BODY", !neg && len(args) == 5)
	within, err := time.ParseDuration(args[0])
	ts.Check(err)
	token, pattern := strings.TrimSpace(ts.ReadFile(args[2])), regexp.MustCompile(args[4])

	var status, body string
	for deadline := time.Now().Add(within); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		req, err := http.NewRequest(http.MethodPost, args[1], strings.NewReader(`{"model":"demo"}`))
		ts.Check(err)
		req.Header.Set("X-API-Token", token)
		res, err := scriptClient.Do(req)
		ts.Check(err)
		data, err := io.ReadAll(res.Body)
		res.Body.Close()
		ts.Check(err)
		if status, body = strconv.Itoa(res.StatusCode), string(data); status == args[3] && pattern.MatchString(body) {
			return
		}
	}
	ts.Fatalf("after %s a call is answered %s %s, want %s with a body that matches %q", within, status, body, args[3], pattern)
}
