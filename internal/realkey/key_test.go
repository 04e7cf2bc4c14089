package realkey_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/relayapi/caddy-relayapi/internal/realkey"
	"github.com/relayapi/caddy-relayapi/provider"
	"pgregory.net/rapid"
)

// Keys of every kind: what real ones look like, and one with characters that each
// encoding escapes otherwise.
const (
	plainKey = "sk-proj-4f9bC2d7e8a1B3c5d9e7f2a4b6"
	oddKey   = `sk-real/4f9b+c2d7e8a1&b3c5d9"e7f2=a4b6<x>'y`
)

var bearer = provider.Placement{Header: "authorization", Prefix: "Bearer "}

func newKey(key string) *realkey.Key { return realkey.New(key, bearer, "a test's key", true) }

func jsonText(s string) string {
	data, _ := json.Marshal(s)
	return string(data[1 : len(data)-1])
}

func every(s, format string) string {
	var out strings.Builder
	for i := range len(s) {
		fmt.Fprintf(&out, format, s[i])
	}
	return out.String()
}

func utf16(s string) string { return every(s, "%c\x00") }

// escapings are what encoders make of a text.
var escapings = map[string]func(string) string{
	"as it is":                  func(s string) string { return s },
	"JSON":                      jsonText,
	"JSON in JSON":              func(s string) string { return jsonText(jsonText(s)) },
	"JSON with escaped slashes": func(s string) string { return strings.ReplaceAll(jsonText(s), "/", `\/`) },
	"JSON, every character":     func(s string) string { return every(s, `\u%04x`) },
	"JSON, in capitals":         func(s string) string { return every(s, `\u%04X`) },
	"a query":                   url.QueryEscape,
	"a path":                    url.PathEscape,
	"a query, twice":            func(s string) string { return url.QueryEscape(url.QueryEscape(s)) },
	"a URL, every character":    func(s string) string { return every(s, "%%%02X") },
	"a URL, in small letters":   func(s string) string { return every(s, "%%%02x") },
	"a URL, every one, twice":   func(s string) string { return every(s, "%%25%02x") },
	"HTML":                      html.EscapeString,
	"HTML, every character":     func(s string) string { return every(s, "&#%d;") },
	"HTML, hexadecimal":         func(s string) string { return every(s, "&#x%x;") },
	"UTF-16, little-endian":     utf16,
	"UTF-16, big-endian":        func(s string) string { return every(s, "\x00%c") },
	"base64":                    func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) },
	"base64, one before":        func(s string) string { return base64.StdEncoding.EncodeToString([]byte("x" + s + "y")) },
	"base64, two before":        func(s string) string { return base64.StdEncoding.EncodeToString([]byte("xx" + s + "yy")) },
	"base64, of URLs":           func(s string) string { return base64.URLEncoding.EncodeToString([]byte("user:" + s)) },
	"hexadecimal":               func(s string) string { return fmt.Sprintf("%x", s) },
}

// shows reports whether a text holds what a client would undo to n consecutive
// characters of a key.
func shows(text, key string, n int) bool {
	for i := 0; i+n <= len(key); i++ {
		for name, escaped := range escapings {
			if form := escaped(key[i : i+n]); !strings.HasPrefix(name, "base64") && strings.Contains(text, form) {
				return true
			}
		}
	}
	return false
}

func TestKey_IsFoundAndMasked(t *testing.T) {
	for _, secret := range []string{plainKey, oddKey} {
		key := newKey(secret)
		for name, escaped := range escapings {
			t.Run(name, func(t *testing.T) {
				form := escaped(secret)
				text := `{"error":"bad key ` + form + `, sorry"}`
				if !key.In(text) {
					t.Error("In does not find it")
				}
				if got := key.Mask(text); shows(got, secret, realkey.PieceSize) || strings.Contains(got, form[len(form)/4:len(form)/2]) || !strings.HasSuffix(got, `, sorry"}`) {
					t.Errorf("it is masked as %d characters that show pieces", len(got))
				}
				for _, isError := range []bool{false, true} {
					got, err := io.ReadAll(key.Stream(strings.NewReader(text), isError))
					if err != nil || len(got) != len(text) || key.In(string(got)) || !strings.HasSuffix(string(got), `, sorry"}`) {
						t.Errorf("error=%v: %d bytes come of %d, %v", isError, len(got), len(text), err)
					}
				}
				finder := key.Finder()
				half := len(text) / 2
				if found := finder.Find([]byte(text[:half])); found || !finder.Find([]byte(text[half:])) {
					t.Errorf("the finder finds it: %v", found)
				}
			})
		}
	}
}

