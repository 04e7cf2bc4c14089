package login

import (
	"strings"
	"testing"
)

func TestConfig_Check(t *testing.T) {
	generic := func(edit func(*Config)) Config {
		cfg := Config{Issuer: issuer, Audience: []string{"app"}}
		if edit != nil {
			edit(&cfg)
		}
		return cfg
	}
	preset := func(args ...string) Config { return Config{Preset: args[0], Args: args[1:]} }

	for name, tt := range map[string]struct {
		cfg  Config
		want string // of the error; empty means none
	}{
		"an issuer":                    {generic(nil), ""},
		"an issuer on this machine":    {generic(func(c *Config) { c.Issuer = "http://127.0.0.1:9001" }), ""},
		"an issuer at localhost":       {generic(func(c *Config) { c.Issuer = "http://localhost:9001" }), ""},
		"an issuer on [::1]":           {generic(func(c *Config) { c.Issuer = "http://[::1]:9001" }), ""},
		"nothing":                      {Config{}, "name a preset, which must be one of auth0, clerk"},
		"preset and issuer":            {Config{Preset: "clerk", Issuer: issuer}, "remove one"},
		"an unknown preset":            {preset("okta", "x"), `unknown login preset "okta"; must be one of auth0, clerk, cognito, firebase, google, keycloak, microsoft, supabase`},
		"an issuer over http":          {generic(func(c *Config) { c.Issuer = "http://login.example.com" }), "must begin with https://"},
		"an issuer like localhost":     {generic(func(c *Config) { c.Issuer = "http://localhost.example.com" }), "must begin with https://"},
		"an issuer like an address":    {generic(func(c *Config) { c.Issuer = "http://127.0.0.1.example.com" }), "must begin with https://"},
		"an issuer of another scheme":  {generic(func(c *Config) { c.Issuer = "file:///etc/passwd" }), "not a URL"},
		"an issuer with a user":        {generic(func(c *Config) { c.Issuer = "https://a:b@login.example.com" }), "has a user"},
		"an issuer with a query":       {generic(func(c *Config) { c.Issuer += "?a=b" }), "has a query"},
		"an issuer with a fragment":    {generic(func(c *Config) { c.Issuer += "#a" }), "a fragment"},
		"an issuer with arguments":     {generic(func(c *Config) { c.Args = []string{"a"} }), "has arguments"},
		"no audience":                  {generic(func(c *Config) { c.Audience = nil }), "audience is missing"},
		"an empty audience":            {generic(func(c *Config) { c.Audience = []string{""} }), "audience: has an empty value"},
		"jwks over http":               {generic(func(c *Config) { c.JWKS = "http://login.example.com/keys" }), "jwks"},
		"HS256 without secret":         {generic(func(c *Config) { c.Algorithms = []string{"HS256"} }), "HS256 needs a secret"},
		"HS256 with its secret":        {generic(func(c *Config) { c.Algorithms, c.Secret = []string{"HS256"}, "{env.S}" }), ""},
		"none":                         {generic(func(c *Config) { c.Algorithms = []string{"none"} }), `unknown algorithm "none"; must be one of ES256, ES384, EdDSA, PS256, RS256, RS384, RS512`},
		"other algorithms":             {generic(func(c *Config) { c.Algorithms = []string{"PS256", "RS384", "RS512", "ES384"} }), ""},
		"a subject of dots":            {generic(func(c *Config) { c.SubjectClaim = ".sub" }), "subject"},
		"a nested subject":             {generic(func(c *Config) { c.SubjectClaim = "user.id" }), ""},
		"a condition without claim":    {generic(func(c *Config) { c.Require = []Condition{{"", []string{"a"}}} }), "require: claim"},
		"a condition without values":   {generic(func(c *Config) { c.When = []Condition{{"plan", nil}} }), "when: claim \"plan\": has no values"},
		"a condition of an empty text": {generic(func(c *Config) { c.When = []Condition{{"plan", []string{""}}} }), "has an empty value"},
		"a claim with a space":         {generic(func(c *Config) { c.When = []Condition{{"my plan", []string{"a"}}} }), "not the name of a claim"},

		"firebase":                  {preset("firebase", "my-app-1234"), ""},
		"firebase without project":  {preset("firebase"), "has 0 arguments; write `login firebase <project>`"},
		"firebase with a path":      {preset("firebase", "my/../app"), "not the id of a project"},
		"supabase by reference":     {preset("supabase", "abcdefghijklmnopqrst"), ""},
		"supabase by URL":           {preset("supabase", "https://abc.supabase.co"), ""},
		"supabase by issuer":        {preset("supabase", "https://abc.supabase.co/auth/v1"), ""},
		"supabase on this machine":  {preset("supabase", "http://127.0.0.1:54321"), ""},
		"supabase by host":          {preset("supabase", "abc.supabase.co"), "not the reference or the URL"},
		"supabase with a path":      {preset("supabase", "evil.example/x"), "not the reference or the URL"},
		"supabase over http":        {preset("supabase", "http://abc.supabase.co"), "must begin with https://"},
		"clerk":                     {preset("clerk", "clerk.example.com"), ""},
		"clerk with a path":         {preset("clerk", "clerk.example.com/x"), "not a domain"},
		"clerk with a port":         {preset("clerk", "clerk.example.com:444"), "not a domain"},
		"clerk with a user":         {preset("clerk", "a@clerk.example.com"), "not a domain"},
		"auth0":                     {preset("auth0", "my.auth0.com", "https://api.example.com"), ""},
		"auth0 without audience":    {preset("auth0", "my.auth0.com"), "write `login auth0 <domain> <audience>`"},
		"auth0 of an empty word":    {preset("auth0", "my.auth0.com", ""), "audience: has an empty value"},
		"cognito":                   {preset("cognito", "eu-central-1", "eu-central-1_AbCdEf", "client"), ""},
		"cognito of another region": {preset("cognito", "us-east-1", "eu-central-1_AbCdEf", "client"), "a user pool in it"},
		"cognito with a host":       {preset("cognito", "evil.example/us", "us-east-1_A", "client"), "not a region"},
		"keycloak":                  {preset("keycloak", "https://sso.example.com/realms/main", "app"), ""},
		"an older keycloak":         {preset("keycloak", "https://sso.example.com/auth/realms/main", "app"), ""},
		"keycloak without realm":    {preset("keycloak", "https://sso.example.com", "app"), "not the URL of a realm"},
		"keycloak over http":        {preset("keycloak", "http://sso.example.com/realms/main", "app"), "must begin with https://"},
		"google":                    {preset("google", "1.apps.googleusercontent.com"), ""},
		"google's project":          {preset("google", "my-project"), "not a client id"},
		"microsoft":                 {preset("microsoft", tenant, client), ""},
		"microsoft in capitals":     {preset("microsoft", strings.ToUpper(tenant), client), ""},
		"microsoft's own users":     {preset("microsoft", "consumers", client), ""},
		"microsoft of any tenant":   {preset("microsoft", "common", client), "not the id of one tenant"},
		"microsoft by domain":       {preset("microsoft", "contoso.onmicrosoft.com", client), "not the id of one tenant"},

		"a rule by what users edit":   {Config{Preset: "supabase", Args: []string{"abc"}, When: []Condition{{"user_metadata.plan", []string{"pro"}}}}, `when: claim "user_metadata": users can change it themselves`},
		"a demand by what users edit": {Config{Preset: "clerk", Args: []string{"c.example.com"}, Require: []Condition{{"unsafe_metadata.plan", []string{"pro"}}}}, "users can change it"},
		"a subject that users edit":   {Config{Preset: "supabase", Args: []string{"abc"}, SubjectClaim: "user_metadata.name"}, `subject "user_metadata.name": users can change it`},
	} {
		t.Run(name, func(t *testing.T) {
			err := tt.cfg.Check()
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error is %v, want %q", err, tt.want)
			}
			if _, newErr := New(withLongSecret(tt.cfg)); (newErr == nil) != (err == nil) {
				t.Errorf("New says %v, and Check says %v", newErr, err)
			}
		})
	}
}

