// Package prefix finds the provider that a path names after a prefix.
package prefix

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// Strip removes the prefix and the provider's name from the path of u, and returns the
// name. Without a prefix, the path names no provider.
func Strip(u *url.URL, prefix string) (string, error) {
	if prefix == "" {
		return "", nil
	}
	name, path, ok := Cut(u.Path, prefix)
	if !ok {
		return "", fmt.Errorf("the path is not of the form %s/<provider>/<path>", prefix)
	}

	if u.RawPath != "" {
		rawName, rawPath, ok := Cut(u.RawPath, prefix)
		if !ok || rawName != name {
			return "", errors.New("the prefix or the provider is escaped in the path")
		}
		u.RawPath = rawPath
	}
	u.Path = path
	return name, nil
}

// Cut splits "/api/openai/v1/x" into "openai" and "/v1/x".
func Cut(path, prefix string) (name, rest string, ok bool) {
	rest, ok = strings.CutPrefix(path, prefix+"/")
	name, rest, slash := strings.Cut(rest, "/")
	return name, "/" + rest, ok && slash && name != ""
}

// probed are the paths, below a base URL, that tools ask whether there is a server.
// Claude Code opens its first connection with them, and without a key
// (https://github.com/headroomlabs-ai/headroom/issues/2032,
// https://github.com/router-for-me/CLIProxyAPI/issues/5905).
var probed = []string{"", "/", "/api/hello"}

// carriers are the headers in which tools send their keys.
var carriers = []string{"Authorization", "X-Api-Key", "X-Goog-Api-Key", "Api-Key", "X-Api-Token"}

// Probe reports whether a request only asks whether a server is there: without a key, and
// so for no provider.
func Probe(r *http.Request, prefix string) bool {
	if r.Method != http.MethodHead && r.Method != http.MethodOptions || r.URL.RawQuery != "" {
		return false
	}
	if slices.ContainsFunc(carriers, func(name string) bool { return r.Header[name] != nil }) {
		return false
	}
	path := r.URL.Path
	if prefix != "" {
		below, ok := strings.CutPrefix(path, prefix+"/")
		if !ok {
			return false
		}
		_, path, _ = strings.Cut(below, "/")
		path = strings.TrimSuffix("/"+path, "/")
	}
	return slices.Contains(probed, path)
}
