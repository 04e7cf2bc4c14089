package relayapi

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/coder/websocket"
)

// onAllWays runs a test against a relay that is called over HTTP/1.1 and one that
// is called over HTTP/2, which takes TLS.
func onAllWays(t *testing.T, test func(t *testing.T, start func(upstream string) *testRelay)) {
	t.Run("HTTP/1.1", func(t *testing.T) {
		test(t, func(upstream string) *testRelay { return startRelay(t, simple(upstream)) })
	})
	t.Run("HTTP/2", func(t *testing.T) {
		test(t, func(upstream string) *testRelay { return startTLSRelay(t, upstream) })
	})
}

// startTLSRelay starts a relay with a certificate of Caddy's own authority,
// called by a client that prefers HTTP/2.
func startTLSRelay(t *testing.T, upstream string) *testRelay {
	t.Helper()
	return startTLS(t, simple(upstream, overTLS("h1 h2")))
}

// startTLS starts a relay whose config has [overTLS].
func startTLS(t *testing.T, config string) *testRelay {
	t.Helper()
	r := startRelay(t, config)
	r.URL = "https://localhost:" + r.port
	r.client = newClient(t) // the other one has settled what it speaks
	transport := r.client.Transport.(*http.Transport)
	transport.TLSClientConfig = &tls.Config{InsecureSkipVerify: true}
	transport.ForceAttemptHTTP2 = true
	transport.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, "127.0.0.1:"+r.port) // whatever localhost is here
	}
	var last error
	if !eventually(func() bool { // the certificate is made in the background
		res, err := r.client.Do(r.request(asking("GET", "/health")))
		if last = err; err != nil {
			return false
		}
		res.Body.Close()
		if res.ProtoMajor != 2 {
			t.Fatalf("the relay answers over %s", res.Proto)
		}
		return res.StatusCode == 200
	}) {
		t.Fatal("the relay is not ready: ", last)
	}
	return r
}

// open sends a request and leaves the answer's body to the caller.
func (r *testRelay) open(req *http.Request) *http.Response {
	r.t.Helper()
	res, err := r.client.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { res.Body.Close() })
	return res
}

// wait fails the test when c is not ready in time.
func wait[T any](t *testing.T, c <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(20 * time.Second):
		t.Fatal("timed out waiting for ", what)
		panic("unreachable")
	}
}

// wantSettled stops the relay and checks that nothing holds its ledger, then
// starts it again and checks that the token's calls are used up.
func (r *testRelay) wantSettled(token string) {
	r.t.Helper()
	if err := caddy.Stop(); err != nil {
		r.t.Fatal(err)
	}
	path := filepath.Join(r.dir, "relayapi.db")
	if !eventually(func() bool { refs, open := stores.References(path); return !open && refs == 0 }) {
		r.t.Error("a request still holds the ledger")
	}
	again := *r
	again.client = newClient(r.t)
	again.URL = "http://127.0.0.1:" + r.port
	again.load(simple("http://127.0.0.1:1")) // a call that is admitted even so fails in another way
	res, body := again.do(again.request(bearer(token)))
	wantRefusal(r.t, res, body, "calls_exhausted")
}

func flush(t *testing.T, w http.ResponseWriter) {
	if err := http.NewResponseController(w).Flush(); err != nil {
		t.Error("flush: ", err)
	}
}

func withBody(body io.Reader, length int64) func(*http.Request) {
	return func(r *http.Request) {
		r.Body, r.ContentLength, r.GetBody = io.NopCloser(body), length, nil
	}
}

