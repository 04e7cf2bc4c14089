package headers

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/relayapi/caddy-relayapi/internal/realkey"
	"github.com/relayapi/caddy-relayapi/provider"
)

// testKey has characters that URLs and JSON escape.
const testKey = "sk-test/real+key&with=odd-characters-0123456789"

func newKey() *realkey.Key {
	return realkey.New(testKey, provider.Placement{Header: "Authorization", Prefix: "Bearer "}, "a test's key", true)
}

// TestPrivate has what a browser adds to a page's request, and what must go on.
func TestPrivate(t *testing.T) {
	for name, want := range map[string]bool{
		"Origin": true, "Referer": true, "Dnt": true, "Upgrade-Insecure-Requests": true,
		"Sec-Fetch-Site": true, "Sec-Fetch-Mode": true, "Sec-Ch-Ua": true, "Sec-Ch-Ua-Full-Version-List": true, "Sec-Gpc": true,
		"Access-Control-Request-Method": true, "Access-Control-Request-Private-Network": true,
		"Authorization": true, "Cookie": true, "Proxy-Authorization": true, "Via": true, "X-Forwarded-For": true,

		"Sec-Websocket-Key": false, "Sec-Websocket-Protocol": false, "Sec-Websocket-Version": false, "Sec-Websocket-Extensions": false,
		"User-Agent": false, "Accept-Language": false, "Content-Type": false, "Anthropic-Version": false, "Security": false,
	} {
		if got := Private(name); got != want {
			t.Errorf("Private(%s) = %v, want %v", name, got, want)
		}
	}
}

// Every field of the table stops, and those that are not in it pass.
func TestClean(t *testing.T) {
	header := make(http.Header)
	for name := range withheld {
		if strings.HasSuffix(name, "-") {
			name += "Anything"
		}
		header.Set(name, "x")
	}
	for _, name := range []string{"Content-Type", "Retry-After", "X-Request-Id", "X-Ratelimit-Remaining-Requests", "Cache-Control", "Openai-Version", "Www-Authenticate"} {
		header.Set(name, "x")
	}
	header["Link"] = []string{`</a>; rel=preload; as=script`, `<https://p.example/?page=2>; rel="next"`}
	if whole := Clean(header, newKey()); whole != "" || len(header) != 8 {
		t.Errorf("%d fields pass, want 8: %v, %q", len(header), header, whole)
	}
	if got := header["Link"]; len(got) != 1 || !strings.Contains(got[0], "next") {
		t.Errorf("links %q pass", got)
	}
}

// The whole key in a header withholds the answer, in whichever escaping; of a
// piece the field is dropped.
func TestClean_Key(t *testing.T) {
	piece := testKey[5:25]
	for name, tc := range map[string]struct {
		value string
		whole bool
	}{
		"raw":                 {"see " + testKey, true},
		"escaped for a query": {"https://x.example/?key=" + url.QueryEscape(testKey), true},
		"escaped for a path":  {"https://x.example/" + url.PathEscape(testKey), true},
		"lower-case escapes":  {"https://x.example/?key=" + lowerEscapes(url.QueryEscape(testKey)), true},
		"escaped twice":       {"https://x.example/?to=" + url.QueryEscape(url.QueryEscape(testKey)), true},
		"escaped for JSON":    {`{"a":"` + strings.ReplaceAll(testKey, "/", `\/`) + `"}`, true},
		"in base64":           {base64.StdEncoding.EncodeToString([]byte("user:" + testKey)), true},
		"piece":               {`Bearer error="bad key ` + piece + `"`, false},
		"piece, escaped":      {"/x?y=" + url.QueryEscape(piece), false},
		"piece, twice":        {"/x?y=" + url.QueryEscape(url.QueryEscape(piece)), false},
	} {
		header := http.Header{"X-Echo": {tc.value}, "X-Other": {"x"}}
		if whole := Clean(header, newKey()); (whole != "") != tc.whole || !tc.whole && header["X-Echo"] != nil || header["X-Other"] == nil {
			t.Errorf("%s: the whole key is in %q, and %v passes", name, whole, header)
		}
	}
}

// A name that the table spells otherwise than net/http never matches.
func TestWithheld_IsCanonical(t *testing.T) {
	for name := range withheld {
		name = strings.TrimSuffix(name, "-")
		if got := http.CanonicalHeaderKey(name); got != name {
			t.Errorf("%s is spelled %s", name, got)
		}
	}
}

func lowerEscapes(s string) string {
	for _, c := range "/+&=" {
		upper := url.QueryEscape(string(c))
		s = strings.ReplaceAll(s, upper, strings.ToLower(upper))
	}
	return s
}
