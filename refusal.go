package relayapi

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"

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

	form   form // of the body; nil: the common one
	amazon bool // the error is named in a header as well
	told   bool // the client is told the rule, whatever answer.detail says
	retry  int  // seconds after which a retry can help, where that is later than the answer says
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

// errorBody is a shape in which the SDKs of OpenAI and Anthropic find the message.
// The members after Error are for other clients, see [forms].
type errorBody struct {
	Type  string      `json:"type"`
	Error errorDetail `json:"error"`

	Message string            `json:"message,omitempty"`
	Detail  map[string]string `json:"detail,omitempty"`
	ErrCode string            `json:"err_code,omitempty"`
	ErrMsg  string            `json:"err_msg,omitempty"`
}

type errorDetail struct {
	Type    string `json:"type"`
	Code    string `json:"code"`
	Message string `json:"message"`
}

// form makes a refusal's body for one family of clients.
type form func(a answer, code, message string) any

// commonForm is what the SDKs of OpenAI and Anthropic read.
func commonForm(a answer, code, message string) any {
	return errorBody{Type: "error", Error: errorDetail{a.kind, code, message}}
}

// awsForm adds the message where AWS's SDKs read it. They take the name of the
// error from the header X-Amzn-Errortype
// (https://smithy.io/2.0/aws/protocols/aws-restjson1-protocol.html).
func awsForm(a answer, code, message string) any {
	return errorBody{Type: "error", Error: errorDetail{a.kind, code, message}, Message: message}
}

// elevenlabsForm adds the member that ElevenLabs' clients read
// (https://elevenlabs.io/docs/api-reference/errors).
func elevenlabsForm(a answer, code, message string) any {
	return errorBody{Type: "error", Error: errorDetail{a.kind, code, message},
		Detail: map[string]string{"type": a.kind, "code": code, "status": code, "message": message}}
}

// deepgramForm adds the members that Deepgram's clients read. Its SDKs show a
// message at the top (https://developers.deepgram.com/docs/errors).
func deepgramForm(a answer, code, message string) any {
	return errorBody{Type: "error", Error: errorDetail{a.kind, code, message}, Message: message, ErrCode: code, ErrMsg: message}
}

// ollamaForm is what Ollama's clients read, which show any error that is no text as
// an object (https://docs.ollama.com/api/errors).
func ollamaForm(_ answer, code, message string) any {
	return map[string]string{"error": message, "code": code}
}

// googleError is an error as Google writes it (https://google.aip.dev/193).
type googleError struct {
	Error struct {
		Code    int                 `json:"code"`
		Message string              `json:"message"`
		Status  string              `json:"status"`
		Details []map[string]string `json:"details"`
	} `json:"error"`
}

func googleForm(a answer, code, message string) any {
	var body googleError
	e := &body.Error
	e.Code, e.Message, e.Status = a.status, message, cmp.Or(googleStatus[a.status], "FAILED_PRECONDITION")
	e.Details = []map[string]string{{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": code, "domain": "relayapi"}}
	return body
}

// googleStatus has Google's names of HTTP statuses
// (https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto).
var googleStatus = map[int]string{
	400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 413: "INVALID_ARGUMENT",
	425: "UNAVAILABLE", 429: "RESOURCE_EXHAUSTED", 502: "UNAVAILABLE", 503: "UNAVAILABLE", 504: "DEADLINE_EXCEEDED",
}

// amazonType has the names of Bedrock's errors by HTTP status
// (https://docs.aws.amazon.com/bedrock/latest/APIReference/CommonErrors.html).
var amazonType = map[int]string{
	401: "AccessDeniedException", 403: "AccessDeniedException", 429: "ThrottlingException",
	502: "ServiceUnavailableException", 503: "ServiceUnavailableException", 504: "ModelTimeoutException",
}

// forms are the forms of refusals by what the provider speaks, which is its preset
// or else its dialect, and by the beginning of the path. The first that matches
// counts; without one it is the common form. OpenAI's SDKs are used on paths of
// other providers too.
var forms = []struct {
	speaks, under string
	form          form
	amazon        bool // names the error in a header
}{
	{speaks: "gemini", under: "/v1beta/openai/", form: commonForm},
	{speaks: "gemini", form: googleForm},
	{speaks: "ollama", under: "/api/", form: ollamaForm},
	{speaks: "bedrock", form: awsForm, amazon: true},
	{speaks: "elevenlabs", form: elevenlabsForm},
	{speaks: "deepgram", form: deepgramForm},
	{speaks: "", form: awsForm, amazon: true}, // no provider is known: the members of both do not collide
}

// inForm returns the refusal in the form that the clients of a provider read. The
// provider is nil where it is not known.
func (f *refusal) inForm(p *Provider, path string) *refusal {
	shaped := *f // some refusals are shared
	for _, row := range forms {
		if p.speaks(row.speaks) && strings.HasPrefix(path, row.under) {
			shaped.form, shaped.amazon = row.form, row.amazon
			break
		}
	}
	return &shaped
}

// speaks reports whether a provider has a preset or a dialect of that name; no
// provider speaks nothing.
func (p *Provider) speaks(name string) bool {
	if p == nil {
		return name == ""
	}
	return name != "" && (cmp.Or(p.Preset, p.name) == name || p.dialect != nil && p.dialect.Name() == name)
}

// likelyProvider returns the provider whose clients a refusal is for, and its path:
// that of the token, else the one that the path names, else the only one. It is nil
// where there are several.
func (h *Handler) likelyProvider(r *http.Request, rt *route) (*Provider, string) {
	path := r.URL.Path
	if h.endpoint {
		return nil, path
	}
	named, below, ok := cutProvider(path, h.Prefix)
	ok = ok && h.Prefix != ""
	if p := rt.provider; p != nil {
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

// write answers the request. The relay does so itself, instead of
// returning an error to Caddy, because a site's HTML error page would break SDKs.
func (f *refusal) write(w http.ResponseWriter) {
	a, body := answers[f.code], f.body()
	header := w.Header()
	header.Set("Cache-Control", "no-store")
	header.Set("Content-Type", "application/json")
	header.Set("Content-Length", strconv.Itoa(len(body)))
	if f.amazon {
		header.Set("X-Amzn-Errortype", cmp.Or(amazonType[a.status], "ValidationException"))
	}
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
	shape := f.form
	if shape == nil {
		shape = commonForm
	}
	body, _ := json.Marshal(shape(a, f.code, message)) // texts and numbers marshal
	return body
}

// event is the refusal in a stream of events that had begun. OpenAI's SDKs throw
// what has an error in it, Anthropic's what is called error. Google's skip what has
// a name, and throw what has an error as Google writes it.
func (f *refusal) event(dialect string) []byte {
	if dialect != "gemini" {
		return fmt.Appendf(nil, "event: error\ndata: %s\n\n", f.body())
	}
	google := refusal{code: f.code, form: googleForm}
	return fmt.Appendf(nil, "data: %s\n\n", google.body())
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
