package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
	"golang.org/x/sync/errgroup"
)

const (
	rate            = 200  // paced calls a second to each subject
	largeRate       = 20   // of large bodies
	inTurnPerSecond = 250  // calls to each subject for a second of a measurement, where they are made one at a time
	coldPerSecond   = 3000 // tokens for a second at full speed, where each is used once; it ends when they are used
	connections     = 64   // that are kept busy where a subject is called as fast as it goes
	pacedStreams    = 200
	eventEvery      = 50 * time.Millisecond
	fastEvents      = 500 // of a stream
	idleStreams     = 1000
	goodRate        = 100  // calls a second beside a flood
	floodRate       = 1000 // refused requests a second
	cold            = "cold/h2"
)

// scenario has what prepares the calls of a subject, or what measures one by itself.
type scenario struct {
	name, protocol, path, about string
	prepare                     func(context.Context, *bench, *scenario, *subject) (call, error)
	alone                       func(context.Context, *bench, *scenario, *subject) (figures, error)
	rounds                      map[string][]figures // by subject
}

var scenarios = []scenario{
	{"small/h2", overH2, smallPath, "small JSON, to a provider over HTTP/2", prepareCalls, nil, nil},
	{"small/h1", overH1, smallPath, "small JSON, to a provider over HTTP/1.1 and TLS", prepareCalls, nil, nil},
	{"small/plain", overPlain, smallPath, "small JSON, to a provider over plain http", prepareCalls, nil, nil},
	{"large/h2", overH2, largePath, "bodies of 100 KiB there and back; with all policy the relay reads the model in them", prepareCalls, nil, nil},
	{cold, overH2, smallPath, "small JSON with tokens that are used once: the relay opens one for every call", prepareCalls, nil, nil},
	{"sse/h2", overH2, streamPath, "lag of 200 streams with an event every 50 ms, then events as fast as they go", nil, measureStreams, nil},
	{"websocket/h1", overH1, echoPath, "messages of 120 bytes there and back; the policy names no models", prepareSockets, nil, nil},
	{"idle/h2", overH2, streamPath, "resident memory of each of 1 000 idle streams", nil, measureIdle, nil},
}

// send sends a call with the next token.
func (b *bench) send(ctx context.Context, s *subject, protocol, path, query string, token func() string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.urls[protocol]+path+query, strings.NewReader(bodies[path]))
	if err != nil {
		return nil, err
	}
	req.Header = http.Header{"Authorization": {"Bearer " + token()}, "Content-Type": {"application/json"}}
	res, err := b.client.Do(req)
	if err == nil && res.StatusCode != http.StatusOK {
		defer res.Body.Close()
		text, _ := io.ReadAll(io.LimitReader(res.Body, 300))
		return nil, fmt.Errorf("%s answers %s: %s", s.name, res.Status, text)
	}
	return res, err
}

// call makes one call, and checks what comes back.
type call func(ctx context.Context) error

// caller makes calls over HTTP.
func (b *bench) caller(s *subject, protocol, path string, token func() string) call {
	return func(ctx context.Context) error {
		res, err := b.send(ctx, s, protocol, path, "", token)
		if err != nil {
			return err
		}
		defer res.Body.Close()
		n, err := io.Copy(io.Discard, res.Body)
		if want := len(answers[path]); err == nil && int(n) != want {
			err = fmt.Errorf("an answer of %s has %d bytes, not %d", s.name, n, want)
		}
		return err
	}
}

// prepareCalls prepares calls over HTTP. Cold ones have tokens of their own.
func prepareCalls(_ context.Context, b *bench, sc *scenario, s *subject) (_ call, err error) {
	token := s.tokens[sc.protocol]
	if sc.name == cold {
		token, err = s.mint(sc.protocol, oneModel, int((inTurnPerSecond+rate+coldPerSecond)*b.duration.Seconds()))
	}
	return b.caller(s, sc.protocol, sc.path, token), err
}

// measure measures subjects: by themselves, or with calls in all three ways.
func (sc *scenario) measure(ctx context.Context, b *bench, subjects []*subject) (err error) {
	all, calls := make([]figures, len(subjects)), make([]call, len(subjects))
	for _, i := range rand.Perm(len(subjects)) {
		if sc.alone != nil {
			all[i], err = sc.alone(ctx, b, sc, subjects[i])
		} else {
			calls[i], err = sc.prepare(ctx, b, sc, subjects[i])
		}
		if err != nil {
			return fmt.Errorf("%s: %w", subjects[i].name, err)
		}
	}
	if sc.alone == nil {
		err = sc.measureCalls(ctx, b, subjects, calls, all)
	}
	for i, s := range subjects {
		sc.rounds[s.name] = append(sc.rounds[s.name], all[i])
	}
	return err
}

