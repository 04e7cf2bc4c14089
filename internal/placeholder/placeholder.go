// Package placeholder reads the placeholders of a config: {env.NAME} and {file.PATH}.
package placeholder

import (
	"regexp"
	"strings"

	"github.com/caddyserver/caddy/v2"
)

var secret = regexp.MustCompile(`^\{(env|file)\.[^{}]+\}$`)

// Is reports whether a text is one placeholder and nothing else. Secrets are accepted
// in no other form, because a literal secret would show up in GET /config/, in the
// autosave and in `caddy adapt`.
func Is(text string) bool { return secret.MatchString(text) }

// Value returns the value of a placeholder, without surrounding spaces. It reports
// false for any other text.
func Value(text string) (value string, ok bool) {
	if !Is(text) {
		return "", false
	}
	value, _ = caddy.NewReplacer().GetString(text[1 : len(text)-1])
	return strings.TrimSpace(value), true
}

// Expand replaces the placeholders in a path of the config, such as {env.HOME}.
func Expand(path string) string { return caddy.NewReplacer().ReplaceAll(path, "") }
