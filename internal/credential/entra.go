package credential

import (
	"context"
	"errors"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/relayapi/caddy-relayapi/internal/realkey"
)

// Entra configures the identity whose access tokens are sent to Azure.
type Entra struct {
	// The tenant of the app registration. Default: Azure's own chain, which is the
	// environment variables, workload identity, the managed identity of the machine, and
	// the command line of a developer.
	Tenant string `json:"tenant,omitempty"`

	// The client ID of the app registration.
	Client string `json:"client,omitempty"`

	// The client secret, a placeholder `{env.NAME}` or `{file.PATH}`. Default: workload
	// identity, whose token is in the file of AZURE_FEDERATED_TOKEN_FILE.
	ClientSecret string `json:"client_secret,omitempty"`

	// The scope of tokens. Default: https://cognitiveservices.azure.com/.default.
	Scope string `json:"scope,omitempty"`

	// The address of Entra ID, for national clouds. Default: the variable
	// AZURE_AUTHORITY_HOST, or else https://login.microsoftonline.com/.
	Authority string `json:"authority,omitempty"`
}

const entraScope = "https://cognitiveservices.azure.com/.default"

// check returns an error if the config is invalid.
func (c *Entra) check() error {
	switch {
	case (c.Tenant == "") != (c.Client == ""):
		return errors.New("write `credential entra <tenant> <client>`, or without both for the identity of the machine")
	case c.ClientSecret != "" && c.Tenant == "":
		return errors.New("client_secret: write `credential entra <tenant> <client>`")
	}
	return nil
}

// fetcher returns the function that gets access tokens.
func (c *Entra) fetcher(env *Env) (fetcher, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	options := azcore.ClientOptions{Transport: env.client(), Retry: policy.RetryOptions{MaxRetries: 1, TryTimeout: fetchTime / 2}}
	if c.Authority != "" {
		options.Cloud = cloud.Configuration{ActiveDirectoryAuthorityHost: c.Authority}
	}
	var secrets []*realkey.Key
	identity, err := func() (azcore.TokenCredential, error) {
		// Instance discovery would query login.microsoft.com about an authority that
		// the operator has configured.
		named := c.Authority != ""
		switch {
		case c.Tenant == "":
			return azidentity.NewDefaultAzureCredential(&azidentity.DefaultAzureCredentialOptions{ClientOptions: options, DisableInstanceDiscovery: named})
		case c.ClientSecret == "":
			return azidentity.NewWorkloadIdentityCredential(&azidentity.WorkloadIdentityCredentialOptions{
				ClientOptions: options, DisableInstanceDiscovery: named, TenantID: c.Tenant, ClientID: c.Client})
		}
		secret, err := env.secret("client_secret", c.ClientSecret)
		if err != nil {
			return nil, err
		}
		secrets = append(secrets, realkey.New(secret, bearer, "", true))
		return azidentity.NewClientSecretCredential(c.Tenant, c.Client, secret,
			&azidentity.ClientSecretCredentialOptions{ClientOptions: options, DisableInstanceDiscovery: named})
	}()
	if err != nil {
		return nil, err
	}

	scope := entraScope
	if c.Scope != "" {
		scope = c.Scope
	}
	return func(ctx context.Context) (*realkey.Key, time.Time, error) {
		token, err := identity.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{scope}})
		if err != nil {
			return nil, time.Time{}, errors.New(plain(err, secrets))
		}
		return realkey.New(token.Token, bearer, "the access token of credential entra", true), token.ExpiresOn, nil
	}, nil
}
