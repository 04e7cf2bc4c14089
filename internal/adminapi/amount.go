package adminapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/relayapi/caddy-relayapi/grant"
	"github.com/relayapi/caddy-relayapi/internal/strictjson"
	"github.com/relayapi/caddy-relayapi/tokenstore"
)

// USD is the unit of dollars as clients know it. The ledger counts
// [tokenstore.UnitNanoUSD] instead.
const USD tokenstore.Unit = "usd"

// units lists the units as clients know them, in the order of [tokenstore.Units].
var units = [...]tokenstore.Unit{tokenstore.UnitCalls, tokenstore.UnitTokens, USD}

// ParseUnit returns the ledger's name of a unit.
func ParseUnit(s string) (tokenstore.Unit, error) {
	i := slices.Index(units[:], tokenstore.Unit(s))
	if i < 0 {
		return "", fmt.Errorf("unit %.20q: must be one of calls, tokens, usd", s)
	}
	return tokenstore.Units[i], nil
}

// shownUnit returns a unit of the ledger as clients know it.
func shownUnit(u tokenstore.Unit) tokenstore.Unit {
	if u == tokenstore.UnitNanoUSD {
		return USD
	}
	return u
}

// Quantity is an amount of calls or tokens, in JSON a number, or of dollars, in JSON a
// decimal string.
type Quantity struct {
	N       int64 // calls, tokens or nano-USD
	Dollars bool
}

// quantity returns an amount that the ledger counts.
func quantity(u tokenstore.Unit, n int64) Quantity {
	return Quantity{n, u == tokenstore.UnitNanoUSD}
}

// String returns the quantity as people write it: 20 or $5.00.
func (q Quantity) String() string {
	if q.Dollars {
		return "$" + grant.USD(q.N).String()
	}
	return strconv.FormatInt(q.N, 10)
}

// MarshalJSON implements [json.Marshaler].
func (q Quantity) MarshalJSON() ([]byte, error) {
	if q.Dollars {
		return json.Marshal(grant.USD(q.N))
	}
	return json.Marshal(q.N)
}

// UnmarshalJSON implements [json.Unmarshaler].
func (q *Quantity) UnmarshalJSON(data []byte) error {
	if q.Dollars = len(data) > 0 && data[0] == '"'; q.Dollars {
		return json.Unmarshal(data, (*grant.USD)(&q.N))
	}
	return json.Unmarshal(data, &q.N)
}

// Amount is an amount in one unit. The others are nil.
type Amount struct {
	Calls  *int64     `json:"calls,omitempty"`
	Tokens *int64     `json:"tokens,omitempty"`
	USD    *grant.USD `json:"usd,omitempty"`
}

// amountOf returns an amount that the ledger counts.
func amountOf(u tokenstore.Unit, n int64) (a Amount) {
	switch u {
	case tokenstore.UnitTokens:
		a.Tokens = &n
	case tokenstore.UnitNanoUSD:
		a.USD = (*grant.USD)(&n)
	default:
		a.Calls = &n
	}
	return a
}

// String returns the amount with its unit: "20 calls", "1000 tokens" or "$5.00".
func (a Amount) String() string {
	switch {
	case a.USD != nil:
		return "$" + a.USD.String()
	case a.Tokens != nil:
		return fmt.Sprintf("%d tokens", *a.Tokens)
	case a.Calls != nil:
		return fmt.Sprintf("%d calls", *a.Calls)
	}
	return "-"
}

// parseAmount reads an amount of a unit of the ledger, which may be 0. It returns nil
// for null. The errors quote nothing and begin with the member's name.
func parseAmount(name string, u tokenstore.Unit, data []byte) (*int64, error) {
	if u == tokenstore.UnitNanoUSD {
		var usd *grant.USD
		if err := json.Unmarshal(data, &usd); err != nil || usd != nil && *usd > grant.MaxUSD {
			return nil, fmt.Errorf(`%s must be a decimal string of dollars from "0" to "%s", with at most 9 decimals`, name, grant.MaxUSD)
		}
		return (*int64)(usd), nil
	}
	var n *int64
	if err := json.Unmarshal(data, &n); err != nil || n != nil && (*n < 0 || *n > grant.MaxCalls) {
		return nil, fmt.Errorf("%s must be a whole number from 0 to %d", name, int64(grant.MaxCalls))
	}
	return n, nil
}

// takeAmount takes the one member of an object that is an amount.
func takeAmount(members strictjson.Object) (unit tokenstore.Unit, amount int64, err error) {
	given := 0
	for i, name := range units {
		data, ok := members[string(name)]
		if !ok {
			continue
		}
		n, err := parseAmount(string(name), tokenstore.Units[i], data)
		switch {
		case err != nil:
			return "", 0, err
		case n == nil:
			return "", 0, fmt.Errorf("%s must not be null; 0 puts the holder on hold", name)
		}
		unit, amount = tokenstore.Units[i], *n
		delete(members, string(name))
		given++
	}
	switch given {
	case 0:
		return "", 0, errors.New("calls is missing; a limit has one of calls, tokens and usd")
	case 1:
		return unit, amount, nil
	}
	return "", 0, errors.New("a limit has one of calls, tokens and usd; set one limit for each")
}
