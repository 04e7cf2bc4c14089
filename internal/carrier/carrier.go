// Package carrier finds the token in a request and empties every place that could
// hold one. What it leaves of a request holds no piece of a token.
package carrier

import (
	"cmp"
	"encoding/base64"
	"errors"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strings"

	"github.com/relayapi/caddy-relayapi/eccrypto"
	"github.com/relayapi/caddy-relayapi/internal/headers"
	"github.com/relayapi/caddy-relayapi/internal/redact"
	"github.com/relayapi/caddy-relayapi/provider"
	"golang.org/x/net/http/httpguts"
)

// A browser cannot set headers on a WebSocket. OpenAI's SDK offers its key as a
// subprotocol instead (https://platform.openai.com/docs/guides/realtime-websocket).
const (
	// ProtocolHeader has the subprotocols that a WebSocket offers.
	ProtocolHeader = "Sec-Websocket-Protocol"

	tokenPrefix = "openai-insecure-api-key."
)

// commonQuery has query parameters in which clients put what they take for an API
// key.
var commonQuery = []string{"key", "token"}

// foreignProtocols has prefixes of subprotocols that select an account.
var foreignProtocols = []string{"openai-organization.", "openai-project."}

// role is what becomes of a header.
type role int

const (
	foreign role = iota // stripped unread
	carrier             // stripped; may hold a token
	spare               // stripped if it holds a token; a query carrier has the same name
)

// Places are the places that are emptied: the common ones, and those of every
// configured provider.
type Places struct {
	// Login reports whether a value is the token of a login provider. Such a value is a
	// token like the relay's own. nil means that there are no logins.
	Login func(value string) bool

	headers map[string]role // by canonical name
	query   map[string]bool // names of parameters that may hold a token, in lower case
}

// New returns the common places and those in which providers read credentials or the
// account.
func New(places []provider.Placement) *Places {
	c := &Places{headers: make(map[string]role), query: make(map[string]bool)}
	for _, name := range headers.Foreign {
		c.headers[name] = foreign
	}
	for _, name := range commonQuery {
		c.addQuery(name)
	}
	for _, place := range places {
		if place.Query != "" && !place.Option {
			c.addQuery(place.Query)
		}
		if name := http.CanonicalHeaderKey(place.Header); name != "" && place.Option {
			c.headers[name] = foreign
		}
	}
	for _, place := range places { // second: one provider's credential may be foreign to another
		if place.Header != "" && !place.Option {
			c.headers[http.CanonicalHeaderKey(place.Header)] = carrier
		}
	}
	for _, name := range headers.Carriers {
		c.headers[name] = carrier
	}
	return c
}

// addQuery makes a parameter a carrier, and also the header of that name if it holds a
// token. Clients mistake one for the other.
func (c *Places) addQuery(name string) {
	c.query[strings.ToLower(name)] = true
	header := http.CanonicalHeaderKey(name)
	if _, known := c.headers[header]; !known && httpguts.ValidHeaderFieldName(header) {
		c.headers[header] = spare
	}
}

// Found is the token of a request.
type Found struct {
	Token   string
	Problem string // why there is no token to use; empty means that one was found

	// Malformed reports that the request is the problem, and not the token in it.
	Malformed bool

	// Misshapen reports that Problem is about the shape of a token. The client may
	// know it: nothing was decrypted, so it is no oracle.
	Misshapen bool

	Bare   bool // logs would show a token, or what may be one
	Linked bool // the token is in the query, and so in a link

	Protocol string // the first WebSocket subprotocol that is offered and is not secret
	Lone     bool   // only secret subprotocols are offered

	Known []string // tokens and near-tokens; nothing with a piece of one is passed on or quoted

	login func(value string) bool
	place string // of the token
	other string // place of another token
	slip  string // what is wrong with the first near-token
	noted int    // values that were examined for that
}

// maxKnown bounds how many values are remembered. maxSlips bounds how many that do not
// have the shape of a token are examined.
const (
	maxKnown = 4
	maxSlips = 4
)

// Take finds the token in r and empties every place, whether there is one token or
// not. What it leaves in r holds no piece of a token.
func (c *Places) Take(r *http.Request) Found {
	if too := headers.Oversized(r); too != "" {
		empty(r)
		return Found{Bare: true, Problem: too, Malformed: true}
	}

	f := Found{Bare: redact.Shows(r), login: c.Login}
	headers.StripConnection(r.Header)
	c.takeHeaders(r.Header, &f)
	c.takeProtocols(r.Header, &f)
	takeUser(r, &f)
	c.takeQuery(r, &f)
	f.scrub(r)
	f.conclude()
	return f
}

