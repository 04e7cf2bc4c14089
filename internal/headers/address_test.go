package headers

import (
	"net/http"
	"net/url"
	"testing"
)

func mustParse(s string) *url.URL {
	u, err := url.Parse(s)
	if err != nil {
		panic(err)
	}
	return u
}

func TestAddresses_Rewrite(t *testing.T) {
	const relay = "https://relay.example"
	for _, tc := range []struct{ base, prefix, address, want string }{
		{"https://p.example", "", "https://p.example/v1/x", relay + "/v1/x"},
		{"https://p.example", "", "/v1/x", "/v1/x"},
		{"https://p.example", "/api/p", "/v1/x", "/api/p/v1/x"},
		{"https://p.example/base", "/api/p", "https://p.example/base/v1/x", relay + "/api/p/v1/x"},
		{"https://p.example/base", "", "/base/v1/x", "/v1/x"},
		{"https://p.example/base", "", "/other/x", "/other/x"},
		{"https://p.example/base", "", "https://p.example/based", "https://p.example/based"},
		{"https://p.example/base", "/api/p", "x/y", "x/y"},
		{"https://p.example", "/api/p", "https://p.example/v1/x?a=%2F&key=k&KEY=k#end", relay + "/api/p/v1/x?a=%2F&KEY=k#end"},
		{"https://p.example", "", "http://p.example/v1/x", "http://p.example/v1/x"},
		{"https://p.example", "", "https://user@p.example/v1/x", "https://user@p.example/v1/x"},
		{"https://p.example", "", "//elsewhere.example/x", "//elsewhere.example/x"},
		{"https://p.example", "", ":", ":"},
	} {
		a := Addresses{
			Base: mustParse(tc.base), Sent: mustParse(tc.base + "/v1/now"), Relay: relay, Prefix: tc.prefix,
			Selects: func(parameter string) bool { return parameter == "key" },
		}
		header := http.Header{"Location": {tc.address}, "X-Other": {tc.address}}
		if !HasAddress(header) {
			t.Errorf("%q is no address, want one", tc.address)
		}
		a.Rewrite(header)
		if got := header.Get("Location"); got != tc.want {
			t.Errorf("below %s%s, %q becomes %q, want %q", tc.base, tc.prefix, tc.address, got, tc.want)
		}
		if got := header.Get("X-Other"); got != tc.address {
			t.Errorf("another field becomes %q, want %q", got, tc.address)
		}
	}
}

func TestBelow(t *testing.T) {
	for _, tt := range []struct{ base, in, want string }{
		{"https://p.example", "http://relay/v1/x?a=1", "https://p.example/v1/x?a=1"},
		{"https://p.example:8443/base", "/v1/x", "https://p.example:8443/base/v1/x"},
		{"https://p.example", "/a%2Fb?x=%20", "https://p.example/a%2Fb?x=%20"},
		{"https://p.example/b%2Fc", "/a%2Fb", "https://p.example/b%2Fc/a%2Fb"},
		{"https://p.example", "http://u:p@relay/v1/x#f", "https://p.example/v1/x"},
	} {
		if got := Below(mustParse(tt.base), mustParse(tt.in)).String(); got != tt.want {
			t.Errorf("Below(%q, %q) = %q, want %q", tt.base, tt.in, got, tt.want)
		}
	}
}
