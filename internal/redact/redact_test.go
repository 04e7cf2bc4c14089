package redact

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"github.com/relayapi/caddy-relayapi/eccrypto"
)

// newToken returns a token as a relay hands it out.
func newToken(t *testing.T) string {
	t.Helper()
	signer, err := eccrypto.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	token, err := eccrypto.Seal([]byte(`{"iss":"backend","sub":"user-1","provider":"demo","exp":1893456000,"limits":{"calls":100}}`), "backend", signer, signer.Public())
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// TestText has texts as refusals quote them.
func TestText(t *testing.T) {
	token, secret := newToken(t), "a-secret-of-a-back-end-0123456789"
	for name, tc := range map[string]struct{ text, want string }{
		"nothing":              {"the token does not allow the model \"gpt-4o\"", ""},
		"a path":               {"POST /v1/chat/completions is not open at provider openai", ""},
		"a long name":          {"GET /ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent", ""},
		"a model of words":     {`model "Meta-Llama-3.1-405B-Instruct-Turbo-with-many-more-words-in-it"`, ""},
		"a model's ARN":        {"arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-3-7-sonnet-20250219-v1:0", ""},
		"an origin":            {"the origin \"https://app.example.com\"", ""},
		"letters of a start":   {"eyJhbGci", ""},
		"a token":              {"x " + token + " y", "x *** y"},
		"cut after 100":        {`model "` + token[:100] + `"`, `model "***"`},
		"the middle":           {`model "` + token[200:300] + `"`, `model "***"`},
		"sixteen known":        {`model "` + token[200:216] + `"`, `model "***"`},
		"with a prefix":        {"a=" + "openai-insecure-api-key." + token, "a=***"},
		"percent-encoded":      {"/v1/%65yJ" + token[3:] + "/x", "/v1/***/x"},
		"escaped":              {`"\u0065yJ` + token[3:] + `"`, `"***"`},
		"quoted by Go":         {fmt.Sprintf("%q", `"`+token+`"`), `"\"***\""`},
		"a secret":             {"sub " + secret + "!", "sub ***!"},
		"a piece of a secret":  {"sub " + secret[8:26] + "!", "sub ***!"},
		"an escaped secret":    {`sub \u0061` + secret[1:] + "!", "sub ***!"},
		"two":                  {token + "," + token, "***,***"},
		"in base64":            {base64.StdEncoding.EncodeToString([]byte(token)), ""},
		"backslashes":          {strings.Repeat(`\`, 40), ""},
		"percent signs":        {strings.Repeat("%25", 40), ""},
		"an escape that ends":  {`x\u00`, ""},
		"a percent that ends":  {"x%4", ""},
		"bytes that no escape": {"\xff\u2026…", ""},
	} {
		t.Run(name, func(t *testing.T) {
			want := tc.want
			if want == "" {
				want = tc.text
			}
			got := Text(tc.text, token, secret)
			if name == "in base64" { // its end may be kept, as padding
				got, want = strings.TrimRight(got, "="), "***"
			}
			if got != want {
				t.Errorf("Text(%q) = %q, want %q", tc.text, got, want)
			}
		})
	}
}

// net/http prints to the standard logger what a provider sends besides its
// answer. What it quotes is blanked.
func TestStandardLog_IsRedacted(t *testing.T) {
	for text, want := range map[string]string{
		`Unsolicited response received on idle HTTP channel starting with "HTTP/1.1 200 sk-real\"x"; err=<nil>`: `Unsolicited response received on idle HTTP channel starting with "…"; err=<nil>`,
		`http: TLS handshake error from 127.0.0.1:1: EOF`:                                                       `http: TLS handshake error from 127.0.0.1:1: EOF`,
		`one "that does not end`: `one "…"`,
		"a `raw quote` too":      "a `…` too",
	} {
		var out strings.Builder
		n, err := redactedLog{&out}.Write([]byte(text + "\n"))
		if got := out.String(); got != want+"\n" || n != len(text)+1 || err != nil {
			t.Errorf("%q is logged as %q, want %q", text, got, want)
		}
	}
}
