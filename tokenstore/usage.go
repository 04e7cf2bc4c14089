package tokenstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// Usage is the usage of one or more calls. Kinds of tokens are disjoint, except that
// Reasoning is part of Output.
type Usage struct {
	Calls          int64         `json:"calls"`           // that reached the provider
	Succeeded      int64         `json:"succeeded"`       // answered with a status below 400
	ClientErrors   int64         `json:"client_errors"`   // answered with 400 to 499
	ProviderErrors int64         `json:"provider_errors"` // answered with 500 or more, or not at all
	BytesIn        int64         `json:"bytes_in"`        // of request bodies
	BytesOut       int64         `json:"bytes_out"`       // of response bodies
	Duration       time.Duration `json:"duration_ns"`

	Requests       int64 `json:"requests,omitzero"` // as the provider bills them
	Input          int64 `json:"input,omitzero"`    // tokens neither read from a cache nor written to one
	CacheRead      int64 `json:"cache_read,omitzero"`
	CacheWrite     int64 `json:"cache_write,omitzero"`      // kept for minutes
	CacheWriteHour int64 `json:"cache_write_hour,omitzero"` // kept for an hour
	Output         int64 `json:"output,omitzero"`
	Reasoning      int64 `json:"reasoning,omitzero"`
	AudioInput     int64 `json:"audio_input,omitzero"`
	AudioOutput    int64 `json:"audio_output,omitzero"`
	ImageInput     int64 `json:"image_input,omitzero"`
	ImageOutput    int64 `json:"image_output,omitzero"`
	Milliseconds   int64 `json:"milliseconds,omitzero"` // where the provider bills seconds
	Cost           int64 `json:"cost_nanousd,omitzero"`
	Unmetered      int64 `json:"unmetered,omitzero"`       // calls whose usage could not be read
	Overrun        int64 `json:"overrun_nanousd,omitzero"` // part of Cost beyond what the calls reserved
}

// usageColumns are the columns of a Usage, in the order of [Usage.counts].
// duration_us is the last.
var usageColumns = [...]string{
	"calls", "succeeded", "client_errors", "provider_errors", "bytes_in", "bytes_out",
	"requests", "input", "cache_read", "cache_write", "cache_write_hour", "output", "reasoning",
	"audio_input", "audio_output", "image_input", "image_output", "milliseconds", "cost", "unmetered", "overrun",
	"duration_us",
}

// counts returns pointers to all fields but Duration.
func (u *Usage) counts() [len(usageColumns) - 1]*int64 {
	return [...]*int64{
		&u.Calls, &u.Succeeded, &u.ClientErrors, &u.ProviderErrors, &u.BytesIn, &u.BytesOut,
		&u.Requests, &u.Input, &u.CacheRead, &u.CacheWrite, &u.CacheWriteHour, &u.Output, &u.Reasoning,
		&u.AudioInput, &u.AudioOutput, &u.ImageInput, &u.ImageOutput, &u.Milliseconds, &u.Cost, &u.Unmetered, &u.Overrun,
	}
}

func (u *Usage) add(v Usage) {
	more := v.counts()
	for i, n := range u.counts() {
		*n += *more[i]
	}
	u.Duration += v.Duration
}

// values returns the values of usageColumns.
func (u *Usage) values() []any {
	values := make([]any, 0, len(usageColumns))
	for _, n := range u.counts() {
		values = append(values, *n)
	}
	return append(values, u.Duration.Microseconds())
}

// into returns where to scan usageColumns. Call done after the scan.
func (u *Usage) into() (fields []any, done func()) {
	fields = make([]any, 0, len(usageColumns))
	for _, n := range u.counts() {
		fields = append(fields, n)
	}
	var micros int64
	return append(fields, &micros), func() { u.Duration = time.Duration(micros) * time.Microsecond }
}

// Statistics are flushed in the background, so that no call waits for them, and before
// lists and reports. A crash loses only those of the last seconds. They are written in
// pieces, because grants wait while a piece is written.
const (
	usageEvery = 15 * time.Second
	usagePiece = 16      // observations
	maxModel   = 128     // bytes of a model's name
	otherModel = "other" // the model of a longer name
)

// observations is the usage since the last flush.
type observations struct {
	mu    sync.Mutex
	seen  map[observed]*observation
	order []observed // of arrival

	writing sync.Mutex // held while drained ones are not durable
}

type observed struct {
	identity
	model string
	day   int64
}

type observation struct {
	token *Token
	model string
	day   int64 // its first second, UTC
	last  time.Time
	usage Usage
}

// Observe records the usage of a call. The model is empty if it is unknown. It must be
// a name that the provider knows, not one that a caller made up, because each name gets
// a row of its own.
func (l *Ledger) Observe(t *Token, model string, u Usage) {
	if len(model) > maxModel {
		model = otherModel
	}
	now := l.now()
	day := now.Unix() - now.Unix()%int64(24*time.Hour/time.Second)
	l.observations.add(observation{token: t, model: model, day: day, last: now, usage: u})
}

func (o *observations) add(more observation) {
	key := observed{identity{more.token.Issuer, more.token.ID}, more.model, more.day}
	o.mu.Lock()
	defer o.mu.Unlock()

	have := o.seen[key]
	if have == nil {
		if o.seen == nil {
			o.seen = make(map[observed]*observation)
		}
		o.seen[key] = &more
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

// drain removes the oldest observations, at most n.
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
		o.seen, o.order = nil, nil // free their memory
	}
	return drained
}

