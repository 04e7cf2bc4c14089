package relayapi

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/relayapi/caddy-relayapi/grant"
	"github.com/relayapi/caddy-relayapi/internal/cors"
	"github.com/relayapi/caddy-relayapi/internal/errorform"
	"github.com/relayapi/caddy-relayapi/internal/prefix"
	"github.com/relayapi/caddy-relayapi/internal/redact"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// Codes of refusals, besides the policy's, which are [grant.Reason]s.
const (
	codePredates            = "token_predates_store"
	codeConflict            = "token_conflict"
	codeRevoked             = "token_revoked"
	codeDisabled            = "token_disabled"
	codeEnded               = "call_ended"
	codeCallsExhausted      = "calls_exhausted"
	codeTokensExhausted     = "tokens_exhausted"
	codeBudgetExhausted     = "budget_exhausted"
	codeCostUnbounded       = "cost_unbounded"
	codeModelUnpriced       = "model_unpriced"
	codeInvalidRequest      = "invalid_request"
	codeTooLarge            = "request_too_large"
	codeTooEarly            = "too_early"
	codeMethodNotAllowed    = "method_not_allowed"
	codeMintUnauthorized    = "mint_unauthorized"
	codeGrantType           = "unsupported_grant_type"
	codeRateLimited         = "rate_limited"
	codeConcurrency         = "concurrency_exceeded"
	codeBusy                = "busy"
	codeNotReady            = "not_ready"
	codeStoreUnavailable    = "store_unavailable"
	codeProviderRefusedKey  = "provider_refused_key"
	codeNoCredential        = "provider_credential_unavailable"
	codeAnswerWithheld      = "provider_answer_withheld"
	codeAnswerUnreadable    = "provider_error_unreadable"
	codeProviderUnreachable = "provider_unreachable"
	codeProviderTimeout     = "provider_timeout"
)

// Types of errors, as the OpenAI and Anthropic APIs name them.
const (
	authentication = "authentication_error"
	permission     = "permission_error"
	invalidRequest = "invalid_request_error"
	rateLimit      = "rate_limit_error"
	ours           = "api_error"
)

// answer is a refusal as the client sees it.
type answer struct {
	status  int
	kind    string
	message string // tells the client what to do
	detail  bool   // the broken rule is appended; the holder is genuine and may know
	retry   int    // seconds after which a retry can help; 0 means that none can

	level zapcore.Level // of the log line; higher than INFO if the operator must act
}

