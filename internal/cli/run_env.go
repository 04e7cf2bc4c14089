package cli

import (
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/relayapi/caddy-relayapi/provider"
)

// target is a provider that the command may call through the relay.
type target struct {
	name   string // in the relay's config
	preset string // empty or unknown for a custom provider
	url    string // base URL of the relay for this provider, without a slash at its end
	token  string
}

// variables are the environment variables that tools of a provider read.
type variables struct {
	keys []string
	urls []string
	path string // path that the tools expect after the preset's URL
}

// known are the variables of the presets whose tools read several keys, or name the URL
// in their own way. The sources are:
//
//   - https://github.com/openai/openai-python#configuring-the-http-client has
//     OPENAI_BASE_URL, and https://aider.chat/docs/llms/openai-compat.html OPENAI_API_BASE
//   - https://code.claude.com/docs/en/env-vars has ANTHROPIC_*
//   - https://github.com/googleapis/js-genai has GOOGLE_API_KEY and GEMINI_API_KEY, and
//     https://ai-sdk.dev/providers/ai-sdk-providers/google-generative-ai the last key
//   - https://docs.aws.amazon.com/sdkref/latest/guide/feature-ss-endpoints.html has
//     AWS_ENDPOINT_URL_BEDROCK_RUNTIME
//   - https://github.com/openai/openai-python#microsoft-azure-openai has AZURE_OPENAI_ENDPOINT
var known = map[string]variables{
	"openai":       {[]string{"OPENAI_API_KEY"}, []string{"OPENAI_BASE_URL", "OPENAI_API_BASE"}, "/v1"},
	"anthropic":    {[]string{"ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"}, []string{"ANTHROPIC_BASE_URL"}, ""},
	"gemini":       {[]string{"GEMINI_API_KEY", "GOOGLE_API_KEY", "GOOGLE_GENERATIVE_AI_API_KEY"}, []string{"GOOGLE_GEMINI_BASE_URL"}, ""},
	"azure-openai": {[]string{"AZURE_OPENAI_API_KEY"}, []string{"AZURE_OPENAI_ENDPOINT"}, ""},
	"bedrock":      {[]string{"AWS_BEARER_TOKEN_BEDROCK"}, []string{"AWS_ENDPOINT_URL_BEDROCK_RUNTIME"}, ""},
}

// aliases are further variables that may hold a real key, besides those of the presets.
var aliases = []string{
	"ANTHROPIC_CUSTOM_HEADERS", "AZURE_API_KEY", "CLAUDE_CODE_OAUTH_TOKEN", "CODEX_API_KEY", "CODEX_ACCESS_TOKEN",
	"COHERE_API_KEY", "FIREWORKS_AI_API_KEY", "HUGGINGFACE_API_KEY", "HUGGING_FACE_HUB_TOKEN", "OPENAI_ADMIN_KEY",
	"TOGETHERAI_API_KEY", "TOGETHER_AI_API_KEY",
}

// omitted maps a command to the variable that it does not get. Claude Code warns of a
// conflict if both are set (https://code.claude.com/docs/en/llm-gateway-connect).
var omitted = map[string]string{"claude": "ANTHROPIC_API_KEY"}

// nameEnds are the suffixes of key variables that _BASE_URL replaces.
var nameEnds = []string{"_API_KEY", "_API_TOKEN", "_API_SECRET", "_ACCESS_TOKEN", "_AUTH_KEY", "_TOKEN", "_KEY"}

var notInNames = regexp.MustCompile(`[^A-Z0-9]+`)

// variablesOf returns the variables of a target.
func variablesOf(t target) variables {
	if v, ok := known[t.preset]; ok {
		return v
	}
	preset, _ := provider.Lookup(t.preset)
	key := preset.Env
	if key == "" {
		key = notInNames.ReplaceAllString(strings.ToUpper(t.name), "_") + "_API_KEY"
	}

	stem := key
	for _, end := range nameEnds {
		if s, ok := strings.CutSuffix(key, end); ok {
			stem = s
			break
		}
	}
	v := variables{keys: []string{key}, urls: []string{stem + "_BASE_URL"}}
	if isOpenAI(t) {
		v.path = "/v1" // as in the base URLs of OpenAI's SDKs
	}
	return v
}

// isOpenAI reports whether OpenAI's SDKs can call a target.
func isOpenAI(t target) bool {
	preset, ok := provider.Lookup(t.preset)
	return ok && slices.ContainsFunc(preset.Routes, func(route string) bool {
		return strings.HasSuffix(route, " /v1/chat/completions") || strings.HasSuffix(route, " /v1/*")
	})
}

