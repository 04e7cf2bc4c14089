package login

import (
	"bytes"
	"encoding/base64"
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-json-experiment/json/jsontext"
)

// maxToken is the largest token in bytes.
const maxToken = 8 << 10

// maxKeyID is the longest key id in bytes.
const maxKeyID = 256

// parsed is a token whose shape and header were checked. Its payload is not verified.
type parsed struct {
	token   string
	alg     string
	kid     string // empty if the header has none
	payload object
}

// forbidden header parameters contain a key, name one by URL, or change how the token
// is read (RFC 7515, section 4.1; RFC 7797).
var forbidden = map[string]Reason{
	"jku": NamesKey, "x5u": NamesKey, "jwk": NamesKey, "x5c": NamesKey,
	"crit": BadHeader, "b64": BadHeader, "zip": BadHeader, "enc": BadHeader, "epk": BadHeader,
	"cty": BadHeader,
}

// loginTypes are the accepted values of "typ", in lower case. RFC 7515 permits the
// prefix "application/"; RFC 9068 defines at+jwt for access tokens.
var loginTypes = []string{"jwt", "at+jwt", "application/at+jwt"}

// parse checks the shape and the header of a token.
func parse(token string, algorithms, types []string) (*parsed, error) {
	segments, err := split(token)
	if err != nil {
		return nil, err
	}

	header, err := parseObject(segments[0], BadHeader, "header")
	if err != nil {
		return nil, err
	}
	t := &parsed{token: token}
	if err := t.readHeader(header, algorithms, types); err != nil {
		return nil, err
	}

	t.payload, err = parseObject(segments[1], BadClaims, "claim")
	return t, err
}

// split decodes the header and the payload of a token.
func split(token string) (decoded [2][]byte, err error) {
	switch {
	case len(token) > maxToken:
		return decoded, refuse(Malformed, "longer than %d bytes", maxToken)
	case strings.Count(token, ".") != 2:
		return decoded, refuse(Malformed, "not three segments")
	}

	for i, segment := range strings.SplitN(token, ".", 3) {
		data, ok := decode(segment)
		switch {
		case !ok:
			return decoded, refuse(Malformed, "segment %d is not canonical base64url", i+1)
		case len(data) == 0:
			return decoded, refuse(Malformed, "segment %d is empty", i+1)
		}
		if i < len(decoded) {
			decoded[i] = data
		}
	}
	return decoded, nil
}

// decode decodes canonical base64url. It refuses line breaks, which the decoder would
// skip.
func decode(segment string) ([]byte, bool) {
	if strings.ContainsAny(segment, "\r\n") {
		return nil, false
	}
	data, err := base64.RawURLEncoding.Strict().DecodeString(segment)
	return data, err == nil
}

// readHeader checks the header of a token.
func (t *parsed) readHeader(header object, algorithms, types []string) error {
	for _, name := range header.names() {
		if reason := forbidden[name]; reason != "" {
			return refuse(reason, "header %s is not accepted", name)
		}
	}

	alg, ok := header.string("alg")
	switch {
	case !ok:
		return refuse(BadHeader, "header alg is missing or not a string")
	case !slices.Contains(algorithms, alg):
		return refuse(BadAlgorithm, "alg %s is not accepted; must be one of %s", knownAlgorithm(alg), strings.Join(algorithms, ", "))
	}
	t.alg = alg

	if header["typ"] != nil {
		typ, ok := header.string("typ")
		if !ok || !slices.Contains(types, strings.ToLower(typ)) {
			return refuse(BadType, "header typ must be JWT, at+jwt or absent")
		}
	}

	if header["kid"] == nil {
		return nil
	}
	if t.kid, ok = header.string("kid"); !ok || len(t.kid) > maxKeyID {
		return refuse(BadHeader, "header kid is not a string of at most %d bytes", maxKeyID)
	}
	return nil
}

// verify verifies the signature of the token. The error of the library is replaced,
// because it can quote its input.
func (t *parsed) verify(key any) error {
	signed, err := jose.ParseSignedCompact(t.token, []jose.SignatureAlgorithm{jose.SignatureAlgorithm(t.alg)})
	if err != nil {
		return refuse(Malformed, "not a JWS")
	}
	if _, err := signed.Verify(key); err != nil {
		return refuse(BadSignature, "the signature does not verify")
	}
	return nil
}

// peekIssuer returns the issuer that a value claims, if the value looks like a JWT. It
// is lenient: of duplicate names, the first one counts.
func peekIssuer(value string) (iss string, ok bool) {
	segments, err := split(value)
	if err != nil {
		return "", false
	}
	if alg, ok := peekString(segments[0], "alg"); !ok || alg == "" {
		return "", false
	}
	return peekString(segments[1], "iss")
}

// peekString returns the first member of an object that has the name, if it is a
// string.
func peekString(data []byte, name string) (value string, ok bool) {
	dec := jsontext.NewDecoder(bytes.NewReader(data), jsontext.AllowDuplicateNames(true))
	if token, err := dec.ReadToken(); err != nil || token.Kind() != '{' {
		return "", false
	}

	for dec.PeekKind() == '"' {
		token, err := dec.ReadToken()
		if err != nil {
			return "", false
		}
		if token.String() != name {
			if dec.SkipValue() != nil {
				return "", false
			}
			continue
		}

		token, err = dec.ReadToken()
		if err != nil || token.Kind() != '"' {
			return "", false
		}
		return token.String(), true
	}
	return "", false
}