// answers has all refusals by code. Every token that does not verify has one code, and
// so one body. The operator's log has the difference, which would be an oracle for
// anyone else.
var answers = map[string]answer{
	string(grant.Invalid): {status: 401, kind: authentication,
		message: "There is no valid relay token in this request. Put the token where the API key goes."},
	string(grant.Expired): {status: 401, kind: authentication, detail: true,
		message: "The relay token has expired. Ask your back-end for a new one."},
	string(grant.NotYetValid): {status: 401, kind: authentication, detail: true,
		message: "The relay token is not valid yet."},
	codePredates: {status: 401, kind: authentication,
		message: "The relay token was issued before this relay's records begin. Ask your back-end for a new one."},
	codeConflict: {status: 401, kind: authentication,
		message: "Another relay token with the same id but other claims is in use. Ask your back-end for one with a unique id."},

	codeRevoked: {status: 401, kind: authentication,
		message: "The relay token was revoked. Ask your back-end for a new one."},
	codeDisabled: {status: 401, kind: authentication,
		message: "The relay token is disabled."},

	string(grant.BeyondGrant): {status: 403, kind: permission, detail: true,
		message: "The issuer of the relay token may not grant this."},
	string(grant.NoProvider): {status: 403, kind: permission, detail: true,
		message: "The relay token does not permit this provider."},
	string(grant.NoPath): {status: 403, kind: permission, detail: true,
		message: "The relay token does not permit this request."},
	string(grant.NoMethod): {status: 403, kind: permission, detail: true,
		message: "The relay token does not permit this method."},
	string(grant.NoUpgrade): {status: 426, kind: permission, detail: true,
		message: "A WebSocket is not open here. Send the request without an upgrade."},
	string(grant.NeedsUpgrade): {status: 426, kind: permission, detail: true,
		message: "This is open as a WebSocket only."},
	string(grant.NoModel): {status: 403, kind: permission, detail: true,
		message: "The relay token does not permit this model."},
	string(grant.NoIP): {status: 403, kind: permission, // without the address, which behind a proxy is the operator's
		message: "The relay token does not permit this address."},
	string(grant.NoOrigin): {status: 403, kind: permission, detail: true,
		message: "The relay token does not permit pages of this origin."},
	codeEnded: {status: 403, kind: permission, // SDKs do not retry it
		message: "The operator of the relay ended this call."},
	codeCallsExhausted: {status: 403, kind: permission, detail: true, // not 429, which SDKs retry
		message: "The calls of the relay token are used up."},
	codeTokensExhausted: {status: 403, kind: permission, detail: true,
		message: "The tokens of models that the relay token permits are used up."},
	codeBudgetExhausted: {status: 403, kind: permission, detail: true,
		message: "The budget of the relay token is used up."},
	codeCostUnbounded: {status: 403, kind: permission, detail: true,
		message: "The relay token has a budget, and the cost of this request has no bound."},
	codeModelUnpriced: {status: 403, kind: permission, detail: true,
		message: "The relay token has a budget, and the relay knows no price for this request."},

	codeInvalidRequest: {status: 400, kind: invalidRequest, detail: true,
		message: "The relay cannot read this request."},
	codeTooLarge: {status: 413, kind: invalidRequest,
		message: "The request body is longer than this site permits."},
	codeTooEarly: {status: 425, kind: invalidRequest, retry: 1,
		message: "The request came as TLS early data, which can be replayed. Send it again."},

	codeMethodNotAllowed: {status: 405, kind: invalidRequest, detail: true,
		message: "This endpoint does not permit the request's method."},
	codeMintUnauthorized: {status: 401, kind: authentication,
		message: "There is no valid mint secret or login token in this request. Send it as Authorization: Bearer."},
	codeGrantType: {status: 400, kind: invalidRequest, detail: true,
		message: "This endpoint exchanges login tokens."},
	codeRateLimited: {status: 429, kind: rateLimit, detail: true, retry: 1,
		message: "There are too many requests. Wait before the next one."},

	codeConcurrency: {status: 429, kind: rateLimit, detail: true, retry: 1,
		message: "There are too many calls of the relay token at once. Wait for one to end."},

	codeBusy: {status: 503, kind: ours, retry: 1,
		message: "The relay is reading too many long requests at once."},
	codeNotReady: {status: 503, kind: ours, retry: 1,
		message: "The relay is starting."},
	codeStoreUnavailable: {status: 503, kind: ours, retry: 5, level: zap.ErrorLevel,
		message: "The relay cannot count calls at present, so it admits none."},

	codeProviderRefusedKey: {status: 424, kind: ours, level: zap.WarnLevel, // SDKs do not retry it
		message: "The provider did not accept the relay's key. Tell whoever runs this relay."},
	codeNoCredential: {status: 503, kind: ours, retry: 5, level: zap.ErrorLevel,
		message: "The relay cannot get its credential for the provider at present. Tell whoever runs this relay."},
	codeAnswerWithheld: {status: 502, kind: ours,
		message: "The provider's answer contained something that the relay must not pass on."},
	codeProviderUnreachable: {status: 502, kind: ours, retry: 2,
		message: "The provider could not be reached, or closed the connection before it answered."},
	codeProviderTimeout: {status: 504, kind: ours, retry: 2,
		message: "The provider did not answer in time."},
}

// refusal is a request that the relay answers itself.
type refusal struct {
	code string
	rule string // the broken rule; for the log, and for the client if answer.detail is set

	form  errorform.Form // of the body; zero means the common one
	shown bool           // the client sees the rule, whatever answer.detail says
	retry int            // seconds after which a retry can help; overrides a lower answer.retry

	scope, limit string // of the limit that was reached; empty if none was
}

// refuse makes a refusal. A rule may quote the client, so it is redacted.
func refuse(code, rule string) *refusal {
	return &refusal{code: code, rule: redact.Text(rule), form: errorform.Common}
}

// after returns the refusal with the time to wait before a retry.
func (f *refusal) after(wait time.Duration) *refusal {
	f.retry = int(math.Ceil(wait.Seconds()))
	return f
}

// of returns the refusal with the limit that was reached, for the metrics.
func (f *refusal) of(scope, limit string) *refusal {
	f.scope, f.limit = scope, limit
	return f
}

// hiding returns the refusal without pieces of known secrets in its rule.
func (f *refusal) hiding(known ...string) *refusal {
	rule := redact.Text(f.rule, known...)
	if rule == f.rule {
		return f
	}
	hidden := *f // some refusals are shared
	hidden.rule = rule
	return &hidden
}

// denied turns an error of the token cache or the grant into a refusal.
func denied(err error) *refusal {
	var d *grant.Denial
	if errors.As(err, &d) {
		return refuse(string(d.Reason), d.Rule)
	}
	return refuse(codeNotReady, err.Error()) // the client is gone, or the relay stops
}

