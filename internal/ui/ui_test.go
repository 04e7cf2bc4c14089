package ui

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/relayapi/caddy-relayapi/internal/adminapi"
)

const origin = "http://127.0.0.1:8000"

// asked is a request that reached the admin API.
type asked struct{ method, uri, body string }

// newServer returns a server, and what it asked of an admin API that answers with err,
// or else {}.
func newServer(err error) (*Server, *[]asked) {
	all := new([]asked)
	return New(func(method, uri string, body []byte, answer any) error {
		*all = append(*all, asked{method, uri, string(body)})
		*answer.(*json.RawMessage) = json.RawMessage("{}")
		return err
	}), all
}

// send sends a request as a browser would, with the cookie if there is one.
func send(s *Server, method, target, body string, cookie *http.Cookie, headers ...string) *http.Response {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	if cookie != nil {
		r.AddCookie(cookie)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w.Result()
}

// open opens the link and returns the cookie that it sets.
func open(t *testing.T, s *Server) *http.Cookie {
	t.Helper()
	res := send(s, "GET", s.Link(origin), "", nil)
	cookies := res.Cookies()
	if res.StatusCode != 200 || len(cookies) != 1 {
		t.Fatalf("opening the link: status %d and %d cookies, want 200 and 1", res.StatusCode, len(cookies))
	}
	return cookies[0]
}

func TestServer_OpensLinkOnce(t *testing.T) {
	s, _ := newServer(nil)
	link := s.Link(origin)
	cookie := open(t, s)
	if !cookie.HttpOnly || cookie.SameSite != http.SameSiteStrictMode || cookie.Path != s.base || cookie.MaxAge != 0 {
		t.Errorf("the cookie has HttpOnly %t, SameSite %d, MaxAge %d; want true, %d, 0, and the page's path",
			cookie.HttpOnly, cookie.SameSite, cookie.MaxAge, http.SameSiteStrictMode)
	}
	if strings.Contains(link, cookie.Value) {
		t.Error("the link shows the cookie, so it would open more than once")
	}

	res := send(s, "GET", link, "", nil)
	if res.StatusCode != http.StatusUnauthorized || len(res.Cookies()) != 0 {
		t.Errorf("the second time: status %d and %d cookies, want 401 and 0", res.StatusCode, len(res.Cookies()))
	}
	if res := send(s, "GET", origin+s.base, "", nil); res.StatusCode != http.StatusUnauthorized {
		t.Errorf("an empty secret after the link was opened: status %d, want 401", res.StatusCode)
	}
}

func TestServer_KeepsLinkUntilItIsOpened(t *testing.T) {
	s, _ := newServer(nil)
	link := s.Link(origin)
	for name, target := range map[string]string{
		"wrong secret": origin + s.base + strings.Repeat("A", 26),
		"a piece":      link[:len(link)-1],
		"no secret":    origin + s.base,
		"wrong path":   origin + "/" + link[strings.LastIndex(link, "/")+1:],
		"another host": "http://relay.example.com" + strings.TrimPrefix(link, origin),
	} {
		if res := send(s, "GET", target, "", nil); res.StatusCode/100 != 4 || len(res.Cookies()) != 0 {
			t.Errorf("%s: status %d and %d cookies, want 401 or 403, and 0", name, res.StatusCode, len(res.Cookies()))
		}
	}
	if res := send(s, "HEAD", link, "", nil); res.StatusCode != http.StatusUnauthorized {
		t.Errorf("HEAD: status %d, want 401", res.StatusCode)
	}
	open(t, s)
}

func TestServer_RefusesRequestsWithoutCookie(t *testing.T) {
	s, all := newServer(nil)
	page := *open(t, s)
	wrong := page
	wrong.Value = strings.Repeat("A", len(page.Value))
	for name, cookie := range map[string]*http.Cookie{"none": nil, "wrong": &wrong} {
		for _, path := range []string{"", "app.js", "style.css", "api/tokens", "api/usage"} {
			res := send(s, "GET", origin+s.base+path, "", cookie)
			if res.StatusCode != http.StatusUnauthorized {
				t.Errorf("%s cookie: %q has status %d, want 401", name, path, res.StatusCode)
			}
		}
	}
	if len(*all) != 0 {
		t.Errorf("%d requests reached the admin API, want 0", len(*all))
	}
}

func TestServer_RefusesHostsThatAreNotLoopback(t *testing.T) {
	for host, want := range map[string]int{
		"127.0.0.1:8000":           200,
		"127.8.9.10:8000":          200,
		"localhost:8000":           200,
		"LOCALHOST":                200,
		"[::1]:8000":               200,
		"relay.example.com:8000":   403,
		"127.0.0.1.example.com":    403,
		"localhost.example.com:80": 403,
		"localhost.":               403,
		"10.0.0.1:8000":            403,
		"0.0.0.0:8000":             403,
		"[::]:8000":                403,
		"":                         403,
	} {
		s, all := newServer(nil)
		cookie := open(t, s)
		r := httptest.NewRequest("GET", origin+s.base+"api/limits", nil)
		r.Host = host
		r.AddCookie(cookie)
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if reached := len(*all) == 1; w.Code != want || reached != (want == 200) {
			t.Errorf("host %q: status %d, reached the admin API: %t; want %d", host, w.Code, reached, want)
		}
	}
}

func TestServer_RefusesOtherPagesRequests(t *testing.T) {
	for _, test := range []struct {
		name   string
		header []string
		want   int
	}{
		{"the page's own", []string{"Sec-Fetch-Site", "same-origin", "Origin", origin}, 200},
		{"another port's", []string{"Sec-Fetch-Site", "same-site", "Origin", "http://127.0.0.1:9000"}, 403},
		{"another site's", []string{"Sec-Fetch-Site", "cross-site", "Origin", "https://example.com"}, 403},
		{"another port's in an old browser", []string{"Origin", "http://127.0.0.1:9000"}, 403},
	} {
		s, all := newServer(nil)
		res := send(s, "POST", origin+s.base+"api/tokens", "{}", open(t, s), test.header...)
		if reached := len(*all) == 1; res.StatusCode != test.want || reached != (test.want == 200) {
			t.Errorf("%s: status %d, reached the admin API: %t; want %d", test.name, res.StatusCode, reached, test.want)
		}
	}
}

func TestServer_PassesOnItsListOnly(t *testing.T) {
	for _, test := range []struct {
		method, path, body string
		want               int
		asked              asked
	}{
		{"GET", "api/tokens?subject=a%26b&limit=2", "", 200, asked{"GET", "/relayapi/tokens?limit=2&subject=a%26b", ""}},
		{"POST", "api/tokens", `{"provider":"openai"}`, 200, asked{"POST", "/relayapi/tokens", `{"provider":"openai"}`}},
		{"GET", "api/token?issuer=relay&id=a", "", 200, asked{"GET", "/relayapi/tokens/relay/a", ""}},
		{"PATCH", "api/token?issuer=relay&id=a", `{"disabled":true}`, 200, asked{"PATCH", "/relayapi/tokens/relay/a", `{"disabled":true}`}},
		{"DELETE", "api/token?issuer=relay&id=..", "", 200, asked{"DELETE", "/relayapi/tokens/relay/%2E%2E", ""}},
		{"GET", "api/limits", "", 200, asked{"GET", "/relayapi/limits", ""}},
		{"PUT", "api/limits", `{"scope":"subject"}`, 200, asked{"PUT", "/relayapi/limits", `{"scope":"subject"}`}},
		{"DELETE", "api/limits?scope=subject&subject=", "", 200, asked{"DELETE", "/relayapi/limits?scope=subject&subject=", ""}},
		{"GET", "api/calls", "", 200, asked{"GET", "/relayapi/calls", ""}},
		{"DELETE", "api/call?id=c0ffee1", "", 200, asked{"DELETE", "/relayapi/calls/c0ffee1", ""}},
		{"GET", "api/usage?by=day,model", "", 200, asked{"GET", "/relayapi/usage?by=day%2Cmodel", ""}},

		{"GET", "api/token?issuer=relay&id=a/../../../config", "", 400, asked{}},
		{"GET", "api/token?issuer=relay/a", "", 400, asked{}},
		{"GET", "api/token", "", 400, asked{}},
		{"DELETE", "api/call?id=../tokens/a", "", 400, asked{}},
		{"DELETE", "api/call", "", 400, asked{}},
		{"GET", "api/tokens?a=%zz", "", 400, asked{}},
		{"POST", "api/tokens", strings.Repeat("a", 64<<10+1), 413, asked{}},
		{"POST", "api/usage", "{}", 405, asked{}},
		{"PUT", "api/tokens", "{}", 405, asked{}},
		{"POST", "api/revocations", "{}", 405, asked{}},
		{"GET", "api/keys", "", 404, asked{}},
		{"GET", "api/config", "", 404, asked{}},
		{"GET", "api/../config", "", 307, asked{}},
		{"POST", "api/load", "{}", 405, asked{}},
		{"POST", "api/stop", "", 405, asked{}},
	} {
		s, all := newServer(nil)
		res := send(s, test.method, origin+s.base+test.path, test.body, open(t, s))
		var want []asked
		if test.want == 200 {
			want = []asked{test.asked}
		}
		if res.StatusCode != test.want || !slices.Equal(*all, want) {
			t.Errorf("%s %.60s: status %d, asked %q; want %d, %q", test.method, test.path, res.StatusCode, *all, test.want, want)
		}
	}
}

func TestServer_ShowsErrorsOfTheAdminAPI(t *testing.T) {
	for name, tc := range map[string]struct {
		err    error
		status int
		text   string
	}{
		"refused":     {&adminapi.RefusedError{Status: 404, Message: "no such limit"}, 404, "the admin endpoint refused: no such limit"},
		"no status":   {&adminapi.RefusedError{Message: "no such limit"}, 502, "the admin endpoint refused: no such limit"},
		"no relay":    {errors.New("connection refused"), 502, "connection refused"},
		"unavailable": {fmt.Errorf("asking: %w", &adminapi.RefusedError{Status: 503, Message: "starting"}), 503, "asking: the admin endpoint refused: starting"},
	} {
		s, _ := newServer(tc.err)
		res := send(s, "GET", origin+s.base+"api/limits", "", open(t, s))
		var answer struct{ Error string }
		err := json.NewDecoder(res.Body).Decode(&answer)
		if err != nil || res.StatusCode != tc.status || answer.Error != tc.text {
			t.Errorf("%s: status %d, error %q, %v; want %d, %q", name, res.StatusCode, answer.Error, err, tc.status, tc.text)
		}
	}
}

func TestServer_SetsHeadersOnEveryAnswer(t *testing.T) {
	s, _ := newServer(nil)
	link := s.Link(origin)
	for name, res := range map[string]*http.Response{
		"refused": send(s, "GET", origin, "", nil),
		"link":    send(s, "GET", link, "", nil),
		"page":    send(s, "GET", origin+s.base, "", &http.Cookie{Name: cookieName, Value: s.session}),
		"answer":  send(s, "GET", origin+s.base+"api/limits", "", &http.Cookie{Name: cookieName, Value: s.session}),
	} {
		for header, want := range map[string]string{
			"Content-Security-Policy": policy, "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff",
			"X-Frame-Options": "DENY", "Cache-Control": "no-store", "Cross-Origin-Resource-Policy": "same-origin",
		} {
			if got := res.Header.Get(header); got != want {
				t.Errorf("%s: %s is %q, want %q", name, header, got, want)
			}
		}
	}
}

func TestPolicy_PermitsNothingFromElsewhere(t *testing.T) {
	got := make(map[string]string)
	for _, directive := range strings.Split(policy, "; ") {
		name, value, _ := strings.Cut(directive, " ")
		got[name] = value
	}
	for name, want := range map[string]string{
		"default-src": "'none'", "script-src": "'self'", "style-src": "'self'", "connect-src": "'self'",
		"base-uri": "'none'", "form-action": "'none'", "frame-ancestors": "'none'", "require-trusted-types-for": "'script'",
	} {
		if got[name] != want {
			t.Errorf("%s is %q, want %q", name, got[name], want)
		}
	}
}

// The browser follows what the link answers with, and has the cookie then.
func TestServer_LeadsFromLinkToPage(t *testing.T) {
	s, _ := newServer(nil)
	server := httptest.NewServer(s)
	defer server.Close()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Jar: jar}
	get := func(target string) (status int, text string) {
		res, err := client.Get(target)
		if err != nil {
			t.Fatal("the page does not answer") // the error would show the link
		}
		defer res.Body.Close()
		data, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatalf("reading the page: %v", err)
		}
		return res.StatusCode, string(data)
	}

	_, text := get(s.Link(server.URL))
	to := regexp.MustCompile(`url=([^"]+)"`).FindStringSubmatch(text)
	if to == nil {
		t.Fatal("the link does not lead on to the page")
	}
	next, err := url.JoinPath(server.URL, to[1])
	if err != nil {
		t.Fatal("the page's path does not parse")
	}
	if status, text := get(next); status != 200 || !strings.Contains(text, "<main>") {
		t.Errorf("the page has status %d and %d bytes, want 200 and <main>", status, len(text))
	}
}

