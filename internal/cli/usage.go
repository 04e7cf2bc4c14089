package cli

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/relayapi/caddy-relayapi/internal/adminapi"
	"github.com/spf13/cobra"
)

// usageFlags are the flags of `usage` besides its filters.
type usageFlags struct {
	token, by, from, to, month string
	bill, asCSV, asJSON        bool
}

func usageCommand() *cobra.Command {
	var f usageFlags
	cmd := &cobra.Command{
		Use:   "usage",
		Short: "Reports usage by day, provider, model, issuer, subject and token",
		Long: `Reports usage, with a row for each day (UTC), provider, issuer and subject, or for the
dimensions in --by.

CALLS counts the calls that reached the provider. OK were answered with a status below
400, REFUSED with one from 400 to 499. FAILED had a status of 500 or more, or no
answer. TOKENS IN counts all kinds of input, and CACHED the part of it that was read
from a cache. OUT counts tokens of output. COST is in US dollars. UNMETERED counts
calls whose usage the provider did not report. MEAN is the mean time of a call. --csv
and --json include every kind of usage.

--bill adds up per subject what a provider bills: every kind of token, and the cost,
with a total.

The model is "other" if the relay knows no price for it. The relay keeps the usage of
single tokens for 62 days. After that, it is part of their subjects' usage, and the
token is empty.`,
		Example: `  caddy relayapi usage --from 2026-01-01 --to 2026-01-31
  caddy relayapi usage --by day,model --provider openai
  caddy relayapi usage --by token --subject alice --json
  caddy relayapi usage --bill --month 2026-11
  caddy relayapi usage --bill --month 2026-11 --csv > bill.csv`,
		Args: cobra.NoArgs,
	}
	q := filterFlags(cmd, "provider", "model", "issuer", "subject")
	flags := cmd.Flags()
	flags.StringVar(&f.token, "token", "", "Only those of the token with this [issuer/]id")
	flags.StringVar(&f.by, "by", "", "Dimensions with a row for each value: some of day, provider, model, issuer, subject, token. Default: day,provider,issuer,subject")
	flags.StringVar(&f.from, "from", "", "The first day, such as 2026-01-01")
	flags.StringVar(&f.to, "to", "", "The last day")
	flags.StringVar(&f.month, "month", "", "The days of this month, such as 2026-11")
	flags.BoolVar(&f.bill, "bill", false, "Add up per subject; needs --month, or --from and --to")
	flags.BoolVar(&f.asCSV, "csv", false, "Print CSV with every kind of usage")
	flags.BoolVar(&f.asJSON, "json", false, "Print JSON")
	address := addressFlag(cmd)
	cmd.MarkFlagsMutuallyExclusive("bill", "by")
	cmd.MarkFlagsMutuallyExclusive("csv", "json")
	cmd.MarkFlagsMutuallyExclusive("month", "from")
	cmd.MarkFlagsMutuallyExclusive("month", "to")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		query := q()
		if err := f.addTo(query); err != nil {
			return err
		}
		var report adminapi.UsageReport
		if err := ask(*address, http.MethodGet, "/relayapi/usage?"+query.Encode(), nil, &report); err != nil {
			return err
		}
		return f.print(cmd.OutOrStdout(), &report)
	}
	return cmd
}

// addTo adds the parameters of the flags to a query.
func (f *usageFlags) addTo(q url.Values) error {
	setIf(q, "token", f.token)
	setIf(q, "by", f.by)
	setIf(q, "from", f.from)
	setIf(q, "to", f.to)
	if f.month != "" {
		first, err := time.Parse("2006-01", f.month)
		if err != nil {
			return fmt.Errorf("--month %.20q: must be a month such as 2026-11", f.month)
		}
		q.Set("from", first.Format(time.DateOnly))
		q.Set("to", first.AddDate(0, 1, -1).Format(time.DateOnly))
	}
	if f.bill {
		if !q.Has("from") || !q.Has("to") {
			return errors.New("--bill needs a period; give --month, such as --month 2026-11, or --from and --to")
		}
		q.Set("by", "issuer,subject")
	}
	return nil
}

// bill is a report with its sum.
type bill struct {
	adminapi.UsageReport
	Total adminapi.Usage `json:"total"`
}

func (f *usageFlags) print(w io.Writer, report *adminapi.UsageReport) error {
	total := sum(report.Rows)
	switch {
	case f.asJSON && f.bill:
		return printJSON(w, bill{*report, total})
	case f.asJSON:
		return printJSON(w, report)
	case f.asCSV:
		return writeCSV(w, report)
	case f.bill:
		return printBill(w, report, &total)
	}
	return printUsage(w, report)
}

