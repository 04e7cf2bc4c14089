package grant

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// Claims are the claims of a token, as minted and as parsed. The registered
// claims are those of RFC 7519, section 4.1. docs/token.schema.json defines all
// claims.
type Claims struct {
	Issuer    string      `json:"iss"`
	Subject   string      `json:"sub,omitempty"`
	Audience  Audience    `json:"aud"`
	ID        string      `json:"jti"`
	IssuedAt  NumericDate `json:"iat"`
	NotBefore NumericDate `json:"nbf,omitempty"`
	ExpiresAt NumericDate `json:"exp"`

	Provider string  `json:"provider"`
	APIKey   string  `json:"api_key,omitempty"`
	Limits   *Limits `json:"limits,omitempty"`
	Allow    *Allow  `json:"allow,omitempty"`
	Set      *Set    `json:"set,omitempty"`
}

// Limits are what a token may use up. nil means unlimited; the least is 1, or
// one nano-USD.
type Limits struct {
	Calls       *int64 `json:"calls,omitempty"`       // admitted calls in total
	RPM         *int64 `json:"rpm,omitempty"`         // calls per minute
	Concurrency *int64 `json:"concurrency,omitempty"` // calls at the same time
	Tokens      *int64 `json:"tokens,omitempty"`      // tokens of models, in and out, in total
	USD         *USD   `json:"usd,omitempty"`         // cost in total
}

// Allow narrows what a token may reach. A request must match one member of each
// list that is present. A list must not be empty.
type Allow struct {
	Models  []string `json:"models,omitempty"`  // names, or prefixes followed by '*'
	Paths   []string `json:"paths,omitempty"`   // patterns, see [ParseRoutes]
	Methods []string `json:"methods,omitempty"` // in upper case
	IPs     []string `json:"ips,omitempty"`     // client addresses and prefixes (CIDR)
	Origins []string `json:"origins,omitempty"` // of pages, as browsers send them: https://app.example.com
}

// Set is what the relay writes into each request. It overrides what the client
// sent.
type Set struct {
	Model string `json:"model,omitempty"`
}

// members maps the names that an object may have to what they hold.
type members map[string]member

// member is one claim.
type member struct {
	holds kind
	below members // the members of an object
}

// profile is every claim that a token may have.
var profile = members{
	"iss": {holds: text}, "sub": {holds: text}, "aud": {holds: audience}, "jti": {holds: text},
	"iat": {holds: date}, "nbf": {holds: date}, "exp": {holds: date},
	"provider": {holds: text}, "api_key": {holds: text},
	"limits": {object, members{"calls": {holds: count}, "rpm": {holds: count}, "concurrency": {holds: count},
		"tokens": {holds: count}, "usd": {holds: money}}},
	"allow": {object, members{"models": {holds: list}, "paths": {holds: list}, "methods": {holds: list},
		"ips": {holds: list}, "origins": {holds: list}}},
	"set": {object, members{"model": {holds: text}}},
}

// reserved claims have a meaning that the relay does not enforce. A token that
// has one is refused, because the relay would ignore a restriction.
var reserved = map[string]bool{"cnf": true}

// name is the form of issuers' names and of token ids. It has no slash and no
// character that must be quoted in a log, a URL or a shell.
var name = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// ValidName reports whether s can be an issuer's name or a token's id.
func ValidName(s string) bool { return name.MatchString(s) }

// ParseClaims parses and checks verified claims. It refuses names that are
// unknown, duplicate or in the wrong case, nulls, and data after the object: a
// restriction that a parser ignores is an escalation. Errors are of type
// [*Denial] and quote no values.
func ParseClaims(data []byte) (*Claims, error) {
	c, err := ParseDraft(data)
	if err != nil {
		return nil, err
	}
	return c, c.Validate()
}

// ParseDraft parses claims that the minter has yet to complete. It is as strict
// as [ParseClaims] about names and types, and does not check values.
func ParseDraft(data []byte) (*Claims, error) {
	if !utf8.Valid(data) {
		return nil, deny(Invalid, "claims are not valid UTF-8")
	}
	if err := checkDocument(data); err != nil {
		return nil, err
	}

	var c Claims
	if err := json.Unmarshal(data, &c); err != nil { // for example a number that is too large
		return nil, deny(Invalid, "claims do not parse")
	}
	return &c, nil
}

// checkDocument checks that data is one JSON object that fits [profile].
func checkDocument(data []byte) error {
	dec := jsontext.NewDecoder(bytes.NewReader(data))
	if dec.PeekKind() != '{' {
		return deny(Invalid, "claims are not a JSON object")
	}

	// The decoder refuses duplicate names at every depth.
	object, err := dec.ReadValue()
	if err != nil {
		return unparsed(err)
	}
	if err := checkMembers(object, profile, ""); err != nil {
		return err
	}
	if _, err := dec.ReadToken(); err != io.EOF {
		return deny(Invalid, "data after the claims")
	}
	return nil
}

// unparsed turns an error of the parser into a denial.
func unparsed(err error) error {
	var syntax *jsontext.SyntacticError
	if !errors.Is(err, jsontext.ErrDuplicateName) || !errors.As(err, &syntax) {
		return deny(Invalid, "claims do not parse as JSON")
	}

	var path []string
	for token := range syntax.JSONPointer.Tokens() {
		path = append(path, printable(token))
	}
	return deny(Invalid, "claim %s appears twice", strings.Join(path, "."))
}

