package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// wrk is a load generator in C that needs a tenth of the CPU time of one in Go:
// more of the machine is left to the subject.
type wrk struct {
	program string
	dir     string // for its files
}

// findWrk returns nil where wrk is not installed.
func findWrk(dir string) *wrk {
	program, err := exec.LookPath("wrk")
	if err != nil {
		return nil
	}
	return &wrk{program, dir}
}

// wrkScript makes wrk go through a file of tokens, and tell what happened as JSON.
const wrkScript = `local head, tail, at = %s, %s, %d
local tokens = {}
for line in io.lines(%s) do tokens[#tokens + 1] = line end
function request()
	at = at %% #tokens + 1
	return head .. tokens[at] .. tail
end
function done(summary)
	local e = summary.errors
	io.write(string.format('\n{"requests":%%d,"micros":%%d,"bytes":%%d,"failed":%%d,"broken":%%d}\n', summary.requests,
		summary.duration, summary.bytes, e.status, e.connect + e.read + e.write + e.timeout))
end
`

// wrkSummary is what the script tells.
type wrkSummary struct {
	Requests int64 `json:"requests"`
	Micros   int64 `json:"micros"`
	Bytes    int64 `json:"bytes"`
	Failed   int64 `json:"failed"` // answers of status 400 and above
	Broken   int64 `json:"broken"` // connections
}

// closedLoop keeps all connections busy for whole seconds, of which expected is
// the most requests that can become.
func (w *wrk) closedLoop(ctx context.Context, t *target, d time.Duration, expected int) (load, error) {
	if err := t.tokens.reserve(expected); err != nil {
		return load{}, err
	}
	script, err := w.write(t)
	if err != nil {
		return load{}, err
	}
	seconds := int(math.Ceil(d.Seconds()))
	cmd := exec.CommandContext(ctx, w.program, "-t", "1", "-c", strconv.Itoa(connections),
		"-d", strconv.Itoa(seconds), "--timeout", "10s", "-s", script, t.url)
	cmd.SysProcAttr = dieWithParent()
	out, err := cmd.CombinedOutput()
	if err != nil {
		return load{}, cmp.Or(ctx.Err(), fmt.Errorf("wrk: %w: %s", err, sample(out)))
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	var sum wrkSummary
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &sum); err != nil {
		return load{}, fmt.Errorf("wrk: %w: %s", err, sample(out))
	}
	switch {
	case sum.Failed > 0 || sum.Broken > 0:
		return load{}, fmt.Errorf("wrk: of %d requests, %d were refused and %d broke off; one more is answered %s",
			sum.Requests, sum.Failed, sum.Broken, t.ask(ctx))
	case sum.Bytes < sum.Requests*int64(t.answer):
		return load{}, fmt.Errorf("wrk: %d answers had %d bytes in all, and not %d each", sum.Requests, sum.Bytes, t.answer)
	}
	// When its time is over, wrk drops the requests that are under way.
	return load{sum.Requests, time.Duration(sum.Micros) * time.Microsecond}, t.tokens.skip(int(sum.Requests) + connections)
}

// write writes the script and the tokens for a run.
func (w *wrk) write(t *target) (script string, err error) {
	tokens, at := t.tokens.position()
	list := filepath.Join(w.dir, "tokens")
	if err := os.WriteFile(list, []byte(strings.Join(tokens, "\n")+"\n"), 0o600); err != nil {
		return "", err
	}
	address, path, _ := strings.Cut(strings.TrimPrefix(t.url, "http://"), "/")
	head := fmt.Sprintf("POST /%s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\nAuthorization: Bearer ",
		path, address, len(t.body))
	script = filepath.Join(w.dir, "wrk.lua")
	text := fmt.Sprintf(wrkScript, luaString(head), luaString("\r\n\r\n"+string(t.body)), at, luaString(list))
	return script, os.WriteFile(script, []byte(text), 0o600)
}

// luaString writes a string as Lua reads it: as Go does, for printable ASCII and
// the usual escapes.
func luaString(s string) string { return strconv.QuoteToASCII(s) }
