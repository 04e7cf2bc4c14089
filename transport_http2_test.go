package relayapi

import (
	"bufio"
	"crypto/tls"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/relayapi/caddy-relayapi/grant"
)

// Frames of HTTP/2 (RFC 9113, section 6).
const (
	frameData     = 0x0
	frameHeaders  = 0x1
	frameReset    = 0x3
	frameSettings = 0x4

	flagEnd = 0x1 // of the stream, or an acknowledgement

	protocolError = 0x1
)

// resetting is a provider over HTTP/2 that takes every request and resets it.
func resetting(t *testing.T, secure bool) (address string, received *atomic.Int64) {
	t.Helper()
	certificate := httptest.NewUnstartedServer(nil)
	certificate.EnableHTTP2 = true
	certificate.StartTLS()
	t.Cleanup(certificate.Close)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address = "http://" + l.Addr().String()
	if secure {
		l, address = tls.NewListener(l, certificate.TLS), "https://"+l.Addr().String()
	}
	t.Cleanup(func() { l.Close() })
	received = new(atomic.Int64)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go reset(conn, received)
		}
	}()
	return address, received
}

func reset(conn net.Conn, received *atomic.Int64) {
	defer conn.Close()
	r := bufio.NewReader(conn)
	if _, err := r.Discard(len("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")); err != nil {
		return
	}
	write := func(kind, flags byte, stream uint32, payload []byte) {
		frame := binary.BigEndian.AppendUint32(nil, uint32(len(payload))<<8|uint32(kind))
		frame = binary.BigEndian.AppendUint32(append(frame, flags), stream)
		_, _ = conn.Write(append(frame, payload...))
	}
	write(frameSettings, 0, 0, nil)
	for {
		var head [9]byte
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return
		}
		length := int(binary.BigEndian.Uint32(head[:]) >> 8)
		if _, err := r.Discard(length); err != nil {
			return
		}
		kind, flags, stream := head[3], head[4], binary.BigEndian.Uint32(head[5:])
		switch ends := flags&flagEnd != 0; {
		case kind == frameSettings && !ends:
			write(frameSettings, flagEnd, 0, nil)
		case (kind == frameHeaders || kind == frameData) && ends:
			received.Add(1)
			write(frameReset, 0, stream, []byte{0, 0, 0, protocolError})
		}
	}
}

// A provider that resets a request may have seen to it. The HTTP/2 of net/http, which
// Caddy does not use at present, sends such a request again and again
// (https://go.dev/issue/47635).
func TestNoReplayAfterAReset(t *testing.T) {
	for over, transport := range map[string]string{"TLS": "tls_insecure_skip_verify", "h2c": "versions h2c"} {
		for name, edits := range map[string][]func(*http.Request){
			"short":                 {},
			"with a key to repeat":  {header("Idempotency-Key", "k")},
			"long":                  {text(strings.Repeat("x", 2*smallBody))},
			"without a body":        {noBody},
			"deleting":              {asking("DELETE", "/v1/x"), noBody},
			"reading":               {asking("GET", "/v1/x"), noBody},
			"reading, with a body":  {asking("GET", "/v1/x")},
			"held, for its model":   {text(`{"model":"small"}`)},
			"held, and a long body": {text(`{"model":"small","x":"` + strings.Repeat("x", 2*smallBody) + `"}`)},
		} {
			t.Run(name+" over "+over, func(t *testing.T) {
				address, received := resetting(t, over == "TLS")
				relay := startRelay(t, simple(address, inTransport(transport)))
				claims := []func(*grant.Claims){calls(10)}
				if strings.HasPrefix(name, "held") {
					claims = append(claims, models("small"))
				}
				res, body := relay.do(relay.request(append(edits, bearer(relay.mint(claims...)))...))
				wantRefusal(t, res, body, "provider_unreachable")
				if n := received.Load(); n != 1 {
					t.Errorf("the provider received %d requests for one call", n)
				}
			})
		}
	}
}
