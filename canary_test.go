package relayapi

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

// How many consecutive characters of a secret are a piece of it.
const (
	keyPiece   = 8
	tokenPiece = 16
)

// canary looks for pieces of the real key and of the tokens of one test, wherever
// the test's relays write: at its end, in every integration test. It keeps what
// clients have received, in the clear, and what metrics said.
type canary struct {
	mu      sync.Mutex
	secrets map[place]secretPieces // what must not stand there
	written map[place]*bytes.Buffer
	excused map[place]string
}

// place is where a secret may leak to.
type place string

// The places. Files are named by what they are.
const (
	inAnswers  place = "answers"
	inLog      place = "log"
	inMetrics  place = "metrics"
	inDatabase place = "database"
	inProvider place = "what the provider received" // which is the key, among others
)

var allPlaces = []place{inAnswers, inLog, inMetrics, inDatabase, inProvider}

// canaries are by the name of the test, which subtests share.
var canaries sync.Map

func canaryOf(t testing.TB) *canary {
	name, _, _ := strings.Cut(t.Name(), "/")
	c, _ := canaries.LoadOrStore(name, newCanary())
	return c.(*canary)
}

func newCanary() *canary {
	c := &canary{secrets: make(map[place]secretPieces), written: make(map[place]*bytes.Buffer), excused: make(map[place]string)}
	for _, where := range allPlaces {
		c.secrets[where] = make(secretPieces)
		if where != inProvider {
			c.secrets[where].add(realKey, keyPiece)
		}
	}
	return c
}

// minted adds a token, which may be in some places. What stands before its first dot is no secret: the header
// says which key it is for, and begins alike in all tokens.
func (c *canary) minted(token string, except ...place) {
	if c == nil {
		return // a benchmark, which has no relay that serves
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	_, secret, _ := strings.Cut(token, ".")
	for _, where := range allPlaces {
		if !slices.Contains(except, where) {
			c.secrets[where].add(secret, tokenPiece)
		}
	}
}

// maxWritten bounds what is kept of each place.
const maxWritten = 16 << 20

// wrote keeps what was written to a place.
func (c *canary) wrote(where place, data []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	b := c.written[where]
	if b == nil {
		b = new(bytes.Buffer)
		c.written[where] = b
	}
	b.Write(data[:min(len(data), maxWritten-b.Len())])
}

// answered keeps an answer that a client has read.
func (c *canary) answered(res *http.Response, body []byte) {
	var b bytes.Buffer
	_ = res.Header.Write(&b)
	_ = res.Trailer.Write(&b)
	b.Write(body)
	b.WriteByte('\n')
	c.wrote(inAnswers, b.Bytes())
}

// dial connects a client, so that all that it receives is kept: heads that
// interim answers have, bodies that nobody reads to the end, frames.
func (c *canary) dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return &canaryConn{Conn: conn, canary: c}, nil
}

type canaryConn struct {
	net.Conn
	canary *canary
	kept   int
}

// maxReceived bounds what is kept of one connection.
const maxReceived = 1 << 20

func (c *canaryConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if keep := min(n, maxReceived-c.kept); keep > 0 {
		c.kept += keep
		c.canary.wrote(inAnswers, p[:keep])
	}
	return n, err
}

// gather keeps what the running Caddy would tell of its metrics.
func (c *canary) gather() {
	if c == nil {
		return
	}
	ctx := caddy.ActiveContext()
	if ctx.Context == nil || ctx.GetMetricsRegistry() == nil {
		return
	}
	families, err := ctx.GetMetricsRegistry().Gather()
	if err != nil {
		return // of a metric that is not registered twice
	}
	var b bytes.Buffer
	for _, family := range families {
		fmt.Fprintln(&b, family)
	}
	c.wrote(inMetrics, b.Bytes())
}

// collect reads the files that a relay has written.
func (c *canary) collect(t testing.TB, dir string) {
	for pattern, where := range map[string]place{"log*": inLog, "*.db": inDatabase, "*.db-wal": inDatabase} {
		files, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if data, err := os.ReadFile(file); err == nil {
				c.wrote(where, data)
			}
		}
	}
}

