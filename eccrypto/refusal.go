package eccrypto

import (
	"fmt"
	"strings"
)

// Refusal is why a token did not open.
type Refusal struct {
	// Rule names the broken rule, for example "enc A256CBC-HS512 not accepted". It
	// is fit for a log: it quotes at most a short name or value of a header, such as
	// an algorithm.
	Rule string
}

// Error returns the broken rule.
func (r *Refusal) Error() string { return "eccrypto: token refused: " + r.Rule }

func refuse(format string, args ...any) error {
	return &Refusal{Rule: fmt.Sprintf(format, args...)}
}

// within adds the part of the token that a refusal is about.
func within(part string, err error) error {
	if r, ok := err.(*Refusal); ok {
		return &Refusal{Rule: fmt.Sprintf("%s: %s", part, r.Rule)}
	}
	return err
}

// maxPrintable is the longest text in bytes that printable returns.
const maxPrintable = 40

// printable returns s if it is fit for a log: short, and with only characters that
// tokens and base64 have.
func printable(s string) string {
	if s == "" || len(s) > maxPrintable || strings.ContainsFunc(s, isOdd) {
		return "(unprintable)"
	}
	return s
}

// isOdd reports whether neither tokens nor base64 have r.
func isOdd(r rune) bool {
	return r > '~' || !inToken[r] && r != '+' && r != '/'
}