// The next event is sent only when the client has the one before: whoever
// buffers stops the stream.
func TestEventsArriveOneByOne(t *testing.T) {
	for _, contentType := range []string{"text/event-stream", "application/x-ndjson"} {
		t.Run(contentType, func(t *testing.T) {
			onAllWays(t, func(t *testing.T, start func(string) *testRelay) {
				acks := make(chan struct{})
				relay := start(newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
					w.Header().Set("Content-Type", contentType)
					for i := range 10 {
						fmt.Fprintf(w, "data: %d\n", i)
						flush(t, w)
						select {
						case <-acks:
						case <-r.Context().Done():
							return
						}
					}
				}).URL)
				res := relay.open(relay.request(bearer(relay.mint())))
				events := bufio.NewReader(res.Body)
				for i := range 10 {
					line, err := events.ReadString('\n')
					if want := fmt.Sprintf("data: %d\n", i); err != nil || line != want {
						t.Fatalf("got %q, %v, want %q", line, err, want)
					}
					acks <- struct{}{}
				}
				if rest, err := io.ReadAll(events); err != nil || len(rest) > 0 {
					t.Errorf("the stream ends with %q, %v", rest, err)
				}
			})
		})
	}
}

// ending is what became of a request that another goroutine makes.
type ending struct {
	status int
	body   string
	err    error
}

// begin sends a request and reads the answer in the background.
func (r *testRelay) begin(req *http.Request) <-chan ending {
	done := make(chan ending, 1)
	go func() {
		res, err := r.client.Do(req)
		if err != nil {
			done <- ending{err: err}
			return
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		done <- ending{res.StatusCode, string(body), err}
	}()
	return done
}

// newPipe returns a body that is written while it is sent.
func newPipe(t *testing.T) (*io.PipeReader, *io.PipeWriter) {
	body, send := io.Pipe()
	t.Cleanup(func() { send.Close() })
	return body, send
}

// The second part of a body is sent only when the provider has the first.
func TestRequestBodyIsStreamed(t *testing.T) {
	content := strings.Repeat("0123456789", 10<<10)
	for name, tc := range map[string]struct {
		first, arrives int
		length         int64
	}{
		"chunked": {10, 10, -1},
		// Where the length is known, Go's client and transport keep up to 4 KiB
		// back each until there is more.
		"known length": {64 << 10, 48 << 10, int64(len(content))},
	} {
		t.Run(name, func(t *testing.T) {
			onAllWays(t, func(t *testing.T, start func(string) *testRelay) {
				arrived := make(chan string, 1)
				up := newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
					part := make([]byte, tc.arrives)
					_, err := io.ReadFull(r.Body, part)
					arrived <- fmt.Sprint(r.ContentLength, " ", err)
					rest, err := io.ReadAll(r.Body)
					if err != nil {
						t.Error(err)
					}
					_, _ = w.Write(append(part, rest...))
				})
				relay := start(up.URL)
				body, send := newPipe(t)
				done := relay.begin(relay.request(bearer(relay.mint()), withBody(body, tc.length)))
				_, _ = io.WriteString(send, content[:tc.first])
				if got, want := wait(t, arrived, "the first part"), fmt.Sprint(tc.length, " <nil>"); got != want {
					t.Errorf("the provider received length and error %s, want %s", got, want)
				}
				_, _ = io.WriteString(send, content[tc.first:])
				send.Close()
				if got := wait(t, done, "the answer"); got.err != nil || got.status != 200 || got.body != content {
					t.Errorf("got %d, %d bytes, %v, want %d bytes", got.status, len(got.body), got.err, len(content))
				}
			})
		})
	}
}

// zeros is a source without end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// liveHeap is how much memory is in use.
func liveHeap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// measured is a source of so many zeros. On its way it keeps the highest of what
// liveHeap says.
type measured struct {
	left, next, step int64
	highest          atomic.Uint64
}

func (m *measured) Read(p []byte) (int, error) {
	if m.left == 0 {
		return 0, io.EOF
	}
	if m.left <= m.next {
		m.highest.Store(max(m.highest.Load(), liveHeap()))
		m.next -= m.step
	}
	n, err := zeros{}.Read(p[:min(int64(len(p)), m.left)])
	m.left -= int64(n)
	return n, err
}

