package main

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/relayapi/caddy-relayapi/internal/login"
)

const page = "http://localhost:8081/"

// start starts the provider and returns its URL.
func start(t *testing.T) string {
	t.Helper()
	var routes http.Handler
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { routes.ServeHTTP(w, r) }))
	t.Cleanup(server.Close)
	p, err := newProvider(server.URL, page, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	routes = p.routes()
	return server.URL
}

// query is what the page sends to sign in.
func query(verifier string) url.Values {
	challenge := sha256.Sum256([]byte(verifier))
	return url.Values{
		"response_type": {"code"}, "client_id": {"demo"}, "redirect_uri": {page}, "state": {"s"}, "nonce": {"n"},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(challenge[:])}, "code_challenge_method": {"S256"},
	}
}

// signInAs signs in and returns the code that the page gets.
func signInAs(t *testing.T, provider, subject string, q url.Values) string {
	t.Helper()
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := client.PostForm(provider+"/authorize?"+q.Encode(), url.Values{"subject": {subject}})
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	back, err := res.Location()
	if err != nil || !strings.HasPrefix(back.String(), page+"?") || back.Query().Get("state") != "s" {
		t.Fatalf("the provider responded with %d and sends to %v, want the page with the state", res.StatusCode, back)
	}
	return back.Query().Get("code")
}

// exchange exchanges a code. The token is empty if the provider refuses.
func exchange(t *testing.T, provider, code, verifier string) (token string) {
	t.Helper()
	res, err := http.PostForm(provider+"/token", url.Values{"grant_type": {"authorization_code"}, "code": {code}, "client_id": {"demo"}, "redirect_uri": {page}, "code_verifier": {verifier}})
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if got, want := res.Header.Get("Access-Control-Allow-Origin"), "http://localhost:8081"; got != want {
		t.Errorf("allowed origin is %q, want %q", got, want)
	}
	var body struct {
		Token string `json:"id_token"`
	}
	if err := json.NewDecoder(res.Body).Decode(&body); err != nil {
		t.Fatal(err)
	}
	return body.Token
}

func TestProvider_SignsInForTheRelay(t *testing.T) {
	provider := start(t)
	v, err := login.New(login.Config{Issuer: provider, Audience: []string{"demo"}, When: []login.Condition{{Claim: "plan", Values: []string{"pro"}}}})
	if err != nil {
		t.Fatal(err)
	}
	v.Start(context.Background())
	defer v.Close()

	for subject, rule := range map[string]int{"alice": -1, "bob": 0} {
		token := exchange(t, provider, signInAs(t, provider, subject, query("verifier")), "verifier")
		claims, err := v.Verify(t.Context(), token, time.Now())
		if err != nil || claims.Subject != subject || claims.Rule != rule {
			t.Errorf("subject %q by rule %d, error %v; want %q by rule %d", claims.Subject, claims.Rule, err, subject, rule)
		}
	}
}

func TestProvider_RefusesOtherPages(t *testing.T) {
	provider := start(t)
	for name, change := range map[string][2]string{
		"another page":       {"redirect_uri", "https://attacker.example/"},
		"another client":     {"client_id", "other"},
		"no challenge":       {"code_challenge", ""},
		"an open challenge":  {"code_challenge_method", "plain"},
		"a token in the URL": {"response_type", "id_token"},
	} {
		t.Run(name, func(t *testing.T) {
			q := query("verifier")
			q.Set(change[0], change[1])
			res, err := http.Get(provider + "/authorize?" + q.Encode())
			if err != nil {
				t.Fatal(err)
			}
			res.Body.Close()
			if res.StatusCode != http.StatusBadRequest {
				t.Errorf("status is %d, want %d", res.StatusCode, http.StatusBadRequest)
			}
		})
	}
}

func TestProvider_ExchangesCodesOnce(t *testing.T) {
	provider := start(t)
	if token := exchange(t, provider, signInAs(t, provider, "alice", query("verifier")), "guess"); token != "" {
		t.Error("a wrong verifier got a token")
	}
	code := signInAs(t, provider, "alice", query("verifier"))
	first, second := exchange(t, provider, code, "verifier"), exchange(t, provider, code, "verifier")
	if first == "" || second != "" {
		t.Errorf("the code got a token at first: %t, and again: %t; want true and false", first != "", second != "")
	}
}

// The page and the provider must name each other.
func TestPage_NamesTheProvider(t *testing.T) {
	html, err := os.ReadFile("index.html")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"const provider = 'http://127.0.0.1:9001'", "const client = '" + clientID + "'"} {
		if !strings.Contains(string(html), want) {
			t.Errorf("the page does not have %q", want)
		}
	}
}
