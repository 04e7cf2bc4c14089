package relayapi

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/relayapi/caddy-relayapi/grant"
	"github.com/relayapi/caddy-relayapi/internal/ws"
	"github.com/relayapi/caddy-relayapi/tokenstore"
)

const liveURI = "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent"

func say(t *testing.T, conn *websocket.Conn, message string) {
	t.Helper()
	if err := conn.Write(t.Context(), websocket.MessageText, []byte(message)); err != nil {
		t.Fatal(err)
	}
}

// A WebSocket names its model in the handshake or in messages. What is not
// permitted does not reach the provider, and the client is told why.
func TestModelsOnWebSockets(t *testing.T) {
	for name, tc := range map[string]struct {
		provider, uri string
		passes        []string // messages
		ends          string   // one that does not
		code          string   // why
	}{
		"named in the handshake": {provider: "openai", uri: "/v1/realtime?model=small",
			passes: []string{`{"type":"response.create"}`, `{"type":"session.update","session":{"model":"small"}}`}},
		"changed afterwards": {provider: "openai", uri: "/v1/realtime?model=small",
			passes: []string{`{"type":"response.create"}`}, ends: `{"type":"session.update","session":{"model":"large"}}`, code: "model_not_permitted"},
		"named for transcripts": {provider: "openai", uri: "/v1/realtime?model=small",
			ends: `{"type":"session.update","session":{"audio":{"input":{"transcription":{"model":"large"}}}}}`, code: "model_not_permitted"},
		"named twice": {provider: "openai", uri: "/v1/realtime?model=small",
			ends: `{"session":{"model":"small"},"session":{"model":"large"}}`, code: "invalid_request"},
		"not named at first": {provider: "openai", uri: "/v1/realtime?intent=transcription",
			ends: `{"type":"input_audio_buffer.append","audio":"AAAA"}`, code: "model_not_permitted"},
		"named where the provider does not look": {provider: "openai", uri: "/v1/realtime?intent=transcription",
			ends: `{"type":"session.update","x_model":"small"}`, code: "model_not_permitted"},
		"named in the first message": {provider: "gemini", uri: liveURI,
			passes: []string{`{"setup":{"model":"models/small"}}`, `{"clientContent":{"turns":[]}}`}},
		"another in the first message": {provider: "gemini", uri: liveURI, ends: `{"setup":{"model":"models/large"}}`, code: "model_not_permitted"},
		"another in a later message": {provider: "gemini", uri: liveURI, passes: []string{`{"setup":{"model":"models/small"}}`},
			ends: `{"setup":{"model":"models/large"}}`, code: "model_not_permitted"},
	} {
		for scheme, start := range map[string]func(string) *testRelay{
			"ws":  func(upstream string) *testRelay { return startRelay(t, modelConfig(upstream)) },
			"wss": func(upstream string) *testRelay { return startTLS(t, modelConfig(upstream, overTLS("h1 h2"))) },
		} {
			t.Run(name+" "+scheme, func(t *testing.T) {
				over := make(chan error, 1)
				up := newUpstream(t, echo(t, over))
				relay := start(up.URL)
				token := relay.mintAs("backend", forProvider(tc.provider), models("small"))
				conn, res, err := relay.dial(tc.uri, wsBearer(token), func(o *websocket.DialOptions) {
					o.CompressionMode = websocket.CompressionContextTakeover
				})
				if err != nil {
					t.Fatal(err)
				}
				if res.Header.Get("Sec-Websocket-Extensions") != "" {
					t.Error("messages are compressed, so that nobody can look into them")
				}
				for _, message := range tc.passes {
					say(t, conn, message)
					if _, data, err := conn.Read(t.Context()); err != nil || string(data) != message {
						t.Fatalf("said %s, heard %s, %v", message, data, err)
					}
				}
				if tc.ends == "" {
					return
				}
				say(t, conn, tc.ends)
				_, data, err := conn.Read(t.Context())
				wantClose(t, err, ws.ClosePolicy, tc.code+": "+answers[tc.code].message)
				if len(data) > 0 {
					t.Errorf("heard %s", data)
				}
				if err := wait(t, over, "the provider"); err == nil {
					t.Error("the provider was told something before its connection ended")
				}
				relay.wantTunnelLogged()
				if !relay.logged(`"refused"`, tc.code, `"token_id"`) {
					t.Error("the log does not say so")
				}
			})
		}
	}
}

