package relayapi

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/relayapi/caddy-relayapi/grant"
	"github.com/relayapi/caddy-relayapi/provider"
)

// Credentials of a cloud that only the provider may see, and a key that not even it may.
const (
	awsSecret  = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
	awsSession = "FwoGZXIvYXdzEJr//////////wEaDKx7session/token+of=a=test=0123456789abcdef"
	cloudToken = "ya29.c.b0AXv0zTPw3Kq9sLr7VtYx2-Hf6Jm8Nd1Gp5Zc4Bw0_EuIoRyTkQa3vS7xM9nP"
)

// secret makes leak checks look for a secret in all places but some.
func secret(t *testing.T, value string, except ...place) {
	t.Helper()
	c := canaryOf(t)
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, where := range allPlaces {
		if !slices.Contains(except, where) {
			c.secrets[where].add(value, keyPiece)
		}
	}
}

// onlyProvider configures one provider, that of a preset.
func onlyProvider(preset string, lines ...string) option {
	return func(c *testConfig) {
		c.provider, c.grants, c.providers = "", preset, section("provider "+preset, lines...)
	}
}

// hostsOf are the hosts of presets with made-up accounts.
func hostsOf(t *testing.T, presets ...string) (hosts []string) {
	t.Helper()
	for _, name := range presets {
		preset, ok := provider.Lookup(name)
		if !ok {
			t.Fatalf("no preset %s", name)
		}
		hosts = append(hosts, presetBase(t, preset).Hostname())
	}
	return hosts
}

// startSigning starts a relay that signs for Bedrock.
func startSigning(t *testing.T, respond http.HandlerFunc, options ...option) (*testRelay, *internet) {
	t.Helper()
	for name, value := range map[string]string{"TEST_ID": "AKIDEXAMPLE", "TEST_SECRET": awsSecret, "TEST_SESSION": awsSession} {
		t.Setenv(name, value)
	}
	secret(t, awsSecret)
	secret(t, awsSession, inProvider)
	web := newInternet(t, hostsOf(t, "bedrock"), respond)
	bedrock := onlyProvider("bedrock", "preset bedrock my-region", `paths "POST /model/*/invoke" "POST /model/*/converse" "POST /model/*/converse-stream" "GET /anything/*"`,
		section("credential aws", "access_key {env.TEST_ID} {env.TEST_SECRET} {env.TEST_SESSION}"))
	return startRelay(t, simple(web.URL, append([]option{bedrock, web.through}, options...)...)), web
}

// Whatever is sent is signed as it is sent, for the configured region.
func TestCredential_SignsForAWS(t *testing.T) {
	relay, web := startSigning(t, nil)
	long := `{"messages":"` + strings.Repeat("long ", 20_000) + `"}`
	for name, tc := range map[string]struct {
		method, path, body string
		edit               func(*http.Request)
	}{
		"a short body":        {"POST", "/model/amazon.nova-lite-v1:0/converse", `{"messages":[]}`, nil},
		"an escaped path":     {"POST", "/model/arn%3Aaws%3Abedrock%3Ax%3A1%3Aprofile%2Fa/invoke", `{}`, nil},
		"a long body":         {"POST", "/model/a/converse-stream", long, nil},
		"a chunked body":      {"POST", "/model/a/converse", long, func(r *http.Request) { r.ContentLength = -1 }},
		"no body":             {"GET", "/anything/x?b=2&a=x+y%2Fz&c", "", nil},
		"an empty body":       {"POST", "/model/a/invoke", "", nil},
		"odd header fields":   {"POST", "/model/a/invoke", `{}`, header("X-Two", "a   b")},
		"a field of the hop":  {"POST", "/model/a/invoke", `{}`, header("Te", "trailers")},
		"a client that signs": {"POST", "/model/a/invoke", `{}`, signsItself},
	} {
		t.Run(name, func(t *testing.T) {
			before := len(web.requests())
			token := relay.mint(forProvider("bedrock"))
			req := relay.request(asking(tc.method, tc.path), header("X-Api-Key", token), func(r *http.Request) {
				r.Body, r.ContentLength = io.NopCloser(strings.NewReader(tc.body)), int64(len(tc.body))
				if tc.body == "" {
					r.Body = nil
				}
				if tc.edit != nil {
					tc.edit(r)
				}
			})
			res, body := relay.do(req)
			seen := web.requests()[before:]
			if res.StatusCode != 200 || len(seen) != 1 {
				t.Fatalf("got %d %s, and the provider received %d requests, want 1", res.StatusCode, body, len(seen))
			}
			if string(seen[0].body) != tc.body {
				t.Errorf("the provider received %d bytes, want %d", len(seen[0].body), len(tc.body))
			}
			checkSignature(t, seen[0])
		})
	}
}

