package dialect

import (
	"bytes"
	"encoding/binary"
	"slices"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// The scanner skips most of a long body, because parsing all of it with jsontext
// costs more than forwarding it. It reads a skipped value just closely enough that
// every parser agrees on its end: only JSON's characters between texts, matching
// brackets, and valid escapes. Fields that name a model go through jsontext.

// maxDepth is the deepest nesting of values.
const maxDepth = 1000

// eachMember calls f with the name of every member of a JSON object and with the range
// of its value. It refuses duplicate names.
func eachMember(data []byte, f func(name string, start, end int) error) error {
	if !utf8.Valid(data) {
		return errNotJSON
	}
	s := scanner{data: data}
	if s.space(); s.peek() != '{' {
		return unclear("body: it is not a JSON object; send one that names the model")
	}
	s.at++
	var seen names
	for s.space(); s.peek() != '}' || seen.count > 0; s.space() {
		if seen.count > 0 {
			if s.peek() == '}' {
				break
			}
			if !s.take(',') {
				return errNotJSON
			}
			s.space()
		}
		name, err := s.name()
		if err != nil || !seen.add(name) {
			return errNotJSON
		}
		if seen.count > maxMembers {
			return unclear("body: it has more members than %d; send fewer", maxMembers)
		}
		if s.space(); !s.take(':') {
			return errNotJSON
		}
		s.space()
		start := s.at
		if !s.value() {
			return errNotJSON
		}
		if err := f(name, start, s.at); err != nil {
			return err
		}
	}
	s.at++
	if s.space(); s.at < len(data) {
		return unclear("body: data follows the JSON object; send one object")
	}
	return nil
}

// rawMember reads a member whose name has no escapes, and what follows it up to the
// next one. It reports false at the end of the object, and for whatever is no such
// member.
func (s *scanner) rawMember() (name []byte, start, end int, ok bool) {
	s.space()
	at := s.at
	if s.peek() != '"' || !s.text() {
		return nil, 0, 0, false
	}
	name = s.data[at+1 : s.at-1]
	if s.space(); !s.take(':') {
		return nil, 0, 0, false
	}
	s.space()
	start = s.at
	if !s.value() {
		return nil, 0, 0, false
	}
	end = s.at
	if s.space(); s.peek() == ',' {
		s.at++
	}
	return name, start, end, true
}

// names is a set of names. Most objects have so few members that comparing all of them
// is quicker than a map.
type names struct {
	few   [16]string
	more  map[string]bool
	count int
}

// add adds a name. It reports false for a duplicate.
func (n *names) add(name string) bool {
	if slices.Contains(n.few[:min(n.count, len(n.few))], name) || n.more[name] {
		return false
	}
	if n.count < len(n.few) {
		n.few[n.count] = name
	} else {
		if n.more == nil {
			n.more = make(map[string]bool)
		}
		n.more[name] = true
	}
	n.count++
	return true
}

// scanner skips values in JSON.
type scanner struct {
	data []byte
	at   int
}

func (s *scanner) peek() byte {
	if s.at < len(s.data) {
		return s.data[s.at]
	}
	return 0
}

func (s *scanner) take(c byte) bool {
	if s.peek() != c {
		return false
	}
	s.at++
	return true
}

func (s *scanner) space() {
	for s.at < len(s.data) && (s.data[s.at] == ' ' || s.data[s.at] == '\n' || s.data[s.at] == '\t' || s.data[s.at] == '\r') {
		s.at++
	}
}

func (s *scanner) name() (string, error) {
	start := s.at
	if s.peek() != '"' || !s.text() {
		return "", errNotJSON
	}
	return unquote(s.data[start:s.at])
}

// unquote decodes a JSON text.
func unquote(raw []byte) (string, error) {
	if !bytes.ContainsRune(raw, '\\') { // as nearly all; the scanner has checked the rest
		return string(raw[1 : len(raw)-1]), nil
	}
	text, err := jsontext.AppendUnquote(nil, raw)
	return string(text), err
}

// value skips a value.
func (s *scanner) value() bool {
	switch s.peek() {
	case '"':
		return s.text()
	case '{', '[':
		return s.nested()
	}
	start := s.at
	for s.at < len(s.data) && isLiteral[s.data[s.at]] {
		s.at++
	}
	return jsontext.Value(s.data[start:s.at]).IsValid()
}

// isLiteral marks the characters of numbers, true, false and null.
var isLiteral = func() (is [256]bool) {
	for _, c := range []byte("0123456789+-.eEtrufalsn") {
		is[c] = true
	}
	return is
}()

// nested skips an object or an array.
func (s *scanner) nested() bool {
	open := make([]byte, 0, 32) // the closing brackets that are due
	for s.at < len(s.data) {
		switch c := s.data[s.at]; {
		case c == '"':
			if !s.text() {
				return false
			}
			continue
		case c == '{' || c == '[':
			if open = append(open, c+2); len(open) > maxDepth { // in ASCII they are two apart
				return false
			}
		case c == '}' || c == ']':
			if open[len(open)-1] != c {
				return false
			}
			if open = open[:len(open)-1]; len(open) == 0 {
				s.at++
				return true
			}
		case !isLiteral[c] && c != ',' && c != ':' && c != ' ' && c != '\n' && c != '\t' && c != '\r':
			return false
		}
		s.at++
	}
	return false
}

// text skips a text, including its quotes.
func (s *scanner) text() bool {
	data, at := s.data, s.at+1
	for {
		for at+8 <= len(data) && plain(binary.LittleEndian.Uint64(data[at:])) {
			at += 8
		}
		for at < len(data) && data[at] != '"' && data[at] != '\\' && data[at] >= ' ' {
			at++
		}
		if at == len(data) || data[at] < ' ' {
			return false
		}
		if data[at] == '"' {
			s.at = at + 1
			return true
		}
		n := escapeLength(data[at:])
		if n == 0 {
			return false
		}
		at += n
	}
}

// plain reports whether none of eight bytes is a quote, a backslash or a control
// character. It skips nearly all of a long body. Subtracting n from a byte sets its
// highest bit if the byte is less than n, unless the bit was set before.
func plain(x uint64) bool {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	quote, backslash := x^ones*'"', x^ones*'\\'
	return ((x-ones*' ')&^x|(quote-ones)&^quote|(backslash-ones)&^backslash)&highs == 0
}

// escapeLength returns the length of the escape at the start of p, or 0 if it is invalid.
func escapeLength(p []byte) int {
	if len(p) < 2 {
		return 0
	}
	switch p[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2
	case 'u':
	default:
		return 0
	}
	if len(p) < 6 {
		return 0
	}
	for _, c := range p[2:6] {
		if !('0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F') {
			return 0
		}
	}
	return 6
}
