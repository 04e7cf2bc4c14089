package credential

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/relayapi/caddy-relayapi/provider"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// The secrets of the tests.
const (
	clientSecret = "Xy8Q~clientsecret.of-a_test0123456789abcd"
	accessToken  = "ya29.c.access-token-of-a-test-0123456789abcdefghijklmnop"
)

func testEnv(t *testing.T, preset string, accounts ...string) *Env {
	t.Helper()
	p, ok := provider.Lookup(preset)
	if !ok {
		t.Fatalf("no preset %s", preset)
	}
	return &Env{Preset: p, Accounts: accounts, Logger: zap.NewNop()}
}

// clearEnv takes away what the libraries would find.
func clearEnv(t *testing.T) {
	t.Helper()
	for _, variable := range os.Environ() {
		name, _, _ := strings.Cut(variable, "=")
		if strings.HasPrefix(name, "AWS_") || strings.HasPrefix(name, "AZURE_") || strings.HasPrefix(name, "GOOGLE_") {
			t.Setenv(name, "")
			os.Unsetenv(name)
		}
	}
	t.Setenv("HOME", t.TempDir())
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
}

// sent returns the header with which a source's key is sent.
func sent(t *testing.T, s *Source) http.Header {
	t.Helper()
	key, err := s.Key(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	header := make(http.Header)
	key.SetHeader(header)
	return header
}

// The example of AWS's documentation
// (https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html), with
// fields that are not signed.
func TestAWS_SignsAsDocumented(t *testing.T) {
	keys := aws.Credentials{AccessKeyID: "AKIAIOSFODNN7EXAMPLE", SecretAccessKey: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"}
	r := httptest.NewRequest("GET", "https://examplebucket.s3.amazonaws.com/test.txt", nil)
	r.Header = http.Header{"Range": {"bytes=0-9"}, "User-Agent": {"x"}, "Te": {"trailers"}}
	hash := fmt.Sprintf("%x", sha256.Sum256(nil))

	signature, err := scope{"us-east-1", "s3"}.sign(v4.NewSigner(), keys, r, hash, time.Date(2013, 5, 24, 0, 0, 0, 0, time.UTC))
	const want = "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
	if err != nil || signature != want {
		t.Errorf("the signature is %s, %v, want %s", signature, err, want)
	}
	if got := r.Header.Get("Authorization"); !strings.HasSuffix(got, "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date, Signature="+want) {
		t.Errorf("got Authorization %s", got)
	}
	if len(r.Header) != 6 || r.Header.Get("User-Agent") != "x" {
		t.Errorf("the request has %d fields, want 6", len(r.Header))
	}
}

// The keys come from where AWS's own tools find them.
func TestAWS_FindsKeys(t *testing.T) {
	for name, tc := range map[string]struct {
		config AWS
		id     string
	}{
		"placeholders": {AWS{AccessKey: []string{"{env.ID}", "{env.SECRET}"}}, "AKIDPLACEHOLDER"},
		"environment":  {AWS{}, "AKIDENVIRONMENT"},
		"profile":      {AWS{Profile: "work", Region: "eu-west-1", Service: "sagemaker"}, "AKIDPROFILE"},
	} {
		t.Run(name, func(t *testing.T) {
			clearEnv(t)
			t.Setenv("ID", "AKIDPLACEHOLDER")
			t.Setenv("SECRET", "secret")
			t.Setenv("AWS_ACCESS_KEY_ID", "AKIDENVIRONMENT")
			t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
			file := filepath.Join(t.TempDir(), "credentials")
			t.Setenv("AWS_SHARED_CREDENTIALS_FILE", file)
			if err := os.WriteFile(file, []byte("[work]\naws_access_key_id=AKIDPROFILE\naws_secret_access_key=secret\naws_session_token=session\n"), 0o600); err != nil {
				t.Fatal(err)
			}

			source, err := Cloud{AWS: &tc.config}.Source(testEnv(t, "bedrock", "eu-north-1"))
			if err != nil {
				t.Fatal(err)
			}
			key, err := source.Key(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			r := httptest.NewRequest("POST", "https://x.example/model/a%3A0/invoke", nil)
			if _, err := key.Sign(r, nil, time.Now()); err != nil {
				t.Fatal(err)
			}
			scope := "/eu-north-1/bedrock/aws4_request"
			if name == "profile" {
				scope = "/eu-west-1/sagemaker/aws4_request"
			}
			if got := r.Header.Get("Authorization"); !strings.Contains(got, "Credential="+tc.id+"/") || !strings.Contains(got, scope) {
				t.Errorf("got %s, want key %s and scope %s", got, tc.id, scope)
			}
			if got := r.Header.Get("X-Amz-Security-Token"); (got == "session") != (name == "profile") {
				t.Errorf("the session token is %q", got)
			}
		})
	}
}

// serviceAccount makes the file of a service account whose tokens come from an address.
func serviceAccount(t *testing.T, tokenURI string) (file string, public *rsa.PublicKey) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(map[string]string{
		"type": "service_account", "project_id": "p", "private_key_id": "k1", "client_email": "relay@p.iam.gserviceaccount.com",
		"client_id": "1", "token_uri": tokenURI,
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
	})
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(t.TempDir(), "sa.json")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return file, &key.PublicKey
}

// checkAssertion checks that an assertion is signed with a key, and returns its claims.
func checkAssertion(t *testing.T, assertion string, public *rsa.PublicKey) (claims map[string]any) {
	t.Helper()
	signed, signature, _ := cutLast(assertion, ".")
	raw, err := base64.RawURLEncoding.DecodeString(signature)
	digest := sha256.Sum256([]byte(signed))
	if err != nil || rsa.VerifyPKCS1v15(public, crypto.SHA256, digest[:], raw) != nil {
		t.Error("the assertion does not verify")
	}
	_, payload, _ := strings.Cut(signed, ".")
	data, err := base64.RawURLEncoding.DecodeString(payload)
	if err == nil {
		err = json.Unmarshal(data, &claims)
	}
	if err != nil {
		t.Errorf("the assertion's claims: %v", err)
	}
	return claims
}

func cutLast(s, sep string) (before, after string, ok bool) {
	i := strings.LastIndex(s, sep)
	return s[:max(i, 0)], s[i+1:], i >= 0
}

func TestGoogle_GetsTokens(t *testing.T) {
	clearEnv(t)
	var asked atomic.Int64
	var public *rsa.PublicKey
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		claims := checkAssertion(t, r.FormValue("assertion"), public)
		if claims["iss"] != "relay@p.iam.gserviceaccount.com" || claims["scope"] != googleScope {
			t.Errorf("the assertion claims %v", claims)
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"access_token":%q,"token_type":"Bearer","expires_in":3600}`, accessToken)
	}))
	defer server.Close()
	file, key := serviceAccount(t, server.URL+"/token")
	public = key

	for name, config := range map[string]Google{"a file": {File: file}, "a file of the environment": {}} {
		t.Run(name, func(t *testing.T) {
			asked.Store(0)
			t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", file)
			source, err := Cloud{Google: &config}.Source(testEnv(t, "openai"))
			if err != nil {
				t.Fatal(err)
			}
			if asked.Load() != 0 {
				t.Error("the network is asked at start")
			}
			for range 3 {
				if got := sent(t, source); got.Get("Authorization") != "Bearer "+accessToken || len(got) != 1 {
					t.Errorf("%d fields are sent, not the token alone", len(got))
				}
			}
			if n := asked.Load(); n != 1 {
				t.Errorf("Google is asked %d times, want once", n)
			}
		})
	}
}

// entraServer is an Entra ID that knows one client.
func entraServer(t *testing.T, token http.HandlerFunc) *httptest.Server {
	t.Helper()
	mux := http.NewServeMux()
	server := httptest.NewTLSServer(mux)
	t.Cleanup(server.Close)
	mux.HandleFunc("GET /{tenant}/v2.0/.well-known/openid-configuration", func(w http.ResponseWriter, r *http.Request) {
		base := server.URL + "/" + r.PathValue("tenant")
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]string{
			"issuer": base + "/v2.0", "authorization_endpoint": base + "/oauth2/v2.0/authorize", "token_endpoint": base + "/oauth2/v2.0/token",
		})
	})
	mux.HandleFunc("POST /{tenant}/oauth2/v2.0/token", token)
	return server
}

func TestEntra_GetsTokens(t *testing.T) {
	clearEnv(t)
	t.Setenv("CLIENT_SECRET", clientSecret)
	var asked atomic.Int64
	server := entraServer(t, func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		for name, want := range map[string]string{"client_id": "c1", "client_secret": clientSecret, "grant_type": "client_credentials"} {
			if r.FormValue(name) != want {
				t.Errorf("%s is another one", name)
			}
		}
		if r.PathValue("tenant") != "t1" || !strings.Contains(r.FormValue("scope"), entraScope) {
			t.Errorf("got tenant %s and scope %s", r.PathValue("tenant"), r.FormValue("scope"))
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"access_token":%q,"token_type":"Bearer","expires_in":3599}`, accessToken)
	})
	config := Cloud{Entra: &Entra{Tenant: "t1", Client: "c1", ClientSecret: "{env.CLIENT_SECRET}", Authority: server.URL}}
	env := testEnv(t, "azure-openai", "r")
	env.Client = server.Client()
	source, err := config.Source(env)
	if err != nil {
		t.Fatal(err)
	}
	if asked.Load() != 0 {
		t.Error("the network is asked at start")
	}
	for range 3 {
		if got := sent(t, source); got.Get("Authorization") != "Bearer "+accessToken || len(got) != 1 {
			t.Errorf("%d fields are sent, not the token alone", len(got))
		}
	}
	if n := asked.Load(); n != 1 {
		t.Errorf("Entra is asked %d times, want once", n)
	}
}

