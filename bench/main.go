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
	"regexp"
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

	dir      string // of all files
	caddy    string // the built binary
	ca       string // a file with the provider's certificate
	provider *exec.Cmd
	urls     map[string]string // of the provider, by protocol
	client   *http.Client      // trusts the provider
}

func main() {
	if len(os.Args) == 2 && os.Args[1] == providerCommand {
		serveProvider()
	}
	b := new(bench)
	flag.BoolVar(&b.short, "short", false, fmt.Sprintf("measure little; fail if the relay has less than %.2f of bare's throughput", grossLoss))
	flag.IntVar(&b.rounds, "rounds", 5, "how often to measure everything")
	flag.DurationVar(&b.duration, "for", 3*time.Second, "how long to measure each thing in a round; at least 1s")
	flag.StringVar(&b.only, "only", "", "measure the scenarios whose names match this `regexp`")
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
	if b.short {
		b.rounds, b.duration, b.only = 3, time.Second, "^small/h2$"
	}

	ctx, done := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := b.run(ctx)
	done()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// run measures what the flags ask for, and leaves nothing behind.
func (b *bench) run(ctx context.Context) (err error) {
	if b.dir, err = os.MkdirTemp("", "relayapi-bench-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	defer func() { stop(b.provider) }()
	if err := b.prepare(ctx); err != nil {
		return err
	}
	if b.part == "flood" {
		return b.flood(ctx)
	}

	only, err := regexp.Compile(b.only)
	if err != nil {
		return fmt.Errorf("-only: %w", err)
	}
	var results []*result
	for i := range scenarios {
		if only.MatchString(scenarios[i].name) {
			results = append(results, &result{scenario: &scenarios[i], rounds: make(map[string][]figures)})
		}
	}
	if len(results) == 0 {
		return errors.New("no scenario has a name that matches -only; see -h for the names")
	}

	for n := range b.rounds {
		if err := b.round(ctx, n, results); err != nil {
			return fmt.Errorf("round %d: %w", n+1, err)
		}
	}
	fmt.Print(b.head())
	for _, r := range results {
		fmt.Print(r.report())
	}
	if b.short {
		return grossLosses(results)
	}
	return nil
}

// round measures all scenarios once, with Caddys of its own.
func (b *bench) round(ctx context.Context, n int, results []*result) error {
	names := []string{direct, bare, bareAgain, relay, relay + allPolicy}
	if b.against != "" {
		names = append(names, against, against+allPolicy)
	}
	var subjects []*subject
	for _, name := range names {
		s, err := b.start(ctx, name)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		defer stop(s.cmd)
		subjects = append(subjects, s)
	}

	for _, r := range results {
		fmt.Fprintf(os.Stderr, "round %d of %d: %s\n", n+1, b.rounds, r.name)
		all, err := r.measure(ctx, b, r.scenario, subjects)
		if err != nil {
			return fmt.Errorf("%s: %w", r.name, err)
		}
		r.subjects = names
		for i, name := range names {
			r.rounds[name] = append(r.rounds[name], all[i])
		}
	}
	return nil
}
