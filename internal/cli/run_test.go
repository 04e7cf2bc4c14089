package cli

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/relayapi/caddy-relayapi/provider"
)

// site returns a config with a server that listens somewhere, and has a relay with a
// prefix for a host.
func site(listen, host, prefix, more string) string {
	match := ""
	if host != "" {
		match = fmt.Sprintf(`"match":[{"host":[%q]}],`, host)
	}
	return fmt.Sprintf(`{"listen":[%q],"routes":[{%s"handle":[{"handler":"subroute","routes":[
		{"handle":[{"handler":"relayapi_endpoint"}]},
		{"handle":[{"handler":"relayapi","prefix":%q},{"handler":"reverse_proxy"}]}]}]}]%s}`, listen, match, prefix, more)
}

func parseConfig(t *testing.T, servers ...string) *relayConfig {
	t.Helper()
	var named []string
	for i, s := range servers {
		named = append(named, fmt.Sprintf(`"srv%d":%s`, i, s))
	}
	config := new(relayConfig)
	if err := json.Unmarshal([]byte(`{"apps":{"http":{"servers":{`+strings.Join(named, ",")+`}}}}`), config); err != nil {
		t.Fatal(err)
	}
	return config
}

func TestRelayURL(t *testing.T) {
	const skip = `,"automatic_https":{"skip":["127.0.0.1"]}`
	plain := site(":443", "relay.example.com", "", "")
	prefixed := site(":443", "relay.example.com", "/api", "")
	for name, tc := range map[string]struct {
		flag, variable string
		servers        []string
		want           string // or part of an error
	}{
		"flag":                             {"https://a.example.com", "https://b.example.com", []string{plain}, "https://a.example.com"},
		"variable":                         {"", "https://b.example.com/", []string{plain}, "https://b.example.com"},
		"flag with a place":                {"https://a.example.com/x/{provider}", "", []string{prefixed}, "https://a.example.com/x/{provider}"},
		"flag gets the prefix":             {"https://a.example.com", "", []string{prefixed}, "https://a.example.com/api/{provider}"},
		"flag with a path":                 {"https://a.example.com/relay/", "", []string{prefixed}, "https://a.example.com/relay"},
		"flag, and sites differ":           {"https://a.example.com", "", []string{plain, prefixed}, "https://a.example.com"},
		"flag without a scheme":            {"relay.example.com", "", nil, `--relay "relay.example.com": must be a URL`},
		"flag with a password":             {"https://a:b@relay.example.com", "", nil, `must be a URL`},
		"variable of another scheme":       {"", "unix:///run/relay.sock", nil, `RELAYAPI_URL "unix:///run/relay.sock": must be a URL`},
		"nothing":                          {"", "", nil, "--relay is missing, and the relay's config does not have its URL"},
		"config":                           {"", "", []string{plain}, "https://relay.example.com"},
		"config with a prefix":             {"", "", []string{prefixed}, "https://relay.example.com/api/{provider}"},
		"config on another port":           {"", "", []string{site(":8443", "relay.example.com", "", "")}, "https://relay.example.com:8443"},
		"config over http":                 {"", "", []string{site(":8123", "127.0.0.1", "/api", skip)}, "http://127.0.0.1:8123/api/{provider}"},
		"config over http by its port":     {"", "", []string{site(":80", "relay.example.com", "", "")}, "http://relay.example.com"},
		"config without automatic https":   {"", "", []string{site(":8080", "relay.example.com", "", `,"automatic_https":{"disable":true}`)}, "http://relay.example.com:8080"},
		"config without a host":            {"", "", []string{site(":8080", "", "", "")}, "http://127.0.0.1:8080"},
		"config without a host, but TLS":   {"", "", []string{site(":8443", "", "", `,"tls_connection_policies":[{}]`)}, "https://127.0.0.1:8443"},
		"config at an address":             {"", "", []string{site("10.0.0.7:8080", "", "", "")}, "http://10.0.0.7:8080"},
		"config at an address of IPv6":     {"", "", []string{site("[::1]:8080", "", "", "")}, "http://[::1]:8080"},
		"config on every address":          {"", "", []string{site("0.0.0.0:8080", "", "", "")}, "http://127.0.0.1:8080"},
		"config with a wildcard":           {"", "", []string{site(":443", "*.example.com", "", "")}, "--relay is missing, and the relay's config does not have its URL"},
		"config on a socket":               {"", "", []string{site("unix//run/relay.sock", "", "", "")}, "--relay is missing, and the relay's config does not have its URL"},
		"config with several sites":        {"", "", []string{plain, site(":8080", "", "", "")}, "one of http://127.0.0.1:8080, https://relay.example.com"},
		"config with one site twice":       {"", "", []string{plain, plain}, "https://relay.example.com"},
		"config with a site of other kind": {"", "", []string{`{"listen":[":80"],"routes":[{"handle":[{"handler":"static_response"}]}]}`, plain}, "https://relay.example.com"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := relayURL(tc.flag, tc.variable, parseConfig(t, tc.servers...))
			if err == nil && got != tc.want || err != nil && (got != "" || !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("got %q, %v, want %q", got, err, tc.want)
			}
		})
	}
}

