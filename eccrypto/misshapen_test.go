package eccrypto

import (
	"encoding/base64"
	"net/url"
	"strings"
	"testing"
)

func TestMisshapen(t *testing.T) {
	token := seal(t, "backend", ecIssuerKey, relayKey)
	other := seal(t, "edge", edIssuerKey, relayKey)
	head, _, _ := strings.Cut(token, ".")
	jws := "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl"
	wrapped := token[:64] + "\n" + token[64:128] + "\r\n" + token[128:]
	escapedAll := func(s string) string {
		var b strings.Builder
		for i := range len(s) {
			b.WriteString("%" + strings.ToUpper(string("0123456789abcdef"[s[i]>>4])+string("0123456789abcdef"[s[i]&15])))
		}
		return b.String()
	}
	for name, tt := range map[string]struct{ value, want string }{
		"a token":                    {token, ""},
		"another":                    {other, ""},
		"nothing":                    {"", ""},
		"a key":                      {"sk-proj-0123456789abcdefghij", ""},
		"a key in quotes":            {`"sk-proj-0123456789"`, ""},
		"a dummy":                    {"not-needed", ""},
		"a header of dots":           {"....", ""},
		"base64 of JSON":             {base64.RawURLEncoding.EncodeToString([]byte(`{"user":"alice","page":7}`)), ""},
		"three letters":              {"eyJ", ""},
		"a percent sign":             {"100%", ""},
		"an escape":                  {"a%20b", ""},
		"other text in base64":       {base64.StdEncoding.EncodeToString([]byte("eyJust a text")), ""},
		"in quotes":                  {`"` + token + `"`, "a token in quotes"},
		"in single quotes":           {"'" + token + "'", "a token in quotes"},
		"in curly quotes":            {"“" + token + "”", "a token in quotes"},
		"in angle brackets":          {"<" + token + ">", "a token in quotes"},
		"in escaped quotes":          {`\"` + token + `\"`, "a token in quotes"},
		"an opening quote":           {`"` + token, "a token with a quote before it"},
		"a closing quote":            {token + "'", "a token with a quote after it"},
		"a comma":                    {token + ",", "a token with a comma after it"},
		"a comma and a space":        {token + ", ", "a token with a comma after it"},
		"a semicolon":                {token + ";", "a token with a semicolon after it"},
		"a full stop":                {token + ".", "a token with a dot after it"},
		"padding":                    {token + "==", "a token with base64 padding after it"},
		"a line break":               {token + "\n", "a token with a line break after it"},
		"a space":                    {" " + token, "a token with a space before it"},
		"a byte order mark":          {"\ufeff" + token, "a token with an invisible character before it"},
		"a further segment":          {token + ".abc", "a token with other text after it"},
		"Bearer":                     {"Bearer " + token, "a token with the word Bearer before it"},
		"Bearer twice":               {"Bearer bearer " + token, "a token with the word Bearer before it"},
		"a name":                     {"token=" + token, "a token with other text before it"},
		"in JSON":                    {`{"token":"` + token + `"}`, "a token within JSON; send the token alone"},
		"in a JSON list":             {`["` + token + `"]`, "a token within JSON; send the token alone"},
		"percent-encoded":            {url.QueryEscape(strings.ReplaceAll(token, ".", "%2E")), "a token that is percent-encoded twice"},
		"percent-encoded dots":       {strings.ReplaceAll(token, ".", "%2E"), "a percent-encoded token"},
		"percent-encoded throughout": {escapedAll(token), "a percent-encoded token"},
		"percent-encoded quotes":     {"%22" + token + "%22", "a token in quotes, percent-encoded"},
		"a percent-encoded break":    {token + "%0A", "a token with a line break after it, percent-encoded"},
		"Bearer, percent-encoded":    {"Bearer%20" + token, "a token with the word Bearer before it, percent-encoded"},
		"encoded once more":          {base64.StdEncoding.EncodeToString([]byte(token)), "a token that is encoded in base64 once more"},
		"encoded once more, url":     {base64.RawURLEncoding.EncodeToString([]byte(token)), "a token that is encoded in base64 once more"},
		"wrapped lines":              {wrapped, "a token with a line break or a space in it"},
		"a space within":             {token[:300] + " " + token[300:], "a token with a line break or a space in it"},
		"folded by a shell":          {token[:64] + "\\\n" + token[64:], "a token with a line break or a space in it"},
		"cut in half":                {token[:len(token)/2], "a token that was cut off"},
		"cut in the header":          {head[:len(head)/2], "a token that was cut off"},
		"cut after the header":       {head, "a token that was cut off"},
		"shortened":                  {head + "...", "a token that was cut off"},
		"shortened by a log":         {token[:200] + "…", "a token that was cut off"},
		"cut, in quotes":             {`"` + token[:len(token)/2] + `"`, "a token that was cut off"},
		"signed only":                {jws, "a JWT that is signed but not encrypted; encrypt it to the relay's key"},
		"two tokens":                 {token + "," + other, "two tokens in one place"},
		"two tokens with a space":    {token + " " + other, "two tokens in one place"},
		"two tokens, run together":   {token + other, "two tokens in one place"},
		"one token twice":            {token + ";" + token, "two tokens in one place"},
		"standard base64":            {standardBase64(token), "a token in base64; write it in base64url, without padding"},
		"a very long one":            {strings.Repeat(" ", 3*MaxTokenSize) + token, ""},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Misshapen(tt.value); got != tt.want {
				t.Errorf("Misshapen says %q, want %q", got, tt.want)
			}
		})
	}
}

// standardBase64 writes each segment of a token in base64 with padding.
func standardBase64(token string) string {
	segments := strings.Split(token, ".")
	for i, s := range segments {
		b, _ := decodeSegment(s)
		segments[i] = base64.StdEncoding.EncodeToString(b)
	}
	return strings.Join(segments, ".")
}

// FuzzMisshapen holds the answer to a bounded set, so that it can quote nothing,
// and to its promise about what has the shape of a token.
func FuzzMisshapen(f *testing.F) {
	for _, token := range sealedTokens(f) {
		for _, s := range []string{token, `"` + token + `"`, token[:99], "%22" + token, token + token, "ZXlK" + token} {
			f.Add(s)
		}
	}
	f.Fuzz(func(t *testing.T, value string) {
		got := Misshapen(value)
		if got != "" && LooksLikeToken(value) {
			t.Errorf("a value with the shape of a token is %q", got)
		}
		if got == "" {
			return
		}
		if len(got) > 100 || !strings.HasPrefix(got, "a ") && !strings.HasPrefix(got, "two tokens") {
			t.Errorf("says %q", got)
		}
		for i := range len(value) - 15 {
			if strings.Contains(got, value[i:i+16]) {
				t.Errorf("%q quotes the value", got)
			}
		}
	})
}

func BenchmarkMisshapen(b *testing.B) {
	for name, value := range map[string]string{
		"a key":   "sk-proj-0123456789abcdefghijklmnopqrstuvwxyz",
		"garbage": strings.Repeat("eyJhbGciOiJ9,", 2000),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				Misshapen(value)
			}
		})
	}
}