// measureCalls calls subjects one call at a time, then paced, and then at full speed.
func (sc *scenario) measureCalls(ctx context.Context, b *bench, subjects []*subject, calls []call, all []figures) error {
	took, err := pace(ctx, calls, int(inTurnPerSecond*b.duration.Seconds()), 0)
	if err != nil {
		return err
	}
	before, rate := make([]time.Duration, len(subjects)), rate
	for i, s := range subjects {
		all[i], before[i] = figures{oneP50: quantile(took[i], 0.5), oneP99: quantile(took[i], 0.99)}, s.cpu()
	}

	if sc.path == largePath {
		rate = largeRate
	}
	n := int(float64(rate) * b.duration.Seconds())
	if took, err = pace(ctx, calls, n, time.Second/time.Duration(rate*len(calls))); err != nil {
		return err
	}
	for i, s := range subjects {
		all[i][pacedP50], all[i][pacedP99] = quantile(took[i], 0.5), quantile(took[i], 0.99)
		all[i][pacedCPU] = micros(s.cpu()-before[i]) / float64(n)
	}

	most := int64(math.MaxInt64)
	if sc.name == cold {
		most = int64(coldPerSecond * b.duration.Seconds())
	}
	for _, i := range rand.Perm(len(subjects)) {
		if err := b.meter(ctx, subjects[i], sc.name, all[i], calls[i], 1, most); err != nil {
			return err
		}
	}
	return nil
}

// pace makes n calls to each subject, in turn, and returns the latencies of each. With
// a pause a call begins at every pause; without, when the one before has ended.
func pace(ctx context.Context, calls []call, n int, pause time.Duration) ([][]time.Duration, error) {
	took := make([][]time.Duration, len(calls))
	for i := range took {
		took[i] = make([]time.Duration, n)
	}
	g, ctx := errgroup.WithContext(ctx)
	if pause == 0 {
		g.SetLimit(1)
	}
	next := time.Now()
	for round := range n {
		for _, i := range rand.Perm(len(calls)) {
			time.Sleep(time.Until(next))
			next = next.Add(pause)
			g.Go(func() error {
				begin := time.Now()
				err := calls[i](ctx)
				took[i][round] = time.Since(begin)
				return err
			})
		}
	}
	return took, g.Wait()
}

// saturate calls a subject as fast as it goes, for a while or until there were most
// calls, and returns how many there were.
func saturate(ctx context.Context, c call, d time.Duration, most int64) (float64, error) {
	var made atomic.Int64
	begin := time.Now()
	err := together(ctx, connections, func(ctx context.Context, _ int) error {
		for time.Since(begin) < d && made.Add(1) <= most {
			if err := c(ctx); err != nil {
				return err
			}
		}
		return nil
	})
	return float64(min(made.Load(), most)), err
}

// together does n things at once. The first that fails ends the others.
func together(ctx context.Context, n int, do func(ctx context.Context, i int) error) error {
	g, ctx := errgroup.WithContext(ctx)
	for i := range n {
		g.Go(func() error { return do(ctx, i) })
	}
	return g.Wait()
}

// meter measures, and profiles, a subject at full speed. Each call counts as some.
func (b *bench) meter(ctx context.Context, s *subject, name string, f figures, c call, each float64, most int64) error {
	var g errgroup.Group
	if b.profiles != "" && s.admin != "" {
		file := strings.NewReplacer("/", "-", ", ", "-", " ", "-").Replace(name + "-" + s.name + ".pprof")
		g.Go(func() error {
			data, err := s.ask(fmt.Sprintf("/debug/pprof/profile?seconds=%d", int(b.duration.Seconds())))
			return errors.Join(err, os.WriteFile(filepath.Join(b.profiles, file), data, 0o644))
		})
	}

	begin, cpu := time.Now(), s.cpu()
	n, err := saturate(ctx, c, b.duration, most)
	if err != nil {
		return err
	}
	f[throughput], f[busyCPU], f[resident] = n*each/time.Since(begin).Seconds(), micros(s.cpu()-cpu)/n/each, s.rss()/1024
	return g.Wait()
}

