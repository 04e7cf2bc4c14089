package eccrypto

import (
	"encoding/base64"
	"net/url"
	"strings"
	"unicode"
)

// maxMisshapen is how many bytes of a value are examined. It is enough for two
// tokens of the largest size.
const maxMisshapen = 2 * MaxTokenSize

// headStart is the beginning of a token's header: `{"` in base64url.
const headStart = "eyJ"

// Misshapen describes what is wrong with a value that resembles a token but does
// not have the shape of one, for example "a token in quotes". It returns "" for a
// value that has the shape of a token, see [LooksLikeToken], and for a value that
// does not resemble one.
//
// The description contains no part of the value. It depends on the value alone:
// nothing is decrypted or compared, so it tells an attacker nothing.
func Misshapen(value string) string {
	value = value[:min(len(value), maxMisshapen)]
	if LooksLikeToken(value) {
		return ""
	}

	if strings.Contains(value, "%") {
		return escapedToken(value)
	}
	if strings.Contains(value, base64Start) && !strings.Contains(value, headStart) {
		return encodedToken(value)
	}
	return nearToken(value)
}

// escapedToken looks for a token in a value with percent signs. Some clients
// encode a value twice.
func escapedToken(value string) string {
	decoded := value
	for _, slip := range []string{"a percent-encoded token", "a token that is percent-encoded twice"} {
		next, err := url.PathUnescape(decoded)
		if err != nil || next == decoded {
			break
		}
		decoded = next
		if LooksLikeToken(decoded) && hasHead(decoded) {
			return slip
		}
	}

	near := nearToken(decoded)
	if near == "" || decoded == value {
		return near
	}
	return near + ", percent-encoded"
}

// base64Start is headStart encoded in base64 once more.
const base64Start = "ZXlK"

// encodedToken looks for a token that was encoded in base64 once more.
func encodedToken(value string) string {
	at := strings.Index(value, base64Start)
	run := value[at:]
	if end := strings.IndexFunc(run, func(r rune) bool { return r > '~' || !inToken[r] && r != '+' && r != '/' }); end >= 0 {
		run = run[:end]
	}
	run = run[:len(run)/4*4]
	decoded, err := base64.StdEncoding.DecodeString(strings.NewReplacer("-", "+", "_", "/").Replace(run))
	if err != nil || !hasHead(string(decoded)) {
		return ""
	}
	return "a token that is encoded in base64 once more"
}

// nearToken looks for the beginning of a token in a value, and describes what
// follows it and what surrounds it.
func nearToken(value string) string {
	at := strings.Index(value, headStart)
	if at < 0 {
		return ""
	}

	before, run := value[:at], value[at:]
	end := len(run)
	for i := range len(run) {
		if !inToken[run[i]] {
			end = i
			break
		}
	}
	run, after := run[:end], run[end:]
	if !hasHead(run) {
		return ""
	}

	token := wholeToken(run)
	extra := run[len(token):]
	switch {
	case token == "":
		return incomplete(run, after)
	case holdsHead(extra + after):
		return "two tokens in one place"
	case extra != "":
		return "a token with " + describe(extra) + " after it"
	}
	return surrounded(before, after)
}

// tagChars is the length of a token's last segment.
const tagChars = (gcmTagLength*8 + 5) / 6

// wholeToken returns the token that a run of token characters begins with, or ""
// if the run ends before the token does.
func wholeToken(run string) string {
	rest := run
	for range outerSegments - 1 {
		_, tail, more := strings.Cut(rest, ".")
		if !more {
			return ""
		}
		rest = tail
	}
	if tag, _, _ := strings.Cut(rest, "."); len(tag) < tagChars {
		return ""
	}
	return run[:len(run)-len(rest)+tagChars]
}

// holdsHead reports whether a value holds the beginning of a token.
func holdsHead(s string) bool {
	at := strings.Index(s, headStart)
	return at >= 0 && hasHead(s[at:])
}