// empty removes everything from a request that is refused unread, so that no later
// handler spends time on it.
func empty(r *http.Request) {
	expect := r.Header["Expect"]
	clear(r.Header)
	if len(expect) > 0 {
		r.Header["Expect"] = expect[:1]
	}
	r.URL.RawQuery, r.URL.User = "", nil
	r.RequestURI = r.URL.Path
}

// conclude decides what is wrong with the token.
func (f *Found) conclude() {
	switch {
	case f.Malformed:
		return
	case f.other == f.place && f.other != "":
		f.Problem = "two different tokens in " + f.place
	case f.other != "":
		f.Problem = "two different tokens: in " + f.place + " and in " + f.other
	case f.Token != "":
		return
	case f.slip != "":
		f.Problem = f.slip
	default:
		f.Problem = "no token in any of its places"
		return
	}
	f.Misshapen = true
}

// malformed records what is wrong with the request, unless something is already.
func (f *Found) malformed(problem string) {
	if !f.Malformed {
		f.Problem, f.Malformed = problem, true
	}
}

// look reads a value of a carrier, and reports whether it holds a token: alone, after
// the name of a scheme, or in HTTP Basic as the password or the user.
func (f *Found) look(place, value string) bool {
	value = strings.Trim(value, " \t")
	if value == "" {
		return false
	}
	scheme, rest, _ := strings.Cut(value, " ")
	if strings.EqualFold(scheme, "Basic") {
		return f.lookBasic(place, strings.TrimSpace(rest))
	}

	tokens := false
	if strings.Count(value, " ") <= maxWords {
		several := strings.Contains(rest, " ")
		for word := range strings.SplitSeq(value, " ") {
			if several && !strings.HasPrefix(word, redact.Starts[0]) {
				continue // it may be the end of a token with a space in it
			}
			tokens = f.add(place, word) || tokens
		}
	}
	if !tokens {
		if isScheme(scheme) && rest != "" {
			value = rest
		}
		f.note(place, value)
	}
	return tokens
}

// maxWords is how many spaces a value may have that is split at them.
const maxWords = 4

// lookBasic reads the credentials of HTTP Basic (RFC 7617). The token is the password,
// or the user if there is no password.
func (f *Found) lookBasic(place, encoded string) bool {
	if len(encoded) > 2*eccrypto.MaxTokenSize {
		return false
	}
	plain, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(encoded, "="))
	if err != nil {
		return f.add(place, encoded) // a token where the credentials go
	}
	user, password, _ := strings.Cut(string(plain), ":")
	return f.lookPair(place, user, password)
}

// lookPair reads a user and a password.
func (f *Found) lookPair(place, user, password string) bool {
	byPassword := f.add(place, password)
	byUser := f.add(place, user)
	if !byPassword && !byUser {
		f.note(place, cmp.Or(password, user))
	}
	return byPassword || byUser
}

// isScheme reports whether a word can be the name of an authentication scheme.
func isScheme(word string) bool {
	return word != "" && len(word) <= redact.PieceSize && !strings.ContainsFunc(word, func(r rune) bool {
		return (r < 'a' || 'z' < r) && (r < 'A' || 'Z' < r) && r != '-'
	})
}

// add takes a value as the token if it has the shape of one. SDKs may fill a second
// place with a dummy.
func (f *Found) add(place, value string) bool {
	if !eccrypto.LooksLikeToken(value) && (f.login == nil || !f.login(value)) {
		return false
	}
	switch {
	case f.Token == "":
		f.Token, f.place = value, place
	case f.Token == value:
		return true
	case f.other == "":
		f.other = place
	}
	f.know(value)
	return true
}

// note examines a value that does not have the shape of a token.
func (f *Found) note(place, value string) {
	if f.noted++; f.noted > maxSlips {
		return
	}
	slip := eccrypto.Misshapen(value)
	if slip == "" {
		return
	}
	f.know(value)
	if f.slip == "" {
		f.slip = place + " has " + slip
	}
}

// know remembers a value, so that no piece of it is passed on or quoted.
func (f *Found) know(value string) {
	if len(f.Known) < maxKnown {
		f.Known = append(f.Known, value)
	}
}

func (c *Places) takeHeaders(header http.Header, f *Found) {
	for name, values := range header {
		canonical := textproto.CanonicalMIMEHeaderKey(name)
		role, named := c.headers[canonical]
		if !named {
			continue
		}
		strip := role != spare
		if role != foreign {
			for _, value := range values {
				strip = f.look(canonical, value) || strip
				f.Bare = f.Bare || strip && name != "Authorization" && value != ""
			}
		}
		if strip {
			delete(header, name)
		}
	}
}