func newMeasured(size int64) *measured { return &measured{left: size, next: size, step: size / 8} }

// A body passes in pieces: while a GiB is sent up or 64 MiB come down, not 16 MiB
// of memory are taken.
func TestLargeBodiesTakeLittleMemory(t *testing.T) {
	const most = 16 << 20
	for name, known := range map[string]bool{"chunked": false, "known length": true} {
		t.Run("upload, "+name, func(t *testing.T) {
			const size = largeUpload
			length := int64(-1)
			if known {
				length = size
			}
			onAllWays(t, func(t *testing.T, start func(string) *testRelay) {
				relay := start(newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
					n, err := io.Copy(io.Discard, r.Body)
					fmt.Fprint(w, r.ContentLength, n, err)
				}).URL)
				source, before := newMeasured(size), liveHeap()
				_, body := relay.do(relay.request(bearer(relay.mint()), withBody(source, length)))
				if want := fmt.Sprint(length, size, nil); body != want {
					t.Errorf("the provider received length, size and error %s, want %s", body, want)
				}
				if took := int64(source.highest.Load() - before); took > most {
					t.Errorf("%d KiB of memory are taken", took>>10)
				}
			})
		})
		t.Run("download, "+name, func(t *testing.T) {
			const size = 64 << 20
			length := int64(-1)
			if known {
				length = size
			}
			onAllWays(t, func(t *testing.T, start func(string) *testRelay) {
				source := newMeasured(size)
				relay := start(newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
					if length >= 0 {
						w.Header().Set("Content-Length", fmt.Sprint(length))
					}
					_, _ = io.Copy(w, source)
				}).URL)
				before := liveHeap()
				res := relay.open(relay.request(bearer(relay.mint())))
				if n, err := io.Copy(io.Discard, res.Body); err != nil || n != size || res.ContentLength != length {
					t.Errorf("got %d bytes of %d, %v, want %d", n, res.ContentLength, err, size)
				}
				if took := int64(source.highest.Load() - before); took > most {
					t.Errorf("%d KiB of memory are taken", took>>10)
				}
			})
		})
	}
}

// A client that goes away in the middle of an answer ends the provider's work,
// and the call was one.
func TestClientAbortsAnswer(t *testing.T) {
	onAllWays(t, func(t *testing.T, start func(string) *testRelay) {
		ended := make(chan error, 1)
		relay := start(newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			_, _ = io.WriteString(w, "data: 1\n\n")
			flush(t, w)
			select {
			case <-r.Context().Done():
			case <-time.After(15 * time.Second):
			}
			ended <- r.Context().Err()
		}).URL)
		token := relay.mint(calls(1))
		ctx, abort := context.WithCancel(t.Context())
		defer abort()
		res := relay.open(relay.request(bearer(token), asking("POST", "/v1/x")).WithContext(ctx)) // its usage is not metered
		if _, err := io.ReadFull(res.Body, make([]byte, 9)); err != nil {
			t.Fatal(err)
		}
		abort()
		if err := wait(t, ended, "the provider"); err == nil {
			t.Error("the provider goes on")
		}
		relay.wantSettled(token)
	})
}

// A body that breaks off does not look complete to the provider.
func TestClientAbortsUpload(t *testing.T) {
	for name, length := range map[string]int64{"chunked": -1, "known length": 1 << 20} {
		t.Run(name, func(t *testing.T) {
			onAllWays(t, func(t *testing.T, start func(string) *testRelay) {
				begun, ended := make(chan struct{}), make(chan error, 1)
				relay := start(newUpstream(t, func(_ http.ResponseWriter, r *http.Request) {
					_, _ = io.ReadFull(r.Body, make([]byte, 32<<10))
					close(begun)
					_, err := io.Copy(io.Discard, r.Body)
					ended <- err
				}).URL)
				token := relay.mint(calls(1))
				body, send := newPipe(t)
				done := relay.begin(relay.request(bearer(token), withBody(body, length)))
				_, _ = send.Write(make([]byte, 64<<10))
				wait(t, begun, "the first part")
				send.CloseWithError(errors.New("the client breaks off"))
				if err := wait(t, ended, "the provider"); err == nil {
					t.Error("the provider takes the part for the whole")
				}
				if got := wait(t, done, "the client"); got.err == nil {
					t.Errorf("the client gets %d %s", got.status, got.body)
				}
				relay.wantSettled(token)
			})
		})
	}
}

