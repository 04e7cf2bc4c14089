package grant

import (
	"cmp"
	"encoding/json"
	"errors"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"
)

const keyID = "kid-of-the-relay"

var issued = time.Unix(1_800_000_000, 0)

// claims returns valid claims, changed by edits of the form member → JSON; an
// empty JSON removes the member.
func claims(edits ...string) string {
	members := []string{
		`"iss":"backend"`, `"sub":"user-1"`, `"aud":"` + keyID + `"`, `"jti":"t1"`,
		`"iat":1800000000`, `"exp":1800003600`, `"provider":"demo"`,
	}
	for i := 0; i < len(edits); i += 2 {
		name := `"` + edits[i] + `":`
		found := false
		for j, m := range members {
			if strings.HasPrefix(m, name) {
				members[j], found = name+edits[i+1], true
				if edits[i+1] == "" {
					members = append(members[:j], members[j+1:]...)
				}
				break
			}
		}
		if !found {
			members = append(members, name+edits[i+1])
		}
	}
	return "{" + strings.Join(members, ",") + "}"
}

func TestParseClaims(t *testing.T) {
	for name, tc := range map[string]struct {
		claims string
		rule   string // of the denial; empty: accepted
	}{
		"typical":                       {claims: claims()},
		"with limits and paths":         {claims: claims("limits", `{"calls":3}`, "allow", `{"paths":["/v1/x"]}`)},
		"aud as an array of one":        {claims: claims("aud", `["`+keyID+`"]`)},
		"times with a fraction":         {claims: claims("iat", "1800000000.7", "exp", "1.8000036e9")},
		"empty limits":                  {claims: claims("limits", `{}`)},
		"no subject":                    {claims: claims("sub", "")},
		"escaped name":                  {claims: strings.Replace(claims(), `"iss"`, `"\u0069ss"`, 1)},
		"not an object":                 {`[]`, "not a JSON object"},
		"empty":                         {``, "not a JSON object"},
		"cut short":                     {claims()[:40], "do not parse"},
		"trailing object":               {claims() + `{}`, "data after"},
		"trailing garbage":              {claims() + `x`, "data after"},
		"byte order mark":               {"\ufeff" + claims(), "not a JSON object"},
		"invalid UTF-8":                 {claims("sub", "\"\xff\""), "UTF-8"},
		"unknown claim":                 {claims("admin", "true"), "unknown claim admin"},
		"unknown limit":                 {claims("limits", `{"call":3}`), "unknown claim limits.call"},
		"wrongly cased claim":           {claims("Limits", `{"calls":3}`), "unknown claim Limits"},
		"wrongly cased limit":           {claims("limits", `{"Calls":3}`), "unknown claim limits.Calls"},
		"dotted name at the top":        {claims("limits.calls", "3"), "unknown claim limits.calls"},
		"unprintable unknown claim":     {claims(`\n`, "3"), "unknown claim (unprintable)"},
		"duplicate claim":               {claims()[:len(claims())-1] + `,"provider":"demo"}`, "provider appears twice"},
		"duplicate by escape":           {claims()[:len(claims())-1] + `,"\u0070rovider":"demo"}`, "provider appears twice"},
		"duplicate limit":               {claims("limits", `{"calls":3,"calls":4}`), "limits.calls appears twice"},
		"null limit":                    {claims("limits", `{"calls":null}`), "limits.calls is null"},
		"null limits":                   {claims("limits", `null`), "limits is null"},
		"null in a list":                {claims("allow", `{"paths":[null]}`), "allow.paths holds null"},
		"object in a list":              {claims("allow", `{"paths":[{"a":1}]}`), "claim allow.paths holds an object; write a list of strings"},
		"object for a string":           {claims("sub", `{"a":1}`), "claim sub is an object; write a string"},
		"string for limits":             {claims("limits", `"3"`), "claim limits is a string; write an object"},
		"fractional calls":              {claims("limits", `{"calls":2.5}`), "claim limits.calls has a fraction or an exponent; write a whole number"},
		"zero calls":                    {claims("limits", `{"calls":0}`), "limits.calls must be"},
		"negative calls":                {claims("limits", `{"calls":-1}`), "limits.calls must be"},
		"calls beyond exact integers":   {claims("limits", `{"calls":9007199254740992}`), "limits.calls must be"},
		"calls beyond int64":            {claims("limits", `{"calls":1e30}`), "claim limits.calls must be from 1 to"},
		"all limits":                    {claims: claims("limits", `{"calls":3,"rpm":1,"concurrency":1,"tokens":5,"usd":"1.50"}`)},
		"duplicate in a nested object":  {claims("allow", `{"models":["a"],"models":["b"]}`), "claim allow.models appears twice"},
		"duplicate unknown claim":       {claims("a b", "1", `a\u0020b`, "2"), "claim (unprintable) appears twice"},
		"zero tokens":                   {claims("limits", `{"tokens":0}`), "limits.tokens must be from 1 to 9007199254740991"},
		"negative tokens":               {claims("limits", `{"tokens":-1}`), "limits.tokens must be from 1"},
		"tokens as a string":            {claims("limits", `{"tokens":"3"}`), "claim limits.tokens is a string; write a whole number"},
		"fractional tokens":             {claims("limits", `{"tokens":2.5}`), "claim limits.tokens has a fraction"},
		"tokens beyond exact integers":  {claims("limits", `{"tokens":9007199254740992}`), "limits.tokens must be from 1"},
		"null tokens":                   {claims("limits", `{"tokens":null}`), "claim limits.tokens is null"},
		"duplicate tokens":              {claims("limits", `{"tokens":3,"tokens":4}`), "claim limits.tokens appears twice"},
		"wrongly cased tokens":          {claims("limits", `{"Tokens":3}`), "unknown claim limits.Tokens"},
		"least usd":                     {claims: claims("limits", `{"usd":"0.000000001"}`)},
		"most usd":                      {claims: claims("limits", `{"usd":"1000000"}`)},
		"more usd than that":            {claims("limits", `{"usd":"1000000.000000001"}`), "limits.usd must be from 0.000000001 to 1000000.00"},
		"more usd than int64":           {claims("limits", `{"usd":"99999999999999999999"}`), "claim limits.usd is not a positive decimal number"},
		"usd as a number":               {claims("limits", `{"usd":1.5}`), `claim limits.usd is a number; write US dollars as a string, such as "1.50"`},
		"usd as a whole number":         {claims("limits", `{"usd":1}`), `claim limits.usd is a number; write US dollars as a string`},
		"zero usd":                      {claims("limits", `{"usd":"0.00"}`), "limits.usd must be from 0.000000001"},
		"negative usd":                  {claims("limits", `{"usd":"-1"}`), "claim limits.usd is not a positive decimal number"},
		"usd with a plus":               {claims("limits", `{"usd":"+1"}`), "claim limits.usd is not"},
		"usd with ten decimals":         {claims("limits", `{"usd":"0.0000000001"}`), "claim limits.usd is not a positive decimal number of at most 9 decimals"},
		"usd with an exponent":          {claims("limits", `{"usd":"1e3"}`), "claim limits.usd is not"},
		"usd with a sign":               {claims("limits", `{"usd":"$1"}`), "claim limits.usd is not"},
		"usd with a comma":              {claims("limits", `{"usd":"1,50"}`), "claim limits.usd is not"},
		"usd with a line break":         {claims("limits", `{"usd":"1\n"}`), "claim limits.usd is not"},
		"usd without whole dollars":     {claims("limits", `{"usd":".5"}`), "claim limits.usd is not"},
		"usd without decimals":          {claims("limits", `{"usd":"1."}`), "claim limits.usd is not"},
		"usd with a leading zero":       {claims("limits", `{"usd":"01"}`), "claim limits.usd is not"},
		"an empty usd":                  {claims("limits", `{"usd":""}`), "claim limits.usd is not"},
		"null usd":                      {claims("limits", `{"usd":null}`), "claim limits.usd is null"},
		"usd as a list":                 {claims("limits", `{"usd":["1"]}`), "claim limits.usd is a list"},
		"duplicate usd":                 {claims("limits", `{"usd":"1","usd":"2"}`), "claim limits.usd appears twice"},
		"wrongly cased usd":             {claims("limits", `{"USD":"1"}`), "unknown claim limits.USD"},
		"zero rpm":                      {claims("limits", `{"rpm":0}`), "limits.rpm must be"},
		"too much rpm":                  {claims("limits", `{"rpm":1000001}`), "limits.rpm must be"},
		"fractional rpm":                {claims("limits", `{"rpm":0.5}`), "claim limits.rpm has a fraction"},
		"negative concurrency":          {claims("limits", `{"concurrency":-1}`), "limits.concurrency must be"},
		"all lists":                     {claims: claims("allow", `{"models":["a","b*"],"methods":["POST"],"ips":["2001:db8::/32","192.0.2.1"],"origins":["https://a.example","app://x"]}`)},
		"no models":                     {claims("allow", `{"models":[]}`), "allow.models is empty"},
		"an empty model":                {claims("allow", `{"models":[""]}`), "allow.models: \"\" is neither"},
		"a star within a model":         {claims("allow", `{"models":["a*b"]}`), "allow.models: \"a*b\" is neither"},
		"two stars":                     {claims("allow", `{"models":["a**"]}`), "allow.models"},
		"a model that does not print":   {claims("allow", `{"models":["a\u0007"]}`), "allow.models"},
		"every model":                   {claims: claims("allow", `{"models":["*"]}`)},
		"no methods":                    {claims("allow", `{"methods":[]}`), "allow.methods is empty"},
		"a method in small letters":     {claims("allow", `{"methods":["post"]}`), "allow.methods: \"post\" is not"},
		"no ips":                        {claims("allow", `{"ips":[]}`), "allow.ips is empty"},
		"a host name as ip":             {claims("allow", `{"ips":["localhost"]}`), "allow.ips: \"localhost\" is neither"},
		"a prefix with host bits":       {claims("allow", `{"ips":["192.0.2.1/24"]}`), "allow.ips"},
		"IPv4 within IPv6":              {claims("allow", `{"ips":["::ffff:192.0.2.1"]}`), "allow.ips"},
		"an address with a zone":        {claims("allow", `{"ips":["fe80::1%eth0"]}`), "allow.ips"},
		"no origins":                    {claims("allow", `{"origins":[]}`), "allow.origins is empty"},
		"an origin with a path":         {claims("allow", `{"origins":["https://a.example/"]}`), "allow.origins"},
		"an origin with capitals":       {claims("allow", `{"origins":["https://A.example"]}`), "allow.origins"},
		"an origin without scheme":      {claims("allow", `{"origins":["a.example"]}`), "allow.origins"},
		"an origin with usual port":     {claims("allow", `{"origins":["https://a.example:443"]}`), "allow.origins"},
		"every origin":                  {claims("allow", `{"origins":["*"]}`), "allow.origins"},
		"set":                           {claims: claims("set", `{"model":"a"}`)},
		"set nothing":                   {claims("set", `{}`), "set.model must be"},
		"set a pattern":                 {claims("set", `{"model":"a*"}`), "set.model must be"},
		"set something else":            {claims("set", `{"temperature":1}`), "unknown claim set.temperature"},
		"cnf, reserved":                 {claims("cnf", `{}`), "cnf is not supported"},
		"no iss":                        {claims("iss", ""), "iss is missing or empty"},
		"iss with a slash":              {claims("iss", `"a/b"`), "iss must match"},
		"no jti":                        {claims("jti", ""), "jti is missing or empty"},
		"jti too long":                  {claims("jti", `"`+strings.Repeat("a", 65)+`"`), "jti must match"},
		"sub with a line break":         {claims("sub", `"a\nb"`), "sub must be printable"},
		"sub too long":                  {claims("sub", `"`+strings.Repeat("a", 256)+`"`), "sub must be printable"},
		"no aud":                        {claims("aud", ""), "aud is missing"},
		"two audiences":                 {claims("aud", `["a","`+keyID+`"]`), "claim aud names 2 audiences; write the id of one relay key"},
		"no iat":                        {claims("iat", ""), "iat is missing"},
		"no exp":                        {claims("exp", ""), "exp is missing"},
		"exp as a string":               {claims("exp", `"1800003600"`), "claim exp is a string; write a number, seconds since 1970"},
		"exp before iat":                {claims("exp", "1799999999"), "exp is not after iat"},
		"exp beyond the year 9999":      {claims("exp", "1e30"), "claim exp is beyond the year 9999"},
		"exp in milliseconds":           {claims("exp", "1800003600000"), "claim exp is in milliseconds; write seconds since 1970"},
		"iat in microseconds":           {claims("iat", "1800000000000000"), "claim iat is in microseconds; write seconds"},
		"nbf in nanoseconds":            {claims("nbf", "1.8e18"), "claim nbf is in nanoseconds; write seconds"},
		"exp as a date":                 {claims("exp", `"2027-01-15T09:00:00Z"`), "claim exp is a string; write a number"},
		"exp as a lifespan":             {claims("exp", "3600"), "exp is not after iat: it seems to be a lifespan"},
		"exp of zero":                   {claims("exp", "0"), "exp is missing or 0"},
		"exp as a boolean":              {claims("exp", "true"), "claim exp is a boolean; write a number"},
		"exp in a list":                 {claims("exp", "[1800003600]"), "claim exp is a list; write a number"},
		"negative nbf":                  {claims("nbf", "-1"), "claim nbf is negative; write a number"},
		"nbf of null":                   {claims("nbf", "null"), "claim nbf is null; leave it out, or write a number"},
		"iat beyond floats":             {claims("iat", "1e999"), "claim iat is beyond the year 9999"},
		"no audience":                   {claims("aud", "[]"), "claim aud names 0 audiences"},
		"aud of a number":               {claims("aud", "1"), "claim aud is a number; write the id of one relay key as a string"},
		"aud of a list of numbers":      {claims("aud", "[1]"), "claim aud holds a number"},
		"an empty aud":                  {claims("aud", `""`), "aud is missing or empty"},
		"iss as a number":               {claims("iss", "1"), "claim iss is a number; write a string"},
		"an empty iss":                  {claims("iss", `""`), "iss is missing or empty"},
		"jti as a number":               {claims("jti", "17"), "claim jti is a number; write a string"},
		"an empty jti":                  {claims("jti", `""`), "jti is missing or empty"},
		"sub as a number":               {claims("sub", "17"), "claim sub is a number; write a string"},
		"provider as a list":            {claims("provider", `["demo"]`), "claim provider is a list; write a string"},
		"an empty provider":             {claims("provider", `""`), "provider is missing or empty"},
		"api_key with its scheme":       {claims("api_key", `"Bearer sk-1"`), "api_key is not one word of printable ASCII; write the key alone"},
		"api_key as an object":          {claims("api_key", `{}`), "claim api_key is an object; write a string"},
		"limits as a number":            {claims("limits", "3"), "claim limits is a number; write an object"},
		"limits as a list":              {claims("limits", "[]"), "claim limits is a list; write an object"},
		"calls as a string":             {claims("limits", `{"calls":"3"}`), "claim limits.calls is a string; write a whole number"},
		"calls with an exponent":        {claims("limits", `{"calls":1e3}`), "claim limits.calls has a fraction or an exponent"},
		"allow as a list":               {claims("allow", `["/v1/x"]`), "claim allow is a list; write an object"},
		"models as a string":            {claims("allow", `{"models":"a"}`), "claim allow.models is a string; write a list of strings, also for one"},
		"models of numbers":             {claims("allow", `{"models":["a",4]}`), "claim allow.models holds a number; write a list of strings"},
		"paths within a list":           {claims("allow", `{"paths":[["/v1/x"]]}`), "claim allow.paths holds a list"},
		"set as a string":               {claims("set", `"a"`), "claim set is a string; write an object"},
		"set.model as a list":           {claims("set", `{"model":["a"]}`), "claim set.model is a list; write a string"},
		"a path of the former notation": {claims("allow", `{"paths":["/v1/**"]}`), "write /v1/* instead of /v1/**"},
		"no provider":                   {claims("provider", ""), "provider is missing"},
		"api_key with a line break":     {claims("api_key", `"sk-a\nb"`), "api_key is not"},
		"no paths":                      {claims("allow", `{"paths":[]}`), "allow.paths is empty"},
		"a path without leading slash":  {claims("allow", `{"paths":["v1"]}`), "allow.paths"},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := ParseClaims([]byte(tc.claims))
			checkDenial(t, err, Invalid, tc.rule)
			if err == nil && (c.Issuer != "backend" || c.ExpiresAt != 1_800_003_600 || c.Audience != keyID) {
				t.Errorf("parsed as %+v", c)
			}
		})
	}
}

