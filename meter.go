package relayapi

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/relayapi/caddy-relayapi/dialect"
	"github.com/relayapi/caddy-relayapi/internal/metering"
	"github.com/relayapi/caddy-relayapi/internal/ws"
	"github.com/relayapi/caddy-relayapi/tokenstore"
	"go.uber.org/zap"
)

// spending is what a call may use of its budgets, and what it has used of them.
type spending struct {
	tokens, dollars bool // there is a budget in that unit

	model    string           // in the request; empty if unknown
	quote    *metering.Quote  // the most that it can use; nil means that no budget applies
	reserved metering.Amounts // of the budgets
	remains  metering.Remains // after the charge
	capped   string           // the cap that the relay has set, as field=tokens
	asks     bool             // the relay asked for the usage, and withholds it
	answer   *metering.Reader // nil means that the answer has no usage
	socket   *metering.Socket // nil means no WebSocket, or one whose messages have no usage
	first    *ws.First        // reads the model from a socket's first message; nil means none
}

// limited reports whether a budget applies to the call.
func (s *spending) limited() bool { return s.tokens || s.dollars }

// findBudgets finds the budgets of the call. A call with a budget is buffered, bounded
// and capped.
func (h *Handler) findBudgets(c *call, _ *http.Request) *refusal {
	own, err := c.relay.ledger.LimitsOf(c, c.permit.token)
	if err != nil {
		return uncharged(c, err)
	}
	rules := c.relay.limitsInForce()
	c.spending.tokens = own.Tokens != nil || rules.Limit(&c.permit.holder, tokenstore.UnitTokens)
	c.spending.dollars = own.NanoUSD != nil || rules.Limit(&c.permit.holder, tokenstore.UnitNanoUSD)
	return nil
}

// bound bounds a call under a budget, and asks the provider for its usage.
func (h *Handler) bound(c *call, r *http.Request) *refusal {
	s, p, request := &c.spending, c.permit.provider, c.asked(r)
	switch {
	case c.target.socket:
		return h.meterSocket(c, r, request)
	case !s.limited() && !h.app.MeterAlways:
		return nil
	}
	added, err := p.dialect.AskUsage(request)
	switch {
	case err != nil && s.limited():
		return unclear(err)
	case err == nil && added:
		s.asks = true
		c.rewrite(r, request)
	}
	if s.limited() {
		return c.quote(request) // of the body as it is sent
	}
	return nil
}

// quote finds the most that a request can use.
func (c *call) quote(request *dialect.Request) *refusal {
	s, p := &c.spending, c.permit.provider
	if p.dialect.ListsModels(request) {
		return nil // providers do not bill lists of models
	}
	named, err := c.permit.namedBy(request)
	if err != nil {
		return unclear(err)
	}
	s.model = named.Model
	c.outcome.named(named.Model)
	bound, err := p.dialect.Bound(request)
	if err == nil {
		s.quote, err = p.tariff.Quote(bound, named.Model, s.dollars, c.start)
	}
	if err != nil {
		return unquoted(err)
	}
	return nil
}

// unquoted turns an error of bounding or pricing into a refusal.
func unquoted(err error) *refusal {
	var refused *refusal
	var ambiguous *dialect.Unclear
	var noPrice *metering.NoPrice
	var unpaid *metering.Unpaid
	switch {
	case errors.As(err, &refused):
		return refused
	case errors.As(err, &ambiguous):
		return refuse(codeInvalidRequest, err.Error())
	case errors.As(err, &noPrice):
		return refuse(codeModelUnpriced, err.Error())
	case errors.As(err, &unpaid):
		return refuse(codeBudgetExhausted, err.Error())
	}
	return refuse(codeCostUnbounded, err.Error())
}

// charge makes the token known to the ledger and takes the most that the call can use.
func (h *Handler) charge(c *call, r *http.Request) *refusal {
	paid, ends, err := c.pay(c.spending.quote, 1, c.target.countedAt)
	if err != nil {
		return uncharged(c, err)
	}
	c.target.windowEnds = ends
	c.relay.ledger.live.charged(c, paid.Charges)
	c.spending.reserved = paid.Amounts
	return h.writeCap(c, r, paid.Limit)
}

