package grant

import (
	"errors"
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"
)

// encodedSlash is an escaped slash within a segment of a policy path. A policy
// path has no other percent sign.
const encodedSlash = "%2F"

// PolicyPath returns the path of a request as the policy reads it: decoded once,
// and split only at slashes that were not escaped. An escaped slash is part of its
// segment and stays "%2F"; only the star of a pattern matches it, see
// [ParseRoutes]. PolicyPath refuses a path that a provider could read differently,
// see [CheckPath].
//
// It reads what net/http sends, [url.URL.EscapedPath].
func PolicyPath(u *url.URL) (string, error) {
	if u.Opaque != "" { // the target was "http:v1/x", which net/http sends instead of the path
		return "", errors.New("the request target has no path")
	}

	// In Path an escaped slash is a slash. CheckPath checks both of its sides as
	// segments of their own.
	if err := CheckPath(u.Path); err != nil {
		return "", err
	}
	if u.RawPath == "" { // Path shows all escapes
		return u.Path, nil
	}
	return keepEncodedSlashes(u)
}

func keepEncodedSlashes(u *url.URL) (string, error) {
	segments := strings.Split(u.EscapedPath(), "/")
	for i, segment := range segments {
		decoded, err := url.PathUnescape(segment)
		if err != nil {
			return "", errors.New("the path has a percent sign that escapes nothing")
		}
		segments[i] = strings.ReplaceAll(decoded, "/", encodedSlash)
	}

	path := strings.Join(segments, "/")
	if !strings.HasPrefix(path, "/") || strings.HasSuffix(path, encodedSlash) {
		return "", errors.New("the path begins or ends in an encoded slash; write / or leave it out")
	}
	return path, nil
}

// CheckPath refuses a decoded path that a provider could read differently than
// the policy does:
//
//   - empty segments, and segments that are a dot or two for some server: of
//     dots and spaces, or with parameters after the dots ("..;x");
//   - segments that begin or end in a space or end in a dot, which Windows
//     servers strip;
//   - percent signs, question marks and number signs, which a server that decodes
//     twice takes for an escape or for the end of the path;
//   - backslashes, control characters (also U+0080 to U+009F), characters of zero
//     width, which some file systems ignore, and text that is not UTF-8, such as an
//     overlong dot;
//   - characters that Unicode's compatibility forms or the code pages of Windows
//     turn into one of these, see [folded].
func CheckPath(path string) error {
	if !strings.HasPrefix(path, "/") {
		return errors.New("the path does not start with a slash; write /v1/…")
	}
	if strings.Contains(path, "//") {
		return errors.New("the path has an empty segment; write one slash instead of two")
	}

	ascii := true
	for i := range len(path) {
		switch c := path[i]; {
		case c >= utf8.RuneSelf:
			ascii = false
		case forbidden[c]:
			return errors.New("the path has a control character, a backslash, or an encoded %, ? or #; leave it out")
		}
	}
	if !ascii {
		if err := checkUnicode(path); err != nil {
			return err
		}
	}

	for rest := path[1:]; ; {
		segment, tail, more := strings.Cut(rest, "/")
		if err := checkSegment(segment); err != nil {
			return err
		}
		if !more {
			return nil
		}
		rest = tail
	}
}

// forbidden are the ASCII characters that a decoded path must not have.
var forbidden = func() (is [utf8.RuneSelf]bool) {
	for c := range byte(' ') {
		is[c] = true
	}
	for _, c := range []byte("\x7f\\%?#") {
		is[c] = true
	}
	return is
}()

// checkSegment checks a segment. Only the last one may be empty.
func checkSegment(segment string) error {
	if segment == "" || plain(segment) {
		return nil
	}

	// Some servers remove parameters before they resolve dots.
	for i := 0; ; i++ {
		piece, rest, more := strings.Cut(segment, ";")
		switch {
		case i == 0 && piece == "":
			return errors.New("the path has a segment that begins with a semicolon; leave it out")
		case piece != "" && strings.Trim(piece, ". ") == "":
			return errors.New("the path has a dot segment; leave it out")
		case strings.TrimSpace(piece) != piece || strings.HasSuffix(piece, "."):
			return errors.New("the path has a segment that begins or ends in a space or ends in a dot; leave that out")
		case !more:
			return nil
		}
		segment = rest
	}
}

// plain reports whether a segment has nothing that [checkSegment] looks for, as
// nearly all segments do.
func plain(segment string) bool {
	first, last := segment[0], segment[len(segment)-1]
	return first > ' ' && first != '.' && first < utf8.RuneSelf &&
		last > ' ' && last != '.' && last < utf8.RuneSelf && strings.IndexByte(segment, ';') < 0
}

func checkUnicode(path string) error {
	if !utf8.ValidString(path) {
		return errors.New("the path is not valid UTF-8; encode it as UTF-8")
	}
	for _, r := range path {
		switch {
		case unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp):
			return errors.New("the path has a control character or an invisible one; leave it out")
		case r >= utf8.RuneSelf && strings.ContainsRune(folded, r):
			return errors.New("the path has a character that some servers turn into one of . / \\ % ? # and ;")
		}
	}
	return nil
}

// folded are the characters that some servers turn into one with a meaning in a
// path. The compatibility form (NFKC, Unicode Standard Annex 15) of most is or
// contains a slash, a backslash, a percent sign, a question mark, a number sign or
// a semicolon, or is one dot or two. Windows maps the others to a slash or a
// backslash when it converts a name to an ANSI code page
// (https://learn.microsoft.com/windows/win32/intl/character-sets-used-in-file-names).
// Characters that only look like these are not included.
const folded = "\u2024\u2025\ufe30\ufe52\uff0e" + // . and ..
	"\u2044\u2215\u2100\u2101\u2105\u2106\uff0f" + // /
	"\u00a5\u20a9\u2216\ufe68\uff3c" + // \
	"\ufe6a\uff05" + // %
	"\u2047\u2048\u2049\ufe16\ufe56\uff1f" + // ?
	"\ufe5f\uff03" + // #
	"\u037e\ufe14\ufe54\uff1b" // ;
