package login

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

const discoveryURL = issuer + "/.well-known/openid-configuration"

// plain is a provider that is found by discovery.
func plain() Config { return Config{Issuer: issuer, Audience: []string{"app"}} }

func rotated() signer { return signer{"rotated", "ES256", p256Key()} }

// hang is an answer that does not come.
func hang(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}

// verify verifies a token of s and returns the error.
func verify(t *testing.T, v *Verifier, s signer) error {
	_, err := v.Verify(t.Context(), s.token(s.header(), payload()), now)
	return err
}

func TestKeys_StormOfUnknownKeysIsOneFetchAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		site := newSite(map[string]string{keysURL: jwks(es().jwk())})
		v := started(t, Config{Issuer: issuer, Audience: []string{"app"}, JWKS: keysURL}, site)

		for minute := range 5 {
			time.Sleep(time.Minute)
			var storm sync.WaitGroup
			for i := range 200 {
				storm.Go(func() {
					s := signer{fmt.Sprint("unknown", minute, i), "ES256", p256Key()}
					if err := verify(t, v, s); !errors.Is(err, errKeyUnknown) {
						t.Errorf("error is %v, want %v", err, errKeyUnknown)
					}
				})
			}
			storm.Wait()
			// One at the start, one for each minute with a storm.
			if got, want := site.count(keysURL), minute+2; got != want {
				t.Fatalf("after %d minutes the keys were fetched %d times, want %d", minute+1, got, want)
			}
		}
	})
}

func TestKeys_UnknownKeyIsNotFetchedWithinAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		site := newSite(map[string]string{keysURL: jwks(es().jwk())})
		v := started(t, Config{Issuer: issuer, Audience: []string{"app"}, JWKS: keysURL}, site)
		time.Sleep(59 * time.Second)
		if err := verify(t, v, rotated()); !errors.Is(err, errKeyUnknown) {
			t.Errorf("error is %v, want %v", err, errKeyUnknown)
		}
		if got := site.count(keysURL); got != 1 {
			t.Errorf("the keys were fetched %d times, want 1", got)
		}
	})
}

// An unknown key that comes at the very time of a refresh causes no second fetch.
func TestKeys_UnknownKeyDuringRefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		site := newSite(map[string]string{keysURL: jwks(es().jwk())})
		v := started(t, Config{Issuer: issuer, Audience: []string{"app"}, JWKS: keysURL}, site)
		for i := range 100 {
			time.Sleep(usualFreshness * 4 / 5)
			if err := verify(t, v, rotated()); !errors.Is(err, errKeyUnknown) {
				t.Fatalf("error is %v, want %v", err, errKeyUnknown)
			}
			synctest.Wait()
			if got, want := site.count(keysURL), i+2; got != want {
				t.Fatalf("after %d refreshes the keys were fetched %d times, want %d", i+1, got, want)
			}
		}
	})
}

func TestKeys_Rotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		site := newSite(map[string]string{keysURL: jwks(es().jwk())})
		v := started(t, Config{Issuer: issuer, Audience: []string{"app"}, JWKS: keysURL}, site)
		if err := verify(t, v, rotated()); !errors.Is(err, errKeyUnknown) {
			t.Errorf("before the rotation: %v, want %v", err, errKeyUnknown)
		}

		site.serve(keysURL, jwks(es().jwk(), rotated().jwk()))
		time.Sleep(time.Minute)
		if err := verify(t, v, rotated()); err != nil {
			t.Errorf("the new key: %v, want no error", err)
		}
		if err := verify(t, v, es()); err != nil {
			t.Errorf("the old key beside it: %v, want no error", err)
		}

		site.serve(keysURL, jwks(rotated().jwk()))
		time.Sleep(maxRefresh)
		if err := verify(t, v, es()); !errors.Is(err, errKeyUnknown) {
			t.Errorf("the withdrawn key: %v, want %v", err, errKeyUnknown)
		}
	})
}

