package login

import (
	"errors"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/relayapi/caddy-relayapi/grant"
)

// Presets returns the names of the presets in order.
func Presets() []string { return slices.Sorted(maps.Keys(presets)) }

// preset describes the tokens of one provider.
type preset struct {
	args  []string // how the arguments are written
	build func(args []string) (profile, error)
}

var (
	rsaOnly           = []string{"RS256"}
	generalAlgorithms = []string{"RS256", "ES256", "EdDSA"}
)

// presets are the known providers. Each cites the provider's page about verifying its
// tokens.
var presets = map[string]preset{
	// https://auth0.com/docs/secure/tokens/access-tokens/validate-access-tokens
	// https://auth0.com/docs/secure/tokens/access-tokens/access-token-profiles
	//
	// The issuer ends in a slash. The audience is the identifier of an API for access
	// tokens, and the client id for ID tokens. Applications can also sign with PS256.
	"auth0": {[]string{"<domain>", "<audience>"}, func(args []string) (profile, error) {
		domain, err := domainArg(args[0])
		return profile{
			issuers: []string{"https://" + domain + "/"}, jwks: "https://" + domain + "/.well-known/jwks.json",
			algs: rsaOnly, audience: args[1:], checkAudience: requireAudience, editable: []string{"user_metadata"},
		}, err
	}},

	// https://clerk.com/docs/guides/sessions/manual-jwt-verification
	// https://clerk.com/docs/guides/sessions/session-tokens
	//
	// Session tokens have no audience. Tokens of a JWT template are for others and have
	// no sid, so they are accepted only for a configured audience.
	"clerk": {[]string{"<domain>"}, func(args []string) (profile, error) {
		domain, err := domainArg(args[0])
		return profile{
			issuers: []string{"https://" + domain}, jwks: "https://" + domain + "/.well-known/jwks.json",
			algs: rsaOnly, checkAudience: clerkAudience, checks: []check{refuseText("sts", "pending")},
			editable: []string{"unsafe_metadata"},
		}, err
	}},

	// https://docs.aws.amazon.com/cognito/latest/developerguide/amazon-cognito-user-pools-using-tokens-verifying-a-jwt.html
	//
	// ID tokens have the client in aud, access tokens in client_id.
	"cognito": {[]string{"<region>", "<pool>", "<client>"}, func(args []string) (profile, error) {
		region, pool := args[0], args[1]
		if !cognitoRegion.MatchString(region) || !cognitoPool.MatchString(pool) || !strings.HasPrefix(pool, region+"_") {
			return profile{}, errors.New("not a region and the id of a user pool in it, such as us-east-1 us-east-1_EXAMPLE")
		}
		issuer := "https://cognito-idp." + region + ".amazonaws.com/" + pool
		return profile{
			issuers: []string{issuer}, jwks: issuer + "/.well-known/jwks.json",
			algs: rsaOnly, audience: args[2:], checkAudience: cognitoAudience,
		}, nil
	}},

	// https://firebase.google.com/docs/auth/admin/verify-id-tokens#verify_id_tokens_using_a_third-party_jwt_library
	"firebase": {[]string{"<project>"}, func(args []string) (profile, error) {
		if !firebaseProject.MatchString(args[0]) {
			return profile{}, errors.New("not the id of a project, such as my-app-1234")
		}
		return profile{
			issuers: []string{"https://securetoken.google.com/" + args[0]},
			jwks:    "https://www.googleapis.com/service_accounts/v1/jwk/securetoken@system.gserviceaccount.com",
			algs:    rsaOnly, audience: args, checkAudience: requireAudience,
			checks: []check{firebaseUser, authenticatedBefore},
		}, nil
	}},

	// https://developers.google.com/identity/gsi/web/guides/verify-google-id-token
	//
	// The issuer comes with and without its scheme.
	"google": {[]string{"<client-id>"}, func(args []string) (profile, error) {
		if !strings.HasSuffix(args[0], ".apps.googleusercontent.com") {
			return profile{}, errors.New("not a client id, which ends in .apps.googleusercontent.com")
		}
		return profile{
			issuers: []string{"https://accounts.google.com", "accounts.google.com"},
			jwks:    "https://www.googleapis.com/oauth2/v3/certs",
			algs:    rsaOnly, audience: args, checkAudience: requireAudience,
		}, nil
	}},

	// https://www.keycloak.org/securing-apps/oidc-layers
	// https://www.keycloak.org/docs/latest/server_admin/index.html#audience-support
	//
	// An access token has the client that it was issued to in azp, and others in aud.
	"keycloak": {[]string{"<realm-url>", "<client>"}, func(args []string) (profile, error) {
		issuer := strings.TrimSuffix(args[0], "/")
		u, err := checkURL(issuer)
		if err == nil && (!strings.Contains(u.Path, "/realms/") || u.RawQuery != "") {
			err = errors.New("not the URL of a realm, such as https://login.example.com/realms/main")
		}
		return profile{
			issuers: []string{issuer}, jwks: issuer + "/protocol/openid-connect/certs",
			algs: generalAlgorithms, audience: args[1:], checkAudience: keycloakAudience,
			checks: []check{keycloakType},
		}, err
	}},

	// https://learn.microsoft.com/en-us/entra/identity-platform/access-tokens#validate-tokens
	// https://learn.microsoft.com/en-us/entra/identity-platform/id-token-claims-reference
	//
	// Only tokens of version 2.0, of one tenant. Personal accounts have a tenant of
	// their own.
	"microsoft": {[]string{"<tenant>", "<client>"}, func(args []string) (profile, error) {
		tenant := strings.ToLower(args[0])
		if tenant == "consumers" {
			tenant = "9188040d-6c67-4c5b-b112-36a304b66dad"
		}
		if !guid.MatchString(tenant) {
			return profile{}, errors.New("not the id of one tenant, which is a GUID, nor consumers")
		}
		base := "https://login.microsoftonline.com/" + tenant
		return profile{
			issuers: []string{base + "/v2.0"}, jwks: base + "/discovery/v2.0/keys",
			algs: rsaOnly, audience: args[1:], checkAudience: requireAudience,
			checks: []check{requireText("tid", []string{tenant})},
		}, nil
	}},

	// https://supabase.com/docs/guides/auth/jwts
	// https://supabase.com/docs/guides/auth/jwt-fields
	// https://supabase.com/docs/guides/auth/signing-keys
	//
	// The tokens of all signed-in users have the audience authenticated, including
	// those of anonymous users, which have is_anonymous. Users can edit their
	// user_metadata.
	"supabase": {[]string{"<ref-or-url>"}, func(args []string) (profile, error) {
		base := "https://" + args[0] + ".supabase.co"
		if strings.Contains(args[0], "://") {
			base = strings.TrimSuffix(strings.TrimSuffix(args[0], "/"), "/auth/v1")
		}
		u, err := checkURL(base)
		if err == nil && (u.Path != "" || u.RawQuery != "" || strings.Contains(base, ".supabase.co.supabase.co")) {
			err = errors.New("not the reference or the URL of a project, such as https://abc.supabase.co")
		}
		return profile{
			issuers: []string{base + "/auth/v1"}, jwks: base + "/auth/v1/.well-known/jwks.json",
			algs: generalAlgorithms, audience: []string{"authenticated"}, checkAudience: requireAudience,
			checks: []check{refuseText("role", "anon"), refuseText("role", "service_role")}, editable: []string{"user_metadata"},
		}, err
	}},
}

