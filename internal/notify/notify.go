// Package notify delivers warnings about limits: to the log, as a Caddy event, and to a
// URL.
//
// The store raises a warning once and keeps it until it is delivered. A [Notifier]
// claims the warning, so that only one of several relays delivers it, and then reports
// the outcome to the store. If the relay dies in between, its claim ends after half a
// minute. Another relay, or the same one after a restart, then delivers the warning
// again. So each warning arrives at least once, and usually exactly once. A receiver
// recognizes repeats by the identifier.
package notify

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/relayapi/caddy-relayapi/tokenstore"
	"go.uber.org/zap"
)

// Store keeps warnings until they are delivered. It is a [tokenstore.Ledger].
type Store interface {
	WarningsRaised() <-chan struct{}
	ClaimWarnings(ctx context.Context, n int, lasts time.Duration) ([]tokenstore.Warning, error)
	SettleWarning(w tokenstore.Warning, next time.Time) error
}

// Notifier delivers the warnings of a store.
type Notifier struct {
	Store  Store
	Config *Config // provisioned; nil means that warnings are only logged and emitted
	Logger *zap.Logger
	Emit   func(event string, data map[string]any)

	// Ready reports whether handlers of events can be called.
	Ready func() bool

	client http.Client
}

// Event is the name of the event.
const Event = "relayapi_limit_warning"

const (
	readyEvery = 50 * time.Millisecond
	lookEvery  = 5 * time.Second  // for warnings of other processes, and for retries
	batch      = 8                // warnings to deliver at once
	claimLasts = 30 * time.Second // longer than an attempt takes
	timeout    = 10 * time.Second // of one attempt
	firstRetry = 5 * time.Second
	mostRetry  = time.Hour
	giveUp     = 72 * time.Hour // after the warning was raised
	maxAnswer  = 4 << 10        // bytes of a response to read, so that the connection is reused
)

// Start delivers warnings until stop is called. stop waits for deliveries in progress.
func (n *Notifier) Start() (stop func()) {
	n.client = http.Client{
		Timeout:       timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport:     n.client.Transport,
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { n.run(ctx) })
	return func() {
		cancel()
		running.Wait()
		n.client.CloseIdleConnections()
	}
}

func (n *Notifier) run(ctx context.Context) {
	for !n.Ready() {
		select {
		case <-time.After(readyEvery):
		case <-ctx.Done():
			return
		}
	}

	failing := false
	for {
		all, err := n.deliverSome(ctx)
		if err != nil && !failing && ctx.Err() == nil {
			n.Logger.Error("reading warnings about limits", zap.Error(err)) // once: the store reports its own failures
		}
		failing = err != nil
		if err == nil && !all {
			continue
		}
		select {
		case <-n.Store.WarningsRaised():
		case <-time.After(lookEvery):
		case <-ctx.Done():
			return
		}
	}
}

// deliverSome delivers one batch of warnings, and reports whether no more are waiting.
func (n *Notifier) deliverSome(ctx context.Context) (all bool, err error) {
	warnings, err := n.Store.ClaimWarnings(ctx, batch, claimLasts)
	if err != nil {
		return false, err
	}
	var delivering sync.WaitGroup
	for i := range warnings {
		delivering.Go(func() { n.deliver(ctx, &warnings[i]) })
	}
	delivering.Wait()
	return len(warnings) < batch, nil
}

// deliver makes one attempt to deliver a warning. It logs and emits the warning before
// the first attempt, and again if the relay died during that attempt.
func (n *Notifier) deliver(ctx context.Context, w *tokenstore.Warning) {
	m := messageOf(w)
	if w.Attempts == 0 {
		n.Logger.Warn(map[int]string{80: "a limit is nearly used up", 100: "a limit is used up"}[w.Threshold], m.log()...)
		n.Emit(Event, m.Fields())
	}

	var next time.Time
	if n.Config != nil {
		err := n.send(ctx, m)
		now := time.Now()
		attempt := []zap.Field{zap.String("id", m.ID), zap.Int("attempt", w.Attempts+1), zap.String("host", n.Config.url.Host)}
		switch {
		case err == nil:
			n.Logger.Debug("sent a warning about a limit", attempt...)
		case ctx.Err() != nil: // the next config retries
			next = now
		case now.Sub(w.RaisedAt) > giveUp:
			n.Logger.Error("gave up sending a warning about a limit", append(attempt, zap.Error(err))...)
		default:
			next = now.Add(pause(w.Attempts))
			n.Logger.Warn("sending a warning about a limit failed; it will be retried", append(attempt, zap.Time("next", next), zap.Error(err))...)
		}
	}
	if err := n.Store.SettleWarning(*w, next); err != nil {
		n.Logger.Error("recording that a warning was sent failed; it will be sent again", zap.String("id", m.ID), zap.Error(err))
	}
}

// pause returns how long to wait after another failed attempt, given the number of
// earlier ones. It is randomized, so that a recovered receiver does not get all retries
// at once.
func pause(attempts int) time.Duration {
	d := mostRetry
	if attempts < 20 { // beyond that it would overflow
		d = min(d, firstRetry<<attempts)
	}
	return d + rand.N(d/8)
}

// send makes one attempt. Its errors do not quote the URL.
func (n *Notifier) send(ctx context.Context, m *Message) error {
	body, err := m.encode()
	if err != nil {
		return fmt.Errorf("encoding: %w", err)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, n.Config.url.String(), bytes.NewReader(body))
	if err != nil {
		return errors.New("the URL is invalid")
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", "RelayAPI")
	sign(r.Header, n.Config.key, m.ID, body, time.Now())

	res, err := n.client.Do(r)
	if err != nil {
		var outer *url.Error
		if errors.As(err, &outer) {
			err = outer.Err
		}
		return err
	}
	defer res.Body.Close()
	_, _ = io.CopyN(io.Discard, res.Body, maxAnswer)
	if res.StatusCode < 200 || res.StatusCode > 299 {
		return fmt.Errorf("the receiver answered with status %d, want 2xx", res.StatusCode)
	}
	return nil
}
