package relayapi

import (
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/relayapi/caddy-relayapi/grant"
	"go.uber.org/zap"
)

// answer is what a client sees of a refusal: a status, a type as the OpenAI and
// Anthropic APIs name it, and a message that says what to do.
type answer struct {
	status  int
	kind    string
	message string
	detail  bool // append the broken rule: the holder is genuine and may know
	retry   int  // seconds after which a retry can help; 0: it cannot
}

// answers has all refusals by code. One code, and so one body, serves every
// token that does not verify: the difference is for the operator's log, and an
// oracle to anyone else.
var answers = map[string]answer{
	string(grant.Invalid): {401, "authentication_error", "There is no valid relay token in this request. Put the token where the API key goes.", false, 0},
	string(grant.Expired): {401, "authentication_error", "The relay token has expired. Ask your back-end for a new one.", true, 0},
	"token_predates_store": {401, "authentication_error",
		"The relay token was issued before this relay's records begin. Ask your back-end for a new one.", false, 0},
	"token_conflict": {401, "authentication_error",
		"Another relay token with the same id but other claims is in use. Ask your back-end for one with an id of its own.", false, 0},
	string(grant.NotYetValid): {401, "authentication_error", "The relay token is not valid yet.", true, 0},

	string(grant.BeyondGrant): {403, "permission_error", "The issuer of the relay token may not grant this.", true, 0},
	string(grant.NoProvider):  {403, "permission_error", "The relay token does not permit this provider.", true, 0},
	string(grant.NoPath):      {403, "permission_error", "The relay token does not permit this request.", true, 0},
	// Not 429: SDKs retry that.
	"calls_exhausted": {403, "permission_error", "The calls of the relay token are used up.", false, 0},

	"invalid_request": {400, "invalid_request_error", "The relay cannot read this request.", true, 0},

	"not_ready":         {503, "api_error", "The relay is starting.", false, 1},
	"store_unavailable": {503, "api_error", "The relay cannot count calls at present, so it admits none.", false, 5},

	"provider_refused_key":     {424, "api_error", "The provider did not accept the relay's key. Tell whoever runs this relay.", false, 0},
	"provider_answer_withheld": {502, "api_error", "The provider's answer held what must not be passed on.", false, 0},
	"provider_unreachable":     {502, "api_error", "The provider could not be reached or broke off before it answered.", false, 2},
	"provider_timeout":         {504, "api_error", "The provider did not answer in time.", false, 2},
}

// refusal is a request that the relay answers itself.
type refusal struct {
	code string
	rule string // exactly what was broken; for the log, and for the client where answer.detail says so
}

func refuse(code, rule string) *refusal { return &refusal{code: code, rule: rule} }

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

// write answers the request. The relay does so itself, instead of returning an
// error to Caddy, because a site's HTML error page would break SDKs.
func (f *refusal) write(w http.ResponseWriter) {
	a := answers[f.code]
	message := a.message
	if a.detail && f.rule != "" {
		message += " (" + f.rule + ")"
	}
	body, _ := json.Marshal(errorBody{"error", errorDetail{a.kind, f.code, message}}) // strings marshal
	header := w.Header()
	allowAnyOrigin(header)
	header.Set("Cache-Control", "no-store")
	header.Set("Content-Type", "application/json")
	header.Set("Content-Length", strconv.Itoa(len(body)))
	if a.retry > 0 {
		header.Set("Retry-After", strconv.Itoa(a.retry))
	} else {
		header.Set("X-Should-Retry", "false")
	}
	w.WriteHeader(a.status)
	_, _ = w.Write(body) // a client that is gone needs no answer
}

// log writes the one line that names the broken rule, and counts the refusal.
func (f *refusal) log(logger *zap.Logger, fields ...zap.Field) {
	refusals.WithLabelValues(f.code).Inc()
	if c := logger.Check(zap.InfoLevel, "refused"); c != nil {
		c.Write(append(fields,
			zap.String("code", f.code),
			zap.String("rule", f.rule),
			zap.Int("status", answers[f.code].status))...)
	}
}

// allowAnyOrigin lets a page of any origin read a response: what it may do is
// decided by its token, not by where it comes from.
func allowAnyOrigin(header http.Header) {
	header.Set("Access-Control-Allow-Origin", "*")
	header.Set("Access-Control-Expose-Headers", "*")
}
