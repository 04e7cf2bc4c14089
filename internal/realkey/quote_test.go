package realkey

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/relayapi/caddy-relayapi/provider"
)

// quotedKey is a key of a test's.
const quotedKey = "sk-live-0123456789abcdefghijklmnop"

// What is quoted of a provider's refusal is one line without the key.
func TestExcerpt(t *testing.T) {
	key := New(quotedKey, provider.Placement{Header: "X-Key"}, "a test's key", true)
	long := strings.Repeat("word ", 200)
	for text, want := range map[string]string{
		"{\n\t\"error\": \"Incorrect API key: " + quotedKey + "\"\n}": `{ "error": "Incorrect API key: ***" }`,
		"\x00\x1b[31mred\xff": "[31mred",
		"":                    "",
		long:                  long[:excerptSize-1] + " …",
	} {
		if got := key.Excerpt(io.NopCloser(strings.NewReader(text))); got != want {
			t.Errorf("%.60q is quoted as %q, want %q", text, got, want)
		}
	}
	reader, writer := io.Pipe()
	defer writer.Close()
	begun := time.Now()
	if got := key.Excerpt(reader); got != "" || time.Since(begun) > 10*excerptTime {
		t.Errorf("of a body that never ends %q is quoted", got)
	}
}

func TestMaskError(t *testing.T) {
	key := New(quotedKey, provider.Placement{Header: "X-Key"}, "a test's key", true)
	cause := fmt.Errorf("malformed header %q: %w", "X: "+quotedKey, context.DeadlineExceeded)
	err := key.MaskError(cause)
	if got, want := err.Error(), `malformed header "X: ***": context deadline exceeded`; got != want {
		t.Errorf("the error reads %q, want %q", got, want)
	}
	netErr, ok := err.(net.Error)
	if !ok || !netErr.Timeout() || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the error is a net.Error: %t; it must be a timeout, as its cause is", ok)
	}
}
