package login

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"
)

// chain returns the members of a JWK that hold a certificate of its key, as Auth0,
// Keycloak and Microsoft have them.
func chain(s signer) string {
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "accounts.accesscontrol.windows.net"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour)}
	key := s.private.(crypto.Signer)
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		panic(err)
	}
	return fmt.Sprintf(`["%s"]`, base64.StdEncoding.EncodeToString(der))
}

// provider is a login provider as its pages document it.
type provider struct {
	args    []string // behind `login`
	url     string   // of its key set
	keys    func() string
	token   signer // signs
	header  string // of its tokens
	claims  string // of its tokens
	subject string // of these
	refused map[string]refusedChange
}

// refusedChange changes the claims so that they must be refused.
type refusedChange struct {
	changes []string
	reason  Reason
	rule    string
}

const (
	tenant = "6babcaad-604b-40ac-a9d7-9fd97c0b779f"
	client = "11112222-bbbb-3333-cccc-4444dddd5555"
)

func named(kid string) signer { return signer{kid, "RS256", rsaKey()} }

// providers have key sets in the form that each serves, and tokens with the claims that
// each documents.
var providers = map[string]provider{
	// https://firebase.google.com/docs/auth/admin/verify-id-tokens
	"firebase": {
		args: []string{"firebase", "my-app-1234"},
		url:  "https://www.googleapis.com/service_accounts/v1/jwk/securetoken@system.gserviceaccount.com",
		keys: func() string {
			return jwks(signer{"d8e0a5b2", "RS256", otherRSA()}.jwk(), named("f90fb1ae048a548fb681ad6092b0b869ea467ac6").jwk())
		},
		token:  named("f90fb1ae048a548fb681ad6092b0b869ea467ac6"),
		header: `{"alg":"RS256","kid":"f90fb1ae048a548fb681ad6092b0b869ea467ac6","typ":"JWT"}`,
		claims: `{"name":"Alice","iss":"https://securetoken.google.com/my-app-1234","aud":"my-app-1234","auth_time":1799990000,
			"user_id":"Zk3wQ1","sub":"Zk3wQ1","iat":1799999000,"exp":1800002600,"email":"alice@example.com","email_verified":true,
			"firebase":{"identities":{"google.com":["1"],"email":["alice@example.com"]},"sign_in_provider":"google.com"},"plan":"pro"}`,
		subject: "Zk3wQ1",
		refused: map[string]refusedChange{
			"of another project":   {[]string{"aud", `"other"`}, WrongAudience, "none of the configured audiences: my-app-1234"},
			"by another project":   {[]string{"iss", `"https://securetoken.google.com/other"`}, WrongIssuer, "iss"},
			"a session cookie":     {[]string{"iss", `"https://session.firebase.google.com/my-app-1234"`}, WrongIssuer, "iss"},
			"auth_time in future":  {[]string{"auth_time", "1800000061"}, NotYetValid, "auth_time is in the future"},
			"no auth_time":         {[]string{"auth_time", ""}, BadClaims, "auth_time is missing"},
			"auth_time as string":  {[]string{"auth_time", `"1799990000"`}, BadClaims, "auth_time is not a number"},
			"a sub of 129":         {[]string{"sub", `"` + strings.Repeat("a", 129) + `"`}, BadSubject, "sub is not a string of 1 to 128"},
			"an empty sub":         {[]string{"sub", `""`}, BadSubject, "sub is not a string of 1 to 128"},
			"a sub that is object": {[]string{"sub", `{"a":"b"}`}, BadSubject, "sub is not a string of 1 to 128"},
		},
	},
	// https://supabase.com/docs/guides/auth/jwt-fields
	"supabase": {
		args: []string{"supabase", "abcdefghijklmnopqrst"},
		url:  "https://abcdefghijklmnopqrst.supabase.co/auth/v1/.well-known/jwks.json",
		keys: func() string {
			return jwks(signer{"b81269f1-21d8-4f2e-b719-c2240a840d90", "ES256", p256Key()}.jwk("key_ops", `["verify"]`, "ext", "true"))
		},
		token:  signer{"b81269f1-21d8-4f2e-b719-c2240a840d90", "ES256", p256Key()},
		header: `{"alg":"ES256","kid":"b81269f1-21d8-4f2e-b719-c2240a840d90","typ":"JWT"}`,
		claims: `{"iss":"https://abcdefghijklmnopqrst.supabase.co/auth/v1","sub":"123e4567-e89b-12d3-a456-426614174000","aud":"authenticated",
			"exp":1800003600,"iat":1800000000,"email":"alice@example.com","phone":"","role":"authenticated","aal":"aal1",
			"session_id":"4b938a09-5372-4177-a314-cfa292099ea2","is_anonymous":false,"amr":[{"method":"password","timestamp":1800000000}],
			"app_metadata":{"provider":"email","providers":["email"],"plan":"pro"},"user_metadata":{"plan":"admin"}}`,
		subject: "123e4567-e89b-12d3-a456-426614174000",
		refused: map[string]refusedChange{
			"the anon key":          {[]string{"iss", `"supabase"`, "role", `"anon"`, "sub", "", "aud", ""}, WrongIssuer, "iss"},
			"of another project":    {[]string{"iss", `"https://other.supabase.co/auth/v1"`}, WrongIssuer, "iss"},
			"role anon":             {[]string{"role", `"anon"`}, WrongUse, "claim role is anon"},
			"role service_role":     {[]string{"role", `"service_role"`}, WrongUse, "claim role is service_role"},
			"for another audience":  {[]string{"aud", `"anon"`}, WrongAudience, "aud"},
			"without being anybody": {[]string{"sub", ""}, BadSubject, "sub is missing"},
		},
	},
	// https://clerk.com/docs/guides/sessions/session-tokens
	"clerk": {
		args:   []string{"clerk", "https://happy-cat-1.clerk.accounts.dev/"},
		url:    "https://happy-cat-1.clerk.accounts.dev/.well-known/jwks.json",
		keys:   func() string { return jwks(named("ins_2GIoQhbUpy0hX7B2cVkuTMinXoD").jwk()) },
		token:  named("ins_2GIoQhbUpy0hX7B2cVkuTMinXoD"),
		header: `{"alg":"RS256","cat":"cl_B7d4PD111AAA","kid":"ins_2GIoQhbUpy0hX7B2cVkuTMinXoD","typ":"JWT"}`,
		claims: `{"azp":"https://app.example.com","exp":1800000060,"fva":[7,-1],"iat":1800000000,"iss":"https://happy-cat-1.clerk.accounts.dev",
			"nbf":1799999990,"sid":"sess_123","sub":"user_123","v":2,"pla":"u:pro","fea":"u:chat","sts":"active",
			"o":{"id":"org_123","rol":"admin","slg":"acme"}}`,
		subject: "user_123",
		refused: map[string]refusedChange{
			"of a JWT template":   {[]string{"sid", "", "aud", `"hasura"`}, WrongUse, "claim sid is missing"},
			"a pending session":   {[]string{"sts", `"pending"`}, WrongUse, "claim sts is pending"},
			"of another instance": {[]string{"iss", `"https://other.clerk.accounts.dev"`}, WrongIssuer, "iss"},
		},
	},
	// https://auth0.com/docs/secure/tokens/access-tokens/access-token-profiles
	"auth0": {
		args: []string{"auth0", "my-domain.auth0.com", "https://example.com/health-api"},
		url:  "https://my-domain.auth0.com/.well-known/jwks.json",
		keys: func() string {
			s := named("NjVBRjY5MDlCMUIwNzU4RTA2QzZFMDQ4QzQ2MDAyQjVDNjk1RTM2Qg")
			return jwks(s.jwk("x5c", chain(s), "x5t", `"NjVBRjY5MDlCMUIwNzU4RTA2QzZFMDQ4QzQ2MDAyQjVDNjk1RTM2Qg"`))
		},
		token:  named("NjVBRjY5MDlCMUIwNzU4RTA2QzZFMDQ4QzQ2MDAyQjVDNjk1RTM2Qg"),
		header: `{"alg":"RS256","typ":"at+jwt","kid":"NjVBRjY5MDlCMUIwNzU4RTA2QzZFMDQ4QzQ2MDAyQjVDNjk1RTM2Qg"}`,
		claims: `{"iss":"https://my-domain.auth0.com/","sub":"auth0|123456","aud":["https://example.com/health-api","https://my-domain.auth0.com/userinfo"],
			"azp":"my_client_id","exp":1800003600,"iat":1800000000,"scope":"openid profile read:patients","https://example.com/roles":["admin"]}`,
		subject: "auth0|123456",
		refused: map[string]refusedChange{
			"only for userinfo": {[]string{"aud", `"https://my-domain.auth0.com/userinfo"`}, WrongAudience, "aud"},
			"without the slash": {[]string{"iss", `"https://my-domain.auth0.com"`}, WrongIssuer, "https://my-domain.auth0.com/"},
		},
	},
	// https://docs.aws.amazon.com/cognito/latest/developerguide/amazon-cognito-user-pools-using-the-access-token.html
	"cognito access": {
		args: []string{"cognito", "us-west-2", "us-west-2_example", "xxxxxxxxxxxxexample"},
		url:  "https://cognito-idp.us-west-2.amazonaws.com/us-west-2_example/.well-known/jwks.json",
		keys: func() string {
			return jwks(signer{"5678exam/+=", "RS256", otherRSA()}.jwk(), named("1234example=").jwk())
		},
		token:  named("1234example="),
		header: `{"kid":"1234example=","alg":"RS256"}`,
		claims: `{"sub":"aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee","device_key":"aaaaaaaa","cognito:groups":["testgroup"],
			"iss":"https://cognito-idp.us-west-2.amazonaws.com/us-west-2_example","version":2,"client_id":"xxxxxxxxxxxxexample","origin_jti":"a",
			"event_id":"b","token_use":"access","scope":"phone openid profile","auth_time":1799990000,"exp":1800003600,"iat":1800000000,"jti":"c","username":"my-test-user"}`,
		subject: "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee",
		refused: map[string]refusedChange{
			"of another client":       {[]string{"client_id", `"other"`}, WrongAudience, "claim client_id"},
			"the client only in aud":  {[]string{"client_id", "", "aud", `"xxxxxxxxxxxxexample"`}, WrongAudience, "claim client_id"},
			"a refresh token":         {[]string{"token_use", `"refresh"`}, WrongUse, "token_use"},
			"no token_use":            {[]string{"token_use", ""}, WrongUse, "token_use"},
			"of another pool":         {[]string{"iss", `"https://cognito-idp.us-west-2.amazonaws.com/us-west-2_other"`}, WrongIssuer, "iss"},
			"an id token's token_use": {[]string{"token_use", `"id"`}, WrongAudience, "aud is missing"},
		},
	},
	// https://docs.aws.amazon.com/cognito/latest/developerguide/amazon-cognito-user-pools-using-the-id-token.html
	"cognito id": {
		args:   []string{"cognito", "us-east-1", "us-east-1_EXAMPLE", "xxxxxxxxxxxxexample"},
		url:    "https://cognito-idp.us-east-1.amazonaws.com/us-east-1_EXAMPLE/.well-known/jwks.json",
		keys:   func() string { return jwks(named("abcdefghijklmnopqrsexample=").jwk()) },
		token:  named("abcdefghijklmnopqrsexample="),
		header: `{"kid":"abcdefghijklmnopqrsexample=","alg":"RS256"}`,
		claims: `{"sub":"aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee","cognito:groups":["test-group-a"],"email_verified":true,
			"iss":"https://cognito-idp.us-east-1.amazonaws.com/us-east-1_EXAMPLE","cognito:username":"my-test-user","origin_jti":"a","aud":"xxxxxxxxxxxxexample",
			"identities":[{"userId":"1","primary":"true"}],"event_id":"b","token_use":"id","auth_time":1799990000,"exp":1800003600,"iat":1800000000,"jti":"c","email":"a@example.com"}`,
		subject: "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee",
		refused: map[string]refusedChange{
			"of another client":           {[]string{"aud", `"other"`}, WrongAudience, "aud"},
			"the client only in its name": {[]string{"aud", "", "client_id", `"xxxxxxxxxxxxexample"`}, WrongAudience, "aud is missing"},
		},
	},
	// https://www.keycloak.org/securing-apps/oidc-layers
	"keycloak": {
		args: []string{"keycloak", "https://sso.example.com/realms/demo/", "demo-app"},
		url:  "https://sso.example.com/realms/demo/protocol/openid-connect/certs",
		keys: func() string {
			s, enc := named("FJ86GcF3jTbNLOco4NvZkUCIUmfYCqoqtOQeMfbhNlE"), signer{"enc", "RSA-OAEP", otherRSA()}
			return jwks(enc.jwk("use", `"enc"`, "x5c", chain(enc)), s.jwk("x5c", chain(s), "x5t", `"a"`, "x5t#S256", `"YXNk"`))
		},
		token:  named("FJ86GcF3jTbNLOco4NvZkUCIUmfYCqoqtOQeMfbhNlE"),
		header: `{"alg":"RS256","typ" : "JWT","kid" : "FJ86GcF3jTbNLOco4NvZkUCIUmfYCqoqtOQeMfbhNlE"}`,
		claims: `{"exp":1800000300,"iat":1800000000,"auth_time":1799999000,"jti":"d58f5dc8","iss":"https:\/\/sso.example.com\/realms\/demo","aud":"account",
			"sub":"36fa0f91-f94d-4a0c-afed-6b7d952e47da","typ":"Bearer","azp":"demo-app","session_state":"2a88c258","acr":"1","allowed-origins":["http://localhost:5173"],
			"realm_access":{"roles":["offline_access","pro"]},"resource_access":{"account":{"roles":["manage-account"]}},"scope":"email profile","sid":"2a88c258",
			"email_verified":true,"preferred_username":"alice"}`,
		subject: "36fa0f91-f94d-4a0c-afed-6b7d952e47da",
		refused: map[string]refusedChange{
			"of another client":  {[]string{"azp", `"other"`}, WrongAudience, "aud"},
			"a refresh token":    {[]string{"typ", `"Refresh"`, "aud", `"https://sso.example.com/realms/demo"`}, WrongUse, "claim typ"},
			"a logout token":     {[]string{"typ", `"Logout"`, "aud", `"demo-app"`}, WrongUse, "claim typ"},
			"of another realm":   {[]string{"iss", `"https://sso.example.com/realms/other"`}, WrongIssuer, "iss"},
			"with a DPoP's key":  {[]string{"typ", `"DPoP"`, "cnf", `{"jkt":"a"}`}, ProofOfKeyOnly, "cnf"},
			"without any client": {[]string{"azp", "", "aud", ""}, WrongAudience, "aud is missing"},
		},
	},
	// https://developers.google.com/identity/gsi/web/guides/verify-google-id-token
	"google": {
		args: []string{"google", "1234987819200.apps.googleusercontent.com"},
		url:  "https://www.googleapis.com/oauth2/v3/certs",
		keys: func() string {
			return jwks(named("6f7254101f56e41cf35c9926de84a2d552b4c6f1").jwk(), signer{"b", "RS256", otherRSA()}.jwk())
		},
		token:  named("6f7254101f56e41cf35c9926de84a2d552b4c6f1"),
		header: `{"alg":"RS256","kid":"6f7254101f56e41cf35c9926de84a2d552b4c6f1","typ":"JWT"}`,
		claims: `{"iss":"https://accounts.google.com","azp":"1234987819200.apps.googleusercontent.com","aud":"1234987819200.apps.googleusercontent.com",
			"sub":"10769150350006150715113082367","at_hash":"HK6E_P6Dh8Y93mRNtsDB1Q","hd":"example.com","email":"jsmith@example.com","email_verified":true,
			"iat":1800000000,"exp":1800003600,"nonce":"0394852-3190485-2490358"}`,
		subject: "10769150350006150715113082367",
		refused: map[string]refusedChange{
			"of another application": {[]string{"aud", `"407408718192.apps.googleusercontent.com"`}, WrongAudience, "aud"},
			"another issuer":         {[]string{"iss", `"https://accounts.google.com.evil.example"`}, WrongIssuer, "iss"},
		},
	},
	// https://learn.microsoft.com/en-us/entra/identity-platform/id-token-claims-reference
	"microsoft": {
		args: []string{"microsoft", tenant, client},
		url:  "https://login.microsoftonline.com/" + tenant + "/discovery/v2.0/keys",
		keys: func() string {
			s := named("1LTMzakihiRla_8z2BEJVXeWMqo") // these have no alg
			return jwks(s.jwk("alg", "", "x5t", `"1LTMzakihiRla_8z2BEJVXeWMqo"`, "x5c", chain(s), "cloud_instance_name", `"microsoftonline.com"`,
				"issuer", `"https://login.microsoftonline.com/`+tenant+`/v2.0"`))
		},
		token:  named("1LTMzakihiRla_8z2BEJVXeWMqo"),
		header: `{"typ":"JWT","alg":"RS256","kid":"1LTMzakihiRla_8z2BEJVXeWMqo"}`,
		claims: `{"ver":"2.0","iss":"https://login.microsoftonline.com/` + tenant + `/v2.0","sub":"AAAAAAAAAAAAAAAAAAAAAIkzqFVrSaSaFHy782bbtaQ",
			"aud":"` + client + `","exp":1800003600,"iat":1800000000,"nbf":1800000000,"name":"Alice","preferred_username":"alice@example.com",
			"oid":"00000000-0000-0000-66f3-3332eca7ea81","tid":"` + tenant + `","nonce":"123523","roles":["Pro.User"],"aio":"Df2U"}`,
		subject: "AAAAAAAAAAAAAAAAAAAAAIkzqFVrSaSaFHy782bbtaQ",
		refused: map[string]refusedChange{
			"of another tenant":      {[]string{"iss", `"https://login.microsoftonline.com/9188040d-6c67-4c5b-b112-36a304b66dad/v2.0"`}, WrongIssuer, "iss"},
			"of version 1.0":         {[]string{"iss", `"https://sts.windows.net/` + tenant + `/"`}, WrongIssuer, "iss"},
			"of the template":        {[]string{"iss", `"https://login.microsoftonline.com/{tenantid}/v2.0"`}, WrongIssuer, "iss"},
			"another tid":            {[]string{"tid", `"9188040d-6c67-4c5b-b112-36a304b66dad"`}, WrongAudience, "claim tid"},
			"of another application": {[]string{"aud", `"00000003-0000-0000-c000-000000000000"`}, WrongAudience, "aud"},
		},
	},
}

