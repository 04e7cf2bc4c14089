package relayapi

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/relayapi/caddy-relayapi/internal/baseurl"
	"github.com/relayapi/caddy-relayapi/provider"
)

// internet stands for the providers' hosts: a proxy that answers for all of them by
// itself, so that presets can keep their own base URLs.
type internet struct {
	*upstream
	authority string // file with the certificate of all hosts
}

// newInternet starts the proxy for hosts.
func newInternet(t *testing.T, hosts []string, respond http.HandlerFunc) *internet {
	t.Helper()
	certificate, file := certificateOf(t, hosts)
	i := &internet{upstream: newUpstream(t, respond), authority: file}
	serve := i.Config.Handler
	i.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect {
			serve.ServeHTTP(w, r)
			return
		}
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\n\r\n")
		i.serveTLS(tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{certificate}}), r.Host, serve)
	})
	return i
}

// serveTLS answers the requests of a connection to one host.
func (i *internet) serveTLS(conn *tls.Conn, host string, serve http.Handler) {
	done := make(chan struct{})
	one := &oneConn{conn: conn, done: done}
	_ = (&http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			r.URL.Scheme, r.URL.Host = "https", host
			serve.ServeHTTP(w, r)
		}),
		ConnState: func(_ net.Conn, state http.ConnState) {
			if state == http.StateClosed || state == http.StateHijacked {
				close(done)
			}
		},
	}).Serve(one)
}

// oneConn is a listener of one connection, until it is done.
type oneConn struct {
	conn net.Conn
	done chan struct{}
}

func (l *oneConn) Accept() (net.Conn, error) {
	if conn := l.conn; conn != nil {
		l.conn = nil
		return conn, nil
	}
	<-l.done
	return nil, io.EOF
}

func (l *oneConn) Close() error   { return nil }
func (l *oneConn) Addr() net.Addr { return &net.TCPAddr{} }

// certificateOf makes a certificate of hosts, and writes it to a file.
func certificateOf(t *testing.T, hosts []string) (certificate tls.Certificate, file string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: hosts, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(t.TempDir(), "hosts.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, file
}

// through makes a relay reach its providers through the proxy.
func (i *internet) through(c *testConfig) {
	inTransport("network_proxy url "+i.URL, "tls_trust_pool file "+i.authority)(c)
}

// placeInRoute is what a route leaves open.
var placeInRoute = regexp.MustCompile(`\{\+?[a-z_]+\}|\*`)

// presetKey is the real key of a preset. It begins as the key that leak checks look for.
func presetKey(preset string) string { return realKey + "-" + preset }

// Every route of every preset reaches the provider's own address, with its key in its
// place and nothing of what the client sent as a credential or an account.
func TestPreset_SendsItsKeyToItsProvider(t *testing.T) {
	presets := provider.All()
	config, hosts := presetConfig(t, presets)
	web := newInternet(t, hosts, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") == "" {
			_, _ = io.WriteString(w, `{"ok":true}`)
			return
		}
		conn, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			defer conn.Close()
			_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
			_ = conn.(*tls.Conn).CloseWrite()
			_, _ = io.Copy(io.Discard, conn) // closing it at once might cut the answer off
		}
	})
	relay := startRelay(t, simple(web.URL, config, web.through, quiet))

	for _, preset := range presets {
		t.Run(preset.Name, func(t *testing.T) {
			token := relay.mint(forProvider(preset.Name))
			routes, err := baseurl.Routes(preset, presetAccounts(preset))
			if err != nil {
				t.Fatal(err)
			}
			if raceDetector {
				routes = routes[:1]
			}
			for _, route := range routes {
				before := len(web.requests())
				method, path, _ := strings.Cut(placeInRoute.ReplaceAllString(route, "a"), " ")
				res, body := relay.do(relay.request(asking(method, path), withDecoys(preset, token)))
				if seen := web.requests()[before:]; len(seen) != 1 {
					t.Fatalf("%s: got %d %s, and the provider received %d requests, want 1", route, res.StatusCode, body, len(seen))
				} else if want := map[bool]int{true: 101, false: 200}[method == "WS"]; res.StatusCode != want {
					t.Errorf("%s: got %d %s, want %d", route, res.StatusCode, body, want)
				} else {
					checkPreset(t, preset, seen[0], method, path, token)
				}
			}
		})
	}
}