// sum adds up the usage of rows.
func sum(rows []adminapi.UsageRow) (total adminapi.Usage) {
	for i := range rows {
		u := &rows[i].Usage
		total.Calls += u.Calls
		total.Succeeded += u.Succeeded
		total.ClientErrors += u.ClientErrors
		total.ProviderErrors += u.ProviderErrors
		total.BytesIn += u.BytesIn
		total.BytesOut += u.BytesOut
		total.Duration += u.Duration
		total.Requests += u.Requests
		total.Input += u.Input
		total.CacheRead += u.CacheRead
		total.CacheWrite += u.CacheWrite
		total.CacheWriteHour += u.CacheWriteHour
		total.Output += u.Output
		total.Reasoning += u.Reasoning
		total.AudioInput += u.AudioInput
		total.AudioOutput += u.AudioOutput
		total.ImageInput += u.ImageInput
		total.ImageOutput += u.ImageOutput
		total.Milliseconds += u.Milliseconds
		total.Unmetered += u.Unmetered
		total.CostUSD += u.CostUSD
		total.OverrunUSD += u.OverrunUSD
	}
	return total
}

func printUsage(w io.Writer, report *adminapi.UsageReport) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, d := range report.By {
		fmt.Fprintf(table, "%s\t", strings.ToUpper(string(d)))
	}
	fmt.Fprintln(table, "CALLS\tOK\tREFUSED\tFAILED\tTOKENS IN\tCACHED\tOUT\tCOST\tUNMETERED\tMEAN")
	for i := range report.Rows {
		r := &report.Rows[i]
		for _, d := range report.By {
			fmt.Fprintf(table, "%s\t", orDash(r.Of(d)))
		}
		answered := r.Succeeded + r.ClientErrors + r.ProviderErrors
		mean := (r.Duration / time.Duration(max(answered, 1))).Round(time.Millisecond)
		in := r.Input + r.CacheRead + r.CacheWrite + r.CacheWriteHour + r.AudioInput + r.ImageInput
		fmt.Fprintf(table, "%d\t%d\t%d\t%d\t%d\t%d\t%d\t%s\t%d\t%s\n", r.Calls, r.Succeeded, r.ClientErrors, r.ProviderErrors,
			in, r.CacheRead, r.Output+r.AudioOutput+r.ImageOutput, dollarsOrDash(r.CostUSD), r.Unmetered, mean)
	}
	return table.Flush()
}

// printBill prints a line for each subject, and a total. It leaves out kinds of usage
// that are all zero.
func printBill(w io.Writer, report *adminapi.UsageReport, total *adminapi.Usage) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprint(table, "SUBJECT\tCALLS\t")
	used := make([]kind, 0, len(kinds))
	for _, k := range kinds {
		if k.of(total) > 0 {
			used = append(used, k)
			fmt.Fprintf(table, "%s\t", strings.ToUpper(k.words()))
		}
	}
	fmt.Fprintln(table, "UNMETERED\tCOST")

	line := func(holder string, u *adminapi.Usage) {
		fmt.Fprintf(table, "%s\t%d\t", holder, u.Calls)
		for _, k := range used {
			fmt.Fprintf(table, "%d\t", k.of(u))
		}
		fmt.Fprintf(table, "%d\t$%s\n", u.Unmetered, u.CostUSD)
	}
	for i := range report.Rows {
		r := &report.Rows[i]
		line(r.Issuer+"/"+r.Subject, &r.Usage)
	}
	line("TOTAL", total)
	return table.Flush()
}

// asText returns a cell that no spreadsheet runs as a formula. Back-ends choose the
// names of subjects, and callers those of models
// (https://owasp.org/www-community/attacks/CSV_Injection).
func asText(cell string) string {
	if cell != "" && strings.ContainsRune("=+-@\t\r\n", rune(cell[0])) {
		return "'" + cell
	}
	return cell
}

// writeCSV writes every dimension of a report and every kind of usage.
func writeCSV(w io.Writer, report *adminapi.UsageReport) error {
	out := csv.NewWriter(w)
	var header []string
	for _, d := range report.By {
		header = append(header, string(d))
	}
	header = append(header, "calls", "succeeded", "client_errors", "provider_errors", "bytes_in", "bytes_out", "duration_ms")
	for _, k := range kinds {
		header = append(header, k.name)
	}
	header = append(header, "unmetered", "cost_usd", "overrun_usd")
	_ = out.Write(header) // out.Error returns the error

	for i := range report.Rows {
		r := &report.Rows[i]
		var cells []string
		for _, d := range report.By {
			cells = append(cells, asText(r.Of(d)))
		}
		counts := []int64{r.Calls, r.Succeeded, r.ClientErrors, r.ProviderErrors, r.BytesIn, r.BytesOut, r.Duration.Milliseconds()}
		for _, k := range kinds {
			counts = append(counts, k.of(&r.Usage))
		}
		for _, n := range append(counts, r.Unmetered) {
			cells = append(cells, strconv.FormatInt(n, 10))
		}
		_ = out.Write(append(cells, r.CostUSD.String(), r.OverrunUSD.String()))
	}
	out.Flush()
	return out.Error()
}
