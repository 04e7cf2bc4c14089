package main

import (
	"errors"
	"flag"
	"fmt"
	"regexp"
	"slices"
	"time"
)

const usage = `go run ./bench [flags] compares the relay with Caddy's bare reverse_proxy.

It builds Caddy from this checkout and starts, each in a process of its own, an
upstream that answers only to the real key, a bare reverse_proxy that adds that
key, a second one like it, a relay, and nginx where it is installed. They have
their turns in random order, round after round, and the report, which is Markdown,
has ratios of the same round. What the two bare processes differ by is noise.
Where all work at the same time there is a second relay too, so that neither's
code is the warmer.

It needs Linux, and takes wrk to saturate and nginx as a reference where they are
installed (apt-get install wrk nginx-light). A full run takes half an hour; leave
the machine alone meanwhile. Everything is on 127.0.0.1.

  go run ./bench                          all scenarios
  go run ./bench -only 'small/|http2'     those whose names match
  go run ./bench -part memory             memory of idle streams and of tokens in use
  go run ./bench -part flood -for 10s     calls beside a flood of requests that are refused
  go run ./bench -short                   a minute; fails if the relay is grossly slower
  go run ./bench -svg latency.svg         and plots the latencies
  go run ./bench -rounds 9 -for 10s       for figures to publish

Flags:
`

const (
	defaultRounds   = 5
	defaultDuration = 4 * time.Second
	shortRounds     = 3
	shortDuration   = time.Second
	// grossLoss is below which ratio of throughput -short fails. It is far
	// below what the relay costs: machines that test are noisy.
	grossLoss = 0.75
)

// options are the flags.
type options struct {
	short          bool
	rounds         int
	duration       time.Duration
	only           *regexp.Regexp
	part, svg, raw string
	profiles       string
}

// parseFlags reads the flags, and has said what is wrong when it fails.
func parseFlags(args []string) (*options, error) {
	o := new(options)
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.BoolVar(&o.short, "short", false, fmt.Sprintf("measure little, and fail if the relay's throughput is less than %.2f of bare's", grossLoss))
	flags.IntVar(&o.rounds, "rounds", defaultRounds, "how often each subject has its turn")
	flags.DurationVar(&o.duration, "for", defaultDuration, "how long each measurement takes; wrk rounds up to seconds")
	flags.StringVar(&o.part, "part", "load", "load, memory, flood, or all for load and memory")
	flags.StringVar(&o.svg, "svg", "", "plot the latencies into this `file`")
	flags.StringVar(&o.raw, "json", "", "write the figures of each round to this `file`")
	flags.StringVar(&o.profiles, "profiles", "", "write CPU profiles of bare and relay into this `directory`, for go tool pprof")
	flags.Func("only", "only the scenarios whose names match this `regexp`", func(s string) (err error) {
		o.only, err = regexp.Compile(s)
		return err
	})
	flags.Usage = func() {
		fmt.Fprint(flags.Output(), usage)
		flags.PrintDefaults()
		fmt.Fprintln(flags.Output(), "\nScenarios:")
		for _, sc := range scenarios {
			fmt.Fprintf(flags.Output(), "  %-20s %s\n", sc.name, sc.about)
		}
	}
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	if flags.NArg() > 0 || o.rounds < 1 || o.duration <= 0 || !slices.Contains([]string{"load", "memory", "flood", "all"}, o.part) {
		flags.Usage()
		return nil, errors.New("bad flags")
	}
	if o.short {
		o.rounds, o.duration = min(o.rounds, shortRounds), min(o.duration, shortDuration)
	}
	return o, nil
}
