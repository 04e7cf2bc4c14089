package relayapi

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/coder/websocket"
	"github.com/klauspost/compress/zstd"
	"github.com/relayapi/caddy-relayapi/internal/realkey"
)

// An answer whose header holds the key is withheld.
func TestAnswer_WithKeyInHeaderIsWithheld(t *testing.T) {
	relay := startRelay(t, simple(newUpstream(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", "https://x.example/?key="+url.QueryEscape(realKey))
		w.WriteHeader(302)
	}).URL))
	res, body := relay.do(relay.request(bearer(relay.mint())))
	wantRefusal(t, res, body, codeAnswerWithheld)
	if res.Header.Get("Location") != "" {
		t.Error("the header passes")
	}
}

// The key does not come back in a body, whatever the status: the whole key in any
// text, each piece of it in an error.
func TestAnswer_BodyIsSearched(t *testing.T) {
	cases := map[string]struct{ kind, status, parts, want string }{
		"echoed headers":         {"application/json", "200", `{"authorization":"Bearer KEY"}`, `{"authorization":"Bearer *"}`},
		"in two reads":           {"text/plain", "200", "a FIRST|REST b", "a * b"},
		"an event":               {"text/event-stream", "200", "data: 1\n\n|event: error\ndata: {\"k\":\"KEY\"}\n\n", "data: 1\n\nevent: error\ndata: {\"k\":\"*\"}\n\n"},
		"a redirect":             {"text/html", "303", "<a>KEY</a>", "<a>*</a>"},
		"without a type":         {"", "200", "KEY", "*"},
		"pieces in an error":     {"application/json", "400", `{"error":"PIECE"}`, `{"error":"*"}`},
		"an error, in two reads": {"application/json", "500", `{"error":"FIRST|REST"}`, `{"error":"*"}`},
		"a long error":           {"text/plain", "502", strings.Repeat("x", 100<<10) + "KEY end", strings.Repeat("x", 100<<10) + "* end"},
	}
	fill := strings.NewReplacer("KEY", realKey, "FIRST", realKey[:20], "REST", realKey[20:], "PIECE", realKey[5:25])
	up := newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		tc := cases[r.Header.Get("X-Case")]
		w.Header().Set("Content-Type", tc.kind)
		w.Header().Set("Location", "/elsewhere")
		status := http.StatusOK
		_, _ = fmt.Sscan(tc.status, &status)
		w.WriteHeader(status)
		for part := range strings.SplitSeq(tc.parts, "|") {
			_, _ = io.WriteString(w, fill.Replace(part))
			flush(t, w)
		}
	})
	onAllWays(t, func(t *testing.T, start func(upstream string) *testRelay) {
		relay := start(up.URL)
		token := relay.mint()
		for name, tc := range cases {
			t.Run(name, func(t *testing.T) {
				res, body := relay.do(relay.request(bearer(token), header("X-Case", name)))
				if got := stars(body); fmt.Sprint(res.StatusCode) != tc.status || got != tc.want {
					t.Errorf("got %d %.200q, want %s %.200q", res.StatusCode, got, tc.status, tc.want)
				}
			})
		}
	})
}

// stars writes each run of stars as one.
func stars(text string) string {
	for strings.Contains(text, "**") {
		text = strings.ReplaceAll(text, "**", "*")
	}
	return text
}

// An error keeps its status, Retry-After and message, however it is encoded or
// says that it is.
func TestAnswer_EncodedErrors(t *testing.T) {
	message := `{"error":{"message":"over quota, ` + realKey[:16] + `","code":"quota"}}`
	pack := func(newWriter func(io.Writer) io.WriteCloser, text string) string {
		var b bytes.Buffer
		w := newWriter(&b)
		_, _ = io.WriteString(w, text)
		_ = w.Close()
		return b.String()
	}
	zip := func(text string) string {
		return pack(func(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) }, text)
	}
	for name, tc := range map[string]struct {
		coding, body string
		unreadable   bool
	}{
		"plain":               {"", message, false},
		"gzip":                {"gzip", zip(message), false},
		"gzip, which is none": {"gzip", message, false},
		"gzip twice":          {"gzip, gzip", zip(zip(message)), false},
		"gzip twice, it says": {"gzip, gzip", zip(message), false},
		"zstd": {"zstd", pack(func(w io.Writer) io.WriteCloser {
			z, _ := zstd.NewWriter(w)
			return z
		}, message), false},
		"deflate":            {"deflate", pack(func(w io.Writer) io.WriteCloser { return zlib.NewWriter(w) }, message), false},
		"one, which is none": {"compress", message, false},
		"compress":           {"compress", "\x1f\x9dhello", true},
	} {
		t.Run(name, func(t *testing.T) {
			relay := startRelay(t, simple(newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
				if got := r.Header.Get("Accept-Encoding"); got != "identity" {
					t.Errorf("the provider is asked for %q", got)
				}
				if tc.coding != "" {
					w.Header().Set("Content-Encoding", tc.coding)
				}
				w.Header().Set("Retry-After", "7")
				w.WriteHeader(429)
				_, _ = io.WriteString(w, tc.body)
			}).URL))
			res, body := relay.do(relay.request(bearer(relay.mint()), header("Accept-Encoding", "br, gzip, zstd")))
			if res.StatusCode != 429 || res.Header.Get("Retry-After") != "7" || res.Header.Get("Content-Encoding") != "" || res.Header.Get("X-Should-Retry") != "" {
				t.Errorf("got %d %v", res.StatusCode, res.Header)
			}
			var got struct {
				Error struct{ Message, Code string }
			}
			want := map[bool]string{false: "quota", true: codeAnswerUnreadable}[tc.unreadable]
			if err := json.Unmarshal([]byte(body), &got); err != nil || got.Error.Code != want || !tc.unreadable && !strings.HasPrefix(got.Error.Message, "over quota, *") {
				t.Errorf("got %q, want code %s", body, want)
			}
		})
	}
}

