package realkey

import (
	"errors"
	"io"
	"net"
	"strings"
	"time"
	"unicode"
)

// How much of a provider's message is read and quoted in the log, and how long it
// is waited for.
const (
	excerptRead = 4 << 10
	excerptSize = 300
	excerptTime = 2 * time.Second
)

// Excerpt returns the beginning of a provider's message as one line without the key.
func (k *Key) Excerpt(body io.ReadCloser) string {
	overdue := time.AfterFunc(excerptTime, func() { body.Close() })
	defer overdue.Stop()
	text, _ := io.ReadAll(io.LimitReader(body, excerptRead)) // a part will do

	line := strings.Join(strings.FieldsFunc(k.Mask(string(text)), func(c rune) bool {
		return unicode.IsSpace(c) || !unicode.IsPrint(c) || c == unicode.ReplacementChar
	}), " ")
	if len(line) > excerptSize {
		line = strings.ToValidUTF8(line[:excerptSize], "") + "…"
	}
	return line
}

// MaskError returns an error without the key. reverse_proxy logs it, and the standard
// library quotes what it cannot parse of an answer.
func (k *Key) MaskError(err error) error { return &maskedError{err, k} }

type maskedError struct {
	error
	key *Key
}

func (e *maskedError) Error() string { return e.key.Mask(e.error.Error()) }
func (e *maskedError) Unwrap() error { return e.error }

// Timeout implements [net.Error], which reverse_proxy asks without unwrapping.
func (e *maskedError) Timeout() bool {
	var netErr net.Error
	return errors.As(e.error, &netErr) && netErr.Timeout()
}

// Temporary implements [net.Error].
func (e *maskedError) Temporary() bool { return false }