// writeUsage flushes the observations. It keeps those that it cannot write for the next
// time. In the background, it pauses after each piece for as long as that took, because
// calls and streams need the processor too.
func (l *Ledger) writeUsage(behind bool) error {
	for left := l.observations.count(); left > 0; left -= usagePiece {
		if err := l.stopped(); errors.Is(err, errBroken) {
			return err
		}
		begin := time.Now()
		if err := l.writePiece(min(left, usagePiece)); err != nil {
			return err
		}
		if behind {
			select {
			case <-time.After(time.Since(begin)):
			case <-l.done:
			}
		}
	}

	return l.writePiece(0) // somebody else may have drained the rest
}

// writePiece makes the oldest observations durable, at most n. It waits until those are
// that somebody else has drained.
func (l *Ledger) writePiece(n int) error {
	l.observations.writing.Lock()
	defer l.observations.writing.Unlock()

	piece := l.observations.drain(n)
	if len(piece) == 0 {
		return nil
	}
	if err := l.db.addUsage(piece); err != nil {
		for _, o := range piece {
			l.observations.add(*o)
		}
		return l.failure(fmt.Errorf("storing usage: %w", err))
	}
	return nil
}

// Dimension is a dimension that a usage report can be grouped by.
type Dimension string

// The dimensions.
const (
	ByDay      Dimension = "day"
	ByProvider Dimension = "provider"
	ByModel    Dimension = "model"
	ByIssuer   Dimension = "issuer"
	BySubject  Dimension = "subject"
	ByToken    Dimension = "token"
)

// Dimensions lists all dimensions, in the order in which rows are sorted.
var Dimensions = [...]Dimension{ByDay, ByProvider, ByModel, ByIssuer, BySubject, ByToken}

// column returns the column of a dimension.
func (d Dimension) column() string {
	if d == ByToken {
		return "token_id"
	}
	return string(d)
}

// UsageRow is usage by the dimensions of a report. The other dimensions are empty.
type UsageRow struct {
	Day      string `json:"day"` // as 2006-01-02, UTC
	Provider string `json:"provider"`
	Model    string `json:"model,omitempty"`
	Issuer   string `json:"issuer"`
	Subject  string `json:"subject"`
	Token    string `json:"token,omitempty"` // its id; tokens are told apart by issuer and id
	Usage
}

// UsageFilter selects rows and groups them. Empty fields select all.
type UsageFilter struct {
	Provider, Model, Issuer, Subject, Token string
	From, To                                time.Time // days, both included

	// By are the dimensions of the report. Default: day, provider, issuer and
	// subject. Grouping by token includes its issuer.
	By []Dimension

	// Top sorts the rows by usage in a unit, the largest first, and then by their
	// dimensions. Default: by their dimensions only.
	Top Unit
	// Limit is how many rows the report has at most. 0 means all.
	Limit int
}

// detailed reports whether the report needs subjects or tokens, and not only their sums.
func (f *UsageFilter) detailed(by []Dimension) bool {
	return f.Subject != "" || f.Token != "" || slices.Contains(by, BySubject) || slices.Contains(by, ByToken)
}

// order returns the columns to sort rows by before their dimensions.
func (f *UsageFilter) order() string {
	calls, tokens, cost := "sum(calls) DESC, ", "sum("+strings.Join(tokenColumns[:], " + ")+") DESC, ", "sum(cost) DESC, "
	switch f.Top {
	case UnitCalls:
		return calls
	case UnitTokens:
		return tokens + calls
	case UnitNanoUSD: // some calls have no known price
		return cost + tokens + calls
	}
	return ""
}

// tokenColumns are the columns that make up the tokens of models.
var tokenColumns = [...]string{
	"input", "cache_read", "cache_write", "cache_write_hour", "output", "audio_input", "audio_output", "image_input", "image_output",
}

// dimensions returns what to group by, in the order of [Dimensions].
func (f *UsageFilter) dimensions() ([]Dimension, error) {
	by := f.By
	if len(by) == 0 {
		by = []Dimension{ByDay, ByProvider, ByIssuer, BySubject}
	}
	for _, d := range by {
		if !slices.Contains(Dimensions[:], d) {
			return nil, fmt.Errorf("unknown dimension %q: must be one of %v", d, Dimensions)
		}
	}

	return slices.DeleteFunc(slices.Clone(Dimensions[:]), func(d Dimension) bool {
		return !slices.Contains(by, d) && !(d == ByIssuer && slices.Contains(by, ByToken))
	}), nil
}

// days returns the first and the last day in unix seconds.
func (f *UsageFilter) days() (from, to int64) {
	to = 1 << 62
	if !f.From.IsZero() {
		from = f.From.Unix()
	}
	if !f.To.IsZero() {
		to = f.To.Unix()
	}
	return from, to
}

// UsageReport returns the rows that a filter selects, sorted by their dimensions.
func (l *Ledger) UsageReport(ctx context.Context, f UsageFilter) ([]UsageRow, error) {
	if _, err := f.dimensions(); err != nil {
		return nil, err
	}
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
		return nil, l.failure(fmt.Errorf("reading usage: %w", err))
	}
	return rows, nil
}