func TestPresets_AcceptAndRefuse(t *testing.T) {
	for name, p := range providers {
		t.Run(name, func(t *testing.T) {
			var cfg Config
			if err := cfg.SetArgs(p.args...); err != nil {
				t.Fatal(err)
			}
			v := started(t, cfg, newSite(map[string]string{p.url: p.keys()}))
			token := p.token.token(p.header, p.claims)
			claims, err := v.Verify(t.Context(), token, now)
			if err != nil || claims.Subject != p.subject {
				t.Fatalf("subject is %q, %v; want %q", claims.Subject, err, p.subject)
			}
			if !shaped(v, token) {
				t.Error("Shaped is false, want true")
			}
			for name, tt := range p.refused {
				t.Run(name, func(t *testing.T) {
					token := p.token.token(p.header, edit(p.claims, tt.changes...))
					_, err := v.Verify(t.Context(), token, now)
					wantRefusal(t, err, tt.reason, tt.rule, token)
				})
			}
		})
	}
}

func TestPresets_AcceptOtherForms(t *testing.T) {
	for name, tt := range map[string]struct {
		provider string
		cfg      func(*Config)
		changes  []string
	}{
		"google without scheme":           {"google", nil, []string{"iss", `"accounts.google.com"`}},
		"an ID token of keycloak":         {"keycloak", nil, []string{"typ", `"ID"`, "aud", `"demo-app"`}},
		"for keycloak's client":           {"keycloak", nil, []string{"azp", `"other"`, "aud", `["account","demo-app"]`}},
		"clerk's template with audience":  {"clerk", func(c *Config) { c.Audience = []string{"relay"} }, []string{"sid", "", "aud", `"relay"`}},
		"clerk's own origins":             {"clerk", func(c *Config) { c.AuthorizedParty = []string{"https://app.example.com"} }, nil},
		"a second client of microsoft":    {"microsoft", func(c *Config) { c.Audience = []string{"api", client} }, []string{"aud", `"api"`}},
		"a user of supabase with a plan":  {"supabase", func(c *Config) { c.Require = []Condition{{"app_metadata.plan", []string{"pro"}}} }, nil},
		"no anonymous users of supabase":  {"supabase", func(c *Config) { c.Require = []Condition{{"is_anonymous", []string{"false"}}} }, nil},
		"a group of cognito":              {"cognito id", func(c *Config) { c.Require = []Condition{{"cognito:groups", []string{"test-group-a"}}} }, nil},
		"a role of auth0":                 {"auth0", func(c *Config) { c.Require = []Condition{{"https://example.com/roles", []string{"admin"}}} }, nil},
		"a role of keycloak":              {"keycloak", func(c *Config) { c.Require = []Condition{{"realm_access.roles", []string{"pro"}}} }, nil},
		"a way to sign in to firebase":    {"firebase", func(c *Config) { c.Require = []Condition{{"firebase.sign_in_provider", []string{"google.com"}}} }, nil},
		"an organization's role of clerk": {"clerk", func(c *Config) { c.Require = []Condition{{"o.rol", []string{"admin"}}} }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			p := providers[tt.provider]
			var cfg Config
			if err := cfg.SetArgs(p.args...); err != nil {
				t.Fatal(err)
			}
			if tt.cfg != nil {
				tt.cfg(&cfg)
			}
			v := started(t, cfg, newSite(map[string]string{p.url: p.keys()}))
			if claims, err := v.Verify(t.Context(), p.token.token(p.header, edit(p.claims, tt.changes...)), now); err != nil || claims.Rule != -1 {
				t.Errorf("claims are %+v, error is %v; want no error", claims, err)
			}
		})
	}
}

// A Supabase project with a legacy secret serves an empty key set.
func TestPresets_SupabaseLegacySecret(t *testing.T) {
	p := providers["supabase"]
	cfg := Config{Preset: "supabase", Args: p.args[1:], Secret: strings.Repeat("s", 40)}
	v := started(t, cfg, newSite(map[string]string{p.url: jwks()}))
	legacy := signer{"", "HS256", []byte(cfg.Secret)}
	claims, err := v.Verify(t.Context(), legacy.token(`{"alg":"HS256","typ":"JWT"}`, p.claims), now)
	if err != nil || claims.Subject != p.subject {
		t.Errorf("subject is %q, %v; want %q", claims.Subject, err, p.subject)
	}
}