// An answer that breaks off does not look complete to the client, and the call
// was one.
func TestProviderAbortsAnswer(t *testing.T) {
	for name, respond := range map[string]func(w http.ResponseWriter){
		"events":       func(w http.ResponseWriter) { w.Header().Set("Content-Type", "text/event-stream") },
		"chunked":      func(http.ResponseWriter) {},
		"known length": func(w http.ResponseWriter) { w.Header().Set("Content-Length", "100000") },
	} {
		t.Run(name, func(t *testing.T) {
			onAllWays(t, func(t *testing.T, start func(string) *testRelay) {
				proceed := make(chan struct{}, 1)
				relay := start(newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
					respond(w)
					_, _ = io.WriteString(w, strings.Repeat("data: 1\n\n", 1000))
					flush(t, w)
					select {
					case <-proceed:
					case <-r.Context().Done():
					}
					panic(http.ErrAbortHandler)
				}).URL)
				token := relay.mint(calls(1))
				res := relay.open(relay.request(bearer(token)))
				if _, err := io.ReadFull(res.Body, make([]byte, 9)); err != nil {
					t.Fatal(err)
				}
				proceed <- struct{}{}
				if rest, err := io.ReadAll(res.Body); err == nil {
					t.Errorf("the answer ends well after %d more bytes", len(rest))
				}
				relay.wantSettled(token)
			})
		})
	}
}

// A client that asks first is told to go on, and the provider gets the body; one
// that is refused does not send it.
func TestExpectContinue(t *testing.T) {
	onAllWays(t, func(t *testing.T, start func(string) *testRelay) {
		up := newUpstream(t, nil)
		relay := start(up.URL)
		// The client goes on by itself only long after the test has failed.
		relay.client.Transport.(*http.Transport).ExpectContinueTimeout = 25 * time.Second
		cases := map[string]struct {
			size  int
			known bool
			token string
		}{
			"small":          {10, true, relay.mint()},
			"large":          {1 << 20, true, relay.mint()},
			"small, chunked": {10, false, relay.mint()},
			"large, chunked": {1 << 20, false, relay.mint()},
			"refused":        {1 << 20, true, "none"},
		}
		for name, tc := range cases {
			t.Run(name, func(t *testing.T) {
				before := len(up.requests())
				length := int64(-1)
				if tc.known {
					length = int64(tc.size)
				}
				var told, sent atomic.Bool
				req := relay.request(bearer(tc.token), header("Expect", "100-continue"),
					withBody(io.LimitReader(readerFunc(func(p []byte) (int, error) {
						sent.Store(true)
						return zeros{}.Read(p)
					}), int64(tc.size)), length))
				req = req.WithContext(httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{
					Got100Continue: func() { told.Store(true) },
				}))
				res, body := relay.do(req)
				if tc.token == "none" {
					wantRefusal(t, res, body, "invalid_token")
					if told.Load() || sent.Load() {
						t.Error("the body is asked for")
					}
					return
				}
				if res.StatusCode != 200 || !told.Load() {
					t.Errorf("got %d %s, told to go on: %v", res.StatusCode, body, told.Load())
				}
				seen := up.requests()[before:]
				if len(seen) != 1 || len(seen[0].body) != tc.size {
					t.Errorf("the provider received %d requests and not %d bytes", len(seen), tc.size)
				}
			})
		}
	})
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func TestAnswersWithoutBody(t *testing.T) {
	onAllWays(t, func(t *testing.T, start func(string) *testRelay) {
		up := newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case "/v1/head":
				w.Header().Set("Content-Length", "1234")
			case "/v1/error":
				w.Header().Set("Content-Length", "99")
				w.WriteHeader(http.StatusNotFound)
			case "/v1/none":
				w.WriteHeader(http.StatusNoContent)
			case "/v1/same":
				w.Header().Set("Etag", `"1"`)
				w.WriteHeader(http.StatusNotModified)
			}
		})
		relay := start(up.URL)
		for _, tc := range []struct {
			method, path string
			status       int
			length       string
		}{
			{"HEAD", "/v1/head", 200, "1234"},
			{"HEAD", "/v1/error", 404, "99"},
			{"DELETE", "/v1/none", 204, ""},
			{"POST", "/v1/none", 204, ""},
			{"GET", "/v1/same", 304, ""},
		} {
			before := len(up.requests())
			req := relay.request(bearer(relay.mint()), asking(tc.method, tc.path))
			if tc.method != "POST" {
				req.Body, req.GetBody, req.ContentLength = nil, nil, 0
			}
			res, body := relay.do(req)
			if res.StatusCode != tc.status || body != "" || res.Header.Get("Content-Length") != tc.length || len(res.TransferEncoding) > 0 {
				t.Errorf("%s %s: got %d %q %v %v", tc.method, tc.path, res.StatusCode, body, res.Header, res.TransferEncoding)
			}
			if seen := up.requests()[before:]; len(seen) != 1 || seen[0].Method != tc.method {
				t.Errorf("%s %s: the provider received %d requests", tc.method, tc.path, len(seen))
			}
		}
	})
}

