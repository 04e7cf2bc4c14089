package relayapi

import (
	"cmp"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strings"

	"github.com/relayapi/caddy-relayapi/eccrypto"
	"github.com/relayapi/caddy-relayapi/grant"
	"golang.org/x/net/http/httpguts"
)

// Places where clients put what they take for an API key. The first is the only
// one that Caddy keeps out of its logs.
var (
	authorization  = "Authorization"
	carrierHeaders = []string{authorization, "X-Api-Token", "X-Api-Key", "X-Goog-Api-Key", "Api-Key"}
	carrierQuery   = []string{"key", "token"}
)

// A browser cannot set headers on a WebSocket; OpenAI's SDK offers its key as a
// subprotocol instead (https://platform.openai.com/docs/guides/realtime-websocket).
const (
	protocolHeader = "Sec-Websocket-Protocol"
	carrierPrefix  = "openai-insecure-api-key."
)

// foreignHeaders are stripped whatever they hold: other credentials, headers
// that select an account to charge, and those that turn one method or path into
// another.
var foreignHeaders = []string{
	"Cookie", "Proxy-Authorization",
	"Openai-Organization", "Openai-Project", "X-Goog-User-Project",
	"X-Goog-Iam-Authorization-Token", "X-Goog-Iam-Authority-Selector",
	"X-Http-Method-Override", "X-Http-Method", "X-Method-Override",
	"X-Original-Url", "X-Rewrite-Url",
}

// stopsHere reports whether a header, by its canonical name, never goes to a
// provider.
func stopsHere(name string) bool {
	return privateHeaders[name] || hasAnyPrefix(name, privatePrefixes) && !strings.HasPrefix(name, "Sec-Websocket-")
}

// privateHeaders do not go out. They are carriers and foreign credentials,
// which the handler strips and a header_up may bring back; what reverse_proxy and
// others add about the client; and what a browser says of the page and of itself.
//
// A page cannot set the latter: they are the browser's word to the server that the
// page addressed, which is the relay
// (https://fetch.spec.whatwg.org/#forbidden-request-header). A provider that
// reads them takes the call for one to itself: Ollama and Anthropic refuse an
// Origin that they do not know. No preset's provider needs one.
var privateHeaders = func() map[string]bool {
	m := map[string]bool{
		"Via": true, "Forwarded": true, "X-Real-Ip": true, "Early-Data": true,
		"Origin": true, "Referer": true, "Dnt": true, "Cookie2": true, "Upgrade-Insecure-Requests": true,
	}
	for _, name := range slices.Concat(carrierHeaders, foreignHeaders) {
		m[name] = true
	}
	return m
}()

// privatePrefixes begin the names of headers that do not go out. Sec- is the
// browser's own (Sec-Fetch-*, Sec-CH-UA*, Sec-GPC, Sec-Purpose), except for a
// WebSocket's handshake.
var privatePrefixes = []string{"X-Forwarded-", "Access-Control-Request-", "Proxy-", "Sec-"}

// foreignProtocols are subprotocols that select an account.
var foreignProtocols = []string{"openai-organization.", "openai-project."}

// role says what becomes of a header.
type role int

const (
	foreign role = iota // stripped, and not looked at
	carrier             // stripped; may hold a token
	spare               // stripped where it holds a token; the name is that of a query carrier
)

// carriers are the places that the handler empties: the common ones and those of
// every configured provider.
type carriers struct {
	headers map[string]role // by canonical name
	query   map[string]bool // names of parameters that may hold a token, in lower case
}

func newCarriers(providers map[string]*Provider) *carriers {
	c := &carriers{headers: make(map[string]role), query: make(map[string]bool)}
	for _, name := range foreignHeaders {
		c.headers[name] = foreign
	}
	for _, name := range carrierQuery {
		c.addQuery(name)
	}
	for _, p := range providers {
		for _, place := range p.places {
			if place.Query != "" && !place.Option {
				c.addQuery(place.Query)
			}
			if name := http.CanonicalHeaderKey(place.Header); name != "" && place.Option {
				c.headers[name] = foreign
			}
		}
	}
	for _, p := range providers { // second: one provider's credential may be foreign to another
		for _, place := range p.places {
			if place.Header != "" && !place.Option {
				c.headers[http.CanonicalHeaderKey(place.Header)] = carrier
			}
		}
	}
	for _, name := range carrierHeaders {
		c.headers[name] = carrier
	}
	return c
}