// Pieces are masked in errors, runs of them as one.
func TestKey_MasksPieces(t *testing.T) {
	key := newKey(plainKey)
	for text, want := range map[string]string{
		"nothing of it":                                    "nothing of it",
		"begins " + plainKey[:12] + "…":                    "begins ***…",
		"ends in " + plainKey[10:]:                         "ends in ***",
		plainKey[:8] + " " + plainKey[20:28]:               "*** ***",
		"too short a piece " + plainKey[:7] + " to be one": "too short a piece " + plainKey[:7] + " to be one",
	} {
		if got := key.Mask(text); got != want {
			t.Errorf("%q is masked as %q, want %q", text, got, want)
		}
		if got := key.PieceIn(text); got != (want != text) {
			t.Errorf("%q: PieceIn is %v", text, got)
		}
	}
	if got := newKey("short").Mask("a short one"); got != "a *** one" {
		t.Errorf("a short key is masked as %q", got)
	}
	if none := realkey.None; none.Mask("anything") != "anything" || none.In("anything") || none.PieceIn("") {
		t.Error("no key is found")
	}
}

// However a body is cut by its reads, no whole key passes, nor in an error a
// piece, and nothing else changes.
func TestStream_IsCutAnywhere(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		secret := rapid.StringMatching(`[a-z]{2}-[A-Za-z0-9_/+=&-]{14,60}`).Draw(t, "key")
		isError := rapid.Bool().Draw(t, "error")
		names := rapid.SampledFrom([]string{"as it is", "JSON", "a query", "a query, twice", "HTML", "JSON, every character", "UTF-16, little-endian", "base64, one before", "hexadecimal"})
		key := newKey(secret)
		var text strings.Builder
		for range rapid.IntRange(1, 4).Draw(t, "times") {
			text.WriteString(rapid.StringMatching(`[ .,\n{}:A-Z]{0,40}`).Draw(t, "between"))
			text.WriteString(escapings[names.Draw(t, "escaping")](secret))
		}
		text.WriteString(" end.")

		source := io.Reader(strings.NewReader(text.String()))
		switch rapid.IntRange(0, 2).Draw(t, "reads") {
		case 0:
			source = iotest.OneByteReader(source)
		case 1:
			source = iotest.HalfReader(source)
		}
		stream := key.Stream(source, isError)
		if rapid.Bool().Draw(t, "little room") {
			stream = iotest.OneByteReader(stream)
		}
		got, err := io.ReadAll(stream)
		switch {
		case err != nil || len(got) != text.Len() || !bytes.HasSuffix(got, []byte(" end.")):
			t.Fatalf("%d bytes come of %d, %v", len(got), text.Len(), err)
		case key.In(string(got)):
			t.Fatal("the key passes")
		case isError && key.PieceIn(string(got)):
			t.Fatal("a piece of the key passes")
		}
	})
}

// An event is not kept back for what comes after it.
func TestStream_DelaysNothing(t *testing.T) {
	key := newKey(plainKey)
	for name, event := range map[string]string{
		"an event":                         "data: {\"x\":\"sk\"}\n\n",
		"an escape":                        "data: \"\\u0041\"\n\n",
		"one that has the key's beginning": "data: sk-proj-\n\n",
		"a JSON object":                    `{"ok":true}`,
	} {
		reader, writer := io.Pipe()
		stream := key.Stream(reader, false)
		go func() { _, _ = writer.Write([]byte(event)) }()
		p := make([]byte, 8<<10)
		n, err := stream.Read(p)
		if string(p[:n]) != event || err != nil {
			t.Errorf("%s: %q comes first, %v", name, p[:n], err)
		}
	}
}

func TestKey_IsPlaced(t *testing.T) {
	for name, tc := range map[string]struct {
		at            provider.Placement
		header, query string
	}{
		"bearer":             {at: bearer, header: "Bearer " + plainKey, query: "a=1"},
		"a query":            {at: provider.Placement{Query: "key"}, query: "a=1&key=" + plainKey},
		"Basic":              {at: provider.Placement{Header: "Authorization", Basic: true}, header: "Basic " + base64.StdEncoding.EncodeToString([]byte(plainKey+":")), query: "a=1"},
		"Basic, with a user": {at: provider.Placement{Header: "Authorization", Basic: true, User: "AC1"}, header: "Basic " + base64.StdEncoding.EncodeToString([]byte("AC1:"+plainKey)), query: "a=1"},
	} {
		key := realkey.New(plainKey, tc.at, "", false)
		header := make(http.Header)
		key.SetHeader(header)
		if got := header.Get("Authorization"); got != tc.header {
			t.Errorf("%s: the header is %q", name, got)
		}
		if got := key.AppendQuery("a=1"); got != tc.query {
			t.Errorf("%s: the query is %q", name, got)
		}
		if tc.header != "" && (!key.In("it was "+tc.header) || strings.Contains(key.Mask(tc.header), tc.header[8:20])) {
			t.Errorf("%s: its header is not found", name)
		}
	}
}