func checkDenial(t *testing.T, err error, reason Reason, rule string) {
	t.Helper()
	var d *Denial
	switch {
	case rule == "" && err != nil:
		t.Errorf("denied: %v", err)
	case rule != "" && !errors.As(err, &d):
		t.Errorf("not denied but %v, want %q", err, rule)
	case rule != "" && (d.Reason != reason || !strings.Contains(d.Rule, rule)):
		t.Errorf("denied with %v, want %s: …%s…", err, reason, rule)
	}
}

func TestCompile(t *testing.T) {
	routes := mustRoutes(t, "POST /v1/x")
	issuer := Issuer{Name: "backend", Providers: []string{"demo"}, MaxTTL: time.Hour}
	ceiling := func(i *Issuer) {
		ten, twenty, two := int64(10), int64(20), int64(2)
		i.Limits = Limits{Calls: &ten, RPM: &twenty, Concurrency: &two}
		i.Allow = Allow{Models: []string{"a*"}}
	}
	for name, tc := range map[string]struct {
		claims string
		issuer func(*Issuer)
		routes *Routes
		reason Reason
		rule   string
	}{
		"within the grant":         {claims: claims(), routes: routes},
		"another audience":         {claims("aud", `"other"`), nil, routes, Invalid, "aud is not"},
		"iss is not the signer":    {claims("iss", `"other"`), nil, routes, Invalid, "iss is not"},
		"lifetime over the max":    {claims("exp", "1800003601"), nil, routes, BeyondGrant, "lifetime"},
		"lifetime that overflows":  {claims("iat", "1", "exp", "253402300799"), nil, routes, BeyondGrant, "lifetime"},
		"provider not granted":     {claims("provider", `"other"`), nil, routes, NoProvider, "may not grant"},
		"no providers granted":     {claims(), func(i *Issuer) { i.Providers = nil }, routes, NoProvider, "may not grant"},
		"provider not configured":  {claims(), nil, nil, NoProvider, "there is no provider"},
		"carried key not granted":  {claims("api_key", `"sk-1"`), nil, routes, BeyondGrant, "key of its own"},
		"carried key that may be":  {claims: claims("api_key", `"sk-1"`), issuer: func(i *Issuer) { i.CarriedKeys = true }, routes: routes},
		"narrowed to other paths":  {claims: claims("allow", `{"paths":["/v2/*"]}`), routes: routes},
		"empty key is not carried": {claims: claims("api_key", `""`), routes: routes},
		"calls over the ceiling":   {claims("limits", `{"calls":11}`), ceiling, routes, BeyondGrant, "limits.calls is more than 10"},
		"rpm over the ceiling":     {claims("limits", `{"rpm":21}`), ceiling, routes, BeyondGrant, "limits.rpm is more than 20"},
		"concurrency over it":      {claims("limits", `{"concurrency":3}`), ceiling, routes, BeyondGrant, "limits.concurrency is more than 2"},
		"limits at the ceiling":    {claims: claims("limits", `{"calls":10,"rpm":20,"concurrency":2}`), issuer: ceiling, routes: routes},
		"no limits of its own":     {claims: claims(), issuer: ceiling, routes: routes},
		"set within models":        {claims: claims("allow", `{"models":["a*"]}`, "set", `{"model":"ab"}`), routes: routes},
		"set beyond models":        {claims("allow", `{"models":["a*"]}`, "set", `{"model":"b"}`), nil, routes, NoModel, "the token does not allow the model"},
		"set beyond the ceiling":   {claims("set", `{"model":"b"}`), ceiling, routes, NoModel, "issuer backend does not allow the model"},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := ParseClaims([]byte(tc.claims))
			if err != nil {
				t.Fatal(err)
			}
			i := issuer
			if tc.issuer != nil {
				tc.issuer(&i)
			}
			_, err = Compile(c, i, keyID, tc.routes)
			checkDenial(t, err, tc.reason, tc.rule)
		})
	}
}