// addQuery makes a parameter a carrier, and the header of that name too where it
// holds a token: clients mistake one for the other.
func (c *carriers) addQuery(name string) {
	c.query[strings.ToLower(name)] = true
	header := http.CanonicalHeaderKey(name)
	if _, known := c.headers[header]; !known && httpguts.ValidHeaderFieldName(header) {
		c.headers[header] = spare
	}
}

// How much of a request is looked at. Real clients send a small part of it, and
// what has more is refused before any of it is taken apart.
const (
	maxHead       = 32 << 10 // bytes of the target and the header, without cookies
	maxFields     = 256      // values in the header
	maxParameters = 256      // in the query
	maxListed     = 64       // subprotocols, and options of Connection
)

// oversized says of what a request has too much, or nothing. It only counts.
func oversized(r *http.Request) string {
	size, fields := len(r.RequestURI)+len(r.URL.RawQuery), 0
	for name, values := range r.Header {
		for _, value := range values {
			if name != "Cookie" { // never looked into
				size += len(name) + len(value)
			}
		}
		if fields += len(values); size > maxHead || fields > maxFields {
			break
		}
	}
	switch {
	case size > maxHead:
		return fmt.Sprintf("the target and the header are longer than %d bytes", maxHead)
	case fields > maxFields:
		return fmt.Sprintf("the header has more than %d fields", maxFields)
	case strings.Count(r.URL.RawQuery, "&") >= maxParameters:
		return fmt.Sprintf("the query has more than %d parameters", maxParameters)
	case listed(r.Header[protocolHeader]) > maxListed:
		return fmt.Sprintf("more than %d WebSocket subprotocols are offered", maxListed)
	case listed(r.Header["Connection"]) > maxListed:
		return fmt.Sprintf("Connection has more than %d options", maxListed)
	}
	return ""
}

// listed counts the members of a list in a header.
func listed(values []string) int {
	n := len(values)
	for _, value := range values {
		n += strings.Count(value, ",")
	}
	return n
}

// found is what carriers.take found.
type found struct {
	token   string
	refused *refusal // what is wrong with the request as such, or with its token
	bare    bool     // Caddy's logs would show a token, or what may be one
	linked  bool     // it stands in the query, and so in a link

	protocol string // the first WebSocket subprotocol that was offered and is no secret
	lone     bool   // only secrets were offered

	known []string // what is a token, or nearly; nothing that holds a piece of it is passed on or quoted
	place string   // of the token
	other string   // of another token
	slip  string   // what is wrong with the first value that is nearly a token
	noted int      // how many values were looked into for that
}

// maxKnown bounds how many values are remembered, and maxSlips how many that have
// not the shape of a token are looked into.
const (
	maxKnown = 4
	maxSlips = 4
)

// misshapen says what is wrong with a value that is nearly a token.
func misshapen(value string) string { return eccrypto.Misshapen(value) }

// take finds the token in r and empties every carrier, also when there is none or
// more than one. What it leaves in r holds no piece of a token.
func (c *carriers) take(r *http.Request) found {
	if too := oversized(r); too != "" {
		empty(r)
		return found{bare: true, refused: refuse(codeInvalidRequest, too)}
	}

	f := found{bare: showsToken(r)}
	stripConnectionNamed(r.Header)
	c.takeHeaders(r.Header, &f)
	c.takeProtocols(r.Header, &f)
	takeUser(r, &f)
	c.takeQuery(r, &f)
	f.scrub(r)
	f.conclude()
	return f
}