func TestWebSocketWithoutModel(t *testing.T) {
	up := newUpstream(t, nil)
	relay := startRelay(t, modelConfig(up.URL))
	for name, tc := range map[string]struct{ provider, uri string }{
		"not permitted":                       {"openai", "/v1/realtime?model=large"},
		"twice":                               {"openai", "/v1/realtime?model=small&model=large"},
		"not named":                           {"deepgram", "/v1/listen"},
		"named later than the provider wants": {"openai", "/v1/realtime"},
	} {
		t.Run(name, func(t *testing.T) {
			_, res, err := relay.dial(tc.uri, wsBearer(relay.mintAs("backend", forProvider(tc.provider), models("small"))))
			if err == nil || res == nil || res.StatusCode < 400 {
				t.Errorf("got %v, %v", res, err)
			}
		})
	}
	if len(up.requests()) > 0 {
		t.Error("a handshake reached the provider")
	}
}

// A handshake that may name its model later is nothing but a handshake.
func TestAnswerToAHandshakeWithoutModel(t *testing.T) {
	up := newUpstream(t, nil)
	relay := startRelay(t, modelConfig(up.URL))
	token := relay.mintAs("backend", forProvider("generic"), models("small"))
	_, res, err := relay.dial("/files", wsBearer(token))
	if err == nil || res == nil {
		t.Fatal("the handshake succeeds", err)
	}
	body, _ := io.ReadAll(res.Body)
	wantRefusal(t, res, string(body), "model_not_permitted")
	before := len(up.requests())
	for _, headers := range []http.Header{{"Upgrade": {"websocket"}}, {"Upgrade": {"websocket"}, "Sec-Websocket-Key": {"x"}}} {
		res, body := relay.do(relay.request(asking("GET", "/files"), withBody(http.NoBody, 0), bearer(token), func(r *http.Request) {
			for name, values := range headers {
				r.Header[name] = values
			}
		}))
		wantRefusal(t, res, body, "model_not_permitted")
	}
	if len(up.requests()) > before {
		t.Error("a request that is no handshake reached the provider")
	}
}

// A browser that offers nothing but its token could not be told which protocol
// was chosen.
func TestTokenAsTheOnlySubprotocol(t *testing.T) {
	up := newUpstream(t, nil)
	relay := startRelay(t, simple(up.URL))
	_, res, err := relay.dial("/v1/realtime", func(o *websocket.DialOptions) {
		o.Subprotocols = []string{"openai-insecure-api-key." + relay.mint()}
	})
	if err == nil || res == nil {
		t.Fatal("the handshake succeeds", err)
	}
	body, _ := io.ReadAll(res.Body)
	if got := wantRefusal(t, res, string(body), "invalid_request"); !strings.Contains(got.Error.Message, "realtime") {
		t.Errorf("it does not say what to offer: %s", got.Error.Message)
	}
}