const protocolPlace = "the WebSocket subprotocols"

// takeProtocols removes secret subprotocols from those that a WebSocket offers.
func (c *Places) takeProtocols(header http.Header, f *Found) {
	offered, ok := header[ProtocolHeader]
	if !ok {
		return
	}
	var kept []string
	secrets := false
	for protocol := range strings.SplitSeq(strings.Join(offered, ","), ",") {
		protocol = strings.TrimSpace(protocol)
		token, secret := strings.CutPrefix(protocol, tokenPrefix)
		switch {
		case secret, eccrypto.LooksLikeToken(protocol), redact.HoldsToken(redact.Unescape(protocol)): // Deepgram's SDK offers "token, <key>"
			if !f.add(protocolPlace, token) {
				f.note(protocolPlace, token)
			}
			f.Bare, secrets = true, true
		case protocol != "" && !slices.ContainsFunc(foreignProtocols, func(p string) bool { return strings.HasPrefix(protocol, p) }):
			kept = append(kept, protocol)
		}
	}
	delete(header, ProtocolHeader)
	if len(kept) > 0 {
		header[ProtocolHeader] = []string{strings.Join(kept, ", ")}
		f.Protocol = kept[0]
	}
	f.Lone = secrets && len(kept) == 0
}

// takeUser removes the user information of a target such as
// https://user:password@host/path. It is a carrier like HTTP Basic, which clients make
// of it.
func takeUser(r *http.Request, f *Found) {
	if r.URL.User == nil {
		return
	}
	password, _ := r.URL.User.Password()
	f.lookPair("the user information of the target", r.URL.User.Username(), password)
	f.Bare = true
	r.URL.User = nil
	r.RequestURI = r.URL.RequestURI()
}

// takeQuery cuts tokens out of the query.
func (c *Places) takeQuery(r *http.Request, f *Found) {
	err := CutQuery(r, func(name, value string) bool {
		name = strings.ToLower(name)
		if !c.query[name] || value == "" {
			return false
		}
		f.Bare = true
		if !f.look("the query parameter "+name, value) {
			return false
		}
		f.Linked = true
		return true
	})
	if err != nil {
		f.malformed(err.Error())
		f.Bare = true // what is in the query is unknown
	}
}

var errBadQuery = errors.New("the query does not parse")

// CutQuery removes parameters from the request's query. The rest keeps its bytes,
// because a signature may depend on them. RequestURI follows, because logs show it.
func CutQuery(r *http.Request, cut func(name, value string) bool) error {
	raw := r.URL.RawQuery
	if raw == "" {
		return nil
	}
	if strings.ContainsAny(raw, ";# ") {
		return errBadQuery // some servers separate at the first, and end at the others
	}
	var kept []string
	count := 0
	for pair := range strings.SplitSeq(raw, "&") {
		count++
		name, value, _ := strings.Cut(pair, "=")
		name, err1 := url.QueryUnescape(name)
		value, err2 := url.QueryUnescape(value)
		if err1 != nil || err2 != nil {
			return errBadQuery
		}
		if !cut(name, value) {
			kept = append(kept, pair)
		}
	}
	if len(kept) < count {
		r.URL.RawQuery = strings.Join(kept, "&")
		r.RequestURI = r.URL.RequestURI()
	}
	return nil
}

// scrub removes everything else that holds a token or a piece of the request's own,
// such as a Referer. It refuses the request if that cannot be removed.
func (f *Found) scrub(r *http.Request) {
	var secrets redact.Pieces
	secrets.Of(f.Known)
	holds := func(text string) bool {
		plain := redact.Unescape(text)
		return redact.HoldsToken(plain) || secrets.In(plain)
	}

	for name, values := range r.Header {
		if redact.LongName(name) || slices.ContainsFunc(values, holds) {
			delete(r.Header, name)
			f.Bare = true
		}
	}
	if !f.Malformed { // the query has parsed
		before := len(r.URL.RawQuery)
		_ = CutQuery(r, func(name, value string) bool { return holds(name) || holds(value) })
		f.Bare = f.Bare || len(r.URL.RawQuery) < before
	}

	for _, part := range []struct{ name, text string }{
		{"path", r.URL.Path}, {"Host", r.Host}, {"method", r.Method}, {"protocol", r.Proto},
	} {
		if holds(part.text) {
			f.Bare = true
			f.malformed("the " + part.name + " holds a token; put it where the API key goes")
		}
	}
}
