package eccrypto

import (
	"encoding/base64"
	"strings"
)

var strictBase64 = base64.RawURLEncoding.Strict()

func encodeSegment(b []byte) string { return strictBase64.EncodeToString(b) }

// decodeSegment decodes base64url, and is false unless encoding the result
// again reproduces s. That takes more than Strict, which still skips newlines.
func decodeSegment(s string) ([]byte, bool) {
	if strings.ContainsAny(s, "\r\n") {
		return nil, false
	}
	b, err := strictBase64.DecodeString(s)
	return b, err == nil
}

// splitCompact splits a compact serialization into its n segments.
func splitCompact(s string, n int) ([]string, error) {
	// Counted first: a token of dots is not to become a slice of thousands.
	if strings.Count(s, ".") != n-1 {
		return nil, refuse("not %d segments", n)
	}
	return strings.Split(s, "."), nil
}

// decodeSegments decodes segments, each of which has to be canonical base64url.
func decodeSegments(segments []string) ([][]byte, error) {
	decoded := make([][]byte, len(segments))
	for i, s := range segments {
		b, ok := decodeSegment(s)
		if !ok {
			return nil, refuse("segment %d not canonical base64url", i+1)
		}
		decoded[i] = b
	}
	return decoded, nil
}