func TestKeys_RefreshAheadOfExpiry(t *testing.T) {
	for name, tt := range map[string]struct {
		header []string
		want   time.Duration
	}{
		"no header":     {nil, 12 * time.Minute},
		"an hour":       {[]string{"Cache-Control", "public, max-age=3600, must-revalidate"}, 48 * time.Minute},
		"six hours":     {[]string{"Cache-Control", "public, max-age=21600"}, time.Hour},
		"a minute":      {[]string{"Cache-Control", "max-age=60"}, 5 * time.Minute},
		"no cache":      {[]string{"Cache-Control", "no-store"}, 12 * time.Minute},
		"half an hour":  {[]string{"Cache-Control", "max-age=3600", "Age", "1800"}, 24 * time.Minute},
		"a wrong value": {[]string{"Cache-Control", "max-age=soon"}, 12 * time.Minute},
		"beyond time":   {[]string{"Cache-Control", "max-age=99999999999999999999"}, 12 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				site := newSite(nil)
				site.answer(keysURL, func(r *http.Request) (*http.Response, error) {
					return respond(r, 200, strings.NewReader(jwks(es().jwk())), tt.header...), nil
				})
				started(t, Config{Issuer: issuer, Audience: []string{"app"}, JWKS: keysURL}, site)
				time.Sleep(tt.want - time.Second)
				synctest.Wait()
				before := site.count(keysURL)
				time.Sleep(2 * time.Second)
				synctest.Wait()
				if after := site.count(keysURL); before != 1 || after != 2 {
					t.Errorf("fetched %d times before %s and %d times after, want 1 and 2", before, tt.want, after)
				}
			})
		})
	}
}

func TestKeys_StartsWithoutTheProvider(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		site := newSite(nil)
		site.fail(keysURL)
		v, err := New(Config{Issuer: issuer, Audience: []string{"app"}, JWKS: keysURL}, WithTransport(site))
		if err != nil {
			t.Fatal(err)
		}
		if err := verify(t, v, es()); !errors.Is(err, ErrUnavailable) {
			t.Errorf("before Start: %v, want %v", err, ErrUnavailable)
		}

		v.Start(t.Context())
		defer v.Close()
		time.Sleep(20 * time.Second)
		if err := verify(t, v, es()); !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "connection refused") {
			t.Errorf("without the provider: %v, want %v: …connection refused", err, ErrUnavailable)
		}
		if got := site.count(keysURL); got != 5 { // after 0, 1, 3, 7 and 15 s
			t.Errorf("tried %d times in 20 s, want 5", got)
		}

		site.serve(keysURL, jwks(es().jwk()))
		time.Sleep(maxRetry)
		if err := verify(t, v, es()); err != nil {
			t.Errorf("with the provider: %v, want no error", err)
		}
	})
}

func TestKeys_LastKnownKeysOutliveTheProvider(t *testing.T) {
	for name, away := range map[string]func(*http.Request) (*http.Response, error){
		"unreachable": func(*http.Request) (*http.Response, error) { return nil, errors.New("no route to host") },
		"hanging":     hang,
		"broken": func(r *http.Request) (*http.Response, error) {
			return respond(r, 503, strings.NewReader("")), nil
		},
		"a page": func(r *http.Request) (*http.Response, error) {
			return respond(r, 200, strings.NewReader("<html>"), "Content-Type", "text/html; charset=utf-8"), nil
		},
		"no JSON":       func(r *http.Request) (*http.Response, error) { return respond(r, 200, strings.NewReader("{")), nil },
		"another JSON":  func(r *http.Request) (*http.Response, error) { return respond(r, 200, strings.NewReader("{}")), nil },
		"no keys":       func(r *http.Request) (*http.Response, error) { return respond(r, 200, strings.NewReader(jwks())), nil },
		"too many keys": tooManyKeys,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				site := newSite(map[string]string{keysURL: jwks(es().jwk())})
				v := started(t, Config{Issuer: issuer, Audience: []string{"app"}, JWKS: keysURL}, site)
				site.answer(keysURL, away)
				time.Sleep(24 * time.Hour)
				if err := verify(t, v, es()); err != nil {
					t.Errorf("the known key: %v, want no error", err)
				}
				if err := verify(t, v, rotated()); !errors.Is(err, ErrUnavailable) {
					t.Errorf("an unknown key: %v, want %v", err, ErrUnavailable)
				}
				if got := site.count(keysURL); got < 100 {
					t.Errorf("tried %d times in a day, want more than 100", got)
				}
			})
		})
	}
}

func tooManyKeys(r *http.Request) (*http.Response, error) {
	return respond(r, 200, strings.NewReader(jwks(strings.Split(strings.Repeat(rotated().jwk()+"\n", 101), "\n")[:101]...))), nil
}

func TestKeys_SlowProviderDelaysOnlyUnknownKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		site := newSite(map[string]string{keysURL: jwks(es().jwk())})
		v := started(t, Config{Issuer: issuer, Audience: []string{"app"}, JWKS: keysURL}, site)
		site.answer(keysURL, hang)
		time.Sleep(time.Minute)

		begun := time.Now()
		if err := verify(t, v, rotated()); !errors.Is(err, ErrUnavailable) {
			t.Errorf("an unknown key: %v, want %v", err, ErrUnavailable)
		}
		if got := time.Since(begun); got != patience {
			t.Errorf("an unknown key took %s, want %s", got, patience)
		}

		begun = time.Now() // the fetch still hangs
		if err := verify(t, v, es()); err != nil {
			t.Errorf("the known key: %v, want no error", err)
		}
		if got := time.Since(begun); got != 0 {
			t.Errorf("the known key took %s, want no time", got)
		}

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := v.Verify(ctx, rotated().token(rotated().header(), payload()), now); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("when the client leaves: %v, want %v", err, context.DeadlineExceeded)
		}
	})
}

