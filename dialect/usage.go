package dialect

import "math"

// Usage is what an answer used, in disjoint kinds: no token is in two of them,
// except that Reasoning is a part of Output.
type Usage struct {
	Requests       int64 // answers of the provider
	Input          int64 // text tokens that came from no cache and went into none
	CacheRead      int64 // text tokens that came from a cache
	CacheWrite     int64 // text tokens written to a cache for minutes
	CacheWriteHour int64 // text tokens written to a cache for an hour or longer
	Output         int64 // text tokens, reasoning included
	Reasoning      int64 // tokens of Output that are reasoning
	AudioInput     int64 // audio tokens that came from no cache
	AudioCacheRead int64 // audio tokens that came from a cache
	AudioOutput    int64 // audio tokens
	ImageInput     int64 // image tokens that came from no cache
	ImageCacheRead int64 // image tokens that came from a cache
	ImageOutput    int64 // image tokens
	Milliseconds   int64 // of audio, where the provider bills by time
	Images         int64 // generated
	Characters     int64 // of text to speak
	Searches       int64 // hosted web searches, or Cohere's search units
}

// Reading is what an answer told about its usage.
type Reading struct {
	Usage

	// Model is the model that served the call. Empty: the answer named none.
	Model string

	// Tier is the service tier that served the call, as the provider spells it.
	// Anthropic's fast mode is the tier "fast".
	Tier string

	// Cost is what the provider says that the call cost, in nano-USD.
	Cost int64

	// HasCost reports whether the provider said so.
	HasCost bool

	// Known reports whether the provider told the usage. An explicit zero is
	// known; without it Usage has only Requests.
	Known bool

	// Failed reports whether the answer has an error in it, whatever its status.
	Failed bool

	// Done reports whether the answer came to its proper end.
	Done bool
}

// Limits of what is believed. A larger number is a mistake or an attack, and
// counts as not told.
const (
	maxTokens = 1_000_000_000_000
	maxCost   = 1_000_000_000_000_000 // a million dollars
)

// parseDecimal reads a JSON number, times ten to the power of scale. A fraction
// that is left over is rounded up, so that nobody is charged too little. It
// reports false for what is negative, no number, or above most.
func parseDecimal(text []byte, scale int, most int64) (int64, bool) {
	digits, rest := text, []byte(nil)
	for i, c := range text {
		if c == 'e' || c == 'E' {
			digits, rest = text[:i], text[i+1:]
			break
		}
	}
	exponent, ok := parseExponent(rest)
	if !ok || len(digits) == 0 {
		return 0, false
	}
	return scaled(digits, exponent+scale, most)
}

// parseExponent reads what follows the e of a number.
func parseExponent(text []byte) (int, bool) {
	sign := 1
	if len(text) > 0 && (text[0] == '-' || text[0] == '+') {
		if text[0] == '-' {
			sign = -1
		}
		text = text[1:]
	}
	n := 0
	for _, c := range text {
		if c < '0' || c > '9' || n > 1000 {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	return sign * n, true
}

// scaled is the number that digits with a point are, times ten to the power of
// exponent, rounded up.
func scaled(digits []byte, exponent int, most int64) (int64, bool) {
	var n int64
	var seen, fraction, left bool
	for _, c := range digits {
		switch {
		case c == '.' && !fraction:
			fraction = true
			continue
		case c < '0' || c > '9':
			return 0, false
		}
		seen = true
		if fraction {
			exponent--
		}
		if n > (math.MaxInt64-9)/10 { // further digits only matter for rounding
			left = left || c != '0'
			exponent++
			continue
		}
		n = n*10 + int64(c-'0')
	}

	for ; exponent > 0 && n > 0; exponent-- {
		if n > most/10 {
			return 0, false
		}
		n *= 10
	}
	for ; exponent < 0 && n > 0; exponent++ {
		left = left || n%10 != 0
		n /= 10
	}
	if left {
		n++
	}
	if !seen || n > most {
		return 0, false
	}
	return n, true
}
