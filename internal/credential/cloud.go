// Package credential has the credentials that providers accept. A [Credential] says
// where a provider reads its key.
//
// Some providers accept no static key: AWS accepts signed requests, and Google and
// Azure accept access tokens. A [Cloud] configures these. [Cloud.Source] makes a
// [Source] from it without network access, so that a relay also starts while a cloud is
// down. The source gets credentials from the cloud's own library, and renews them
// before they expire. It hands out a [realkey.Key], whose bytes no other package can
// read.
package credential

import (
	"context"
	"errors"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/relayapi/caddy-relayapi/internal/realkey"
	"github.com/relayapi/caddy-relayapi/provider"
	"go.uber.org/zap"
)

// Cloud is a credential other than a static key. At most one member is set.
type Cloud struct {
	// Sign requests by AWS Signature Version 4.
	AWS *AWS `json:"aws,omitempty"`

	// Send access tokens of a Google service account.
	Google *Google `json:"google,omitempty"`

	// Send access tokens of Microsoft Entra ID.
	Entra *Entra `json:"entra,omitempty"`
}

// bearer is the place where clouds read access tokens. A key that a token carries goes
// there too.
var bearer = provider.Placement{Header: "Authorization", Prefix: "Bearer "}

// Kinds returns the names of the members that are set.
func (c Cloud) Kinds() []string {
	var kinds []string
	for kind, given := range map[string]bool{"aws": c.AWS != nil, "google": c.Google != nil, "entra": c.Entra != nil} {
		if given {
			kinds = append(kinds, kind)
		}
	}
	return kinds
}

// AlsoReads returns further places where the cloud reads credentials, or their scope. A
// client's values there must not reach the cloud.
func (c Cloud) AlsoReads() []provider.Placement {
	if c.AWS == nil {
		return nil
	}
	places := []provider.Placement{{Header: "X-Amz-Security-Token"}, {Query: "X-Amz-Security-Token"}}
	for _, name := range []string{"X-Amz-Date", "X-Amz-Content-Sha256", "Date"} {
		places = append(places, provider.Placement{Header: name, Option: true})
	}
	for _, name := range []string{"Algorithm", "Credential", "Date", "Expires", "SignedHeaders", "Signature"} {
		places = append(places, provider.Placement{Query: "X-Amz-" + name, Option: true})
	}
	return places
}

// Signs reports whether requests are signed, which needs the whole body.
func (c Cloud) Signs() bool { return c.AWS != nil }

// Env is the environment of a source, besides its config.
type Env struct {
	Preset   provider.Preset
	Accounts []string // of the preset's base URL

	Logger *zap.Logger
	Client *http.Client // requests tokens; nil means a client with a timeout
}

// account returns the argument of the preset's base URL with a name, or "".
func (e *Env) account(name string) string {
	for i, account := range e.Preset.Accounts {
		if account == name && i < len(e.Accounts) {
			return e.Accounts[i]
		}
	}
	return ""
}

// client returns the client that requests tokens. It follows no redirects: a secret
// goes only to the configured address.
func (e *Env) client() *http.Client {
	if e.Client != nil {
		return e.Client
	}
	return &http.Client{
		Timeout:       fetchTime,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Source returns the source of the credential, or nil if the config has none. Its errors
// quote no value.
func (c Cloud) Source(env *Env) (*Source, error) {
	var fetch fetcher
	var err error
	switch {
	case c.AWS != nil:
		fetch, err = c.AWS.fetcher(env)
	case c.Google != nil:
		fetch, err = c.Google.fetcher(env)
	case c.Entra != nil:
		fetch, err = c.Entra.fetcher(env)
	default:
		return nil, nil
	}
	if err != nil {
		return nil, errors.New("credential " + c.Kinds()[0] + ": " + plain(err, nil))
	}
	return &Source{fetch: fetch, logger: env.Logger}, nil
}

// A fetcher gets a credential, and returns when it expires. A zero time means never.
type fetcher func(ctx context.Context) (key *realkey.Key, expires time.Time, err error)

// longRun matches text that may be a token, an assertion or a secret in a library's
// error. Libraries quote the answer of a token endpoint.
var longRun = regexp.MustCompile(`[A-Za-z0-9_~+=.-]{48,}`)

// mostOfError is the most of an error to keep, in bytes.
const mostOfError = 400

// plain returns an error as one line without secrets.
func plain(err error, secrets []*realkey.Key) string {
	text := strings.Join(strings.Fields(err.Error()), " ")
	for _, secret := range secrets {
		text = secret.Mask(text)
	}
	if text = longRun.ReplaceAllString(text, "***"); len(text) > mostOfError {
		text = strings.ToValidUTF8(text[:mostOfError], "") + "…"
	}
	return text
}
