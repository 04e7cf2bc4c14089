package coding

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"
)

const text = `{"model":"small"}`

func encode(t *testing.T, plain string, encoder func(w io.Writer) (io.WriteCloser, error)) string {
	t.Helper()
	var b bytes.Buffer
	w, err := encoder(&b)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(w, plain)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func gzipped(w io.Writer) (io.WriteCloser, error)  { return gzip.NewWriter(w), nil }
func zlibbed(w io.Writer) (io.WriteCloser, error)  { return zlib.NewWriter(w), nil }
func deflated(w io.Writer) (io.WriteCloser, error) { return flate.NewWriter(w, 9) }
func brotlied(w io.Writer) (io.WriteCloser, error) { return brotli.NewWriter(w), nil }
func zstded(w io.Writer) (io.WriteCloser, error)   { return zstd.NewWriter(w) }

// manyWindows claims a window that is larger than permitted.
func manyWindows(w io.Writer) (io.WriteCloser, error) {
	return zstd.NewWriter(w, zstd.WithWindowSize(2*ZstdWindow), zstd.WithSingleSegment(false))
}

func TestRequest(t *testing.T) {
	for name, tt := range map[string]struct {
		codings []string
		body    string
		fails   bool
	}{
		"plain":                  {nil, text, false},
		"identity":               {[]string{"identity"}, text, false},
		"gzip":                   {[]string{"GZIP"}, encode(t, text, gzipped), false},
		"zstd":                   {[]string{"zstd"}, encode(t, text, zstded), false},
		"zstd of a large window": {[]string{"zstd"}, encode(t, strings.Repeat(text, 1<<18), manyWindows), true},
		"gzip that is plain":     {[]string{"gzip"}, text, true},
		"gzip twice":             {[]string{"gzip, gzip"}, encode(t, text, gzipped), true},
		"two fields":             {[]string{"gzip", "gzip"}, encode(t, text, gzipped), true},
		"br":                     {[]string{"br"}, text, true},
		"deflate":                {[]string{"deflate"}, encode(t, text, zlibbed), true},
	} {
		t.Run(name, func(t *testing.T) {
			plain, err := Request(strings.NewReader(tt.body), tt.codings)
			var got []byte
			if err == nil {
				got, err = io.ReadAll(plain)
			}
			if (err != nil) != tt.fails || err == nil && string(got) != text {
				t.Errorf("got %q, %v; want %q, or an error: %t", got, err, text, tt.fails)
			}
		})
	}
}

func TestAnswer(t *testing.T) {
	for name, tt := range map[string]struct {
		codings []string
		body    string
		fails   bool
	}{
		"plain":                       {nil, text, false},
		"gzip":                        {[]string{"x-gzip"}, encode(t, text, gzipped), false},
		"zstd":                        {[]string{"zstd"}, encode(t, text, zstded), false},
		"deflate with its header":     {[]string{"deflate"}, encode(t, text, zlibbed), false},
		"deflate without its header":  {[]string{"deflate"}, encode(t, text, deflated), false},
		"gzip twice":                  {[]string{"gzip, gzip"}, encode(t, encode(t, text, gzipped), gzipped), false},
		"gzip that is plain":          {[]string{"gzip"}, text, false},
		"gzip twice that is so once":  {[]string{"gzip", "gzip"}, encode(t, text, gzipped), false},
		"br":                          {[]string{"br"}, encode(t, text, brotlied), false},
		"br that is plain":            {[]string{"br"}, text, false},
		"br that is neither":          {[]string{"br"}, "hello", true},
		"an unknown one, and is that": {[]string{"compress"}, "\x1f\x9dhello", true},
		"an unknown one, but plain":   {[]string{"compress"}, text, false},
	} {
		t.Run(name, func(t *testing.T) {
			bodies := []io.Reader{iotest.OneByteReader(strings.NewReader(tt.body))}
			for at := range tt.body { // it comes in two pieces
				bodies = append(bodies, io.MultiReader(strings.NewReader(tt.body[:at]), strings.NewReader(tt.body[at:])))
			}
			for i, body := range bodies {
				plain, coded, err := Answer(body, tt.codings, 1000)
				var got []byte
				if err == nil {
					got, err = io.ReadAll(plain)
				}
				if (err != nil) != tt.fails || err == nil && string(got) != text || coded != (tt.codings != nil) {
					t.Errorf("body %d: got %q, %t, %v; want %q, %t, or an error: %t", i, got, coded, err, text, tt.codings != nil, tt.fails)
				}
			}
		})
	}
}

func TestAnswer_IsBounded(t *testing.T) {
	bomb := encode(t, strings.Repeat("x", 1<<20), gzipped)
	plain, _, err := Answer(strings.NewReader(bomb), []string{"gzip"}, 1<<10)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := io.Copy(io.Discard, plain); !errors.Is(err, ErrTooLong) || n > 1<<10 {
		t.Errorf("read %d bytes, %v; want at most %d and %v", n, err, 1<<10, ErrTooLong)
	}
}