func TestPermit(t *testing.T) {
	request := Request{Now: issued, Method: "POST", Path: "/v1/x"}
	at := func(d time.Duration) Request { r := request; r.Now = issued.Add(d); return r }
	for name, tc := range map[string]struct {
		claims  string
		request Request
		reason  Reason
		rule    string
	}{
		"in time and on its path":     {claims: claims(), request: request},
		"last second":                 {claims: claims(), request: at(time.Hour - time.Nanosecond)},
		"at exp, without leeway":      {claims(), at(time.Hour), Expired, "expired at 2027-01-15T09:00:00Z"},
		"60 s ahead of the relay":     {claims: claims(), request: at(-Leeway)},
		"61 s ahead of the relay":     {claims(), at(-Leeway - time.Second), NotYetValid, "iat is in the future"},
		"nbf within leeway":           {claims: claims("nbf", "1800000060"), request: request},
		"nbf beyond leeway":           {claims("nbf", "1800000061"), request, NotYetValid, "not valid before"},
		"path names its provider":     {claims: claims(), request: Request{Now: issued, Method: "POST", Path: "/v1/x", Provider: "demo"}},
		"path names another provider": {claims(), Request{Now: issued, Method: "POST", Path: "/v1/x", Provider: "openai"}, NoProvider, "the path is for another provider"},
		"closed path":                 {claims(), Request{Now: issued, Method: "POST", Path: "/v1/files", Provider: ""}, NoPath, "not open"},
		"closed method":               {claims(), Request{Now: issued, Method: "DELETE", Path: "/v1/x", Provider: ""}, NoPath, "not open"},
		"narrowed, inside":            {claims: claims("allow", `{"paths":["/v1/*"]}`), request: request},
		"narrowed, outside":           {claims("allow", `{"paths":["/v1/*"]}`), Request{Now: issued, Method: "POST", Path: "/v2/x", Provider: ""}, NoPath, "token does not allow"},
		"encoded slash in a star":     {claims: claims("allow", `{"paths":["/m/*/run"]}`), request: Request{Now: issued, Method: "POST", Path: "/m/a%2Fb/run"}},
		"encoded slash, all below":    {claims: claims("allow", `{"paths":["/m/*"]}`), request: Request{Now: issued, Method: "POST", Path: "/m/a%2Fb/run"}},
		"encoded slash, elsewhere":    {claims("allow", `{"paths":["/m/a/*"]}`), Request{Now: issued, Method: "POST", Path: "/m/a%2Fb/run"}, NoPath, "token does not allow"},
		"encoded slash, narrowed":     {claims("allow", `{"paths":["/m/{id}/run"]}`), Request{Now: issued, Method: "POST", Path: "/m/a%2Fb/run"}, NoPath, "token does not allow POST /m/a%2Fb/run, with its encoded slash,"},
		"encoded slash, closed":       {claims(), Request{Now: issued, Method: "POST", Path: "/v1%2Fx"}, BadPath, "the path has an encoded slash where no route of provider demo takes one"},
		"never widened":               {claims("allow", `{"paths":["/*"]}`), Request{Now: issued, Method: "GET", Path: "/v1/x", Provider: ""}, NoPath, "not open"},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := ParseClaims([]byte(tc.claims))
			if err != nil {
				t.Fatal(err)
			}
			g, err := Compile(c, Issuer{Name: "backend", Providers: []string{"demo"}, MaxTTL: time.Hour}, keyID,
				mustRoutes(t, "POST /v1/x", "POST /v2/x", "POST /m/*/run"))
			if err != nil {
				t.Fatal(err)
			}
			checkDenial(t, g.Permit(tc.request), tc.reason, tc.rule)
		})
	}
}

