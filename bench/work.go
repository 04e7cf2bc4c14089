package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// work is what a subject is measured at.
type work interface {
	// probe sends one request and checks the answer.
	probe(ctx context.Context, s *session, sub *subject) error
	// measure works for a while in each of its ways. Latencies are those at
	// the gate's rate, if there are any.
	measure(ctx context.Context, s *session, sub *subject, d time.Duration) (figures, []time.Duration, error)
}

// httpWork is one request after the other, all the same but for the token.
type httpWork struct {
	path   string
	body   []byte
	answer int  // the length of the answer
	http2  bool // over TLS
}

func (w httpWork) target(s *session, sub *subject) *target {
	url := "http://" + sub.plain + w.path
	if w.http2 {
		url = "https://" + sub.secure + w.path
	}
	return &target{url: url, body: w.body, answer: w.answer, tokens: s.tokensFor(sub), client: sub.client}
}

func (w httpWork) probe(ctx context.Context, s *session, sub *subject) error {
	t := w.target(s, sub)
	res, err := t.send(ctx)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	switch {
	case err != nil:
		return err
	case res.StatusCode != http.StatusOK || len(body) != w.answer:
		return fmt.Errorf("the answer is %s, of %d bytes: %s", res.Status, len(body), sample(body))
	case w.http2 && res.ProtoMajor != 2:
		return fmt.Errorf("the answer came over %s, not HTTP/2", res.Proto)
	}
	return nil
}

// send sends one request.
func (t *target) send(ctx context.Context) (*http.Response, error) {
	if err := t.tokens.reserve(1); err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, "POST", t.url, strings.NewReader(string(t.body)))
	if err != nil {
		return nil, err
	}
	if req.Header, err = t.header(); err != nil {
		return nil, err
	}
	return t.client.Do(req)
}

// ask sends one request and tells what came of it, for an error of a generator
// that does not show answers.
func (t *target) ask(ctx context.Context) string {
	res, err := t.send(ctx)
	if err != nil {
		return sample([]byte(err.Error()))
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(res.Body)
	return res.Status + ": " + sample(body)
}

func (w httpWork) measure(ctx context.Context, s *session, sub *subject, d time.Duration) (figures, []time.Duration, error) {
	t, f := w.target(s, sub), figures{}
	m, err := sub.meter(ctx)
	if err != nil {
		return nil, nil, err
	}
	l, err := w.saturate(ctx, s, t, d)
	if err != nil {
		return nil, nil, err
	}
	f[requestsMade] = float64(l.requests)
	f[throughput] = float64(l.requests) / l.took.Seconds()
	return f, nil, m.read(ctx, l.requests, f)
}

// saturate runs a closed loop with the better generator that can do it.
func (w httpWork) saturate(ctx context.Context, s *session, t *target, d time.Duration) (load, error) {
	expected := s.expected(d)
	if s.wrk != nil && !w.http2 {
		return s.wrk.closedLoop(ctx, t, d, expected)
	}
	if err := t.tokens.reserve(expected); err != nil {
		return load{}, err
	}
	return t.closedLoop(ctx, d)
}

// expected is the most requests that a closed loop can become.
func (s *session) expected(d time.Duration) int {
	return int(s.peak * (d + time.Second).Seconds())
}