// A key that was refused rests for a minute, while another does not.
func TestPool_LetsKeysRest(t *testing.T) {
	a, b := newKey(plainKey), newKey(oddKey)
	pool := realkey.NewPool([]*realkey.Key{a, b})
	pick := func(pool *realkey.Pool, now time.Time) *realkey.Key {
		t.Helper()
		key, err := pool.Pick(t.Context(), now)
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	now := time.Unix(1000, 0)
	a.Rest(now)
	for range 4 {
		if pick(pool, now) != b {
			t.Error("a key that rests is picked")
		}
	}
	seen := map[*realkey.Key]bool{pick(pool, now.Add(time.Minute)): true, pick(pool, now.Add(time.Minute)): true}
	if len(seen) != 2 || pick(realkey.NewPool(nil), now) != realkey.None {
		t.Error("keys are not picked in turn")
	}
}

// A key that signs is not sent. Neither its secrets nor its signature pass in an answer.
func TestKey_Signs(t *testing.T) {
	const session, signature = "FwoGZXIvYXdzEJr//////////wEaDKxEXAMPLEtoken+9=", "0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0"
	var hashes []string
	sign := func(r *http.Request, hash string, _ time.Time) (string, error) {
		hashes = append(hashes, hash)
		r.Header.Set("Authorization", "SIGNED")
		return signature, nil
	}
	key := realkey.NewSigner(sign, []string{session, oddKey}, "a test's key")

	r := &http.Request{Header: make(http.Header)}
	key.SetHeader(r.Header)
	if len(r.Header) != 0 || key.AppendQuery("a=1") != "a=1" || !key.Signs() || newKey(plainKey).Signs() {
		t.Errorf("the key is placed in %d headers, want none", len(r.Header))
	}
	signed, err := key.Sign(r, []byte("abc"), epoch)
	if err != nil || r.Header.Get("Authorization") != "SIGNED" {
		t.Fatalf("the request is not signed: %v", err)
	}
	if want := "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"; len(hashes) != 1 || hashes[0] != want {
		t.Errorf("the body's hash is %q, want %s", hashes, want)
	}
	for name, secret := range map[string]string{"session token": session, "secret key": oddKey, "signature": signature} {
		text := "the canonical request is " + secret + ", and"
		if !signed.In(text) || signed.Mask(text) != "the canonical request is ***, and" {
			t.Errorf("the %s is not found in an answer", name)
		}
		for _, isError := range []bool{false, true} {
			if got, _ := io.ReadAll(signed.Stream(iotest.OneByteReader(strings.NewReader(text)), isError)); strings.Contains(string(got), secret) || len(got) != len(text) {
				t.Errorf("error=%v: the %s passes in %d bytes of %d", isError, name, len(got), len(text))
			}
		}
	}
	if key.In(signature) {
		t.Error("the key itself is changed by a signature")
	}
}

var epoch = time.Unix(0, 0)

func BenchmarkStream(b *testing.B) {
	text := []byte(strings.Repeat(`data: {"choices":[{"delta":{"content":"some words, \"quoted\"\n"}}],"id":"chatcmpl-9x"}`+"\n\n", 400))
	for _, isError := range []bool{false, true} {
		b.Run(fmt.Sprintf("error=%v", isError), func(b *testing.B) {
			key := newKey(plainKey)
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			p := make([]byte, 64<<10)
			source := bytes.NewReader(nil)
			for b.Loop() {
				source.Reset(text)
				stream := key.Stream(source, isError)
				for {
					if _, err := stream.Read(p); err != nil {
						break
					}
				}
			}
		})
	}
}

// No other package can read a key's bytes: the compiler refuses it.
func TestKey_BytesAreUnexported(t *testing.T) {
	dir := t.TempDir()
	for name, tt := range map[string]struct {
		body string
		fits bool
	}{
		"places it":      {"k.SetHeader(h)", true},
		"reads a field":  {"_ = k.bytes", false},
		"reads a value":  {"_ = k.value", false},
		"copies a field": {"var b struct{ bytes string }; b = struct{ bytes string }(*k); _ = b", false},
		"reads a table":  {"_ = k.tables()", false},
		"calls a signer": {"_ = k.sign", false},
	} {
		t.Run(name, func(t *testing.T) {
			source := "package thief\n\nimport (\n\t\"net/http\"\n\t\"github.com/relayapi/caddy-relayapi/internal/realkey\"\n)\n\n" +
				"func steal(k *realkey.Key, h http.Header) { " + tt.body + " }\n\nvar _ = steal\n"
			file := filepath.Join(dir, "thief.go")
			overlay := filepath.Join(dir, "overlay.json")
			for name, text := range map[string]string{
				file:    source,
				overlay: fmt.Sprintf(`{"Replace": {%q: %q}}`, inModule(t, "internal/thief/thief.go"), file),
			} {
				if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}

			cmd := exec.Command("go", "build", "-overlay", overlay, "github.com/relayapi/caddy-relayapi/internal/thief")
			out, err := cmd.CombinedOutput()
			if (err == nil) != tt.fits || err != nil && !strings.Contains(string(out), "thief.go:8:") {
				t.Errorf("the compiler says %q, %v; want it to compile: %t", out, err, tt.fits)
			}
		})
	}
}

// inModule returns the absolute path of a file in the module.
func inModule(t *testing.T, name string) string {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(root, name)
}
