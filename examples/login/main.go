// Command login is a small OpenID Connect provider for the example beside it. It signs
// in anyone as one of two users, with a key that is public. Do not use it elsewhere.
//
//	go run ./examples/login
//
// It has the authorization code flow with PKCE (RFC 7636), which is what a page without
// a back-end uses with a real provider.
package main

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"flag"
	"html/template"
	"log"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// testKey signs the tokens of the example. Everyone can read it.
//
//go:embed test.key
var testKey []byte

// clientID is what tokens have in "aud".
const clientID = "demo"

// codeLife is how long a code can be exchanged for a token.
const codeLife = time.Minute

// users are those who can sign in, by their subject.
var users = map[string]user{
	"alice": {"Alice", "free"},
	"bob":   {"Bob", "pro"},
}

type user struct{ Name, Plan string }

// provider signs users in at one page.
type provider struct {
	issuer string // its own URL
	page   string // where users come back to
	life   time.Duration
	key    jose.JSONWebKey
	signer jose.Signer

	mu    sync.Mutex
	codes map[string]grant
}

// grant is what a code is exchanged for.
type grant struct {
	subject, nonce, challenge string
	until                     time.Time
}

func main() {
	listen := flag.String("listen", "127.0.0.1:9001", "the address to listen on, which must be on this machine")
	page := flag.String("page", "http://localhost:8081/", "the page that users come back to")
	life := flag.Duration("life", 5*time.Minute, "how long a token is valid")
	flag.Parse()

	p, err := newProvider("http://"+*listen, *page, *life)
	if err != nil {
		log.Fatalf("starting: %v", err)
	}
	log.Printf("signing in at %s for %s", p.issuer, p.page)
	server := &http.Server{Addr: *listen, Handler: p.routes(), ReadHeaderTimeout: 10 * time.Second}
	log.Fatal(server.ListenAndServe())
}

func newProvider(issuer, page string, life time.Duration) (*provider, error) {
	block, _ := pem.Decode(testKey)
	private, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	key := jose.JSONWebKey{Key: private, KeyID: "demo-key-1", Algorithm: string(jose.ES256), Use: "sig"}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return nil, err
	}
	return &provider{issuer: issuer, page: page, life: life, key: key.Public(), signer: signer, codes: make(map[string]grant)}, nil
}

func (p *provider) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", p.discovery)
	mux.HandleFunc("GET /keys", p.keys)
	mux.HandleFunc("GET /authorize", p.ask)
	mux.HandleFunc("POST /authorize", p.authorize)
	mux.HandleFunc("POST /token", p.token)
	return mux
}

func (p *provider) discovery(w http.ResponseWriter, _ *http.Request) {
	reply(w, http.StatusOK, map[string]any{
		"issuer":                                p.issuer,
		"authorization_endpoint":                p.issuer + "/authorize",
		"token_endpoint":                        p.issuer + "/token",
		"jwks_uri":                              p.issuer + "/keys",
		"response_types_supported":              []string{"code"},
		"subject_types_supported":               []string{"public"},
		"id_token_signing_alg_values_supported": []string{"ES256"},
		"code_challenge_methods_supported":      []string{"S256"},
	})
}

func (p *provider) keys(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Cache-Control", "max-age=3600")
	reply(w, http.StatusOK, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{p.key}})
}

// signIn is the page with a button for each user. A real provider asks for a password.
var signIn = template.Must(template.New("").Parse(`<!doctype html>
<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Sign in</title>
<style>body { max-width: 20rem; margin: 20vh auto; font: 1.0625rem/1.6 system-ui, sans-serif } button { font: inherit; width: 100%; padding: .5rem; margin: .25rem 0 }</style>
<h1>Sign in</h1>
<form method="post">{{range $subject, $user := .}}<button name="subject" value="{{$subject}}">{{$user.Name}}, plan {{$user.Plan}}</button>{{end}}</form>
`))

// ask shows the page. The form goes back to the same URL, with its query.
func (p *provider) ask(w http.ResponseWriter, r *http.Request) {
	if p.check(w, r.URL.Query()) {
		w.Header().Set("Content-Security-Policy", "frame-ancestors 'none'")
		signIn.Execute(w, users)
	}
}

// check refuses a request that the example's page does not make. A provider that sent
// codes to any URL would give its users away.
func (p *provider) check(w http.ResponseWriter, q url.Values) bool {
	ok := q.Get("response_type") == "code" && q.Get("client_id") == clientID && q.Get("redirect_uri") == p.page &&
		q.Get("code_challenge_method") == "S256" && q.Get("code_challenge") != ""
	if !ok {
		http.Error(w, "This provider signs users in for "+p.page+" only.", http.StatusBadRequest)
	}
	return ok
}

// authorize sends the user back to the page with a code.
func (p *provider) authorize(w http.ResponseWriter, r *http.Request) {
	q, subject := r.URL.Query(), r.PostFormValue("subject")
	if !p.check(w, q) {
		return
	}
	if _, ok := users[subject]; !ok {
		http.Error(w, "There is no such user.", http.StatusBadRequest)
		return
	}

	code := rand.Text()
	p.mu.Lock()
	p.codes[code] = grant{subject, q.Get("nonce"), q.Get("code_challenge"), time.Now().Add(codeLife)}
	p.mu.Unlock()
	back := url.Values{"code": {code}, "state": {q.Get("state")}, "iss": {p.issuer}}
	http.Redirect(w, r, p.page+"?"+back.Encode(), http.StatusSeeOther)
}

// token exchanges a code for a token, once.
func (p *provider) token(w http.ResponseWriter, r *http.Request) {
	if origin, err := url.Parse(p.page); err == nil {
		w.Header().Set("Access-Control-Allow-Origin", origin.Scheme+"://"+origin.Host)
	}

	p.mu.Lock()
	g, ok := p.codes[r.PostFormValue("code")]
	delete(p.codes, r.PostFormValue("code"))
	p.mu.Unlock()
	challenge := sha256.Sum256([]byte(r.PostFormValue("code_verifier")))
	if !ok || time.Now().After(g.until) || r.PostFormValue("client_id") != clientID || r.PostFormValue("redirect_uri") != p.page ||
		base64.RawURLEncoding.EncodeToString(challenge[:]) != g.challenge {
		reply(w, http.StatusBadRequest, map[string]string{"error": "invalid_grant"})
		return
	}

	token, err := p.sign(g)
	if err != nil {
		log.Printf("signing: %v", err)
		reply(w, http.StatusInternalServerError, map[string]string{"error": "server_error"})
		return
	}
	reply(w, http.StatusOK, map[string]any{"id_token": token, "token_type": "Bearer", "expires_in": int(p.life.Seconds())})
}

// sign returns an ID token (OpenID Connect Core 1.0, section 2).
func (p *provider) sign(g grant) (string, error) {
	now := time.Now()
	claims, err := json.Marshal(map[string]any{
		"iss": p.issuer, "sub": g.subject, "aud": clientID, "nonce": g.nonce,
		"iat": now.Unix(), "auth_time": now.Unix(), "exp": now.Add(p.life).Unix(),
		"name": users[g.subject].Name, "plan": users[g.subject].Plan, "email_verified": true,
	})
	if err != nil {
		return "", err
	}
	signed, err := p.signer.Sign(claims)
	if err != nil {
		return "", err
	}
	return signed.CompactSerialize()
}

func reply(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	if w.Header().Get("Cache-Control") == "" {
		w.Header().Set("Cache-Control", "no-store")
	}
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(body)
}
