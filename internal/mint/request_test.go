package mint

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/relayapi/caddy-relayapi/eccrypto"
	"github.com/relayapi/caddy-relayapi/grant"
)

func TestNewRequest_TellsFormsFromDrafts(t *testing.T) {
	const form = "application/x-www-form-urlencoded"
	for name, tc := range map[string]struct {
		kind, authorization string
		form                bool
	}{
		"a draft":                       {"application/json", "Bearer s", false},
		"a form":                        {form, "", true},
		"a form with a charset":         {form + "; charset=utf-8", "", true},
		"a form of a client":            {form, "Basic YTpi", true},
		"a draft by curl":               {form, "Bearer s", false},
		"a draft without type or proof": {"", "", false},
	} {
		r := httptest.NewRequest(http.MethodPost, "/", nil)
		r.Header = http.Header{"Content-Type": {tc.kind}, "Authorization": {tc.authorization}}
		if got := NewRequest(r); got.Form != tc.form {
			t.Errorf("%s: is a form: %t, want %t", name, got.Form, tc.form)
		}
	}
}

func TestRequest_ReadsTheTargetOfAForm(t *testing.T) {
	for form, want := range map[string]string{
		"":                "",
		"audience=openai": "openai",
		"scope=openai":    "openai",
		"claims=" + url.QueryEscape(`{"provider":"openai"}`):                                        "openai",
		"resource=" + url.QueryEscape("https://relay.example.com/api/openai"):                       "openai",
		"resource=" + url.QueryEscape("https://relay.example.com/api/openai/") + "&audience=openai": "openai",
		"audience=&scope=openai":                           "openai", // an empty parameter is absent
		"audience=openai&scope=groq":                       "refused",
		"scope=openai+groq":                                "openai groq", // is the name of no provider
		"audience=openai&audience=groq":                    "refused",
		"resource=openai":                                  "refused",
		"resource=https%3A%2F%2Frelay.example.com%2Fa%23b": "refused",
		"claims=[]":                                        "refused",
	} {
		q := Request{Form: true}
		err := q.Read(strings.NewReader("grant_type=" + url.QueryEscape(GrantExchange) + "&subject_token=a.b.c&subject_token_type=" + url.QueryEscape(typeJWT) + "&" + form))
		got := "refused"
		if err == nil {
			got = q.Draft.Provider
		}
		if got != want || err == nil && q.Proof != "a.b.c" {
			t.Errorf("%s: the provider is %q, want %q; %v", form, got, want, err)
		}
	}
}

func TestMinter_MintFor(t *testing.T) {
	key, err := eccrypto.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	m := Minter{Issuer: grant.Issuer{Name: "users", Providers: []string{"p"}, MaxTTL: 48 * time.Hour}, Signer: key, Recipient: key.Public()}
	now := time.Unix(1_800_000_000, 0)
	for name, tc := range map[string]struct {
		age  time.Duration // of the login's token
		want time.Duration // remaining life of the token; 0 means that none is minted
	}{
		"fresh":             {0, DefaultTTL},
		"older":             {30 * time.Hour, 18 * time.Hour},
		"as old as max_ttl": {48 * time.Hour, 0},
	} {
		user := User{Subject: "alice", Plan: "0a1b", IssuedAt: grant.NumericDate(now.Add(-tc.age).Unix())}
		minted, err := m.MintFor(user, &grant.Claims{Provider: "p"}, now)
		switch {
		case tc.want == 0 && err == nil:
			t.Errorf("%s: a token until %s, want none", name, minted.ExpiresAt)
		case tc.want == 0:
		case err != nil:
			t.Errorf("%s: %v", name, err)
		case minted.ExpiresAt.Sub(now) != tc.want || PlanOf(minted.ID) != "0a1b" || !grant.ValidName(minted.ID):
			t.Errorf("%s: got %s until %s, want %s", name, minted.ID, minted.ExpiresAt, tc.want)
		}
	}
}

func TestRequest_HidesWhyABodyBrokeOff(t *testing.T) {
	q := Request{}
	cause := errors.New("cause")
	err := q.Read(broken{cause})
	if !errors.Is(err, cause) || strings.Contains(err.Error(), "cause") {
		t.Errorf("got %v, want an error that is, and does not tell, its cause", err)
	}
}

type broken struct{ err error }

func (b broken) Read([]byte) (int, error) { return 0, b.err }
