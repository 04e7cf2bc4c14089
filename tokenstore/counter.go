package tokenstore

import (
	"errors"
	"fmt"
	"time"
)

// Scope is the kind of holder whose usage is counted.
type Scope string

// The scopes.
const (
	ScopeToken   Scope = "token"
	ScopeSubject Scope = "subject"
	ScopeIssuer  Scope = "issuer"
	ScopeAll     Scope = "all" // only for revocations
)

// Unit is the unit of a count.
type Unit string

// The units.
const (
	UnitCalls   Unit = "calls"
	UnitTokens  Unit = "tokens"
	UnitNanoUSD Unit = "nanousd" // 10⁻⁹ US dollars
)

// Units lists all units.
var Units = [...]Unit{UnitCalls, UnitTokens, UnitNanoUSD}

// Amounts is an amount in each unit.
type Amounts struct {
	Calls, Tokens, NanoUSD int64
}

// Of returns the amount in a unit.
func (a Amounts) Of(u Unit) int64 {
	switch u {
	case UnitCalls:
		return a.Calls
	case UnitTokens:
		return a.Tokens
	case UnitNanoUSD:
		return a.NanoUSD
	}
	return 0
}

func (a Amounts) check() error {
	if a.Calls < 0 || a.Tokens < 0 || a.NanoUSD < 0 {
		return fmt.Errorf("amounts %+v: must not be negative", a)
	}
	return nil
}

// Limits are limits in each unit over a token's whole life. nil means unlimited,
// and 0 permits nothing.
type Limits struct {
	Calls, Tokens, NanoUSD *int64
}

// Of returns the limit in a unit; nil means unlimited.
func (l Limits) Of(u Unit) *int64 {
	switch u {
	case UnitCalls:
		return l.Calls
	case UnitTokens:
		return l.Tokens
	case UnitNanoUSD:
		return l.NanoUSD
	}
	return nil
}

// override returns l with the limits of o where o has any.
func (l Limits) override(o Limits) Limits {
	if o.Calls != nil {
		l.Calls = o.Calls
	}
	if o.Tokens != nil {
		l.Tokens = o.Tokens
	}
	if o.NanoUSD != nil {
		l.NanoUSD = o.NanoUSD
	}
	return l
}

// Counter identifies a count by its holder, its unit and its window.
type Counter struct {
	Scope Scope
	ID    string
	Unit  Unit

	// Window is when the counted period starts, a whole second after 1970.
	// Zero counts in total.
	Window time.Time
}

// TokenCounter returns the counter of all calls ever made with a token.
func TokenCounter(issuer, id string) Counter {
	return tokenCounter(issuer, id, UnitCalls)
}

func tokenCounter(issuer, id string, u Unit) Counter {
	// Neither part may contain a slash, so two identities never share a counter.
	return Counter{Scope: ScopeToken, ID: issuer + "/" + id, Unit: u}
}

// windowStart returns the window as it is stored: seconds since 1970, 0 for the total.
func (c Counter) windowStart() int64 {
	if c.Window.IsZero() {
		return 0
	}
	return c.Window.Unix()
}

func (c Counter) check() error {
	if c.Window.IsZero() {
		return nil
	}
	if c.Window.Unix() <= 0 || c.Window.Nanosecond() != 0 {
		return errors.New("window of a counter: must start on a whole second after 1970")
	}
	return nil
}

// Charge adds an amount to a counter, under the limit in force.
type Charge struct {
	Counter Counter

	// Amount is positive.
	Amount int64

	// Limit is what the counter may reach. It may differ from that of the
	// previous charge. Zero permits nothing.
	Limit int64
}

// checkCharges refuses impossible charges. A negative amount would grant units.
func checkCharges(charges []Charge) error {
	for _, c := range charges {
		if c.Amount <= 0 {
			return fmt.Errorf("charge of %d: must be positive", c.Amount)
		}
		if c.Limit < 0 {
			return fmt.Errorf("limit of %d: must not be negative", c.Limit)
		}
		if err := c.Counter.check(); err != nil {
			return err
		}
	}

	return nil
}