// Error makes a refusal an error that the transport can return.
func (f *refusal) Error() string { return f.code + ": " + f.rule }

// inForm returns the refusal in the form that a provider's clients expect. The provider
// is nil if it is unknown.
func (f *refusal) inForm(p *Provider, path string) *refusal {
	shaped := *f // some refusals are shared
	if shaped.form = errorform.Unknown; p != nil {
		shaped.form = errorform.For(p.speaks, path)
	}
	return &shaped
}

// speaks reports whether a provider has a preset or a dialect of that name.
func (p *Provider) speaks(name string) bool {
	return cmp.Or(p.Preset, p.name) == name || p.dialect != nil && p.dialect.Name() == name
}

// likelyProvider returns the provider whose clients read a refusal, and the request's
// path there. It is the token's provider, else the one in the path, else the only one,
// else nil.
func (h *Handler) likelyProvider(c *call, r *http.Request) (*Provider, string) {
	path := r.URL.Path
	if h.endpoint {
		return nil, path
	}
	named, below, ok := prefix.Cut(path, h.Prefix)
	ok = ok && h.Prefix != ""
	if p := c.provider(); p != nil {
		if ok && named == p.name { // refused before the prefix was stripped
			path = below
		}
		return p, path
	}
	if ok {
		return h.app.Providers[named], below
	}
	if len(h.app.Providers) == 1 {
		for _, p := range h.app.Providers {
			return p, path
		}
	}
	return nil, path
}

// write answers the request. It does not return an error to Caddy, because a site's
// HTML error page would break SDKs.
func (f *refusal) write(w http.ResponseWriter) {
	a, e := answers[f.code], f.error()
	body := f.form.Body(e)
	header := w.Header()
	header.Set("Cache-Control", "no-store")
	header.Set("Content-Type", "application/json")
	header.Set("Content-Length", strconv.Itoa(len(body)))
	f.form.SetHeader(header, e)

	if retry := max(a.retry, f.retry); retry > 0 {
		header.Set("Retry-After", strconv.Itoa(retry))
	} else {
		header.Set("X-Should-Retry", "false")
	}
	if a.status == http.StatusUpgradeRequired { // RFC 9110, section 15.5.22
		header.Set("Upgrade", "websocket")
		header.Add("Connection", "Upgrade")
	}
	w.WriteHeader(f.form.Status(e))
	_, _ = w.Write(body) // a client that is gone needs no answer
}

// error returns the refusal in the form that clients read.
func (f *refusal) error() errorform.Error {
	a := answers[f.code]
	message := a.message
	if (a.detail || f.shown) && f.rule != "" {
		message += " (" + f.rule + ")"
	}
	return errorform.Error{Status: a.status, Kind: a.kind, Code: f.code, Message: message}
}

// event returns the refusal as an event of a stream that has begun. OpenAI's SDKs throw
// on an event with an error in it, and Anthropic's on an event named error. Google's
// skip named events, and throw on an error in Google's form.
func (f *refusal) event(dialect string) []byte {
	if dialect != "gemini" {
		return fmt.Appendf(nil, "event: error\ndata: %s\n\n", f.form.Body(f.error()))
	}
	bare := refusal{code: f.code}
	return fmt.Appendf(nil, "data: %s\n\n", errorform.Google.Body(bare.error()))
}

// log writes one line that names the broken rule, and counts the refusal.
func (f *refusal) log(logger *zap.Logger, fields ...zap.Field) {
	stats.Refusal(f.code, f.scope, f.limit)
	if c := logger.Check(answers[f.code].level, "refused"); c != nil {
		c.Write(append(fields,
			zap.String("code", f.code),
			zap.String("rule", f.rule),
			zap.Int("status", answers[f.code].status))...)
	}
}

// preflight answers a CORS preflight request.
func preflight(c *call, r *http.Request) bool {
	if !cors.Preflight(c.writer.Header(), r) {
		return false
	}
	c.held.client.KeepConnection()
	c.outcome.status.Store(http.StatusNoContent)
	c.writer.WriteHeader(http.StatusNoContent)
	return true
}

// probe answers a tool that checks for a server before its first call. The tool would
// mistake a refusal for a relay that is down.
func (h *Handler) probe(c *call, r *http.Request) bool {
	if !prefix.Probe(r, h.Prefix) {
		return false
	}
	c.held.client.KeepConnection()
	c.outcome.status.Store(http.StatusOK)
	header := c.writer.Header()
	header.Set("Allow", "GET, HEAD, POST, OPTIONS")
	header.Set("Cache-Control", "no-store")
	c.writer.WriteHeader(http.StatusOK)
	return true
}