// signsItself makes a request one that its client has signed, for another region.
func signsItself(r *http.Request) {
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=AKIDCLIENT/20260101/evil-1/s3/aws4_request, SignedHeaders=host, Signature=00")
	r.Header.Set("X-Amz-Date", "20260101T000000Z")
	r.Header.Set("X-Amz-Security-Token", "the-clients-session")
	r.Header.Set("X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD")
	r.URL.RawQuery = "X-Amz-Credential=AKIDCLIENT&X-Amz-Signature=00&X-Amz-Security-Token=the-clients-session"
}

// checkSignature verifies AWS Signature Version 4 as a service does
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html).
func checkSignature(t *testing.T, got received) {
	t.Helper()
	date := got.Header.Get("X-Amz-Date")
	scope := date[:8] + "/my-region/bedrock/aws4_request"
	rest, ok := strings.CutPrefix(got.Header.Get("Authorization"), "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/"+scope+", SignedHeaders=")
	names, signature, _ := strings.Cut(rest, ", Signature=")
	if !ok || len(got.Header["Authorization"]) != 1 {
		t.Fatalf("got Authorization %q", got.Header["Authorization"])
	}

	var fields strings.Builder
	for name := range strings.SplitSeq(names, ";") {
		value := strings.Join(got.Header.Values(name), ",")
		switch name {
		case "host":
			value = got.Host
		case "content-length":
			value = fmt.Sprint(got.ContentLength)
		}
		fmt.Fprintf(&fields, "%s:%s\n", name, strings.Join(strings.Fields(value), " "))
	}
	exempt := []string{"authorization", "user-agent", "te"}
	if got.ContentLength == 0 {
		exempt = append(exempt, "content-length")
	}
	for name := range got.Header {
		if name = strings.ToLower(name); !slices.Contains(append(strings.Split(names, ";"), exempt...), name) {
			t.Errorf("%s is not signed", name)
		}
	}

	path, query, _ := strings.Cut(got.RequestURI, "?")
	path = strings.ReplaceAll(uriEncode(path), "%2F", "/")
	hash := hexSum(got.body)
	if sent := got.Header.Get("X-Amz-Content-Sha256"); sent != hash {
		t.Errorf("the body's hash is sent as %s, want %s", sent, hash)
	}
	canonical := strings.Join([]string{got.Method, path, canonicalQuery(t, query), fields.String(), names, hash}, "\n")
	toSign := strings.Join([]string{"AWS4-HMAC-SHA256", date, scope, hexSum([]byte(canonical))}, "\n")
	key := []byte("AWS4" + awsSecret)
	for _, part := range append(strings.Split(scope, "/"), toSign) {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(part))
		key = mac.Sum(nil)
	}
	if want := fmt.Sprintf("%x", key); signature != want {
		t.Errorf("the signature is not that of what was received:\n%s", canonical)
	}
	if got.Header.Get("X-Amz-Security-Token") != awsSession || strings.Contains(got.raw, "CLIENT") || strings.Contains(got.raw, "the-clients") {
		t.Error("the credential is not the relay's alone")
	}
}

func hexSum(data []byte) string { return fmt.Sprintf("%x", sha256.Sum256(data)) }

// uriEncode encodes all but the unreserved characters.
func uriEncode(s string) string {
	return strings.NewReplacer("+", "%20", "%7E", "~").Replace(url.QueryEscape(s))
}

// canonicalQuery returns a query sorted and encoded in one way.
func canonicalQuery(t *testing.T, query string) string {
	t.Helper()
	parsed, err := url.ParseQuery(query)
	if err != nil {
		t.Fatal(err)
	}
	var pairs []string
	for name, values := range parsed {
		for _, value := range values {
			pairs = append(pairs, uriEncode(name)+"="+uriEncode(value))
		}
	}
	slices.Sort(pairs)
	return strings.Join(pairs, "&")
}

// AWS quotes the canonical request of a signature that it does not accept, and with it
// the session token.
func TestCredential_OfAWSIsMasked(t *testing.T) {
	relay, _ := startSigning(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/model/header/invoke" {
			w.Header().Set("X-Echo", r.Header.Get("Authorization"))
			return
		}
		w.WriteHeader(403)
		_ = json.NewEncoder(w).Encode(map[string]string{"message": "The canonical string should have been x-amz-security-token:" +
			r.Header.Get("X-Amz-Security-Token") + ", and the header was " + r.Header.Get("Authorization")})
	})
	token := relay.mint(forProvider("bedrock"))
	res, body := relay.do(relay.request(bearer(token), asking("POST", "/model/a/invoke")))
	_, signature, _ := strings.Cut(body, "Signature=")
	if res.StatusCode != 403 || !strings.Contains(body, "x-amz-security-token:***") || !strings.HasPrefix(strings.Trim(signature, "*"), `"}`) && !strings.HasPrefix(signature, "***") {
		t.Errorf("got %d %s", res.StatusCode, body)
	}
	res, body = relay.do(relay.request(bearer(token), asking("POST", "/model/header/invoke")))
	wantRefusal(t, res, body, "provider_answer_withheld")
}