// hasHead reports whether s begins like the header of a JWE or a JWS: with a JSON
// object that names an algorithm. The header may be cut off.
func hasHead(s string) bool {
	head, _, _ := strings.Cut(s, ".")
	if end := strings.IndexFunc(head, func(r rune) bool { return r > '~' || !inToken[r] }); end >= 0 {
		head = head[:end]
	}
	head = head[:len(head)/4*4]
	decoded, err := base64.RawURLEncoding.DecodeString(head)
	return err == nil && strings.HasPrefix(string(decoded), `{"`) &&
		(strings.Contains(string(decoded), `"alg"`) || strings.Contains(string(decoded), `"enc"`) ||
			strings.Contains(string(decoded), `"epk"`))
}

// surrounded describes what surrounds a token.
func surrounded(before, after string) string {
	trimmed := strings.TrimRight(before, " \t")
	switch {
	case after != "" && isQuote(before, after):
		return "a token in quotes"
	case strings.ContainsAny(before, "{[") || strings.HasPrefix(after, `"`):
		return "a token within JSON; send the token alone"
	case strings.HasSuffix(strings.ToLower(trimmed), "bearer"):
		return "a token with the word Bearer before it"
	case before != "":
		return "a token with " + describe(before) + " before it"
	case after != "":
		return "a token with " + describe(after) + " after it"
	}
	return ""
}

// Characters that people and shells put around a value. Each opening quote has the
// position of its closing quote.
const (
	openingQuotes = "\"'`<\u201c\u2018\u201e\u00ab"
	closingQuotes = "\"'`>\u201d\u2019\u201c\u00bb"
)

func isQuote(before, after string) bool {
	before, after = strings.TrimRight(before, `\ `), strings.TrimLeft(after, `\ `)
	first, last := []rune(after), []rune(before)
	if len(first) == 0 || len(last) == 0 {
		return false
	}
	return strings.ContainsRune(openingQuotes, last[len(last)-1]) && strings.ContainsRune(closingQuotes, first[0]) &&
		!strings.ContainsAny(before, "{[")
}

// describe names the text beside a token.
func describe(s string) string {
	r := []rune(s[:min(len(s), 8)])[0]
	switch {
	case s == "," || strings.TrimSpace(s) == ",":
		return "a comma"
	case s == ";" || s == "." || s == ":":
		return map[string]string{";": "a semicolon", ".": "a dot", ":": "a colon"}[s]
	case strings.Trim(s, "=") == "":
		return "base64 padding"
	case strings.ContainsAny(s, "\r\n") && strings.TrimSpace(s) == "":
		return "a line break"
	case strings.TrimSpace(s) == "":
		return "a space"
	case strings.ContainsRune(openingQuotes+closingQuotes, r):
		return "a quote"
	case unicode.In(r, unicode.Cc, unicode.Cf):
		return "an invisible character"
	}
	return "other text"
}

// incomplete describes what is wrong with a run of token characters that has fewer
// segments than a token. after is what follows the run.
func incomplete(run, after string) string {
	segments := strings.SplitN(run, ".", innerSegments+1)
	switch {
	case after != "" && strings.ContainsRune(" \t\r\n\\", rune(after[0])) && LooksLikeToken(unwrapped.Replace(run+after)):
		return "a token with a line break or a space in it"
	case after != "" && strings.ContainsRune("+/=", rune(after[0])) && LooksLikeToken(urlAlphabet.Replace(run+after)):
		return "a token in base64; write it in base64url, without padding"
	case len(segments) == innerSegments && segments[1] != "":
		return "a JWT that is signed but not encrypted; encrypt it to the relay's key"
	}
	return "a token that was cut off"
}

var (
	unwrapped   = strings.NewReplacer(" ", "", "\t", "", "\r", "", "\n", "", "\\", "")
	urlAlphabet = strings.NewReplacer("+", "-", "/", "_", "=", "")
)
