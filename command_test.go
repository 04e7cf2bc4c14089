package relayapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/relayapi/caddy-relayapi/eccrypto"
	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain puts a command `caddy` in the path of every test: this binary, run
// as Caddy with the standard modules and this one.
func TestMain(m *testing.M) {
	os.Setenv("RELAYAPI_TEST_KEY", realKey) // of every config; the key of the provider
	testscript.Main(m, map[string]func(){"caddy": caddycmd.Main})
}

// TestScript runs the scripts in testdata/script. Besides testscript's own
// commands they have those of scriptCommands, and in the environment:
//
//	PORT_A, PORT_B, PORT_ADMIN   free ports of 127.0.0.1
//	HOME, XDG_*_HOME             directories below $WORK
//	DATA                         where a relay keeps its store and keys by default
func TestScript(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		Setup:               setupScript,
		Cmds:                scriptCommands,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Deadline:            time.Now().Add(3 * time.Minute), // bounds every `wait`
	})
}

var scriptCommands = map[string]func(ts *testscript.TestScript, neg bool, args []string){
	"argument": scriptArgument,
	"call":     scriptCall,
	"exits":    scriptExits,
	"fetch":    scriptFetch,
	"json":     scriptJSON,
	"mode":     scriptMode,
	"nosecret": scriptNoSecret,
	"sleep":    scriptSleep,
	"tamper":   scriptTamper,
	"waitfor":  scriptWaitFor,
}

func setupScript(env *testscript.Env) error {
	for _, name := range []string{"PORT_A", "PORT_B", "PORT_ADMIN"} {
		port, err := scriptPorts.free()
		if err != nil {
			return err
		}
		env.Setenv(name, port)
	}
	env.Setenv("GORACE", "atexit_sleep_ms=0") // else every command takes a second to exit
	env.Setenv("HOME", filepath.Join(env.WorkDir, "home"))
	env.Setenv("XDG_CONFIG_HOME", filepath.Join(env.WorkDir, "config"))
	env.Setenv("XDG_DATA_HOME", filepath.Join(env.WorkDir, "data"))
	env.Setenv("DATA", filepath.Join(env.WorkDir, "data", "caddy", "relayapi"))
	return nil
}

// portSet hands out free ports, none of them twice: the scripts run in parallel.
type portSet struct {
	mu   sync.Mutex
	used map[string]bool
}

var scriptPorts = portSet{used: make(map[string]bool)}

func (s *portSet) free() (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for range 100 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return "", err
		}
		_, port, _ := net.SplitHostPort(l.Addr().String())
		l.Close()
		if !s.used[port] {
			s.used[port] = true
			return port, nil
		}
	}
	return "", errors.New("no free port")
}

var scriptClient = &http.Client{Timeout: 10 * time.Second}

// scriptWaitFor polls a URL until it answers 200.
//
//	waitfor URL
func scriptWaitFor(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, "waitfor URL", !neg && len(args) == 1)
	if !eventually(func() bool {
		_, err := httpGet(args[0])
		return err == nil
	}) {
		ts.Fatalf("%s has not answered 200 in 10 s", args[0])
	}
}

// scriptFetch saves what a URL answers.
//
//	fetch URL FILE
func scriptFetch(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, "fetch URL FILE", !neg && len(args) == 2)
	body, err := httpGet(args[0])
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), body, 0o600))
}

func httpGet(url string) ([]byte, error) {
	res, err := scriptClient.Get(url)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answered %s", url, res.Status)
	}
	return io.ReadAll(res.Body)
}

// scriptCall sends chat completions with the token in a file and compares the
// status of every answer, and with BODY each body with a regular expression.
//
//	call [-n N] URL TOKENFILE STATUS [BODY]
func scriptCall(ts *testscript.TestScript, neg bool, args []string) {
	n := 1
	if len(args) > 2 && args[0] == "-n" {
		var err error
		n, err = strconv.Atoi(args[1])
		ts.Check(err)
		args = args[2:]
	}
	usage(ts, "call [-n N] URL TOKENFILE STATUS [BODY]", !neg && n > 0 && (len(args) == 3 || len(args) == 4))
	token := strings.TrimSpace(ts.ReadFile(args[1]))
	pattern := regexp.MustCompile(strings.Join(args[3:], ""))
	for i := range n {
		req, err := http.NewRequest(http.MethodPost, args[0],
			strings.NewReader(`{"model":"demo","messages":[{"role":"user","content":"hello"}]}`))
		ts.Check(err)
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("X-API-Token", token)
		res, err := scriptClient.Do(req)
		ts.Check(err)
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		ts.Check(err)
		if strconv.Itoa(res.StatusCode) != args[2] || !pattern.Match(body) {
			ts.Fatalf("call %d of %d was answered %d, want %s with a body that matches %q: %s",
				i+1, n, res.StatusCode, args[2], pattern, body)
		}
	}
}

// scriptArgument runs `caddy relayapi` with a file's text as the last argument.
// That must fail.
//
//	argument FILE ARG...
func scriptArgument(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, "argument FILE ARG...", !neg && len(args) >= 1)
	args = append(append([]string{"relayapi"}, args[1:]...), ts.ReadFile(args[0]))
	if err := ts.Exec("caddy", args...); err == nil {
		ts.Fatalf("unexpected command success")
	}
}

// scriptExits runs a program that must exit with exactly this status.
//
//	exits STATUS PROGRAM [ARG...]
func scriptExits(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, "exits STATUS PROGRAM [ARG...]", !neg && len(args) >= 2)
	status := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		status = exit.ExitCode()
	}
	if strconv.Itoa(status) != args[0] {
		ts.Fatalf("exit status is %d, want %s", status, args[0])
	}
}

