package cli

import (
	"net/url"
	"reflect"
	"strings"
	"testing"

	"github.com/relayapi/caddy-relayapi/internal/adminapi"
	"github.com/relayapi/caddy-relayapi/tokenstore"
)

// filled returns usage whose every number is n.
func filled(n int64) adminapi.Usage {
	var u adminapi.Usage
	for _, v := range []reflect.Value{reflect.ValueOf(&u.Usage).Elem(), reflect.ValueOf(&u).Elem()} {
		for i := range v.NumField() {
			if f := v.Field(i); f.CanInt() {
				f.SetInt(n)
			}
		}
	}
	return adminapi.Usage{Usage: u.Usage, CostUSD: u.CostUSD, OverrunUSD: u.OverrunUSD}
}

// A sum leaves out no kind of usage, whichever come later.
func TestSum_HasEveryKind(t *testing.T) {
	got := sum([]adminapi.UsageRow{{Usage: filled(1)}, {Usage: filled(2)}})
	want := filled(3)
	got.Cost, got.Overrun = 3, 3 // they are zero on the wire
	if got != want {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestUsageFlags(t *testing.T) {
	for name, tc := range map[string]struct {
		flags usageFlags
		want  string // query, or error
	}{
		"none":                 {usageFlags{}, ""},
		"by":                   {usageFlags{by: "day,model"}, "by=day%2Cmodel"},
		"a month":              {usageFlags{month: "2028-02"}, "from=2028-02-01&to=2028-02-29"},
		"a bill":               {usageFlags{bill: true, month: "2026-11"}, "by=issuer%2Csubject&from=2026-11-01&to=2026-11-30"},
		"a bill of days":       {usageFlags{bill: true, from: "2026-11-01", to: "2026-11-02"}, "by=issuer%2Csubject&from=2026-11-01&to=2026-11-02"},
		"a bill of no period":  {usageFlags{bill: true}, "--bill needs a period"},
		"a bill without end":   {usageFlags{bill: true, from: "2026-11-01"}, "--bill needs a period"},
		"a month with its day": {usageFlags{month: "2026-11-01"}, "must be a month such as 2026-11"},
	} {
		t.Run(name, func(t *testing.T) {
			q := make(url.Values)
			err := tc.flags.addTo(q)
			if err != nil && !strings.Contains(err.Error(), tc.want) || err == nil && q.Encode() != tc.want {
				t.Errorf("got %q, %v, want %q", q.Encode(), err, tc.want)
			}
		})
	}
}

// A spreadsheet runs what looks like a formula.
func TestUsage_WritesNoFormulas(t *testing.T) {
	for subject, want := range map[string]string{
		"":                       "",
		"alice":                  "alice",
		"a=b":                    "a=b",
		"=1+1":                   "'=1+1",
		"+49 30":                 "'+49 30",
		"-2":                     "'-2",
		"@SUM(A1)":               "'@SUM(A1)",
		"\t=1":                   "'\t=1",
		`=HYPERLINK("x","y, z")`: `"'=HYPERLINK(""x"",""y, z"")"`,
		`say "hi"`:               `"say ""hi"""`,
	} {
		report := &adminapi.UsageReport{By: []tokenstore.Dimension{tokenstore.BySubject}, Rows: []adminapi.UsageRow{{Subject: subject}}}
		var out strings.Builder
		if err := writeCSV(&out, report); err != nil {
			t.Fatal(err)
		}
		_, line, _ := strings.Cut(out.String(), "\n")
		if got, _, _ := strings.Cut(line, ",0,0,"); got != want {
			t.Errorf("%q is written as %s, want %s", subject, got, want)
		}
	}
}

func TestUsage_Prints(t *testing.T) {
	report := &adminapi.UsageReport{By: []tokenstore.Dimension{tokenstore.ByIssuer, tokenstore.BySubject}}
	for i, u := range []tokenstore.Usage{
		{Calls: 2, Succeeded: 1, ProviderErrors: 1, Input: 10, CacheRead: 30, CacheWrite: 2, Output: 5, Reasoning: 4, Cost: 1_500_000_000, Unmetered: 1},
		{Calls: 1, Succeeded: 1, Input: 1, AudioOutput: 7, Cost: 5},
	} {
		row := adminapi.UsageRow{Issuer: "relay", Subject: []string{"alice", "bob, jr."}[i], Usage: adminapi.NewUsage(u)}
		report.Rows = append(report.Rows, row)
	}

	for name, tc := range map[string]struct {
		flags usageFlags
		want  string // blanks are single
	}{
		"table": {usageFlags{}, `
ISSUER SUBJECT CALLS OK REFUSED FAILED TOKENS IN CACHED OUT COST UNMETERED MEAN
relay alice 2 1 0 1 42 30 5 $1.50 1 0s
relay bob, jr. 1 1 0 0 1 0 7 $0.000000005 0 0s
`},
		"bill": {usageFlags{bill: true}, `
SUBJECT CALLS INPUT CACHE READ CACHE WRITE OUTPUT REASONING AUDIO OUTPUT UNMETERED COST
relay/alice 2 10 30 2 5 4 0 1 $1.50
relay/bob, jr. 1 1 0 0 0 0 7 0 $0.000000005
TOTAL 3 11 30 2 5 4 7 1 $1.500000005
`},
		"csv": {usageFlags{asCSV: true}, `
issuer,subject,calls,succeeded,client_errors,provider_errors,bytes_in,bytes_out,duration_ms,requests,input,cache_read,cache_write,cache_write_hour,output,reasoning,audio_input,audio_output,image_input,image_output,milliseconds,unmetered,cost_usd,overrun_usd
relay,alice,2,1,0,1,0,0,0,0,10,30,2,0,5,4,0,0,0,0,0,1,1.50,0.00
relay,"bob, jr.",1,1,0,0,0,0,0,0,1,0,0,0,0,0,0,7,0,0,0,0,0.000000005,0.00
`},
	} {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			if err := tc.flags.print(&out, report); err != nil {
				t.Fatal(err)
			}
			var lines []string
			for line := range strings.Lines(out.String()) {
				lines = append(lines, strings.Join(strings.Fields(line), " "))
			}
			if got := "\n" + strings.Join(lines, "\n") + "\n"; got != tc.want {
				t.Errorf("got%swant%s", got, tc.want)
			}
		})
	}
}
