package main

import (
	"cmp"
	"context"
	"time"
)

// besideRate is how many requests a second others make beside the calls that are
// measured: with tokens that were never seen, they take a third of a core. It is no
// multiple of the gate's rate: else one of them would come with every call.
const besideRate = 617

// besideWork is the calls of one token that is known, at the gate's rate, beside
// requests with the scenario's tokens: how much do those disturb it?
type besideWork struct{ others httpWork }

func (w besideWork) probe(ctx context.Context, s *session, sub *subject) error {
	return w.others.probe(ctx, s, sub)
}

func (w besideWork) measure(ctx context.Context, s *session, sub *subject, d time.Duration) (figures, []time.Duration, error) {
	others := w.others.target(s, sub)
	known := *others
	known.tokens = &supply{size: 1, mint: func(n int) ([]string, error) { return s.issuer.mint(n, s.narrow) }}
	if _, err := known.sendEach(ctx, 1); err != nil {
		return nil, nil, err
	}
	if err := others.tokens.reserve(int(besideRate*d.Seconds()) + 1); err != nil {
		return nil, nil, err
	}
	var beside [][]time.Duration
	done := make(chan error, 1)
	go func() {
		var err error
		beside, err = openLoops(ctx, []*target{others}, besideRate, d)
		done <- err
	}()
	latencies, err := openLoops(ctx, []*target{&known}, gateRate, d)
	if err := cmp.Or(<-done, err); err != nil {
		return nil, nil, err
	}
	l := latencies[0]
	return figures{requestsMade: float64(len(l) + len(beside[0])),
		latencyP50: micros(quantile(l, 0.5)), latencyP99: micros(quantile(l, 0.99))}, l, nil
}