// Where the upgrade makes the difference, the denial says so.
func TestPermit_Upgrades(t *testing.T) {
	get := Request{Now: issued, Method: "GET", Path: "/v1/responses"}
	socket := get
	socket.WebSocket = true
	post := Request{Now: issued, Method: "POST", Path: "/v1/responses"}
	at := func(r Request, path string) Request { r.Path = path; return r }
	named := get
	named.Method = MethodWS
	for name, tc := range map[string]struct {
		allow   string
		request Request
		reason  Reason
		rule    string
	}{
		"a WebSocket":                       {request: socket},
		"a GET of it":                       {"", get, NeedsUpgrade, "GET /v1/responses is not open"},
		"a POST of it":                      {request: post},
		"a method of that name":             {"", named, NoPath, "WS /v1/responses is not open"},
		"where only POST is open":           {"", at(socket, "/v1/chat"), NoUpgrade, "GET /v1/chat as a WebSocket is not open"},
		"where nothing is open":             {"", at(socket, "/v1/files"), NoUpgrade, "is not open"},
		"where GET is open":                 {request: at(socket, "/v1/models")},
		"GET where GET is open":             {request: at(get, "/v1/models")},
		"GET where nothing is open":         {"", at(get, "/v1/files"), NoPath, "is not open"},
		"a token for POST":                  {`{"paths":["POST /v1/*"]}`, socket, NoUpgrade, "the token does not allow GET /v1/responses as a WebSocket"},
		"a token for POST, by methods":      {`{"methods":["POST"]}`, socket, NoUpgrade, "the token does not allow the method GET as a WebSocket"},
		"a token for GET":                   {allow: `{"methods":["GET"],"paths":["GET /v1/*"]}`, request: socket},
		"a token for WebSockets":            {allow: `{"methods":["WS"],"paths":["WS /v1/*"]}`, request: socket},
		"a token for WebSockets, GET":       {`{"paths":["WS /v1/*"]}`, at(get, "/v1/models"), NeedsUpgrade, "the token does not allow GET /v1/models"},
		"a token for WebSockets, by method": {`{"methods":["WS"]}`, at(get, "/v1/models"), NeedsUpgrade, "the token does not allow the method GET"},
		"a token for WebSockets, POST":      {`{"methods":["WS"]}`, post, NoMethod, "the token does not allow the method POST"},
		"another origin":                    {`{"origins":["https://a.example"]}`, socket, NoOrigin, "a request without Origin"},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := ParseClaims([]byte(claims("allow", cmp.Or(tc.allow, "{}"))))
			if err != nil {
				t.Fatal(err)
			}
			g, err := Compile(c, Issuer{Name: "backend", Providers: []string{"demo"}, MaxTTL: time.Hour}, keyID,
				mustRoutes(t, "POST /v1/responses", "WS /v1/responses", "POST /v1/chat", "GET /v1/models"))
			if err != nil {
				t.Fatal(err)
			}
			checkDenial(t, g.Permit(tc.request), tc.reason, tc.rule)
		})
	}
}

