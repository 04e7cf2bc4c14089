package errorform

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
)

var revoked = Error{Status: 401, Kind: "authentication_error", Code: "token_revoked", Message: "The relay token was revoked."}

// TestFor has what the clients of each provider read of an error. The members are
// paths into the JSON.
func TestFor(t *testing.T) {
	with := func(more map[string]any) map[string]any {
		members := map[string]any{"type": "error", "error.type": revoked.Kind, "error.code": revoked.Code, "error.message": revoked.Message}
		for name, value := range more {
			members[name] = value
		}
		return members
	}
	for name, tt := range map[string]struct {
		speaks, path string
		want         map[string]any
		amazon       string
	}{
		"OpenAI":                 {"openai", "/v1/chat/completions", with(nil), ""},
		"Anthropic":              {"anthropic", "/v1/messages", with(nil), ""},
		"Gemini":                 {"gemini", "/v1beta/models/m:generateContent", map[string]any{"error.code": 401.0, "error.status": "UNAUTHENTICATED", "error.message": revoked.Message}, ""},
		"Gemini by OpenAI's SDK": {"gemini", "/v1beta/openai/chat/completions", with(nil), ""},
		"Bedrock":                {"bedrock", "/model/m/converse", with(map[string]any{"message": revoked.Message}), "AccessDeniedException"},
		"Bedrock by OpenAI's":    {"bedrock", "/openai/v1/chat/completions", with(nil), "AccessDeniedException"},
		"ElevenLabs":             {"elevenlabs", "/v1/text-to-speech/x", with(map[string]any{"detail.status": revoked.Code, "detail.message": revoked.Message}), ""},
		"Deepgram":               {"deepgram", "/v1/listen", with(map[string]any{"err_code": revoked.Code, "err_msg": revoked.Message, "message": revoked.Message}), ""},
		"Ollama":                 {"ollama", "/api/chat", map[string]any{"error": revoked.Message}, ""},
		"Ollama by OpenAI's":     {"ollama", "/v1/chat/completions", with(nil), ""},
	} {
		t.Run(name, func(t *testing.T) {
			form := For(func(name string) bool { return name == tt.speaks }, tt.path)
			checkMembers(t, form.Body(revoked), tt.want)
			header := make(http.Header)
			if form.SetHeader(header, revoked); header.Get("X-Amzn-Errortype") != tt.amazon {
				t.Errorf("X-Amzn-Errortype is %q, want %q", header.Get("X-Amzn-Errortype"), tt.amazon)
			}
		})
	}
}

func checkMembers(t *testing.T, body []byte, want map[string]any) {
	t.Helper()
	var all any
	if err := json.Unmarshal(body, &all); err != nil {
		t.Fatal(err)
	}
	for member, want := range want {
		value := all
		for key := range strings.SplitSeq(member, ".") {
			object, _ := value.(map[string]any)
			value = object[key]
		}
		if value != want {
			t.Errorf("%s is %v, want %v", member, value, want)
		}
	}
}

// TestForms_NameEveryStatus has the statuses that the relay refuses with.
func TestForms_NameEveryStatus(t *testing.T) {
	for _, status := range []int{400, 401, 403, 405, 413, 424, 425, 426, 429, 502, 503, 504} {
		e := Error{Status: status}
		header := make(http.Header)
		Unknown.SetHeader(header, e)
		amazon := header.Get("X-Amzn-Errortype")
		var body struct {
			Error struct {
				Code   int
				Status string
			}
		}
		if err := json.Unmarshal(Google.Body(e), &body); err != nil {
			t.Fatal(err)
		}
		if body.Error.Code != status || body.Error.Status == "" || !strings.HasSuffix(amazon, "Exception") {
			t.Errorf("%d: Google's is %d %q, Amazon's is %q", status, body.Error.Code, body.Error.Status, amazon)
		}
		throttled := status == http.StatusTooManyRequests
		if (amazon == "ThrottlingException") != throttled || (body.Error.Status == "RESOURCE_EXHAUSTED") != throttled {
			t.Errorf("%d: is %q and %q, want a limit: %t", status, amazon, body.Error.Status, throttled)
		}
	}
}

func TestOAuth(t *testing.T) {
	for _, tc := range []struct {
		code        string
		status      int
		want        string
		wantsStatus int
	}{
		{"token_revoked", 401, "invalid_request", 400},
		{"issuer_not_permitted", 403, "invalid_request", 400},
		{"provider_not_permitted", 403, "invalid_target", 400},
		{"unsupported_grant_type", 400, "unsupported_grant_type", 400},
		{"request_too_large", 413, "invalid_request", 413},
		{"rate_limited", 429, "temporarily_unavailable", 429},
		{"not_ready", 503, "temporarily_unavailable", 503},
		{"broken", 500, "server_error", 500},
	} {
		e := Error{Status: tc.status, Code: tc.code, Message: `it's "so\" − and so`}
		checkMembers(t, OAuth.Body(e), map[string]any{"error": tc.want, "error_description": "it's 'so'' - and so"})
		if got := OAuth.Status(e); got != tc.wantsStatus || Common.Status(e) != tc.status {
			t.Errorf("%s: the status is %d, want %d", tc.code, got, tc.wantsStatus)
		}
	}
}