func TestKeys_FetchEndsAfterTenSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		site := newSite(nil)
		site.answer(keysURL, hang)
		v, err := New(Config{Issuer: issuer, Audience: []string{"app"}, JWKS: keysURL}, WithTransport(site))
		if err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		_, _, err = v.keys.fetcher.fetch(t.Context())
		if got := time.Since(begun); !errors.Is(err, context.DeadlineExceeded) || got != 10*time.Second {
			t.Errorf("the fetch ended after %s with %v, want 10s and %v", got, err, context.DeadlineExceeded)
		}
	})
}

func TestKeys_CloseEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		site := newSite(map[string]string{keysURL: jwks(es().jwk())})
		v := started(t, Config{Issuer: issuer, Audience: []string{"app"}, JWKS: keysURL}, site)
		v.Close()
		time.Sleep(24 * time.Hour)
		if got := site.count(keysURL); got != 1 {
			t.Errorf("fetched %d times, want 1", got)
		}
		if err := verify(t, v, es()); err != nil {
			t.Errorf("the known key after Close: %v, want no error", err)
		}
		begun := time.Now()
		if err := verify(t, v, rotated()); !errors.Is(err, errKeyUnknown) || time.Since(begun) != 0 {
			t.Errorf("an unknown key: %v after %s, want %v at once", err, time.Since(begun), errKeyUnknown)
		}
	})
}

func TestKeys_CloseBreaksOffAFetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		site := newSite(nil)
		site.answer(keysURL, hang)
		v, err := New(Config{Issuer: issuer, Audience: []string{"app"}, JWKS: keysURL}, WithTransport(site))
		if err != nil {
			t.Fatal(err)
		}
		v.Start(t.Context())
		synctest.Wait()
		begun := time.Now()
		v.Close()
		if got := time.Since(begun); got != 0 {
			t.Errorf("Close took %s, want no time", got)
		}
	})
}

func TestVerifier_InheritsKeys(t *testing.T) {
	site := newSite(map[string]string{keysURL: jwks(es().jwk())})
	former := started(t, generic(), site)
	former.Close()
	fresh := must(New(generic(), WithTransport(site)))

	for name, tt := range map[string]struct {
		edit   func(*Config)
		former *Verifier
		want   bool
	}{
		"another audience":        {func(c *Config) { c.Audience = []string{"other", "app"} }, former, true},
		"another key set":         {func(c *Config) { c.JWKS = "https://login.example.com/other" }, former, false},
		"discovery":               {func(c *Config) { c.JWKS = "" }, former, false},
		"another issuer":          {func(c *Config) { c.Issuer = "https://other.example.com" }, former, false},
		"one that has none yet":   {func(*Config) {}, fresh, false},
		"one that came to an end": {func(*Config) {}, former, true},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := generic()
			tt.edit(&cfg)
			v := must(New(cfg, WithTransport(site)))
			if got := v.Inherit(tt.former); got != tt.want {
				t.Fatalf("Inherit is %t, want %t", got, tt.want)
			}
			err := verify(t, v, es())
			if tt.want && err != nil || !tt.want && err == nil {
				t.Errorf("error is %v; want one: %t", err, !tt.want)
			}
		})
	}
}

// endless is a document of 100 MB that counts what is read of it.
type endless struct{ left, read int }

func (e *endless) Read(p []byte) (int, error) {
	n := min(len(p), e.left)
	if n == 0 {
		return 0, io.EOF
	}
	for i := range p[:n] {
		p[i] = ' '
	}
	e.left, e.read = e.left-n, e.read+n
	return n, nil
}

func TestFetch_RefusesLargeDocument(t *testing.T) {
	site, body := newSite(nil), &endless{left: 100 << 20}
	site.answer(keysURL, func(r *http.Request) (*http.Response, error) { return respond(r, 200, body), nil })
	v := must(New(Config{Issuer: issuer, Audience: []string{"app"}, JWKS: keysURL}, WithTransport(site)))
	_, _, err := v.keys.fetcher.fetch(t.Context())
	if err == nil || !strings.Contains(err.Error(), "login.example.com responded with more than 1048576 bytes") {
		t.Errorf("error is %v, want that the document is too large", err)
	}
	if body.read > maxDocument+1 {
		t.Errorf("%d bytes were read, want at most %d", body.read, maxDocument+1)
	}
}

