package cli

import (
	"fmt"
	"strings"

	"github.com/relayapi/caddy-relayapi/grant"
	"github.com/relayapi/caddy-relayapi/internal/adminapi"
)

// permitLines returns what a token permits, besides its provider and the limits in force.
func permitLines(p *adminapi.Permits) (lines []string) {
	if p == nil {
		return []string{"unknown until its next call; an earlier version of the relay did not keep it"}
	}
	if p.RPM > 0 {
		lines = append(lines, fmt.Sprintf("%d calls per minute", p.RPM))
	}
	if p.Concurrency > 0 {
		lines = append(lines, fmt.Sprintf("%d calls at once", p.Concurrency))
	}
	if p.Model != "" {
		lines = append(lines, "model "+p.Model+", which the relay writes into each request")
	}
	lines = append(lines, allowLines(&p.Allow, "")...)
	lines = append(lines, allowLines(&p.Issuer, ", for all tokens of the issuer")...)
	if p.Plan != "" && p.Plan != "0" {
		lines = append(lines, "a plan of the login's users in the config (when)")
	}
	if len(lines) == 0 {
		return []string{"all that the provider's paths have"}
	}
	return lines
}

// allowLines returns a line for each list.
func allowLines(a *grant.Allow, of string) (lines []string) {
	for _, list := range []struct {
		name   string
		values []string
	}{{"models", a.Models}, {"paths", a.Paths}, {"methods", a.Methods}, {"addresses", a.IPs}, {"origins", a.Origins}} {
		if len(list.values) > 0 {
			lines = append(lines, list.name+" "+strings.Join(list.values, ", ")+of)
		}
	}
	return lines
}

// issuerLines returns what the tokens of an issuer may use.
func issuerLines(s *adminapi.IssuerStatus) (lines []string) {
	var each []string
	for _, l := range []struct {
		name  string
		limit *int64
	}{{"calls", s.Each.Calls}, {"tokens", s.Each.Tokens}, {"calls per minute", s.Each.RPM}, {"calls at once", s.Each.Concurrency}} {
		if l.limit != nil {
			each = append(each, fmt.Sprintf("%d %s", *l.limit, l.name))
		}
	}
	if s.Each.USD != nil {
		each = append(each, "$"+s.Each.USD.String())
	}
	for _, text := range each {
		lines = append(lines, text+" for each token at most")
	}
	for _, l := range s.User {
		lines = append(lines, fmt.Sprintf("%s%s for each user without a plan", l.Amount, per(l.Per)))
	}
	for _, l := range s.All {
		lines = append(lines, fmt.Sprintf("%s: %s used, %s left%s", limitText(l), l.Used, l.Left, until(l.Ends)))
	}
	return lines
}

func per(period string) string {
	if period == "" {
		return ""
	}
	return " per " + period
}
