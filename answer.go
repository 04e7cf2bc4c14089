package relayapi

import (
	"bufio"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/klauspost/compress/zstd"
	"github.com/relayapi/caddy-relayapi/grant"
	"github.com/relayapi/caddy-relayapi/internal/realkey"
	"golang.org/x/net/http/httpguts"
)

// incoming cleans the answer on its way back.
func (rt *route) incoming(ctx context.Context, res *http.Response) (*http.Response, error) {
	status := res.StatusCode
	if status == http.StatusUnauthorized || status == http.StatusTooManyRequests {
		rt.secret.Rest(time.Now())
	}
	if refused := rt.unacceptable(res); refused != nil {
		res.Body.Close()
		return nil, refused
	}
	if err := rt.filterModels(res); err != nil {
		return nil, err
	}
	rt.rewriteAddresses(res.Header)
	if name := cleanHeader(res.Header, rt.secret); name != "" {
		res.Body.Close()
		return nil, refuse(codeAnswerWithheld, "its header "+name+" holds the key")
	}
	rt.searchBody(res)

	if rt.rateLimit.limit > 0 { // the client is told the relay's
		delete(res.Header, rateLimitField)
		delete(res.Header, rateLimitPolicy)
	}
	rt.status.Store(int32(status))
	if rt.protocol != "" && status == http.StatusSwitchingProtocols && res.Header.Get(protocolHeader) == "" {
		// Browsers take an answer without any for a failure
		// (https://websockets.spec.whatwg.org/#the-websocket-interface).
		res.Header.Set(protocolHeader, rt.protocol)
	}
	res.Body, rt.answered = rt.tapped(ctx, res), true
	return res, nil
}

// unacceptable returns why an answer is not passed on at all, or nil.
func (rt *route) unacceptable(res *http.Response) error {
	status := res.StatusCode
	switch m := rt.messages; {
	case status == http.StatusUnauthorized:
		rt.complaint = rt.excerpt(res.Body)
		return refuse(codeProviderRefusedKey, "the provider answered 401 to "+rt.secret.Source()+": "+rt.complaint)
	case m != nil && !m.named && status != http.StatusSwitchingProtocols && status < 400:
		return refuse(string(grant.NoModel), "no WebSocket came of the handshake, and the request names no model")
	case status == http.StatusSwitchingProtocols && (!rt.socket || !strings.EqualFold(res.Header.Get("Upgrade"), "websocket")):
		return errNotAsked
	}
	return nil
}

// How much of a provider's message is read and quoted in the log, and how long it
// is waited for.
const (
	excerptRead = 4 << 10
	excerptSize = 300
	excerptTime = 2 * time.Second
)

// excerpt returns the beginning of a provider's message as one line without the
// key.
func (rt *route) excerpt(body io.ReadCloser) string {
	overdue := time.AfterFunc(excerptTime, func() { body.Close() })
	defer overdue.Stop()
	text, _ := io.ReadAll(io.LimitReader(body, excerptRead)) // a part will do

	line := strings.Join(strings.FieldsFunc(rt.secret.Mask(string(text)), func(c rune) bool {
		return unicode.IsSpace(c) || !unicode.IsPrint(c) || c == unicode.ReplacementChar
	}), " ")
	if len(line) > excerptSize {
		line = strings.ToValidUTF8(line[:excerptSize], "") + "…"
	}
	return line
}

