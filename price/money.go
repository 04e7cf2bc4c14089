package price

import (
	"fmt"
	"math/big"
	"regexp"
	"strconv"
	"strings"
)

// dollar is one US dollar in nano-USD.
const dollar = 1_000_000_000

// maxDollars is the largest amount that Parse accepts, in US dollars.
const maxDollars = 1_000_000_000

// decimal is an amount of dollars: no sign, no exponent, at most 9 decimals.
var decimal = regexp.MustCompile(`^(0|[1-9][0-9]{0,9})(?:\.([0-9]{1,9}))?$`)

// Parse parses a decimal number of US dollars, such as "1.50", and returns it in
// nano-USD. The result is exact.
func Parse(s string) (nanoUSD int64, err error) {
	m := decimal.FindStringSubmatch(s)
	if m == nil {
		return 0, fmt.Errorf("amount %.40q: not a decimal number of dollars; write for example 1.50, with at most 9 decimals", s)
	}

	nano, err := strconv.ParseInt(m[1]+(m[2] + "000000000")[:9], 10, 64)
	if err != nil || nano > maxDollars*dollar {
		return 0, fmt.Errorf("amount %.40q: more than %d dollars", s, maxDollars)
	}
	return nano, nil
}

// Format formats nano-USD as a decimal number of US dollars, with two decimals or
// as many as it takes: "1.50", "0.00000028".
func Format(nanoUSD int64) string {
	sign := ""
	if nanoUSD < 0 {
		sign = "-"
	}

	// Unsigned, because the least int64 has no positive counterpart.
	n := uint64(nanoUSD)
	if nanoUSD < 0 {
		n = -n
	}
	digits := strings.TrimRight(fmt.Sprintf("%09d", n%dollar), "0")
	return fmt.Sprintf("%s%d.%s", sign, n/dollar, digits+"00"[min(2, len(digits)):])
}

// multiplier is a factor of prices, a decimal number or a fraction: "0.5", "5/3".
type multiplier struct{ over, under int64 }

var fraction = regexp.MustCompile(`^([1-9][0-9]{0,2})/([1-9][0-9]{0,2})$`)

func parseMultiplier(s string) (multiplier, error) {
	if m := fraction.FindStringSubmatch(s); m != nil {
		over, _ := strconv.ParseInt(m[1], 10, 64) // three digits always parse
		under, _ := strconv.ParseInt(m[2], 10, 64)
		return multiplier{over, under}, nil
	}

	nano, err := Parse(s)
	if err != nil || nano > 1000*dollar {
		return multiplier{}, fmt.Errorf("multiplier %.40q: neither a decimal number up to 1000 nor a fraction such as 5/3", s)
	}
	return multiplier{nano, dollar}, nil
}

// of returns n times m, rounded up.
func (m multiplier) of(n int64) int64 {
	product := new(big.Int).Mul(big.NewInt(n), big.NewInt(m.over))
	return divideUp(product, big.NewInt(m.under)).Int64() // n ≤ maxRate, so that it fits
}

// divideUp divides numbers that are not negative, and rounds up.
func divideUp(n, by *big.Int) *big.Int {
	quotient, rest := new(big.Int).QuoRem(n, by, new(big.Int))
	if rest.Sign() > 0 {
		quotient.Add(quotient, big.NewInt(1))
	}
	return quotient
}
