package relayapi

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the golden files")

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

// Every refusal says where, and what to write instead.
func TestAdaptRefuses(t *testing.T) {
	global := func(lines string) string { return "{\n\trelayapi {\n" + lines + "\n\t}\n}\n:80 {\n\trelayapi\n}" }
	site := func(lines string) string { return ":80 {\n\trelayapi {\n" + lines + "\n\t}\n}" }
	demo := func(lines string) string { return global("provider demo http://127.0.0.1 {\n" + lines + "\n}") }
	for name, tc := range map[string]struct{ caddyfile, at, says string }{
		"unknown global line":           {global("vault x"), "Caddyfile:3", "must be one of store, private_key"},
		"an argument to the option":     {"{\n\trelayapi openai\n}\n:80", "Caddyfile:2", "in a block"},
		"two global blocks":             {"{\n\trelayapi {\n\t}\n\trelayapi {\n\t}\n}\n:80", "Caddyfile:4", "put both in one block"},
		"another store":                 {global("store redis"), "Caddyfile:3", "store sqlite"},
		"store twice":                   {global("store sqlite\nstore sqlite"), "Caddyfile:4", "given twice"},
		"max_ttl that is none":          {global("max_ttl long"), "Caddyfile:3", "30d"},
		"max_ttl of nothing":            {global("max_ttl 0s"), "Caddyfile:3", "a second or more"},
		"private_key without file":      {global("private_key"), "Caddyfile:3", "argument count"},
		"limit of requests":             {global("limit subject requests 20 per day"), "Caddyfile:3", "must be one of calls, tokens, usd"},
		"limit of half a token":         {global("limit subject tokens 0.5"), "Caddyfile:3", "must be a number"},
		"limit of negative dollars":     {global("limit subject usd -1 per day"), "Caddyfile:3", "must be a number"},
		"limit of too many dollars":     {global("limit subject usd 1000001 per day"), "Caddyfile:3", "from 0.000000001 to 1000000.00"},
		"limit of tokens twice":         {global("limit subject tokens 1 per day\nlimit subject tokens 2 per day"), "Caddyfile:4", "two limits for the same unit"},
		"price of nothing":              {global("price openai my-model"), "Caddyfile:3", "write `price <provider> <model>"},
		"price of an unknown kind":      {global("price openai my-model typing 1"), "Caddyfile:3", "typing"},
		"price twice":                   {global("price openai my-model input 1 input 2"), "Caddyfile:3", "twice"},
		"price without a number":        {global("price openai my-model input cheap"), "Caddyfile:3", "cheap"},
		"meter sometimes":               {global("meter sometimes"), "Caddyfile:3", "meter always"},
		"usd of an issuer twice":        {global("issuer b {\nusd 1\nusd 2\n}"), "Caddyfile:5", "twice"},
		"usd of an issuer in words":     {global("issuer b {\nusd one\n}"), "Caddyfile:4", "decimal"},
		"limit of nothing":              {global("limit subject calls 0"), "Caddyfile:3", "from 1 to"},
		"limit per week":                {global("limit subject calls 1 per week"), "Caddyfile:3", "must be one of day, month"},
		"limit per user":                {global("limit user calls 1"), "Caddyfile:3", "must be one of token, subject, issuer"},
		"limit of a token in all":       {global("limit token calls 1"), "Caddyfile:3", "limits.calls"},
		"max_ttl twice":                 {global("max_ttl 1h\nmax_ttl 2h"), "Caddyfile:4", "max_ttl is given twice"},
		"public_key twice":              {global("issuer b {\npublic_key a.pem\npublic_key b.pem\n}"), "Caddyfile:5", "given twice"},
		"calls of an issuer twice":      {global("issuer b {\ncalls 1\ncalls 2\n}"), "Caddyfile:5", "calls is given twice"},
		"dialect twice":                 {demo("dialect openai\ndialect gemini"), "Caddyfile:5", "given twice"},
		"a line of the site in global":  {global("prefix /api"), "Caddyfile:3", "relayapi directive of a site"},
		"a line of global in the site":  {site("provider openai"), "Caddyfile:3", "relayapi global option"},
		"two endpoints on one path":     {site("mint /x\ntoken_status /x"), "", "token_status and mint have the same path"},
		"endpoint on a default path":    {site("mint /health"), "", "health and mint have the same path"},
		"stream_timeout without a unit": {site("stream_timeout 30"), "Caddyfile:3", "such as 90s"},
		"stream_timeout before now":     {site("stream_timeout -1h"), "Caddyfile:3", "such as 90s"},
		"stream_close_delay twice":      {site("stream_close_delay 1s\nstream_close_delay 2s"), "Caddyfile:4", "given twice"},
		"limit twice":                   {global("limit subject calls 1 per day\nlimit subject calls 2 per day"), "Caddyfile:4", "each subject has two limits"},
		"rate_limit twice":              {global("rate_limit total 1 per hour\nrate_limit total 2 per hour"), "Caddyfile:4", "total per hour has two limits"},
		"rate_limit of nothing":         {global("rate_limit client 0 per minute"), "Caddyfile:3", "requests must be"},
		"rate_limit per year":           {global("rate_limit client 1 per year"), "Caddyfile:3", "must be one of second, minute, hour"},
		"rate_limit of nobody":          {global("rate_limit subject 1 per minute"), "Caddyfile:3", "must be one of client, total"},
		"rate_limit without per":        {global("rate_limit client 1"), "Caddyfile:3", "write `rate_limit"},
		"issuer without key":            {global("issuer b {\nproviders x\n}"), "Caddyfile:5", "public_key is missing"},
		"issuer relay with key":         {global("issuer relay {\npublic_key x\n}"), "Caddyfile:5", "makes its own key"},
		"issuer with a literal secret":  {global("issuer b {\nsecret sk-literal-0123456789\n}"), "Caddyfile:4", "{env.NAME} or {file.PATH}"},
		"a secret of two words":         {global("issuer b {\nsecret {env.X} sk-literal-0123456789\n}"), "Caddyfile:4", "argument count"},
		"a secret within a text":        {global("issuer b {\nsecret sk-literal-{env.X}\n}"), "Caddyfile:4", "{env.NAME} or {file.PATH}"},
		"secret twice":                  {global("issuer b {\nsecret {env.X}\nsecret {env.Y}\n}"), "Caddyfile:5", "given twice"},
		"issuer with secret and key":    {global("issuer b {\nsecret {env.X}\npublic_key x\n}"), "Caddyfile:6", "remove one"},
		"issuer relay with secret":      {global("issuer relay {\nsecret {env.X}\n}"), "Caddyfile:5", "admin endpoint"},
		"a ceiling of nothing":          {global("issuer relay {\ncalls 0\n}"), "Caddyfile:4", "calls must be from 1"},
		"a ceiling that is no number":   {global("issuer relay {\nrpm many\n}"), "Caddyfile:4", "must be a number"},
		"a model with two stars":        {global("issuer relay {\nmodels gpt-**\n}"), "Caddyfile:4", "the name of a model"},
		"an address that is none":       {global("issuer relay {\nips here\n}"), "Caddyfile:4", "neither an address"},
		"an origin with a path":         {global("issuer relay {\norigins https://a.example/x\n}"), "Caddyfile:4", "as browsers send it"},
		"a method in small letters":     {global("issuer relay {\nmethods post\n}"), "Caddyfile:4", "in capitals"},
		"an issuer's path without /":    {global("issuer relay {\npaths v1\n}"), "Caddyfile:4", "does not start with a slash"},
		"unknown issuer line":           {global("issuer b {\nkey x\n}"), "Caddyfile:4", "must be one of calls, carried_keys"},
		"issuer twice":                  {global("issuer relay\nissuer relay"), "Caddyfile:4", "given twice"},
		"issuer with a slash":           {global("issuer a/b"), "Caddyfile:3", "letters, digits"},
		"provider twice":                {global("provider openai\nprovider openai"), "Caddyfile:4", "given twice"},
		"provider that is mistyped":     {global("provider opena"), "Caddyfile:3", "did you mean openai"},
		"provider that is unknown":      {global("provider zzz https://zzz.example"), "Caddyfile:3", "credential header"},
		"preset that is mistyped":       {global("provider x {\npreset antropic\n}"), "Caddyfile:5", "did you mean anthropic"},
		"preset without its account":    {global("provider az {\npreset azure-openai\n}"), "Caddyfile:4", "takes 1 arguments: resource"},
		"base URL without scheme":       {global("provider openai 127.0.0.1:9000"), "Caddyfile:3", "starts with https:// or http://"},
		"a literal key":                 {demo("api_key sk-literal-0123456789"), "Caddyfile:4", "{env.NAME} or {file.PATH}"},
		"a key and none":                {demo("api_key none\napi_key sk-literal-0123"), "Caddyfile:5", "either none or keys"},
		"a key for a base URL":          {global("provider other sk-literal-0123"), "Caddyfile:3", "starts with https://"},
		"a key after the base URL":      {global("provider other https://x.example sk-literal-0123"), "Caddyfile:3", "in the block"},
		"credential of another kind":    {demo("credential cookie x"), "Caddyfile:4", "credential header <name>"},
		"credential basic of three":     {demo("credential basic a b"), "Caddyfile:4", "basic [<user>]"},
		"credential without a place":    {demo("credential"), "Caddyfile:4", "basic [<user>]"},
		"credential query and prefix":   {demo("credential query a Bearer"), "Caddyfile:4", "credential query <name>"},
		"credential of a user: key":     {demo("credential basic api:sk-literal-0123"), "Caddyfile:4", "without spaces and colons"},
		"credential header and colon":   {demo("credential header X-Key:"), "Caddyfile:4", "without a colon"},
		"credential twice":              {demo("credential header x\ncredential query y"), "Caddyfile:5", "given twice"},
		"path without slash":            {demo("paths v1/x"), "Caddyfile:4", "does not start with a slash"},
		"path with dots":                {demo("paths /v1/../x"), "Caddyfile:4", "dot segment"},
		"unknown provider line":         {demo("model x"), "Caddyfile:4", "must be one of preset, api_key"},
		"an upstream":                   {":80 {\n\trelayapi localhost:9000\n}", "Caddyfile:2", "named in the relayapi global option"},
		"to":                            {site("to localhost:9000"), "Caddyfile:3", "provider <name> <base-url>"},
		"dynamic":                       {site("dynamic a"), "Caddyfile:3", "decides where"},
		"method":                        {site("method GET"), "Caddyfile:3", "not for a relay"},
		"rewrite":                       {site("rewrite /x"), "Caddyfile:3", "prefix"},
		"lb_retries":                    {site("lb_retries 2"), "Caddyfile:3", "once"},
		"lb_policy":                     {site("lb_policy first"), "Caddyfile:3", "once"},
		"health_uri":                    {site("health_uri /x"), "Caddyfile:3", "spend calls"},
		"fastcgi transport":             {site("transport fastcgi"), "Caddyfile:3", "must be http"},
		"tls_server_name":               {site("transport http {\ntls_server_name x\n}"), "", "leave it out"},
		"proxy_protocol":                {site("transport http {\nproxy_protocol v2\n}"), "", "leave it out"},
		"prefix without slash":          {site("prefix api"), "Caddyfile:3", "starts with a slash"},
		"prefix with a star":            {site("prefix /api/*"), "Caddyfile:3", "plain path"},
		"prefix of nothing":             {site("prefix /"), "Caddyfile:3", "leave it out"},
		"prefix twice":                  {site("prefix /a\nprefix /b"), "Caddyfile:4", "given twice"},
		"prefix and a path":             {":80 {\n\trelayapi /x/* {\n\t\tprefix /api\n\t}\n}", "Caddyfile:4", "prefix is a path matcher"},
		"health without path":           {site("health"), "Caddyfile:3", "argument count"},
		"mint without path":             {site("mint"), "Caddyfile:3", "argument count"},
		"mint without slash":            {site("mint tokens"), "Caddyfile:3", "starts with a slash"},
		"mint twice":                    {site("mint /a\nmint /b"), "Caddyfile:4", "given twice"},
		"token_status with a star":      {site("token_status /t/*"), "Caddyfile:3", "plain path"},
		"log_requests with an argument": {site("log_requests all"), "Caddyfile:3", "argument count"},
		"a line of nobody's":            {site("frobnicate"), "Caddyfile:3", "unrecognized subdirective frobnicate"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := adapt(tc.caddyfile)
			if err == nil {
				t.Fatal("adapts")
			}
			if !strings.Contains(err.Error(), tc.says) || !strings.Contains(err.Error(), tc.at) {
				t.Errorf("says %q, want %q at %s", err, tc.says, tc.at)
			}
			if strings.Contains(err.Error(), "sk-literal") {
				t.Error("quotes the key")
			}
		})
	}
}
