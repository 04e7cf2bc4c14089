package redact

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
)

// secret is one of a test's. It has no token's shape.
const secret = "shop-0123456789abcdef0123456789abcdef"

func TestBearer(t *testing.T) {
	for name, tc := range map[string]struct {
		values []string
		want   string
	}{
		"one":           {[]string{"Bearer abc"}, "abc"},
		"in lower case": {[]string{"bearer  abc "}, "abc"},
		"none":          {nil, ""},
		"two":           {[]string{"Bearer abc", "Bearer abc"}, ""},
		"another":       {[]string{"Basic abc"}, ""},
		"no secret":     {[]string{"Bearer"}, ""},
	} {
		if got := Bearer(&http.Request{Header: http.Header{"Authorization": tc.values}}); got != tc.want {
			t.Errorf("%s: Bearer(%q) = %q, want %q", name, tc.values, got, tc.want)
		}
	}
}

func TestHoldsSecret(t *testing.T) {
	for text, want := range map[string]bool{
		secret:                         true,
		"x" + secret[4:28] + "y":       true,
		`{"sub":"` + secret + `"}`:     true,
		"a=%73" + secret[1:]:           true,
		url.QueryEscape(secret) + "&b": true,
		"shop":                         false,
		"":                             false,
	} {
		if got := HoldsSecret(text, secret); got != want {
			t.Errorf("HoldsSecret(a text of %d characters) = %t, want %t", len(text), got, want)
		}
	}
}

func TestShowsSecret(t *testing.T) {
	for name, tc := range map[string]struct {
		edit func(*http.Request)
		want bool
	}{
		"nowhere":          {func(*http.Request) {}, false},
		"in its own place": {func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+secret) }, false},
		"in a header":      {func(r *http.Request) { r.Header.Set("X-Api-Key", secret) }, true},
		"in a name":        {func(r *http.Request) { r.Header["X-"+secret] = nil }, true},
		"in a cookie":      {func(r *http.Request) { r.Header.Set("Cookie", "a="+secret) }, true},
		"in the query":     {func(r *http.Request) { r.RequestURI = "/mint?key=" + secret }, true},
		"in the host":      {func(r *http.Request) { r.Host = secret + ".example" }, true},
	} {
		r := httptest.NewRequest(http.MethodPost, "/mint", nil)
		tc.edit(r)
		if got := ShowsSecret(r, secret); got != tc.want {
			t.Errorf("%s: ShowsSecret = %t, want %t", name, got, tc.want)
		}
	}
}
