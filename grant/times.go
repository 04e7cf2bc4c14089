package grant

import (
	"encoding/json"
	"errors"
	"strconv"
	"time"
)

// Lifetime is the time in which a token is valid.
type Lifetime struct {
	IssuedAt, NotBefore, ExpiresAt NumericDate // NotBefore is 0 if it was not set
}

// Lifetime returns the time in which a token with these claims is valid.
func (c *Claims) Lifetime() Lifetime {
	return Lifetime{c.IssuedAt, c.NotBefore, c.ExpiresAt}
}

// ValidAt returns nil if the token is valid at now, and a [*Denial] otherwise.
func (l Lifetime) ValidAt(now time.Time) error {
	switch soon := now.Add(Leeway); {
	case !now.Before(l.ExpiresAt.Time()):
		return deny(Expired, "expired at %s", l.ExpiresAt)
	case l.IssuedAt.Time().After(soon):
		return deny(NotYetValid, "iat is in the future: issued at %s", l.IssuedAt)
	case l.NotBefore.Time().After(soon):
		return deny(NotYetValid, "not valid before %s", l.NotBefore)
	}
	return nil
}

// NumericDate is a time in seconds since the epoch, UTC (RFC 7519, section 2).
// 0 means that it is not set. A fraction of a second is dropped.
type NumericDate int64

// Time returns d as a time. 0 becomes the zero time.
func (d NumericDate) Time() time.Time {
	if d == 0 {
		return time.Time{}
	}
	return time.Unix(int64(d), 0)
}

// String formats d as RFC 3339 has it, in UTC.
func (d NumericDate) String() string { return d.Time().UTC().Format(time.RFC3339) }

// maxDate is the last second of the year 9999, the latest time that RFC 3339 and
// all databases can write.
const maxDate = 253402300799

// UnmarshalJSON accepts a JSON number from 0 to the year 9999.
func (d *NumericDate) UnmarshalJSON(data []byte) error {
	f, err := strconv.ParseFloat(string(data), 64)
	if err != nil || !(f >= 0 && f <= maxDate) {
		return errors.New("not a NumericDate")
	}
	*d = NumericDate(f)
	return nil
}

// Audience is the id of the relay key that a token is for. RFC 7519 permits a
// string and an array; the array must have one member.
type Audience string

// UnmarshalJSON accepts a string or an array of one string.
func (a *Audience) UnmarshalJSON(data []byte) error {
	var one string
	if err := json.Unmarshal(data, &one); err == nil {
		*a = Audience(one)
		return nil
	}

	var many []string
	if err := json.Unmarshal(data, &many); err != nil || len(many) != 1 {
		return errors.New("aud must name one audience")
	}
	*a = Audience(many[0])
	return nil
}
