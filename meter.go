package relayapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/relayapi/caddy-relayapi/dialect"
	"github.com/relayapi/caddy-relayapi/grant"
	"github.com/relayapi/caddy-relayapi/internal/metering"
	"github.com/relayapi/caddy-relayapi/tokenstore"
	"go.uber.org/zap"
)

// spending is what a call may use of its budgets, and what it has used.
type spending struct {
	tokens, dollars bool // there is a budget in that unit

	model    string           // that the request names; empty if unknown
	quote    *metering.Quote  // the most that it can use; nil means that no budget applies
	reserved metering.Amounts // of the budgets
	remains  [3]remains       // of each of [tokenstore.Units] after the charge
	capped   string           // the cap that the relay has set, as field=tokens
	asks     bool             // the relay asked for the usage, and withholds it
	answer   *meteredBody     // nil means that the answer tells no usage
}

// remains is the least that remains of the limits in a unit.
type remains struct {
	limited bool
	left    int64
}

// limited reports whether a budget applies to the call.
func (s *spending) limited() bool { return s.tokens || s.dollars }

// findBudgets finds out whether the call has budgets. A call that has them is read in
// full, bounded and capped.
func (h *Handler) findBudgets(c *call, _ *http.Request) *refusal {
	own, err := c.relay.ledger.LimitsOf(c, c.permit.token)
	if err != nil {
		return uncharged(c, err)
	}
	rules := c.relay.limitsInForce(h.app.Limits)
	c.spending.tokens = own.Tokens != nil || rules.limits(c.permit, tokenstore.UnitTokens)
	c.spending.dollars = own.NanoUSD != nil || rules.limits(c.permit, tokenstore.UnitNanoUSD)
	return nil
}

// bound bounds what a call under a budget can use, and asks for its usage.
func (h *Handler) bound(c *call, r *http.Request) *refusal {
	s, p := &c.spending, c.permit.provider
	if !s.limited() && !h.app.MeterAlways {
		return nil
	}
	request := c.asked(r)
	if s.limited() {
		if refused := c.quote(request); refused != nil {
			return refused
		}
	}

	added, err := p.dialect.AskUsage(request)
	switch {
	case err != nil && s.limited():
		return unclear(err)
	case err == nil && added:
		s.asks = true
		c.rewrite(r, request)
	}
	return nil
}

// quote finds the most that a request can use.
func (c *call) quote(request *dialect.Request) *refusal {
	s, p := &c.spending, c.permit.provider
	if request.WebSocket {
		return refuse(codeCostUnbounded, "a WebSocket's messages have no bounded cost; send HTTP requests, or use a token without a budget")
	}
	named, err := c.permit.namedBy(request)
	if err != nil {
		return unclear(err)
	}
	s.model = named.Model
	bound, err := p.dialect.Bound(request)
	var unbounded *dialect.Unbounded
	switch {
	case errors.As(err, &unbounded):
		return refuse(codeCostUnbounded, err.Error())
	case err != nil:
		return refuse(codeInvalidRequest, err.Error())
	}

	var noPrice *metering.NoPrice
	s.quote, err = p.tariff.Quote(bound, named.Model, s.dollars, c.start)
	switch {
	case errors.As(err, &noPrice):
		return refuse(codeModelUnpriced, err.Error())
	case err != nil:
		return refuse(codeCostUnbounded, err.Error())
	}
	return nil
}

// charge makes the token known to the ledger and takes the most that the call can use.
// If its budgets do not pay for the whole output, it lowers the cap of the output.
func (h *Handler) charge(c *call, r *http.Request) *refusal {
	s, limit := &c.spending, int64(0)
	if s.quote != nil {
		limit = s.quote.Wanted()
	}

	for tries := 0; ; tries++ {
		charges, err := h.tryCharge(c, limit)
		if err == nil {
			c.relay.ledger.live.charged(c, charges)
			return h.writeCap(c, r, limit)
		}
		var used *tokenstore.ExhaustedError
		if !errors.As(err, &used) || s.quote == nil || tries == maxLowered {
			return uncharged(c, err)
		}
		fitting, ok := c.lower(used, limit)
		if !ok {
			return uncharged(c, err)
		}
		limit = fitting
	}
}

// maxLowered is how often a call is tried again with a lower cap. Other calls may take
// what is left meanwhile.
const maxLowered = 16