// scriptJSON looks at the one JSON value that a file must be. PATH is the names
// and indices that lead to a member, joined by dots. The member must be there,
// and match the regular expression if one is given; with `!` it must be absent;
// -members wants exactly these names in the object; -o saves it, a string
// without its quotes.
//
//	[!] json FILE PATH
//	json FILE PATH REGEXP
//	json -members FILE NAME...
//	json -o OUT FILE PATH
func scriptJSON(ts *testscript.TestScript, neg bool, args []string) {
	const help = "[!] json FILE PATH | json FILE PATH REGEXP | json -members FILE NAME... | json -o OUT FILE PATH"
	usage(ts, help, len(args) >= 2)
	switch {
	case args[0] == "-members":
		usage(ts, help, !neg && len(args) >= 3)
		object, ok := jsonMember(ts, args[1], "").(map[string]any)
		var names []string
		for name := range object {
			names = append(names, name)
		}
		slices.Sort(names)
		slices.Sort(args[2:])
		if !ok || !slices.Equal(names, args[2:]) {
			ts.Fatalf("%s has the members %q, want %q", args[1], names, args[2:])
		}
	case args[0] == "-o":
		usage(ts, help, !neg && len(args) == 4)
		ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(jsonText(jsonMember(ts, args[2], args[3]))), 0o600))
	case neg:
		usage(ts, help, len(args) == 2)
		if v := jsonMember(ts, args[0], args[1]); v != nil {
			ts.Fatalf("%s has %s: %v", args[0], args[1], v)
		}
	default:
		usage(ts, help, len(args) <= 3)
		v := jsonMember(ts, args[0], args[1])
		if v == nil {
			ts.Fatalf("%s has no %s", args[0], args[1])
		}
		if len(args) == 3 && !regexp.MustCompile(args[2]).MatchString(jsonText(v)) {
			ts.Fatalf("%s of %s is %s, which does not match %q", args[1], args[0], jsonText(v), args[2])
		}
	}
}

// jsonMember returns the member of a file's JSON value that a path leads to, or
// nil; the empty path leads to the value itself.
func jsonMember(ts *testscript.TestScript, file, path string) any {
	dec := json.NewDecoder(strings.NewReader(ts.ReadFile(file)))
	dec.UseNumber()
	var value any
	if err := dec.Decode(&value); err != nil {
		ts.Fatalf("%s is not JSON: %v", file, err)
	}
	if _, err := dec.Token(); err != io.EOF {
		ts.Fatalf("%s has something after its JSON value", file)
	}
	if path == "" {
		return value
	}
	for step := range strings.SplitSeq(path, ".") {
		switch v := value.(type) {
		case map[string]any:
			value = v[step]
		case []any:
			i, err := strconv.Atoi(step)
			if err != nil || i < 0 || i >= len(v) {
				return nil
			}
			value = v[i]
		default:
			return nil
		}
	}
	return value
}

func jsonText(value any) string {
	if s, ok := value.(string); ok {
		return s
	}
	data, _ := json.Marshal(value) // it was parsed
	return string(data)
}

// scriptMode compares the permissions of a file.
//
//	mode FILE 0600
func scriptMode(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, "mode FILE 0600", !neg && len(args) == 2)
	want, err := strconv.ParseUint(args[1], 8, 32)
	ts.Check(err)
	info, err := os.Stat(ts.MkAbs(args[0]))
	ts.Check(err)
	if got := info.Mode().Perm(); got != fs.FileMode(want) {
		ts.Fatalf("%s has mode %04o, want %s", args[0], got, args[1])
	}
}

// scriptNoSecret checks that no piece of a secret is in a file: 8 characters of
// a key, or 16 of a token. With `!` a piece must be there, which shows that the
// check would find one.
//
//	[!] nosecret FILE SECRETFILE
func scriptNoSecret(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, "[!] nosecret FILE SECRETFILE", len(args) == 2)
	secret := strings.TrimSpace(ts.ReadFile(args[1]))
	size := 8
	if eccrypto.LooksLikeToken(secret) {
		size = 16
	}
	if len(secret) < size {
		ts.Fatalf("%s has no secret of %d characters or more", args[1], size)
	}
	switch found := leak(ts.ReadFile(args[0]), secret, size); {
	case found && !neg:
		ts.Fatalf("%s has a piece of the secret in %s", args[0], args[1])
	case !found && neg:
		ts.Fatalf("%s has no piece of the secret in %s", args[0], args[1])
	}
}

// scriptSleep waits.
//
//	sleep DURATION
func scriptSleep(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, "sleep DURATION", !neg && len(args) == 1)
	d, err := time.ParseDuration(args[0])
	ts.Check(err)
	time.Sleep(d)
}

// scriptTamper writes a token with one character of its ciphertext changed.
//
//	tamper TOKENFILE OUT
func scriptTamper(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, "tamper TOKENFILE OUT", !neg && len(args) == 2)
	token := []byte(ts.ReadFile(args[0]))
	i := bytes.LastIndexByte(token, '.') - 20 // the ciphertext is the segment before the last
	if i < 0 {
		ts.Fatalf("%s has no token", args[0])
	}
	if token[i] != 'A' {
		token[i] = 'A'
	} else {
		token[i] = 'B'
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), token, 0o600))
}

func usage(ts *testscript.TestScript, text string, ok bool) {
	if !ok {
		ts.Fatalf("usage: %s", text)
	}
}
