package dialect

import "math"

// Usage counts what a call used, in disjoint kinds. Only Reasoning is also part of
// another kind, Output.
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

// Reading is what an answer reported.
type Reading struct {
	Usage

	// Model is the model that served the call. Empty means that the answer named none.
	Model string

	// Tier is the service tier that served the call, in the provider's spelling.
	// Anthropic's fast mode is reported as the tier "fast".
	Tier string

	// Cost is the cost that the provider reported, in nano-USD.
	Cost int64

	// HasCost reports whether the provider reported a cost.
	HasCost bool

	// Known reports whether the provider reported usage. An explicit zero is known.
	// Otherwise only Requests is set.
	Known bool

	// Failed reports whether the body contains an error, whatever the status.
	Failed bool

	// Done reports whether the answer was complete, and Usage all of it. After an error
	// that follows the usage, later usage is unknown.
	Done bool
}

// Limits of plausible numbers. A larger number is a mistake or an attack and counts as
// missing.
const (
	maxTokens = 1_000_000_000_000
	maxCost   = 1_000_000_000_000_000 // a million dollars
)

// parseDecimal parses a JSON number and multiplies it by ten to the power of scale. It
// rounds up, so that no call is undercharged. It reports false if the text is negative,
// above most, or no number.
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

// parseExponent parses the digits after the e of a number.
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

// scaled parses digits with an optional point and multiplies them by ten to the power
// of exponent. It rounds up.
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
		if n > (math.MaxInt64-9)/10 { // further digits matter only for rounding
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
