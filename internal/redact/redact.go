// Package redact blanks tokens in what is logged and quoted.
//
// What a client sends may be a token wherever it stands, whole or in part. This
// package finds such text by its shape, and by the tokens that a request is known
// to hold. Everything that quotes a client goes through [Text].
package redact

import (
	"encoding/base64"
	"encoding/binary"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
)

// PieceSize is the length of the shortest text that counts as a piece of a token.
const PieceSize = 16

// Starts are the beginnings of tokens: `{"` in base64url, and the same in base64
// once more.
var Starts = []string{"eyJ", "ZXlK"}

// mixedSize is the length from which on a word of capitals, small letters and
// digits counts as the middle of a token.
const mixedSize = 48

// Text blanks everything that may be a token or a piece of one, also where it is
// percent-encoded or escaped as in JSON. Known secrets are blanked wherever
// [PieceSize] characters of them stand together.
func Text(text string, known ...string) string {
	plain := Unescape(text)
	var at []int // nil means that nothing is escaped
	if plain != text {
		at = unescapedAt(text)
	}

	var secrets Pieces
	secrets.Of(known)
	var out strings.Builder
	kept := 0 // text[:kept] is in out, or was blanked
	for start, end := range tokenWords(plain) {
		word := plain[start:end]
		if !resemblesToken(word) && !secrets.In(word) {
			continue
		}
		if at != nil {
			start, end = at[start], at[end]
		}
		out.WriteString(text[kept:start])
		out.WriteString("***")
		kept = end
	}
	if kept == 0 {
		return text
	}
	out.WriteString(text[kept:])
	return out.String()
}

// tokenWords yields where the runs of a token's characters begin and end that are
// long enough for a piece of one.
func tokenWords(text string) func(yield func(start, end int) bool) {
	return func(yield func(start, end int) bool) {
		start := 0
		for i := 0; i <= len(text); i++ {
			if i < len(text) && inToken[text[i]] {
				continue
			}
			if i-start >= PieceSize && !yield(start, i) {
				return
			}
			start = i + 1
		}
	}
}

// inToken has the characters of tokens, and the + of base64. The / separates the
// segments of paths.
var inToken = func() (is [256]bool) {
	for _, c := range []byte("+.-_0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") {
		is[c] = true
	}
	return is
}()

// resemblesToken reports whether a word could be a token or a piece of one. It says
// yes to much that is neither.
func resemblesToken(word string) bool {
	for _, start := range Starts {
		if at := strings.Index(word, start); at >= 0 && len(word)-at >= PieceSize {
			return true
		}
	}
	return len(word) >= mixedSize && slices.ContainsFunc(strings.Split(word, "."), isMixed)
}

func isMixed(segment string) bool {
	has := func(from, to rune) bool {
		return strings.ContainsFunc(segment, func(r rune) bool { return from <= r && r <= to })
	}
	joined := strings.Count(segment, "-") + strings.Count(segment, "_") // names of several words have more
	return len(segment) >= mixedSize && joined <= len(segment)/8 && has('a', 'z') && has('A', 'Z') && has('0', '9')
}

// Pieces finds pieces of secrets. A piece of [PieceSize] characters holds a whole
// block of half its size of the text around it. So only blocks are looked up, in a
// table of the hashes of all blocks of the secrets. The zero Pieces finds nothing.
type Pieces struct {
	secrets []string
	blocks  [1 << 10]uint64 // one bit for each hash; small enough for the stack
}

const (
	blockSize = PieceSize / 2
	// maxDoubts bounds how many blocks of one text are in a secret without a piece
	// around them, and how often one block is looked for. A text with more was made
	// to cost time.
	maxDoubts = 64
)

// Of sets the secrets.
func (p *Pieces) Of(secrets []string) {
	p.secrets = secrets
	for _, secret := range secrets {
		for i := 0; i+blockSize <= len(secret); i++ {
			h := blockHash(secret[i:])
			p.blocks[h/64] |= 1 << (h % 64)
		}
	}
}

// blockFactor differs between processes, so that nobody can make blocks with the
// hashes of others.
var blockFactor = rand.Uint64() | 1

func blockHash(text string) uint64 {
	return binary.LittleEndian.Uint64([]byte(text[:blockSize])) * blockFactor >> 48
}

// In reports whether a text without escapes holds a piece of one of the secrets.
func (p *Pieces) In(plain string) bool {
	if len(plain) < PieceSize || len(p.secrets) == 0 {
		return false
	}
	doubts := 0
	for i := 0; i+blockSize <= len(plain); i += blockSize {
		h := blockHash(plain[i:])
		if p.blocks[h/64]&(1<<(h%64)) == 0 {
			continue
		}
		found, near := p.around(plain, i)
		if near {
			doubts++
		}
		if found || doubts > maxDoubts {
			return true
		}
	}
	return false
}

// around reports whether the block at i is within a piece of a secret, and whether
// it is in a secret at all.
func (p *Pieces) around(text string, i int) (found, near bool) {
	for _, secret := range p.secrets {
		for from, tries := 0, 0; tries < maxDoubts; tries++ {
			at := strings.Index(secret[from:], text[i:i+blockSize])
			if at < 0 {
				break
			}
			if common(text, secret, i, from+at) >= PieceSize {
				return true, true
			}
			from, near = from+at+1, true
		}
	}
	return false, near
}