// The header and the body of a small call leave in one write: two cost more.
func TestSmallCallIsOneWrite(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	reads := make(chan string, 1)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			buf := make([]byte, 64<<10)
			n, _ := conn.Read(buf)
			reads <- string(buf[:n])
			_, _ = io.WriteString(conn, "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
			conn.Close()
		}
	}()
	relay := startRelay(t, simple("http://"+l.Addr().String()))
	// One read can catch two writes by chance.
	for range 20 {
		res, body := relay.do(relay.request(bearer(relay.mint())))
		if res.StatusCode != 204 {
			t.Fatalf("got %d %s", res.StatusCode, body)
		}
		if got := wait(t, reads, "a read"); !strings.HasPrefix(got, "POST ") || !strings.HasSuffix(got, "\r\n\r\n"+`{"model":"m"}`) {
			t.Fatalf("the first read got %d bytes without the body", len(got))
		}
	}
}

// echo is a provider that speaks WebSocket. It sends back what it gets, closes
// when it is told to, and reports how each connection ended.
func echo(t *testing.T, ended chan<- error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{
			InsecureSkipVerify: true, // any origin
			Subprotocols:       []string{"realtime"},
			CompressionMode:    websocket.CompressionContextTakeover,
		})
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.CloseNow()
		conn.SetReadLimit(2 << 20)
		for {
			kind, data, err := conn.Read(r.Context())
			if err == nil && string(data) == "close" {
				err = conn.Close(4002, "the provider is done")
			} else if err == nil {
				err = conn.Write(r.Context(), kind, data)
			}
			if err != nil || string(data) == "close" {
				ended <- err
				return
			}
		}
	}
}

// dial opens a WebSocket; options may be changed before.
func (r *testRelay) dial(target string, edits ...func(*websocket.DialOptions)) (*websocket.Conn, *http.Response, error) {
	options := &websocket.DialOptions{HTTPClient: r.client, HTTPHeader: make(http.Header)}
	for _, edit := range edits {
		edit(options)
	}
	conn, res, err := websocket.Dial(r.t.Context(), "ws"+strings.TrimPrefix(r.URL, "http")+target, options)
	if err == nil {
		conn.SetReadLimit(2 << 20)
		r.t.Cleanup(func() { _ = conn.CloseNow() })
	}
	return conn, res, err
}

