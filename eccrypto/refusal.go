package eccrypto

import (
	"fmt"
	"strings"
)

// Refusal is why a token did not open.
type Refusal struct {
	// Rule names the rule that the token breaks, for example "enc A256CBC-HS512
	// not accepted". It is meant for a log: of the token it contains at most a
	// short header value or name, such as that of an algorithm.
	Rule string
}

// Error returns the rule that the token breaks.
func (r *Refusal) Error() string { return "eccrypto: token refused: " + r.Rule }

func refuse(format string, args ...any) error {
	return &Refusal{Rule: fmt.Sprintf(format, args...)}
}

// within names the part of the token that a refusal is about.
func within(part string, err error) error {
	if r, ok := err.(*Refusal); ok {
		return &Refusal{Rule: fmt.Sprintf("%s: %s", part, r.Rule)}
	}
	return err
}

const maxPrintable = 40 // bytes

// printable returns s if it is fit for a log: short, and of characters that
// neither break a line nor look like something else.
func printable(s string) string {
	if s == "" || len(s) > maxPrintable || strings.ContainsFunc(s, isOdd) {
		return "(unprintable)"
	}
	return s
}

func isOdd(r rune) bool {
	return r > '~' || !inToken[r] && r != '+' && r != '/'
}
