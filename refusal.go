package relayapi

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"

	"github.com/relayapi/caddy-relayapi/grant"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// Codes of refusals that are not the policy's; those are [grant.Reason]s.
const (
	codePredates            = "token_predates_store"
	codeConflict            = "token_conflict"
	codeRevoked             = "token_revoked"
	codeDisabled            = "token_disabled"
	codeCallsExhausted      = "calls_exhausted"
	codeInvalidRequest      = "invalid_request"
	codeTooLarge            = "request_too_large"
	codeTooEarly            = "too_early"
	codeMethodNotAllowed    = "method_not_allowed"
	codeMintUnauthorized    = "mint_unauthorized"
	codeRateLimited         = "rate_limited"
	codeConcurrency         = "concurrency_exceeded"
	codeBusy                = "busy"
	codeNotReady            = "not_ready"
	codeStoreUnavailable    = "store_unavailable"
	codeProviderRefusedKey  = "provider_refused_key"
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

// answer is what a client sees of a refusal.
type answer struct {
	status  int
	kind    string
	message string // says what to do
	detail  bool   // append the broken rule: the holder is genuine and may know
	retry   int    // seconds after which a retry can help; 0: it cannot

	level zapcore.Level // of the line in the log; zero is INFO, and higher for what the operator has to mend
}

// answers has all refusals by code. One code, and so one body, serves every
// token that does not verify: the difference is for the operator's log, and an
// oracle to anyone else.
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
		message: "Another relay token with the same id but other claims is in use. Ask your back-end for one with an id of its own."},

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
	string(grant.NoIP): {status: 403, kind: permission, // not the address: behind a proxy that is the operator's
		message: "The relay token does not permit this address."},
	string(grant.NoOrigin): {status: 403, kind: permission, detail: true,
		message: "The relay token does not permit pages of this origin."},
	codeCallsExhausted: {status: 403, kind: permission, detail: true, // not 429, which SDKs retry
		message: "The calls of the relay token are used up."},

	codeInvalidRequest: {status: 400, kind: invalidRequest, detail: true,
		message: "The relay cannot read this request."},
	codeTooLarge: {status: 413, kind: invalidRequest,
		message: "The request's body is longer than this site takes."},
	codeTooEarly: {status: 425, kind: invalidRequest, retry: 1,
		message: "The request came as TLS early data, which can be replayed. Send it again."},

	codeMethodNotAllowed: {status: 405, kind: invalidRequest, detail: true,
		message: "This endpoint does not take the request's method."},
	codeMintUnauthorized: {status: 401, kind: authentication,
		message: "There is no valid mint secret in this request. Send it as Authorization: Bearer."},
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
	codeAnswerWithheld: {status: 502, kind: ours,
		message: "The provider's answer held what must not be passed on."},
	codeProviderUnreachable: {status: 502, kind: ours, retry: 2,
		message: "The provider could not be reached or broke off before it answered."},
	codeProviderTimeout: {status: 504, kind: ours, retry: 2,
		message: "The provider did not answer in time."},
}

// refusal is a request that the relay answers itself.
type refusal struct {
	code string
	rule string // exactly what was broken; for the log, and for the client where answer.detail says so

	told  bool // the client is told the rule, whatever answer.detail says
	retry int  // seconds after which a retry can help, where that is later than the answer says
}

// refuse makes a refusal. A rule may quote the client, and so is redacted.
func refuse(code, rule string) *refusal { return &refusal{code: code, rule: redact(rule)} }

// hiding returns the refusal without pieces of the known secrets in its rule.
func (f *refusal) hiding(known ...string) *refusal {
	rule := redact(f.rule, known...)
	if rule == f.rule {
		return f
	}
	hidden := *f // some refusals are shared
	hidden.rule = rule
	return &hidden
}

// Error makes a refusal an error that the transport can return.
func (f *refusal) Error() string { return f.code + ": " + f.rule }

// errorBody is a shape in which the SDKs of OpenAI, Anthropic and Gemini all
// find the message.
type errorBody struct {
	Type  string      `json:"type"`
	Error errorDetail `json:"error"`
}

type errorDetail struct {
	Type    string `json:"type"`
	Code    string `json:"code"`
	Message string `json:"message"`
}

// write answers the request. The relay does so itself, instead of
// returning an error to Caddy, because a site's HTML error page would break SDKs.
func (f *refusal) write(w http.ResponseWriter) {
	a, body := answers[f.code], f.body()
	header := w.Header()
	header.Set("Cache-Control", "no-store")
	header.Set("Content-Type", "application/json")
	header.Set("Content-Length", strconv.Itoa(len(body)))
	if retry := max(a.retry, f.retry); retry > 0 {
		header.Set("Retry-After", strconv.Itoa(retry))
	} else {
		header.Set("X-Should-Retry", "false")
	}
	if a.status == http.StatusUpgradeRequired { // RFC 9110, section 15.5.22
		header.Set("Upgrade", "websocket")
		header.Add("Connection", "Upgrade")
	}
	w.WriteHeader(a.status)
	_, _ = w.Write(body) // a client that is gone needs no answer
}

// body is the refusal as JSON.
func (f *refusal) body() []byte {
	a := answers[f.code]
	message := a.message
	if (a.detail || f.told) && f.rule != "" {
		message += " (" + f.rule + ")"
	}
	body, _ := json.Marshal(errorBody{"error", errorDetail{a.kind, f.code, message}}) // strings marshal
	return body
}

// event is the refusal in a stream of events that had begun. OpenAI's SDKs throw
// what has an error in it, Anthropic's what is called error. Google's skip what has
// a name, and throw what has an error as Google writes it
// (https://google.aip.dev/193).
func (f *refusal) event(dialect string) []byte {
	if dialect != "gemini" {
		return fmt.Appendf(nil, "event: error\ndata: %s\n\n", f.body())
	}
	var google struct {
		Error struct {
			Code    int                 `json:"code"`
			Message string              `json:"message"`
			Status  string              `json:"status"`
			Details []map[string]string `json:"details"`
		} `json:"error"`
	}
	a, e := answers[f.code], &google.Error
	e.Code, e.Message, e.Status = a.status, a.message, "PERMISSION_DENIED"
	if a.status == http.StatusUnauthorized {
		e.Status = "UNAUTHENTICATED"
	}
	e.Details = []map[string]string{{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": f.code, "domain": "relayapi"}}
	data, _ := json.Marshal(google) // texts and numbers marshal
	return fmt.Appendf(nil, "data: %s\n\n", data)
}

// log writes the one line that names the broken rule, and counts the refusal.
func (f *refusal) log(logger *zap.Logger, fields ...zap.Field) {
	refusals.WithLabelValues(f.code).Inc()
	if c := logger.Check(answers[f.code].level, "refused"); c != nil {
		c.Write(append(fields,
			zap.String("code", f.code),
			zap.String("rule", f.rule),
			zap.Int("status", answers[f.code].status))...)
	}
}