// Forms of arguments. They keep an argument from changing where keys come from.
var (
	domainName      = regexp.MustCompile(`^[a-z0-9-]+(\.[a-z0-9-]+)+$`)
	cognitoRegion   = regexp.MustCompile(`^[a-z]{2}(-[a-z0-9]+)+$`)
	cognitoPool     = regexp.MustCompile(`^[a-z0-9-]+_[A-Za-z0-9]+$`)
	firebaseProject = regexp.MustCompile(`^[a-z0-9][a-z0-9.:-]{0,62}$`)
	guid            = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)
)

// domainArg returns the domain of an argument, which may be a URL.
func domainArg(arg string) (string, error) {
	domain := strings.TrimSuffix(strings.TrimPrefix(strings.ToLower(arg), "https://"), "/")
	if !domainName.MatchString(domain) {
		return "", errors.New("not a domain, such as login.example.com")
	}
	return domain, nil
}

// requireAudience demands that aud has one of the audiences.
func requireAudience(audience []string) check {
	return func(payload object, _ time.Time) error {
		if payload["aud"] == nil {
			return refuse(WrongAudience, "claim aud is missing")
		}
		for _, element := range elements(payload["aud"]) {
			text, ok := unquote(element)
			switch {
			case !ok:
				return refuse(BadClaims, "claim aud is neither a string nor a list of strings")
			case slices.Contains(audience, text):
				return nil
			}
		}
		return refuse(WrongAudience, "aud has none of the configured audiences: %s", strings.Join(audience, ", "))
	}
}

