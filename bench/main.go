// Command bench measures the relay beside bare Caddy. `go run . -h` tells how.
package main

import (
	"context"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

//go:embed usage.txt
var usage string

// bench is a run of the whole.
type bench struct {
	short                         bool
	rounds                        int
	duration                      time.Duration
	only, part, against, profiles string
	names                         []string // of all subjects, in the order of the report

	dir      string // of all files
	caddy    string // the built binary
	ca       string // a file with the provider's certificate
	provider *exec.Cmd
	urls     map[string]string // of the provider, by protocol
	client   *http.Client      // trusts the provider, and keeps its connections
}

func main() {
	if len(os.Args) == 2 && os.Args[1] == providerCommand {
		serveProvider()
	}
	b := new(bench)
	flag.BoolVar(&b.short, "short", false, fmt.Sprintf("measure little; fail if the relay has less than %.2f of bare's throughput", leastRatio))
	flag.IntVar(&b.rounds, "rounds", 5, "how often to measure everything")
	flag.DurationVar(&b.duration, "for", 3*time.Second, "how long to measure each thing in a round; at least 1s")
	flag.StringVar(&b.only, "only", "", "measure the scenarios whose names contain this `text`")
	flag.StringVar(&b.part, "part", "load", "what to measure: load or flood")
	flag.StringVar(&b.against, "against", "", "measure the relay of this Caddy `binary` too")
	flag.StringVar(&b.profiles, "profiles", "", "write CPU profiles of all Caddys into this `directory`")
	flag.Usage = func() {
		fmt.Fprint(flag.CommandLine.Output(), usage)
		flag.PrintDefaults()
		fmt.Fprint(flag.CommandLine.Output(), "\nScenarios:\n")
		for _, sc := range scenarios {
			fmt.Fprintf(flag.CommandLine.Output(), "  %-14s%s\n", sc.name, sc.about)
		}
	}
	flag.Parse()
	if flag.NArg() > 0 || b.rounds < 1 || b.duration < time.Second || b.part != "load" && b.part != "flood" {
		flag.Usage()
		os.Exit(2)
	}
	if b.names = []string{direct, bare, bareAgain, relay, relay + allPolicy}; b.against != "" {
		b.names = append(b.names, against, against+allPolicy)
	}
	if b.short {
		b.rounds, b.duration, b.only = 3, time.Second, "small/h2"
	}

	if err := b.run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// run measures what the flags ask for, and leaves nothing behind.
func (b *bench) run() (err error) {
	ctx, done := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer done()
	if b.dir, err = os.MkdirTemp("", "relayapi-bench-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	if err := b.prepare(ctx); err != nil {
		return err
	}
	if b.part == "flood" {
		return b.flood(ctx)
	}

	var chosen []*scenario
	for i := range scenarios {
		if strings.Contains(scenarios[i].name, b.only) {
			scenarios[i].rounds = make(map[string][]figures)
			chosen = append(chosen, &scenarios[i])
		}
	}
	if len(chosen) == 0 {
		return errors.New("no scenario has such a name; see -h for the names")
	}

	for n := range b.rounds {
		if err := b.round(ctx, n, chosen); err != nil {
			return fmt.Errorf("round %d: %w", n+1, err)
		}
	}
	model, _ := exec.Command("sed", "-n", "/^model name/ { s/.*: //p; q }", "/proc/cpuinfo").Output()
	fmt.Printf("Measured on %s, %d cores, with %s, in %d rounds of %v. Callers, provider and Caddy share the cores.\n"+
		"Cells are the median of the rounds (least–greatest).\n", strings.TrimSpace(string(model)), runtime.NumCPU(), runtime.Version(), b.rounds, b.duration)
	for _, sc := range chosen {
		fmt.Print(sc.report(b.names))
	}
	if b.short {
		return grossLoss(chosen[0])
	}
	return nil
}

// round measures all scenarios once, with Caddys of its own.
func (b *bench) round(ctx context.Context, n int, chosen []*scenario) error {
	var subjects []*subject
	for _, name := range b.names {
		s, err := b.start(ctx, name)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		defer s.stop()
		subjects = append(subjects, s)
	}

	for _, sc := range chosen {
		fmt.Fprintf(os.Stderr, "round %d of %d: %s\n", n+1, b.rounds, sc.name)
		if err := sc.measure(ctx, b, subjects); err != nil {
			return fmt.Errorf("%s: %w", sc.name, err)
		}
	}
	return nil
}

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

// leastRatio of throughput is far below what the relay costs: machines are noisy.
const leastRatio = 0.75

// figures are what was measured of a subject in a round, by name.
type figures map[string]float64

// compared is a figure of a subject beside that of another in the same round.
func (sc *scenario) compared(name, subject, other string, compare func(a, b float64) float64) (v []float64) {
	for i, f := range sc.rounds[subject] {
		if a, ok := f[name]; ok {
			v = append(v, compare(a, sc.rounds[other][i][name]))
		}
	}
	return v
}

func difference(a, b float64) float64 { return a - b }
func ratio(a, b float64) float64      { return a / b }

// report is Markdown: what each Caddy adds to a direct call, and ratios to bare.
func (sc *scenario) report(names []string) string {
	latencies := []string{oneP50, oneP99, pacedP50, pacedP99, lagP50, lagP99}
	measures := append(latencies, pacedCPU, throughput, busyCPU, resident, idleRSS)
	return fmt.Sprintf("\n### %s\n\n%s.\n", sc.name, strings.ToUpper(sc.about[:1])+sc.about[1:]) +
		sc.table("added to a direct call", latencies, names, difference, 0) + sc.table("ratio to bare", measures, names[1:], ratio, 2)
}

// table compares subjects with the first. It leaves out measures without figures.
func (sc *scenario) table(title string, measures, names []string, compare func(a, b float64) float64, digits int) string {
	text := fmt.Sprintf("\n| %s | %s |\n|---|%s\n", title, strings.Join(names, " | "), strings.Repeat("--:|", len(names)))
	rows := ""
	for _, measure := range measures {
		first := sc.compared(measure, names[0], names[0], func(a, _ float64) float64 { return a })
		if len(first) == 0 {
			continue
		}
		rows += fmt.Sprintf("| %s | %s |", measure, spread(first, 1))
		for _, name := range names[1:] {
			rows += fmt.Sprintf(" %s |", spread(sc.compared(measure, name, names[0], compare), digits))
		}
		rows += "\n"
	}
	if rows == "" {
		return ""
	}
	return text + rows
}

// spread is the median of some values, with the least and the greatest.
func spread(v []float64, digits int) string {
	v = slices.Sorted(slices.Values(v))
	median := (v[(len(v)-1)/2] + v[len(v)/2]) / 2
	text := fmt.Sprintf("%.*f (%.*f–%.*f)", digits, median, digits, v[0], digits, v[len(v)-1])
	return strings.ReplaceAll(text, "-", "−")
}

// grossLoss is an error if a relay was far slower than bare in every round.
func grossLoss(sc *scenario) (err error) {
	for _, s := range []string{relay, relay + allPolicy} {
		if best := slices.Max(sc.compared(throughput, s, bare, ratio)); best < leastRatio {
			err = errors.Join(err, fmt.Errorf("%s: %s has at most %.2f of bare's throughput, and %.2f is the least", sc.name, s, best, leastRatio))
		}
	}
	return err
}
