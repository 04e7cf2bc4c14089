package login

import (
	"strings"

	lru "github.com/hashicorp/golang-lru/v2"
)

// foundSize is how many tokens a [Finder] remembers, at about 1 KiB each.
const foundSize = 4096

// Finder finds the verifier of a token. It is safe for concurrent use.
type Finder struct {
	names map[string]string // by issuer

	// found caches results by token. Reading the claims again would take as long as a
	// sixth of the rest of a call (BenchmarkLogin).
	found *lru.Cache[string, string]
}

// NewFinder returns a Finder of verifiers by name. No two may have the same issuer.
func NewFinder(verifiers map[string]*Verifier) *Finder {
	found, err := lru.New[string, string](foundSize)
	if err != nil {
		panic(err) // only for a size that is not positive
	}
	f := &Finder{names: make(map[string]string), found: found}
	for name, v := range verifiers {
		for _, iss := range v.profile.issuers {
			f.names[iss] = name
		}
	}
	return f
}

// Find returns the name of the verifier whose tokens a value looks like: three
// segments, an algorithm in the header, and the issuer. It verifies nothing, and also
// finds tokens that Verify refuses, so that Verify can name the reason.
func (f *Finder) Find(value string) (name string, ok bool) {
	if len(value) > maxToken || strings.Count(value, ".") != 2 {
		return "", false
	}
	if name, ok := f.found.Get(value); ok {
		return name, true
	}
	iss, ok := peekIssuer(value)
	if !ok {
		return "", false
	}
	if name, ok = f.names[iss]; ok {
		f.found.Add(strings.Clone(value), name) // a copy, so that the whole header is not kept
	}
	return name, ok
}

// Shaped reports whether a value looks like a token of any of the verifiers.
func (f *Finder) Shaped(value string) bool {
	_, ok := f.Find(value)
	return ok
}
