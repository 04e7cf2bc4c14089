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
	rate            = 200 // paced calls a second to each subject
	largeRate       = 20  // of large bodies
	inTurnPerSecond = 250 // calls to each subject for a second of a measurement, where they are made one at a time
	connections     = 64  // that are kept busy where a subject is called as fast as it goes
	pacedStreams    = 200
	eventEvery      = 50 * time.Millisecond
	fastEvents      = 500 // of a stream
	idleStreams     = 1000
)

// scenario is something that all subjects are measured at.
type scenario struct {
	name, protocol, path, about string
	measure                     func(context.Context, *bench, *scenario, []*subject) ([]figures, error)
}

const cold = "cold/h2"

var scenarios = []scenario{
	{"small/h2", overH2, smallPath, "small JSON, to a provider over HTTP/2", measureCalls},
	{"small/h1", overH1, smallPath, "small JSON, to a provider over HTTP/1.1 and TLS", measureCalls},
	{"small/plain", overPlain, smallPath, "small JSON, to a provider over plain http", measureCalls},
	{"large/h2", overH2, largePath, "bodies of 100 KiB there and back; with all policy the relay reads the model in them", measureCalls},
	{cold, overH2, smallPath, "small JSON with tokens that are used once: the relay opens one for every call", measureCalls},
	{"sse/h2", overH2, streamPath, "server-sent events: lag of 200 streams with an event every 50 ms, then events as fast as they go", measureStreams},
	{"websocket/h1", overH1, echoPath, "messages of 120 bytes there and back; the policy names no models", measureSockets},
	{"idle/h2", overH2, streamPath, "resident memory of each of 1 000 idle streams", measureIdle},
}

// send sends a call with the next token.
func (s *subject) send(ctx context.Context, protocol, path, query string, token func() string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.urls[protocol]+path+query, strings.NewReader(bodies[path]))
	if err != nil {
		return nil, err
	}
	req.Header = http.Header{"Authorization": {"Bearer " + token()}, "Content-Type": {"application/json"}}
	res, err := s.client.Do(req)
	if err == nil && res.StatusCode != http.StatusOK {
		defer res.Body.Close()
		text, _ := io.ReadAll(io.LimitReader(res.Body, 300))
		return nil, fmt.Errorf("%s answers %s: %s", s.name, res.Status, text)
	}
	return res, err
}

// call makes one call, and checks what comes back.
type call func(ctx context.Context) error

