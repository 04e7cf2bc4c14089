package ratelimit

import (
	"fmt"
	"math"
	"net/http"
)

// The fields of a [Header].
const (
	Field       = "Ratelimit"
	PolicyField = "Ratelimit-Policy"
)

// Header tells how many events a token has left in a minute, in the fields of
// https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/. The zero
// Header is not written.
type Header struct {
	Limit int64
	Standing
}

// Set writes the fields.
func (h Header) Set(header http.Header) {
	if h.Limit == 0 {
		return
	}
	header.Set(PolicyField, fmt.Sprintf(`"token";q=%d;w=60`, h.Limit))
	header.Set(Field, fmt.Sprintf(`"token";r=%d;t=%.0f`, max(0, h.Limit-h.Used), math.Ceil(h.Reset.Seconds())))
}