// common returns how many characters two texts have in common around i and j, up
// to PieceSize each way.
func common(a, b string, i, j int) int {
	n := 0
	for n < PieceSize && i+n < len(a) && j+n < len(b) && a[i+n] == b[j+n] {
		n++
	}
	for back := 1; back <= PieceSize && back <= i && back <= j && a[i-back] == b[j-back]; back++ {
		n++
	}
	return n
}

// joseMembers are what the header of an encrypted token may begin with.
var joseMembers = []string{"alg", "enc", "kid", "cty", "epk", "typ", "apu", "apv", "zip"}

// HoldsToken reports whether a text without escapes holds a token of any relay, or
// the beginning of one. It is stricter than [Text], because what holds a token does
// not go to the provider. Other base64 does, and a JWT that is only signed.
func HoldsToken(plain string) bool {
	if !slices.ContainsFunc(Starts, func(start string) bool { return strings.Contains(plain, start) }) {
		return false
	}
	for start, end := range tokenWords(plain) {
		word := plain[start:end]
		if at := strings.Index(word, Starts[0]); at >= 0 && isEncrypted(word[at:]) {
			return true
		}
		if at := strings.Index(word, Starts[1]); at >= 0 && isEncrypted(decodeStart(word[at:], len(word))) {
			return true
		}
	}
	return false
}

// isEncrypted reports whether a word begins as an encrypted JWT does.
func isEncrypted(word string) bool {
	if len(word) < PieceSize {
		return false
	}
	head, rest, _ := strings.Cut(word, ".")
	begins := decodeStart(head, PieceSize)
	known := func(name string) bool { return strings.HasPrefix(begins, `{"`+name+`"`) }
	if !slices.ContainsFunc(joseMembers, known) {
		return false
	}
	signed := strings.Count(rest, ".") == 1 && !strings.HasPrefix(rest, ".")
	return !signed || strings.Contains(decodeStart(head, len(head)), `"enc"`)
}

// decodeStart decodes the beginning of a text in base64, as far as it is that.
func decodeStart(text string, size int) string {
	text = text[:min(size, len(text))/4*4]
	plain, _ := base64.RawURLEncoding.DecodeString(strings.ReplaceAll(text, "+", "-"))
	return string(plain)
}

// Shows reports whether Caddy's access log would show a token or a part of one,
// however misplaced or misspelled. Caddy itself leaves out the values of
// Authorization and cookies. Leaving out too many requests is better than logging
// a token.
func Shows(r *http.Request) bool {
	shows := func(text string) bool {
		plain := Unescape(text)
		return strings.Contains(plain, Starts[0]) || strings.Contains(plain, Starts[1])
	}
	if shows(r.RequestURI) || shows(r.Host) || shows(r.Method) || shows(r.Proto) {
		return true
	}
	for name, values := range r.Header {
		if LongName(name) || !logHides[name] && slices.ContainsFunc(values, shows) {
			return true
		}
	}
	return false
}

// logHides are the headers whose values Caddy's logs leave out.
var logHides = map[string]bool{"Authorization": true, "Cookie": true, "Set-Cookie": true, "Proxy-Authorization": true}

// LongName reports whether a header's name is longer than any real one, as a token
// in the wrong place is.
func LongName(name string) bool { return len(name) > 64 }

// Unescape undoes the escapes of URLs and JSON that stand for single bytes, however
// often they were applied.
func Unescape(text string) string {
	if !strings.ContainsAny(text, `%\`) {
		return text
	}
	plain := make([]byte, 0, len(text))
	for i := 0; i < len(text); {
		c, width := unescapeByte(text[i:])
		plain = append(plain, c)
		i += width
	}
	return string(plain)
}

// unescapedAt returns the offset of each byte of an unescaped text in the text, and
// the offset of its end.
func unescapedAt(text string) []int {
	at := make([]int, 0, len(text)+1)
	for i := 0; i < len(text); {
		_, width := unescapeByte(text[i:])
		at = append(at, i)
		i += width
	}
	return append(at, len(text))
}

// unescapeByte returns the first byte, and how many characters stand for it.
func unescapeByte(text string) (c byte, width int) {
	if c = text[0]; c != '%' && c != '\\' {
		return c, 1
	}
	switch c {
	case '%':
		digits := 1
		for strings.HasPrefix(text[digits:], "25") { // an escaped percent sign
			digits += 2
		}
		if c, ok := unhex(text[digits:], 2); ok {
			return c, digits + 2
		}
	case '\\':
		rest := strings.TrimLeft(text, `\`)
		mark := len(text) - len(rest)
		if rest == "" {
			return text[0], mark
		}
		if digits := escapeDigits[rest[0]]; digits > 0 {
			if c, ok := unhex(rest[1:], digits); ok {
				return c, mark + 1 + digits
			}
		}
		return rest[0], mark + 1
	}
	return text[0], 1
}

// escapeDigits has how many hexadecimal digits follow the letter of an escape.
var escapeDigits = [256]int{'u': 4, 'x': 2}

// unhex reads a byte that is written in so many hexadecimal digits.
func unhex(text string, digits int) (c byte, ok bool) {
	if len(text) < digits {
		return 0, false
	}
	value := 0
	for i := range digits {
		digit := hexDigits[text[i]]
		if digit == 0 {
			return 0, false
		}
		value = value<<4 | int(digit-1)
	}
	return byte(value), value <= 0xff
}

// hexDigits has the value of each hexadecimal digit plus one.
var hexDigits = func() (values [256]byte) {
	for i := range byte(16) {
		values["0123456789abcdef"[i]], values["0123456789ABCDEF"[i]] = i+1, i+1
	}
	return values
}()