func wsBearer(token string) func(*websocket.DialOptions) {
	return func(o *websocket.DialOptions) { o.HTTPHeader.Set("Authorization", "Bearer "+token) }
}

// wantEcho sends messages of several kinds and sizes and wants them back.
func wantEcho(t *testing.T, conn *websocket.Conn) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	binary := bytes.Repeat([]byte{0, 1, 0xff, '\n'}, 256<<10) // 1 MiB
	for _, m := range []struct {
		kind websocket.MessageType
		data []byte
	}{
		{websocket.MessageText, []byte(`{"type":"response.create"}`)},
		{websocket.MessageText, nil},
		{websocket.MessageBinary, []byte{0, 0xff}},
		{websocket.MessageBinary, binary},
		{websocket.MessageText, bytes.Repeat([]byte("é"), 512<<10)},
	} {
		if err := conn.Write(ctx, m.kind, m.data); err != nil {
			t.Fatal(err)
		}
		if kind, data, err := conn.Read(ctx); err != nil || kind != m.kind || !bytes.Equal(data, m.data) {
			t.Fatalf("sent %d bytes of kind %v, got %d of kind %v, %v", len(m.data), m.kind, len(data), kind, err)
		}
	}
}

// A WebSocket passes whichever way the client brings its token. The handshake
// is one call, and the provider sees an ordinary one with the key.
func TestWebSocket(t *testing.T) {
	for name, tc := range map[string]struct {
		query    string // beside the model
		edit     func(token string) func(*websocket.DialOptions)
		offered  string // to the provider
		selected string
		zipped   bool
	}{
		"Authorization": {edit: wsBearer},
		"compressed": {edit: func(token string) func(*websocket.DialOptions) {
			return func(o *websocket.DialOptions) {
				wsBearer(token)(o)
				o.CompressionMode = websocket.CompressionContextTakeover
			}
		}, zipped: true},
		"as a browser": {edit: func(token string) func(*websocket.DialOptions) {
			return func(o *websocket.DialOptions) {
				o.HTTPHeader.Set("Origin", "https://app.example")
				o.Subprotocols = []string{"realtime", "openai-insecure-api-key." + token, "openai-beta.realtime-v1"}
			}
		}, offered: "realtime, openai-beta.realtime-v1", selected: "realtime"},
		"as a browser, to a provider that chooses none": {edit: func(token string) func(*websocket.DialOptions) {
			return func(o *websocket.DialOptions) { o.Subprotocols = []string{"other", "openai-insecure-api-key." + token} }
		}, offered: "other", selected: "other"},
		"query": {query: "&token=", edit: func(string) func(*websocket.DialOptions) { return func(*websocket.DialOptions) {} }},
	} {
		for scheme, start := range map[string]func(*testing.T, string) *testRelay{
			"ws":  func(t *testing.T, upstream string) *testRelay { return startRelay(t, simple(upstream)) },
			"wss": startTLSRelay,
		} {
			t.Run(name+" "+scheme, func(t *testing.T) {
				ended := make(chan error, 1)
				up := newUpstream(t, echo(t, ended))
				relay := start(t, up.URL)
				token := relay.mint(calls(1))
				uri := "/v1/realtime?model=m"
				target := uri
				if tc.query != "" {
					target += tc.query + token
				}
				conn, res, err := relay.dial(target, tc.edit(token))
				if err != nil {
					t.Fatal(err)
				}
				if conn.Subprotocol() != tc.selected {
					t.Errorf("the client sees subprotocol %q, want %q", conn.Subprotocol(), tc.selected)
				}
				if zipped := res.Header.Get("Sec-Websocket-Extensions") != ""; zipped != tc.zipped {
					t.Errorf("compression was agreed: %v", zipped)
				}
				wantEcho(t, conn)

				got := up.one(t)
				checkCredential(t, got, token)
				if got.RequestURI != uri || got.Method != "GET" || got.Header.Get("Sec-Websocket-Protocol") != tc.offered {
					t.Errorf("the provider received %s %s with protocols %q", got.Method, got.RequestURI, got.Header.Get("Sec-Websocket-Protocol"))
				}
				if got.ContentLength != 0 || len(got.TransferEncoding) > 0 || got.Header.Get("Content-Length") != "" {
					t.Errorf("the handshake has a body: length %d, %v", got.ContentLength, got.TransferEncoding)
				}

				_, res, err = relay.dial(target, tc.edit(token))
				if err == nil {
					t.Fatal("a second handshake is the same call")
				}
				body, _ := io.ReadAll(res.Body)
				wantRefusal(t, res, string(body), "calls_exhausted")
				if err := conn.Close(4001, "the client is done"); err != nil {
					t.Error(err)
				}
				wantClose(t, wait(t, ended, "the provider"), 4001, "the client is done")
				relay.wantTunnelLogged()
			})
		}
	}
}

