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
	count         // a limit
	audience      // a text, or a list of one
	list          // of texts
	object
)

// wants says of each kind what to write. It follows «write».
var wants = map[kind]string{
	text:     "a string",
	date:     "a number, seconds since 1970",
	count:    "a whole number",
	audience: "the id of one relay key as a string",
	list:     "a list of strings",
	object:   "an object",
}

// accepts are the JSON types that each kind may have.
var accepts = map[kind]string{text: `"`, date: "0", count: "0", audience: `"[`, list: "[", object: "{"}

// typeNames are the names of the JSON types.
var typeNames = map[jsontext.Kind]string{
	'n': "null", 't': "a boolean", 'f': "a boolean", '"': "a string", '0': "a number", '[': "a list", '{': "an object",
}

// slip says what is wrong with a value of which t is the first token, or returns
// "". It follows the claim's name, and never quotes the value.
func (k kind) slip(t jsontext.Token) string {
	got := t.Kind()
	switch {
	case got == 'n':
		return "is null; leave it out, or write " + wants[k]
	case k == list && got == '"':
		return "is a string; write a list of strings, also for one"
	case strings.IndexByte(accepts[k], byte(got)) < 0:
		return fmt.Sprintf("is %s; write %s", typeNames[got], wants[k])
	case k == date:
		return dateSlip(t.String())
	case k == count:
		return countSlip(t.String())
	}
	return ""
}

// units are the units that a time could be in when it is too large for seconds,
// each with the first number that is too large for it, in about the year 11500.
var units = []struct {
	name  string
	below float64
}{
	{"milliseconds", 3e14},
	{"microseconds", 3e17},
	{"nanoseconds", 3e20},
}

// dateSlip says what is wrong with a number as a NumericDate.
func dateSlip(number string) string {
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

// countSlip says what is wrong with a number as a limit, but for its range.
func countSlip(number string) string {
	if _, err := strconv.ParseInt(number, 10, 64); err == nil {
		return ""
	}
	if f, err := strconv.ParseFloat(number, 64); err != nil || f > MaxCalls || f < -MaxCalls {
		return fmt.Sprintf("must be from 1 to %d", int64(MaxCalls))
	}
	return "has a fraction or an exponent; write " + wants[count]
}
