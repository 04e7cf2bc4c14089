package metering

import (
	"errors"
	"net"
	"testing"

	"github.com/relayapi/caddy-relayapi/dialect"
	"github.com/relayapi/caddy-relayapi/price"
)

// purse counts what a socket does with its account.
type purse struct{ reserved, settled, observed int }

func (p *purse) Reserve(q *Quote) (r Reservation, err error) {
	p.reserved++
	r.Limit = q.Wanted()
	r.Amounts, err = q.Amounts(r.Limit)
	return r, err
}

func (p *purse) Settle(Reservation, Amounts) { p.settled++ }
func (p *purse) Observe(Bill)                { p.observed++ }
func (p *purse) End(error)                   {}

// After its end, a socket reserves nothing that nobody would settle, and reports nothing
// twice.
func TestSocket_Closed(t *testing.T) {
	table, err := price.Default()
	if err != nil {
		t.Fatal(err)
	}
	d, _ := dialect.Lookup("openai")
	request := &dialect.Request{Method: "GET", Path: "/v1/responses", WebSocket: true}
	session, err := d.NewSession(request)
	if err != nil {
		t.Fatal(err)
	}
	p := new(purse)
	s := NewSocket(p, NewTariff(table, "openai"), d.NewSocketMeter(request), session, false)

	create := []byte(`{"type":"response.create","model":"m","max_output_tokens":10,"input":"hi"}`)
	if _, err := s.Client(create); err != nil || p.reserved != 1 {
		t.Fatalf("%d reservations, %v; want 1", p.reserved, err)
	}
	s.Close()
	before := *p
	if _, err := s.Client(create); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a message after the end: %v, want %v", err, net.ErrClosed)
	}
	s.Provider([]byte(`{"type":"response.completed","response":{"id":"r","status":"completed","usage":{"input_tokens":1,"output_tokens":1,"total_tokens":2}}}`))
	s.EndMessage()
	if *p != before {
		t.Errorf("after the end the account has %+v, want %+v", *p, before)
	}
}