func TestPermitNarrows(t *testing.T) {
	// A request that every row's token and issuer permit but for what it changes.
	request := Request{Now: issued, Method: "POST", Path: "/v1/x", ClientIP: netip.MustParseAddr("192.0.2.7"), Origin: "https://a.example"}
	const allow = `{"paths":["/v1/*"],"methods":["POST"],"ips":["192.0.2.0/24","2001:db8::/32"],"origins":["https://a.example","app://x"]}`
	for name, tc := range map[string]struct {
		change func(*Request)
		reason Reason
		rule   string
	}{
		"as allowed":             {change: func(*Request) {}},
		"another path":           {func(r *Request) { r.Path = "/v2/x" }, NoPath, "does not allow POST /v2/x"},
		"another method":         {func(r *Request) { r.Method = "GET" }, NoMethod, "does not allow the method GET"},
		"another address":        {func(r *Request) { r.ClientIP = netip.MustParseAddr("192.0.3.7") }, NoIP, "does not allow the address 192.0.3.7"},
		"an IPv6 address":        {change: func(r *Request) { r.ClientIP = netip.MustParseAddr("2001:db8:1::1") }},
		"IPv4 as a v6 socket":    {change: func(r *Request) { r.ClientIP = netip.MustParseAddr("::ffff:192.0.2.7") }},
		"another IPv6 address":   {func(r *Request) { r.ClientIP = netip.MustParseAddr("2001:db9::1") }, NoIP, "2001:db9::1"},
		"no address":             {func(r *Request) { r.ClientIP = netip.Addr{} }, NoIP, "does not allow the address"},
		"another origin":         {func(r *Request) { r.Origin = "https://b.example" }, NoOrigin, `the origin "https://b.example"`},
		"an origin that extends": {func(r *Request) { r.Origin = "https://a.example.evil" }, NoOrigin, "the origin"},
		"a sandboxed page":       {func(r *Request) { r.Origin = "null" }, NoOrigin, "the origin"},
		"no origin":              {func(r *Request) { r.Origin = "" }, NoOrigin, "a request without Origin"},
		"the other origin":       {change: func(r *Request) { r.Origin = "app://x" }},
	} {
		for who, g := range map[string]*Grant{
			"the token":      compiled(t, claims("allow", allow), Allow{}),
			"issuer backend": compiled(t, claims(), parsedAllow(t, allow)),
		} {
			t.Run(name+", "+who, func(t *testing.T) {
				r := request
				tc.change(&r)
				err := g.Permit(r)
				checkDenial(t, err, tc.reason, tc.rule)
				if err != nil && !strings.Contains(err.Error(), who) {
					t.Errorf("%v does not name %s", err, who)
				}
			})
		}
	}
}

