package grant

import (
	"errors"
	"net/netip"
	"reflect"
	"testing"
	"time"
)

func TestAllow_Or(t *testing.T) {
	all := Allow{Models: []string{"m"}, Paths: []string{"/p"}, Methods: []string{"GET"}, IPs: []string{"192.0.2.1"}, Origins: []string{"https://o"}}
	if got := (Allow{}).Or(all); !reflect.DeepEqual(got, all) {
		t.Errorf("in place of nothing: %+v, want %+v", got, all)
	}
	if got := all.Or(Allow{Models: []string{"x"}, Origins: []string{"https://x"}}); !reflect.DeepEqual(got, all) {
		t.Errorf("before another: %+v, want %+v", got, all)
	}
}

// Who may have a token is asked of all sides, and depends on nothing but the client.
func TestPermitClient(t *testing.T) {
	issuer := Issuer{Name: "i", Providers: []string{"p"}, MaxTTL: time.Hour, Allow: Allow{Origins: []string{"https://a", "https://b"}, Methods: []string{"GET"}}}
	routes, err := ParseRoutes("GET /x")
	if err != nil {
		t.Fatal(err)
	}
	c := &Claims{Issuer: "i", ID: "t", Provider: "p", IssuedAt: 1, ExpiresAt: 2, Allow: &Allow{Origins: []string{"https://a"}, IPs: []string{"192.0.2.0/24"}}}
	g, err := Compile(c, issuer, "", routes)
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		origin, ip string
		want       Reason
	}{
		"both":           {"https://a", "192.0.2.7", ""},
		"not the token":  {"https://b", "192.0.2.7", NoOrigin},
		"not the issuer": {"https://c", "192.0.2.7", NoOrigin},
		"no page":        {"", "192.0.2.7", NoOrigin},
		"elsewhere":      {"https://a", "192.0.3.7", NoIP},
	} {
		var got Reason
		var denial *Denial
		if errors.As(g.PermitClient(Request{Origin: tc.origin, ClientIP: netip.MustParseAddr(tc.ip)}), &denial) {
			got = denial.Reason
		}
		if got != tc.want {
			t.Errorf("%s: denied for %q, want %q", name, got, tc.want)
		}
	}
}
