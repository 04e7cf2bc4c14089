package login

import (
	"context"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"strings"
	"testing"
	"time"
)

const (
	issuer  = "https://login.example.com"
	keysURL = "https://login.example.com/keys"
)

// generic is the config of a provider without preset.
func generic() Config {
	return Config{
		Issuer: issuer, Audience: []string{"app"}, JWKS: keysURL,
		Algorithms: []string{"RS256", "ES256", "EdDSA"},
		Require:    []Condition{{"email_verified", []string{"true"}}},
	}
}

// The provider's keys of these tests.
func rs() signer     { return signer{"rsa", "RS256", rsaKey()} }
func es() signer     { return signer{"ec", "ES256", p256Key()} }
func ed() signer     { return signer{"ed", "EdDSA", edKey()} }
func weak() signer   { return signer{"weak", "RS256", weakRSA()} }
func p384() signer   { return signer{"p384", "ES384", p384Key()} }
func anyAlg() signer { return signer{"any", "", otherRSA()} }

func genericKeys() string {
	encryption := signer{"enc", "", otherRSA()}.jwk("use", `"enc"`)
	pss := signer{"pss", "PS256", rsaKey()}.jwk()
	encrypts := signer{"ops", "", p256Key()}.jwk("use", "", "key_ops", `["deriveBits"]`)
	oct := `{"kty":"oct","kid":"oct","k":"` + segment(strings.Repeat("k", 32)) + `"}`
	foreign := `{"kty":"EC","crv":"secp256k1","kid":"k1","x":"AA","y":"AA"}`
	offCurve := es().jwk("kid", `"off"`, "x", `"`+segment(strings.Repeat("\x01", 32))+`"`)
	leaked := es().jwk("kid", `"leaked"`, "d", `"`+segment(strings.Repeat("\x01", 32))+`"`)
	return jwks(leaked, rs().jwk(), es().jwk(), ed().jwk(), weak().jwk(), p384().jwk(), anyAlg().jwk("alg", ""),
		encryption, pss, encrypts, oct, foreign, offCurve)
}

// payload returns good claims, with changed members.
func payload(changes ...string) string {
	return edit(`{"iss":"https://login.example.com","aud":"app","sub":"alice","iat":1799999900,"exp":1800003600,"email_verified":true}`, changes...)
}