func TestPermitModels(t *testing.T) {
	for name, tc := range map[string]struct {
		token, issuer string // lists; empty: none
		names         []string
		denies        string // empty: permitted
	}{
		"exact":                     {token: `["a","b"]`, names: []string{"b"}},
		"not listed":                {`["a","b"]`, "", []string{"c"}, "the token does not allow the model"},
		"more than the exact name":  {`["a"]`, "", []string{"ab"}, "the token"},
		"other case":                {`["a"]`, "", []string{"A"}, "the token"},
		"beginning":                 {token: `["a-*"]`, names: []string{"a-1"}},
		"the beginning itself":      {token: `["a-*"]`, names: []string{"a-"}},
		"less than the beginning":   {`["a-*"]`, "", []string{"a"}, "the token"},
		"any":                       {token: `["*"]`, names: []string{"x"}},
		"one of several is not":     {`["a","b"]`, "", []string{"a", "c"}, "the token"},
		"issuer's list":             {"", `["a"]`, []string{"b"}, "issuer backend"},
		"token within the issuer's": {`["a1"]`, `["a*"]`, []string{"a1"}, ""},
		"token beyond the issuer's": {`["b"]`, `["a*"]`, []string{"b"}, "issuer backend"},
	} {
		t.Run(name, func(t *testing.T) {
			edits := []string{}
			if tc.token != "" {
				edits = []string{"allow", `{"models":` + tc.token + `}`}
			}
			var allow Allow
			if tc.issuer != "" {
				allow = parsedAllow(t, `{"models":`+tc.issuer+`}`)
			}
			g := compiled(t, claims(edits...), allow)
			if !g.ModelBound() {
				t.Error("is not bound to models")
			}
			checkDenial(t, g.PermitModels(tc.names...), NoModel, tc.denies)
		})
	}
	if g := compiled(t, claims(), Allow{}); g.ModelBound() || g.PermitModels("x") != nil {
		t.Error("a token without models is bound to some")
	}
}