// What a token endpoint quotes of a request does not reach a log.
func TestSource_ErrorsShowNoSecrets(t *testing.T) {
	clearEnv(t)
	t.Setenv("CLIENT_SECRET", clientSecret)
	var quoted atomic.Value
	echo := func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		quoted.Store(string(body))
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(400)
		fmt.Fprintf(w, `{"error":"invalid_client","error_description":"AADSTS7000215: this is wrong: %s"}`, body)
	}
	entra := entraServer(t, echo)
	google := httptest.NewServer(http.HandlerFunc(echo))
	defer google.Close()
	file, _ := serviceAccount(t, google.URL)

	for name, config := range map[string]Cloud{
		"entra":  {Entra: &Entra{Tenant: "t1", Client: "c1", ClientSecret: "{env.CLIENT_SECRET}", Authority: entra.URL}},
		"google": {Google: &Google{File: file}},
	} {
		t.Run(name, func(t *testing.T) {
			env := testEnv(t, "azure-openai", "r")
			env.Client = entra.Client()
			core, logs := observer.New(zap.DebugLevel)
			env.Logger = zap.New(core)
			source, err := config.Source(env)
			if err != nil {
				t.Fatal(err)
			}
			_, err = source.Key(t.Context())
			if err == nil || logs.Len() != 1 {
				t.Fatalf("got %v and %d lines of log, want an error and one line", err, logs.Len())
			}
			said := err.Error() + fmt.Sprint(logs.All()[0].ContextMap())
			if !strings.Contains(said, "invalid_client") && !strings.Contains(said, "400") {
				t.Errorf("the error does not say what is wrong: %s", said)
			}
			secret := clientSecret
			if name == "google" {
				_, secret, _ = strings.Cut(quoted.Load().(string), "assertion=")
				secret, _, _ = strings.Cut(secret, "&")
			}
			for i := 0; i+12 <= len(secret); i++ {
				if strings.Contains(said, secret[i:i+12]) {
					t.Fatal("the error shows a piece of a secret")
				}
			}
		})
	}
}

