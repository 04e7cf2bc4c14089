package limits

import (
	"reflect"
	"testing"

	"github.com/relayapi/caddy-relayapi/grant"
	"github.com/relayapi/caddy-relayapi/tokenstore"
)

func TestClaimedAndOwn(t *testing.T) {
	calls, usd := int64(5), grant.USD(7)
	nano := int64(usd)
	claims := &grant.Claims{Limits: &grant.Limits{Calls: &calls, USD: &usd}}
	want := tokenstore.Limits{Calls: &calls, NanoUSD: &nano}
	if got := Claimed(claims); !reflect.DeepEqual(got, want) {
		t.Errorf("Claimed = %+v, want %+v", got, want)
	}
	if got := Claimed(new(grant.Claims)); got != (tokenstore.Limits{}) {
		t.Errorf("Claimed of no limits = %+v, want none", got)
	}
	if got := Own(&grant.Grant{Calls: calls, USD: usd}); !reflect.DeepEqual(got, want) {
		t.Errorf("Own = %+v, want %+v", got, want)
	}
	if got := Own(new(grant.Grant)); got != (tokenstore.Limits{}) {
		t.Errorf("Own of no limits = %+v, want none", got)
	}
}