// publicPEM is the RSA key in a form that careless libraries take as an HMAC secret.
func publicPEM() []byte {
	der, err := x509.MarshalPKIXPublicKey(&rsaKey().PublicKey)
	if err != nil {
		panic(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

// refusals are tokens that must be refused, by what is wrong with them.
func refusals() map[string]struct {
	token  string
	reason Reason
	rule   string
} {
	type row = struct {
		token  string
		reason Reason
		rule   string
	}
	good := rs().token(rs().header(), payload())
	segments := strings.Split(good, ".")
	head := func(changes ...string) string { return rs().token(rs().header(changes...), payload()) }
	claims := func(changes ...string) string { return rs().token(rs().header(), payload(changes...)) }
	hs := signer{"rsa", "HS256", publicPEM()}
	der, _ := pem.Decode(publicPEM())
	embedded := signer{"mine", "ES256", lazyEC(elliptic.P256())()} // of the attacker

	return map[string]row{
		// the shape
		"nothing":                  {"", Malformed, "not three segments"},
		"two segments":             {segments[0] + "." + segments[1], Malformed, "not three segments"},
		"four segments":            {good + ".", Malformed, "not three segments"},
		"five segments, a JWE":     {good + ".a.b", Malformed, "not three segments"},
		"only dots":                {"..", Malformed, "segment 1 is empty"},
		"thousands of dots":        {strings.Repeat(".", 8000), Malformed, "not three segments"},
		"more than 8 KiB":          {claims("x", `"`+strings.Repeat("x", 8<<10)+`"`), Malformed, "longer than 8192 bytes"},
		"a detached payload":       {segments[0] + ".." + segments[2], Malformed, "segment 2 is empty"},
		"no signature":             {segments[0] + "." + segments[1] + ".", Malformed, "segment 3 is empty"},
		"padding":                  {segments[0] + "=." + segments[1] + "." + segments[2], Malformed, "segment 1 is not canonical"},
		"base64 of the other kind": {segments[0] + "." + segments[1] + "." + strings.NewReplacer("-", "+", "_", "/").Replace(segments[2]) + "+", Malformed, "segment 3 is not canonical"},
		"trailing bits":            {segments[0] + "." + segments[1] + "." + trailingBits(segments[2]), Malformed, "segment 3 is not canonical"},
		"a line break within":      {segments[0] + ".\n" + segments[1] + "." + segments[2], Malformed, "segment 2 is not canonical"},
		"a line break at its end":  {good + "\n", Malformed, "segment 3 is not canonical"},
		"a space before":           {" " + good, Malformed, "segment 1 is not canonical"},

		// the header
		"a header that is no JSON":      {rs().token(`{"alg":`, payload()), BadHeader, "not valid JSON"},
		"a header that is a list":       {rs().token(`["RS256"]`, payload()), BadHeader, "not a JSON object"},
		"a header with data after it":   {rs().token(rs().header()+"{}", payload()), BadHeader, "data after"},
		"a header with two algorithms":  {rs().token(`{"alg":"none","alg":"RS256","kid":"rsa"}`, payload()), BadHeader, "twice"},
		"two key ids, one escaped":      {rs().token(`{"alg":"RS256","kid":"rsa","\u006bid":"rsa"}`, payload()), BadHeader, "twice"},
		"no algorithm":                  {head("alg", ""), BadHeader, "alg is missing"},
		"an algorithm that is a number": {head("alg", "256"), BadHeader, "alg is missing or not a string"},
		"none":                          {head("alg", `"none"`), BadAlgorithm, "alg none is not accepted; must be one of RS256, ES256, EdDSA"},
		"none without signature":        {segment(`{"alg":"none"}`) + "." + segments[1] + ".", Malformed, "segment 3 is empty"},
		"None in other letters":         {head("alg", `"nOnE"`), BadAlgorithm, "alg (unknown) is not accepted"},
		"rs256 in small letters":        {head("alg", `"rs256"`), BadAlgorithm, "alg (unknown)"},
		"an algorithm that is a secret": {head("alg", `"sk-very-secret-key"`), BadAlgorithm, "alg (unknown)"},
		"HS256 with the PEM as secret":  {hs.token(hs.header(), payload()), BadAlgorithm, "alg HS256 is not accepted"},
		"HS256 with the DER as secret":  {signer{"rsa", "HS256", der.Bytes}.token(hs.header(), payload()), BadAlgorithm, "alg HS256"},
		"HS256 with the key set's oct":  {signer{"oct", "HS256", []byte(strings.Repeat("k", 32))}.token(`{"alg":"HS256","kid":"oct"}`, payload()), BadAlgorithm, "alg HS256"},
		"HS256 with an empty secret":    {signer{"rsa", "HS256", []byte{}}.token(hs.header(), payload()), BadAlgorithm, "alg HS256"},
		"HS512":                         {head("alg", `"HS512"`), BadAlgorithm, "alg HS512"},
		"an encrypting algorithm":       {head("alg", `"RSA-OAEP"`), BadAlgorithm, "alg (unknown)"},
		"an algorithm not configured":   {p384().token(p384().header(), payload()), BadAlgorithm, "alg ES384"},
		"PS256, not configured":         {head("alg", `"PS256"`), BadAlgorithm, "alg PS256"},
		"a typ of another token":        {head("typ", `"logout+jwt"`), BadType, "typ"},
		"the typ of a relay token":      {head("typ", `"relay+jwt"`), BadType, "typ"},
		"the typ of a DPoP proof":       {head("typ", `"dpop+jwt"`), BadType, "typ"},
		"a typ that is a list":          {head("typ", `["JWT"]`), BadType, "typ"},
		"an empty typ":                  {head("typ", `""`), BadType, "typ"},
		"jku":                           {head("jku", `"https://attacker.example/keys"`), NamesKey, "header jku"},
		"jku of the provider":           {head("jku", `"`+keysURL+`"`), NamesKey, "header jku"},
		"x5u":                           {head("x5u", `"https://attacker.example/chain.pem"`), NamesKey, "header x5u"},
		"x5c":                           {head("x5c", `["AA=="]`), NamesKey, "header x5c"},
		"an embedded jwk":               {embedded.token(embedded.header("jwk", embedded.jwk()), payload()), NamesKey, "header jwk"},
		"crit":                          {head("crit", `["exp"]`), BadHeader, "header crit"},
		"an empty crit":                 {head("crit", `[]`), BadHeader, "header crit"},
		"b64":                           {head("b64", "false", "crit", `["b64"]`), BadHeader, "header b64"},
		"b64 of true":                   {head("b64", "true"), BadHeader, "header b64"},
		"zip":                           {head("zip", `"DEF"`), BadHeader, "header zip"},
		"a nested token":                {head("cty", `"JWT"`), BadHeader, "header cty"},

		// the key
		"an unknown key id":              {head("kid", `"unknown"`), UnknownKey, "no key of the provider has the kid"},
		"a key id with a path":           {head("kid", `"../../../../dev/null"`), UnknownKey, "no key"},
		"a key id with a query":          {head("kid", `"rsa' OR '1'='1"`), UnknownKey, "no key"},
		"a key id that is a URL":         {head("kid", `"https://attacker.example/keys"`), UnknownKey, "no key"},
		"a key id in other letters":      {head("kid", `"RSA"`), UnknownKey, "no key"},
		"a key id that is a number":      {head("kid", "1"), BadHeader, "kid is not a string"},
		"a key id that is null":          {head("kid", "null"), BadHeader, "kid is not a string"},
		"a key id of 257 bytes":          {head("kid", `"`+strings.Repeat("k", 257)+`"`), BadHeader, "kid is not a string of at most 256"},
		"no key id, several keys":        {head("kid", ""), UnknownKey, "kid is missing or empty, and several"},
		"an empty key id, several keys":  {head("kid", `""`), UnknownKey, "kid is missing or empty, and several"},
		"the key of another algorithm":   {rs().token(es().header("alg", `"RS256"`), payload()), UnknownKey, "is not for RS256"},
		"ES256 by the key of EdDSA":      {es().token(ed().header("alg", `"ES256"`), payload()), UnknownKey, "is not for ES256"},
		"RS256 by a key for PS256":       {rs().token(rs().header("kid", `"pss"`), payload()), UnknownKey, "is not for RS256"},
		"EdDSA by an RSA key":            {ed().token(rs().header("alg", `"EdDSA"`), payload()), UnknownKey, "is not for EdDSA"},
		"ES256 by a key of P-384":        {p384().token(p384().header("alg", `"ES256"`), payload()), UnknownKey, "is not for ES256"},
		"an RSA key of 1024 bits":        {weak().token(weak().header(), payload()), UnknownKey, "no key"},
		"a key for encryption":           {anyAlg().token(rs().header("kid", `"enc"`), payload()), UnknownKey, "no key"},
		"a key for other operations":     {es().token(es().header("kid", `"ops"`), payload()), UnknownKey, "no key"},
		"a key off its curve":            {es().token(es().header("kid", `"off"`), payload()), UnknownKey, "no key"},
		"a key that was published":       {es().token(es().header("kid", `"leaked"`), payload()), UnknownKey, "no key"},
		"a key of an unsupported curve":  {es().token(es().header("kid", `"k1"`), payload()), UnknownKey, "no key"},
		"a symmetric key for ES256":      {es().token(es().header("kid", `"oct"`), payload()), UnknownKey, "no key"},
		"the wrong key":                  {anyAlg().token(rs().header(), payload()), BadSignature, "signature"},
		"a changed payload":              {segments[0] + "." + segment(payload("sub", `"bob"`)) + "." + segments[2], BadSignature, "signature"},
		"a changed header":               {segment(rs().header("typ", "")) + "." + segments[1] + "." + segments[2], BadSignature, "signature"},
		"a cut signature":                {segments[0] + "." + segments[1] + "." + segments[2][:300], BadSignature, "signature"},
		"an ECDSA signature of zeros":    {zeros(es().token(es().header(), payload()), 64), BadSignature, "signature"},
		"an ECDSA signature in DER":      {zeros(es().token(es().header(), payload()), 70), BadSignature, "signature"},
		"a signature of another payload": {swapSignature(good, claims("sub", `"bob"`)), BadSignature, "signature"},

		// claims before the signature
		"a payload that is no JSON":     {rs().token(rs().header(), `{"iss"`), BadClaims, "not valid JSON"},
		"a payload that is a list":      {rs().token(rs().header(), `[]`), BadClaims, "not a JSON object"},
		"a payload with data after it":  {rs().token(rs().header(), payload()+`{"sub":"bob"}`), BadClaims, "data after"},
		"duplicate claims":              {rs().token(rs().header(), payload()[:len(payload())-1]+`,"sub":"bob"}`), BadClaims, "twice"},
		"duplicate claims, one escaped": {rs().token(rs().header(), payload()[:len(payload())-1]+`,"\u0073ub":"bob"}`), BadClaims, "twice"},
		"duplicate claims within":       {claims("app_metadata", `{"plan":"free","plan":"pro"}`), BadClaims, "twice"},
		"claims that are not UTF-8":     {rs().token(rs().header(), payload("name", "\"\xff\"")), BadClaims, "not valid JSON"},
		"no issuer":                     {claims("iss", ""), BadClaims, "iss is missing"},
		"an issuer that is a list":      {claims("iss", `["`+issuer+`"]`), BadClaims, "iss is not a string"},
		"another issuer":                {claims("iss", `"https://attacker.example"`), WrongIssuer, "not the configured issuer, " + issuer},
		"the issuer with a slash":       {claims("iss", `"`+issuer+`/"`), WrongIssuer, "iss"},
		"the issuer in other letters":   {claims("iss", `"https://LOGIN.example.com"`), WrongIssuer, "iss"},
		"the issuer with more after it": {claims("iss", `"`+issuer+`.attacker.example"`), WrongIssuer, "iss"},

		// claims after the signature
		"no audience":                   {claims("aud", ""), WrongAudience, "aud is missing"},
		"another audience":              {claims("aud", `"other"`), WrongAudience, "none of the configured audiences: app"},
		"an audience in other letters":  {claims("aud", `"App"`), WrongAudience, "none of"},
		"an audience with more":         {claims("aud", `"app2"`), WrongAudience, "none of"},
		"other audiences":               {claims("aud", `["other","another"]`), WrongAudience, "none of"},
		"an empty list of audiences":    {claims("aud", `[]`), WrongAudience, "none of"},
		"an audience that is an object": {claims("aud", `{"app":true}`), BadClaims, "aud is neither"},
		"an audience within a list":     {claims("aud", `[["app"]]`), BadClaims, "aud is neither"},
		"the audience as azp":           {claims("aud", `"other"`, "azp", `"app"`), WrongAudience, "none of"},
		"expired":                       {claims("exp", "1799999999"), Expired, "expired at 2027-01-15T07:59:59Z"},
		"expired this second":           {claims("exp", "1800000000"), Expired, "expired at"},
		"no exp":                        {claims("exp", ""), BadClaims, "exp is missing"},
		"exp of zero":                   {claims("exp", "0"), BadClaims, "exp is missing or 0"},
		"exp as a string":               {claims("exp", `"1800003600"`), BadClaims, "exp is not a number"},
		"exp in milliseconds":           {claims("exp", "1800003600000"), BadClaims, "exp is not a number of seconds"},
		"exp beyond floats":             {claims("exp", "1e999"), BadClaims, "exp is not a number"},
		"negative exp":                  {claims("exp", "-1"), BadClaims, "exp is not a number"},
		"exp of null":                   {claims("exp", "null"), BadClaims, "exp is not a number"},
		"exp before iat":                {claims("exp", "1799999800"), BadClaims, "exp is not after iat"},
		"no iat":                        {claims("iat", ""), BadClaims, "iat is missing"},
		"from the future":               {claims("iat", "1800000061"), NotYetValid, "iat is in the future"},
		"not valid yet":                 {claims("nbf", "1800000061"), NotYetValid, "not valid before 2027-01-15T08:01:01Z"},
		"nbf as a boolean":              {claims("nbf", "true"), BadClaims, "nbf is not a number"},
		"bound to a key":                {claims("cnf", `{"jkt":"abc"}`), ProofOfKeyOnly, "cnf"},
		"a logout token":                {claims("events", `{"http://schemas.openid.net/event/backchannel-logout":{}}`), WrongUse, "events"},
		"no subject":                    {claims("sub", ""), BadSubject, "sub is missing"},
		"a subject that is an object":   {claims("sub", `{"id":"alice"}`), BadSubject, "sub is not a string"},
		"a subject that is a list":      {claims("sub", `["alice"]`), BadSubject, "sub is not a string"},
		"a subject that is a number":    {claims("sub", "17"), BadSubject, "sub is not a string"},
		"a subject that is null":        {claims("sub", "null"), BadSubject, "sub is not a string"},
		"an empty subject":              {claims("sub", `""`), BadSubject, "sub is empty"},
		"a subject of 256 bytes":        {claims("sub", `"`+strings.Repeat("a", 256)+`"`), BadSubject, "at most 255"},
		"a subject with a line break":   {claims("sub", `"a\nb"`), BadSubject, "printable"},
		"a subject with a direction":    {claims("sub", `"a\u202eb"`), BadSubject, "printable"},
		"a required claim of false":     {claims("email_verified", "false"), Unmet, "claim email_verified has none of the required values"},
		"no required claim":             {claims("email_verified", ""), Unmet, "email_verified"},
		"a required claim of null":      {claims("email_verified", "null"), Unmet, "email_verified"},
		"a required claim in an object": {claims("email_verified", `{"true":true}`), Unmet, "email_verified"},
	}
}

// trailingBits sets a bit of the last character that encodes nothing.
func trailingBits(s string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := strings.IndexByte(alphabet, s[len(s)-1])
	return s[:len(s)-1] + string(alphabet[last|1])
}

// zeros replaces the signature of a token by n zeros.
func zeros(token string, n int) string {
	return token[:strings.LastIndexByte(token, '.')+1] + base64.RawURLEncoding.EncodeToString(make([]byte, n))
}

func swapSignature(token, other string) string {
	return token[:strings.LastIndexByte(token, '.')] + other[strings.LastIndexByte(other, '.'):]
}

func TestVerify_Refuses(t *testing.T) {
	v := started(t, generic(), newSite(map[string]string{keysURL: genericKeys()}))
	if _, err := v.Verify(t.Context(), rs().token(rs().header(), payload()), now); err != nil {
		t.Fatalf("the token that all others are made from is refused: %v", err)
	}
	for name, tt := range refusals() {
		t.Run(name, func(t *testing.T) {
			claims, err := v.Verify(t.Context(), tt.token, now)
			wantRefusal(t, err, tt.reason, tt.rule, tt.token)
			if claims != (Claims{}) {
				t.Errorf("claims are %+v, want none", claims)
			}
		})
	}
}

func TestVerify_Accepts(t *testing.T) {
	cfg := generic()
	cfg.Algorithms = []string{"RS256", "ES256", "EdDSA", "ES384", "PS256", "RS384"}
	v := started(t, cfg, newSite(map[string]string{keysURL: genericKeys()}))
	ps, rs384 := signer{"any", "PS256", otherRSA()}, signer{"any", "RS384", otherRSA()}
	for name, token := range map[string]string{
		"RS256":                   rs().token(rs().header(), payload()),
		"ES256":                   es().token(es().header(), payload()),
		"EdDSA":                   ed().token(ed().header(), payload()),
		"ES384":                   p384().token(p384().header(), payload()),
		"PS256":                   ps.token(ps.header(), payload()),
		"RS384":                   rs384.token(rs384.header(), payload()),
		"no key id, one key fits": es().token(es().header("kid", ""), payload()),
		"no typ":                  rs().token(rs().header("typ", ""), payload()),
		"typ in small letters":    rs().token(rs().header("typ", `"jwt"`), payload()),
		"an access token":         rs().token(rs().header("typ", `"at+jwt"`), payload()),
		"an access token in full": rs().token(rs().header("typ", `"application/at+jwt"`), payload()),
		"other header parameters": rs().token(rs().header("x5t", `"abc"`, "cat", `"cl_B7d4PD111AAA"`), payload()),
		"spaces in the JSON":      rs().token(" "+rs().header()+"\n", "\t"+payload()+" "),
		"several audiences":       rs().token(rs().header(), payload("aud", `["other","app"]`)),
		"a clock that is ahead":   rs().token(rs().header(), payload("iat", "1800000060", "nbf", "1800000060")),
		"a fraction of a second":  rs().token(rs().header(), payload("exp", "1800003600.5", "iat", "1799999900.25")),
		"the last second":         rs().token(rs().header(), payload("exp", "1800000001")),
		"a claim as a string":     rs().token(rs().header(), payload("email_verified", `"true"`)),
	} {
		t.Run(name, func(t *testing.T) {
			claims, err := v.Verify(t.Context(), token, now)
			if err != nil || claims.Issuer != issuer || claims.Subject != "alice" || claims.Rule != -1 {
				t.Errorf("claims are %+v, %v; want those of alice", claims, err)
			}
			if !shaped(v, token) {
				t.Error("Shaped is false, want true")
			}
		})
	}
}

func TestVerify_ReturnsTimes(t *testing.T) {
	v := started(t, generic(), newSite(map[string]string{keysURL: genericKeys()}))
	claims, err := v.Verify(t.Context(), es().token(es().header(), payload("nbf", "1799999950")), now)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := [3]int64{claims.IssuedAt.Unix(), claims.NotBefore.Unix(), claims.Expires.Unix()}, [3]int64{1799999900, 1799999950, 1800003600}; got != want {
		t.Errorf("times are %d, want %d", got, want)
	}
	wantRefusal(t, claims.ValidAt(claims.Expires), Expired, "expired at 2027-01-15T09:00:00Z", "")
	if err := claims.ValidAt(claims.Expires.Add(-time.Second)); err != nil {
		t.Errorf("the second before its end: %v, want no error", err)
	}
}

// An unknown issuer must not cause a request, whatever its key id is.
func TestVerify_AsksNobodyForOtherIssuers(t *testing.T) {
	site := newSite(map[string]string{keysURL: genericKeys()})
	v := started(t, generic(), site)
	token := rs().token(rs().header("kid", `"new"`), payload("iss", `"https://attacker.example"`))
	_, err := v.Verify(context.Background(), token, now)
	wantRefusal(t, err, WrongIssuer, "iss", token)
	if got := site.count(keysURL); got != 1 {
		t.Errorf("the keys were fetched %d times, want 1", got)
	}
}

func TestShaped(t *testing.T) {
	v, err := New(generic())
	if err != nil {
		t.Fatal(err)
	}
	good := rs().token(rs().header(), payload())
	for name, tt := range map[string]struct {
		value string
		want  bool
	}{
		"a token":                     {good, true},
		"expired":                     {rs().token(rs().header(), payload("exp", "1")), true},
		"alg none":                    {rs().token(rs().header("alg", `"none"`), payload()), true},
		"duplicate claims":            {rs().token(rs().header(), `{"sub":"a","sub":"b","iss":"`+issuer+`"}`), true},
		"another issuer":              {rs().token(rs().header(), payload("iss", `"https://other.example"`)), false},
		"an issuer that is no string": {rs().token(rs().header(), payload("iss", `{"iss":"`+issuer+`"}`)), false},
		"an issuer within":            {rs().token(rs().header(), `{"a":{"iss":"`+issuer+`"}}`), false},
		"no algorithm":                {rs().token(`{}`, payload()), false},
		"a relay token":               {"eyJhbGciOiJFQ0RILUVTIn0..AAAA.AAAA.AAAA", false},
		"a real key":                  {"sk-proj-abc.def.ghi", false},
		"too long":                    {good + strings.Repeat("A", 8<<10), false},
		"nothing":                     {"", false},
		"dots":                        {"..", false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := shaped(v, tt.value); got != tt.want {
				t.Errorf("Shaped is %t, want %t", got, tt.want)
			}
		})
	}
}

func TestVerify_PicksRules(t *testing.T) {
	cfg := generic()
	cfg.Require = nil
	cfg.SubjectClaim = "user.id"
	cfg.When = []Condition{
		{"app_metadata.plan", []string{"pro", "team"}},
		{"https://example.com/roles", []string{"admin"}},
		{"level", []string{"2"}},
		{"scope", []string{"chat"}},
		{"a.b.c", []string{"deep"}},
		{"beta", []string{"true"}},
	}
	v := started(t, cfg, newSite(map[string]string{keysURL: genericKeys()}))
	for name, tt := range map[string]struct {
		claims []string
		want   int
	}{
		"no claim":                      {nil, -1},
		"a nested claim":                {[]string{"app_metadata", `{"plan":"team"}`}, 0},
		"another value":                 {[]string{"app_metadata", `{"plan":"free"}`}, -1},
		"a value in other letters":      {[]string{"app_metadata", `{"plan":"Pro"}`}, -1},
		"a longer value":                {[]string{"app_metadata", `{"plan":"pro max"}`}, -1},
		"a claim of a dotted name":      {[]string{"app_metadata.plan", `"pro"`}, 0},
		"the dotted name goes first":    {[]string{"app_metadata.plan", `"free"`, "app_metadata", `{"plan":"pro"}`}, -1},
		"a claim named by a URL":        {[]string{"https://example.com/roles", `["user","admin"]`}, 1},
		"a list without the value":      {[]string{"https://example.com/roles", `["user"]`}, -1},
		"a list within a list":          {[]string{"https://example.com/roles", `[["admin"]]`}, -1},
		"a number":                      {[]string{"level", "2"}, 2},
		"a number as a string":          {[]string{"level", `"2"`}, 2},
		"another number":                {[]string{"level", "20"}, -1},
		"a word of a scope":             {[]string{"scope", `"openid chat email"`}, 3},
		"a part of a word":              {[]string{"scope", `"openid chatty"`}, -1},
		"words elsewhere":               {[]string{"level", `"1 2"`}, -1},
		"three levels":                  {[]string{"a", `{"b":{"c":"deep"}}`}, 4},
		"dots in the name of an object": {[]string{"a.b", `{"c":"deep"}`}, 4},
		"a dead end and another way":    {[]string{"a.b", `{"x":1}`, "a", `{"b":{"c":"deep"}}`}, 4},
		"a string where objects are":    {[]string{"a", `"b"`}, -1},
		"a boolean":                     {[]string{"beta", "true"}, 5},
		"null":                          {[]string{"beta", "null"}, -1},
		"the first rule wins":           {[]string{"beta", "true", "level", "2"}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			token := es().token(es().header(), payload(append([]string{"user", `{"id":"u-1"}`}, tt.claims...)...))
			claims, err := v.Verify(t.Context(), token, now)
			if err != nil || claims.Rule != tt.want || claims.Subject != "u-1" {
				t.Errorf("rule %d of subject %q, error %v; want rule %d of u-1", claims.Rule, claims.Subject, err, tt.want)
			}
		})
	}
}

func TestVerify_DemandsAuthorizedParty(t *testing.T) {
	cfg := generic()
	cfg.AuthorizedParty = []string{"https://app.example.com"}
	v := started(t, cfg, newSite(map[string]string{keysURL: genericKeys()}))
	if _, err := v.Verify(t.Context(), es().token(es().header(), payload("azp", `"https://app.example.com"`)), now); err != nil {
		t.Errorf("the configured azp is refused: %v", err)
	}
	for name, azp := range map[string]string{"another": `"https://evil.example"`, "none": "", "a list": `["https://app.example.com"]`} {
		t.Run(name, func(t *testing.T) {
			token := es().token(es().header(), payload("azp", azp))
			_, err := v.Verify(t.Context(), token, now)
			wantRefusal(t, err, WrongAudience, "claim azp", token)
		})
	}
}

func TestVerify_AcceptsHS256OnlyByItsSecret(t *testing.T) {
	cfg := generic()
	cfg.Secret = strings.Repeat("s", 32)
	v := started(t, cfg, newSite(map[string]string{keysURL: jwks()}))
	own, guess := signer{"k", "HS256", []byte(cfg.Secret)}, signer{"k", "HS256", publicPEM()}
	if claims, err := v.Verify(t.Context(), own.token(own.header(), payload()), now); err != nil || claims.Subject != "alice" {
		t.Errorf("subject %q, error %v; want alice", claims.Subject, err)
	}
	token := guess.token(guess.header(), payload())
	_, err := v.Verify(t.Context(), token, now)
	wantRefusal(t, err, BadSignature, "signature", token)
	token = rs().token(rs().header(), payload())
	_, err = v.Verify(t.Context(), token, now)
	wantRefusal(t, err, UnknownKey, "no key", token)
}

func TestRefusal_TellsOnlyHoldersWhatIsWrong(t *testing.T) {
	for reason, want := range map[Reason]string{
		Malformed: "invalid_token", BadAlgorithm: "invalid_token", UnknownKey: "invalid_token", BadSignature: "invalid_token",
		WrongIssuer: "invalid_token", WrongAudience: "invalid_token", BadSubject: "invalid_token",
		Expired: "token_expired", NotYetValid: "token_not_yet_valid", Unmet: "issuer_not_permitted",
	} {
		if got := refuse(reason, "x").Denial(); string(got.Reason) != want || got.Rule != "login: x" {
			t.Errorf("the denial of %s is %s: %s, want %s: login: x", reason, got.Reason, got.Rule, want)
		}
	}
}

// A config must survive a round trip through JSON, as Caddy keeps it.
func TestConfig_IsJSON(t *testing.T) {
	cfg := Config{
		Preset: "firebase", Args: []string{"p"}, Audience: []string{"a"}, AuthorizedParty: []string{"z"}, JWKS: "https://x.example", Algorithms: []string{"RS256"},
		Secret: "{env.S}", SubjectClaim: "sub", Require: []Condition{{"a", []string{"b"}}}, When: []Condition{{"c", []string{"d"}}},
	}
	got := string(must(json.Marshal(cfg)))
	want := `{"preset":"firebase","args":["p"],"audience":["a"],"authorized_party":["z"],"jwks":"https://x.example","algorithms":["RS256"],` +
		`"secret":"{env.S}","subject":"sub","require":[{"claim":"a","values":["b"]}],"when":[{"claim":"c","values":["d"]}]}`
	if got != want {
		t.Errorf("JSON is\n%s, want\n%s", got, want)
	}
}

// A rule keeps its id when others come and go, and loses it with its demand.
func TestRuleID(t *testing.T) {
	verifier := func(when ...Condition) *Verifier {
		cfg := generic()
		cfg.When = when
		return must(New(cfg))
	}
	pro, team := Condition{"plan", []string{"pro"}}, Condition{"plan", []string{"team", "pro"}}
	before, after := verifier(pro, team), verifier(Condition{"level", []string{"2"}}, team)
	for rule, want := range map[int]int{-1: -1, 1: 1} {
		if got, ok := after.RuleOf(before.RuleID(rule)); !ok || got != want {
			t.Errorf("rule %d is now rule %d (%t), want %d", rule, got, ok, want)
		}
	}
	for _, id := range []string{before.RuleID(0), "", "x"} {
		if got, ok := after.RuleOf(id); ok {
			t.Errorf("%q is rule %d, want none", id, got)
		}
	}
}