// wantTunnelLogged waits for the line that a connection leaves in the log when
// it is over. Caddy must not be stopped before: it would write to the connection
// and race with itself over the size that the access log shows.
func (r *testRelay) wantTunnelLogged() {
	r.t.Helper()
	if !r.logged(`"handled request"`, `"status":101`) {
		r.t.Error("the connection leaves no line in the log")
	}
}

func wantClose(t *testing.T, err error, code websocket.StatusCode, reason string) {
	t.Helper()
	var got websocket.CloseError
	if !errors.As(err, &got) || got.Code != code || got.Reason != reason {
		t.Errorf("the connection ends with %v, want %d %s", err, code, reason)
	}
}

func TestWebSocketEnds(t *testing.T) {
	for name, end := range map[string]func(t *testing.T, conn *websocket.Conn, ended <-chan error){
		"the provider closes": func(t *testing.T, conn *websocket.Conn, ended <-chan error) {
			if err := conn.Write(t.Context(), websocket.MessageText, []byte("close")); err != nil {
				t.Fatal(err)
			}
			_, _, err := conn.Read(t.Context())
			wantClose(t, err, 4002, "the provider is done")
			if err := wait(t, ended, "the provider"); err != nil {
				t.Errorf("the provider has no answer to its close: %v", err)
			}
		},
		"the client is gone": func(t *testing.T, conn *websocket.Conn, ended <-chan error) {
			if err := conn.CloseNow(); err != nil {
				t.Fatal(err)
			}
			if err := wait(t, ended, "the provider"); err == nil {
				t.Error("the provider sees no end")
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			ended := make(chan error, 1)
			relay := startRelay(t, simple(newUpstream(t, echo(t, ended)).URL))
			token := relay.mint(calls(1))
			conn, _, err := relay.dial("/v1/realtime", wsBearer(token))
			if err != nil {
				t.Fatal(err)
			}
			wantEcho(t, conn)
			end(t, conn, ended)
			relay.wantTunnelLogged()
			relay.wantSettled(token)
		})
	}
}

// A provider that does not switch protocols answers like any other.
func TestWebSocketNotAccepted(t *testing.T) {
	relay := startRelay(t, simple(newUpstream(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusUpgradeRequired)
		_, _ = io.WriteString(w, "no key like "+realKey)
	}).URL))
	_, res, err := relay.dial("/v1/realtime", wsBearer(relay.mint()))
	if err == nil || res == nil {
		t.Fatal("the handshake succeeds", err)
	}
	if body, _ := io.ReadAll(res.Body); res.StatusCode != 426 || string(body) != "no key like "+strings.Repeat("*", len(realKey)) {
		t.Errorf("got %d %q", res.StatusCode, body)
	}
}

