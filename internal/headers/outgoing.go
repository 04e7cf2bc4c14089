package headers

import (
	"net/http"
	"strings"

	"github.com/relayapi/caddy-relayapi/internal/realkey"
)

// unencoded asks for an answer without a content coding, so that it can be searched
// for the key.
var unencoded = []string{"identity"}

// Outgoing copies the header of a request without what the provider must not see, and
// adds the key. credential is the field from which the provider reads keys. It copies
// because reverse_proxy logs the request's header afterwards.
func Outgoing(header http.Header, key *realkey.Key, credential string) http.Header {
	out := make(http.Header, len(header)+1)
	for name, values := range header {
		// Compared in canonical form, because reverse_proxy spells some names
		// otherwise.
		switch canonical := http.CanonicalHeaderKey(name); {
		case canonical == credential, Private(canonical), canonical == "Accept-Encoding":
		case canonical == "Idempotency-Key" || canonical == "X-Idempotency-Key":
			// In any other spelling, the standard library does not take it for leave
			// to send a request twice. On the wire it means the same.
			out[strings.ToLower(name)] = values
		default:
			out[name] = values
		}
	}
	out["Accept-Encoding"] = unencoded
	key.SetHeader(out)
	return out
}