// endToken has a token end in a way that has this code: one that expires is left
// to itself.
func endToken(t *testing.T, code string) {
	t.Helper()
	switch code {
	case "token_expired":
		return
	case codeEnded:
		endCall(t)
		return
	}
	r := tokenstore.Revocation{Scope: tokenstore.ScopeSubject, Issuer: "backend", ID: "user-1", Before: time.Now().Add(time.Minute)}
	ledger := activeApp(t).ledger
	if err := ledger.Revoke(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	ledger.live.end(endRevoked, r.Matches)
}

// endCall ends the only call in flight through the admin API.
func endCall(t *testing.T) {
	t.Helper()
	_, list := admin(t, "GET", "/relayapi/calls", "")
	calls, _ := list["calls"].([]any)
	if len(calls) != 1 || list["total"] != 1.0 {
		t.Fatalf("the list of calls is %v, want one call", list)
	}
	id, _ := calls[0].(map[string]any)["id"].(string)
	if w, answer := admin(t, "DELETE", "/relayapi/calls/"+id, ""); w.Code != 200 || answer["id"] != id {
		t.Errorf("ending the call is answered %d %v, want 200 and the call", w.Code, answer)
	}
}

// dying is the lifetime of a token that is to end so.
func dying(code string) func(*grant.Claims) {
	return func(c *grant.Claims) {
		if code == "token_expired" {
			c.IssuedAt = grant.NumericDate(time.Now().Unix())
			c.ExpiresAt = c.IssuedAt + 2
		}
	}
}

func TestWebSocketEndsWithItsToken(t *testing.T) {
	for _, code := range []string{"token_expired", "token_revoked", codeEnded} {
		for scheme, start := range map[string]func(*testing.T, string) *testRelay{
			"ws":  func(t *testing.T, upstream string) *testRelay { return startRelay(t, simple(upstream)) },
			"wss": startTLSRelay,
		} {
			t.Run(code+" "+scheme, func(t *testing.T) {
				over := make(chan error, 1)
				relay := start(t, newUpstream(t, echo(t, over)).URL)
				conn, _, err := relay.dial("/v1/realtime", wsBearer(relay.mint(dying(code))))
				if err != nil {
					t.Fatal(err)
				}
				wantEcho(t, conn)
				endToken(t, code)
				_, _, err = conn.Read(t.Context())
				wantClose(t, err, ws.ClosePolicy, code+": "+answers[code].message)
				if err := wait(t, over, "the provider"); err == nil {
					t.Error("the provider sees no end")
				}
				relay.wantTunnelLogged()
			})
		}
	}
}

// A stream of events ends with one that SDKs throw; any other breaks off.
func TestStreamEndsWithItsToken(t *testing.T) {
	for name, tc := range map[string]struct {
		code, contentType, sent string
		told                    bool
	}{
		"expired":         {"token_expired", "text/event-stream; charset=utf-8", "data: 1\n\n", true},
		"by hand":         {codeEnded, "text/event-stream", "data: 1\n\n", true},
		"between events":  {"token_revoked", "text/event-stream", "data: 1\n\n", true},
		"after CRLF":      {"token_revoked", "text/event-stream", "data: 1\r\n\r\n", true},
		"before any":      {"token_revoked", "text/event-stream", "", true},
		"within an event": {"token_revoked", "text/event-stream", "data: 1\n\ndata: 2", false},
		"of other things": {"token_revoked", "application/x-ndjson", "{}\n\n", false},
	} {
		t.Run(name, func(t *testing.T) {
			relay := startRelay(t, simple(newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", tc.contentType)
				_, _ = io.WriteString(w, tc.sent)
				flush(t, w)
				<-r.Context().Done()
			}).URL))
			res := relay.open(relay.request(bearer(relay.mint(dying(tc.code))), withBody(http.NoBody, 0)))
			heard := make([]byte, len(tc.sent))
			if _, err := io.ReadFull(res.Body, heard); err != nil {
				t.Fatal(err)
			}
			endToken(t, tc.code)
			data, err := io.ReadAll(res.Body)
			rest := string(data)
			told := err == nil && strings.HasPrefix(rest, "event: error\ndata: {\"type\":\"error\"") && strings.HasSuffix(rest, "}\n\n")
			if told != tc.told || told && !strings.Contains(rest, `"code":"`+tc.code+`"`) {
				t.Errorf("it ends with %q, %v", rest, err)
			}
			if !relay.logged(`"refused"`, tc.code, `"token_id"`) {
				t.Error("the log does not say so")
			}
		})
	}
}

// What the relay does not take for a handshake no provider may take for one: the
// messages that follow would not be looked into.
func TestUpgradeWithoutAKeyIsNotPassedOn(t *testing.T) {
	up := newUpstream(t, nil)
	relay := startRelay(t, modelConfig(up.URL))
	for _, keys := range [][]string{nil, {""}, {"", "AAAAAAAAAAAAAAAAAAAAAA=="}} {
		relay.do(relay.request(asking("GET", "/v1/realtime?model=small"), bearer(relay.mintAs("backend", forProvider("openai"), models("small"))),
			func(r *http.Request) {
				r.Body, r.ContentLength = http.NoBody, 0
				r.Header["Connection"], r.Header["Upgrade"], r.Header["Sec-Websocket-Key"] = []string{"Upgrade"}, []string{"websocket"}, keys
			}))
	}
	for _, r := range up.requests() {
		if r.Header.Get("Upgrade") != "" {
			t.Errorf("the provider was asked for a WebSocket with the keys %q", r.Header["Sec-Websocket-Key"])
		}
	}
}
