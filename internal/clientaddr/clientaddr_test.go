package clientaddr

import (
	"net/http"
	"testing"
)

func TestNetwork(t *testing.T) {
	for addr, want := range map[string]string{
		"192.0.2.1:80":           "192.0.2.1/32",
		"[::ffff:192.0.2.1]:80":  "192.0.2.1/32",
		"[2001:db8:1:2:3::4]:80": "2001:db8:1:2::/64",
		"[2001:db8:1:2:ff::]:80": "2001:db8:1:2::/64",
		"[fe80::1%eth0]:80":      "fe80::/64",
		"@":                      "invalid Prefix",
		"":                       "invalid Prefix",
	} {
		if got := Network(&http.Request{RemoteAddr: addr}).String(); got != want {
			t.Errorf("%q counts as %s, want %s", addr, got, want)
		}
	}
}
