package tokenstore

// Left returns what is left on the counter of a charge, under the charge's limit. It
// does not read the database: the number is as of the latest commit that granted on
// the counter. It reports false if there was none since the counter came into use.
func (l *Ledger) Left(c Charge) (left int64, known bool) {
	s := l.shard(c.Counter)
	s.mu.Lock()
	a := s.accounts[c.Counter]
	s.mu.Unlock()
	if a == nil {
		return 0, false
	}

	a.mu.Lock()
	defer a.mu.Unlock()
	return max(0, c.Limit-(a.place.used-a.lease)), a.place.row != 0
}