func TestCompile_LimitsUnderTheCeiling(t *testing.T) {
	for name, tc := range map[string]struct {
		limits, ceiling string
		want            Grant // its limits
		rule            string
	}{
		"below":             {limits: `{"rpm":3,"tokens":4,"usd":"0.5"}`, ceiling: `{"calls":7,"rpm":7,"tokens":7,"usd":"7"}`, want: Grant{Calls: 7, RPM: 3, Tokens: 4, USD: 500_000_000}},
		"equal":             {limits: `{"tokens":7,"usd":"7.00"}`, ceiling: `{"tokens":7,"usd":"7"}`, want: Grant{Tokens: 7, USD: 7_000_000_000}},
		"none of its own":   {limits: `{}`, ceiling: `{"tokens":7,"usd":"0.000000007"}`, want: Grant{Tokens: 7, USD: 7}},
		"no ceiling":        {limits: `{"tokens":9,"usd":"9"}`, ceiling: `{}`, want: Grant{Tokens: 9, USD: 9_000_000_000}},
		"no limits at all":  {limits: `{}`, ceiling: `{}`},
		"more calls":        {limits: `{"calls":8}`, ceiling: `{"calls":7}`, rule: "limits.calls is more than 7, which issuer backend may give"},
		"more tokens":       {limits: `{"tokens":8}`, ceiling: `{"tokens":7}`, rule: "limits.tokens is more than 7, which issuer backend may give"},
		"one nano-USD more": {limits: `{"usd":"7.500000001"}`, ceiling: `{"usd":"7.5"}`, rule: "limits.usd is more than 7.50, which issuer backend may give"},
	} {
		t.Run(name, func(t *testing.T) {
			var ceiling Limits
			if err := json.Unmarshal([]byte(tc.ceiling), &ceiling); err != nil {
				t.Fatal(err)
			}
			c, err := ParseClaims([]byte(claims("limits", tc.limits)))
			if err != nil {
				t.Fatal(err)
			}

			g, err := Compile(c, Issuer{Name: "backend", Providers: []string{"demo"}, MaxTTL: time.Hour, Limits: ceiling}, keyID, mustRoutes(t, "/*"))
			checkDenial(t, err, BeyondGrant, tc.rule)
			if err != nil {
				return
			}
			got := Grant{Calls: g.Calls, RPM: g.RPM, Concurrency: g.Concurrency, Tokens: g.Tokens, USD: g.USD}
			if !reflect.DeepEqual(got, tc.want) {
				t.Errorf("limits are %+v, want %+v", got, tc.want)
			}
		})
	}
}

