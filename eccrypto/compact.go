package eccrypto

import (
	"encoding/base64"
	"strings"
)

var strictBase64 = base64.RawURLEncoding.Strict()

func encodeSegment(b []byte) string { return strictBase64.EncodeToString(b) }

// decodeSegment decodes base64url. ok is whether encoding the result reproduces s.
// Strict is not enough for that, because it skips line breaks.
func decodeSegment(s string) (decoded []byte, ok bool) {
	if strings.ContainsAny(s, "\r\n") {
		return nil, false
	}
	b, err := strictBase64.DecodeString(s)
	return b, err == nil
}

// splitCompact splits a compact serialization into its n segments.
func splitCompact(s string, n int) ([]string, error) {
	// Count first, so that a token of dots does not become a slice of thousands.
	if strings.Count(s, ".") != n-1 {
		return nil, refuse("not %d segments", n)
	}
	return strings.Split(s, "."), nil
}

// decodeSegments decodes segments, which must be canonical base64url.
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
