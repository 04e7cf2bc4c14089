package login

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// Condition requires a claim to have one of the given values.
type Condition struct {
	// The name of the claim. A dot selects a member of an object: `app_metadata.plan`
	// is the member `plan` of the claim `app_metadata`. A claim whose own name contains
	// the dots, such as a URL, takes precedence.
	Claim string `json:"claim"`

	// The accepted values; the claim must have one of them. The relay compares strings,
	// numbers and booleans as text. In a list, one matching element is enough. In
	// `scope` and `scp`, one matching word is enough.
	Values []string `json:"values"`
}

// check returns an error if the condition is invalid.
func (c *Condition) check() error {
	switch {
	case !validPath(c.Claim):
		return fmt.Errorf("claim %.100q: not the name of a claim; write one such as email_verified or app_metadata.plan", c.Claim)
	case len(c.Values) == 0:
		return fmt.Errorf("claim %q: has no values; name the values that it may have", c.Claim)
	case slices.Contains(c.Values, ""):
		return fmt.Errorf("claim %q: has an empty value; name the values that it may have", c.Claim)
	}
	return nil
}

// validPath reports whether a path can name a claim.
func validPath(path string) bool {
	return path != "" && len(path) <= maxKeyID && !strings.HasPrefix(path, ".") && !strings.HasSuffix(path, ".") &&
		!strings.ContainsFunc(path, func(r rune) bool { return r <= ' ' || r == 0x7f })
}

// fits reports whether the claims meet the condition.
func (c *Condition) fits(payload object) bool {
	value := payload.find(c.Claim)
	if value == nil {
		return false
	}

	for _, element := range elements(value) {
		text, ok := scalar(element)
		if !ok {
			continue
		}
		if slices.Contains(c.Values, text) {
			return true
		}
		if isScope(c.Claim) && slices.ContainsFunc(strings.Fields(text), func(word string) bool { return slices.Contains(c.Values, word) }) {
			return true
		}
	}
	return false
}

// isScope reports whether a claim is a list of words in one string (RFC 8693, section
// 4.2). Microsoft names it scp.
func isScope(claim string) bool { return claim == "scope" || claim == "scp" }

// scalar returns a string, a number or a boolean as text. Other values have none.
func scalar(value jsontext.Value) (text string, ok bool) {
	switch value.Kind() {
	case '"':
		return unquote(value)
	case '0', 't', 'f':
		return string(value), true
	}
	return "", false
}

// errEditable refuses claims that users set themselves.
var errEditable = errors.New("users can change it themselves, so it must not decide what they may do")