func TestListen_RefusesAddressesThatAreNotLoopback(t *testing.T) {
	for _, address := range []string{":0", "0.0.0.0:0", "[::]:0", "192.0.2.1:0", "relay.example.com:0"} {
		if listener, err := Listen(address); err == nil {
			_ = listener.Close()
			t.Errorf("%q is listened on, want an error", address)
		}
	}
	listener, err := Listen("127.0.0.1:0")
	if err != nil {
		t.Fatalf("127.0.0.1:0: %v", err)
	}
	_ = listener.Close()
}

// The policy stops inline styles and scripts, and markup that is made of text.
func TestPage_HasNothingInlineAndNothingFromElsewhere(t *testing.T) {
	forbidden := regexp.MustCompile(`(?i) style=| on[a-z]+=|innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|<script>|<style|javascript:`)
	address := regexp.MustCompile(`https?://[a-z0-9./]+`)
	files, err := fs.Glob(embedded, "page/*")
	if err != nil || len(files) < 3 {
		t.Fatalf("the page has %d files, %v; want 3 or more", len(files), err)
	}
	for _, name := range files {
		data, err := embedded.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if found := forbidden.Find(data); found != nil {
			t.Errorf("%s has %q", name, found)
		}
		for _, found := range address.FindAllString(string(data), -1) {
			if found != "http://www.w3.org/2000/svg" { // a name, not an address
				t.Errorf("%s names %q", name, found)
			}
		}
	}
}
