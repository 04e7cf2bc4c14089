package relayapi

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// bareProvider is a provider that serves each connection as it likes.
type bareProvider struct {
	URL   string
	conns atomic.Int64 // that were accepted
	open  atomic.Int64 // that are open
}

// newBareProvider starts a provider that gets each request with its body read, and
// closes the connection when serve returns false.
func newBareProvider(t *testing.T, serve func(conn net.Conn, r *http.Request, body string) bool) *bareProvider {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	p := &bareProvider{URL: "http://" + l.Addr().String()}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			p.conns.Add(1)
			p.open.Add(1)
			go func() {
				defer p.open.Add(-1)
				defer conn.Close()
				for buffer := bufio.NewReader(conn); ; {
					r, err := http.ReadRequest(buffer)
					if err != nil {
						return
					}
					body, err := io.ReadAll(r.Body)
					if err != nil || !serve(conn, r, string(body)) {
						return
					}
				}
			}()
		}
	}()
	return p
}

func TestAnswersThatAreNone(t *testing.T) {
	for name, answer := range map[string]string{
		"nothing":                "",
		"nothing of HTTP":        "SSH-2.0-OpenSSH_9.2\r\n",
		"a header that breaks":   "HTTP/1.1 200 OK\r\nContent-",
		"too long a header":      "HTTP/1.1 200 OK\r\n" + strings.Repeat("X-Pad: 0123456789\r\n", 1000) + "Content-Length: 0\r\n\r\n",
		"no end of interim ones": strings.Repeat("HTTP/1.1 102 Processing\r\n\r\n", 100),
		"interim ones and end":   "HTTP/1.1 103 Early Hints\r\n\r\n",
		"two lengths":            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok!",
	} {
		t.Run(name, func(t *testing.T) {
			up := newBareProvider(t, func(conn net.Conn, _ *http.Request, _ string) bool {
				_, _ = io.WriteString(conn, answer)
				return false
			})
			relay := startRelay(t, simple(up.URL, inTransport("max_response_header 8KiB")))
			res, body := relay.do(relay.request(bearer(relay.mint())))
			wantRefusal(t, res, body, codeProviderUnreachable)
			if up.conns.Load() != 1 {
				t.Errorf("the call took %d connections", up.conns.Load())
			}
		})
	}
}