// What is wrong with a config is said at start, and quotes no secret.
func TestConfig_Refuses(t *testing.T) {
	dir := t.TempDir()
	bad := map[string]string{"text": "no JSON: " + clientSecret, "type": `{"type":"gdch_service_account","private_key":"` + clientSecret + `"}`,
		"key": `{"type":"service_account","private_key":"` + clientSecret + `"}`}
	for name, text := range bad {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, tc := range map[string]struct {
		config Cloud
		preset string
		about  string
	}{
		"no region":            {Cloud{AWS: &AWS{AccessKey: []string{"{env.ID}", "{env.ID}"}}}, "bedrock", "region"},
		"no service":           {Cloud{AWS: &AWS{Region: "r"}}, "openai-compatible", "service"},
		"no keys":              {Cloud{AWS: &AWS{Region: "r"}}, "bedrock", "no credentials"},
		"unknown profile":      {Cloud{AWS: &AWS{Region: "r", Profile: "nobody"}}, "bedrock", "nobody"},
		"profile and keys":     {Cloud{AWS: &AWS{Region: "r", Profile: "a", AccessKey: []string{"{env.ID}", "{env.ID}"}}}, "bedrock", "either"},
		"one key":              {Cloud{AWS: &AWS{Region: "r", AccessKey: []string{"{env.ID}"}}}, "bedrock", "access_key"},
		"a literal key":        {Cloud{AWS: &AWS{Region: "r", AccessKey: []string{"{env.ID}", clientSecret}}}, "bedrock", "placeholders"},
		"a key that isn't set": {Cloud{AWS: &AWS{Region: "r", AccessKey: []string{"{env.ID}", "{env.NONE}"}}}, "bedrock", "{env.NONE}"},
		"no file":              {Cloud{Google: &Google{File: dir + "/none"}}, "openai", "none"},
		"no JSON":              {Cloud{Google: &Google{File: dir + "/text"}}, "openai", "JSON"},
		"unknown type":         {Cloud{Google: &Google{File: dir + "/type"}}, "openai", "type"},
		"no private key":       {Cloud{Google: &Google{File: dir + "/key"}}, "openai", "key"},
		"a tenant alone":       {Cloud{Entra: &Entra{Tenant: "t"}}, "azure-openai", "<tenant> <client>"},
		"a secret alone":       {Cloud{Entra: &Entra{ClientSecret: "{env.ID}"}}, "azure-openai", "<tenant> <client>"},
		"a literal secret":     {Cloud{Entra: &Entra{Tenant: "t", Client: "c", ClientSecret: clientSecret}}, "azure-openai", "placeholders"},
		"no workload identity": {Cloud{Entra: &Entra{Tenant: "t", Client: "c"}}, "azure-openai", "token file"},
		"authority over http":  {Cloud{Entra: &Entra{Tenant: "t", Client: "c", ClientSecret: "{env.ID}", Authority: "http://x.example"}}, "azure-openai", "https"},
	} {
		t.Run(name, func(t *testing.T) {
			clearEnv(t)
			t.Setenv("ID", "AKID")
			source, err := tc.config.Source(testEnv(t, tc.preset))
			if err == nil || source != nil {
				t.Fatal("it is accepted")
			}
			if !strings.Contains(err.Error(), tc.about) || !strings.HasPrefix(err.Error(), "credential "+tc.config.Kinds()[0]+": ") || strings.Contains(err.Error(), clientSecret[:12]) {
				t.Errorf("got %v, want something about %s and no secret", err, tc.about)
			}
		})
	}
	if source, err := (Cloud{}).Source(testEnv(t, "openai")); source != nil || err != nil {
		t.Errorf("no credential: got %v, %v", source, err)
	}
}

func TestPlain_IsShort(t *testing.T) {
	text := plain(errors.New(strings.Repeat("many words\n\tof an error ", 100)+strings.Repeat("a1B2", 20)), nil)
	if len(text) > mostOfError+len("…") || strings.ContainsAny(text, "\n\t") {
		t.Errorf("got %d bytes", len(text))
	}
}
