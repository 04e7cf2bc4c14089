package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// session is a scenario under way: its subjects, started afresh, and its tokens.
type session struct {
	*setup
	*scenario
	wrk      *wrk
	tokens   *supply
	subjects []*subject
	met      []string // the tokens that acquaint has shown to the relay
	peak     float64  // more requests a second than any subject but nginx manages here
	ruler    *ruler   // nil: commits do not matter
}

// outcome is what came out of a scenario.
type outcome struct {
	scenario  *scenario
	rounds    map[string][]figures       // by subject
	latencies map[string][]time.Duration // at the gate's rate, of all rounds
	inARow    time.Duration              // how long a commit of SQLite takes, if that matters: one after the other,
	atTheGate []time.Duration            // and in each round beside the gate, as many as each subject gets requests
}

// supplyFor is the tokens of a scenario.
func (b *bench) supplyFor(sc *scenario) *supply {
	return &supply{size: sc.tokens, uses: sc.uses, mint: func(n int) ([]string, error) { return b.issuer.mint(n, sc.narrow) }}
}

// open starts a scenario's subjects in dir, where they may have been before, and
// warms them up.
func (b *bench) open(ctx context.Context, sc *scenario, dir string, tokens *supply) (_ *session, err error) {
	s := &session{setup: b.setup, scenario: sc, wrk: b.wrk, tokens: tokens, peak: firstPeak}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	names := slices.Clone(b.subjects)
	if sc.twin {
		names = append(names, relayAgain)
	}
	for _, name := range names {
		home := filepath.Join(dir, strings.ReplaceAll(name, " ", "-"))
		if name == relay && sc.known > 0 {
			if err := b.fill(ctx, sc, filepath.Join(home, storeFile)); err != nil {
				return nil, err
			}
		}
		env := []string{"BENCH_KEY=" + realKey}
		if isRelay(name) {
			env = append(env, sc.env...)
		}
		sub, err := b.startSubject(ctx, name, home, env)
		if err != nil {
			return nil, err
		}
		s.subjects = append(s.subjects, sub)
		if err := sub.until(func() error { return sc.work.probe(ctx, s, sub) }); err != nil {
			return nil, err
		}
	}
	return s, s.warm(ctx, b.progress)
}

// fill makes the store that a scenario begins with, if it is not there.
func (b *bench) fill(ctx context.Context, sc *scenario, file string) error {
	if _, err := os.Stat(file); err == nil {
		return nil
	}
	fmt.Fprintf(b.progress, "%s: filling the store with %d tokens\n", sc.name, sc.known)
	return fillStore(ctx, file, sc.known)
}

// firstPeak is an upper bound of requests a second before anything was measured.
const firstPeak = 20_000

// warm lets every subject work as it will be measured: connections are made,
// heaps have grown, tokens are known.
func (s *session) warm(ctx context.Context, progress io.Writer) error {
	best := 0.0
	for _, sub := range s.subjects {
		fmt.Fprintf(progress, "%s: warming up %s\n", s.name, sub.name)
		if err := s.acquaint(ctx, sub, warmUp); err != nil {
			return sub.failed(err)
		}
		f, _, err := s.work.measure(ctx, s, sub, warmUp)
		if err != nil {
			return sub.failed(err)
		}
		// Where tokens are used up, the relay never gains a half on bare.
		if sub.name == bare || sub.name == bareAgain {
			best = max(best, f[throughput])
			s.peak = 1.5 * best
		}
	}
	return nil
}

// acquaint shows the relay each token once, in scenarios where it is to know them,
// and that again when those that it knows do not suffice for a measurement.
func (s *session) acquaint(ctx context.Context, sub *subject, d time.Duration) error {
	w, ok := s.work.(httpWork)
	if !ok || !s.warmEach || sub.name != relay {
		return nil
	}
	if err := s.tokens.reserve(s.scenario.tokens + s.needed(d)); err != nil {
		return err
	}
	if tokens, _ := s.tokens.position(); len(s.met) > 0 && tokens[0] == s.met[0] {
		return nil
	}
	s.met, _ = s.tokens.position()
	_, err := w.target(s, sub).sendEach(ctx, s.scenario.tokens)
	return err
}

// needed is the most tokens that a measurement of small or large requests takes:
// an open loop, and a closed one with a second to spare, to which wrk rounds up.
func (s *session) needed(d time.Duration) int {
	return int(gateRate*(d+time.Second).Seconds()) + s.expected(d)
}

// tokensFor are the tokens that a subject's requests carry. To all but the relay
// they are but bytes.
func (s *session) tokensFor(sub *subject) *supply {
	if sub.name == relay {
		return s.tokens
	}
	if err := s.tokens.reserve(1); err != nil {
		return s.tokens // which will say it again
	}
	return s.tokens.shown()
}

func (s *session) close() {
	for _, sub := range s.subjects {
		sub.client.CloseIdleConnections()
		sub.stop()
	}
}

