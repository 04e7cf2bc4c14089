package headers

import (
	"net/http"
	"testing"
)

func TestMethod_OfExtendedConnect(t *testing.T) {
	for name, tc := range map[string]struct {
		r    http.Request
		want string
	}{
		"GET":                   {http.Request{Method: "GET"}, "GET"},
		"CONNECT":               {http.Request{Method: "CONNECT", Proto: "HTTP/2.0"}, "CONNECT"},
		"WebSocket over HTTP/2": {http.Request{Method: "CONNECT", Header: http.Header{":protocol": {"websocket"}}}, "GET"},
		"WebSocket over HTTP/3": {http.Request{Method: "CONNECT", Proto: "websocket"}, "GET"},
		"another over HTTP/3":   {http.Request{Method: "CONNECT", Proto: "connect-udp"}, "CONNECT"},
	} {
		if got := Method(&tc.r); got != tc.want {
			t.Errorf("%s is a %s, want %s", name, got, tc.want)
		}
	}
}

func TestAsksForWebSocket(t *testing.T) {
	handshake := func(edits ...string) http.Header {
		header := http.Header{"Connection": {"keep-alive, Upgrade"}, "Upgrade": {"WebSocket"}, "Sec-Websocket-Key": {"k"}}
		for _, name := range edits {
			delete(header, name)
		}
		return header
	}
	for name, tc := range map[string]struct {
		r    http.Request
		want bool
	}{
		"HTTP/1":             {http.Request{Method: "GET", Header: handshake()}, true},
		"HTTP/2":             {http.Request{Method: "CONNECT", Header: http.Header{":protocol": {"websocket"}}}, true},
		"POST":               {http.Request{Method: "POST", Header: handshake()}, false},
		"without Connection": {http.Request{Method: "GET", Header: handshake("Connection")}, false},
		"without Upgrade":    {http.Request{Method: "GET", Header: handshake("Upgrade")}, false},
		"without a key":      {http.Request{Method: "GET", Header: handshake("Sec-Websocket-Key")}, false},
		"another CONNECT":    {http.Request{Method: "CONNECT"}, false},
	} {
		if got := AsksForWebSocket(&tc.r); got != tc.want {
			t.Errorf("%s: AsksForWebSocket = %t, want %t", name, got, tc.want)
		}
	}
}
