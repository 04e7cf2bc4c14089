package grant

import (
	"fmt"
)

// MaxCalls is the largest "limits.calls": integers up to here survive every
// JSON parser (RFC 8259, section 6).
const MaxCalls = 1<<53 - 1

// MaxRate is the largest "limits.rpm" and "limits.concurrency".
const MaxRate = 1_000_000

// limits are all limits: the claim, where it is, and how large it may be.
var limits = []struct {
	claim string
	of    func(*Limits) **int64
	max   int64
}{
	{"calls", func(l *Limits) **int64 { return &l.Calls }, MaxCalls},
	{"rpm", func(l *Limits) **int64 { return &l.RPM }, MaxRate},
	{"concurrency", func(l *Limits) **int64 { return &l.Concurrency }, MaxRate},
}

// Validate checks the values. The error begins with the name of the claim.
func (l *Limits) Validate() error {
	if l == nil {
		return nil
	}
	for _, k := range limits {
		if n := *k.of(l); n != nil && (*n < 1 || *n > k.max) {
			return fmt.Errorf("%s must be from 1 to %d", k.claim, k.max)
		}
	}
	return nil
}

// under returns the limits that hold under a ceiling: its own where there is no
// other. It fails with the name of one that is higher.
func (l *Limits) under(ceiling Limits) (Limits, error) {
	var own Limits
	if l != nil {
		own = *l
	}
	for _, k := range limits {
		n, most := k.of(&own), *k.of(&ceiling)
		switch {
		case most == nil:
		case *n == nil:
			*n = most
		case **n > *most:
			return own, fmt.Errorf("%s is more than %d", k.claim, *most)
		}
	}
	return own, nil
}

// value is a limit as a number; 0: there is none.
func value(limit *int64) int64 {
	if limit == nil {
		return 0
	}
	return *limit
}