// targetEnv returns the variables with the tokens and URLs of the targets.
func targetEnv(targets []target) map[string]string {
	env := make(map[string]string)
	set := func(v variables, t target) {
		for _, name := range v.keys {
			env[name] = t.token
		}
		for _, name := range v.urls {
			env[name] = t.url + v.path
		}
	}

	var compatible []target
	for _, t := range targets {
		set(variablesOf(t), t)
		if isOpenAI(t) {
			compatible = append(compatible, t)
		}
	}
	// Tools for OpenAI-compatible APIs read OpenAI's variables. A single such provider
	// gets these too, whatever its name.
	if _, taken := env["OPENAI_API_KEY"]; !taken && len(compatible) == 1 {
		set(known["openai"], compatible[0])
	}
	return env
}

// secretSize is the shortest value that counts as a secret wherever it appears.
const secretSize = 12

// keyNames returns the variables that may hold real keys: those of all presets, their
// aliases, and those that the relay's config reads.
func keyNames(configured []string) map[string]bool {
	names := make(map[string]bool)
	for _, preset := range provider.All() {
		names[preset.Env] = true
	}
	for _, v := range known {
		for _, name := range v.keys {
			names[name] = true
		}
	}
	for _, name := range slices.Concat(aliases, configured) {
		names[name] = true
	}
	delete(names, "")
	return names
}

// childEnv returns the environment of the command: this process's, minus variables that
// hold a real key under any name, plus the variables of the targets.
func childEnv(command string, environ, configured []string, targets []target, extra map[string]func([]target) string) []string {
	secretNames := keyNames(configured)
	var secrets []string
	for _, pair := range environ {
		if name, value, _ := strings.Cut(pair, "="); secretNames[name] && len(value) >= secretSize {
			secrets = append(secrets, value)
		}
	}

	set := targetEnv(targets)
	delete(set, omitted[filepath.Base(command)])
	for name, value := range extra {
		set[name] = value(targets)
	}
	var env []string
	for _, pair := range environ {
		name, value, _ := strings.Cut(pair, "=")
		_, replaced := set[name]
		holds := func(secret string) bool { return strings.Contains(value, secret) }
		if !replaced && !secretNames[name] && !slices.ContainsFunc(secrets, holds) {
			env = append(env, pair)
		}
	}
	for name, value := range set {
		env = append(env, name+"="+value)
	}
	slices.Sort(env)
	return env
}

var (
	variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	runPlace     = regexp.MustCompile(`\{(?:([A-Za-z0-9._-]+)\.)?(token|url)\}`)
)

// parseEnv parses NAME=value. {token} and {url} stand for those of the only target, and
// {openai.token} for that of one of several. The returned functions compute the values
// once the tokens exist.
func parseEnv(given []string, targets []target) (map[string]func([]target) string, error) {
	env := make(map[string]func([]target) string)
	for _, pair := range given {
		name, value, ok := strings.Cut(pair, "=")
		if !ok || !variableName.MatchString(name) {
			return nil, fmt.Errorf("--env: must be NAME=value, such as LLM_KEY={token}") // quotes nothing, because it may be a secret
		}
		for _, place := range runPlace.FindAllStringSubmatch(value, -1) {
			if targetNamed(targets, place[1]) < 0 {
				return nil, fmt.Errorf("--env %s: %s names no provider of this run; must be one of %s", name, place[0], places(targets))
			}
		}
		env[name] = func(targets []target) string {
			return runPlace.ReplaceAllStringFunc(value, func(s string) string {
				place := runPlace.FindStringSubmatch(s)
				t := targets[targetNamed(targets, place[1])]
				if place[2] == "url" {
					return t.url
				}
				return t.token
			})
		}
	}
	return env, nil
}

// targetNamed returns the index of a target, or of the only one if the name is empty;
// -1 means that there is none.
func targetNamed(targets []target, name string) int {
	if name == "" && len(targets) == 1 {
		return 0
	}
	return slices.IndexFunc(targets, func(t target) bool { return t.name == name })
}

// places returns the placeholders for tokens and URLs in --env.
func places(targets []target) string {
	var all []string
	if len(targets) == 1 {
		all = append(all, "{token}", "{url}")
	}
	for _, t := range targets {
		all = append(all, "{"+t.name+".token}", "{"+t.name+".url}")
	}
	return strings.Join(all, ", ")
}
