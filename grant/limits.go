package grant

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// Upper bounds of limits.
const (
	// MaxCalls is the largest "limits.calls" and "limits.tokens": every JSON
	// parser reads integers up to here exactly (RFC 8259, section 6).
	MaxCalls = 1<<53 - 1

	// MaxRate is the largest "limits.rpm" and "limits.concurrency".
	MaxRate = 1_000_000

	// MaxUSD is the largest "limits.usd", a million dollars.
	MaxUSD USD = 1_000_000 * dollar
)

// dollar is one US dollar in nano-USD.
const dollar = 1_000_000_000

// USD is an amount in nano-USD, 10⁻⁹ US dollars. In JSON it is a decimal string
// of dollars: "1.50".
type USD int64

// decimal is an amount of dollars: no sign, no exponent, at most 9 decimals.
var decimal = regexp.MustCompile(`^(0|[1-9][0-9]{0,8})(?:\.([0-9]{1,9}))?$`)

// ParseUSD parses a decimal string of dollars exactly.
func ParseUSD(s string) (USD, error) {
	m := decimal.FindStringSubmatch(s)
	if m == nil {
		return 0, errors.New("is not a positive decimal number of at most 9 decimals")
	}

	nano, err := strconv.ParseInt(m[1]+(m[2] + "000000000")[:9], 10, 64)
	return USD(nano), err // 18 digits always fit
}

// String returns u as a decimal number of dollars with at least two decimals.
func (u USD) String() string {
	whole, fraction := int64(u)/dollar, int64(u)%dollar
	digits := strings.TrimRight(fmt.Sprintf("%09d", fraction), "0")
	return fmt.Sprintf("%d.%s", whole, digits+"00"[min(2, len(digits)):])
}

// MarshalJSON writes u as a decimal string of dollars.
func (u USD) MarshalJSON() ([]byte, error) { return json.Marshal(u.String()) }

// UnmarshalJSON reads a decimal string of dollars. It refuses JSON numbers, which
// parsers round.
func (u *USD) UnmarshalJSON(data []byte) error {
	var s string
	if err := json.Unmarshal(data, &s); err != nil {
		return errors.New("is not a string")
	}

	parsed, err := ParseUSD(s)
	*u = parsed
	return err
}

// limits are all limits: the claim, the field, the largest value, and how a value
// is written.
var limits = []struct {
	claim  string
	get    func(*Limits) *int64
	set    func(*Limits, *int64)
	max    int64
	format func(int64) string
}{
	{"calls", func(l *Limits) *int64 { return l.Calls }, func(l *Limits, n *int64) { l.Calls = n }, MaxCalls, formatCount},
	{"rpm", func(l *Limits) *int64 { return l.RPM }, func(l *Limits, n *int64) { l.RPM = n }, MaxRate, formatCount},
	{"concurrency", func(l *Limits) *int64 { return l.Concurrency }, func(l *Limits, n *int64) { l.Concurrency = n }, MaxRate, formatCount},
	{"tokens", func(l *Limits) *int64 { return l.Tokens }, func(l *Limits, n *int64) { l.Tokens = n }, MaxCalls, formatCount},
	{"usd", func(l *Limits) *int64 { return (*int64)(l.USD) }, func(l *Limits, n *int64) { l.USD = (*USD)(n) }, int64(MaxUSD), formatUSD},
}

func formatCount(n int64) string { return strconv.FormatInt(n, 10) }

func formatUSD(n int64) string { return USD(n).String() }

// Validate checks the values. The error begins with the name of the claim.
func (l *Limits) Validate() error {
	if l == nil {
		return nil
	}
	for _, k := range limits {
		if n := k.get(l); n != nil && (*n < 1 || *n > k.max) {
			return fmt.Errorf("%s must be from %s to %s", k.claim, k.format(1), k.format(k.max))
		}
	}
	return nil
}

// under returns the limits that hold under a ceiling. A limit that l lacks is the
// ceiling's. The error names a limit that is higher than the ceiling's.
func (l *Limits) under(ceiling Limits) (Limits, error) {
	var own Limits
	if l != nil {
		own = *l
	}

	for _, k := range limits {
		n, most := k.get(&own), k.get(&ceiling)
		switch {
		case most == nil:
		case n == nil:
			k.set(&own, most)
		case *n > *most:
			return own, fmt.Errorf("%s is more than %s", k.claim, k.format(*most))
		}
	}
	return own, nil
}

// value returns a limit as a number; 0 means unlimited.
func value(limit *int64) int64 {
	if limit == nil {
		return 0
	}
	return *limit
}