// withLongSecret replaces a placeholder by a secret, as the caller of New does.
func withLongSecret(cfg Config) Config {
	if cfg.Secret != "" {
		cfg.Secret = strings.Repeat("s", minSecret)
	}
	return cfg
}

func TestNew_RefusesShortSecret(t *testing.T) {
	_, err := New(Config{Issuer: issuer, Audience: []string{"app"}, Secret: "hunter2-hunter2-hunter2"})
	if err == nil || !strings.Contains(err.Error(), "fewer than 32 characters") || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("error is %v, want that the secret is short, without it", err)
	}
}

func TestConfig_SetArgs(t *testing.T) {
	for name, tt := range map[string]struct {
		args   []string
		preset string
		issuer string
		want   string // of the error; empty means none
	}{
		"a preset":              {[]string{"firebase", "p"}, "firebase", "", ""},
		"an issuer":             {[]string{issuer}, "", issuer, ""},
		"nothing":               {nil, "", "", "the provider is missing"},
		"an issuer with a word": {[]string{issuer, "app"}, "", "", "an issuer has no arguments"},
	} {
		t.Run(name, func(t *testing.T) {
			var cfg Config
			err := cfg.SetArgs(tt.args...)
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error is %v, want %q", err, tt.want)
			}
			if cfg.Preset != tt.preset || cfg.Issuer != tt.issuer {
				t.Errorf("preset %q and issuer %q, want %q and %q", cfg.Preset, cfg.Issuer, tt.preset, tt.issuer)
			}
		})
	}
}