// presetConfig configures all presets, and returns their hosts.
func presetConfig(t *testing.T, presets []provider.Preset) (config option, hosts []string) {
	t.Helper()
	var names, providers []string
	for n, preset := range presets {
		variable := fmt.Sprintf("RELAYAPI_TEST_KEY_%d", n)
		t.Setenv(variable, presetKey(preset.Name))
		base := presetBase(t, preset)
		given := ""
		if preset.BaseURL == "" {
			given = " " + base.String()
		}
		names, hosts = append(names, preset.Name), append(hosts, base.Hostname())
		providers = append(providers, section("provider "+preset.Name+given,
			"api_key {env."+variable+"}", strings.Join(append([]string{"preset", preset.Name}, presetAccounts(preset)...), " ")))
	}
	return func(c *testConfig) {
		c.provider, c.grants, c.providers = "", strings.Join(names, " "), strings.Join(providers, "")
	}, hosts
}

// presetAccounts are made-up arguments of a preset.
func presetAccounts(preset provider.Preset) []string {
	accounts := slices.Clone(preset.Accounts)
	for i, account := range accounts {
		accounts[i] = "my-" + account
	}
	return accounts
}

// presetBase is where a preset's requests go.
func presetBase(t *testing.T, preset provider.Preset) *url.URL {
	t.Helper()
	given := ""
	if preset.BaseURL == "" {
		given = "https://" + preset.Name + ".example/below"
	}
	base, err := baseurl.Parse(preset, preset.Name, given, presetAccounts(preset))
	if err != nil {
		t.Fatal(err)
	}
	return base
}

// decoy is what a client puts where a provider reads a credential or an account.
const decoy = "the-clients-own"

// withDecoys puts the token where the preset's SDK puts the key, and a decoy in all
// other places that the provider reads. A method WS becomes a handshake.
func withDecoys(preset provider.Preset, token string) func(*http.Request) {
	return func(r *http.Request) {
		query := url.Values{"a": {"1"}}
		for _, place := range slices.Concat(preset.AlsoReads, []provider.Placement{preset.Credential}) {
			value := place.Value(decoy)
			if place == preset.Credential {
				value = place.Value(token)
			}
			if place.Query != "" {
				query.Set(place.Query, value)
			} else {
				r.Header.Set(place.Header, value)
			}
		}
		r.URL.RawQuery = query.Encode()
		switch r.Method {
		case "WS":
			r.Method, r.Body, r.ContentLength = "GET", nil, 0
			for name, value := range map[string]string{"Connection": "Upgrade", "Upgrade": "websocket",
				"Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="} {
				r.Header.Set(name, value)
			}
		case "GET":
			r.Body, r.ContentLength = nil, 0
		}
	}
}

// checkPreset checks what a provider received.
func checkPreset(t *testing.T, preset provider.Preset, got received, method, path, token string) {
	t.Helper()
	base, key, place := presetBase(t, preset), presetKey(preset.Name), preset.Credential
	if method == "WS" {
		method = "GET"
	}
	want := *base
	want.Path, want.RawQuery = base.Path+path, "a=1"
	if place.Query != "" {
		want.RawQuery += "&" + place.Query + "=" + url.QueryEscape(key)
	} else if values := got.Header.Values(place.Header); len(values) != 1 || values[0] != place.Value(key) {
		t.Errorf("%s: the provider received %s %d times, not the key alone", path, place.Header, len(values))
	}

	sent := *got.URL
	sent.Host = strings.TrimSuffix(sent.Host, ":443")
	if got.Method != method || sent.String() != want.String() || got.Host != base.Host {
		t.Errorf("got %s %s for host %s, want %s %s", got.Method, masked(sent.String()), got.Host, method, masked(want.String()))
	}
	text := got.raw + string(got.body)
	if n := strings.Count(text, realKey) + strings.Count(text, url.QueryEscape(realKey)); n != 1 {
		t.Errorf("%s: the provider received a key %d times, want 1", path, n)
	}
	if strings.Contains(text, decoy) || leak(text, token, tokenPiece) {
		t.Errorf("%s: the provider received what the client sent as a credential", path)
	}
}

// masked is a URL without its key.
func masked(u string) string { return strings.ReplaceAll(u, url.QueryEscape(realKey), "KEY") }
