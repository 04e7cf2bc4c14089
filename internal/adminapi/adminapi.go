// Package adminapi has what the relay's admin API and its clients share: the types on
// the wire, the names of tokens, and a client.
package adminapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/relayapi/caddy-relayapi/eccrypto"
	"github.com/relayapi/caddy-relayapi/grant"
	"github.com/relayapi/caddy-relayapi/internal/mint"
	"github.com/relayapi/caddy-relayapi/tokenstore"
)

const (
	// MaxBody is the longest body that the admin API reads, in bytes.
	MaxBody = 64 << 10

	// MaxPage is the most tokens in one page of a list.
	MaxPage = 1000
)

// ReadBody reads the body of a request to the admin API. If it cannot, it returns the
// status of the answer.
func ReadBody(from io.Reader) (body []byte, status int, err error) {
	body, err = io.ReadAll(io.LimitReader(from, MaxBody+1))
	switch {
	case err != nil:
		return nil, http.StatusBadRequest, errors.New("the request body was cut short")
	case len(body) > MaxBody:
		return nil, http.StatusRequestEntityTooLarge, fmt.Errorf("the request body is longer than %d bytes", MaxBody)
	}
	return body, 0, nil
}

// Identity names a token.
type Identity struct{ Issuer, ID string }

// String returns the identity as issuer/id.
func (i Identity) String() string { return i.Issuer + "/" + i.ID }

// Path returns the path of the token in the admin API. Dots are escaped, because an id
// may be one or two dots, which would be cleaned away.
func (i Identity) Path() string {
	escape := strings.NewReplacer(".", "%2E").Replace
	return "/relayapi/tokens/" + escape(i.Issuer) + "/" + escape(i.ID)
}

// Matches reports whether a token has the identity.
func (i Identity) Matches(t *tokenstore.Token) bool { return t.Issuer == i.Issuer && t.ID == i.ID }

// ParseIdentity reads `[issuer/]id`. Without an issuer it is the relay's own. The
// errors quote nothing, because the text may be a token.
func ParseIdentity(s string) (Identity, error) {
	issuer, id, ok := strings.Cut(s, "/")
	if !ok {
		issuer, id = mint.RelayIssuer, s
	}
	switch {
	case eccrypto.LooksLikeToken(strings.TrimSpace(s)):
		return Identity{}, errors.New("this is a whole token; give its id, which `token inspect` shows as jti")
	case !grant.ValidName(issuer) || !grant.ValidName(id):
		return Identity{}, errors.New("a token is named by [issuer/]id, each of 1 to 64 letters, digits, dots, dashes and underscores")
	}
	return Identity{issuer, id}, nil
}

// KeyRefusal is a provider's refusal of a key.
type KeyRefusal struct {
	At      time.Time `json:"at"`
	Message string    `json:"message"` // without the key
}

// Updated is a token after a change.
type Updated struct {
	Record
	Ended int `json:"ended_calls"` // that were in flight
}

// Revoked is the answer to a revocation.
type Revoked struct {
	Scope   tokenstore.Scope `json:"scope"`
	Issuer  string           `json:"issuer,omitempty"`
	ID      string           `json:"id,omitempty"`
	Subject *string          `json:"subject,omitempty"`
	Before  time.Time        `json:"before,omitzero"` // tokens issued before it; zero for a single token
	Ended   int              `json:"ended_calls"`     // that were in flight
	Note    string           `json:"note,omitempty"`  // warns of a possible mistake
}

// Limit is an operator's limit, from the config or set since.
type Limit struct {
	Scope   tokenstore.Scope `json:"scope"`
	Issuer  string           `json:"issuer,omitempty"` // empty means all in the scope
	Subject *string          `json:"subject,omitempty"`
	ID      string           `json:"id,omitempty"`
	Amount
	Per  string `json:"per,omitempty"` // day or month; empty means no period
	From string `json:"from"`          // config or admin

	Ended int `json:"ended_calls,omitempty"` // that were in flight and are not permitted any more
}

// NewLimit returns a limit of the ledger or of the config as clients see it.
func NewLimit(l tokenstore.Limit, from string) Limit {
	shown := Limit{Scope: l.Scope, Amount: amountOf(l.Unit, l.Amount), Per: l.Per, From: from}
	issuer, rest, _ := strings.Cut(l.ID, "/")
	shown.Issuer = issuer
	switch {
	case l.ID == "":
	case l.Scope == tokenstore.ScopeSubject:
		shown.Subject = &rest
	case l.Scope == tokenstore.ScopeToken:
		shown.ID = rest
	}
	return shown
}

// Holder returns the holder of the limit as text.
func (l Limit) Holder() string {
	switch {
	case l.Subject != nil:
		return fmt.Sprintf("subject %s/%s", l.Issuer, *l.Subject)
	case l.ID != "":
		return "token " + l.Issuer + "/" + l.ID
	case l.Issuer != "":
		return "issuer " + l.Issuer
	default:
		return "each " + string(l.Scope)
	}
}

// Limits is a list of limits.
type Limits struct {
	Limits []Limit `json:"limits"`
}

// Keys are the keys of a relay.
type Keys struct {
	Keys    []RelayKey   `json:"keys"`
	Issuers []IssuerKeys `json:"issuers"`
}

// NewKeys returns the keys that tokens are encrypted to, of which the first is current.
func NewKeys(public []*eccrypto.PublicKey) (k Keys, err error) {
	data, err := eccrypto.MarshalJWKS(public...)
	if err != nil {
		return k, err
	}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(data, &set); err != nil {
		return k, err
	}
	for i, key := range public {
		k.Keys = append(k.Keys, RelayKey{ID: key.ID(), Current: i == 0, JWK: set.Keys[i]})
	}
	return k, nil
}

// RelayKey is a key that tokens are encrypted to.
type RelayKey struct {
	ID      string          `json:"id"`
	Current bool            `json:"current"` // the one to encrypt to
	JWK     json.RawMessage `json:"jwk"`
}

// IssuerKeys are the keys that verify an issuer's tokens.
type IssuerKeys struct {
	Issuer string   `json:"issuer"`
	KeyIDs []string `json:"key_ids"`
}
