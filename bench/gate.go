package main

import (
	"context"
	"slices"
	"time"

	vegeta "github.com/tsenart/vegeta/v12/lib"
)

// gated is work that is also measured at the gate: at a fixed rate, which leaves the
// machine idle now and then, and of all subjects at the same time.
type gated interface {
	// gate returns what was measured of each subject, and its latencies in order
	// of size.
	gate(ctx context.Context, s *session, d time.Duration) (map[string]figures, map[string][]time.Duration, error)
}

// gate sends requests to all subjects at the same time, to each in turn: a machine is not the same from one second to the next, and
// this way no subject has the better one.
func (w httpWork) gate(ctx context.Context, s *session, d time.Duration) (map[string]figures, map[string][]time.Duration, error) {
	targets, before := make([]*target, len(s.subjects)), make([]time.Duration, len(s.subjects))
	for i, sub := range s.subjects {
		targets[i] = w.target(s, sub)
		if err := targets[i].tokens.reserve(int(d.Seconds()*gateRate) + 1); err != nil {
			return nil, nil, err
		}
		var err error
		if before[i], err = sub.cpu(); err != nil {
			return nil, nil, err
		}
	}
	latencies, err := openLoops(ctx, targets, gateRate, d)
	if err != nil {
		return nil, nil, err
	}
	figs, byName := make(map[string]figures), make(map[string][]time.Duration)
	for i, sub := range s.subjects {
		cpu, err := sub.cpu()
		if err != nil {
			return nil, nil, err
		}
		figs[sub.name] = figures{
			latencyP50: micros(quantile(latencies[i], 0.5)), latencyP99: micros(quantile(latencies[i], 0.99)),
			gateCPU: micros(cpu-before[i]) / float64(len(latencies[i])), requestsMade: float64(len(latencies[i])),
		}
		byName[sub.name] = latencies[i]
	}
	return figs, byName, nil
}

// openLoops sends requests at a fixed rate to each target, however long each
// takes, and returns the latencies of each in order of size.
func openLoops(ctx context.Context, targets []*target, rate int, d time.Duration) ([][]time.Duration, error) {
	latencies := make([][]time.Duration, len(targets))
	pace := vegeta.ConstantPacer{Freq: rate * len(targets), Per: time.Second}
	err := attack(ctx, targets, pace, d, func(i int, r *vegeta.Result) { latencies[i] = append(latencies[i], r.Latency) })
	for _, l := range latencies {
		slices.Sort(l)
	}
	return latencies, err
}
