package credential

import (
	"context"
	"errors"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/credentials/ec2rolecreds"
	"github.com/relayapi/caddy-relayapi/internal/realkey"
)

// AWS configures how requests are signed for AWS.
type AWS struct {
	// The region that requests are signed for. Default: that of the preset's base URL.
	Region string `json:"region,omitempty"`

	// The service that requests are signed for. Default: `bedrock` with that preset.
	Service string `json:"service,omitempty"`

	// The profile in AWS's shared config files. Default: AWS's own chain, which is the
	// environment variables, the shared config files, web identity, and the role of the
	// container or instance.
	Profile string `json:"profile,omitempty"`

	// The access key ID, the secret access key and, for temporary ones, the session
	// token, each a placeholder `{env.NAME}` or `{file.PATH}`. Default: as with
	// `profile`.
	AccessKey []string `json:"access_key,omitempty"`
}

// check returns an error if the config is invalid.
func (c *AWS) check() error {
	n := len(c.AccessKey)
	switch {
	case n != 0 && c.Profile != "":
		return errors.New("must have either a profile or an access_key")
	case n != 0 && n != 2 && n != 3:
		return errors.New("write `access_key {env.AWS_ACCESS_KEY_ID} {env.AWS_SECRET_ACCESS_KEY} [{env.AWS_SESSION_TOKEN}]`")
	}
	return nil
}

// fetcher returns the function that gets the keys to sign requests with.
func (c *AWS) fetcher(env *Env) (fetcher, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	scope := scope{region: c.Region, service: c.Service}
	if scope.region == "" {
		scope.region = env.account("region")
	}
	if scope.service == "" && env.Preset.Name == "bedrock" {
		scope.service = "bedrock"
	}
	switch {
	case scope.region == "":
		return nil, errors.New("no region; add `region <region>`")
	case scope.service == "":
		return nil, errors.New("no service; add `service <name>`, the service that requests are signed for")
	}

	source, err := c.provider(env, scope.region)
	if err != nil {
		return nil, err
	}
	signer := v4.NewSigner()
	return func(ctx context.Context) (*realkey.Key, time.Time, error) {
		keys, err := source.Retrieve(ctx)
		if err != nil {
			return nil, time.Time{}, errors.New(plain(err, nil))
		}
		sign := func(r *http.Request, hash string, now time.Time) (string, error) {
			return scope.sign(signer, keys, r, hash, now)
		}
		secrets := []string{keys.SecretAccessKey}
		if keys.SessionToken != "" {
			secrets = []string{keys.SessionToken, keys.SecretAccessKey}
		}
		var expires time.Time
		if keys.CanExpire {
			expires = keys.Expires.Add(refreshAhead) // the library has subtracted it
		}
		return realkey.NewSigner(sign, secrets, "the access key of credential aws"), expires, nil
	}, nil
}

// provider returns the provider of the keys. It does not request them yet.
func (c *AWS) provider(env *Env, region string) (aws.CredentialsProvider, error) {
	if len(c.AccessKey) == 0 {
		// The region selects the services that hand out keys. Without it, the library
		// would query the instance's metadata.
		options := []func(*config.LoadOptions) error{
			config.WithRegion(region),
			config.WithCredentialsCacheOptions(func(o *aws.CredentialsCacheOptions) { o.ExpiryWindow = refreshAhead }),
		}
		if c.Profile != "" {
			options = append(options, config.WithSharedConfigProfile(c.Profile))
		}
		if env.Client != nil {
			options = append(options, config.WithHTTPClient(env.Client))
		}
		loaded, err := config.LoadDefaultConfig(context.Background(), options...)
		if err == nil && aws.IsCredentialsProvider(loaded.Credentials, (*ec2rolecreds.Provider)(nil)) && withoutMetadata() {
			err = errors.New("no credentials are configured; set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or write `access_key`")
		}
		return loaded.Credentials, err
	}

	values := make([]string, 3)
	for i, ref := range c.AccessKey {
		value, err := env.secret("access_key", ref)
		if err != nil {
			return nil, err
		}
		values[i] = value
	}
	return credentials.NewStaticCredentialsProvider(values[0], values[1], values[2]), nil
}

// withoutMetadata reports whether the library must not query the instance's metadata,
// the last in the chain.
func withoutMetadata() bool { return strings.EqualFold(os.Getenv("AWS_EC2_METADATA_DISABLED"), "true") }

// scope is the region and the service that a signature is valid for.
type scope struct{ region, service string }

// unsigned has the fields that are not signed, because proxies between the relay and
// the service may change them. The list is that of AWS's SDK for JavaScript.
var unsigned = map[string]bool{
	"Authorization": true, "Cache-Control": true, "Connection": true, "Expect": true, "From": true, "Keep-Alive": true,
	"Max-Forwards": true, "Pragma": true, "Referer": true, "Te": true, "Trailer": true, "Transfer-Encoding": true,
	"Upgrade": true, "User-Agent": true, "X-Amzn-Trace-Id": true,
}

// sign signs a request as it will be sent, and returns the signature.
func (s scope) sign(signer *v4.Signer, keys aws.Credentials, r *http.Request, hash string, now time.Time) (string, error) {
	signed := *r
	signed.Header = make(http.Header, len(r.Header)+4)
	for name, values := range r.Header {
		if canonical := http.CanonicalHeaderKey(name); !unsigned[canonical] {
			signed.Header[canonical] = values
		}
	}
	signed.Header["X-Amz-Content-Sha256"] = []string{hash}
	if err := signer.SignHTTP(r.Context(), keys, &signed, hash, s.service, s.region, now); err != nil {
		return "", err
	}
	for _, name := range []string{"Authorization", "X-Amz-Content-Sha256", "X-Amz-Date", "X-Amz-Security-Token"} {
		delete(r.Header, name)
		if values := signed.Header[name]; values != nil {
			r.Header[name] = values
		}
	}
	_, signature, _ := strings.Cut(signed.Header.Get("Authorization"), "Signature=")
	return signature, nil
}
