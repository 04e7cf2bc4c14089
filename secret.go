package relayapi

import (
	"fmt"
	"net/url"
	"strings"
	"sync/atomic"
	"time"
)

// secret is a real API key on its way through the relay, with what it takes to
// recognise it where it must not be.
type secret struct {
	key       string
	source    string       // which it is, for the log
	placed    []string     // the values of the header that it goes in
	restUntil atomic.Int64 // unix nanoseconds
}

// gramSize is the length of the shortest piece of a key that counts as one.
const gramSize = 8

const masked = "***"

// in reports whether s contains the key, as it is or escaped.
func (s *secret) in(text string) bool {
	if s.key == "" || len(text) < len(s.key) {
		return false
	}
	if strings.Contains(text, s.key) {
		return true
	}
	if strings.ContainsRune(text, '%') {
		if plain, err := url.QueryUnescape(text); err == nil && strings.Contains(plain, s.key) {
			return true
		}
		if plain, err := url.PathUnescape(text); err == nil && strings.Contains(plain, s.key) {
			return true
		}
	}
	return strings.ContainsRune(text, '\\') && strings.Contains(strings.ReplaceAll(text, `\`, ""), s.key)
}

// mask replaces every run of text that is made of pieces of the key, each of
// gramSize or more characters, as they are or escaped.
func (s *secret) mask(text string) string {
	if s.key == "" {
		return text
	}
	// Made anew each time: each token may bring a key of its own, and these are some
	// ten kilobytes.
	grams := s.grams()
	size := min(gramSize, len(s.key))
	var out strings.Builder
	kept := 0 // text[:kept] is in out, or was masked
	for i := 0; i+size <= len(text); i++ {
		if !grams[text[i:i+size]] {
			continue
		}
		end := i + size
		for j := i + 1; j <= end && j+size <= len(text); j++ {
			if grams[text[j:j+size]] {
				end = j + size
			}
		}
		out.WriteString(text[kept:i])
		out.WriteString(masked)
		kept, i = end, end-1
	}
	if kept == 0 {
		return text
	}
	out.WriteString(text[kept:])
	return out.String()
}

// grams is every piece of the key that is masked.
func (s *secret) grams() map[string]bool {
	grams := make(map[string]bool)
	size := min(gramSize, len(s.key))
	for _, form := range []string{
		s.key,
		strings.ReplaceAll(s.key, "/", `\/`),
		escape(s.key, "%%%02X"), escape(s.key, "%%%02x"), // in URLs
		escape(s.key, `\u%04X`), escape(s.key, `\u%04x`), // in JSON
	} {
		for i := 0; i+size <= len(form); i++ {
			grams[form[i:i+size]] = true
		}
	}
	return grams
}

// escape writes everything but letters, digits and "-._~" in another form.
func escape(s, form string) string {
	var out strings.Builder
	for i := range len(s) {
		if c := s[i]; 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-._~", c) >= 0 {
			out.WriteByte(c)
		} else {
			fmt.Fprintf(&out, form, c)
		}
	}
	return out.String()
}

// keyPool hands out the keys of one provider in turn.
type keyPool struct {
	keys []*secret
	next atomic.Uint64
}

// restFor is how long a key rests after the provider refused it or said that
// it is used too fast.
const restFor = time.Minute

// noKey stands for the key of a provider that needs none.
var noKey = &secret{source: "a request without a key"}

func newSecret(key, placed, source string) *secret {
	return &secret{key: key, source: source, placed: []string{placed}}
}

// pick returns the next key that does not rest. When all do it returns the
// next, so that the provider says what is wrong.
func (p *keyPool) pick(now time.Time) *secret {
	switch len(p.keys) {
	case 0:
		return noKey
	case 1:
		return p.keys[0]
	}
	first := p.next.Add(1)
	for i := range p.keys {
		key := p.keys[(first+uint64(i))%uint64(len(p.keys))]
		if key.restUntil.Load() <= now.UnixNano() {
			return key
		}
	}
	return p.keys[first%uint64(len(p.keys))]
}

// rest keeps the key out of its pool for a while.
func (s *secret) rest(now time.Time) { s.restUntil.Store(now.Add(restFor).UnixNano()) }
