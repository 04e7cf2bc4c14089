package price

import "strings"

// pattern matches names of models. "*" stands for any text, "#" for a digit, and
// "!text" at the end excludes names that contain the text.
//
// A star after a name does not extend a version: "claude-sonnet-5*" matches
// claude-sonnet-5-20260601 and not claude-sonnet-5-5, which is another model.
type pattern struct {
	pieces []string // between the stars
	not    string   // "" means nothing is excluded
}

// maxPattern is the longest pattern that a config may have.
const maxPattern = 256

func parsePattern(s string) pattern {
	s, not, _ := strings.Cut(strings.ToLower(s), "!")
	return pattern{pieces: strings.Split(s, "*"), not: not}
}

// exact reports whether p matches one name only.
func (p pattern) exact() bool {
	return len(p.pieces) == 1 && p.not == "" && !strings.Contains(p.pieces[0], "#")
}

// weight orders patterns that match the same name: the longest text wins.
func (p pattern) weight() int {
	n := len(p.not)
	for _, piece := range p.pieces {
		n += len(piece)
	}
	return n
}

// match reports whether p matches a name in lower case. The time is at most the
// product of both lengths.
func (p pattern) match(name string) bool {
	if p.not != "" && strings.Contains(name, p.not) {
		return false
	}

	first, last := p.pieces[0], p.pieces[len(p.pieces)-1]
	if !hasPrefix(name, first) {
		return false
	}
	rest := name[len(first):]
	if len(p.pieces) == 1 {
		return rest == ""
	}

	for _, piece := range p.pieces[1 : len(p.pieces)-1] {
		i := index(rest, piece)
		if i < 0 {
			return false
		}
		rest = rest[i+len(piece):]
	}
	if last == "" {
		return !extendsVersion(rest)
	}
	return len(rest) >= len(last) && hasPrefix(rest[len(rest)-len(last):], last)
}

// extendsVersion reports whether text after a name is a separator and one digit, as
// in "-5" and ".1-fast".
func extendsVersion(rest string) bool {
	return len(rest) >= 2 && (rest[0] == '-' || rest[0] == '.') && isDigit(rest[1]) &&
		(len(rest) == 2 || !isDigit(rest[2]))
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// hasPrefix is strings.HasPrefix with "#" in prefix for a digit.
func hasPrefix(s, prefix string) bool {
	if len(s) < len(prefix) {
		return false
	}
	for i := range len(prefix) {
		if prefix[i] != s[i] && !(prefix[i] == '#' && isDigit(s[i])) {
			return false
		}
	}
	return true
}

// index is strings.Index with "#" in piece for a digit.
func index(s, piece string) int {
	for i := 0; i+len(piece) <= len(s); i++ {
		if hasPrefix(s[i:], piece) {
			return i
		}
	}
	return -1
}
