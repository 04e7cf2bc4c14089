// Command bench compares a relay with bare Caddy: the same binary, on the same
// machine, in the same minute, with all policy on and every count durable.
//
//	go run ./bench --help
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

// bench is a run of the whole.
type bench struct {
	*setup
	wrk      *wrk
	machine  *machine
	alone    float64 // requests a second of the upstream without a proxy
	files    int     // that a process may have open
	dir      string  // for all files of the run
	subjects []string
	rounds   int
	duration time.Duration
	profiles string // a directory for CPU profiles, or none
	progress io.Writer
}

func main() {
	if len(os.Args) == 3 && os.Args[1] == upstreamCommand {
		fmt.Fprintln(os.Stderr, serveUpstream(os.Args[2]))
		os.Exit(1)
	}
	opts, err := parseFlags(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		os.Exit(2) // the flag package has said why
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err = runAll(ctx, opts)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// runAll prepares what all parts need, runs them, and leaves nothing behind.
func runAll(ctx context.Context, o *options) error {
	files, err := openFiles(wantFiles)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "relayapi-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	b := &bench{dir: dir, rounds: o.rounds, duration: o.duration, profiles: o.profiles, progress: os.Stderr, wrk: findWrk(dir), files: int(files)}
	upstream, err := b.prepare(ctx, o)
	if upstream != nil {
		defer upstream.stop()
	}
	if err != nil {
		return err
	}
	if o.part == "flood" {
		return b.runFlood(ctx, os.Stdout)
	}
	if o.part != "memory" {
		if err := b.runLoad(ctx, o, os.Stdout); err != nil {
			return err
		}
	}
	if o.part != "load" {
		return b.runMemory(ctx, os.Stdout)
	}
	return nil
}

// prepare builds Caddy, makes the keys and starts the upstream.
func (b *bench) prepare(ctx context.Context, o *options) (*process, error) {
	b.subjects = []string{bare, bareAgain, relay}
	if _, err := exec.LookPath(nginx); err == nil && !o.short {
		b.subjects = append(b.subjects, nginx)
	}
	var err error
	if b.machine, err = thisMachine(ctx, b.wrk); err != nil {
		return nil, err
	}
	fmt.Fprintln(b.progress, "building Caddy with this module")
	b.setup = new(setup)
	if b.caddy, err = buildCaddy(ctx, b.dir); err != nil {
		return nil, err
	}
	if b.cert, b.key, err = writeCertificate(b.dir); err != nil {
		return nil, err
	}
	if b.issuer, err = newIssuer(); err != nil {
		return nil, err
	}
	dir := filepath.Join(b.dir, "upstream")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	p, address, err := startUpstream(ctx, dir)
	b.upstream = address
	return p, err
}

// runLoad runs the scenarios that are wanted.
func (b *bench) runLoad(ctx context.Context, o *options, w io.Writer) (err error) {
	if b.alone, err = b.measureUpstream(ctx); err != nil {
		return fmt.Errorf("the upstream alone: %w", err)
	}
	writeHead(w, b)
	var outcomes []*outcome
	for i := range scenarios {
		sc := &scenarios[i]
		if o.only != nil && !o.only.MatchString(sc.name) || o.only == nil && o.short && !sc.short {
			continue
		}
		out, err := b.run(ctx, sc)
		if err != nil {
			return err
		}
		writeTable(w, out)
		outcomes = append(outcomes, out)
	}
	if len(outcomes) == 0 {
		return errors.New("no scenario has a name that matches: see --help")
	}
	if o.raw != "" {
		if err := writeRaw(o.raw, b.machine, outcomes); err != nil {
			return err
		}
	}
	if o.svg != "" {
		if err := os.WriteFile(o.svg, plot(outcomes), 0o644); err != nil {
			return err
		}
	}
	if o.short {
		return grossLosses(outcomes)
	}
	return nil
}

// grossLosses is an error if the relay is far slower than bare, and that is no
// noise.
func grossLosses(outcomes []*outcome) error {
	var errs []error
	for _, out := range outcomes {
		r := spreadOf(ratios(out.rounds[relay], out.rounds[bare], throughput)).median
		if r < grossLoss && out.difference(throughput) != none {
			errs = append(errs, fmt.Errorf("%s: the relay has %.2f of bare's throughput, and %.2f is the least", out.scenario.name, r, grossLoss))
		}
	}
	return errors.Join(errs...)
}