func TestUSD_KeepsItsValueInJSON(t *testing.T) {
	for s, want := range map[string]struct {
		nano USD
		text string
	}{
		"1.50":          {1_500_000_000, "1.50"},
		"1.5":           {1_500_000_000, "1.50"},
		"2":             {2_000_000_000, "2.00"},
		"0.000000001":   {1, "0.000000001"},
		"0.0200":        {20_000_000, "0.02"},
		"123.456":       {123_456_000_000, "123.456"},
		"999999.999999": {999_999_999_999_000, "999999.999999"},
	} {
		var got USD
		if err := json.Unmarshal([]byte(`"`+s+`"`), &got); err != nil || got != want.nano {
			t.Errorf("%q parses as %d, %v; want %d", s, got, err, want.nano)
		}
		text, err := json.Marshal(got)
		if err != nil || string(text) != `"`+want.text+`"` {
			t.Errorf("%d marshals as %s, %v; want %q", got, text, err, want.text)
		}
	}
}

// compiled compiles claims under an issuer that allows that much.
func compiled(t *testing.T, claims string, allow Allow) *Grant {
	t.Helper()
	c, err := ParseClaims([]byte(claims))
	if err != nil {
		t.Fatal(err)
	}
	g, err := Compile(c, Issuer{Name: "backend", Providers: []string{"demo"}, MaxTTL: time.Hour, Allow: allow}, keyID, mustRoutes(t, "/*"))
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func parsedAllow(t *testing.T, list string) Allow {
	t.Helper()
	c, err := ParseClaims([]byte(claims("allow", list)))
	if err != nil {
		t.Fatal(err)
	}
	return *c.Allow
}

func TestFingerprintIsOfAllButTimesAndAudience(t *testing.T) {
	base := fingerprint(t, claims())
	for name, same := range map[string]string{
		"iat": claims("iat", "1800000001"),
		"nbf": claims("nbf", "1800000001"),
		"exp": claims("exp", "1800000001"),
		"aud": claims("aud", `"the-next-key"`),
	} {
		if fingerprint(t, same) != base {
			t.Errorf("a refresh that differs in %s has another fingerprint", name)
		}
	}
	for name, other := range map[string]string{
		"sub":           claims("sub", `"user-2"`),
		"no sub":        claims("sub", ""),
		"provider":      claims("provider", `"openai"`),
		"api_key":       claims("api_key", `"sk-1"`),
		"limits.calls":  claims("limits", `{"calls":1}`),
		"limits.calls'": claims("limits", `{"calls":2}`),
		"limits.rpm":    claims("limits", `{"rpm":1}`),
		"limits.tokens": claims("limits", `{"tokens":1}`),
		"limits.usd":    claims("limits", `{"usd":"1"}`),
		"limits.usd'":   claims("limits", `{"usd":"1.000000001"}`),
		"allow.paths":   claims("allow", `{"paths":["/v1/x"]}`),
		"allow.models":  claims("allow", `{"models":["/v1/x"]}`),
		"set.model":     claims("set", `{"model":"a"}`),
	} {
		if fingerprint(t, other) == base {
			t.Errorf("a token that differs in %s has the same fingerprint", name)
		}
	}
}

func fingerprint(t *testing.T, s string) [32]byte {
	c, err := ParseClaims([]byte(s))
	if err != nil {
		t.Fatal(err)
	}
	return c.Fingerprint()
}

func FuzzParseClaims(f *testing.F) {
	f.Add([]byte(claims("limits", `{"calls":3}`, "allow", `{"paths":["/v1/*"]}`)))
	f.Add([]byte(claims("Limits", `{"calls":3}`)))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := ParseClaims(data)
		if err == nil && c.Validate() != nil {
			t.Error("accepted claims that do not validate")
		}
		var d *Denial
		if err != nil && !errors.As(err, &d) {
			t.Errorf("%v is not a denial", err)
		}
	})
}
