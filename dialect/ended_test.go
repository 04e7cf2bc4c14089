package dialect

import (
	"path/filepath"
	"testing"
)

const endedMessage = "the budget of this token is used up"

// What ends a stream is whole in its form: a meter reads it as a failure.
func TestBudgetEnded_IsReadAsAFailure(t *testing.T) {
	for _, c := range []struct{ file, path, want string }{
		{"openai/chat.sse", "/v1/chat/completions", "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"insufficient_quota\",\"code\":\"budget_used_up\",\"message\":\"" + endedMessage + "\"}}\n\n"},
		{"gemini/stream.sse", "/v1beta/models/m:streamGenerateContent", "data: {\"error\":{\"code\":403,\"message\":\"" + endedMessage + "\",\"status\":\"PERMISSION_DENIED\"}}\n\n"},
		{"gemini/stream.json", "/v1beta/models/m:streamGenerateContent", ",\n{\"error\":{\"code\":403,\"message\":\"" + endedMessage + "\",\"status\":\"PERMISSION_DENIED\"}}\n]"},
		{"openai/ollama.ndjson", "/api/chat", "{\"error\":\"" + endedMessage + "\"}\n"},
		{"bedrock/converse.events", "/model/m/converse-stream", string(appendAmazon(nil, [][2]string{{":exception-type", "validationException"}, {":content-type", "application/json"}, {":message-type", "exception"}}, []byte(`{"message":"`+endedMessage+`"}`)))},
		{"openai/chat.json", "/v1/chat/completions", ""},
		{"gemini/generate.json", "/v1beta/models/m:generateContent", ""},
	} {
		d, kind, data := dialectOf(t, c.file), contentTypes[filepath.Ext(c.file)], fixture(t, c.file)
		got := d.BudgetEnded(&Request{Method: "POST", Path: c.path}, Answer{Status: 200, ContentType: kind}, "budget_used_up", endedMessage)
		if string(got) != c.want {
			t.Errorf("%s: got %q, want %q", c.file, got, c.want)
		}
		if c.want == "" {
			continue
		}

		m, between := meterOf(t, d, c.path, kind, nil), 0
		for at := range data {
			if m.Between() && at > 0 {
				between++
				ended := meterOf(t, d, c.path, kind, nil)
				_, _ = ended.Write(data[:at])
				_, _ = ended.Write(got)
				if r := ended.Reading(); !r.Failed {
					t.Errorf("%s, ended at %d: got %+v, want a failure", c.file, at, r)
				}
			}
			_, _ = m.Write(data[at : at+1])
		}
		if between == 0 {
			t.Errorf("%s: got no place between events", c.file)
		}
	}
}
