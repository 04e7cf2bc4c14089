package realkey

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/relayapi/caddy-relayapi/grant"
	"github.com/relayapi/caddy-relayapi/provider"
)

// Resolve returns the keys of placeholders, for a place. asUser means that a key is the
// user of HTTP Basic. resolve returns the value of a placeholder; it reports false for
// what is none. No error quotes a value, which might be a key in the wrong place.
func Resolve(refs []string, at provider.Placement, asUser bool, resolve func(ref string) (value string, ok bool)) ([]*Key, error) {
	keys := make([]*Key, 0, len(refs))
	for _, ref := range refs {
		value, ok := resolve(ref)
		switch {
		case !ok:
			return nil, errors.New("api_key must be a placeholder, {env.NAME} or {file.PATH}; the config would show a literal key, and {$NAME} becomes one")
		case value == "":
			return nil, fmt.Errorf("%s is not set or empty; set it, or write `api_key none` if tokens carry their keys", ref)
		case !grant.ValidAPIKey(value):
			return nil, fmt.Errorf("%s must be one word of printable ASCII", ref)
		case asUser && strings.Contains(value, ":"):
			return nil, fmt.Errorf("%s has a colon, which the user of HTTP Basic cannot have; write `credential basic <user>`", ref)
		}
		key := New(value, at, "the key of "+ref, true)
		if slices.ContainsFunc(keys, key.Equal) {
			return nil, fmt.Errorf("%s has the same key as another entry", ref)
		}
		keys = append(keys, key)
	}
	return keys, nil
}
