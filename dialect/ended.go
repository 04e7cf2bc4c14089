package dialect

import (
	"fmt"
	"strings"
)

// BudgetEnded returns what ends a stream whose budget is used up, so that the
// provider's SDKs throw. It stands between two events, after the last bytes that
// the client had. It is nil for answers into which nothing can be written, such
// as sound.
//
// OpenAI's SDKs throw what has a member error, Anthropic's what is called error,
// and Google's what has an error as Google writes it and has no name. Of Gemini's
// streams without events the answer is a list, which the error closes. AWS's SDKs
// throw a message that is an exception.
func (d *Dialect) BudgetEnded(r *Request, a Answer, code, message string) []byte {
	row := d.routeOf(r)
	google := row != nil && row.form == geminiForm
	switch a.form() {
	case eventBody:
		if google {
			return fmt.Appendf(nil, "data: %s\n\n", googleError(message))
		}
		return fmt.Appendf(nil, "event: error\ndata: %s\n\n", commonError(code, message))
	case jsonBody:
		if google && strings.HasSuffix(r.Path, ":streamGenerateContent") {
			return fmt.Appendf(nil, ",\n%s\n]", googleError(message))
		}
	case jsonLines:
		return fmt.Appendf(nil, "{\"error\":%s}\n", quoted(message))
	case amazonBody:
		return amazonError(message)
	}
	return nil
}

// commonError is an error as OpenAI's and Anthropic's SDKs read it.
func commonError(code, message string) string {
	return fmt.Sprintf(`{"type":"error","error":{"type":"insufficient_quota","code":%s,"message":%s}}`, quoted(code), quoted(message))
}

// googleError is an error as Google's SDKs read it.
func googleError(message string) string {
	return fmt.Sprintf(`{"error":{"code":403,"message":%s,"status":"PERMISSION_DENIED"}}`, quoted(message))
}

// amazonError is an exception that all of Bedrock's streams may have.
func amazonError(message string) []byte {
	return appendAmazon(nil, [][2]string{
		{":exception-type", "validationException"},
		{":content-type", "application/json"},
		{":message-type", "exception"},
	}, fmt.Appendf(nil, `{"message":%s}`, quoted(message)))
}

// Between reports whether an answer can be ended here with what
// [Dialect.BudgetEnded] returns: between two events, or after an element of a list.
func (m *Meter) Between() bool {
	if m == nil {
		return false
	}
	switch m.form {
	case eventBody:
		return m.lines.between()
	case amazonBody:
		return m.frame.between()
	case jsonBody:
		return m.walk.afterElement()
	case jsonLines:
		return m.walk.depth == 0 && m.walk.skipped == 0 && m.walk.state == between
	}
	return false
}
