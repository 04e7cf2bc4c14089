package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// Server-sent events come in two ways: paced, as a model writes, and as fast as
// they go.
const (
	pacedStreams = 200
	eventEvery   = 50 * time.Millisecond
	openWithin   = 21 * eventEvery      // all streams: so that events wait for events, and not for what opens streams
	tolerance    = 5 * time.Millisecond // after the time by which 99 % of bare's events have come
	fastStreams  = 8
	fastEvents   = 20_000 // of each
)

// sseWork is streams of server-sent events.
type sseWork struct {
	inTurn bool // paced ones of one subject after the other
}

func (sseWork) target(s *session, sub *subject, events int, every time.Duration) *target {
	url := fmt.Sprintf("http://%s%s?events=%d&every=%v", sub.plain, streamPath, events, every)
	return &target{url: url, body: small.body, tokens: s.tokensFor(sub), client: sub.client}
}

func (w sseWork) probe(ctx context.Context, s *session, sub *subject) error {
	return readStream(ctx, w.target(s, sub, 1, 0), 1, nil)
}

// measure is of streams as fast as they go.
func (w sseWork) measure(ctx context.Context, s *session, sub *subject, d time.Duration) (figures, []time.Duration, error) {
	n := min(fastEvents, int(fastEvents*d/defaultDuration))
	t, begin := w.target(s, sub, n, 0), time.Now()
	err := together(ctx, fastStreams, func(ctx context.Context, _ int) error { return readStream(ctx, t, n, nil) })
	return figures{requestsMade: fastStreams, throughput: float64(fastStreams*n) / time.Since(begin).Seconds()}, nil, err
}

// paced is the streams of one subject whose events come as a model writes.
type paced struct {
	*target
	meter *meter
	seen  atomic.Int64 // events, since there is a meter
	lags  [pacedStreams][]time.Duration
}

// gate has paced streams, and measures how long each event was on its way.
func (w sseWork) gate(ctx context.Context, s *session, d time.Duration) (map[string]figures, map[string][]time.Duration, error) {
	groups := [][]*subject{s.subjects}
	if w.inTurn {
		groups = groups[:0]
		for _, i := range rand.Perm(len(s.subjects)) {
			groups = append(groups, []*subject{s.subjects[i]})
		}
	}
	figs, lags := make(map[string]figures), make(map[string][]time.Duration)
	for _, group := range groups {
		all, err := w.stream(ctx, s, group, d)
		if err != nil {
			return nil, nil, err
		}
		for i, sub := range group {
			l := slices.Sorted(slices.Values(slices.Concat(all[i].lags[:]...)))
			f := figures{requestsMade: pacedStreams,
				lagP50: micros(quantile(l, 0.5)), lagP99: micros(quantile(l, 0.99)), lagMost: micros(l[len(l)-1])}
			if err := all[i].meter.read(ctx, all[i].seen.Load(), f); err != nil {
				return nil, nil, err
			}
			figs[sub.name], lags[sub.name] = f, l
		}
	}
	inTime := quantile(lags[bare], 0.99) + tolerance
	for name, l := range lags {
		last, _ := slices.BinarySearch(l, inTime)
		figs[name][lateShare] = 1000 * float64(len(l)-last) / float64(len(l))
	}
	return figs, nil, nil
}

// stream has paced streams of some subjects at the same time, each opened after one
// of every other.
func (w sseWork) stream(ctx context.Context, s *session, group []*subject, d time.Duration) ([]*paced, error) {
	events, subjects := max(1, int(d/eventEvery)), len(group)
	all := make([]*paced, subjects)
	for i, sub := range group {
		all[i] = &paced{target: w.target(s, sub, events, eventEvery)}
	}
	// What an event costs is measured here and not where several share a read, and
	// without the opening of the streams.
	metered := make(chan error, 1)
	time.AfterFunc(d/4, func() {
		var err error
		for i, sub := range group {
			var failed error
			all[i].meter, failed = sub.meter(ctx)
			all[i].seen.Store(0)
			err = cmp.Or(err, failed)
		}
		metered <- err
	})
	err := together(ctx, subjects*pacedStreams, func(ctx context.Context, i int) error {
		time.Sleep(openWithin * time.Duration(i) / time.Duration(subjects*pacedStreams))
		p, lags := all[i%subjects], make([]time.Duration, 0, events)
		err := readStream(ctx, p.target, events, func(lag time.Duration) {
			lags = append(lags, lag)
			p.seen.Add(1)
		})
		p.lags[i/subjects] = lags
		return err
	})
	return all, cmp.Or(err, <-metered)
}

// readStream reads a stream to its end. lag, if not nil, is told for each event
// how long it was on its way.
func readStream(ctx context.Context, t *target, events int, lag func(time.Duration)) error {
	res, err := t.send(ctx)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	lines := bufio.NewScanner(res.Body)
	for lines.Scan() {
		event, ok := bytes.CutPrefix(lines.Bytes(), []byte(eventPrefix))
		switch {
		case res.StatusCode != http.StatusOK:
			return fmt.Errorf("the answer is %s: %s", res.Status, sample(lines.Bytes()))
		case !ok:
			continue // the empty line after each event
		}
		events--
		if lag == nil {
			continue
		}
		digits, _, _ := bytes.Cut(event, []byte(","))
		sent, err := strconv.ParseInt(string(digits), 10, 64)
		if err != nil {
			return err
		}
		lag(time.Duration(time.Now().UnixNano() - sent))
	}
	if events != 0 && lines.Err() == nil {
		return fmt.Errorf("a stream ended %d events too early", events)
	}
	return lines.Err()
}

// together does n things at once. The first that fails ends the others.
func together(ctx context.Context, n int, do func(ctx context.Context, i int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			if err := do(ctx, i); err != nil {
				cancel(err)
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}
