package tokenstore

// Settle corrects the charges of [Ledger.Admit] to the call's actual usage. It refunds
// units that were reserved and not used. It charges an overrun, the usage beyond the
// reservation, even past the limit, because the provider bills it all the same. The
// zero Amounts refund the whole call.
//
// Call Settle at most once for each charge, because a second refund would grant units
// twice. Call it for every charge on a budget: until then, the charge counts as
// reserved and not as spent, see [Warning]. Refunded units return to the lease, and
// from there to the database when the lease is idle. If the limit was lowered since,
// they go to the database, because they may be more than the lower limit permits.
func (l *Ledger) Settle(charges []Charge, used Amounts) error {
	if err := used.check(); err != nil {
		return unavailable(err)
	}
	if err := checkCharges(charges); err != nil {
		return unavailable(err)
	}
	if err := l.stopped(); err != nil {
		return err
	}

	for _, c := range charges {
		l.settle(c, used.Of(c.Counter.Unit))
	}
	return nil
}

func (l *Ledger) settle(c Charge, used int64) {
	if used == c.Amount && c.Counter.Unit == UnitCalls {
		return // it was spent when it was admitted
	}
	a := l.lock(c.Counter)
	defer a.mu.Unlock()

	switch {
	case used < c.Amount:
		a.refund(c.Amount-used, c.Limit, l.now())
	case used > c.Amount:
		a.overrun(used-c.Amount, l.now())
	}
	a.settled(c.Amount, used)
}
