package relayapi

import (
	"net/http"
	"testing"
)

// TestStopsHere has what a browser adds to a page's request, and what must go on.
func TestStopsHere(t *testing.T) {
	for name, want := range map[string]bool{
		"Origin": true, "Referer": true, "Dnt": true, "Upgrade-Insecure-Requests": true,
		"Sec-Fetch-Site": true, "Sec-Fetch-Mode": true, "Sec-Ch-Ua": true, "Sec-Ch-Ua-Full-Version-List": true, "Sec-Gpc": true,
		"Access-Control-Request-Method": true, "Access-Control-Request-Private-Network": true,
		"Authorization": true, "Cookie": true, "Proxy-Authorization": true, "Via": true, "X-Forwarded-For": true,

		"Sec-Websocket-Key": false, "Sec-Websocket-Protocol": false, "Sec-Websocket-Version": false, "Sec-Websocket-Extensions": false,
		"User-Agent": false, "Accept-Language": false, "Content-Type": false, "Anthropic-Version": false, "Security": false,
	} {
		if got := stopsHere(name); got != want {
			t.Errorf("stopsHere(%s) = %v, want %v", name, got, want)
		}
	}
}

// pageHeaders are what a browser adds to a page's request.
var pageHeaders = []string{"Origin", "Referer", "Sec-Fetch-Site", "Sec-Fetch-Mode", "Sec-Ch-Ua-Platform", "Access-Control-Request-Headers"}

func fromPage(r *http.Request) {
	for _, name := range pageHeaders {
		r.Header.Set(name, "https://app.example")
	}
}

func TestPageIsNotShownToProvider(t *testing.T) {
	up := newUpstream(t, nil)
	relay := startRelay(t, simple(up.URL))
	token := relay.mint()
	for name, edits := range map[string][]func(*http.Request){
		"POST":        {fromPage},
		"a stream":    {fromPage, header("Accept", "text/event-stream")},
		"GET":         {fromPage, target("GET", "/v1/models")},
		"a WebSocket": {fromPage, target("GET", "/v1/realtime"), webSocket},
		"OPTIONS":     {fromPage, target("OPTIONS", "/v1/x")},
	} {
		t.Run(name, func(t *testing.T) {
			before := len(up.requests())
			res, body := relay.do(relay.request(append(edits, bearer(token))...))
			seen := up.requests()
			if len(seen) != before+1 {
				t.Fatalf("got %d %s, and the provider %d requests", res.StatusCode, body, len(seen)-before)
			}
			for _, header := range pageHeaders {
				if value := seen[before].Header.Get(header); value != "" {
					t.Errorf("the provider received %s: %s", header, value)
				}
			}
		})
	}
}

// webSocket makes a request the handshake of one.
func webSocket(r *http.Request) {
	header("Connection", "Upgrade")(r)
	header("Upgrade", "websocket")(r)
	header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")(r)
	header("Sec-WebSocket-Version", "13")(r)
	r.Body, r.ContentLength = http.NoBody, 0
}

func TestPreflightOfPrivateNetwork(t *testing.T) {
	for name, tc := range map[string]struct{ header, value, answer, want string }{
		"asked":               {"Access-Control-Request-Private-Network", "true", "Access-Control-Allow-Private-Network", "true"},
		"asked as a draft":    {"Access-Control-Request-Local-Network", "true", "Access-Control-Allow-Local-Network", "true"},
		"asked otherwise":     {"Access-Control-Request-Private-Network", "KO", "Access-Control-Allow-Private-Network", ""},
		"not asked":           {"X-Other", "true", "Access-Control-Allow-Private-Network", ""},
		"asked for the other": {"Access-Control-Request-Local-Network", "true", "Access-Control-Allow-Private-Network", ""},
	} {
		t.Run(name, func(t *testing.T) {
			r, w := newServerRequest(t), newRecorder()
			r.Method = http.MethodOptions
			r.Header.Set("Origin", "https://app.example")
			r.Header.Set("Access-Control-Request-Method", "POST")
			r.Header.Set(tc.header, tc.value)
			if !preflight(w, r) || w.Code != http.StatusNoContent {
				t.Fatalf("answers %d", w.Code)
			}
			if got := w.Header().Get(tc.answer); got != tc.want {
				t.Errorf("%s is %q, want %q", tc.answer, got, tc.want)
			}
		})
	}
}