// empty takes everything out of a request that is refused unread, so that nobody
// spends time on it afterwards.
func empty(r *http.Request) {
	expect := r.Header["Expect"]
	clear(r.Header)
	if len(expect) > 0 {
		r.Header["Expect"] = expect[:1]
	}
	r.URL.RawQuery, r.URL.User = "", nil
	r.RequestURI = r.URL.Path
}

// conclude decides what is wrong with the token. What is said of its shape tells
// nobody anything: nothing was decrypted.
func (f *found) conclude() {
	slip := ""
	switch {
	case f.refused != nil:
		return
	case f.other == f.place && f.other != "":
		slip = "two different tokens in " + f.place
	case f.other != "":
		slip = "two different tokens: in " + f.place + " and in " + f.other
	case f.token != "":
		return
	case f.slip != "":
		slip = f.slip
	default:
		f.refused = refuse(string(grant.Invalid), "no token in any of its places")
		return
	}
	f.refused = refuse(string(grant.Invalid), slip)
	f.refused.told = true
}

// look reads a value of a carrier, and reports whether a token is in it: alone,
// after the name of a scheme, or in HTTP Basic as the password or the user.
func (f *found) look(place, value string) bool {
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
			if several && !strings.HasPrefix(word, tokenStarts[0]) {
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

// maxWords is how many spaces a value may have that is taken apart at them.
const maxWords = 4

// lookBasic reads the credentials of HTTP Basic (RFC 7617). Clients that want a
// password put the token there; those that do not, in the user.
func (f *found) lookBasic(place, encoded string) bool {
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
func (f *found) lookPair(place, user, password string) bool {
	byPassword := f.add(place, password)
	byUser := f.add(place, user)
	if !byPassword && !byUser {
		f.note(place, cmp.Or(password, user))
	}
	return byPassword || byUser
}

// isScheme reports whether a word can be the name of an authentication scheme.
func isScheme(word string) bool {
	return word != "" && len(word) <= pieceSize && !strings.ContainsFunc(word, func(r rune) bool {
		return (r < 'a' || 'z' < r) && (r < 'A' || 'Z' < r) && r != '-'
	})
}

// add takes a value for the token if it has the shape of one. SDKs fill a second
// place with a dummy.
func (f *found) add(place, value string) bool {
	if !eccrypto.LooksLikeToken(value) {
		return false
	}
	switch {
	case f.token == "":
		f.token, f.place = value, place
	case f.token == value:
		return true
	case f.other == "":
		f.other = place
	}
	f.know(value)
	return true
}

// note looks into a value that has not the shape of a token.
func (f *found) note(place, value string) {
	if f.noted++; f.noted > maxSlips {
		return
	}
	slip := misshapen(value)
	if slip == "" {
		return
	}
	f.know(value)
	if f.slip == "" {
		f.slip = place + " has " + slip
	}
}

// know remembers a value, so that no piece of it is passed on or quoted.
func (f *found) know(value string) {
	if len(f.known) < maxKnown {
		f.known = append(f.known, value)
	}
}

func (c *carriers) takeHeaders(header http.Header, f *found) {
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
				f.bare = f.bare || strip && name != authorization && value != ""
			}
		}
		if strip {
			delete(header, name)
		}
	}
}

const protocolPlace = "the WebSocket subprotocols"

// takeProtocols removes the secret ones of the offered WebSocket subprotocols.
func (c *carriers) takeProtocols(header http.Header, f *found) {
	offered, ok := header[protocolHeader]
	if !ok {
		return
	}
	var kept []string
	secrets := false
	for protocol := range strings.SplitSeq(strings.Join(offered, ","), ",") {
		protocol = strings.TrimSpace(protocol)
		token, secret := strings.CutPrefix(protocol, carrierPrefix)
		switch {
		case secret, eccrypto.LooksLikeToken(protocol), holdsToken(unescape(protocol)): // Deepgram's SDK offers "token, <key>"
			if !f.add(protocolPlace, token) {
				f.note(protocolPlace, token)
			}
			f.bare, secrets = true, true
		case protocol != "" && !hasAnyPrefix(protocol, foreignProtocols):
			kept = append(kept, protocol)
		}
	}
	delete(header, protocolHeader)
	if len(kept) > 0 {
		header[protocolHeader] = []string{strings.Join(kept, ", ")}
		f.protocol = kept[0]
	}
	f.lone = secrets && len(kept) == 0
}

