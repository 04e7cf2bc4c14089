package relayapi

import (
	"errors"
	"net/http"
	"net/textproto"
	"net/url"
	"strings"

	"github.com/relayapi/caddy-relayapi/eccrypto"
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
	for _, name := range append(carrierHeaders, foreignHeaders...) {
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

// carriers are the places that the handler empties: the common ones and those
// of every configured provider.
type carriers struct {
	headers map[string]bool // canonical names; true: may hold a token
	query   map[string]bool // names of parameters that may hold a token
}

func newCarriers(providers map[string]*Provider) *carriers {
	c := &carriers{headers: make(map[string]bool), query: make(map[string]bool)}
	for _, name := range foreignHeaders {
		c.headers[name] = false
	}
	for _, p := range providers {
		for _, name := range p.foreign {
			c.headers[name] = false
		}
	}
	for _, p := range providers { // second: one provider's credential may be foreign to another
		if p.credential.Header != "" {
			c.headers[http.CanonicalHeaderKey(p.credential.Header)] = true
		}
		if p.credential.Query != "" {
			c.query[p.credential.Query] = true
		}
	}
	for _, name := range carrierHeaders {
		c.headers[name] = true
	}
	for _, name := range carrierQuery {
		c.query[name] = true
	}
	return c
}

var (
	errNoToken   = errors.New("no token in any of its places")
	errTwoTokens = errors.New("two different tokens")
	errBadQuery  = errors.New("the query does not parse")
)

// found is what carriers.take found.
type found struct {
	token  string
	bare   bool // Caddy's logs would show a token, or what may be one
	linked bool // it stands in the query, and so in a link
	err    error

	protocol string // the first WebSocket subprotocol that was offered and is no secret
	lone     bool   // only secrets were offered
}

func (f *found) add(value string) {
	switch {
	case !eccrypto.LooksLikeToken(value): // SDKs fill a second place with a dummy
	case f.token == "":
		f.token = value
	case f.token != value && f.err == nil:
		f.err = errTwoTokens
	}
}

// take finds the token in r and empties every carrier, also when there is none
// or more than one.
func (c *carriers) take(r *http.Request) found {
	f := found{bare: showsToken(r)}
	stripConnectionNamed(r.Header)
	for name, values := range r.Header {
		carrier, strip := c.headers[textproto.CanonicalMIMEHeaderKey(name)]
		if !strip {
			continue
		}
		for _, value := range values {
			if carrier {
				f.add(lastWord(value))
				f.bare = f.bare || name != authorization && value != ""
			}
		}
		delete(r.Header, name)
	}
	c.takeProtocols(r.Header, &f)
	c.takeQuery(r, &f)
	if f.token == "" && f.err == nil {
		f.err = errNoToken
	}
	if f.token != "" && stripCopies(r, f.token) {
		f.bare = true
	}
	return f
}

// jwtStart is what every token starts with: `{"` in base64url. A log that leaves
// out more requests than it must is better than one with a token in it, so
// whatever looks remotely like one counts.
const jwtStart = "eyJ"

// showsToken reports whether Caddy's access log would show a token or a part of
// one, be it ever so misplaced or misspelled. Caddy itself leaves out the
// values of Authorization and cookies.
func showsToken(r *http.Request) bool {
	uri := r.RequestURI
	if strings.ContainsRune(uri, '%') {
		if plain, err := url.PathUnescape(uri); err == nil {
			uri = plain
		}
	}
	if strings.Contains(uri, jwtStart) {
		return true
	}
	for name, values := range r.Header {
		if name == authorization || name == "Cookie" || name == "Proxy-Authorization" {
			continue
		}
		for _, value := range values {
			if strings.Contains(value, jwtStart) {
				return true
			}
		}
	}
	return false
}

// lastWord returns what follows the scheme: the token in "Bearer x", "Token x"
// or just "x".
func lastWord(value string) string {
	value = strings.TrimSpace(value)
	for { // from the front: the token is long
		_, rest, more := strings.Cut(value, " ")
		if !more {
			return value
		}
		value = rest
	}
}

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
		case secret || eccrypto.LooksLikeToken(protocol): // Deepgram's SDK offers "token, <key>"
			f.add(token)
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

// takeQuery cuts tokens out of the query.
func (c *carriers) takeQuery(r *http.Request, f *found) {
	if r.URL.RawQuery == "" {
		return
	}
	err := cutQuery(r, func(name, value string) bool {
		f.bare = f.bare || c.query[name] && value != ""
		if !c.query[name] || !eccrypto.LooksLikeToken(value) {
			return false
		}
		f.add(value)
		f.linked = true
		return true
	})
	if err != nil {
		f.err = err
		f.bare = true // whatever is in there could not be told
	}
}

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

// stripCopies removes whatever else holds the token, such as a Referer, and
// reports whether anything did.
func stripCopies(r *http.Request, token string) (found bool) {
	for name, values := range r.Header {
		for _, value := range values {
			if strings.Contains(value, token) {
				delete(r.Header, name)
				found = true
				break
			}
		}
	}
	if !strings.Contains(r.RequestURI, token) && !strings.Contains(r.URL.RawQuery, "%") { // it could be escaped
		return found
	}
	_ = cutQuery(r, func(_, value string) bool { // has parsed before
		found = found || strings.Contains(value, token)
		return strings.Contains(value, token)
	})
	return found || strings.Contains(r.RequestURI, token)
}
