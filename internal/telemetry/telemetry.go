// Package telemetry makes calls visible to Caddy's tracing, logs and handlers.
//
// [Trace] sets attributes on the span of the tracing handler, and offers placeholders.
// Both are evaluated only where they are used. They never contain the content of a
// message, a token or a key: names that clients and providers choose are redacted.
package telemetry

import (
	"cmp"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/caddyserver/caddy/v2"
	"github.com/relayapi/caddy-relayapi/internal/redact"
	"github.com/relayapi/caddy-relayapi/tokenstore"
	"go.opentelemetry.io/otel/trace"
)

// Call is what is known of a call at some moment. Unknown fields are empty.
type Call struct {
	TokenID, Issuer, Subject, Provider string
	Error                              string // the code of a refusal

	Preset string   // of the provider, or else its name
	Base   *url.URL // of the provider
	Status int      // of the provider's answer; 0 means none

	Bare bool // something in the request, as it came, may show a token

	// Asked and Answered return the models that the request and the answer name. They
	// may be nil.
	Asked, Answered func() string

	Known []string // tokens in the request; no piece of them may be exported
}

// Source returns what is known of the call of a request.
type Source interface {
	Describe(*http.Request) Call
}

// Trace follows a call. The zero Trace, of a call that has not begun, exports nothing.
type Trace struct {
	source  Source
	request *http.Request
	span    trace.Span
	asked   string // a copy, because the request's body is released
	used    used
}

// used adds up the usage of the parts of a call.
type used struct{ input, cacheRead, cacheWrite, output, reasoning int64 }

// Begin offers the placeholders of a request, and finds its span.
func (t *Trace) Begin(source Source, r *http.Request) {
	ctx := r.Context()
	t.source, t.request, t.span = source, r, trace.SpanFromContext(ctx)
	if placeholders, ok := ctx.Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
		placeholders.Map(t.placeholder)
	}
}

// recording reports whether the span is recorded.
func (t *Trace) recording() bool { return t.span != nil && t.span.IsRecording() }

// Admitted keeps the requested model if the span is recorded.
func (t *Trace) Admitted() {
	if t.recording() {
		c := t.source.Describe(t.request)
		t.model(&c)
	}
}

// Used adds the usage of a part of the call. It must not be called concurrently.
func (t *Trace) Used(part *tokenstore.Usage) {
	u := &t.used
	u.input += part.Input + part.AudioInput + part.ImageInput
	u.cacheRead += part.CacheRead
	u.cacheWrite += part.CacheWrite + part.CacheWriteHour
	u.output += part.Output + part.AudioOutput + part.ImageOutput
	u.reasoning += part.Reasoning
}

// End sets the attributes of the span.
func (t *Trace) End() {
	if t.recording() {
		c := t.source.Describe(t.request)
		c.set(t.span, t.request, t.model(&c), c.answered(), &t.used)
	}
}

// placeholder returns the value of {http.relayapi.*}. Access logs show the user as
// user_id.
func (t *Trace) placeholder(key string) (value any, known bool) {
	name, ours := strings.CutPrefix(key, "http.relayapi.")
	if !ours && key != "http.auth.user.id" {
		return nil, false
	}
	c := t.source.Describe(t.request)
	switch name {
	case "http.auth.user.id":
		return c.TokenID, c.TokenID != ""
	case "token_id":
		return c.TokenID, true
	case "issuer":
		return c.Issuer, true
	case "subject":
		return redact.Text(c.Subject, c.Known...), true
	case "provider":
		return c.Provider, true
	case "model":
		return cmp.Or(t.model(&c), c.answered()), true
	case "error":
		return c.Error, true
	}
	return nil, false
}

// model returns the model that the request names.
func (t *Trace) model(c *Call) string {
	if t.asked == "" && c.Asked != nil {
		t.asked = name(c.Asked(), c.Known...)
	}
	return t.asked
}

// answered returns the model that the answer names.
func (c *Call) answered() string {
	if c.Answered == nil {
		return ""
	}
	return name(c.Answered(), c.Known...)
}

// maxName is the longest name that a client or a provider may choose, in bytes.
const maxName = 128

// name returns a name that a client or a provider chose, truncated and without pieces
// of tokens or known secrets.
func name(text string, known ...string) string {
	text = redact.Text(text, known...)
	for len(text) > maxName || !utf8.ValidString(text) {
		text = strings.ToValidUTF8(text[:min(len(text), maxName)], "")
	}
	return text
}