// run measures a scenario in rounds, for each of which the subjects are started
// anew: two processes of one program are not equally fast, and stay as they are.
func (b *bench) run(ctx context.Context, sc *scenario) (_ *outcome, err error) {
	dir, err := os.MkdirTemp(b.dir, "scenario-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	out := &outcome{scenario: sc, rounds: make(map[string][]figures), latencies: make(map[string][]time.Duration)}
	var ruler *ruler
	if sc.commits {
		if ruler, err = newRuler(ctx, filepath.Join(dir, "commit.db")); err != nil {
			return nil, err
		}
		defer ruler.db.Close()
		took, err := ruler.inARow(ctx, 300)
		if err != nil {
			return nil, err
		}
		out.inARow = median(took)
	}
	tokens := b.supplyFor(sc)
	for round := range b.rounds {
		if err := b.round(ctx, round, dir, tokens, ruler, out); err != nil {
			return nil, fmt.Errorf("%s: %w", sc.name, err)
		}
	}
	return out, nil
}

// round measures all subjects, each at its turn in an order of the round's own: what
// else the machine does is spread over all of them.
func (b *bench) round(ctx context.Context, round int, dir string, tokens *supply, ruler *ruler, out *outcome) error {
	s, err := b.open(ctx, out.scenario, dir, tokens)
	if err != nil {
		return err
	}
	defer s.close()
	s.ruler = ruler
	gate, err := s.gate(ctx, b, round, out)
	if err != nil {
		return err
	}
	for _, i := range rand.Perm(len(s.subjects)) {
		sub := s.subjects[i]
		if sub.name == relayAgain {
			continue
		}
		fmt.Fprintf(b.progress, "%s: round %d of %d, %s\n", s.name, round+1, b.rounds, sub.name)
		if err := s.acquaint(ctx, sub, b.duration); err != nil {
			return sub.failed(err)
		}
		f, latencies, err := s.checked(ctx, sub, b.duration)
		if err != nil {
			return sub.failed(err)
		}
		maps.Copy(f, gate[sub.name])
		out.rounds[sub.name] = append(out.rounds[sub.name], f)
		out.latencies[sub.name] = append(out.latencies[sub.name], latencies...)
		if b.profiles != "" && round+1 == b.rounds && (sub.name == bare || sub.name == relay) {
			if err := s.profile(ctx, sub, b.duration, b.profiles); err != nil {
				return sub.failed(err)
			}
		}
	}
	return nil
}

// gate measures all subjects at the gate, where the work has one.
func (s *session) gate(ctx context.Context, b *bench, round int, out *outcome) (figs map[string]figures, err error) {
	w, ok := s.work.(gated)
	if !ok {
		return nil, nil
	}
	fmt.Fprintf(b.progress, "%s: round %d of %d, all at the same time\n", s.name, round+1, b.rounds)
	for _, sub := range s.subjects {
		if err := s.acquaint(ctx, sub, b.duration); err != nil {
			return nil, sub.failed(err)
		}
	}
	var latencies map[string][]time.Duration
	err = s.check(ctx, func() (made float64, err error) {
		measure := func() (err error) {
			figs, latencies, err = w.gate(ctx, s, b.duration)
			return err
		}
		if s.ruler == nil {
			err = measure()
		} else {
			var took []time.Duration
			took, err = s.ruler.atTheGate(ctx, measure)
			out.atTheGate = append(out.atTheGate, median(took))
		}
		for _, f := range figs {
			made += f[requestsMade]
		}
		return made, err
	})
	for name, l := range latencies {
		out.latencies[name] = append(out.latencies[name], l...)
	}
	return figs, err
}

// checked is a measurement, with what the upstream saw of it.
func (s *session) checked(ctx context.Context, sub *subject, d time.Duration) (f figures, latencies []time.Duration, err error) {
	err = s.check(ctx, func() (float64, error) {
		f, latencies, err = s.work.measure(ctx, s, sub, d)
		return f[requestsMade], err
	})
	return f, latencies, err
}

// check lets something make requests, and is an error if not all of them reached
// the upstream as they should.
func (s *session) check(ctx context.Context, do func() (made float64, err error)) error {
	if _, err := takeCounts(ctx, s.upstream); err != nil {
		return err
	}
	made, err := do()
	served, seen := takeCounts(ctx, s.upstream)
	if seen != nil { // says more than that a request was refused
		return seen
	}
	if err == nil && served < int64(made) {
		err = fmt.Errorf("of %.0f requests, %d reached the upstream", made, served)
	}
	return err
}

// measureUpstream is how many requests a second the upstream answers without a
// proxy: far more than with one, or it would be what is measured.
func (b *bench) measureUpstream(ctx context.Context) (float64, error) {
	t := &target{url: "http://" + b.upstream + small.path, body: small.body, answer: small.answer, client: newClient(),
		tokens: &supply{size: 1, mint: func(int) ([]string, error) { return []string{realKey}, nil }}}
	l, err := small.saturate(ctx, &session{wrk: b.wrk, peak: firstPeak}, t, warmUp)
	return float64(l.requests) / l.took.Seconds(), err
}
