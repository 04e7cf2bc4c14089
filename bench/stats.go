package main

import (
	"math"
	"slices"
	"time"
)

// figures are what was measured of a subject in a round, by metric.
type figures map[string]float64

// metric is something that is measured.
type metric struct {
	name, label string
	digits      int // after the point
}

// What is measured, by the names in figures and -json.
const (
	throughput = "throughput"
	latencyP50 = "latency_p50"
	latencyP99 = "latency_p99"
	lagP50     = "lag_p50"
	lagP99     = "lag_p99"
	lagMost    = "lag_most"
	lateShare  = "late"
	gateCPU    = "gate_cpu"
	cpuPer     = "cpu"
	allocsPer  = "allocs"
	resident   = "rss"

	requestsMade = "requests" // is checked, not shown
)

// metrics are in the order of the tables.
var metrics = []metric{
	{throughput, "throughput, 1/s", 0},
	{latencyP50, "latency p50, µs", 0},
	{latencyP99, "latency p99, µs", 0},
	{gateCPU, "CPU each at that rate, µs", 0},
	{lagP50, "lag p50, µs", 0},
	{lagP99, "lag p99, µs", 0},
	{lagMost, "lag at most, µs", 0},
	{lateShare, "over 5 ms after bare's p99, of 1000", 2},
	{cpuPer, "CPU each, µs", 1},
	{allocsPer, "allocations each", 1},
	{resident, "RSS, MiB", 1},
}

func micros(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 }

// quantile is of values in order of size.
func quantile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}

func median(all []time.Duration) time.Duration {
	return quantile(slices.Sorted(slices.Values(all)), 0.5)
}

// spread is some values: their median, least and greatest.
type spread struct{ median, least, most float64 }

func spreadOf(values []float64) spread {
	v := slices.Sorted(slices.Values(values))
	n := len(v)
	if n == 0 {
		return spread{math.NaN(), math.NaN(), math.NaN()}
	}
	return spread{(v[(n-1)/2] + v[n/2]) / 2, v[0], v[n-1]}
}

// nothing is below which a value, such as of allocations for a message, is no
// measure for another.
const nothing = 0.1

// ratios are of a metric, subject over bare, both of the same round. There are none
// if a round has no measure.
func ratios(subject, bare []figures, metric string) []float64 {
	var r []float64
	for i := range min(len(subject), len(bare)) {
		a, ok := subject[i][metric]
		b := bare[i][metric]
		if !ok || b < nothing {
			return nil
		}
		r = append(r, a/b)
	}
	return r
}

// noise is how far the second bare process strays from the first in any round.
func noise(control []float64) float64 {
	most := 0.0
	for _, r := range control {
		most = max(most, math.Abs(r-1))
	}
	return most
}

// values are a metric of a subject, of all rounds.
func values(of []figures, metric string) []float64 {
	var v []float64
	for _, f := range of {
		if x, ok := f[metric]; ok {
			v = append(v, x)
		}
	}
	return v
}