// A body that a budget changes is signed after the change.
func TestCredential_SignsWhatABudgetSends(t *testing.T) {
	relay, web := startSigning(t, nil)
	tokens := int64(5000)
	token := relay.mint(forProvider("bedrock"), func(c *grant.Claims) { c.Limits = &grant.Limits{Tokens: &tokens} })
	res, body := relay.do(relay.request(bearer(token), asking("POST", "/model/amazon.nova-lite-v1:0/converse"), func(r *http.Request) {
		text := `{"messages":[{"role":"user","content":[{"text":"hi"}]}]}`
		r.Body, r.ContentLength = io.NopCloser(strings.NewReader(text)), int64(len(text))
	}))
	if res.StatusCode != 200 {
		t.Fatalf("got %d %s", res.StatusCode, body)
	}
	got := web.one(t)
	if !bytes.Contains(got.body, []byte("maxTokens")) {
		t.Errorf("the provider received %s, want a cap", got.body)
	}
	checkSignature(t, got)
}

// tokenServer hands out the access token of a cloud.
func tokenServer(t *testing.T, asked *atomic.Int64) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"access_token":%q,"token_type":"Bearer","expires_in":3600,"expires_on":"4102444800","resource":"x"}`, cloudToken)
	}))
	t.Cleanup(server.Close)
	return server
}

// Access tokens take the place of a key: there alone, got once, and masked in answers.
func TestCredential_SendsAccessTokens(t *testing.T) {
	for preset, tc := range map[string]struct {
		lines []string
		path  string
		env   func(server string)
	}{
		"vertex": {[]string{"preset vertex my-project my-location", "credential google {dir}/sa.json"},
			"/v1/projects/my-project/locations/my-location/publishers/google/models/m:generateContent", nil},
		"azure-openai": {[]string{"preset azure-openai my-resource", "credential entra"}, "/openai/v1/responses", func(server string) {
			t.Setenv("AZURE_TOKEN_CREDENTIALS", "ManagedIdentityCredential")
			t.Setenv("IDENTITY_ENDPOINT", server)
			t.Setenv("IDENTITY_HEADER", "x")
		}},
	} {
		t.Run(preset, func(t *testing.T) {
			var asked atomic.Int64
			server := tokenServer(t, &asked)
			secret(t, cloudToken, inProvider)
			web := newInternet(t, hostsOf(t, preset), func(w http.ResponseWriter, r *http.Request) {
				w.WriteHeader(400)
				fmt.Fprintf(w, `{"error":"bad request of %s"}`, r.Header.Get("Authorization"))
			})
			if tc.env != nil {
				tc.env(server.URL)
			}
			relay := newTestRelay(t)
			writeServiceAccount(t, filepath.Join(relay.dir, "sa.json"), server.URL)
			relay.load(simple(web.URL, onlyProvider(preset, tc.lines...), web.through))

			token := relay.mint(forProvider(preset))
			for range 3 {
				res, body := relay.do(relay.request(header("Api-Key", token), asking("POST", tc.path)))
				if res.StatusCode != 400 || body != `{"error":"bad request of Bearer ***"}` && !strings.Contains(body, "****") {
					t.Errorf("got %d %s", res.StatusCode, body)
				}
			}
			for _, got := range web.requests() {
				if values := got.Header["Authorization"]; len(values) != 1 || values[0] != "Bearer "+cloudToken || got.Header["Api-Key"] != nil {
					t.Errorf("the provider received Authorization %d times, not the token alone", len(values))
				}
			}
			if n, m := asked.Load(), len(web.requests()); n != 1 || m != 3 {
				t.Errorf("the token is asked for %d times for %d requests, want once for 3", n, m)
			}
		})
	}
}

// writeServiceAccount writes the file of a service account.
func writeServiceAccount(t *testing.T, file, tokenURI string) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	data, _ := json.Marshal(map[string]string{"type": "service_account", "client_email": "relay@p.iam.gserviceaccount.com", "token_uri": tokenURI,
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))})
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// A relay starts without the cloud. Calls are refused and not sent without a credential.
func TestCredential_IsAway(t *testing.T) {
	away := httptest.NewServer(nil)
	away.Close()
	web := newInternet(t, hostsOf(t, "vertex"), nil)
	relay := newTestRelay(t)
	writeServiceAccount(t, filepath.Join(relay.dir, "sa.json"), away.URL)
	relay.load(simple(web.URL, onlyProvider("vertex", "preset vertex my-project my-location", "credential google {dir}/sa.json"), web.through))

	token := relay.mint(forProvider("vertex"), calls(1))
	path := "/v1/projects/my-project/locations/my-location/publishers/google/models/m:generateContent"
	for range 3 {
		res, body := relay.do(relay.request(bearer(token), asking("POST", path)))
		wantRefusal(t, res, body, "provider_credential_unavailable")
		if strings.Contains(body, "127.0.0.1") {
			t.Errorf("the client is told %s", body)
		}
	}
	if n := len(web.requests()); n != 0 {
		t.Errorf("the provider received %d requests, want none", n)
	}
	if !relay.logged("getting the credential of a provider failed", `"provider":"vertex"`, "connection refused") {
		t.Error("the log does not say why")
	}
}