// ask reads a path of Caddy's admin endpoint.
func (s *subject) ask(path string) ([]byte, error) {
	res, err := http.Get(s.admin + path)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	return io.ReadAll(res.Body)
}

// quantile of latencies, in microseconds.
func quantile(took []time.Duration, q float64) float64 {
	sorted := slices.Sorted(slices.Values(took))
	return micros(sorted[min(len(sorted)-1, int(q*float64(len(sorted))))])
}

func micros(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 }

// measureStreams reads streams as a model writes them, and then at full speed.
func measureStreams(ctx context.Context, b *bench, sc *scenario, s *subject) (figures, error) {
	lags := make([][]time.Duration, pacedStreams)
	err := together(ctx, pacedStreams, func(ctx context.Context, k int) (err error) {
		time.Sleep(b.duration / 4 * time.Duration(k) / pacedStreams) // so that events wait for events, not for streams that open
		lags[k], err = b.readStream(ctx, s, sc, int(b.duration/eventEvery), eventEvery)
		return err
	})
	if err != nil {
		return nil, err
	}
	f := figures{lagP50: quantile(slices.Concat(lags...), 0.5), lagP99: quantile(slices.Concat(lags...), 0.99)}
	return f, b.meter(ctx, s, sc.name, f, func(ctx context.Context) error {
		_, err := b.readStream(ctx, s, sc, fastEvents, 0)
		return err
	}, fastEvents, math.MaxInt64)
}

// readStream reads a stream to its end and returns how long each event took.
func (b *bench) readStream(ctx context.Context, s *subject, sc *scenario, events int, every time.Duration) (lags []time.Duration, err error) {
	res, err := b.send(ctx, s, sc.protocol, sc.path, fmt.Sprintf("?events=%d&every=%v", events, every), s.tokens[sc.protocol])
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()

	lines := bufio.NewScanner(res.Body)
	for lines.Scan() {
		if event, ok := strings.CutPrefix(lines.Text(), eventStart); ok {
			sent, _ := strconv.ParseInt(event[:strings.IndexByte(event, ',')], 10, 64)
			lags = append(lags, time.Duration(time.Now().UnixNano()-sent))
		}
	}
	if len(lags) != events && lines.Err() == nil {
		return nil, fmt.Errorf("a stream ended after %d of %d events", len(lags), events)
	}
	return lags, lines.Err()
}

// measureIdle measures what open streams that say nothing add to the memory.
func measureIdle(ctx context.Context, b *bench, sc *scenario, s *subject) (figures, error) {
	if s.admin == "" {
		return nil, nil
	}
	ctx, cancel := context.WithCancel(ctx) // which ends the streams
	defer cancel()
	open := func(context.Context) error {
		res, err := b.send(ctx, s, sc.protocol, sc.path, "", s.tokens[sc.protocol])
		if err == nil {
			_, err = res.Body.Read(make([]byte, 1))
		}
		return err
	}

	_, err1 := s.ask("/debug/pprof/heap?gc=1")
	before := s.rss()
	_, err2 := pace(ctx, []call{open}, idleStreams, 0)
	_, err3 := s.ask("/debug/pprof/heap?gc=1")
	return figures{idleRSS: (s.rss() - before) / idleStreams}, errors.Join(err1, err2, err3)
}

// prepareSockets opens WebSockets. A call is a round trip over one of them.
func prepareSockets(ctx context.Context, b *bench, sc *scenario, s *subject) (call, error) {
	token, err := s.mint(sc.protocol, anyModel, connections)
	if err != nil {
		return nil, err
	}
	open, message := make(chan *websocket.Conn, connections), bytes.Repeat([]byte("x"), 120)
	for range connections {
		header := http.Header{"Authorization": {"Bearer " + token()}}
		conn, _, err := websocket.Dial(ctx, s.urls[sc.protocol]+sc.path, &websocket.DialOptions{HTTPClient: b.client, HTTPHeader: header})
		if err != nil {
			return nil, err
		}
		open <- conn
	}

	return func(ctx context.Context) error {
		conn := <-open
		defer func() { open <- conn }()
		if err := conn.Write(ctx, websocket.MessageText, message); err != nil {
			return err
		}
		_, back, err := conn.Read(ctx)
		if err == nil && !bytes.Equal(back, message) {
			err = fmt.Errorf("%s changed a message", s.name)
		}
		return err
	}, nil
}
