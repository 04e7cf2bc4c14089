package adminapi

import (
	"strings"
	"testing"
	"time"

	"github.com/relayapi/caddy-relayapi/tokenstore"
)

func TestNewCalls_ListsTheLongestFirst(t *testing.T) {
	now := time.Now()
	var all []Call
	for i := range MaxPage + 2 {
		all = append(all, Call{Since: now.Add(-time.Duration(i) * time.Second)})
	}
	list := NewCalls(all)
	if len(list.Calls) != MaxPage || list.Total != MaxPage+2 {
		t.Errorf("got %d calls of %d, want %d of %d", len(list.Calls), list.Total, MaxPage, MaxPage+2)
	}
	if got, want := list.Calls[0].Since, now.Add(-(MaxPage+1)*time.Second); !got.Equal(want) {
		t.Errorf("the first began at %v, want %v", got, want)
	}
	if list := NewCalls([]Call{}); list.Calls == nil {
		t.Error("an empty list is null in JSON")
	}
}

// Models are named by clients and providers.
func TestNewCall_ShowsNoModelThatHarms(t *testing.T) {
	token := "eyJ" + strings.Repeat("hbGciOiJFQ0RILUVT", 8)
	known := []string{"eyJhbGciOiJFQ0RILUVTIn0..the-middle-of-a-token"}
	for model, want := range map[string]string{
		"gpt-5.6-sol":              "gpt-5.6-sol",
		"x\x1b[2J":                 "",
		strings.Repeat("m", 129):   "",
		"a " + token + "..." + "b": "a ***",
		"a the-middle-of-a-token":  "a ***",
	} {
		if got := NewCall("1", new(tokenstore.Token), time.Now(), &model, known).Model; got != want {
			t.Errorf("model %.20q is shown as %q, want %q", model, got, want)
		}
	}
	if got := NewCall("1", new(tokenstore.Token), time.Now(), nil, known).Model; got != "" {
		t.Errorf("an unknown model is shown as %q", got)
	}
}
