package grant

import (
	"net/netip"
	"net/url"
	"testing"
	"time"
)

// BenchmarkPermit is what each request costs, once its token is compiled.
func BenchmarkPermit(b *testing.B) {
	routes, err := ParseRoutes("POST /v1/chat/completions", "POST /v1/models/*:generateContent")
	if err != nil {
		b.Fatal(err)
	}
	for name, allow := range map[string]string{
		"provider only": "{}",
		"all rules": `{"methods":["POST"],"paths":["/v1/chat/*"],"ips":["192.0.2.0/24","2001:db8::/32"],` +
			`"origins":["https://app.example.com"],"models":["gpt-*"]}`,
	} {
		b.Run(name, func(b *testing.B) {
			c, err := ParseClaims([]byte(claims("allow", allow)))
			if err != nil {
				b.Fatal(err)
			}
			g, err := Compile(c, Issuer{Name: "backend", Providers: []string{"demo"}, MaxTTL: time.Hour}, keyID, routes)
			if err != nil {
				b.Fatal(err)
			}
			r := Request{
				Now: issued, Method: "POST", Path: "/v1/chat/completions",
				ClientIP: netip.MustParseAddr("192.0.2.7"), Origin: "https://app.example.com",
			}
			b.ReportAllocs()
			for b.Loop() {
				if err := g.Permit(r); err != nil {
					b.Fatal(err)
				}
				if err := g.PermitModels("gpt-x"); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkCompile is what each new token costs beside its cryptography.
func BenchmarkCompile(b *testing.B) {
	routes, err := ParseRoutes("POST /v1/chat/completions")
	if err != nil {
		b.Fatal(err)
	}
	data := []byte(claims("allow", `{"models":["gpt-*"],"ips":["192.0.2.0/24"]}`, "limits", `{"calls":3}`))
	issuer := Issuer{Name: "backend", Providers: []string{"demo"}, MaxTTL: time.Hour}
	b.ReportAllocs()
	for b.Loop() {
		c, err := ParseClaims(data)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := Compile(c, issuer, keyID, routes); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkPolicyPath is what reading the path costs, for each request.
func BenchmarkPolicyPath(b *testing.B) {
	for name, target := range map[string]string{
		"plain":         "/v1/chat/completions",
		"encoded slash": "/model/arn%3Aaws%3Abedrock%3A%3A%3Aapplication-inference-profile%2Fabc/converse",
	} {
		b.Run(name, func(b *testing.B) {
			u, err := url.ParseRequestURI(target)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := PolicyPath(u); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
