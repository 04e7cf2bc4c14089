package cors

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// preflight returns the header of the answer to a preflight; nil means that it is none.
func preflight(edits ...func(*http.Request)) http.Header {
	r := httptest.NewRequest(http.MethodOptions, "/v1/x", nil)
	r.Header.Set("Origin", "https://app.example")
	r.Header.Set("Access-Control-Request-Method", "POST")
	for _, edit := range edits {
		edit(r)
	}
	header := make(http.Header)
	if !Preflight(header, r) {
		return nil
	}
	return header
}

func set(name, value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set(name, value) }
}

func TestPreflight_OfPrivateNetwork(t *testing.T) {
	for name, tc := range map[string]struct{ header, value, answer, want string }{
		"asked":               {"Access-Control-Request-Private-Network", "true", "Access-Control-Allow-Private-Network", "true"},
		"asked as a draft":    {"Access-Control-Request-Local-Network", "true", "Access-Control-Allow-Local-Network", "true"},
		"asked otherwise":     {"Access-Control-Request-Private-Network", "KO", "Access-Control-Allow-Private-Network", ""},
		"not asked":           {"X-Other", "true", "Access-Control-Allow-Private-Network", ""},
		"asked for the other": {"Access-Control-Request-Local-Network", "true", "Access-Control-Allow-Private-Network", ""},
	} {
		t.Run(name, func(t *testing.T) {
			header := preflight(set(tc.header, tc.value))
			if header == nil {
				t.Fatal("it is no preflight")
			}
			if got := header.Get(tc.answer); got != tc.want {
				t.Errorf("%s is %q, want %q", tc.answer, got, tc.want)
			}
		})
	}
}

func TestPreflight_RepeatsHeaders(t *testing.T) {
	for name, tc := range map[string]struct{ asked, want string }{
		"some":     {"authorization,x-own", "authorization,x-own"},
		"none":     {"", ""},
		"too many": {strings.Repeat("x", maxAsked+1), ""},
	} {
		header := preflight(set("Access-Control-Request-Headers", tc.asked))
		if got := header.Get("Access-Control-Allow-Headers"); got != tc.want {
			t.Errorf("%s: allows %d characters, want %d", name, len(got), len(tc.want))
		}
	}
}

func TestPreflight_IsNothingElse(t *testing.T) {
	for name, edit := range map[string]func(*http.Request){
		"another method": func(r *http.Request) { r.Method = http.MethodGet },
		"no origin":      func(r *http.Request) { r.Header.Del("Origin") },
		"no method":      func(r *http.Request) { r.Header.Del("Access-Control-Request-Method") },
	} {
		if header := preflight(edit); header != nil {
			t.Errorf("%s: answered as a preflight, with %v, want no answer", name, header)
		}
	}
}

func TestAllowOrigin_NamesOneOrigin(t *testing.T) {
	header := make(http.Header)
	r := httptest.NewRequest(http.MethodOptions, "/", nil)
	r.Header.Set("Origin", "https://app.example")
	r.Header.Set("Access-Control-Request-Method", "POST")
	if !Preflight(header, r) {
		t.Fatal("it is no preflight")
	}
	AllowOrigin(header, "https://app.example")
	if got := header.Values("Access-Control-Allow-Origin"); len(got) != 1 || got[0] != "https://app.example" {
		t.Errorf("allows %q", got)
	}
	if vary := header.Values("Vary"); len(vary) != 2 || vary[1] != "Origin" {
		t.Errorf("varies by %q, want also Origin", vary)
	}
}
