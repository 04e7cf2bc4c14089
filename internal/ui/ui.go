// Package ui serves the operator's page: usage, calls in flight, budgets and tokens.
//
// Caddy's admin endpoint refuses browsers, so the page has a listener of its own on
// loopback. Three things keep others out:
//
//   - A link with a random secret opens the page once. It sets a cookie, which every
//     other request needs.
//   - The Host of every request must be loopback. A name that an attacker points at
//     loopback (DNS rebinding) is refused.
//   - The page lies below a random path, and so does its cookie. Browsers send cookies
//     to all ports of a host, so other servers on loopback would receive it otherwise.
//
// The server passes a fixed list of requests on to the admin API, and no others.
package ui

import (
	"crypto/rand"
	"crypto/subtle"
	"embed"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
)

//go:embed page
var embedded embed.FS

// policy is the page's Content-Security-Policy. With trusted types, no script can turn
// text into markup.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

// cookieName is the name of the cookie that opening the link sets.
const cookieName = "relayapi_ui"

// Ask sends a request to the relay's admin API and decodes the response. A nil body
// means none.
type Ask func(method, uri string, body []byte, answer any) error

// Server serves the page and forwards its requests.
type Server struct {
	base    string // path of the page, with a slash at both ends
	session string // value of the cookie
	pages   http.Handler
	foreign *http.CrossOriginProtection

	mu   sync.Mutex
	link string // secret of the link; empty once it has been opened
}

// New returns a server with a link that has not been opened.
func New(ask Ask) *Server {
	s := &Server{
		base:    "/" + rand.Text() + "/",
		session: rand.Text(),
		link:    rand.Text(),
		foreign: http.NewCrossOriginProtection(),
	}
	page, err := fs.Sub(embedded, "page")
	if err != nil {
		panic(err) // not possible: the name is a constant
	}
	mux := http.NewServeMux()
	mux.Handle("GET /", http.FileServerFS(page))
	forward(mux, ask)
	s.pages = http.StripPrefix(strings.TrimSuffix(s.base, "/"), mux)
	return s
}

// Link returns the link that opens the page, below an origin such as
// http://127.0.0.1:8000.
func (s *Server) Link(origin string) string {
	s.mu.Lock()
	defer s.mu.Unlock()

	return origin + s.base + s.link
}

// Listen listens on a loopback address, and refuses any other address.
func Listen(address string) (net.Listener, error) {
	if !isLoopback(address) {
		return nil, fmt.Errorf("listening on %q: must be a loopback address with a port, such as 127.0.0.1:0", address)
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listening for the page: %w", err)
	}
	return listener, nil
}

// ServeHTTP implements [http.Handler].
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("Content-Security-Policy", policy)
	header.Set("Cross-Origin-Opener-Policy", "same-origin")
	header.Set("Cross-Origin-Resource-Policy", "same-origin")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("X-Frame-Options", "DENY")
	header.Set("Cache-Control", "no-store")

	switch secret, below := strings.CutPrefix(r.URL.Path, s.base); {
	case !isLoopback(r.Host):
		fail(w, http.StatusForbidden, "the host of this page must be loopback, such as 127.0.0.1")
	case r.Method == http.MethodGet && below && s.takeLink(secret):
		s.open(w)
	case !s.knows(r):
		fail(w, http.StatusUnauthorized, "the link that `caddy relayapi ui` prints opens this page, once; run the command again for another")
	case s.foreign.Check(r) != nil:
		fail(w, http.StatusForbidden, "the request comes from another page")
	default:
		s.pages.ServeHTTP(w, r)
	}
}

// takeLink reports whether the secret matches the link's, and then invalidates the
// link.
func (s *Server) takeLink(secret string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()

	if s.link == "" || !same(secret, s.link) {
		return false
	}
	s.link = ""
	return true
}

// open sets the cookie and forwards to the page. It does not redirect: after a click on
// the link in another page, browsers would not send a SameSite=Strict cookie along with
// a redirect.
func (s *Server) open(w http.ResponseWriter) {
	http.SetCookie(w, &http.Cookie{
		Name: cookieName, Value: s.session, Path: s.base, HttpOnly: true, SameSite: http.SameSiteStrictMode,
	})
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = io.WriteString(w, forwarding(s.base)) // the client may be gone
}

// knows reports whether a request has the session cookie.
func (s *Server) knows(r *http.Request) bool {
	cookie, err := r.Cookie(cookieName)
	return err == nil && same(cookie.Value, s.session)
}

func same(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

// isLoopback reports whether the host of an address, with or without a port, is
// loopback.
func isLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		host = strings.TrimSuffix(strings.TrimPrefix(address, "["), "]")
	}
	ip, err := netip.ParseAddr(host)
	return strings.EqualFold(host, "localhost") || err == nil && ip.IsLoopback()
}

// fail answers with an error in the form of the admin API.
func fail(w http.ResponseWriter, status int, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"error": message}) // the client may be gone
}
