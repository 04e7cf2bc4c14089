package credential

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"cloud.google.com/go/auth"
	"cloud.google.com/go/auth/credentials"
	"github.com/relayapi/caddy-relayapi/internal/placeholder"
	"github.com/relayapi/caddy-relayapi/internal/realkey"
)

// Google configures the identity whose access tokens are sent to Google.
type Google struct {
	// The JSON file of a service account, or of workload identity federation. It may
	// have placeholders, such as {env.HOME}. Default: Google's Application Default
	// Credentials, which are the file of GOOGLE_APPLICATION_CREDENTIALS, that of gcloud,
	// and the service account of the machine.
	File string `json:"file,omitempty"`

	// The scope of tokens. Default: https://www.googleapis.com/auth/cloud-platform.
	Scope string `json:"scope,omitempty"`
}

const googleScope = "https://www.googleapis.com/auth/cloud-platform"

// fileTypes are the accepted kinds of files.
var fileTypes = []credentials.CredType{
	credentials.ServiceAccount, credentials.ExternalAccount, credentials.ImpersonatedServiceAccount, credentials.AuthorizedUser,
}

// fetcher returns the function that gets access tokens.
func (c *Google) fetcher(env *Env) (fetcher, error) {
	scope := googleScope
	if c.Scope != "" {
		scope = c.Scope
	}
	options := &credentials.DetectOptions{Scopes: []string{scope}, Client: env.client(), DisableAsyncRefresh: true, EarlyTokenRefresh: refreshAhead}

	var tokens auth.TokenProvider
	if file := c.file(); file != "" {
		found, err := fromFile(file, options)
		if err != nil {
			return nil, err
		}
		tokens = found
	}
	return func(ctx context.Context) (*realkey.Key, time.Time, error) {
		if tokens == nil { // asks the metadata server whether this machine runs on Google Cloud
			found, err := credentials.DetectDefault(options)
			if err != nil {
				return nil, time.Time{}, errors.New(plain(err, nil))
			}
			tokens = found
		}
		token, err := tokens.Token(ctx)
		if err != nil {
			return nil, time.Time{}, errors.New(plain(err, nil))
		}
		return realkey.New(token.Value, bearer, "the access token of credential google", true), token.Expiry, nil
	}, nil
}

// file returns the configured file, or the file that Application Default Credentials
// would find, or "".
func (c *Google) file() string {
	switch fromEnv := os.Getenv("GOOGLE_APPLICATION_CREDENTIALS"); {
	case c.File != "":
		return placeholder.Expand(c.File)
	case fromEnv != "":
		return fromEnv
	}
	dir := os.Getenv("APPDATA")
	if runtime.GOOS != "windows" {
		dir = filepath.Join(os.Getenv("HOME"), ".config")
	}
	file := filepath.Join(dir, "gcloud", "application_default_credentials.json")
	if _, err := os.Stat(file); err != nil {
		return ""
	}
	return file
}

// fromFile reads a credentials file. Its errors quote nothing from it.
func fromFile(file string, options *credentials.DetectOptions) (auth.TokenProvider, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var kind struct{ Type credentials.CredType }
	if err := json.Unmarshal(data, &kind); err != nil {
		return nil, fmt.Errorf("%s is not JSON; name the key file of a service account", file)
	}
	if !slices.Contains(fileTypes, kind.Type) {
		names := make([]string, len(fileTypes))
		for i, name := range fileTypes {
			names[i] = string(name)
		}
		return nil, fmt.Errorf("%s has an unknown type; it must be one of %s", file, strings.Join(names, ", "))
	}
	found, err := credentials.NewCredentialsFromJSON(kind.Type, data, options)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return found, nil
}
