package tokenstore

import (
	"errors"
	"fmt"
	"time"
)

// Scope says whose use is counted.
type Scope string

// The scopes.
const (
	ScopeToken   Scope = "token"
	ScopeSubject Scope = "subject"
	ScopeIssuer  Scope = "issuer"
	ScopeAll     Scope = "all" // of revocations only
)

// Unit says what is counted.
type Unit string

// The units.
const (
	UnitCalls    Unit = "calls"
	UnitTokens   Unit = "tokens"
	UnitMicroUSD Unit = "microusd"
)

// Counter is what is counted: who, what, since when.
type Counter struct {
	Scope Scope
	ID    string
	Unit  Unit
	// Window is when the counted period starts, a whole second after 1970.
	// Zero counts in total, for ever.
	Window time.Time
}

// TokenCounter is the counter of all calls ever made with one token.
func TokenCounter(issuer, id string) Counter {
	// Neither part may contain a slash, so two identities never share a counter.
	return Counter{Scope: ScopeToken, ID: issuer + "/" + id, Unit: UnitCalls}
}

// windowStart is the window as it is stored: seconds since 1970, 0 for the total.
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
		return errors.New("a window must start on a whole second after 1970")
	}
	return nil
}

// Charge is an amount on a counter, with the limit in force.
type Charge struct {
	Counter Counter
	// Amount is positive.
	Amount int64
	// Limit is what the counter may reach. It may have been raised or lowered
	// since the last charge; zero permits nothing.
	Limit int64
}

// checkCharges finds what no caller should ask for. A negative amount would
// grant what it claims to take.
func checkCharges(charges []Charge) error {
	for _, c := range charges {
		if c.Amount <= 0 {
			return fmt.Errorf("a charge of %d is not positive", c.Amount)
		}
		if c.Limit < 0 {
			return fmt.Errorf("a limit of %d is negative", c.Limit)
		}
		if err := c.Counter.check(); err != nil {
			return err
		}
	}
	return nil
}
