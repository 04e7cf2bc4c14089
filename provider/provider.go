// Package provider is a table of the APIs that the relay knows: the base URL of
// each, where it reads its key, and which of its routes do inference.
//
// [Lookup] finds a [Preset] by name, [All] lists them, and [Nearest] suggests names
// for one that is misspelled. A [Placement] says where a key goes in a request.
//
// The routes are an allow-list, because a key can do far more than a token should:
// mint credentials, read the account's files and stored conversations, start
// batches. A preset lists only calls whose answer depends on the request alone.
// The operator decides about all other routes.
//
// The table states facts. It does not know tokens or requests.
package provider

import (
	"cmp"
	"encoding/base64"
	"slices"
	"strings"
)

// Placement is where a provider reads its credential: a header or a query
// parameter, never both. [Placement.Value] returns the value that it has there.
type Placement struct {
	Header string `json:"header,omitempty"` // as the provider spells it, for example "Authorization"; empty if Query is set
	Query  string `json:"query,omitempty"`  // name of a query parameter; empty if Header is set
	Prefix string `json:"prefix,omitempty"` // precedes the key in the header, with its trailing space: "Bearer ", or ""

	// Basic is whether the header is that of HTTP Basic (RFC 7617). If so, Prefix
	// is empty.
	Basic bool `json:"basic,omitempty"`

	// User is the user of HTTP Basic, such as Twilio's account SID. The key is then
	// the password. If User is empty, the key is the user and the password is
	// empty, as for Stripe.
	User string `json:"user,omitempty"`

	// Option is whether the value is not a credential but, for example, an account,
	// a method or an address.
	Option bool `json:"option,omitempty"`
}

// BasicPlacement returns the placement of a key in HTTP Basic, see
// [Placement.User].
func BasicPlacement(user string) Placement {
	return Placement{Header: "Authorization", Basic: true, User: user}
}

// ValidUser reports whether s can be the user of HTTP Basic. A colon would end it,
// and servers disagree on the encoding of what is not printable ASCII.
func ValidUser(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' || s[i] == ':' {
			return false
		}
	}
	return len(s) <= 255
}

// Value returns the value of the header or of the query parameter for a key.
func (p Placement) Value(key string) string {
	switch {
	case !p.Basic:
		return p.Prefix + key
	case p.User == "":
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(key+":"))
	}
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(p.User+":"+key))
}

// Preset is the facts about one provider.
type Preset struct {
	Name  string `json:"name"`  // in a Caddyfile and in a token, for example "openai"
	Title string `json:"title"` // for people, for example "OpenAI"

	// BaseURL is the URL that a request's path is appended to. It ends where the
	// path that the provider's SDKs send begins, so that all OpenAI-compatible APIs
	// are called as /v1/…. It may have placeholders,
	// "https://{resource}.example.com". It is empty if only the operator knows it.
	BaseURL string `json:"base_url,omitempty"`

	// Accounts are the placeholders of BaseURL, and those of Routes that only the config
	// fills in. They have the order in which a config gives their values.
	Accounts []string `json:"accounts,omitempty"`

	// Credential is where the relay puts the key.
	Credential Placement `json:"credential"`

	// AlsoReads are the other places where the provider reads a credential, an
	// account or project, another method, or an address to send its answer to. A
	// client's values there must not reach the provider beside the relay's key. At
	// best the provider refuses two credentials; at worst it prefers the client's.
	AlsoReads []Placement `json:"also_reads,omitempty"`

	// Env is the environment variable where the provider's own SDK reads the key.
	Env string `json:"env,omitempty"`

	// NoKey is whether the provider answers without a key.
	NoKey bool `json:"no_key,omitempty"`

	// Routes are the inference routes as "METHOD /path", relative to BaseURL. The
	// method WS means a WebSocket. In a path, {name} is one segment, {+name} is one
	// segment that may have encoded slashes, * is one or more characters of one
	// segment, and /* at the end is everything below.
	Routes []string `json:"routes"`

	// Dialect is the name of the API's dialect in package dialect.
	Dialect string `json:"dialect"`

	// Docs is the provider's page with these facts.
	Docs string `json:"docs"`
}

// Lookup returns the preset with exactly this name.
func Lookup(name string) (Preset, bool) {
	for _, p := range presets {
		if p.Name == name {
			return p.clone(), true
		}
	}
	return Preset{}, false
}

// All returns all presets, sorted by name. The caller may change them.
func All() []Preset {
	all := make([]Preset, len(presets))
	for i, p := range presets {
		all[i] = p.clone()
	}
	slices.SortFunc(all, func(a, b Preset) int { return cmp.Compare(a.Name, b.Name) })
	return all
}

// clone returns a copy of p that shares no slice with the table.
func (p Preset) clone() Preset {
	p.Accounts = slices.Clone(p.Accounts)
	p.AlsoReads = slices.Clone(p.AlsoReads)
	p.Routes = slices.Clone(p.Routes)
	return p
}

// Nearest returns at most three names of presets that name may stand for: those
// that start with it or that it starts with, and those that are one edit away. It
// returns none for fewer than two characters.
func Nearest(name string) []string {
	name = strings.ToLower(strings.TrimSpace(name))
	if len(name) < 2 {
		return nil
	}

	var near []string
	for _, p := range presets {
		if strings.HasPrefix(p.Name, name) || strings.HasPrefix(name, p.Name) || oneEdit(name, p.Name) {
			near = append(near, p.Name)
		}
	}
	return near[:min(3, len(near))]
}

// oneEdit reports whether inserting, removing or replacing one byte, or swapping
// two neighbours, turns a into b.
func oneEdit(a, b string) bool {
	if len(a) > len(b) {
		a, b = b, a
	}

	i := 0
	for i < len(a) && a[i] == b[i] {
		i++
	}
	restA, restB := a[i:], b[i:]
	switch len(b) - len(a) {
	case 0:
		return restA == "" || restA[1:] == restB[1:] ||
			len(restA) > 1 && restA[0] == restB[1] && restA[1] == restB[0] && restA[2:] == restB[2:]
	case 1:
		return restA == restB[1:]
	}
	return false
}