// check fails the test for each place with a piece of a secret, and for each that
// is excused and has none: the excuse is out of date.
func (c *canary) check(t testing.TB, places ...place) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, where := range places {
		var at string
		if b := c.written[where]; b != nil {
			at = c.secrets[where].find(b.Bytes())
		}
		switch why := c.excused[where]; {
		case at != "" && why == "":
			t.Errorf("a piece of the key or of a token is in the %s, %s", where, at)
		case at == "" && why != "" && !t.Failed():
			t.Errorf("nothing leaks into the %s any more: take out the excuse %q", where, why)
		}
	}
}

// mayLeak excuses a test: there secrets may stand in a place, for a reason.
func mayLeak(t testing.TB, why string, places ...place) {
	t.Helper()
	c := canaryOf(t)
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, where := range places {
		c.excused[where] = why
	}
}

// secretPieces finds pieces of secrets in a text by their blocks: every piece of
// 2n-1 characters has a whole block of n that begins at a multiple of n.
type secretPieces map[uint64][]piece

// piece is a block of a secret: where in it, and how long a piece counts.
type piece struct {
	secret string
	at     int
	length int
}

const block = 8

func (p secretPieces) add(secret string, length int) {
	step := max(1, length-block+1)
	for i := 0; i+block <= len(secret); i += min(step, block) {
		key := binary.LittleEndian.Uint64([]byte(secret[i : i+block]))
		p[key] = append(p[key], piece{secret, i, length})
	}
}

// find tells what stands before the first piece in a text, or nothing.
func (p secretPieces) find(text []byte) string {
	for i := 0; i+block <= len(text); i++ {
		for _, found := range p[binary.LittleEndian.Uint64(text[i:])] {
			if found.in(text, i) {
				line := text[bytes.LastIndexByte(text[:i], '\n')+1 : i]
				return fmt.Sprintf("%d characters after the start of a line of %d characters", len(line), len(line)+bytes.IndexByte(append(text[i:len(text):len(text)], '\n'), '\n'))
			}
		}
	}
	return ""
}

// in reports whether enough of the secret stands around a block in text.
func (p piece) in(text []byte, i int) bool {
	before, after := 0, block
	for before < min(i, p.at) && text[i-before-1] == p.secret[p.at-before-1] {
		before++
	}
	for i+after < len(text) && p.at+after < len(p.secret) && text[i+after] == p.secret[p.at+after] {
		after++
	}
	return before+after >= p.length
}

// The canary itself: it must find what it is for.
func TestCanary(t *testing.T) {
	token := strings.Repeat("e", 100) + ".." + "Abcdefgh1jklmnopQrstuvwx2yz012345678-_ABCDEFGHIJ"
	c := newCanary()
	c.minted(token, inAnswers)
	secret := token[102:]
	texts := map[string]bool{
		"":                          false,
		token[:101]:                 false, // the header
		secret[:15]:                 false,
		secret[1:16]:                false,
		realKey[5:12]:               false,
		secret:                      true,
		realKey:                     true,
		"x" + realKey[5:13] + "x":   true,
		realKey[len(realKey)-8:]:    true,
		secret[len(secret)-16:]:     true,
		"\n\n" + secret[3:19] + "&": true,
	}
	for i := range len(secret) - tokenPiece + 1 {
		texts["- "+secret[i:i+tokenPiece]+" -"] = true
	}
	for i := range len(realKey) - keyPiece + 1 {
		texts["- "+realKey[i:i+keyPiece]+" -"] = true
	}
	for _, text := range slices.Sorted(maps.Keys(texts)) {
		if found := c.secrets[inLog].find([]byte(text)) != ""; found != texts[text] {
			t.Errorf("in %d characters of a made-up secret a piece is found: %t, want %t", len(text), found, texts[text])
		}
	}
	if c.secrets[inAnswers].find([]byte(token)) != "" || c.secrets[inProvider].find([]byte(realKey)) != "" {
		t.Error("what may stand in a place is found there")
	}
}