// maxLowered is how often pay retries with a lower cap, because other calls may take
// what is left meanwhile.
const maxLowered = 16

// pay charges calls and the most that a quote allows. If that does not fit the budgets,
// it lowers the cap of the output. A nil quote costs nothing. It also returns the end
// of the first window that was charged; zero means never.
func (c *call) pay(q *metering.Quote, calls int64, now time.Time) (paid metering.Reservation, ends time.Time, err error) {
	if q != nil {
		paid.Limit = q.Wanted()
	}
	for tries := 0; ; tries++ {
		cost := tokenstore.Amounts{Calls: calls}
		if q != nil {
			if paid.Amounts, err = q.Amounts(paid.Limit); err != nil {
				return paid, ends, err
			}
			cost.Tokens, cost.NanoUSD = paid.Amounts.Tokens, paid.Amounts.NanoUSD
		}
		var others []tokenstore.Charge
		others, ends = c.relay.limitsInForce().Charges(&c.permit.holder, cost, now)
		paid.Charges, err = c.relay.ledger.Admit(c, c.permit.token, cost, others)

		var used *tokenstore.ExhaustedError
		if err == nil || q == nil || tries == maxLowered || !errors.As(err, &used) {
			return paid, ends, err
		}
		fitting, ok := c.lower(q, used, paid.Limit)
		if !ok {
			return paid, ends, err
		}
		paid.Limit = fitting
	}
}

// lower returns the highest cap, up to limit, that still fits an exhausted counter.
func (c *call) lower(q *metering.Quote, used *tokenstore.ExhaustedError, limit int64) (fitting int64, ok bool) {
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
	return q.Fit(limit, left)
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

// noteRemains records the least that remains in each unit, for the answer's header.
func (c *call) noteRemains() {
	for _, charge := range c.held.charges {
		if left, known := c.relay.ledger.Left(charge); known {
			c.spending.remains.Note(charge.Counter.Unit, left)
			stats.Left(&charge, left)
		}
	}
}

// announce writes the cap and what remains into the header of an answer.
func (s *spending) announce(header http.Header) {
	if s.capped != "" {
		header.Set(metering.CappedHeader, s.capped)
	}
	s.remains.Set(header)
}

// meterAnswer reads the usage from the answer as it passes.
func (c *call) meterAnswer(ctx context.Context, request *dialect.Request, res *http.Response) {
	s, d := &c.spending, c.permit.provider.dialect
	kind := res.Header.Get("Content-Type")
	if c.target.socket {
		return
	}
	meter := d.NewMeter(request, dialect.Answer{Status: res.StatusCode, ContentType: kind, Header: res.Header, Several: s.quote.Several()})
	if meter == nil {
		return
	}
	if s.model == "" && d.AnswersUnnamed(request) {
		named, _ := c.permit.namedBy(request) // an unclear one has no price
		s.model = named.Model
	}

	s.answer = metering.NewReader(res.Body, meter, s.asks)
	s.answer.Named = func(model string) { c.outcome.named(c.target.key.Mask(model)) }
	if c.waits.Load() {
		s.answer.Lingers = func() bool { return ended(ctx) == nil }
	}
	if s.asks {
		delete(res.Header, "Content-Length")
		res.ContentLength = -1
	}
	res.Body = s.answer
}

// used returns what a call is charged, and its bill for reports.
func (c *call) used() (tokenstore.Amounts, metering.Bill) {
	s, out := &c.spending, &c.outcome
	if !out.connected.Load() {
		return tokenstore.Amounts{}, metering.Bill{}
	}
	charged := tokenstore.Amounts{Calls: 1}
	if s.socket != nil {
		s.socket.Close() // each response was settled on its own
		return charged, metering.Bill{Usage: tokenstore.Usage{Calls: 1}}
	}
	spent := metering.Spent{Status: out.provider, Quote: s.quote, Reserved: s.reserved, Dollars: s.dollars}
	if s.answer != nil {
		reading := s.answer.Reading()
		spent.Reading, spent.Begun = &reading, s.answer.Begun()
	}
	used, bill := c.permit.provider.tariff.Settle(spent, s.model, c.start)
	charged.Tokens, charged.NanoUSD = used.Tokens, used.NanoUSD
	return charged, bill
}