// An error that goes on is passed on as it comes.
func TestAnswer_ErrorThatStaysOpen(t *testing.T) {
	more := make(chan struct{})
	relay := startRelay(t, simple(newUpstream(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(503)
		_, _ = io.WriteString(w, "wait.\n")
		flush(t, w)
		<-more
		_, _ = io.WriteString(w, "over.\n")
	}).URL))
	res := relay.open(relay.request(bearer(relay.mint())))
	first := make([]byte, 6)
	if _, err := io.ReadFull(res.Body, first); err != nil || string(first) != "wait.\n" {
		t.Errorf("%q comes first, %v", first, err)
	}
	close(more)
	if rest, err := io.ReadAll(res.Body); err != nil || string(rest) != "over.\n" {
		t.Errorf("%q comes then, %v", rest, err)
	}
}

// Addresses at the provider are those of the relay for a client.
func TestAnswer_AddressesAreRewritten(t *testing.T) {
	var up *upstream
	up = newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set(r.Header.Get("X-Name"), strings.ReplaceAll(r.Header.Get("X-Value"), "UP", up.URL))
		w.WriteHeader(http.StatusCreated)
	})
	for name, tc := range map[string]struct{ config, at, base, prefix string }{
		"without prefix":           {"", "", "", ""},
		"with a prefix":            {"prefix /api", "/api/demo", "", "/api/demo"},
		"with a base path":         {"", "", "/base", ""},
		"with a prefix and a base": {"prefix /api", "/api/demo", "/base", "/api/demo"},
	} {
		relay := startRelay(t, simple(up.URL+tc.base, inDirective(tc.config)))
		token := relay.mint()
		for _, row := range []struct{ name, value, want string }{
			{"X-Goog-Upload-URL", "UP" + tc.base + "/upload/x?upload_id=1&key=abc", relay.URL + tc.prefix + "/upload/x?upload_id=1&key=abc"},
			{"Location", "UP" + tc.base + "/v1/x", relay.URL + tc.prefix + "/v1/x"},
			{"Operation-Location", "UP" + tc.base + "/v1/ops/1?a=%2F", relay.URL + tc.prefix + "/v1/ops/1?a=%2F"},
			{"Location", tc.base + "/v1/x", tc.prefix + "/v1/x"},
			{"Location", "https://elsewhere.example/v1/x", "https://elsewhere.example/v1/x"},
			{"Content-Location", "//elsewhere.example/v1/x", "//elsewhere.example/v1/x"},
		} {
			res, _ := relay.do(relay.request(bearer(token), asking("POST", tc.at+"/v1/call"), header("X-Name", row.name), header("X-Value", row.value)))
			if got := res.Header.Get(row.name); got != row.want {
				t.Errorf("%s: %s is %q for %q, want %q", name, row.name, got, row.value, row.want)
			}
		}
	}
}

// A message of a WebSocket that holds the key does not pass, and ends the call.
func TestAnswer_KeyInMessage(t *testing.T) {
	for name, parts := range map[string][]string{
		"at once":       {"your key is " + realKey},
		"escaped":       {"your key is " + url.QueryEscape(realKey)},
		"in two frames": {"your key is " + realKey[:20], realKey[20:]},
	} {
		t.Run(name, func(t *testing.T) {
			up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true})
				if err != nil {
					t.Error(err)
					return
				}
				writer, err := conn.Writer(r.Context(), websocket.MessageText)
				for _, part := range parts {
					if err == nil {
						_, err = io.WriteString(writer, part)
					}
				}
				_ = writer.Close()
				_, _, _ = conn.Read(r.Context())
			}))
			t.Cleanup(up.Close)
			relay := startRelay(t, simple(up.URL))
			conn, _, err := relay.dial("/v1/x", wsBearer(relay.mint()))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.CloseNow()
			_, message, err := conn.Read(t.Context())
			if err == nil || leak(string(message), realKey, len(realKey)-realkey.PieceSize) {
				t.Errorf("%d bytes are read", len(message))
			}
			if !relay.logged(codeAnswerWithheld) {
				t.Error("it is not logged")
			}
		})
	}
}