func TestFetch_Redirects(t *testing.T) {
	for name, tt := range map[string]struct {
		to   string
		want string // of the error; empty means none
	}{
		"to another host":      {"https://attacker.example/keys", "another origin"},
		"to plain http":        {"http://login.example.com/keys2", "another origin"},
		"to another port":      {"https://login.example.com:8443/keys", "another origin"},
		"to this machine":      {"http://127.0.0.1/keys", "another origin"},
		"to a file":            {"file:///etc/passwd", "another origin"},
		"within the origin":    {"https://login.example.com/v2/keys", ""},
		"again and again":      {keysURL, "too often"},
		"within it, relative":  {"/v2/keys", ""},
		"to a host, no scheme": {"//attacker.example/keys", "another origin"},
	} {
		t.Run(name, func(t *testing.T) {
			site := newSite(map[string]string{"https://login.example.com/v2/keys": jwks(es().jwk()), "https://attacker.example/keys": jwks(rotated().jwk())})
			site.answer(keysURL, func(r *http.Request) (*http.Response, error) {
				return respond(r, 302, strings.NewReader(""), "Location", tt.to), nil
			})
			v := must(New(Config{Issuer: issuer, Audience: []string{"app"}, JWKS: keysURL}, WithTransport(site)))
			_, _, err := v.keys.fetcher.fetch(t.Context())
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error is %v, want %q", err, tt.want)
			}
			if got := site.count("https://attacker.example/keys"); got != 0 {
				t.Errorf("the other host was asked %d times, want 0", got)
			}
		})
	}
}

func TestFetch_Discovers(t *testing.T) {
	for name, tt := range map[string]struct {
		document string
		want     string // of the error; empty means none
	}{
		"a document":           {`{"issuer":"` + issuer + `","jwks_uri":"` + keysURL + `","id_token_signing_alg_values_supported":["none"]}`, ""},
		"another issuer":       {`{"issuer":"` + issuer + `/","jwks_uri":"` + keysURL + `"}`, "names another issuer; write the issuer exactly"},
		"no issuer":            {`{"jwks_uri":"` + keysURL + `"}`, "names another issuer"},
		"no jwks_uri":          {`{"issuer":"` + issuer + `"}`, "jwks_uri: not a URL"},
		"a jwks_uri over http": {`{"issuer":"` + issuer + `","jwks_uri":"http://login.example.com/keys"}`, "jwks_uri: must begin with https://"},
		"a jwks_uri here":      {`{"issuer":"` + issuer + `","jwks_uri":"http://127.0.0.1:2019/config"}`, "jwks_uri: must begin with https://"},
		"a jwks_uri of a file": {`{"issuer":"` + issuer + `","jwks_uri":"file:///etc/passwd"}`, "jwks_uri: not a URL"},
		"no JSON":              {`<html>`, "not valid JSON"},
	} {
		t.Run(name, func(t *testing.T) {
			site := newSite(map[string]string{discoveryURL: tt.document, keysURL: jwks(es().jwk())})
			v := must(New(plain(), WithTransport(site)))
			_, _, err := v.keys.fetcher.fetch(t.Context())
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error is %v, want %q", err, tt.want)
			}
		})
	}
}

// An issuer that ends in a slash has its discovery document below it, without a second
// slash (OpenID Connect Discovery 1.0, section 4.1).
func TestFetch_DiscoversBelowASlash(t *testing.T) {
	site := newSite(map[string]string{discoveryURL: `{"issuer":"` + issuer + `/","jwks_uri":"` + keysURL + `"}`, keysURL: jwks(es().jwk())})
	v := must(New(Config{Issuer: issuer + "/", Audience: []string{"app"}}, WithTransport(site)))
	if set, _, err := v.keys.fetcher.fetch(t.Context()); err != nil || len(set) != 1 {
		t.Errorf("%d keys, error %v; want 1 key", len(set), err)
	}
}

// The transport of the relay itself, over a socket.
func TestVerifier_OverHTTP(t *testing.T) {
	mux := http.NewServeMux()
	server := httptest.NewServer(mux)
	defer server.Close()
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q}`, server.URL, server.URL+"/keys")
	})
	mux.HandleFunc("/keys", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, jwks(es().jwk())) })

	v := must(New(Config{Issuer: server.URL, Audience: []string{"app"}}))
	v.Start(t.Context())
	defer v.Close()
	token := es().token(es().header(), payload("iss", `"`+server.URL+`"`))
	claims, err := v.Verify(t.Context(), token, now) // waits for the first fetch
	if err != nil || claims.Subject != "alice" {
		t.Errorf("subject %q, error %v; want alice", claims.Subject, err)
	}
}
