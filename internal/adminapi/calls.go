package adminapi

import (
	"errors"
	"slices"
	"time"

	"github.com/relayapi/caddy-relayapi/internal/redact"
	"github.com/relayapi/caddy-relayapi/tokenstore"
)

// Calls are calls in flight at one relay, the longest first. There are at most MaxPage.
type Calls struct {
	Calls []Call `json:"calls"`
	Total int    `json:"total"` // of all that are in flight
}

// Call is a call in flight.
type Call struct {
	ID        string    `json:"id"`
	Issuer    string    `json:"issuer"`
	TokenID   string    `json:"token_id"`
	Subject   string    `json:"subject,omitempty"`
	Provider  string    `json:"provider"`
	Model     string    `json:"model,omitempty"` // empty means that it is unknown so far
	Since     time.Time `json:"since"`
	WebSocket bool      `json:"websocket"`
	Status    int       `json:"status,omitempty"` // of the provider's answer; 0 means none so far
	BytesIn   int64     `json:"bytes_in"`         // sent to the provider
	BytesOut  int64     `json:"bytes_out"`        // passed on to the client
}

// ErrNoCall means that no call in flight has an id.
var ErrNoCall = errors.New("no call in flight at this relay has this id; it may have ended, or run at another relay")

// maxName is the longest name of a model that is shown, in bytes.
const maxName = 128

// NewCalls returns a list of calls as clients see it.
func NewCalls(all []Call) Calls {
	slices.SortFunc(all, func(a, b Call) int { return a.Since.Compare(b.Since) })
	return Calls{Calls: all[:min(len(all), MaxPage)], Total: len(all)}
}

// NewCall returns a call of a token, without the values that change during the call. A
// nil model means unknown. A client may have put its token there, so pieces of known
// secrets are blanked. Names that a terminal should not print are dropped.
func NewCall(id string, of *tokenstore.Token, since time.Time, model *string, known []string) Call {
	c := Call{ID: id, Issuer: of.Issuer, TokenID: of.ID, Subject: of.Subject, Provider: of.Provider, Since: since.UTC()}
	if model == nil {
		return c
	}
	if name := redact.Text(*model, known...); len(name) <= maxName && validLabel(name) {
		c.Model = name
	}
	return c
}