// withheldHeaders are the fields of an answer that stop here, and why: they would
// speak for the relay's own site, or tell of its account. Names that end in a
// hyphen are beginnings.
var withheldHeaders = map[string]string{
	"Access-Control-":                     "CORS is between the page and the relay (Fetch standard)",
	"Timing-Allow-Origin":                 "as CORS (Resource Timing)",
	"Set-Cookie":                          "sets state of the relay's site (RFC 6265)",
	"Clear-Site-Data":                     "clears state of the relay's site (W3C Clear Site Data)",
	"Secure-Session-":                     "sets state of the relay's site (Device Bound Session Credentials)",
	"Set-Login":                           "sets state of the relay's site (FedCM)",
	"Activate-Storage-Access":             "opens state of the relay's site (Storage Access Headers)",
	"Alt-Svc":                             "sends clients past the relay (RFC 7838)",
	"Strict-Transport-Security":           "a policy of the relay's host (RFC 6797)",
	"Public-Key-Pins":                     "a policy of the relay's host (RFC 7469)",
	"Public-Key-Pins-Report-Only":         "a policy of the relay's host (RFC 7469)",
	"Expect-Ct":                           "a policy of the relay's host (RFC 9163)",
	"Nel":                                 "reports on the relay's host (W3C Network Error Logging)",
	"Report-To":                           "reports on the relay's site (W3C Reporting)",
	"Reporting-Endpoints":                 "reports on the relay's site (W3C Reporting)",
	"Content-Security-Policy":             "a policy of the relay's pages (W3C CSP)",
	"Content-Security-Policy-Report-Only": "a policy of the relay's pages (W3C CSP)",
	"Permissions-Policy":                  "a policy of the relay's pages (W3C Permissions Policy)",
	"Permissions-Policy-Report-Only":      "a policy of the relay's pages (W3C Permissions Policy)",
	"Feature-Policy":                      "a policy of the relay's pages, formerly",
	"Document-Policy":                     "a policy of the relay's pages (WICG Document Policy)",
	"Document-Policy-Report-Only":         "a policy of the relay's pages (WICG Document Policy)",
	"Require-Document-Policy":             "a policy of the relay's pages (WICG Document Policy)",
	"Integrity-Policy":                    "a policy of the relay's pages (W3C SRI)",
	"Integrity-Policy-Report-Only":        "a policy of the relay's pages (W3C SRI)",
	"Cross-Origin-":                       "a policy of the relay's pages, which pages elsewhere depend on (HTML and Fetch standards)",
	"Origin-Agent-Cluster":                "a policy of the relay's origin (HTML standard)",
	"Referrer-Policy":                     "a policy of the relay's pages (W3C Referrer Policy)",
	"X-Frame-Options":                     "a policy of the relay's pages (HTML standard)",
	"X-Permitted-Cross-Domain-Policies":   "a policy of the relay's site",
	"Service-Worker-Allowed":              "scripts of the relay's origin (W3C Service Workers)",
	"Refresh":                             "sends a page elsewhere (HTML standard)",
	"Speculation-Rules":                   "makes a page load others (HTML standard)",
	"Supports-Loading-Mode":               "lets pages be loaded ahead (HTML standard)",
	"No-Vary-Search":                      "a rule of the relay's cache (WICG No-Vary-Search)",
	"X-Dns-Prefetch-Control":              "makes a page look names up",
	"Sourcemap":                           "makes tools load another address (ECMA-426)",
	"X-Sourcemap":                         "makes tools load another address (ECMA-426)",
	"Accept-Ch":                           "asks clients for more about themselves (RFC 8942)",
	"Critical-Ch":                         "asks clients for more about themselves (Client Hint Reliability)",
	"Accept-Ch-Lifetime":                  "asks clients for more about themselves, formerly",
	"Observe-Browsing-Topics":             "tells of the relay's visitors (Topics API)",
	"Attribution-Reporting-":              "reports on the relay's visitors (Attribution Reporting)",
	"Proxy-":                              "is between the relay and the provider (RFC 9110)",
	"Openai-Organization":                 "tells of the relay's account",
	"Openai-Project":                      "tells of the relay's account",
	"Anthropic-Organization-Id":           "tells of the relay's account",
	"X-Goog-User-Project":                 "tells of the relay's account",
}

// withheld reports whether a field stops here.
func withheld(name string) bool {
	if _, ok := withheldHeaders[name]; ok {
		return true
	}
	for at := strings.IndexByte(name, '-'); at >= 0; {
		if _, ok := withheldHeaders[name[:at+1]]; ok {
			return true
		}
		next := strings.IndexByte(name[at+1:], '-')
		if next < 0 {
			break
		}
		at += next + 1
	}
	return false
}

// cleanHeader removes what must not be passed on from an answer's header or
// trailer, also fields that hold a piece of the key. It returns the name of a
// field that holds the whole key, or "".
func cleanHeader(header http.Header, key *realkey.Key) (whole string) {
	for name, values := range header {
		switch {
		case withheld(name), key.PieceIn(name):
			delete(header, name)
		case slices.ContainsFunc(values, key.In):
			whole = name
		case slices.ContainsFunc(values, key.PieceIn):
			delete(header, name)
		case name == "Link":
			keepLinks(header, values)
		}
	}
	return whole
}

