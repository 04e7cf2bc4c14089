package metering

import (
	"net/http"
	"slices"
	"strconv"

	"github.com/relayapi/caddy-relayapi/grant"
	"github.com/relayapi/caddy-relayapi/tokenstore"
)

// CappedHeader is the header field with the cap that the relay has set.
const CappedHeader = "Relayapi-Capped"

// remainsNames are the header fields with what remains, in the order of
// [tokenstore.Units].
var remainsNames = [...]string{"Relayapi-Remaining-Calls", "Relayapi-Remaining-Tokens", "Relayapi-Remaining-Usd"}

// Remains is the smallest remainder of the limits in each unit. The zero value has no
// limits.
type Remains [len(remainsNames)]struct {
	limited bool
	left    int64
}

// Note records what remains of a limit.
func (r *Remains) Note(unit tokenstore.Unit, left int64) {
	least := &r[slices.Index(tokenstore.Units[:], unit)]
	if !least.limited || left < least.left {
		least.limited, least.left = true, left
	}
}

// Set writes what remains into the header of an answer.
func (r *Remains) Set(header http.Header) {
	for i, least := range r {
		switch {
		case !least.limited:
		case tokenstore.Units[i] == tokenstore.UnitNanoUSD:
			header.Set(remainsNames[i], grant.USD(least.left).String())
		default:
			header.Set(remainsNames[i], strconv.FormatInt(least.left, 10))
		}
	}
}

// StripHeader removes the fields of this file from the header of an answer.
func StripHeader(header http.Header) {
	delete(header, CappedHeader)
	for _, name := range remainsNames {
		delete(header, name)
	}
}
