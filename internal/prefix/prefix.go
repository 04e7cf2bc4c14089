// Package prefix finds the provider that a path names after a prefix.
package prefix

import (
	"errors"
	"fmt"
	"net/url"
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
