package telemetry

import (
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/relayapi/caddy-relayapi/internal/redact"
	"go.opentelemetry.io/otel/attribute"
	semconv "go.opentelemetry.io/otel/semconv/v1.41.0"
	"go.opentelemetry.io/otel/trace"
)

// The relay's own attributes.
const (
	TokenID = attribute.Key("relayapi.token_id")
	Issuer  = attribute.Key("relayapi.issuer")
)

// set sets the attributes of a call on its span, by the conventions for generative
// AI (https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/). asked and
// answered are the models.
func (c *Call) set(span trace.Span, r *http.Request, asked, answered string, u *used) {
	var all []attribute.KeyValue
	text := func(key attribute.Key, value string) {
		if value != "" {
			all = append(all, key.String(value))
		}
	}
	count := func(key attribute.Key, n int64) {
		if n > 0 {
			all = append(all, key.Int64(n))
		}
	}

	text(TokenID, c.TokenID)
	text(Issuer, c.Issuer)
	if c.Error == "" && c.Status >= 400 {
		c.Error = strconv.Itoa(c.Status)
	}
	text(semconv.ErrorTypeKey, c.Error)
	if c.Base != nil {
		text(semconv.ServerAddressKey, c.Base.Hostname())
		count(semconv.ServerPortKey, port(c.Base))
	}

	operation := operationOf(r.URL.Path)
	if operation != "" || asked != "" || answered != "" { // calls to other APIs have none of these
		text(semconv.GenAIOperationNameKey, operation)
		text(semconv.GenAIProviderNameKey, providerName(c.Preset))
		text(semconv.GenAIRequestModelKey, asked)
		text(semconv.GenAIResponseModelKey, answered)
	}
	count(semconv.GenAIUsageInputTokensKey, u.input+u.cacheRead+u.cacheWrite)
	count(semconv.GenAIUsageCacheReadInputTokensKey, u.cacheRead)
	count(semconv.GenAIUsageCacheCreationInputTokensKey, u.cacheWrite)
	count(semconv.GenAIUsageOutputTokensKey, u.output)
	count(semconv.GenAIUsageReasoningOutputTokensKey, u.reasoning)
	span.SetAttributes(append(all, c.hidden(r)...)...)
}

// hidden replaces the attributes that the tracing handler has set for a request with a
// misplaced token.
func (c *Call) hidden(r *http.Request) (all []attribute.KeyValue) {
	for key, text := range map[attribute.Key]string{semconv.URLPathKey: r.URL.Path, semconv.HTTPRequestMethodOriginalKey: r.Method} {
		if safe := redact.Text(text, c.Known...); safe != text {
			all = append(all, key.String(safe))
		}
	}
	if !c.Bare {
		return all
	}
	// A header with a piece of a token is gone by now. The client's address was taken from
	// X-Forwarded-For.
	client, _, _ := net.SplitHostPort(r.RemoteAddr)
	all = append(all, semconv.UserAgentOriginal(redact.Text(r.UserAgent(), c.Known...)), semconv.ClientAddress(client))
	if c.Base == nil { // it is still the Host
		all = append(all, semconv.ServerAddress(redact.Text(r.Host, c.Known...)))
	}
	return all
}

func port(base *url.URL) int64 {
	n, err := strconv.ParseInt(base.Port(), 10, 64)
	switch {
	case err == nil:
		return n
	case base.Scheme == "http":
		return 80
	}
	return 443
}

// operations has the operations of the conventions, by the ends of paths.
var operations = []struct {
	end       string
	operation attribute.KeyValue
}{
	{"/chat/completions", semconv.GenAIOperationNameChat},
	{"/responses", semconv.GenAIOperationNameChat},
	{"/messages", semconv.GenAIOperationNameChat},
	{"/chat", semconv.GenAIOperationNameChat},
	{"/converse", semconv.GenAIOperationNameChat},
	{"/converse-stream", semconv.GenAIOperationNameChat},
	{"/realtime", semconv.GenAIOperationNameChat},
	{"/completions", semconv.GenAIOperationNameTextCompletion},
	{"/embeddings", semconv.GenAIOperationNameEmbeddings},
	{"/embed", semconv.GenAIOperationNameEmbeddings},
	{":embedContent", semconv.GenAIOperationNameEmbeddings},
	{":batchEmbedContents", semconv.GenAIOperationNameEmbeddings},
	{":generateContent", semconv.GenAIOperationNameGenerateContent},
	{":streamGenerateContent", semconv.GenAIOperationNameGenerateContent},
}

// operationOf returns the operation of a path, or "" if the conventions have no name
// for it.
func operationOf(path string) string {
	for _, o := range operations {
		if strings.HasSuffix(path, o.end) {
			return o.operation.Value.AsString()
		}
	}
	return ""
}

// providers has the presets whose names differ in the conventions.
var providers = map[string]attribute.KeyValue{
	"azure-openai": semconv.GenAIProviderNameAzureAIOpenAI,
	"bedrock":      semconv.GenAIProviderNameAWSBedrock,
	"gemini":       semconv.GenAIProviderNameGCPGemini,
	"mistral":      semconv.GenAIProviderNameMistralAI,
	"xai":          semconv.GenAIProviderNameXAI,
}

func providerName(preset string) string {
	if name, ok := providers[preset]; ok {
		return name.Value.AsString()
	}
	return preset
}
