package realkey

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
)

// PieceSize is the length of the shortest piece of a key that counts as one.
const PieceSize = 8

// table is what it takes to find a key.
type table struct {
	// needles are what a whole key begins with, in each escaping: that is searched
	// for in answers that are no errors.
	needles []needle
	starts  [256]bool // characters that needles begin with
	longest int       // escaping of a key

	// plain has the texts whose pieces must not show in errors and headers: the key,
	// and the key in base64 and hex.
	plain []string
	size  int // of the shortest piece

	// bits has one bit for the hash of each piece's first characters, so that few
	// other texts are looked at closely.
	bits [64]uint64
}

// needle is what is searched for, and what must stand where it is found.
type needle struct {
	text []byte
	lead byte   // a rare character in it, looked for first; 0 means none
	all  string // that the text begins; empty means the key, in any escaping
}

// needleSize is the longest text that bytes.Index searches for with vector
// instructions on amd64 and arm64.
const needleSize = 32

func (k *Key) tables() *table {
	if k.table != nil {
		return k.table
	}
	return k.newTable()
}

func (k *Key) newTable() *table {
	t := &table{size: min(PieceSize, len(k.bytes))}
	if k.bytes == "" {
		return t
	}

	t.plain = []string{k.bytes}
	for _, value := range k.value {
		if encoded, ok := strings.CutPrefix(value, "Basic "); ok {
			t.plain = append(t.plain, strings.TrimRight(encoded, "="))
		}
	}
	if len(k.bytes) >= PieceSize { // less would be too short in base64 to mean anything
		t.plain = append(t.plain, inBase64(k.bytes)...)
		t.plain = append(t.plain, hex.EncodeToString([]byte(k.bytes)))
	}
	for _, text := range t.plain {
		t.note(text)
	}

	t.needles = append(keyNeedles(k.bytes), exactNeedles(t.plain[1:])...)
	for _, n := range t.needles {
		t.starts[n.text[0]] = true
	}
	t.longest = len(k.bytes) * maxEscape
	return t
}

// note notes the pieces of a text.
func (t *table) note(text string) {
	for i := 0; i+t.size <= len(text); i++ {
		h := hash(text[i : i+t.size])
		t.bits[h/64] |= 1 << (h % 64)
	}
}

// with returns a table for one more text that nobody escapes.
func (t *table) with(text string) *table {
	more := *t
	more.plain = append(slices.Clip(t.plain), text)
	more.note(text)
	more.needles = append(slices.Clip(t.needles), exactNeedles([]string{text})...)
	more.starts[text[0]], more.longest = true, max(t.longest, len(text))
	return &more
}

// keyNeedles are the beginnings of a key that no encoder changes, and those in
// which the first character is escaped.
func keyNeedles(key string) []needle {
	run := 0
	for run < min(len(key), needleSize) && unreserved[key[run]] {
		run++
	}
	first := key[0]
	needles := []needle{
		{text: []byte{first, 0}, lead: 0}, // UTF-16
		{text: fmt.Appendf(nil, "%%%02X", first), lead: '%'},
		{text: fmt.Appendf(nil, "%%25%02X", first), lead: '%'},
		{text: fmt.Appendf(nil, `\u%04X`, first), lead: '\\'},
		{text: fmt.Appendf(nil, `\x%02X`, first), lead: '\\'},
		{text: fmt.Appendf(nil, "&#%d;", first), lead: '&'},
		{text: fmt.Appendf(nil, "&#x%X;", first), lead: '&'},
	}
	for _, n := range needles[1:] {
		if lower := bytes.ToLower(n.text); !bytes.Equal(lower, n.text) && n.lead != 0 {
			needles = append(needles, needle{text: lower, lead: n.lead})
		}
	}
	return append(needles, needle{text: []byte(key[:max(1, run)])})
}

// exactNeedles are for texts that nobody escapes.
func exactNeedles(texts []string) []needle {
	var needles []needle
	for _, text := range texts {
		needles = append(needles, needle{text: []byte(text[:min(len(text), needleSize)]), all: text})
	}
	return needles
}

// inBase64 returns what a text is within a longer one in base64, at each of the
// three places where it may begin, in both alphabets.
func inBase64(text string) []string {
	var all []string
	for before := range 3 {
		encoded := base64.RawStdEncoding.EncodeToString([]byte(strings.Repeat("\x00", before) + text))
		start := (before*8 + 5) / 6                          // the characters before depend on what is before
		end := len(encoded) - min(1, (before+len(text))*8%6) // the last one may depend on what follows
		std := encoded[start:end]
		all = append(all, std)
		if urls := strings.NewReplacer("+", "-", "/", "_").Replace(std); urls != std {
			all = append(all, urls)
		}
	}
	return all
}

// unreserved are the characters that no URL escapes (RFC 3986, section 2.3).
var unreserved = func() (is [256]bool) {
	for _, c := range []byte("-._~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") {
		is[c] = true
	}
	return is
}()

func hash[T string | []byte](piece T) uint64 {
	var first [8]byte
	copy(first[:], piece)
	return binary.LittleEndian.Uint64(first[:]) * 0x9e3779b97f4a7c15 >> 52
}

// piece reports whether a text of t.size is a piece of the key.
func (t *table) piece(text []byte) bool {
	if h := hash(text); t.bits[h/64]&(1<<(h%64)) == 0 {
		return false
	}
	return slices.ContainsFunc(t.plain, func(plain string) bool { return strings.Contains(plain, string(text)) })
}
