package grant

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"io"
	"regexp"
	"strconv"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// Claims are the claims of a token, as minted and as parsed. The registered
// ones are those of RFC 7519, section 4.1; docs/token.schema.json defines all.
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

// Limits are what a token may use up, each at least 1.
type Limits struct {
	Calls       *int64 `json:"calls,omitempty"`       // admitted calls in all
	RPM         *int64 `json:"rpm,omitempty"`         // calls in any minute
	Concurrency *int64 `json:"concurrency,omitempty"` // calls under way at once
}

// Allow narrows what a token may reach. A list that is there has a member, and
// a request must match one of each list.
type Allow struct {
	Models  []string `json:"models,omitempty"`  // names, or beginnings that end in '*'
	Paths   []string `json:"paths,omitempty"`   // patterns as in [ParseRoutes]
	Methods []string `json:"methods,omitempty"` // in capitals
	IPs     []string `json:"ips,omitempty"`     // addresses and prefixes (CIDR) of clients
	Origins []string `json:"origins,omitempty"` // of pages, as browsers send them: https://app.example.com
}

// Set is what the relay writes into a request, whatever the client has there.
type Set struct {
	Model string `json:"model,omitempty"`
}

// members is the profile: every name that claims may hold, and what it holds.
type members map[string]member

// member is one claim.
type member struct {
	holds kind
	below members // of an object
}

var (
	profile = members{
		"iss": {holds: text}, "sub": {holds: text}, "aud": {holds: audience}, "jti": {holds: text},
		"iat": {holds: date}, "nbf": {holds: date}, "exp": {holds: date},
		"provider": {holds: text}, "api_key": {holds: text},
		"limits": {object, members{"calls": {holds: count}, "rpm": {holds: count}, "concurrency": {holds: count}}},
		"allow": {object, members{"models": {holds: list}, "paths": {holds: list}, "methods": {holds: list},
			"ips": {holds: list}, "origins": {holds: list}}},
		"set": {object, members{"model": {holds: text}}},
	}
	// reserved names mean something that this version does not enforce. A token
	// that carries one is refused: half-obeyed is not obeyed.
	reserved = map[string]bool{
		"limits.tokens": true, "limits.usd": true, "cnf": true,
	}
)

// name is the form of issuers' names and of token ids. It has neither '/' nor
// any character that would need quoting in a log, a URL or a shell.
var name = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// ValidName reports whether s can be an issuer's name or a token's id.
func ValidName(s string) bool { return name.MatchString(s) }

// ParseClaims parses and checks verified claims. It refuses unknown, duplicate
// and wrongly-cased names, nulls, and anything after the object: a restriction
// that a parser passes over is an escalation. Errors are denials and quote no
// values.
func ParseClaims(data []byte) (*Claims, error) {
	c, err := ParseDraft(data)
	if err != nil {
		return nil, err
	}
	return c, c.Validate()
}

// ParseDraft is [ParseClaims] for claims that are yet to be completed by
// whoever mints: it is as strict about names and types, and checks no values.
func ParseDraft(data []byte) (*Claims, error) {
	if !utf8.Valid(data) {
		return nil, deny(Invalid, "claims are not valid UTF-8")
	}
	dec := jsontext.NewDecoder(bytes.NewReader(data), jsontext.AllowDuplicateNames(true)) // which are refused below, by name
	if t, err := dec.ReadToken(); err != nil || t.Kind() != '{' {
		return nil, deny(Invalid, "claims are not a JSON object")
	}
	if err := checkMembers(dec, profile, ""); err != nil {
		return nil, err
	}
	if _, err := dec.ReadToken(); err != io.EOF {
		return nil, deny(Invalid, "data after the claims")
	}
	var c Claims
	if err := json.Unmarshal(data, &c); err != nil { // what kinds miss, such as a number that is too large
		return nil, deny(Invalid, "claims do not parse")
	}
	return &c, nil
}

// checkMembers reads the members of an object, of which the opening brace was
// read, and its closing brace.
func checkMembers(dec *jsontext.Decoder, known members, prefix string) error {
	seen := make(map[string]bool, len(known))
	for dec.PeekKind() != '}' {
		t, err := dec.ReadToken()
		if err != nil {
			return parsed(err)
		}
		key := t.String()
		m, ok := known[key]
		switch {
		case reserved[prefix+key]:
			return deny(Invalid, "claim %s is not supported by this relay", prefix+key)
		case !ok:
			return deny(Invalid, "unknown claim %s%s", prefix, printable(key))
		case seen[key]:
			return deny(Invalid, "claim %s%s appears twice", prefix, key)
		}
		seen[key] = true
		if err := checkValue(dec, m, prefix+key); err != nil {
			return err
		}
	}
	_, err := dec.ReadToken()
	return parsed(err)
}

// checkValue reads the value of a claim.
func checkValue(dec *jsontext.Decoder, m member, path string) error {
	t, err := dec.ReadToken()
	if err != nil {
		return parsed(err)
	}
	if slip := m.holds.slip(t); slip != "" {
		return deny(Invalid, "claim %s %s", path, slip)
	}
	switch t.Kind() {
	case '{':
		return checkMembers(dec, m.below, path+".")
	case '[':
		return checkList(dec, m.holds, path)
	}
	return nil
}

// checkList reads the members of a list, of which the opening bracket was read,
// and its closing bracket.
func checkList(dec *jsontext.Decoder, holds kind, path string) error {
	n := 0
	for dec.PeekKind() != ']' {
		t, err := dec.ReadToken()
		if err != nil {
			return parsed(err)
		}
		if t.Kind() != '"' {
			return deny(Invalid, "claim %s holds %s; write %s", path, typeNames[t.Kind()], wants[holds])
		}
		n++
	}
	if _, err := dec.ReadToken(); err != nil {
		return parsed(err)
	}
	if holds == audience && n != 1 {
		return deny(Invalid, "claim %s names %d audiences; write %s", path, n, wants[holds])
	}
	return nil
}

// parsed turns an error of the parser into a denial.
func parsed(err error) error {
	if err != nil {
		return deny(Invalid, "claims do not parse as JSON")
	}
	return nil
}

// printable keeps a name that a log can hold, and no other.
func printable(s string) string {
	if ValidName(s) {
		return s
	}
	return "(unprintable)"
}

// Validate checks the values of c. A back-end that mints may call it first.
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

// maxLifespan is ten years. A time before 1980 is a lifespan that someone took
// for a time: "exp" is a time.
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

// ValidSubject reports whether s can be a "sub": printable, of bounded length.
func ValidSubject(s string) bool {
	for _, r := range s {
		if !strconv.IsPrint(r) || r == utf8.RuneError {
			return false
		}
	}
	return len(s) <= maxSubject
}

// ValidAPIKey reports whether s can go out in a header: visible ASCII. The
// empty key, which means none, is valid.
func ValidAPIKey(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return len(s) <= 4096
}

// Fingerprint identifies what the claims permit: all of them but the times, so
// that a refresh of a token keeps it, and but "aud", which follows the relay's
// key from one rotation to the next.
func (c *Claims) Fingerprint() [32]byte {
	timeless := *c
	timeless.IssuedAt, timeless.NotBefore, timeless.ExpiresAt, timeless.Audience = 0, 0, 0, ""
	data, err := json.Marshal(&timeless)
	if err != nil {
		panic(err) // strings and integers always marshal
	}
	return sha256.Sum256(data)
}