// caller makes calls with some tokens.
func (s *subject) caller(protocol, path string, token func() string) call {
	return func(ctx context.Context) error {
		res, err := s.send(ctx, protocol, path, "", token)
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

// measureCalls makes calls over HTTP. Cold ones have tokens of their own.
func measureCalls(ctx context.Context, b *bench, sc *scenario, subjects []*subject) (_ []figures, err error) {
	calls, most := make([]call, len(subjects)), int64(math.MaxInt64)
	for i, s := range subjects {
		token := s.tokens[sc.protocol]
		if sc.name == cold {
			most = int64(3000 * b.duration.Seconds())
			if token, err = s.mint(sc.protocol, oneModel, int(most)+int((inTurnPerSecond+rate)*b.duration.Seconds())); err != nil {
				return nil, err
			}
		}
		calls[i] = s.caller(sc.protocol, sc.path, token)
	}
	return b.measure(ctx, sc, subjects, calls, most)
}

// measure calls all subjects one call at a time, then at a fixed rate, and then each
// as fast as it goes, but not more often than most.
func (b *bench) measure(ctx context.Context, sc *scenario, subjects []*subject, calls []call, most int64) ([]figures, error) {
	took, err := pace(ctx, calls, int(inTurnPerSecond*b.duration.Seconds()), 0)
	if err != nil {
		return nil, err
	}
	all, before := make([]figures, len(subjects)), make([]time.Duration, len(subjects))
	for i, s := range subjects {
		all[i], before[i] = figures{oneP50: quantile(took[i], 0.5), oneP99: quantile(took[i], 0.99)}, s.cpu()
	}

	each := rate
	if sc.path == largePath {
		each = largeRate
	}
	if took, err = pace(ctx, calls, int(float64(each)*b.duration.Seconds()), time.Second/time.Duration(each*len(calls))); err != nil {
		return nil, err
	}
	for i, s := range subjects {
		all[i][pacedP50], all[i][pacedP99] = quantile(took[i], 0.5), quantile(took[i], 0.99)
		if s.cmd != nil {
			all[i][pacedCPU] = micros(s.cpu()-before[i]) / float64(len(took[i]))
		}
	}

	for _, i := range rand.Perm(len(subjects)) {
		err := b.meter(subjects[i], sc.name, all[i], func() (int, error) { return saturate(ctx, calls[i], b.duration, most) })
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}

// pace makes n calls to each subject, one after the other in an order that changes:
// none has the better moment. With a pause there is one call at each, however long
// they take; without, one call at a time. It returns the latencies of each subject.
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
func saturate(ctx context.Context, c call, d time.Duration, most int64) (int, error) {
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
	return int(min(made.Load(), most)), err
}

// together does n things at once. The first that fails ends the others.
func together(ctx context.Context, n int, do func(ctx context.Context, i int) error) error {
	g, ctx := errgroup.WithContext(ctx)
	for i := range n {
		g.Go(func() error { return do(ctx, i) })
	}
	return g.Wait()
}

// meter measures what a subject uses for some work, which tells how much it was. If
// profiles are wanted, it writes one of the Caddy meanwhile.
func (b *bench) meter(s *subject, name string, f figures, work func() (int, error)) error {
	var g errgroup.Group
	if b.profiles != "" && s.cmd != nil {
		file := strings.NewReplacer("/", "-", ", ", "-", " ", "-").Replace(name + "-" + s.name + ".pprof")
		g.Go(func() error {
			data, err := s.ask(fmt.Sprintf("/debug/pprof/profile?seconds=%d", int(b.duration.Seconds())))
			return errors.Join(err, os.WriteFile(filepath.Join(b.profiles, file), data, 0o644))
		})
	}

	begin, cpu := time.Now(), s.cpu()
	n, err := work()
	if err != nil {
		return err
	}
	f[throughput] = float64(n) / time.Since(begin).Seconds()
	if s.cmd != nil {
		f[busyCPU], f[resident] = micros(s.cpu()-cpu)/float64(n), s.rss()/1024
	}
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

// collected is the resident memory after a garbage collection, in KiB.
func (s *subject) collected() float64 {
	_, _ = s.ask("/debug/pprof/heap?gc=1") // which the next call would tell
	return s.rss()
}

// quantile of latencies, in microseconds.
func quantile(took []time.Duration, q float64) float64 {
	sorted := slices.Sorted(slices.Values(took))
	return micros(sorted[min(len(sorted)-1, int(q*float64(len(sorted))))])
}

func micros(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 }

// measureStreams reads streams of one subject after the other.
func measureStreams(ctx context.Context, b *bench, sc *scenario, subjects []*subject) ([]figures, error) {
	all := make([]figures, len(subjects))
	for _, i := range rand.Perm(len(subjects)) {
		s, lags := subjects[i], make([][]time.Duration, pacedStreams)
		err := together(ctx, pacedStreams, func(ctx context.Context, k int) (err error) {
			time.Sleep(b.duration / 4 * time.Duration(k) / pacedStreams) // so that events wait for events, not for streams that open
			lags[k], err = s.readStream(ctx, sc, int(b.duration/eventEvery), eventEvery)
			return err
		})
		if err != nil {
			return nil, err
		}
		all[i] = figures{lagP50: quantile(slices.Concat(lags...), 0.5), lagP99: quantile(slices.Concat(lags...), 0.99)}

		fast := func(ctx context.Context) error {
			_, err := s.readStream(ctx, sc, fastEvents, 0)
			return err
		}
		err = b.meter(s, sc.name, all[i], func() (int, error) {
			n, err := saturate(ctx, fast, b.duration, math.MaxInt64)
			return n * fastEvents, err
		})
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}

// readStream reads a stream to its end and returns how long each event was on its
// way.
func (s *subject) readStream(ctx context.Context, sc *scenario, events int, every time.Duration) (lags []time.Duration, err error) {
	res, err := s.send(ctx, sc.protocol, sc.path, fmt.Sprintf("?events=%d&every=%v", events, every), s.tokens[sc.protocol])
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()

	lines := bufio.NewScanner(res.Body)
	for lines.Scan() {
		if event, ok := strings.CutPrefix(lines.Text(), eventStart); ok {
			digits, _, _ := strings.Cut(event, ",")
			sent, _ := strconv.ParseInt(digits, 10, 64)
			lags = append(lags, time.Duration(time.Now().UnixNano()-sent))
		}
	}
	if len(lags) != events && lines.Err() == nil {
		return nil, fmt.Errorf("a stream ended after %d of %d events", len(lags), events)
	}
	return lags, lines.Err()
}

// measureIdle opens streams that say nothing after their first event.
func measureIdle(ctx context.Context, _ *bench, sc *scenario, subjects []*subject) ([]figures, error) {
	ctx, cancel := context.WithCancel(ctx) // which ends the streams
	defer cancel()
	all := make([]figures, len(subjects))
	for i, s := range subjects {
		if s.cmd == nil {
			continue
		}
		open := func(context.Context) error {
			res, err := s.send(ctx, sc.protocol, sc.path, "", s.tokens[sc.protocol])
			if err == nil {
				_, err = res.Body.Read(make([]byte, 1))
			}
			return err
		}
		before := s.collected()
		if _, err := pace(ctx, []call{open}, idleStreams, 0); err != nil {
			return nil, err
		}
		all[i] = figures{idleRSS: (s.collected() - before) / idleStreams}
	}
	return all, nil
}

// measureSockets makes round trips over WebSockets.
func measureSockets(ctx context.Context, b *bench, sc *scenario, subjects []*subject) ([]figures, error) {
	var calls []call
	message := bytes.Repeat([]byte("x"), 120)
	for _, s := range subjects {
		token, err := s.mint(sc.protocol, anyModel, connections)
		if err != nil {
			return nil, err
		}
		open := make(chan *websocket.Conn, connections)
		for range connections {
			header := http.Header{"Authorization": {"Bearer " + token()}}
			conn, _, err := websocket.Dial(ctx, s.urls[sc.protocol]+sc.path, &websocket.DialOptions{HTTPClient: s.client, HTTPHeader: header})
			if err != nil {
				return nil, fmt.Errorf("%s: %w", s.name, err)
			}
			defer conn.CloseNow()
			open <- conn
		}
		calls = append(calls, func(ctx context.Context) error {
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
		})
	}
	return b.measure(ctx, sc, subjects, calls, math.MaxInt64)
}
