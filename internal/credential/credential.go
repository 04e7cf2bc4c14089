package credential

import (
	"errors"
	"fmt"
	"strings"

	"github.com/relayapi/caddy-relayapi/provider"
	"golang.org/x/net/http/httpguts"
)

// Credential is the place where a provider reads its key: a header, the query, or HTTP
// Basic. For AWS, Google and Azure, it replaces the key.
type Credential struct {
	Cloud

	// The header's name.
	Header string `json:"header,omitempty"`

	// The word before the key in the header, e.g. `Bearer`. A space follows it.
	Prefix string `json:"prefix,omitempty"`

	// The query parameter's name.
	Query string `json:"query,omitempty"`

	// Send the key in the header `Authorization` as HTTP Basic (RFC 7617).
	Basic bool `json:"basic,omitempty"`

	// The user of HTTP Basic, with the key as password, e.g. Twilio's account SID or `api`
	// for Mailgun. It may be a placeholder `{env.NAME}` or `{file.PATH}`. Default: the key
	// is the user, and the password is empty.
	User string `json:"user,omitempty"`
}

// Check returns an error if the credential is invalid.
func (c *Credential) Check() error {
	places := len(c.Kinds())
	for _, given := range []bool{c.Header != "", c.Query != "", c.Basic} {
		if given {
			places++
		}
	}
	switch {
	case places != 1:
		return errors.New("credential: the key goes in one place; write either header, query, basic, aws, google or entra")
	case c.Prefix != "" && c.Header == "":
		return errors.New("credential: only a header has a prefix")
	case c.User != "" && !c.Basic:
		return errors.New("credential: only basic has a user")
	case c.Header != "" && !httpguts.ValidHeaderFieldName(c.Header) || !httpguts.ValidHeaderFieldValue(c.Prefix):
		return errors.New("credential: no header can have that name or value; write `credential header X-Api-Key`, without a colon")
	}
	return nil
}

// Placement returns where the key goes. resolve returns the value of a placeholder, and
// false for any other text. Errors do not quote the user, which may be a misplaced key.
func (c *Credential) Placement(resolve func(ref string) (value string, ok bool)) (provider.Placement, error) {
	if err := c.Check(); err != nil {
		return provider.Placement{}, err
	}
	if len(c.Kinds()) > 0 {
		return bearer, nil
	}
	if !c.Basic {
		place := provider.Placement{Header: c.Header, Query: c.Query}
		if c.Prefix != "" {
			place.Prefix = strings.TrimSpace(c.Prefix) + " "
		}
		return place, nil
	}

	user := c.User
	if value, ok := resolve(user); ok {
		if user = value; user == "" {
			return provider.Placement{}, fmt.Errorf("credential basic: %s is not set or empty", c.User)
		}
	}
	if !provider.ValidUser(user) || strings.ContainsAny(user, "{}") {
		return provider.Placement{}, errors.New("credential basic: the user must be printable ASCII without spaces, colons and braces, or a placeholder {env.NAME} or {file.PATH}")
	}
	return provider.BasicPlacement(user), nil
}

// Parse reads the arguments of a line such as `credential header X-Api-Key`.
func Parse(args []string, isPlaceholder func(string) bool) (*Credential, error) {
	form := ""
	if len(args) > 0 {
		form, args = args[0], args[1:]
	}
	var c Credential
	switch n := len(args); {
	case form == "header" && n == 1:
		c = Credential{Header: args[0]}
	case form == "header" && n == 2:
		c = Credential{Header: args[0], Prefix: args[1]}
	case form == "query" && n == 1:
		c = Credential{Query: args[0]}
	case form == "basic" && n == 0:
		c = Credential{Basic: true}
	case form == "basic" && n == 1:
		c = Credential{Basic: true, User: args[0]}
	default:
		return nil, errors.New("write `credential header <name> [<prefix>]`, `credential query <name>`, `credential basic [<user>]`, or credential aws, google or entra")
	}

	if err := c.Check(); err != nil {
		return nil, err
	}
	if !isPlaceholder(c.User) && !provider.ValidUser(c.User) { // quotes nothing, because it may be a key
		return nil, errors.New("credential basic: the user must be printable ASCII without spaces and colons")
	}
	return &c, nil
}
