package login

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Bounds of a fetch.
const (
	fetchTimeout  = 10 * time.Second
	maxDocument   = 1 << 20
	maxRedirects  = 3
	maxHeaderSize = 64 << 10
)

// fetcher fetches the keys of one provider.
type fetcher struct {
	client *http.Client
	issuer string
	jwks   string // empty means discovery

	// mayBeEmpty reports whether a key set without keys is valid.
	mayBeEmpty bool
}

func newFetcher(p profile) *fetcher {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxResponseHeaderBytes = maxHeaderSize
	return &fetcher{
		client:     &http.Client{Transport: transport, CheckRedirect: staySameOrigin},
		issuer:     p.issuers[0],
		jwks:       p.jwks,
		mayBeEmpty: p.symmetric,
	}
}

var errRedirect = errors.New("redirected to another origin, or too often")

// staySameOrigin follows redirects within one origin.
func staySameOrigin(r *http.Request, via []*http.Request) error {
	first := via[0].URL
	if len(via) > maxRedirects || r.URL.Scheme != first.Scheme || r.URL.Host != first.Host {
		return errRedirect
	}
	return nil
}

// fetch returns the provider's keys and how long they stay fresh: 0 if the provider
// does not say.
func (f *fetcher) fetch(ctx context.Context) (set keySet, fresh time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()

	from := f.jwks
	if from == "" {
		if from, err = f.discover(ctx); err != nil {
			return nil, 0, fmt.Errorf("discovery of %s: %w", f.issuer, err)
		}
	}

	data, fresh, err := f.get(ctx, from)
	if err != nil {
		return nil, 0, fmt.Errorf("fetching keys of %s: %w", f.issuer, err)
	}
	set, err = parseKeySet(data)
	if err == nil && len(set) == 0 && !f.mayBeEmpty {
		err = errNoKeys
	}
	if err != nil {
		return nil, 0, fmt.Errorf("reading keys of %s: %w", f.issuer, err)
	}
	return set, fresh, nil
}

// discover returns the URL of the key set that the issuer names (OpenID Connect
// Discovery 1.0, section 4).
func (f *fetcher) discover(ctx context.Context) (jwks string, err error) {
	data, _, err := f.get(ctx, strings.TrimSuffix(f.issuer, "/")+"/.well-known/openid-configuration")
	if err != nil {
		return "", err
	}

	var document struct {
		Issuer string `json:"issuer"`
		JWKS   string `json:"jwks_uri"`
	}
	if json.Unmarshal(data, &document) != nil {
		return "", errors.New("the document is not valid JSON")
	}
	if document.Issuer != f.issuer {
		return "", errors.New("the document names another issuer; write the issuer exactly as the provider does, including a trailing slash")
	}

	u, err := checkURL(document.JWKS)
	switch {
	case err != nil:
		return "", fmt.Errorf("jwks_uri: %w", err)
	case u.Scheme == "http" && !strings.HasPrefix(f.issuer, "http://"):
		return "", errors.New("jwks_uri: must begin with https://, as the issuer does")
	}
	return document.JWKS, nil
}

// get returns a document and how long it stays fresh.
func (f *fetcher) get(ctx context.Context, from string) (data []byte, fresh time.Duration, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return nil, 0, errors.New("the URL is not valid")
	}
	req.Header.Set("Accept", "application/json, application/jwk-set+json")

	res, err := f.client.Do(req)
	if err != nil {
		return nil, 0, unwrapURL(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, 0, fmt.Errorf("%s responded with status %d", req.URL.Host, res.StatusCode)
	}
	if kind, _, err := mime.ParseMediaType(res.Header.Get("Content-Type")); err == nil && kind == "text/html" {
		return nil, 0, fmt.Errorf("%s responded with a page", req.URL.Host)
	}

	data, err = io.ReadAll(io.LimitReader(res.Body, maxDocument+1))
	switch {
	case err != nil:
		return nil, 0, unwrapURL(err)
	case len(data) > maxDocument:
		return nil, 0, fmt.Errorf("%s responded with more than %d bytes", req.URL.Host, maxDocument)
	}
	return data, maxAge(res.Header), nil
}

// unwrapURL removes the URL from an error.
func unwrapURL(err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		return wrapped.Err
	}
	return err
}

// maxAge returns how long a response stays fresh (RFC 9111, section 5.2.2.1), minus its
// age.
func maxAge(h http.Header) time.Duration {
	for directive := range strings.SplitSeq(strings.Join(h.Values("Cache-Control"), ","), ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(directive), "=")
		seconds, err := strconv.ParseInt(strings.Trim(value, `"`), 10, 32)
		if !strings.EqualFold(name, "max-age") || err != nil || seconds < 0 {
			continue
		}
		age, err := strconv.ParseInt(h.Get("Age"), 10, 32)
		if err != nil || age < 0 {
			age = 0
		}
		return time.Duration(max(0, seconds-age)) * time.Second
	}
	return 0
}
