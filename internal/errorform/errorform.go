// Package errorform writes errors in the forms that the clients of each provider
// read.
package errorform

import (
	"cmp"
	"encoding/json"
	"net/http"
	"strings"
)

// Error is an error as the relay knows it.
type Error struct {
	Status  int    // of HTTP
	Kind    string // such as authentication_error, as the OpenAI and Anthropic APIs name it
	Code    string // such as token_expired
	Message string
}

// Form is the form of errors for one family of clients.
type Form struct {
	body   func(e Error) any
	amazon bool // the error is also named in a header
	oauth  bool // its status is 400 whatever is wrong with the request
}

var (
	// Common is what the SDKs of OpenAI and Anthropic read.
	Common = Form{body: common}

	// Google is an error as Google writes it (https://google.aip.dev/193).
	Google = Form{body: google}

	// OAuth is an error of a token endpoint (RFC 6749, section 5.2).
	OAuth = Form{body: oauth, oauth: true}
)

// rows has the forms by what the provider speaks, which is its preset or else its
// dialect, and by the path's prefix. The first match counts. OpenAI's SDKs are used
// on paths of other providers too.
var rows = []struct {
	speaks, under string
	form          Form
}{
	{"gemini", "/v1beta/openai/", Common},
	{"gemini", "", Google},
	{"ollama", "/api/", Form{body: ollama}},
	{"bedrock", "", Form{body: aws, amazon: true}},
	{"elevenlabs", "", Form{body: elevenlabs}},
	{"deepgram", "", Form{body: deepgram}},
}

// For returns the form for the clients of a provider. The function reports whether
// the provider speaks as a preset or dialect.
func For(speaks func(name string) bool, path string) Form {
	for _, row := range rows {
		if speaks(row.speaks) && strings.HasPrefix(path, row.under) {
			return row.form
		}
	}
	return Common
}

// Unknown is for requests whose provider is unknown. The members of both forms do
// not collide.
var Unknown = Form{body: aws, amazon: true}

// Body returns the error as JSON.
func (f Form) Body(e Error) []byte {
	body, _ := json.Marshal(f.body(e)) // texts and numbers marshal
	return body
}

// SetHeader names the error in an answer's header where clients look for it there.
func (f Form) SetHeader(header http.Header, e Error) {
	if f.amazon {
		header.Set("X-Amzn-Errortype", cmp.Or(amazonType[e.Status], "ValidationException"))
	}
}

// Status returns the status of the answer.
func (f Form) Status(e Error) int {
	if f.oauth && (e.Status == http.StatusUnauthorized || e.Status == http.StatusForbidden) {
		return http.StatusBadRequest
	}
	return e.Status
}

// oauth is an error of an exchange (RFC 8693, section 2.2.2): whatever is wrong with the
// subject token is an invalid request.
func oauth(e Error) any {
	code := "invalid_request"
	switch {
	case e.Code == "provider_not_permitted":
		code = "invalid_target"
	case e.Code == "unsupported_grant_type":
		code = e.Code
	case e.Status == http.StatusTooManyRequests || e.Status == http.StatusServiceUnavailable:
		code = "temporarily_unavailable"
	case e.Status >= http.StatusInternalServerError:
		code = "server_error"
	}
	description := strings.Map(func(r rune) rune { // the characters that the RFC permits
		switch {
		case r == '"' || r == '\\':
			return '\''
		case r < ' ' || r > '~':
			return '-'
		}
		return r
	}, e.Message)
	return map[string]string{"error": code, "error_description": description}
}

// object has the members that the SDKs of OpenAI and Anthropic read, and then
// those of others.
type object struct {
	Type  string `json:"type"`
	Error detail `json:"error"`

	Message string            `json:"message,omitempty"`
	Detail  map[string]string `json:"detail,omitempty"`
	ErrCode string            `json:"err_code,omitempty"`
	ErrMsg  string            `json:"err_msg,omitempty"`
}

type detail struct {
	Type    string `json:"type"`
	Code    string `json:"code"`
	Message string `json:"message"`
}

func newObject(e Error) object {
	return object{Type: "error", Error: detail{e.Kind, e.Code, e.Message}}
}

func common(e Error) any { return newObject(e) }

// aws adds the message where the SDKs of AWS read it. They take the name of the
// error from the header X-Amzn-Errortype
// (https://smithy.io/2.0/aws/protocols/aws-restjson1-protocol.html).
func aws(e Error) any {
	o := newObject(e)
	o.Message = e.Message
	return o
}

// elevenlabs adds the member that the clients of ElevenLabs read
// (https://elevenlabs.io/docs/api-reference/errors).
func elevenlabs(e Error) any {
	o := newObject(e)
	o.Detail = map[string]string{"type": e.Kind, "code": e.Code, "status": e.Code, "message": e.Message}
	return o
}

// deepgram adds the members that the clients of Deepgram read. Its SDKs show a
// message at the top (https://developers.deepgram.com/docs/errors).
func deepgram(e Error) any {
	o := newObject(e)
	o.Message, o.ErrCode, o.ErrMsg = e.Message, e.Code, e.Message
	return o
}

// ollama is what the clients of Ollama read, which show any error that is not text
// as an object (https://docs.ollama.com/api/errors).
func ollama(e Error) any { return map[string]string{"error": e.Message, "code": e.Code} }

func google(e Error) any {
	return map[string]any{"error": map[string]any{
		"code":    e.Status,
		"message": e.Message,
		"status":  cmp.Or(googleStatus[e.Status], "FAILED_PRECONDITION"),
		"details": []map[string]string{{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": e.Code, "domain": "relayapi"}},
	}}
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
