package mint

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/relayapi/caddy-relayapi/grant"
	"github.com/relayapi/caddy-relayapi/internal/redact"
)

// MaxBody is the longest body of a request for a token, in bytes.
const MaxBody = 64 << 10

// Names of RFC 8693 (https://www.rfc-editor.org/rfc/rfc8693#section-3).
const (
	GrantExchange = "urn:ietf:params:oauth:grant-type:token-exchange"

	typeAccessToken = "urn:ietf:params:oauth:token-type:access_token"
	typeIDToken     = "urn:ietf:params:oauth:token-type:id_token"
	typeJWT         = "urn:ietf:params:oauth:token-type:jwt"
)

// ErrTooLong means that a body is longer than [MaxBody].
var ErrTooLong = fmt.Errorf("the claims are longer than %d bytes", MaxBody)

// brokeOff is an error of reading a body. Its text does not quote the cause.
type brokeOff struct{ cause error }

func (brokeOff) Error() string { return "the request body was cut short" }

func (e brokeOff) Unwrap() error { return e.cause }

// ErrGrantType means that a form asks for something other than a token exchange.
var ErrGrantType = errors.New("grant_type must be " + GrantExchange)

// Request is a request for a token, over HTTP. Its proof is the secret of an issuer, or
// a user's login token.
type Request struct {
	Form  bool   // the body is a form of RFC 8693, not a draft in JSON
	Proof string // the secret or the login token; empty until the body of a form is read
	Draft *grant.Claims

	issued string // the type of token that a form asks for
}

// NewRequest reads the header of a request.
func NewRequest(r *http.Request) *Request {
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	proof := redact.Bearer(r)
	// A form has its proof in the body. With a proof in the header, the body is a draft
	// whatever its type, because curl sends the type of forms by default.
	return &Request{Form: kind == "application/x-www-form-urlencoded" && proof == "", Proof: proof}
}

// Read reads the body. Errors quote nothing from it, and are of type [*grant.Denial] if
// the draft is invalid.
func (q *Request) Read(r io.Reader) error {
	body, err := io.ReadAll(io.LimitReader(r, MaxBody+1))
	switch {
	case err != nil:
		return brokeOff{err}
	case len(body) > MaxBody:
		return ErrTooLong
	case q.Form:
		return q.readForm(string(body))
	}
	return q.readDraft(body)
}

// readDraft reads claims in JSON.
func (q *Request) readDraft(body []byte) (err error) {
	switch {
	case redact.HoldsSecret(string(body), q.Proof): // responses and logs show claims
		if strings.Count(q.Proof, ".") == 2 {
			return errors.New("the claims hold the login token")
		}
		return errors.New("the claims hold the secret")
	case redact.HoldsToken(redact.Unescape(string(body))):
		return errors.New("the claims hold a token")
	}
	q.Draft, err = grant.ParseDraft(body)
	return err
}

// formFields are the parameters of an exchange (RFC 8693, section 2.1). The parameter
// claims is the relay's own: a draft that narrows the token.
var formFields = []string{"grant_type", "subject_token", "subject_token_type", "requested_token_type", "resource", "audience", "scope",
	"actor_token", "actor_token_type", "claims"}

// readForm reads an exchange. It ignores empty and unknown parameters, as OAuth
// requires (RFC 6749, section 3.2).
func (q *Request) readForm(body string) error {
	form, err := url.ParseQuery(body)
	if err != nil {
		return errors.New("the form does not parse")
	}
	for _, name := range formFields {
		if len(form[name]) > 1 {
			return fmt.Errorf("%s is given twice", name)
		}
	}
	q.Proof = form.Get("subject_token")
	q.issued = form.Get("requested_token_type")
	switch kind := form.Get("subject_token_type"); {
	case form.Get("grant_type") == "":
		return errors.New("grant_type is missing; write " + GrantExchange)
	case form.Get("grant_type") != GrantExchange:
		return ErrGrantType
	case q.Proof == "":
		return errors.New("subject_token is missing; write the login token")
	case kind != typeIDToken && kind != typeJWT && kind != typeAccessToken:
		return fmt.Errorf("subject_token_type must be one of %s, %s, %s", typeIDToken, typeJWT, typeAccessToken)
	case form.Get("actor_token") != "":
		return errors.New("actor_token is not supported; leave it out")
	case q.issued != "" && q.issued != typeAccessToken && q.issued != typeJWT:
		return fmt.Errorf("requested_token_type must be one of %s, %s", typeAccessToken, typeJWT)
	}

	claims := form.Get("claims")
	if claims == "" {
		claims = "{}"
	}
	if err := q.readDraft([]byte(claims)); err != nil {
		return err
	}
	return q.readTarget(form)
}

// readTarget finds the provider that a form names, in any of the parameters that the
// RFC has for the target.
func (q *Request) readTarget(form url.Values) error {
	named := []string{q.Draft.Provider, form.Get("audience"), form.Get("scope")}
	if resource := form.Get("resource"); resource != "" {
		u, err := url.Parse(resource)
		if err != nil || !u.IsAbs() || u.Fragment != "" {
			return &grant.Denial{Reason: grant.NoProvider, Rule: "resource must be the relay's URL for a provider, such as https://relay.example.com/api/openai"}
		}
		path := strings.TrimRight(u.Path, "/")
		named = append(named, path[strings.LastIndex(path, "/")+1:])
	}
	named = slices.DeleteFunc(named, func(name string) bool { return name == "" })
	named = slices.Compact(named)
	switch len(named) {
	case 0:
		return nil
	case 1:
		q.Draft.Provider = named[0]
		return nil
	}
	return &grant.Denial{Reason: grant.NoProvider, Rule: "audience, resource, scope and claims name several providers; name one"}
}

// TokenResponse is the answer to an exchange (RFC 8693, section 2.2.1).
type TokenResponse struct {
	AccessToken string `json:"access_token"`
	Issued      string `json:"issued_token_type"`
	Type        string `json:"token_type"`
	ExpiresIn   int64  `json:"expires_in"` // seconds
	Scope       string `json:"scope"`      // the provider
}

// Answer returns the answer in the form of the request.
func (q *Request) Answer(m *Minted, now time.Time) any {
	if !q.Form {
		return m
	}
	a := TokenResponse{AccessToken: m.Token, Issued: q.issued, Type: "Bearer", ExpiresIn: int64(m.ExpiresAt.Sub(now) / time.Second), Scope: q.Draft.Provider}
	if a.Issued == "" {
		a.Issued = typeAccessToken
	}
	return a
}

// Mint mints a token for a back-end.
func (s *SecretIssuer) Mint(draft *grant.Claims, now time.Time) (*Minted, error) {
	if err := s.check(draft); err != nil {
		return nil, err
	}
	return s.Minter.Mint(draft, now)
}

// check returns what a back-end may not write in a draft.
func (m *Minter) check(draft *grant.Claims) error {
	switch may := m.Issuer; {
	case draft.Issuer != "" && draft.Issuer != may.Name:
		return &grant.Denial{Reason: grant.BeyondGrant, Rule: "iss: this secret mints only as " + may.Name}
	case draft.Audience != "":
		return errors.New("aud: leave it out; it is this relay")
	case draft.Provider != "" && !slices.Contains(may.Providers, draft.Provider): // quotes no claim of any length
		return m.noProvider()
	}
	return nil
}

func (m *Minter) noProvider() error {
	return &grant.Denial{Reason: grant.NoProvider, Rule: fmt.Sprintf("issuer %s may grant providers [%s]", m.Issuer.Name, strings.Join(m.Issuer.Providers, ", "))}
}