// loading are the relations of links that make a browser load something for a
// page (https://html.spec.whatwg.org/#linkTypes). Others, such as next, pass.
var loading = []string{"preload", "modulepreload", "prefetch", "preconnect", "dns-prefetch", "prerender", "stylesheet",
	"icon", "manifest", "compression-dictionary", "expect", "serviceworker"}

// keepLinks keeps the values of Link (RFC 8288) that make a browser load nothing.
func keepLinks(header http.Header, values []string) {
	kept := slices.DeleteFunc(slices.Clone(values), func(value string) bool {
		lower := strings.ToLower(value)
		return slices.ContainsFunc(loading, func(rel string) bool { return strings.Contains(lower, rel) })
	})
	if header["Link"] = kept; len(kept) == 0 {
		delete(header, "Link")
	}
}

// addresses are the fields of an answer in which a client is told where to go on.
var addresses = []string{"Location", "Content-Location", "X-Goog-Upload-Url", "X-Goog-Upload-Control-Url",
	"Operation-Location", "Azure-Asyncoperation"}

// rewriteAddresses rewrites addresses under the provider's base URL to those of
// the relay: at the provider, a client has no key.
func (rt *route) rewriteAddresses(header http.Header) {
	for _, name := range addresses {
		if values := header[name]; len(values) == 1 {
			header[name] = []string{rt.rewriteAddress(values[0])}
		}
	}
}

func (rt *route) rewriteAddress(address string) string {
	base := rt.provider.base
	to, err := rt.url.Parse(address)
	if err != nil || to.Host != base.Host || to.Scheme != base.Scheme || to.User != nil {
		return address
	}
	path, below := strings.CutPrefix(to.EscapedPath(), base.EscapedPath())
	if !below || path != "" && path[0] != '/' {
		return address
	}
	prefix := rt.prefix
	if prefix != "" {
		prefix += "/" + rt.provider.name
	}
	relative := !strings.Contains(address, "//")
	if relative && (prefix == "" && base.Path == "" || !strings.HasPrefix(address, "/")) {
		return address // it is the same at the relay
	}

	rewritten := prefix + path
	if query := rt.withoutCredential(to.RawQuery); query != "" {
		rewritten += "?" + query
	}
	if to.Fragment != "" {
		rewritten += "#" + to.EscapedFragment()
	}
	if relative {
		return rewritten
	}
	scheme := "http"
	if rt.secure {
		scheme = "https"
	}
	return scheme + "://" + rt.host + rewritten
}

// withoutCredential cuts out of a query what selects a credential.
func (rt *route) withoutCredential(query string) string {
	var kept []string
	for pair := range strings.SplitSeq(query, "&") {
		name, _, _ := strings.Cut(pair, "=")
		if plain, err := url.QueryUnescape(name); err != nil || !rt.provider.readsInQuery(plain) {
			kept = append(kept, pair)
		}
	}
	return strings.Join(kept, "&")
}

// maxDecoded bounds what an encoded body decodes to, in bytes.
const maxDecoded = 256 << 20

// searchBody blanks the key in the answer's body: in an error every piece of it,
// because providers quote keys when they complain about them, and in any other
// text the whole key. Recordings, images and the like are not looked into.
func (rt *route) searchBody(res *http.Response) {
	isError := res.StatusCode >= 400
	empty := rt.method == http.MethodHead || res.ContentLength == 0 || res.StatusCode < 200
	if empty || !isError && !isText(res.Header.Get("Content-Type")) {
		return
	}

	body, decoded, err := decodeBody(res)
	switch {
	case err != nil && !isError:
		return // in a coding that was not asked for, and that the relay does not know
	case err != nil:
		rt.replaceError(res, err)
		return
	case decoded:
		delete(res.Header, "Content-Encoding")
		delete(res.Header, "Content-Length")
		delete(res.Header, "Etag")
		res.ContentLength = -1
	}
	res.Body = &searched{rt.secret.Stream(body, isError), res.Body}
}