func hasAnyPrefix(s string, prefixes []string) bool {
	for _, prefix := range prefixes {
		if strings.HasPrefix(s, prefix) {
			return true
		}
	}
	return false
}

// takeUser removes the user information of a target such as
// https://user:password@host/path, which is a carrier like HTTP Basic: clients make
// one of the other.
func takeUser(r *http.Request, f *found) {
	if r.URL.User == nil {
		return
	}
	password, _ := r.URL.User.Password()
	f.lookPair("the user information of the target", r.URL.User.Username(), password)
	f.bare = true
	r.URL.User = nil
	r.RequestURI = r.URL.RequestURI()
}

// takeQuery cuts tokens out of the query.
func (c *carriers) takeQuery(r *http.Request, f *found) {
	err := cutQuery(r, func(name, value string) bool {
		name = strings.ToLower(name)
		if !c.query[name] || value == "" {
			return false
		}
		f.bare = true
		if !f.look("the query parameter "+name, value) {
			return false
		}
		f.linked = true
		return true
	})
	if err != nil {
		f.refused = refuse(codeInvalidRequest, err.Error())
		f.bare = true // whatever is in there could not be told
	}
}

var errBadQuery = errors.New("the query does not parse")

// cutQuery cuts the parameters that cut tells to out of the request's query.
// The rest keeps its bytes: a signature may depend on them. RequestURI follows,
// because it is what logs show.
func cutQuery(r *http.Request, cut func(name, value string) bool) error {
	raw := r.URL.RawQuery
	if raw == "" {
		return nil
	}
	if strings.ContainsAny(raw, ";# ") {
		return errBadQuery // some servers take the first for a separator, and end at the others
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

// stripConnectionNamed removes the headers that the client's Connection header
// names, which are not meant for the provider (RFC 9110, section 7.6.1).
func stripConnectionNamed(header http.Header) {
	for _, value := range header["Connection"] {
		for name := range strings.SplitSeq(value, ",") {
			name = textproto.CanonicalMIMEHeaderKey(strings.TrimSpace(name))
			if name != "Upgrade" && name != "Connection" && name != "Te" {
				delete(header, name)
			}
		}
	}
}

// stripUpgrade removes a wish to switch protocols. What follows any upgrade but a
// WebSocket's would be requests that nobody has looked at.
func stripUpgrade(header http.Header) {
	if header["Upgrade"] != nil {
		delete(header, "Upgrade")
		delete(header, "Connection")
	}
}

// scrub removes whatever else holds a token or a piece of the request's own, such as
// a Referer, and refuses the request where it cannot be removed.
func (f *found) scrub(r *http.Request) {
	var secrets pieces
	secrets.of(f.known)
	holds := func(text string) bool {
		plain := unescape(text)
		return holdsToken(plain) || secrets.in(plain)
	}

	for name, values := range r.Header {
		if longName(name) || slices.ContainsFunc(values, holds) {
			delete(r.Header, name)
			f.bare = true
		}
	}
	if f.refused == nil { // the query has parsed
		before := len(r.URL.RawQuery)
		_ = cutQuery(r, func(name, value string) bool { return holds(name) || holds(value) })
		f.bare = f.bare || len(r.URL.RawQuery) < before
	}

	for _, part := range []struct{ name, text string }{
		{"path", r.URL.Path}, {"Host", r.Host}, {"method", r.Method}, {"protocol", r.Proto},
	} {
		if holds(part.text) {
			f.bare = true
			f.refused = cmp.Or(f.refused, refuse(codeInvalidRequest, "the "+part.name+" holds a token; put it where the API key goes"))
		}
	}
}
