// Package coding undoes the content codings of HTTP bodies (RFC 9110, section 8.4).
//
// [Request] is strict, because the relay must read a body as the provider will.
// [Answer] is lenient: what an answer holds is searched, whatever it says of itself.
package coding

import (
	"bufio"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"
)

// ZstdWindow is the most memory that a zstd decoder takes, in bytes. Encoders use
// no more at their usual levels. A few bytes of input are enough to claim it all.
const ZstdWindow = 2 << 20

// ErrUnknown means that a request has a coding that the relay does not undo.
var ErrUnknown = errors.New("the body's content coding must be gzip or zstd")

// Request undoes the one coding that the body of a request may have.
func Request(body io.Reader, codings []string) (io.ReadCloser, error) {
	switch strings.ToLower(strings.Join(codings, ",")) {
	case "", "identity":
		return io.NopCloser(body), nil
	case "gzip":
		return gzip.NewReader(body)
	case "zstd":
		return newZstd(body)
	}
	return nil, ErrUnknown
}

// IsZstd reports whether [Request] would use a zstd decoder.
func IsZstd(codings []string) bool { return strings.EqualFold(strings.Join(codings, ","), "zstd") }

func newZstd(body io.Reader) (io.ReadCloser, error) {
	plain, err := zstd.NewReader(body, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(ZstdWindow))
	if err != nil {
		return nil, err
	}
	return plain.IOReadCloser(), nil
}

// ErrTooLong means that an answer decodes to more than is passed on.
var ErrTooLong = errors.New("relayapi: the answer decodes to more than is passed on")

// Answer undoes the codings of an answer's body, which may decode to at most so
// many bytes. A body that is plain although it claims a coding stays as it is. It
// reports whether any coding was claimed.
func Answer(body io.Reader, codings []string, most int64) (plain io.Reader, coded bool, err error) {
	names := strings.FieldsFunc(strings.ToLower(strings.Join(codings, ",")), func(c rune) bool { return c == ',' || c == ' ' })
	for _, name := range slices.Backward(names) {
		if name == "identity" {
			continue
		}
		if body, err = undo(name, body); err != nil {
			return nil, true, err
		}
	}
	if len(names) > 0 {
		body = &bounded{body, most}
	}
	return body, len(names) > 0, nil
}

// undo undoes one coding.
func undo(name string, body io.Reader) (io.Reader, error) {
	ahead := bufio.NewReader(body)
	start, _ := ahead.Peek(4) // an error shows when the body is read
	switch name {
	case "gzip", "x-gzip":
		if len(start) < 2 || start[0] != 0x1f || start[1] != 0x8b {
			return ahead, nil
		}
		return gzip.NewReader(ahead)
	case "zstd":
		if string(start) != "\x28\xb5\x2f\xfd" {
			return ahead, nil
		}
		return newZstd(ahead)
	case "deflate":
		switch {
		case len(start) < 2 || start[0] == '{' || start[0] == '<' || start[0] == '[':
			return ahead, nil
		case start[0]&0x0f == 8 && (int(start[0])<<8|int(start[1]))%31 == 0: // RFC 1950
			return zlib.NewReader(ahead)
		}
		return flate.NewReader(ahead), nil
	}

	if len(start) > 0 && (start[0] == '{' || start[0] == '<') { // no coding begins like that
		return ahead, nil
	}
	if name == "br" {
		return brotli.NewReader(ahead), nil
	}
	return nil, fmt.Errorf("in the content coding %.20q", name)
}

// bounded fails when more is read from it than is left.
type bounded struct {
	io.Reader
	left int64
}

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, ErrTooLong
	}
	return n, err
}