// searched is a body in which the key is blanked.
type searched struct {
	io.Reader
	body io.Closer
}

func (s *searched) Close() error { return s.body.Close() }

// textTypes are the types of bodies that are text, besides text/*.
var textTypes = []string{"application/x-www-form-urlencoded", "application/javascript", "application/x-ndjson",
	"application/xml", "application/problem", "application/graphql", "application/yaml", "application/x-yaml", "application/toml"}

// isText reports whether a body of a type is text. One without a type may be.
func isText(contentType string) bool {
	kind, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		return true
	}
	return strings.HasPrefix(kind, "text/") || strings.Contains(kind, "json") || strings.HasSuffix(kind, "+xml") ||
		slices.Contains(textTypes, kind)
}

// decodeBody undoes the content codings of a body, as far as they are true. It
// reports whether there were any.
func decodeBody(res *http.Response) (body io.Reader, encoded bool, err error) {
	body = res.Body
	codings := strings.FieldsFunc(strings.ToLower(strings.Join(res.Header["Content-Encoding"], ",")), func(c rune) bool { return c == ',' || c == ' ' })
	for _, coding := range slices.Backward(codings) {
		if coding == "identity" {
			continue
		}
		if body, err = undo(coding, body); err != nil {
			return nil, true, err
		}
	}
	if len(codings) > 0 {
		body = &bounded{body, maxDecoded}
	}
	return body, len(codings) > 0, nil
}

// undo undoes one content coding. What is plain although it is said to be encoded
// stays as it is.
func undo(coding string, body io.Reader) (io.Reader, error) {
	ahead := bufio.NewReader(body)
	start, _ := ahead.Peek(4) // an error shows when it is read
	switch coding {
	case "gzip", "x-gzip":
		if len(start) < 2 || start[0] != 0x1f || start[1] != 0x8b {
			return ahead, nil
		}
		return gzip.NewReader(ahead)
	case "zstd":
		if string(start) != "\x28\xb5\x2f\xfd" {
			return ahead, nil
		}
		plain, err := zstd.NewReader(ahead, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(zstdWindow))
		if err != nil {
			return nil, err
		}
		return plain.IOReadCloser(), nil
	case "deflate":
		switch {
		case len(start) < 2 || start[0] == '{' || start[0] == '<' || start[0] == '[':
			return ahead, nil
		case start[0]&0x0f == 8 && (int(start[0])<<8|int(start[1]))%31 == 0: // RFC 1950
			return zlib.NewReader(ahead)
		}
		return flate.NewReader(ahead), nil
	}
	if len(start) > 0 && (start[0] == '{' || start[0] == '<') { // no coding begins like that
		return ahead, nil
	}
	return nil, fmt.Errorf("in the content coding %.20q", coding)
}

var errTooLong = errors.New("relayapi: the answer decodes to more than is passed on")

// bounded fails when more is read from it than is left.
type bounded struct {
	io.Reader
	left int64
}

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, errTooLong
	}
	return n, err
}

// replaceError replaces the body of an error that the relay cannot read. The status and Retry-After stay the provider's.
func (rt *route) replaceError(res *http.Response, why error) {
	res.Body.Close()
	message := fmt.Sprintf("The provider answered %d. The relay withholds its message, which is %v.", res.StatusCode, why)
	body, _ := json.Marshal(errorBody{Type: "error", Error: errorDetail{Type: ours, Code: codeAnswerUnreadable, Message: message}}) // strings marshal
	for _, name := range []string{"Content-Encoding", "Etag", "Content-Digest", "Repr-Digest"} {
		delete(res.Header, name)
	}
	res.Header.Set("Content-Type", "application/json")
	res.Header.Set("Content-Length", strconv.Itoa(len(body)))
	res.Body, res.ContentLength = io.NopCloser(strings.NewReader(string(body))), int64(len(body))
}

// clientIsSecure reports whether a client reached the relay over HTTPS, by itself or
// through a proxy that is trusted.
func clientIsSecure(r *http.Request, trusted bool) bool {
	return r.TLS != nil || trusted && httpguts.HeaderValuesContainsToken(r.Header["X-Forwarded-Proto"], "https")
}
