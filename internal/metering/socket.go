package metering

import (
	"net"
	"sync"
	"time"

	"github.com/relayapi/caddy-relayapi/dialect"
	"github.com/relayapi/caddy-relayapi/tokenstore"
)

// Reservation is the amount charged for something that has not ended.
type Reservation struct {
	Limit   int64   // cap of the output; 0 means none
	Amounts Amounts // charged
	Charges []tokenstore.Charge
}

// Account charges a socket's budgets.
type Account interface {
	// Reserve charges the most that a quote allows, with a cap that fits the budgets.
	Reserve(q *Quote) (Reservation, error)

	// Settle refunds what was reserved and not used, or charges the excess.
	Settle(r Reservation, used Amounts)

	// Observe records the usage of a response.
	Observe(b Bill)

	// End ends the socket.
	End(why error)
}

// Socket meters the messages of a WebSocket. Under a budget, it reserves the most that
// each response can use, before the message that starts it is sent. Both sides may be
// read concurrently.
type Socket struct {
	mu      sync.Mutex
	account Account
	tariff  *Tariff
	model   string
	meter   *dialect.SocketMeter
	session *dialect.Session // nil means that there is no budget
	dollars bool

	pending  []Reservation // of responses, in the order of their requests
	begun    int           // how many of them have begun
	standing Reservation   // for a response that the provider starts by itself
	heard    []Reservation // for transcripts of the client's audio
	closed   bool          // nothing is reserved or settled any more
}

// NewSocket returns the meter of a WebSocket. Without a session nothing is bounded.
func NewSocket(account Account, tariff *Tariff, meter *dialect.SocketMeter, session *dialect.Session, dollars bool) *Socket {
	return &Socket{account: account, tariff: tariff, meter: meter, session: session, dollars: dollars}
}

// Named records the model that the handshake or a message names.
func (s *Socket) Named(model string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if model != "" {
		s.model = model
	}
}

// Client reserves what a client's message can cost. It returns the message to send
// instead, or nil.
func (s *Socket) Client(message []byte) (changed []byte, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed: // a message may still arrive after its call has ended
		return nil, net.ErrClosed
	case s.session == nil:
		return nil, nil
	}

	said, err := s.session.Client(message)
	if err != nil {
		return nil, err
	}
	if said.HeardBy != "" {
		heard, err := s.reserve(dialect.Bound{Usage: said.Heard}, said.HeardBy)
		if err != nil {
			return nil, err
		}
		s.heard = append(s.heard, heard)
	}
	if !said.Starts {
		return nil, s.stand()
	}

	q, err := s.tariff.Quote(said.Bound, s.model, s.dollars, time.Now())
	if err != nil {
		return nil, err
	}
	r, err := s.account.Reserve(q)
	if err != nil {
		return nil, err
	}
	s.pending = append(s.pending, r)
	if q.Changed(r.Limit) {
		changed, _, err = s.session.SetCap(message, r.Limit)
	}
	return changed, err
}

func (s *Socket) reserve(bound dialect.Bound, model string) (Reservation, error) {
	q, err := s.tariff.Quote(bound, model, s.dollars, time.Now())
	if err != nil {
		return Reservation{}, err
	}
	return s.account.Reserve(q)
}

// ahead is how many tokens of input a standing reservation covers beyond the
// conversation so far, so that not every message needs a new one.
const ahead = 2000

// stand reserves the most that a response that the provider starts by itself can use.
func (s *Socket) stand() error {
	bound, may := s.session.Standing()
	if !may || bound.Cap.Limit == 0 {
		return nil // the provider waits, or the session lets no audio pass
	}
	need, err := s.amounts(bound)
	if err != nil || need.Tokens <= s.standing.Amounts.Tokens && need.NanoUSD <= s.standing.Amounts.NanoUSD {
		return err
	}

	bound.Usage.AudioInput += ahead
	more, err := s.reserve(bound, s.model)
	switch {
	case err != nil:
		return err
	case more.Limit < bound.Cap.Limit: // the session's own cap is lower
		s.account.Settle(more, Amounts{})
		return errStanding
	}
	s.account.Settle(s.standing, Amounts{})
	s.standing = more
	return nil
}

