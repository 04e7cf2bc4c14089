package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/relayapi/caddy-relayapi/internal/adminapi"
)

const (
	// heartbeatTTL is how long the tokens outlive the last heartbeat. With a heartbeat
	// every heartbeatEvery, the relay revokes the tokens of a killed command within
	// five seconds.
	heartbeatTTL   = 4 * time.Second
	heartbeatEvery = time.Second

	// suspendedTTL is how long the tokens of a suspended command live.
	suspendedTTL = 24 * time.Hour

	// answerTimeout is how long to wait for the admin endpoint.
	answerTimeout = 2 * time.Second

	// missedHeartbeats is how many heartbeats may fail before the user is warned.
	missedHeartbeats = 3
)

// leased is a token that lives as long as its heartbeats.
type leased struct {
	adminapi.Identity
	provider string
}

// lease keeps the tokens of a run alive.
type lease struct {
	address string
	warn    io.Writer
	tokens  []leased

	mu        sync.Mutex
	suspended bool
	ended     bool
}

// inTime runs f and stops waiting for it after the timeout.
func inTime(timeout time.Duration, f func() error) error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	select {
	case err := <-done:
		return err
	case <-time.After(timeout):
		return errors.New("the admin endpoint does not answer")
	}
}

// beat sends a heartbeat for every token.
func (l *lease) beat(ttl time.Duration) error {
	body, err := json.Marshal(map[string]string{"ttl": ttl.String()})
	if err != nil {
		return err
	}
	tokens := l.tokens
	return inTime(answerTimeout, func() (err error) {
		for _, t := range tokens {
			var answer adminapi.Heartbeat
			err = errors.Join(err, ask(l.address, http.MethodPut, t.HeartbeatPath(), body, &answer))
		}
		return err
	})
}

// keep sends heartbeats until the lease ends. A failure does not end the command: the
// relay may be restarting.
func (l *lease) keep() {
	tick := time.NewTicker(heartbeatEvery)
	defer tick.Stop()
	missed := 0
	for range tick.C {
		l.mu.Lock()
		if l.ended {
			l.mu.Unlock()
			return
		}
		var err error
		if !l.suspended {
			err = l.beat(heartbeatTTL)
		}
		l.mu.Unlock()

		if missed++; err == nil {
			missed = 0
		}
		if missed == missedHeartbeats {
			fmt.Fprintf(l.warn, "relayapi: heartbeats fail, so the relay may refuse the tokens: %v\n", err)
		}
	}
}

// suspend keeps the tokens valid while the command is suspended.
func (l *lease) suspend() { l.pause(true, suspendedTTL) }

// resume makes the tokens depend on the next heartbeat again.
func (l *lease) resume() { l.pause(false, heartbeatTTL) }

func (l *lease) pause(suspended bool, ttl time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.suspended == suspended {
		return
	}
	l.suspended = suspended
	if err := l.beat(ttl); err != nil {
		fmt.Fprintf(l.warn, "relayapi: a heartbeat failed, so the relay may refuse the tokens: %v\n", err)
	}
}

// end revokes the tokens. A second call does nothing.
func (l *lease) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return
	}
	l.ended = true
	for _, t := range l.tokens {
		err := inTime(answerTimeout, func() error {
			var answer adminapi.Revoked
			return ask(l.address, http.MethodDelete, t.Path(), nil, &answer)
		})
		if err != nil {
			fmt.Fprintf(l.warn, "relayapi: revoking token %s failed; the relay revokes it %s after its last heartbeat: %v\n", t, heartbeatTTL, err)
		}
	}
}

// report prints the usage of the tokens.
func (l *lease) report() {
	for _, t := range l.tokens {
		var report adminapi.UsageReport
		err := inTime(answerTimeout, func() error {
			query := url.Values{"by": {"token"}, "token": {t.String()}}
			return ask(l.address, http.MethodGet, "/relayapi/usage?"+query.Encode(), nil, &report)
		})
		if err != nil {
			fmt.Fprintf(l.warn, "relayapi: %s: the usage of token %s is unknown: %v\n", t.provider, t, err)
			continue
		}
		used := sum(report.Rows)
		fmt.Fprintf(l.warn, "relayapi: %s: %s (token %s)\n", t.provider, usedText(&used), t)
	}
}

// usedText returns usage as text.
func usedText(u *adminapi.Usage) string {
	tokens := u.Input + u.CacheRead + u.CacheWrite + u.CacheWriteHour + u.Output +
		u.AudioInput + u.AudioOutput + u.ImageInput + u.ImageOutput
	text := fmt.Sprintf("%d calls, %d tokens, $%s", u.Calls, tokens, u.CostUSD)
	if u.Unmetered > 0 {
		text += fmt.Sprintf("; the provider did not report the usage of %d calls", u.Unmetered)
	}
	return text
}