// upgrade makes a handshake and returns the bare connection.
func (r *testRelay) upgrade(token string) (*net.TCPConn, *bufio.Reader) {
	r.t.Helper()
	conn, err := net.Dial("tcp", "127.0.0.1:"+r.port)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	fmt.Fprintf(conn, "GET /v1/realtime HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nAuthorization: Bearer %s\r\n\r\n", token)
	reader := bufio.NewReader(conn)
	res, err := http.ReadResponse(reader, nil)
	if err != nil || res.StatusCode != http.StatusSwitchingProtocols {
		r.t.Fatal(res, err)
	}
	return conn.(*net.TCPConn), reader
}

// tunnel is a provider that switches protocols and then speaks bare bytes.
func tunnel(t *testing.T, speak func(conn *net.TCPConn, r io.Reader)) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		conn, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		speak(conn.(*net.TCPConn), buffered)
	}
}

// Each side may stop sending and still receive. (Not so the provider with an access
// log or metrics: Caddy's wrapper of the connection cannot be half closed.)
func TestHalfClose(t *testing.T) {
	start := func(t *testing.T, respond http.HandlerFunc) *testRelay {
		return startRelay(t, simple(newUpstream(t, respond).URL, quiet, func(c *testConfig) { c.metrics = "" }))
	}
	t.Run("by the client", func(t *testing.T) {
		relay := start(t, tunnel(t, func(conn *net.TCPConn, r io.Reader) {
			all, err := io.ReadAll(r)
			fmt.Fprintf(conn, "got %s, %v", all, err)
		}))
		conn, reader := relay.upgrade(relay.mint())
		_, _ = io.WriteString(conn, "question")
		if err := conn.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if all, err := io.ReadAll(reader); err != nil || string(all) != "got question, <nil>" {
			t.Errorf("the client gets %q, %v", all, err)
		}
	})
	t.Run("by the provider", func(t *testing.T) {
		late := make(chan string, 1)
		relay := start(t, tunnel(t, func(conn *net.TCPConn, r io.Reader) {
			_, _ = io.WriteString(conn, "farewell")
			_ = conn.CloseWrite()
			all, err := io.ReadAll(r)
			late <- fmt.Sprint(string(all), " ", err)
		}))
		conn, reader := relay.upgrade(relay.mint())
		if all, err := io.ReadAll(reader); err != nil || string(all) != "farewell" {
			t.Errorf("the client gets %q, %v", all, err)
		}
		_, _ = io.WriteString(conn, "late")
		if err := conn.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if got := wait(t, late, "the provider"); got != "late <nil>" {
			t.Errorf("the provider gets %q", got)
		}
	})
}

// Handlers that change the answer or keep it back until it is whole get along with that.
func TestAnswerThroughOtherHandlers(t *testing.T) {
	text := strings.Repeat("all of it ", 200)
	up := newUpstream(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		w.Header().Set("Content-Length", strconv.Itoa(len(text)))
		_, _ = io.WriteString(w, text)
	})
	for name, handler := range map[string]string{"encode": "encode gzip", "templates": section("templates", "mime text/plain")} {
		t.Run(name, func(t *testing.T) {
			relay := startRelay(t, simple(up.URL, quiet, inSite(handler)))
			res, body := relay.do(relay.request(bearer(relay.mint()), header("Accept-Encoding", "gzip")))
			if res.Header.Get("Content-Encoding") == "gzip" {
				unzipped, err := gzip.NewReader(strings.NewReader(body))
				if err != nil {
					t.Fatal(err)
				}
				plain, err := io.ReadAll(unzipped)
				if err != nil {
					t.Fatal(err)
				}
				body = string(plain)
			} else if name == "encode" {
				t.Errorf("the answer is not encoded: %v", res.Header)
			}
			if res.StatusCode != 200 || body != text {
				t.Errorf("got %d and %d bytes", res.StatusCode, len(body))
			}
		})
	}
}
