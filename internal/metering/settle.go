package metering

import (
	"time"

	"github.com/relayapi/caddy-relayapi/dialect"
)

// Spent is what is known of a finished call.
type Spent struct {
	Status  int              // of the provider's answer; 0 means none
	Reading *dialect.Reading // of the answer; nil means that it has no usage
	Begun   bool             // the answer has any bytes

	Quote    *Quote  // the most that the call can use; nil means that no budget applies
	Reserved Amounts // of the budgets
	Dollars  bool    // a budget is in dollars
}

// Settle returns the amounts that a call is charged to its budgets, and the bill for
// reports. If the answer names no model, the requested one sets the price.
func (t *Tariff) Settle(s Spent, requested string, at time.Time) (charged Amounts, bill Bill) {
	if s.Reading == nil { // refused by the provider, no answer, or one without usage
		bill.Usage.Calls = 1
		switch {
		case s.Quote == nil:
		case s.Status == 0: // nobody knows whether the provider bills it
			bill.Usage.Unmetered = 1
		case 200 <= s.Status && s.Status < 300:
			charged = s.Reserved
			bill.Usage.Cost, bill.Usage.Unmetered = charged.NanoUSD, 1
		}
		return charged, bill
	}

	bill = t.Bill(s.Reading, requested, at)
	bill.Usage.Calls = 1
	if !s.Reading.Known || !s.Reading.Done && s.Quote != nil {
		bill.Usage.Unmetered = 1
	}
	if s.Quote == nil {
		return charged, bill
	}

	switch {
	case s.Reading.Known && s.Reading.Done && (bill.Priced || !s.Dollars):
		charged = Amounts{bill.Tokens, bill.Usage.Cost}
	case !s.Begun: // the provider can only bill what it had read
		charged, _ = s.Quote.Amounts(0) // no error: it was computed before for a higher cap
	default: // unknown usage is charged as reserved
		charged = Amounts{max(s.Reserved.Tokens, bill.Tokens), max(s.Reserved.NanoUSD, bill.Usage.Cost)}
	}
	if s.Dollars {
		bill.Usage.Cost = charged.NanoUSD
		bill.Usage.Overrun = max(0, charged.NanoUSD-s.Reserved.NanoUSD)
	}
	return charged, bill
}
