// Package provider is the table of APIs the relay knows without being told:
// where each one lives, where it reads its key, and which of its routes do
// inference.
//
// The routes are an allow-list, because a key can do far more than a token is
// meant to: mint further credentials, read the account's files and stored
// conversations, start batches. A preset lists only calls whose answer is made
// from what the request carries; everything else is the operator's decision.
//
// The table states facts and decides nothing. It knows nothing of tokens or
// requests.
package provider

import (
	"cmp"
	"encoding/base64"
	"slices"
	"strings"
)

// Placement is where a provider reads its credential: a header or a query
// parameter, never both. [Placement.Value] is what stands there.
type Placement struct {
	Header string `json:"header,omitempty"` // as the provider spells it, "Authorization"; empty if Query is set
	Query  string `json:"query,omitempty"`  // query parameter name; empty if Header is set
	Prefix string `json:"prefix,omitempty"` // before the key in the header, with its trailing space: "Bearer ", or ""

	// Basic makes the header that of HTTP Basic (RFC 7617). Then Prefix is empty.
	Basic bool `json:"basic,omitempty"`

	// User is the user of HTTP Basic, such as Twilio's account SID, with the key
	// as password. If it is empty, the key is the user and the password is empty,
	// as Stripe has it.
	User string `json:"user,omitempty"`

	// Option means that something else than a credential stands there, such as an
	// account, a method or an address.
	Option bool `json:"option,omitempty"`
}

// BasicPlacement returns the placement of a key in HTTP Basic, see
// [Placement.User].
func BasicPlacement(user string) Placement {
	return Placement{Header: "Authorization", Basic: true, User: user}
}

// ValidUser reports whether s can be the user of HTTP Basic: a colon would end
// it, and what is not printable ASCII has no encoding that all servers agree on.
func ValidUser(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' || s[i] == ':' {
			return false
		}
	}
	return len(s) <= 255
}

// Value returns what goes in the header or in the query parameter for a key.
func (p Placement) Value(key string) string {
	switch {
	case !p.Basic:
		return p.Prefix + key
	case p.User == "":
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(key+":"))
	}
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(p.User+":"+key))
}

// Preset is what the relay knows about one provider.
type Preset struct {
	Name  string `json:"name"`  // in a Caddyfile and in a token, "openai"
	Title string `json:"title"` // for people, "OpenAI"

	// BaseURL is what a request's path is appended to. It stops where the path
	// that the provider's SDKs send begins, so that OpenAI-shaped APIs are all
	// called as /v1/…. It may hold placeholders, "https://{resource}.example.com";
	// it is empty where only the operator can know it.
	BaseURL string `json:"base_url,omitempty"`

	// Accounts names the placeholders of BaseURL in the order in which a
	// configuration gives their values.
	Accounts []string `json:"accounts,omitempty"`

	// Credential is the one place the relay puts the key.
	Credential Placement `json:"credential"`

	// AlsoReads lists the other places from which the provider would take a
	// credential, an account or project, a different method, or an address to
	// send its answer to. What a caller puts there must not reach the provider
	// next to the relay's key: at best the provider refuses two credentials, at
	// worst it prefers the caller's.
	AlsoReads []Placement `json:"also_reads,omitempty"`

	// Env is the variable in which the provider's own SDK looks for the key.
	Env string `json:"env,omitempty"`

	// NoKey is set if the provider answers without a key.
	NoKey bool `json:"no_key,omitempty"`

	// Routes are the inference routes as "METHOD /path", relative to BaseURL. The
	// method WS is a WebSocket. In a path, {name} is one segment, {+name} one that
	// may hold encoded slashes, * is one or more characters of one segment, and a
	// last /* is everything below.
	Routes []string `json:"routes"`

	// Dialect is how requests name their model, by its name in package dialect.
	Dialect string `json:"dialect"`

	// Docs is the provider's page that these facts are from.
	Docs string `json:"docs"`
}

// Lookup returns the preset of that exact name.
func Lookup(name string) (Preset, bool) {
	for _, p := range presets {
		if p.Name == name {
			return p.clone(), true
		}
	}
	return Preset{}, false
}

// All returns every preset, sorted by name. The caller may change what it gets.
func All() []Preset {
	all := make([]Preset, len(presets))
	for i, p := range presets {
		all[i] = p.clone()
	}
	slices.SortFunc(all, func(a, b Preset) int { return cmp.Compare(a.Name, b.Name) })
	return all
}

// clone detaches p from the table, whose route slices are shared by presets.
func (p Preset) clone() Preset {
	p.Accounts = slices.Clone(p.Accounts)
	p.AlsoReads = slices.Clone(p.AlsoReads)
	p.Routes = slices.Clone(p.Routes)
	return p
}

// Nearest returns at most three preset names that someone who wrote name may
// have meant, likeliest first, and none if nothing is near.
func Nearest(name string) []string {
	name = strings.ToLower(strings.TrimSpace(name))
	type candidate struct {
		name           string
		rank, distance int
	}
	var near []candidate
	for _, p := range presets {
		d := distance(name, p.Name)
		if rank, ok := nearness(name, p.Name, d); ok {
			near = append(near, candidate{p.Name, rank, d})
		}
	}
	slices.SortFunc(near, func(a, b candidate) int {
		return cmp.Or(
			cmp.Compare(a.rank, b.rank),
			cmp.Compare(a.distance, b.distance),
			cmp.Compare(a.name, b.name),
		)
	})
	var names []string
	for _, c := range near[:min(3, len(near))] {
		names = append(names, c.name)
	}
	return names
}

// nearness ranks how written resembles the preset name known, d edits away:
// 0 if one begins with the other, 1 for a typing error, 2 if one contains the
// other. One or two letters resemble too much to say anything.
func nearness(written, known string, d int) (rank int, ok bool) {
	switch {
	case len(written) < 2:
		return 0, false
	case strings.HasPrefix(known, written) || strings.HasPrefix(written, known):
		return 0, true
	case d <= min(2, (len(written)+1)/3):
		return 1, true
	case len(written) >= 3 && strings.Contains(known, written) || strings.Contains(written, known):
		return 2, true
	}
	return 0, false
}

// distance is the Levenshtein distance in bytes; preset names are ASCII.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			substitute := diagonal
			if a[i] != b[j] {
				substitute++
			}
			diagonal = row[j+1]
			row[j+1] = min(substitute, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