// errStanding means that a response that the provider may start by itself does not fit
// the budgets.
var errStanding = &Unpaid{}

// Unpaid is the error for a response that does not fit the budgets.
type Unpaid struct{}

func (*Unpaid) Error() string {
	return "the budget leaves too little for a response of the session; lower its max_output_tokens"
}

func (s *Socket) amounts(bound dialect.Bound) (Amounts, error) {
	q, err := s.tariff.Quote(bound, s.model, s.dollars, time.Now())
	if err != nil {
		return Amounts{}, err
	}
	return q.Amounts(bound.Cap.Limit)
}

// Provider reads a piece of a provider's message.
func (s *Socket) Provider(p []byte) { _, _ = s.meter.Write(p) }

// EndMessage settles the usage in the provider's message.
func (s *Socket) EndMessage() {
	settled := s.meter.EndMessage()
	if settled.Happening == dialect.Nothing {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}

	bill := s.tariff.Bill(&settled.Reading, s.model, time.Now())
	switch settled.Happening {
	case dialect.Began:
		s.began()
	case dialect.Refused:
		if len(s.pending) > s.begun { // the request for it was refused
			last := len(s.pending) - 1
			s.account.Settle(s.pending[last], Amounts{})
			s.pending = s.pending[:last]
		}
	case dialect.Transcribed:
		s.settleAll(&s.heard, bill)
		s.account.Observe(bill)
	case dialect.Ended:
		s.ended(&settled, bill)
	}
}

// began records that a response has begun. An unrequested one uses the standing
// reservation.
func (s *Socket) began() {
	s.begun++
	if s.session == nil || s.begun <= len(s.pending) {
		return
	}
	s.pending = append(s.pending, s.standing)
	s.standing = Reservation{}
	if err := s.stand(); err != nil {
		s.account.End(err)
	}
}

// ended settles the oldest response.
func (s *Socket) ended(settled *dialect.Settlement, bill Bill) {
	s.begun = max(0, s.begun-1)
	if s.session == nil {
		if !settled.Known {
			bill.Usage.Unmetered = 1
		}
		s.account.Observe(bill)
		return
	}

	s.session.Settled(settled)
	var r Reservation
	if len(s.pending) > 0 {
		r, s.pending = s.pending[0], s.pending[1:]
	}
	used := Amounts{bill.Tokens, bill.Usage.Cost}
	if !settled.Known || s.dollars && !bill.Priced {
		used, bill.Usage.Unmetered = r.Amounts, 1
	}
	if s.dollars {
		bill.Usage.Cost, bill.Usage.Overrun = used.NanoUSD, max(0, used.NanoUSD-r.Amounts.NanoUSD)
	}
	s.account.Settle(r, used)
	s.account.Observe(bill)
}

// settleAll settles several reservations with one bill.
func (s *Socket) settleAll(all *[]Reservation, bill Bill) {
	left := Amounts{bill.Tokens, bill.Usage.Cost}
	for i, r := range *all {
		used := Amounts{min(left.Tokens, r.Amounts.Tokens), min(left.NanoUSD, r.Amounts.NanoUSD)}
		if i == len(*all)-1 {
			used = left
		}
		s.account.Settle(r, used)
		left.Tokens, left.NanoUSD = left.Tokens-used.Tokens, left.NanoUSD-used.NanoUSD
	}
	*all = nil
}

// Close settles the remaining reservations when the socket is closed. Unknown usage is
// charged as reserved.
func (s *Socket) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	unknown := s.tariff.Bill(new(dialect.Reading), s.model, time.Now())
	for _, r := range append(s.pending, s.heard...) {
		unknown.Usage = tokenstore.Usage{Cost: r.Amounts.NanoUSD, Unmetered: 1}
		s.account.Observe(unknown)
	}
	s.closed = true
	s.pending, s.heard = nil, nil // they stay charged
	s.account.Settle(s.standing, Amounts{})
	s.standing = Reservation{}
}