// tryCharge charges the call with a cap of its output.
func (h *Handler) tryCharge(c *call, limit int64) ([]tokenstore.Charge, error) {
	s, cost := &c.spending, tokenstore.Amounts{Calls: 1}
	if s.quote != nil {
		var err error
		if s.reserved, err = s.quote.Amounts(limit); err != nil {
			return nil, err
		}
		cost.Tokens, cost.NanoUSD = s.reserved.Tokens, s.reserved.NanoUSD
	}

	var others []tokenstore.Charge
	others, c.target.windowEnds = c.relay.limitsInForce(h.app.Limits).charges(nil, c.permit, cost, c.target.countedAt)
	return c.relay.ledger.Admit(c, c.permit.token, cost, others)
}

// lower returns the highest cap, below some limit, that a used-up counter pays for.
func (c *call) lower(used *tokenstore.ExhaustedError, limit int64) (fitting int64, ok bool) {
	spent, err := c.relay.ledger.Used(c, used.Counter)
	if err != nil {
		return 0, false
	}
	left := metering.Amounts{Tokens: math.MaxInt64, NanoUSD: math.MaxInt64}
	switch used.Counter.Unit {
	case tokenstore.UnitTokens:
		left.Tokens = used.Limit - spent
	case tokenstore.UnitNanoUSD:
		left.NanoUSD = used.Limit - spent
	default:
		return 0, false
	}
	fitting, ok = c.spending.quote.Fit(limit, left)
	if fitting == limit { // another call has returned what it had reserved
		return limit, ok
	}
	return fitting, ok
}

// writeCap writes the cap into the request if it is not the request's own.
func (h *Handler) writeCap(c *call, r *http.Request, limit int64) *refusal {
	s := &c.spending
	c.noteRemains()
	if s.quote == nil || !s.quote.Changed(limit) {
		return nil
	}
	request := c.asked(r)
	field, err := c.permit.provider.dialect.SetCap(request, limit)
	if err != nil || field == "" {
		if err := c.relay.ledger.Settle(c.held.charges, tokenstore.Amounts{}); err != nil {
			h.logger.Error("refunding a call", zap.String("token_id", c.permit.ID), zap.Error(err))
		}
		return refuse(codeCostUnbounded, fmt.Sprintf("the output cannot be capped: %v", err))
	}
	c.rewrite(r, request)
	s.capped = field + "=" + strconv.FormatInt(limit, 10)
	return nil
}

// noteRemains notes the least that remains in each unit, for the header of the answer.
func (c *call) noteRemains() {
	for _, charge := range c.held.charges {
		left, known := c.relay.ledger.Left(charge)
		if !known {
			continue
		}
		for i, unit := range tokenstore.Units {
			if least := &c.spending.remains[i]; unit == charge.Counter.Unit && (!least.limited || left < least.left) {
				*least = remains{true, left}
			}
		}
	}
}

// Headers of answers.
const (
	cappedHeader  = "Relayapi-Capped"
	remainsHeader = "Relayapi-Remaining-"
)

// remainsNames are the ends of the names of the headers that tell what remains.
var remainsNames = [...]string{remainsHeader + "Calls", remainsHeader + "Tokens", remainsHeader + "Usd"}

// announce writes the cap and what remains into the header of an answer.
func (s *spending) announce(header http.Header) {
	if s.capped != "" {
		header.Set(cappedHeader, s.capped)
	}
	for i, r := range s.remains {
		switch {
		case !r.limited:
		case tokenstore.Units[i] == tokenstore.UnitNanoUSD:
			header.Set(remainsNames[i], grant.USD(r.left).String())
		default:
			header.Set(remainsNames[i], strconv.FormatInt(r.left, 10))
		}
	}
}

// meterAnswer reads the usage from the answer as it passes.
func (c *call) meterAnswer(ctx context.Context, request *dialect.Request, res *http.Response) {
	s, d := &c.spending, c.permit.provider.dialect
	kind := res.Header.Get("Content-Type")
	meter := d.NewMeter(request, dialect.Answer{Status: res.StatusCode, ContentType: kind, Header: res.Header})
	if meter == nil || c.target.socket {
		return
	}
	if s.model == "" && d.AnswersUnnamed(request) {
		named, _ := c.permit.namedBy(request) // an unclear one has no price
		s.model = named.Model
	}

	s.answer = &meteredBody{ReadCloser: res.Body, meter: meter, ctx: ctx, waits: c.waits}
	if s.asks {
		s.answer.withholder = new(dialect.Withholder)
		delete(res.Header, "Content-Length")
		res.ContentLength = -1
	}
	res.Body = s.answer
}

