package grant

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// kind is what a claim holds.
type kind int

const (
	text     kind = iota
	date          // a NumericDate
	count         // a whole number
	money         // a decimal string of US dollars
	audience      // a text, or a list of one
	list          // a list of texts
	object
)

// wants maps each kind to what to write. It completes «write …».
var wants = map[kind]string{
	text:     "a string",
	date:     "a number, seconds since 1970",
	count:    "a whole number",
	money:    `US dollars as a string, such as "1.50"`,
	audience: "the id of one relay key as a string",
	list:     "a list of strings",
	object:   "an object",
}

// accepts are the JSON types that each kind may have.
var accepts = map[kind]string{text: `"`, date: "0", count: "0", money: `"`, audience: `"[`, list: "[", object: "{"}

// typeNames are the names of the JSON types.
var typeNames = map[jsontext.Kind]string{
	'n': "null", 't': "a boolean", 'f': "a boolean", '"': "a string", '0': "a number", '[': "a list", '{': "an object",
}

// problem returns what is wrong with the type or form of a value, or "". It
// follows the claim's name and never quotes the value.
func (k kind) problem(v jsontext.Value) string {
	got := v.Kind()
	switch {
	case got == 'n':
		return "is null; leave it out, or write " + wants[k]
	case k == list && got == '"':
		return "is a string; write a list of strings, also for one"
	case strings.IndexByte(accepts[k], byte(got)) < 0:
		return fmt.Sprintf("is %s; write %s", typeNames[got], wants[k])
	case k == date:
		return dateProblem(string(v))
	case k == count:
		return countProblem(string(v))
	case k == money:
		return moneyProblem(v)
	}
	return ""
}

// units are what a time may be in if it is too large for seconds. Each has the
// first number that is too large for it, about the year 11500.
var units = []struct {
	name  string
	below float64
}{
	{"milliseconds", 3e14},
	{"microseconds", 3e17},
	{"nanoseconds", 3e20},
}

// dateProblem returns what is wrong with a number as a NumericDate, or "".
func dateProblem(number string) string {
	f, err := strconv.ParseFloat(number, 64)
	switch {
	case err == nil && f < 0:
		return "is negative; write " + wants[date]
	case err == nil && f <= maxDate:
		return ""
	}

	for _, unit := range units {
		if f < unit.below {
			return fmt.Sprintf("is in %s; write seconds since 1970", unit.name)
		}
	}
	return "is beyond the year 9999; write " + wants[date]
}

// countProblem returns what is wrong with a number as a limit, or "". It leaves
// the range of an integer to [Limits.Validate].
func countProblem(number string) string {
	if _, err := strconv.ParseInt(number, 10, 64); err == nil {
		return ""
	}
	if f, err := strconv.ParseFloat(number, 64); err != nil || f > MaxCalls || f < -MaxCalls {
		return fmt.Sprintf("must be from 1 to %d", int64(MaxCalls))
	}
	return "has a fraction or an exponent; write " + wants[count]
}

// moneyProblem returns what is wrong with a string as an amount, or "". It leaves
// the range to [Limits.Validate].
func moneyProblem(v jsontext.Value) string {
	var usd USD
	if err := usd.UnmarshalJSON(v); err != nil {
		return err.Error() + "; write " + wants[money]
	}
	return ""
}