func TestKeyVariables_AreThoseOfTheConfig(t *testing.T) {
	config := new(relayConfig)
	err := json.Unmarshal([]byte(`{"apps":{"relayapi":{"providers":{
		"a":{"preset":"openai","api_keys":["{env.FIRST}","{env.SECOND}"]},
		"b":{"api_keys":["{$THIRD}","{$FOURTH:none}","{file.key}"]}}}}}`), config)
	if err != nil {
		t.Fatal(err)
	}
	got := config.keyVariables()
	slices.Sort(got)
	if want := []string{"FIRST", "FOURTH", "SECOND", "THIRD"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := config.preset("a")+" "+config.preset("b"), "openai b"; got != want {
		t.Errorf("presets are %q, want %q", got, want)
	}
}

func TestTargetEnv(t *testing.T) {
	of := func(name, preset string) target {
		return target{name: name, preset: preset, url: "https://r/" + name, token: "token-" + name}
	}
	for name, tc := range map[string]struct {
		targets []target
		want    string
	}{
		"openai": {[]target{of("openai", "openai")},
			"OPENAI_API_BASE=https://r/openai/v1 OPENAI_API_KEY=token-openai OPENAI_BASE_URL=https://r/openai/v1"},
		"anthropic": {[]target{of("anthropic", "anthropic")},
			"ANTHROPIC_API_KEY=token-anthropic ANTHROPIC_AUTH_TOKEN=token-anthropic ANTHROPIC_BASE_URL=https://r/anthropic"},
		"gemini": {[]target{of("gemini", "gemini")},
			"GEMINI_API_KEY=token-gemini GOOGLE_API_KEY=token-gemini GOOGLE_GEMINI_BASE_URL=https://r/gemini GOOGLE_GENERATIVE_AI_API_KEY=token-gemini"},
		"by another name": {[]target{of("demo", "openai")},
			"OPENAI_API_BASE=https://r/demo/v1 OPENAI_API_KEY=token-demo OPENAI_BASE_URL=https://r/demo/v1"},
		"compatible with OpenAI": {[]target{of("groq", "groq")},
			"GROQ_API_KEY=token-groq GROQ_BASE_URL=https://r/groq/v1 OPENAI_API_BASE=https://r/groq/v1 OPENAI_API_KEY=token-groq OPENAI_BASE_URL=https://r/groq/v1"},
		"compatible beside OpenAI": {[]target{of("groq", "groq"), of("openai", "openai")},
			"GROQ_API_KEY=token-groq GROQ_BASE_URL=https://r/groq/v1 OPENAI_API_BASE=https://r/openai/v1 OPENAI_API_KEY=token-openai OPENAI_BASE_URL=https://r/openai/v1"},
		"two that are compatible": {[]target{of("groq", "groq"), of("xai", "xai")},
			"GROQ_API_KEY=token-groq GROQ_BASE_URL=https://r/groq/v1 XAI_API_KEY=token-xai XAI_BASE_URL=https://r/xai/v1"},
		"another API": {[]target{of("replicate", "replicate")},
			"REPLICATE_API_TOKEN=token-replicate REPLICATE_BASE_URL=https://r/replicate"},
		"no preset": {[]target{of("my-api.v2", "my-api.v2")},
			"MY_API_V2_API_KEY=token-my-api.v2 MY_API_V2_BASE_URL=https://r/my-api.v2"},
	} {
		t.Run(name, func(t *testing.T) {
			got := childEnv("agent", nil, nil, tc.targets, nil)
			if want := strings.Fields(tc.want); !slices.Equal(got, want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		})
	}
}

func TestChildEnv_HasNoRealKey(t *testing.T) {
	const key = "sk-real-0123456789"
	var environ []string
	for _, preset := range provider.All() {
		if preset.Env != "" {
			environ = append(environ, preset.Env+"="+key+preset.Name)
		}
	}
	for _, name := range aliases {
		environ = append(environ, name+"="+key+"alias")
	}
	environ = append(environ, "ANTHROPIC_AUTH_TOKEN="+key, "GOOGLE_API_KEY="+key, "CONFIGURED="+key+"configured",
		"COPY="+key+"openai", "WITHIN=Authorization: Bearer "+key+"openai;", "OPENAI_BASE_URL=https://elsewhere.example.com",
		"PATH=/bin", "EMPTY=", "=C:=C:\\")

	targets := []target{{name: "openai", preset: "openai", url: "https://r", token: "the-token"}}
	got := childEnv("agent", environ, []string{"CONFIGURED"}, targets, nil)
	want := []string{"=C:=C:\\", "EMPTY=", "OPENAI_API_BASE=https://r/v1", "OPENAI_API_KEY=the-token", "OPENAI_BASE_URL=https://r/v1", "PATH=/bin"}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestChildEnv_OfClaudeCode(t *testing.T) {
	targets := []target{{name: "anthropic", preset: "anthropic", url: "https://r", token: "t1"}}
	got := childEnv("/usr/bin/claude", []string{"ANTHROPIC_API_KEY=sk-ant-real-key"}, nil, targets, nil)
	if want := []string{"ANTHROPIC_AUTH_TOKEN=t1", "ANTHROPIC_BASE_URL=https://r"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	given := map[string]func([]target) string{"ANTHROPIC_API_KEY": func([]target) string { return "given" }}
	got = childEnv("claude", nil, nil, targets, given)
	if want := "ANTHROPIC_API_KEY=given"; !slices.Contains(got, want) {
		t.Errorf("got %q, want it with %s", got, want)
	}
}

func TestParseEnv(t *testing.T) {
	one := []target{{name: "openai", url: "https://r/openai", token: "t1"}}
	two := append(slices.Clone(one), target{name: "my-api", url: "https://r/my-api", token: "t2"})
	for _, tc := range []struct {
		targets []target
		given   string
		want    string // NAME=value, or part of an error
	}{
		{one, "KEY={token}", "KEY=t1"},
		{one, "KEY={openai.token}", "KEY=t1"},
		{one, "URL={url}/v1", "URL=https://r/openai/v1"},
		{two, "BOTH={openai.token},{my-api.url}", "BOTH=t1,https://r/my-api"},
		{one, `JSON={"key":"{token}","n":{}}`, `JSON={"key":"t1","n":{}}`},
		{one, "EMPTY=", "EMPTY="},
		{one, "KEY", "must be NAME=value"},
		{one, "1KEY=x", "must be NAME=value"},
		{one, "=x", "must be NAME=value"},
		{two, "KEY={token}", "{token} names no provider of this run; must be one of {openai.token}, {openai.url}, {my-api.token}, {my-api.url}"},
		{one, "KEY={groq.url}", "{groq.url} names no provider of this run; must be one of {token}, {url}, {openai.token}, {openai.url}"},
	} {
		env, err := parseEnv([]string{tc.given}, tc.targets)
		got := ""
		for name, value := range env {
			got += name + "=" + value(tc.targets)
		}
		if err == nil && got != tc.want || err != nil && !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s got %q, %v, want %q", tc.given, got, err, tc.want)
		}
	}
}