// clerkAudience demands a session token if no audience is configured.
func clerkAudience(audience []string) check {
	if len(audience) > 0 {
		return requireAudience(audience)
	}
	return func(payload object, _ time.Time) error {
		if sid, _ := payload.string("sid"); sid == "" {
			return refuse(WrongUse, "claim sid is missing: not a session token; configure an audience to accept tokens of a JWT template")
		}
		return nil
	}
}

// cognitoAudience demands an ID token or an access token of one of the clients.
func cognitoAudience(audience []string) check {
	inAud, inClient := requireAudience(audience), requireText("client_id", audience)
	return func(payload object, now time.Time) error {
		switch use, _ := payload.string("token_use"); use {
		case "id":
			return inAud(payload, now)
		case "access":
			return inClient(payload, now)
		}
		return refuse(WrongUse, "claim token_use must be id or access")
	}
}

// keycloakAudience demands that a token was issued to one of the clients, or for it.
func keycloakAudience(audience []string) check {
	inAud := requireAudience(audience)
	return func(payload object, now time.Time) error {
		if azp, ok := payload.string("azp"); ok && slices.Contains(audience, azp) {
			return nil
		}
		return inAud(payload, now)
	}
}

// keycloakType demands the claim typ of an access token or an ID token. Refresh and
// logout tokens have others.
func keycloakType(payload object, _ time.Time) error {
	if typ, _ := payload.string("typ"); typ != "Bearer" && typ != "ID" {
		return refuse(WrongUse, "claim typ must be Bearer or ID")
	}
	return nil
}

// maxFirebaseUser is the longest user id of Firebase in characters.
const maxFirebaseUser = 128

func firebaseUser(payload object, _ time.Time) error {
	if sub, ok := payload.string("sub"); !ok || sub == "" || len(sub) > maxFirebaseUser {
		return refuse(BadSubject, "claim sub is not a string of 1 to %d characters", maxFirebaseUser)
	}
	return nil
}

// authenticatedBefore demands that auth_time is not in the future.
func authenticatedBefore(payload object, now time.Time) error {
	date, err := payload.date("auth_time")
	switch {
	case err != nil:
		return err
	case date == 0:
		return refuse(BadClaims, "claim auth_time is missing or 0")
	case date.Time().After(now.Add(grant.Leeway)):
		return refuse(NotYetValid, "auth_time is in the future")
	}
	return nil
}

// requireText demands that a claim is one of the values.
func requireText(claim string, values []string) check {
	return func(payload object, _ time.Time) error {
		if text, ok := payload.string(claim); !ok || !slices.Contains(values, text) {
			return refuse(WrongAudience, "claim %s is not one of the configured values: %s", claim, strings.Join(values, ", "))
		}
		return nil
	}
}

// refuseText refuses one value of a claim.
func refuseText(claim, value string) check {
	return func(payload object, _ time.Time) error {
		if text, _ := payload.string(claim); text == value {
			return refuse(WrongUse, "claim %s is %s", claim, value)
		}
		return nil
	}
}

// refuseBound refuses a token that is bound to a key of its holder (RFC 7800). The
// relay would accept it from anyone.
func refuseBound(payload object, _ time.Time) error {
	if payload["cnf"] != nil {
		return refuse(ProofOfKeyOnly, "claim cnf binds the token to a key, which the relay does not check")
	}
	return nil
}

// refuseLogout refuses a logout token, which has the issuer, the audience and the
// subject of an ID token (OpenID Connect Back-Channel Logout 1.0, section 2.4).
func refuseLogout(payload object, _ time.Time) error {
	if payload["events"] != nil {
		return refuse(WrongUse, "claim events marks a logout token")
	}
	return nil
}
