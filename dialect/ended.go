package dialect

import (
	"fmt"
	"strings"
)

// BudgetEnded returns the bytes that end a stream when its budget is used up. They make
// the provider's SDKs throw. Append them where [Meter.Between] is true. BudgetEnded returns
// nil for other answers, such as audio.
//
// OpenAI's SDKs throw on a field error, and Anthropic's on an event named error. Google's
// SDKs throw on an unnamed event with an error in Google's form. Without alt=sse Gemini
// streams a JSON array, which the error closes. AWS's SDKs throw on an exception message.
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

// commonError returns an error for OpenAI's and Anthropic's SDKs.
func commonError(code, message string) string {
	return fmt.Sprintf(`{"type":"error","error":{"type":"insufficient_quota","code":%s,"message":%s}}`, quoted(code), quoted(message))
}

// googleError returns an error for Google's SDKs.
func googleError(message string) string {
	return fmt.Sprintf(`{"error":{"code":403,"message":%s,"status":"PERMISSION_DENIED"}}`, quoted(message))
}

// amazonError returns an exception that all of Bedrock's streams may contain.
func amazonError(message string) []byte {
	return appendAmazon(nil, [][2]string{
		{":exception-type", "validationException"},
		{":content-type", "application/json"},
		{":message-type", "exception"},
	}, fmt.Appendf(nil, `{"message":%s}`, quoted(message)))
}

// Between reports whether the output of [Dialect.BudgetEnded] may follow here, between two
// events or after an element of a list.
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