// meteredBody is the body of an answer whose usage is read.
type meteredBody struct {
	io.ReadCloser
	meter      *dialect.Meter
	withholder *dialect.Withholder // nil means that nothing is withheld
	ctx        context.Context     // of the call
	waits      bool                // the rest is read when the client is gone

	begun bool   // a byte was read
	whole bool   // the body was read to its end
	raw   []byte // as read, before withholding
	rest  []byte // to be passed on
}

// Read implements [io.Reader].
func (b *meteredBody) Read(p []byte) (n int, err error) {
	if b.withholder == nil {
		return b.read(p)
	}
	for len(b.rest) == 0 && err == nil {
		if b.raw == nil {
			b.raw = make([]byte, 32<<10)
		}
		n, err = b.read(b.raw)
		if b.rest = b.withholder.Filter(b.rest[:0], b.raw[:n]); err != nil {
			b.rest = b.withholder.Rest(b.rest)
		}
	}
	n = copy(p, b.rest)
	if b.rest = b.rest[n:]; len(b.rest) > 0 {
		err = nil // it comes again
	} else if b.whole {
		err = io.EOF
	}
	return n, err
}

func (b *meteredBody) read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	_, _ = b.meter.Write(p[:n]) // it never fails
	b.begun = b.begun || n > 0
	b.whole = b.whole || err == io.EOF
	return n, err
}

// lingers is how long the rest of an answer is read for its usage when the client is
// gone.
const lingers = 10 * time.Second

// Close reads the rest of the answer if the client left before its end, and closes it.
func (b *meteredBody) Close() error {
	if b.waits && !b.whole && ended(b.ctx) == nil {
		overdue := time.AfterFunc(lingers, func() { b.ReadCloser.Close() })
		defer overdue.Stop()
		scrap := make([]byte, 4<<10)
		for err := error(nil); err == nil && !b.meter.Reading().Done; {
			_, err = b.read(scrap)
		}
	}
	return b.ReadCloser.Close()
}

// used returns what a call is charged, and what is reported of it.
func (c *call) used() (tokenstore.Amounts, metering.Bill) {
	s, out := &c.spending, &c.outcome
	if !out.connected.Load() {
		return tokenstore.Amounts{}, metering.Bill{}
	}
	charged := tokenstore.Amounts{Calls: 1}
	if s.answer == nil { // refused by the provider, or an answer that tells no usage
		bill := metering.Bill{Usage: tokenstore.Usage{Calls: 1}}
		if status := out.provider; s.quote != nil && 200 <= status && status < 300 {
			charged.Tokens, charged.NanoUSD = s.reserved.Tokens, s.reserved.NanoUSD
			bill.Usage.Cost, bill.Usage.Unmetered = charged.NanoUSD, 1
		}
		return charged, bill
	}

	reading := s.answer.meter.Reading()
	bill := c.permit.provider.tariff.Bill(&reading, s.model, c.start)
	bill.Usage.Calls = 1
	if !reading.Known || !reading.Done && s.quote != nil {
		bill.Usage.Unmetered = 1
	}
	if s.quote == nil {
		return charged, bill
	}

	switch {
	case reading.Known && reading.Done && (bill.Priced || !s.dollars):
		charged.Tokens, charged.NanoUSD = bill.Tokens, bill.Usage.Cost
	case !s.answer.begun: // the provider can only bill what it had read
		input, _ := s.quote.Amounts(0) // it was computed before with more
		charged.Tokens, charged.NanoUSD = input.Tokens, input.NanoUSD
	default: // what is unknown is charged as reserved
		charged.Tokens = max(s.reserved.Tokens, bill.Tokens)
		charged.NanoUSD = max(s.reserved.NanoUSD, bill.Usage.Cost)
	}
	if s.dollars {
		bill.Usage.Cost = charged.NanoUSD
		bill.Usage.Overrun = max(0, charged.NanoUSD-s.reserved.NanoUSD)
	}
	return charged, bill
}