// Whatever becomes of the calls around it, a call gets its own answer and no piece
// of another's.
func TestAnswersAreNotMixed(t *testing.T) {
	const clients, each = 64, 60
	up := newBareProvider(t, func(conn net.Conn, r *http.Request, body string) bool {
		answer := strings.Repeat(body+";", 1+rand.IntN(2000))
		if rand.IntN(8) == 0 {
			time.Sleep(time.Duration(rand.IntN(3000)) * time.Microsecond)
		}
		switch rand.IntN(8) {
		case 0: // breaks off
			fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(answer), answer[:len(answer)/2])
			return false
		case 2:
			fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\n\r\n%s", answer)
			return false
		case 3, 4:
			fmt.Fprintf(conn, "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(answer), answer)
			return true
		}
		fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(answer), answer)
		return rand.IntN(8) > 0
	})
	relay := startRelay(t, simple(up.URL, quiet))
	relay.client.Transport.(*http.Transport).MaxIdleConnsPerHost = clients
	token := relay.mint()
	var wg sync.WaitGroup
	var whole atomic.Int64
	for client := range clients {
		wg.Go(func() {
			for n := range each {
				mine := fmt.Sprintf("call-%d-%d", client, n)
				ctx, abort := context.WithCancel(t.Context())
				if rand.IntN(4) == 0 {
					time.AfterFunc(time.Duration(rand.IntN(2000))*time.Microsecond, abort)
				}
				res, err := relay.client.Do(relay.request(bearer(token), withBody(strings.NewReader(mine), int64(len(mine)))).WithContext(ctx))
				if err != nil {
					abort()
					continue
				}
				body, err := io.ReadAll(res.Body)
				res.Body.Close()
				abort()
				if res.StatusCode != 200 {
					continue // what the provider broke, with an error of the relay's
				}
				if rest := strings.ReplaceAll(string(body), mine+";", ""); !strings.HasPrefix(mine+";", rest) || err == nil && rest != "" {
					t.Errorf("%s got %q among its own", mine, rest)
				}
				if err == nil {
					whole.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if n := whole.Load(); n < clients*each/3 {
		t.Errorf("only %d of %d calls came to their end", n, clients*each)
	}
	if n := up.conns.Load(); n > clients*each*9/10 {
		t.Errorf("%d calls took %d connections", clients*each, n)
	}
	// What was idle is closed with its config, and what was in flight when it ends.
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	if !eventually(func() bool { return up.open.Load() == 0 }) {
		t.Errorf("%d connections are left", up.open.Load())
	}
}

// What a provider sends besides its answer is nobody's, where no body
// can be.
func TestAnswer_ThatIsFollowedByAnother(t *testing.T) {
	const another = "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nanother"
	for name, tc := range map[string]struct {
		method, answer string
		late           bool // it may also come when the relay has the answer
	}{
		"a body after HEAD":       {"HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 63\r\n\r\n" + another, true},
		"a body after no content": {"DELETE", "HTTP/1.1 204 No Content\r\n\r\n" + another, true},
		"a body after a 304":      {"GET", "HTTP/1.1 304 Not Modified\r\n\r\n" + another, true},
	} {
		t.Run(name, func(t *testing.T) {
			up := newBareProvider(t, func(conn net.Conn, r *http.Request, _ string) bool {
				answer, late, _ := strings.Cut(tc.answer, another)
				if r.Header.Get("X-Late") != "" {
					_, _ = io.WriteString(conn, answer)
					time.Sleep(2 * time.Millisecond)
					answer = late + another
				} else {
					answer = tc.answer
				}
				_, _ = io.WriteString(conn, answer)
				return true
			})
			relay := startRelay(t, simple(up.URL))
			token := relay.mint()
			for n := range 60 {
				edits := []func(*http.Request){bearer(token), asking(tc.method, "/v1/x"), withBody(http.NoBody, 0)}
				if tc.late && n%2 == 0 {
					edits = append(edits, header("X-Late", "1"))
				}
				if _, body := relay.do(relay.request(edits...)); strings.Contains(body, "another") {
					t.Fatalf("call %d got %q", n, body)
				}
			}
		})
	}
}

// A client that goes away before there is an answer ends its connection to the
// provider.
func TestClientAbortsBeforeTheAnswer(t *testing.T) {
	arrived := make(chan struct{})
	up := newBareProvider(t, func(conn net.Conn, _ *http.Request, _ string) bool {
		close(arrived)
		return true // and never answers
	})
	relay := startRelay(t, simple(up.URL))
	token := relay.mint(calls(1))
	ctx, abort := context.WithCancel(t.Context())
	done := relay.begin(relay.request(bearer(token), asking("POST", "/v1/x")).WithContext(ctx)) // its usage is not metered
	wait(t, arrived, "the request")
	abort()
	wait(t, done, "the client")
	if !eventually(func() bool { return up.open.Load() == 0 }) {
		t.Error("the connection is left open")
	}
	relay.wantSettled(token)
}

func TestIdleConnectionsAreClosed(t *testing.T) {
	up := newBareProvider(t, func(conn net.Conn, _ *http.Request, _ string) bool {
		_, err := io.WriteString(conn, "HTTP/1.1 204 No Content\r\n\r\n")
		return err == nil
	})
	relay := startRelay(t, simple(up.URL, inTransport("keepalive 50ms")))
	for range 2 {
		if res, body := relay.do(relay.request(bearer(relay.mint()))); res.StatusCode != 204 {
			t.Fatalf("got %d %s", res.StatusCode, body)
		}
		if !eventually(func() bool { return up.open.Load() == 0 }) {
			t.Error("the connection stays open")
		}
	}
}
