package main

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/relayapi/caddy-relayapi/eccrypto"
	"github.com/relayapi/caddy-relayapi/grant"
)

// issuer mints the bench's tokens, as a back-end does.
type issuer struct {
	key, relayKey *eccrypto.PrivateKey
}

const issuerName = "bench"

func newIssuer() (*issuer, error) {
	key, err := eccrypto.GenerateKey()
	if err != nil {
		return nil, err
	}
	relayKey, err := eccrypto.GenerateKey()
	return &issuer{key, relayKey}, err
}

// writeKeys writes the keys that a relay is configured with.
func (i *issuer) writeKeys(dir string) error {
	private, err := i.relayKey.MarshalPEM()
	if err != nil {
		return err
	}
	public, err := i.key.Public().MarshalPEM()
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(filepath.Join(dir, "relay.pem"), private, 0o600),
		os.WriteFile(filepath.Join(dir, "bench.pub.pem"), public, 0o644),
	)
}

// claims are those of a new token of its own user, narrowed.
func (i *issuer) claims(narrow func(*grant.Claims)) *grant.Claims {
	now, id := time.Now(), rand.Text()
	c := &grant.Claims{
		Issuer: issuerName, Subject: "user-" + id, Audience: grant.Audience(i.relayKey.Public().ID()), ID: id,
		IssuedAt: grant.NumericDate(now.Unix()), ExpiresAt: grant.NumericDate(now.Add(24 * time.Hour).Unix()),
		Provider: "demo",
	}
	if narrow != nil {
		narrow(c)
	}
	return c
}

func (i *issuer) seal(c *grant.Claims) (string, error) {
	data, err := json.Marshal(c)
	if err != nil {
		return "", err
	}
	token, err := eccrypto.Seal(data, issuerName, i.key, i.relayKey.Public())
	if err == nil && !strings.HasPrefix(token, tokenStart) {
		err = errors.New("a token begins otherwise than the upstream looks for")
	}
	return token, err
}

// tokenStart is how each token begins, and nothing else that a request holds, be it
// random as the key of a WebSocket: {"alg" in base64.
const tokenStart = "eyJhbGci"

// mint makes n tokens, on all cores.
func (i *issuer) mint(n int, narrow func(*grant.Claims)) ([]string, error) {
	tokens, cores := make([]string, n), runtime.NumCPU()
	errs := make([]error, cores)
	var wg sync.WaitGroup
	for core := range cores {
		wg.Go(func() {
			for k := core; k < n && errs[core] == nil; k += cores {
				tokens[k], errs[core] = i.seal(i.claims(narrow))
			}
		})
	}
	wg.Wait()
	return tokens, errors.Join(errs...)
}

// supply is the tokens that the requests of a scenario carry, one after the other
// and round again.
type supply struct {
	mint func(n int) ([]string, error)
	size int // how many there are at once
	uses int // how often each may be used; 0: endlessly

	mu     sync.Mutex
	tokens []string
	taken  int
}

// reserve sees to it that n more requests can have a token. It may mint, so it
// is called before a measurement and not in it.
func (s *supply) reserve(n int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tokens != nil && s.left() >= n {
		return nil
	}
	size := s.size
	if s.uses > 0 {
		size = max(size, (n+s.uses-1)/s.uses)
	}
	tokens, err := s.mint(size)
	if err != nil {
		return fmt.Errorf("minting: %w", err)
	}
	s.tokens, s.taken = tokens, 0
	return nil
}

// left is how many more requests the tokens are good for. The caller holds the
// lock.
func (s *supply) left() int {
	if s.uses == 0 {
		return math.MaxInt
	}
	return len(s.tokens)*s.uses - s.taken
}

// take is the token for the next request.
func (s *supply) take() (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.left() < 1 {
		return "", errors.New("the tokens are used up: more were needed than reserved")
	}
	token := s.tokens[s.taken%len(s.tokens)]
	s.taken++
	return token, nil
}

// position is where the next take will be, for a generator that reads the tokens
// itself and tells with skip how many it took.
func (s *supply) position() (tokens []string, at int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tokens, s.taken % len(s.tokens)
}

func (s *supply) skip(n int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taken += n
	if s.left() < 0 {
		return errors.New("the tokens were used up: more were needed than reserved")
	}
	return nil
}

// shown is the same tokens for a subject to which they are but bytes: it uses
// none of them up.
func (s *supply) shown() *supply {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &supply{mint: s.mint, size: s.size, tokens: s.tokens}
}
