package main

import (
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
)

// The figures, by their names in the report.
const (
	oneP50     = "one at a time: p50, µs"
	oneP99     = "one at a time: p99, µs"
	pacedP50   = "paced: p50, µs"
	pacedP99   = "paced: p99, µs"
	lagP50     = "lag p50, µs"
	lagP99     = "lag p99, µs"
	pacedCPU   = "paced: CPU each, µs"
	throughput = "at full speed: throughput, 1/s"
	busyCPU    = "at full speed: CPU each, µs"
	resident   = "RSS, MiB"
	idleRSS    = "RSS each, KiB"
)

var (
	latencies = []string{oneP50, oneP99, pacedP50, pacedP99, lagP50, lagP99}
	measures  = append(slices.Clone(latencies), pacedCPU, throughput, busyCPU, resident, idleRSS)
)

// grossLoss is the ratio of throughput below which -short fails. It is far below
// what the relay costs, because machines that test are noisy.
const grossLoss = 0.75

// figures are what was measured of a subject in a round, by name.
type figures map[string]float64

// result is what was measured in a scenario.
type result struct {
	*scenario
	subjects []string             // in the order of the report
	rounds   map[string][]figures // by subject
}

// compared is a figure of a subject, of all rounds, compared with that of another
// in the same round.
func (r *result) compared(name, subject, other string, compare func(a, b float64) float64) (v []float64) {
	for i, f := range r.rounds[subject] {
		if a, ok := f[name]; ok {
			v = append(v, compare(a, r.rounds[other][i][name]))
		}
	}
	return v
}

func difference(a, b float64) float64 { return a - b }
func ratio(a, b float64) float64      { return a / b }

// report is Markdown: what each subject adds to a direct call, and ratios to bare.
func (r *result) report() string {
	return fmt.Sprintf("\n### %s\n\n%s.\n", r.name, strings.ToUpper(r.about[:1])+r.about[1:]) +
		r.table("added to a direct call", latencies, direct, difference, 0) +
		r.table("ratio to bare", measures, bare, ratio, 2)
}

// table compares all Caddys with one subject, in the figures that there are.
func (r *result) table(title string, names []string, with string, compare func(a, b float64) float64, digits int) string {
	others := slices.DeleteFunc(slices.Clone(r.subjects), func(s string) bool { return s == with || s == direct })
	rows := ""
	for _, name := range names {
		own := r.compared(name, with, with, func(a, _ float64) float64 { return a })
		if len(own) == 0 {
			continue
		}
		rows += fmt.Sprintf("| %s | %s |", name, spread(own, 0))
		for _, s := range others {
			rows += fmt.Sprintf(" %s |", spread(r.compared(name, s, with, compare), digits))
		}
		rows += "\n"
	}
	if rows == "" {
		return ""
	}
	return fmt.Sprintf("\n| %s | %s | %s |\n|---|%s\n%s", title, with, strings.Join(others, " | "), strings.Repeat("--:|", len(others)+1), rows)
}

// spread is the median of some values, with the least and the greatest.
func spread(v []float64, digits int) string {
	v = slices.Sorted(slices.Values(v))
	median := (v[(len(v)-1)/2] + v[len(v)/2]) / 2
	if math.Abs(median) < 10 {
		digits = max(digits, 1)
	}
	text := fmt.Sprintf("%.*f (%.*f–%.*f)", digits, median, digits, v[0], digits, v[len(v)-1])
	return strings.ReplaceAll(text, "-", "−")
}

// head says on what was measured.
func (b *bench) head() string {
	info, _ := os.ReadFile("/proc/cpuinfo")
	_, model, _ := strings.Cut(string(info), "model name\t: ")
	model, _, _ = strings.Cut(model, "\n")
	caddy, _ := exec.Command("go", "list", "-C", "..", "-m", "github.com/caddyserver/caddy/v2").Output()
	return fmt.Sprintf("Measured on %s, %d cores, with %s and %s, in %d rounds of %v. Callers, provider and Caddy share\n"+
		"the cores. Cells are the median of the rounds (least–greatest).\n",
		model, runtime.NumCPU(), runtime.Version(), strings.TrimSpace(string(caddy)), b.rounds, b.duration)
}

// grossLosses is an error if a relay was far slower than bare in every round.
func grossLosses(results []*result) (err error) {
	for _, r := range results {
		for _, s := range []string{relay, relay + allPolicy} {
			if best := slices.Max(r.compared(throughput, s, bare, ratio)); best < grossLoss {
				err = errors.Join(err, fmt.Errorf("%s: %s has at most %.2f of bare's throughput, and %.2f is the least", r.name, s, best, grossLoss))
			}
		}
	}
	return err
}