// checkMembers checks the members of an object, in the order of their names.
func checkMembers(object jsontext.Value, known members, prefix string) error {
	var values map[string]jsontext.Value
	if json.Unmarshal(object, &values) != nil {
		return deny(Invalid, "claims do not parse as JSON")
	}

	for _, key := range slices.Sorted(maps.Keys(values)) {
		m, ok := known[key]
		switch {
		case reserved[prefix+key]:
			return deny(Invalid, "claim %s is not supported by this relay", prefix+key)
		case !ok:
			return deny(Invalid, "unknown claim %s%s", prefix, printable(key))
		}
		if err := checkValue(values[key], m, prefix+key); err != nil {
			return err
		}
	}
	return nil
}

// checkValue checks the value of a claim.
func checkValue(value jsontext.Value, m member, path string) error {
	if problem := m.holds.problem(value); problem != "" {
		return deny(Invalid, "claim %s %s", path, problem)
	}

	switch value.Kind() {
	case '{':
		return checkMembers(value, m.below, path+".")
	case '[':
		return checkList(value, m.holds, path)
	}
	return nil
}

// checkList checks the members of a list.
func checkList(value jsontext.Value, holds kind, path string) error {
	var values []jsontext.Value
	if json.Unmarshal(value, &values) != nil {
		return deny(Invalid, "claims do not parse as JSON")
	}

	for _, v := range values {
		if v.Kind() != '"' {
			return deny(Invalid, "claim %s holds %s; write %s", path, typeNames[v.Kind()], wants[holds])
		}
	}
	if holds == audience && len(values) != 1 {
		return deny(Invalid, "claim %s names %d audiences; write %s", path, len(values), wants[holds])
	}
	return nil
}

// printable returns s if a log can hold it.
func printable(s string) string {
	if ValidName(s) {
		return s
	}
	return "(unprintable)"
}

// Validate checks the values of c. A back-end may call it before it mints.
func (c *Claims) Validate() error {
	switch {
	case c.Issuer == "":
		return deny(Invalid, "iss is missing or empty; write the issuer's name")
	case !ValidName(c.Issuer):
		return deny(Invalid, "iss must match %s", name)
	case c.ID == "":
		return deny(Invalid, "jti is missing or empty; write an id that no other token has")
	case !ValidName(c.ID):
		return deny(Invalid, "jti must match %s", name)
	case !ValidSubject(c.Subject):
		return deny(Invalid, "sub must be printable and at most %d bytes", maxSubject)
	case c.Audience == "":
		return deny(Invalid, "aud is missing or empty; write %s", wants[audience])
	case c.Provider == "":
		return deny(Invalid, "provider is missing or empty; write the name of one of the relay's providers")
	case !ValidAPIKey(c.APIKey):
		return deny(Invalid, "api_key is not one word of printable ASCII; write the key alone")
	case c.Set != nil && !validModel(c.Set.Model):
		return deny(Invalid, "set.model must be the name of a model")
	}
	if err := c.validateTimes(); err != nil {
		return err
	}
	if err := c.Limits.Validate(); err != nil {
		return deny(Invalid, "limits.%v", err)
	}
	if err := c.Allow.Validate(); err != nil {
		return deny(Invalid, "allow.%v", err)
	}
	return nil
}

// maxLifespan is ten years in seconds. An "exp" before 1980 is likely a lifespan
// that was written where a time belongs.
const maxLifespan = 10 * 366 * 24 * 60 * 60

func (c *Claims) validateTimes() error {
	switch {
	case c.IssuedAt <= 0:
		return deny(Invalid, "iat is missing or 0; write %s", wants[date])
	case c.ExpiresAt <= 0:
		return deny(Invalid, "exp is missing or 0; write %s", wants[date])
	case c.ExpiresAt <= c.IssuedAt && c.ExpiresAt <= maxLifespan:
		return deny(Invalid, "exp is not after iat: it seems to be a lifespan; write %s, such as iat plus the lifespan", wants[date])
	case c.ExpiresAt <= c.IssuedAt:
		return deny(Invalid, "exp is not after iat")
	}
	return nil
}

const maxSubject = 255

// ValidSubject reports whether s can be a "sub": printable and not too long.
func ValidSubject(s string) bool {
	for _, r := range s {
		if !strconv.IsPrint(r) || r == utf8.RuneError {
			return false
		}
	}
	return len(s) <= maxSubject
}

// ValidAPIKey reports whether s can be sent in a header: visible ASCII. The empty
// string is valid and means no key.
func ValidAPIKey(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return len(s) <= 4096
}

// Fingerprint identifies what the claims permit. It leaves out the times, so that
// a refreshed token keeps its fingerprint, and "aud", which changes when the
// relay's key is rotated.
func (c *Claims) Fingerprint() [32]byte {
	timeless := *c
	timeless.IssuedAt, timeless.NotBefore, timeless.ExpiresAt, timeless.Audience = 0, 0, 0, ""
	data, err := json.Marshal(&timeless)
	if err != nil {
		panic(err) // unreachable: strings and integers always marshal
	}
	return sha256.Sum256(data)
}
