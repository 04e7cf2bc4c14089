package realkey

import (
	"bytes"
	"strconv"
	"strings"
)

// places are where the bytes of a text and its end were. nil means where they are.
type places []int

func (p places) of(i int) int {
	if p == nil {
		return i
	}
	return p[i]
}

// plainText undoes the escapings that a client would undo, however often they
// were applied: those of URLs, of JSON and of HTML, and the zeros of UTF-16. It
// returns the text, and where each of its bytes and its end were.
func plainText(text []byte) (plain []byte, at places) {
	if !bytes.ContainsAny(text, "%\\&\x00") {
		return text, nil
	}
	plain, at = make([]byte, 0, len(text)), make([]int, 0, len(text)+1)
	for i := 0; i < len(text); {
		c, width := unescape(text[i:])
		if width > 0 {
			plain, at = append(plain, c), append(at, i)
		}
		i += max(1, width)
	}
	return plain, append(at, len(text))
}

// unescape reads one character, and returns how many stand for it; 0 means that
// the first one is to be passed over.
func unescape(text []byte) (c byte, width int) {
	switch text[0] {
	case 0: // of UTF-16
		return 0, 0
	case '%':
		digits := 1
		for len(text) >= digits+2 && text[digits] == '2' && text[digits+1] == '5' { // an escaped percent sign
			digits += 2
		}
		if c, ok := unhex(text, digits, 2); ok {
			return c, digits + 2
		}
	case '\\':
		mark := 1
		for mark < len(text) && text[mark] == '\\' {
			mark++
		}
		switch {
		case mark == len(text):
			return 0, 0
		case text[mark] == 'u' || text[mark] == 'x':
			size := map[byte]int{'u': 4, 'x': 2}[text[mark]]
			if c, ok := unhex(text, mark+1, size); ok {
				return c, mark + 1 + size
			}
		}
		return text[mark], mark + 1
	case '&':
		return entity(text)
	}
	return text[0], 1
}

// isCut reports whether a text, which begins with the mark of an escape, ends
// before the escape does.
func isCut(text []byte) bool {
	rest := strings.TrimLeft(string(text[:min(len(text), 2*maxEscape)]), string(text[:1]))
	missing := 0
	switch text[0] {
	case '%':
		for strings.HasPrefix(rest, "25") {
			rest = rest[2:]
		}
		missing = 2 - len(rest)
	case '\\':
		if rest == "" {
			return true
		}
		kind, digits := rest[0], rest[1:]
		missing, rest = map[byte]int{'u': 4, 'x': 2}[kind]-len(digits), digits
	case '&':
		missing = maxEntity - len(rest)
		return missing > 0 && strings.Trim(rest, "#0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") == ""
	}
	return missing > 0 && strings.Trim(rest, "0123456789abcdefABCDEF") == ""
}

func unhex(text []byte, at, digits int) (byte, bool) {
	if len(text) < at+digits {
		return 0, false
	}
	c, err := strconv.ParseUint(string(text[at:at+digits]), 16, 8)
	return byte(c), err == nil
}

// entities are the named ones of ASCII characters that encoders write.
var entities = map[string]byte{"amp": '&', "lt": '<', "gt": '>', "quot": '"', "apos": '\'', "sol": '/', "plus": '+', "equals": '='}

// maxEntity is the length of the longest entity that is undone, of a zero-padded
// number.
const maxEntity = 12

func entity(text []byte) (c byte, width int) {
	name, _, ok := strings.Cut(string(text[1:min(len(text), maxEntity)]), ";")
	if !ok {
		return text[0], 1
	}
	if number, numeric := strings.CutPrefix(name, "#"); numeric {
		base := 10
		if number != "" && (number[0] == 'x' || number[0] == 'X') {
			number, base = number[1:], 16
		}
		if c, err := strconv.ParseUint(number, base, 8); err == nil {
			return byte(c), len(name) + 2
		}
	}
	if c, known := entities[name]; known {
		return c, len(name) + 2
	}
	return text[0], 1
}

// In reports whether a text holds the whole key, in whichever escaping.
func (k *Key) In(text string) bool {
	if k.bytes == "" || len(text) < len(k.bytes) {
		return false
	}
	plain, _ := plainText([]byte(text))
	for _, form := range k.tables().plain {
		if strings.Contains(string(plain), form) || strings.Contains(text, form) {
			return true
		}
	}
	return false
}

// PieceIn reports whether a text holds a piece of the key, in whichever escaping.
func (k *Key) PieceIn(text string) bool {
	if k.bytes == "" || len(text) < k.tables().size {
		return false
	}
	found := false
	k.tables().eachPiece([]byte(text), func(_, _ int) { found = true })
	return found
}

// Mask replaces every run of a text that is made of pieces of the key by "***".
func (k *Key) Mask(text string) string {
	if k.bytes == "" {
		return text
	}
	var out strings.Builder
	kept := 0 // text[:kept] is in out, or was masked
	k.tables().eachPiece([]byte(text), func(start, end int) {
		out.WriteString(text[kept:start])
		out.WriteString("***")
		kept = end
	})
	if kept == 0 {
		return text
	}
	out.WriteString(text[kept:])
	return out.String()
}

// eachPiece calls f with where each run of pieces begins and ends in a text.
func (t *table) eachPiece(text []byte, f func(start, end int)) {
	plain, at := plainText(text)
	for i := 0; i+t.size <= len(plain); i++ {
		if !t.piece(plain[i : i+t.size]) {
			continue
		}
		end := i + t.size
		for j := i + 1; j <= end && j+t.size <= len(plain); j++ {
			if t.piece(plain[j : j+t.size]) {
				end = j + t.size
			}
		}
		f(at.of(i), at.of(end))
		i = end - 1
	}
}
