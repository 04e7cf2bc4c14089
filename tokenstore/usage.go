package tokenstore

import (
	"context"
	"errors"
	"sync"
	"time"
)

// Usage is what was used, of one call or of many.
type Usage struct {
	Calls          int64         `json:"calls"`
	Succeeded      int64         `json:"succeeded"`       // answered with less than 400
	ClientErrors   int64         `json:"client_errors"`   // 400 to 499
	ProviderErrors int64         `json:"provider_errors"` // 500 and more, or no answer
	BytesIn        int64         `json:"bytes_in"`        // of requests' bodies
	BytesOut       int64         `json:"bytes_out"`       // of answers' bodies
	Duration       time.Duration `json:"duration_ns"`
}

func (u *Usage) add(v Usage) {
	u.Calls += v.Calls
	u.Succeeded += v.Succeeded
	u.ClientErrors += v.ClientErrors
	u.ProviderErrors += v.ProviderErrors
	u.BytesIn += v.BytesIn
	u.BytesOut += v.BytesOut
	u.Duration += v.Duration
}

// Statistics are written behind, so that no call waits for them, and before lists and
// reports: only a crash loses those of the last seconds. They are written in pieces,
// because the grants of calls wait while a piece is written.
const (
	usageEvery = 15 * time.Second
	usagePiece = 16 // tokens
)

// observations are what was used since it was last written.
type observations struct {
	mu    sync.Mutex
	seen  map[observed]*observation
	order []observed // in which they came
}

type observed struct {
	identity
	day int64
}

type observation struct {
	token *Token
	day   int64 // its first second, UTC
	last  time.Time
	usage Usage
}

// Observe records what a call has used.
func (l *Ledger) Observe(t *Token, u Usage) {
	now := l.now()
	day := now.Unix() - now.Unix()%int64(24*time.Hour/time.Second)
	l.observations.add(observation{token: t, day: day, last: now, usage: u})
}

func (o *observations) add(more observation) {
	key := observed{identity{more.token.Issuer, more.token.ID}, more.day}
	o.mu.Lock()
	defer o.mu.Unlock()
	have := o.seen[key]
	if have == nil {
		if o.seen == nil {
			o.seen = make(map[observed]*observation)
		}
		first := more
		o.seen[key] = &first
		o.order = append(o.order, key)
		return
	}
	have.last = later(have.last, more.last)
	have.usage.add(more.usage)
}

func (o *observations) count() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.order)
}

// drain takes the oldest, n at most.
func (o *observations) drain(n int) []*observation {
	o.mu.Lock()
	defer o.mu.Unlock()
	n = min(n, len(o.order))
	drained := make([]*observation, n)
	for i, key := range o.order[:n] {
		drained[i] = o.seen[key]
		delete(o.seen, key)
	}
	if o.order = o.order[n:]; len(o.order) == 0 {
		o.seen, o.order = nil, nil // with the room that they had
	}
	return drained
}

// writeUsage makes what was observed durable. What cannot be written now is
// kept for the next time. Behind, it rests after each piece for as long as that
// took, until the ledger is closed: calls and streams want the processor too.
func (l *Ledger) writeUsage(behind bool) error {
	for left := l.observations.count(); left > 0; left -= usagePiece {
		if err := l.stopped(); errors.Is(err, errBroken) {
			return err
		}
		begin, piece := time.Now(), l.observations.drain(min(left, usagePiece))
		if err := l.db.addUsage(piece); err != nil {
			for _, o := range piece {
				l.observations.add(*o)
			}
			return l.failure(err)
		}
		if behind {
			select {
			case <-time.After(time.Since(begin)):
			case <-l.done:
			}
		}
	}
	return nil
}

// UsageRow is what was used on one day, for one provider, by one subject.
type UsageRow struct {
	Day      string `json:"day"` // as 2006-01-02, UTC
	Provider string `json:"provider"`
	Issuer   string `json:"issuer"`
	Subject  string `json:"subject"`
	Usage
}

// UsageFilter selects rows. Empty fields select all.
type UsageFilter struct {
	Provider, Issuer, Subject string
	From, To                  time.Time // days, both included
}

// UsageReport returns the rows that a filter selects, by day.
func (l *Ledger) UsageReport(ctx context.Context, f UsageFilter) ([]UsageRow, error) {
	if err := l.stopped(); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, unavailable(err)
	}
	if err := l.writeUsage(false); err != nil {
		return nil, err
	}
	rows, err := l.db.usage(f)
	if err != nil {
		return nil, l.failure(err)
	}
	return rows, nil
}
