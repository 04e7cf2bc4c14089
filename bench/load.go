package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	vegeta "github.com/tsenart/vegeta/v12/lib"
)

const (
	connections = 64  // of a closed loop
	gateRate    = 200 // requests a second of an open loop
)

// target is what a load goes to.
type target struct {
	url    string
	body   []byte
	answer int // the length of every answer
	tokens *supply
	client *http.Client
}

// header is that of a request with the next token.
func (t *target) header() (http.Header, error) {
	token, err := t.tokens.take()
	return http.Header{"Authorization": {"Bearer " + token}, "Content-Type": {"application/json"}}, err
}

// load is what a closed loop did.
type load struct {
	requests int64
	took     time.Duration
}

// closedLoop keeps all connections busy, with this process as the generator.
func (t *target) closedLoop(ctx context.Context, d time.Duration) (load, error) {
	return t.saturate(ctx, vegeta.ConstantPacer{}, d)
}

// sendEach sends n requests, as fast as a closed loop goes.
func (t *target) sendEach(ctx context.Context, n int) (load, error) {
	if err := t.tokens.reserve(n); err != nil {
		return load{}, err
	}
	return t.saturate(ctx, countPacer(n), 0)
}

func (t *target) saturate(ctx context.Context, p vegeta.Pacer, d time.Duration) (load, error) {
	var l load
	var end time.Time
	begin := time.Now()
	err := attack(ctx, []*target{t}, p, d, func(_ int, r *vegeta.Result) {
		l.requests++
		end = r.End()
	}, vegeta.Workers(connections), vegeta.MaxWorkers(connections))
	l.took = end.Sub(begin)
	return l, err
}

// countPacer sends as fast as possible and stops after a number of requests.
type countPacer uint64

func (p countPacer) Pace(_ time.Duration, hits uint64) (time.Duration, bool) {
	return 0, hits >= uint64(p)
}

func (p countPacer) Rate(time.Duration) float64 { return 0 }

// attack sends requests and hands on the results, of which each must be as it
// should. Of several targets each has its turn, in an order that changes. Without
// further options there are as many workers as the pace needs.
func attack(ctx context.Context, targets []*target, p vegeta.Pacer, d time.Duration, each func(target int, r *vegeta.Result),
	options ...func(*vegeta.Attacker)) error {
	attacker := vegeta.NewAttacker(append(options, vegeta.Client(targets[0].client))...)
	defer context.AfterFunc(ctx, func() { attacker.Stop() })()
	var mu sync.Mutex
	var turns []int
	turn := func() *target {
		mu.Lock()
		defer mu.Unlock()
		if len(turns) == 0 {
			turns = rand.Perm(len(targets))
		}
		t := targets[turns[0]]
		turns = turns[1:]
		return t
	}
	aim := func(to *vegeta.Target) (err error) {
		t := turn()
		to.Method, to.URL, to.Body = http.MethodPost, t.url, t.body
		to.Header, err = t.header()
		return err
	}
	var failed error
	for r := range attacker.Attack(aim, p, d, "") {
		i := slices.IndexFunc(targets, func(t *target) bool { return t.url == r.URL })
		if err := targets[i].verify(r); err != nil {
			failed = cmp.Or(failed, fmt.Errorf("%s: %w", r.URL, err))
			attacker.Stop()
		}
		each(i, r)
	}
	return cmp.Or(ctx.Err(), failed)
}

func (t *target) verify(r *vegeta.Result) error {
	switch {
	case r.Code == 0:
		return errors.New(sample([]byte(r.Error)))
	case r.Code != http.StatusOK:
		return fmt.Errorf("an answer has status %d: %s", r.Code, sample(r.Body))
	case len(r.Body) != t.answer:
		return fmt.Errorf("an answer has %d bytes and not %d", len(r.Body), t.answer)
	}
	return nil
}

// sample is the beginning of a body, for an error.
func sample(body []byte) string {
	const most = 300
	text := strings.TrimSpace(string(body[:min(len(body), most)]))
	if strings.Contains(text, "eyJ") || strings.Contains(text, realKey) {
		return "(a text with what may be a token or key, not shown)"
	}
	return text
}
