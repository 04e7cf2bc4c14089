package relayapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Each file in testdata/adapt has a Caddyfile, a line of dashes, and the JSON
// that it adapts to.
func TestAdapt(t *testing.T) {
	files, err := filepath.Glob("testdata/adapt/*.caddyfiletest")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".caddyfiletest"), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			caddyfile, want, _ := strings.Cut(string(data), "\n----------\n")
			config, err := adapt(caddyfile)
			if err != nil {
				t.Fatal(err)
			}
			var got bytes.Buffer
			if err := json.Indent(&got, config, "", "\t"); err != nil {
				t.Fatal(err)
			}
			if *update {
				if err := os.WriteFile(file, []byte(caddyfile+"\n----------\n"+got.String()+"\n"), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got.String() != strings.TrimSpace(want) {
				t.Errorf("adapts to\n%s", got.String())
			}
		})
	}
}

// Every refusal names what is wrong, and where.
func TestAdaptRefuses(t *testing.T) {
	wording := newGolden(t, "adapt/errors.golden")
	global := func(lines string) string { return "{\n\trelayapi {\n" + lines + "\n\t}\n}\n:80 {\n\trelayapi\n}" }
	site := func(lines string) string { return ":80 {\n\trelayapi {\n" + lines + "\n\t}\n}" }
	demo := func(lines string) string { return global("provider demo http://127.0.0.1 {\n" + lines + "\n}") }
	for name, tc := range map[string]struct {
		caddyfile string
		line      int
		about     string // is named
	}{
		"unknown global line":           {global("vault x"), 3, "vault"},
		"an argument to the option":     {"{\n\trelayapi openai\n}\n:80", 2, "openai"},
		"two global blocks":             {"{\n\trelayapi {\n\t}\n\trelayapi {\n\t}\n}\n:80", 4, "relayapi"},
		"another store":                 {global("store redis"), 3, "redis"},
		"store twice":                   {global("store sqlite\nstore sqlite"), 4, "store"},
		"max_ttl that is none":          {global("max_ttl long"), 3, "long"},
		"max_ttl of nothing":            {global("max_ttl 0s"), 3, "0s"},
		"private_key without file":      {global("private_key"), 3, "private_key"},
		"limit of requests":             {global("limit subject requests 20 per day"), 3, "requests"},
		"limit of half a token":         {global("limit subject tokens 0.5"), 3, `tokens "0.5"`},
		"limit of negative dollars":     {global("limit subject usd -1 per day"), 3, `usd "-1"`},
		"limit of too many dollars":     {global("limit subject usd 1000001 per day"), 3, "usd"},
		"limit of tokens twice":         {global("limit subject tokens 1 per day\nlimit subject tokens 2 per day"), 4, "limit"},
		"price of nothing":              {global("price openai my-model"), 3, "price"},
		"price of an unknown kind":      {global("price openai my-model typing 1"), 3, "typing"},
		"price twice":                   {global("price openai my-model input 1 input 2"), 3, "input"},
		"price without a number":        {global("price openai my-model input cheap"), 3, "cheap"},
		"meter sometimes":               {global("meter sometimes"), 3, "meter"},
		"usd of an issuer twice":        {global("issuer b {\nusd 1\nusd 2\n}"), 5, "usd"},
		"usd of an issuer in words":     {global("issuer b {\nusd one\n}"), 4, `usd "one"`},
		"limit of nothing":              {global("limit subject calls 0"), 3, "limit"},
		"limit per week":                {global("limit subject calls 1 per week"), 3, `per "week"`},
		"limit per user":                {global("limit user calls 1"), 3, `scope "user"`},
		"limit of a token in all":       {global("limit token calls 1"), 3, "limits.calls"},
		"max_ttl twice":                 {global("max_ttl 1h\nmax_ttl 2h"), 4, "max_ttl"},
		"public_key twice":              {global("issuer b {\npublic_key a.pem\npublic_key b.pem\n}"), 5, "public_key"},
		"calls of an issuer twice":      {global("issuer b {\ncalls 1\ncalls 2\n}"), 5, "calls"},
		"dialect twice":                 {demo("dialect openai\ndialect gemini"), 5, "dialect"},
		"a line of the site in global":  {global("prefix /api"), 3, "prefix"},
		"a line of global in the site":  {site("provider openai"), 3, "provider"},
		"notify without a URL":          {global("notify"), 3, "notify <url>"},
		"notify without a secret":       {global("notify https://ops.example.com"), 3, "notify: secret"},
		"notify with a literal secret":  {global("notify https://ops.example.com {\nsecret whsec_sk-literal-0123456789\n}"), 4, "secret"},
		"notify in plain text":          {global("notify http://ops.example.com/hook {\nsecret {env.X}\n}"), 5, `"ops.example.com"`},
		"notify with a password":        {global("notify https://a:sk-literal-0123@ops.example.com {\nsecret {env.X}\n}"), 5, `"ops.example.com"`},
		"notify without a scheme":       {global("notify ops.example.com {\nsecret {env.X}\n}"), 5, "notify"},
		"notify twice":                  {global("notify {env.HOOK} {\nsecret {env.X}\n}\nnotify {env.HOOK} {\nsecret {env.X}\n}"), 6, "notify"},
		"unknown notify line":           {global("notify https://ops.example.com {\nretry 3\n}"), 4, "retry"},
		"two endpoints on one path":     {site("mint /x\ntoken_status /x"), 5, "token_status and mint"},
		"endpoint on a default path":    {site("mint /health"), 4, "health and mint"},
		"stream_timeout without a unit": {site("stream_timeout 30"), 3, `stream_timeout "30"`},
		"stream_timeout before now":     {site("stream_timeout -1h"), 3, `stream_timeout "-1h"`},
		"stream_close_delay twice":      {site("stream_close_delay 1s\nstream_close_delay 2s"), 4, "stream_close_delay"},
		"limit twice":                   {global("limit subject calls 1 per day\nlimit subject calls 2 per day"), 4, "subject"},
		"rate_limit twice":              {global("rate_limit total 1 per hour\nrate_limit total 2 per hour"), 4, "total per hour"},
		"rate_limit of nothing":         {global("rate_limit client 0 per minute"), 3, "rate_limit"},
		"rate_limit per year":           {global("rate_limit client 1 per year"), 3, `per "year"`},
		"rate_limit of nobody":          {global("rate_limit subject 1 per minute"), 3, `scope "subject"`},
		"rate_limit without per":        {global("rate_limit client 1"), 3, "rate_limit"},
		"issuer without key":            {global("issuer b {\nproviders x\n}"), 5, "issuer b: public_key"},
		"issuer relay with key":         {global("issuer relay {\npublic_key x\n}"), 5, "public_key"},
		"issuer with a literal secret":  {global("issuer b {\nsecret sk-literal-0123456789\n}"), 4, "secret"},
		"a secret of two words":         {global("issuer b {\nsecret {env.X} sk-literal-0123456789\n}"), 4, "{env.X}"},
		"a secret within a text":        {global("issuer b {\nsecret sk-literal-{env.X}\n}"), 4, "secret"},
		"secret twice":                  {global("issuer b {\nsecret {env.X}\nsecret {env.Y}\n}"), 5, "secret"},
		"issuer with secret and key":    {global("issuer b {\nsecret {env.X}\npublic_key x\n}"), 6, "issuer b"},
		"issuer relay with secret":      {global("issuer relay {\nsecret {env.X}\n}"), 5, "secret"},
		"a ceiling of nothing":          {global("issuer relay {\ncalls 0\n}"), 4, "calls"},
		"a ceiling that is no number":   {global("issuer relay {\nrpm many\n}"), 4, `"many"`},
		"a model with two stars":        {global("issuer relay {\nmodels gpt-**\n}"), 4, `models: "gpt-**"`},
		"an address that is none":       {global("issuer relay {\nips here\n}"), 4, `ips: "here"`},
		"an origin with a path":         {global("issuer relay {\norigins https://a.example/x\n}"), 4, `origins: "https://a.example/x"`},
		"a method in small letters":     {global("issuer relay {\nmethods post\n}"), 4, `methods: "post"`},
		"an issuer's path without /":    {global("issuer relay {\npaths v1\n}"), 4, `"v1"`},
		"unknown issuer line":           {global("issuer b {\nkey x\n}"), 4, "subdirective key"},
		"issuer twice":                  {global("issuer relay\nissuer relay"), 4, "issuer relay"},
		"issuer with a slash":           {global("issuer a/b"), 3, `issuer "a/b"`},
		"provider twice":                {global("provider openai\nprovider openai"), 4, "provider openai"},
		"provider that is mistyped":     {global("provider opena"), 3, "openai or openai-compatible"},
		"provider that is unknown":      {global("provider zzz https://zzz.example"), 3, `"zzz"`},
		"preset that is mistyped":       {global("provider x {\npreset antropic\n}"), 5, "did you mean anthropic"},
		"preset without its account":    {global("provider az {\npreset azure-openai\n}"), 4, "preset azure-openai"},
		"base URL without scheme":       {global("provider openai 127.0.0.1:9000"), 3, "provider openai"},
		"a literal key":                 {demo("api_key sk-literal-0123456789"), 4, "api_key"},
		"a key and none":                {demo("api_key none\napi_key sk-literal-0123"), 5, "api_key"},
		"a key for a base URL":          {global("provider other sk-literal-0123"), 3, "provider other"},
		"a key after the base URL":      {global("provider other https://x.example sk-literal-0123"), 3, "provider other"},
		"credential of another kind":    {demo("credential cookie x"), 4, "credential"},
		"credential basic of three":     {demo("credential basic a b"), 4, "credential"},
		"credential without a place":    {demo("credential"), 4, "credential"},
		"credential query and prefix":   {demo("credential query a Bearer"), 4, "credential"},
		"credential of a user: key":     {demo("credential basic api:sk-literal-0123"), 4, "credential basic"},
		"credential header and colon":   {demo("credential header X-Key:"), 4, "credential"},
		"credential aws of two":         {demo("credential aws a b"), 4, "credential aws"},
		"credential entra of one":       {demo("credential entra tenant"), 4, "credential entra"},
		"credential with a literal key": {demo("credential aws {\naccess_key {env.ID} " + realKey + "\n}"), 5, "access_key"},
		"credential with one key":       {demo("credential aws {\naccess_key {env.ID}\n}"), 6, "access_key"},
		"credential with two secrets":   {demo("credential entra t c {\nclient_secret {env.A} {env.B}\n}"), 6, "client_secret"},
		"credential with a secret only": {demo("credential entra {\nclient_secret {env.A}\n}"), 6, "client_secret"},
		"credential with another line":  {demo("credential google {\nregion x\n}"), 5, "region"},
		"credential: region twice":      {demo("credential aws {\nregion x\nregion y\n}"), 6, "region"},
		"credential twice":              {demo("credential header x\ncredential query y"), 5, "credential"},
		"path without slash":            {demo("paths v1/x"), 4, `"v1/x"`},
		"path with dots":                {demo("paths /v1/../x"), 4, `"/v1/../x"`},
		"unknown provider line":         {demo("model x"), 4, "subdirective model"},
		"an upstream":                   {":80 {\n\trelayapi localhost:9000\n}", 2, `"localhost:9000"`},
		"to":                            {site("to localhost:9000"), 3, "to is"},
		"dynamic":                       {site("dynamic a"), 3, "dynamic"},
		"method":                        {site("method GET"), 3, "method"},
		"rewrite":                       {site("rewrite /x"), 3, "rewrite"},
		"lb_retries":                    {site("lb_retries 2"), 3, "lb_retries"},
		"lb_policy":                     {site("lb_policy first"), 3, "lb_policy"},
		"health_uri":                    {site("health_uri /x"), 3, "health_uri"},
		"fastcgi transport":             {site("transport fastcgi"), 3, "transport fastcgi"},
		"tls_server_name":               {site("transport http {\ntls_server_name x\n}"), 5, "tls_server_name"},
		"proxy_protocol":                {site("transport http {\nproxy_protocol v2\n}"), 5, "proxy_protocol"},
		"prefix without slash":          {site("prefix api"), 3, `prefix "api"`},
		"prefix with a star":            {site("prefix /api/*"), 3, `prefix "/api/*"`},
		"prefix of nothing":             {site("prefix /"), 3, "prefix /"},
		"prefix twice":                  {site("prefix /a\nprefix /b"), 4, "prefix"},
		"prefix and a path":             {":80 {\n\trelayapi /x/* {\n\t\tprefix /api\n\t}\n}", 4, "prefix"},
		"health without path":           {site("health"), 3, "'health'"},
		"mint without path":             {site("mint"), 3, "'mint'"},
		"mint without slash":            {site("mint tokens"), 3, `mint "tokens"`},
		"mint twice":                    {site("mint /a\nmint /b"), 4, "mint"},
		"token_status with a star":      {site("token_status /t/*"), 3, `token_status "/t/*"`},
		"log_requests with an argument": {site("log_requests all"), 3, "'all'"},
		"a line of nobody's":            {site("frobnicate"), 3, "frobnicate"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := adapt(tc.caddyfile)
			if err == nil {
				t.Fatal("adapts")
			}
			message := strings.TrimPrefix(err.Error(), "parsing caddyfile tokens for 'relayapi': ")
			wording.says(name, message)
			if at := fmt.Sprintf(", at Caddyfile:%d", tc.line); !strings.Contains(message, tc.about) || !strings.HasSuffix(message, at) {
				t.Errorf("says %q, want a message about %q%s", message, tc.about, at)
			}
			if strings.Contains(err.Error(), "sk-literal") {
				t.Error("quotes the key")
			}
		})
	}
}
