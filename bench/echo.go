package main

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/coder/websocket"
)

// WebSockets: round trips at the gate's rate over some connections, and as fast
// as they go over others.
const (
	echoSize  = 120 // bytes of a message
	echoPaced = 20  // connections
	echoFast  = 32
)

// echoWork is messages that come back over a WebSocket.
type echoWork struct{}

func (echoWork) dial(ctx context.Context, s *session, sub *subject) (*websocket.Conn, error) {
	t := &target{tokens: s.tokensFor(sub)}
	if err := t.tokens.reserve(1); err != nil {
		return nil, err
	}
	header, err := t.header()
	if err != nil {
		return nil, err
	}
	conn, res, err := websocket.Dial(ctx, "ws://"+sub.plain+echoPath, &websocket.DialOptions{HTTPHeader: header})
	if err != nil && res != nil {
		return nil, fmt.Errorf("the WebSocket is answered %s", res.Status)
	}
	return conn, err
}

func (w echoWork) probe(ctx context.Context, s *session, sub *subject) error {
	conn, err := w.dial(ctx, s, sub)
	if err != nil {
		return err
	}
	defer conn.CloseNow()
	_, err = roundTrip(ctx, conn)
	return err
}

func (w echoWork) measure(ctx context.Context, s *session, sub *subject, d time.Duration) (figures, []time.Duration, error) {
	f := figures{requestsMade: echoPaced + echoFast}
	paced, err := w.connect(ctx, s, sub, echoPaced)
	defer paced.close()
	if err != nil {
		return nil, nil, err
	}
	latencies, err := paced.echo(ctx, time.Second*echoPaced/gateRate, d)
	if err != nil {
		return nil, nil, err
	}
	f[latencyP50], f[latencyP99] = micros(quantile(latencies, 0.5)), micros(quantile(latencies, 0.99))
	fast, err := w.connect(ctx, s, sub, echoFast)
	defer fast.close()
	if err != nil {
		return nil, nil, err
	}
	m, err := sub.meter(ctx)
	if err != nil {
		return nil, nil, err
	}
	begin := time.Now()
	trips, err := fast.echo(ctx, 0, d)
	if err != nil {
		return nil, nil, err
	}
	f[throughput] = float64(len(trips)) / time.Since(begin).Seconds()
	return f, latencies, m.read(ctx, int64(len(trips)), f)
}

// sockets are open connections.
type sockets []*websocket.Conn

func (w echoWork) connect(ctx context.Context, s *session, sub *subject, n int) (sockets, error) {
	var conns sockets
	for range n {
		conn, err := w.dial(ctx, s, sub)
		if err != nil {
			return conns, err
		}
		conns = append(conns, conn)
	}
	return conns, nil
}

func (conns sockets) close() {
	for _, conn := range conns {
		conn.CloseNow()
	}
}

// echo sends messages over all connections for a while, on each one every so
// often and never before the last came back. It returns the times of the round
// trips in order of size.
func (conns sockets) echo(ctx context.Context, every, d time.Duration) ([]time.Duration, error) {
	took := make([][]time.Duration, len(conns))
	err := together(ctx, len(conns), func(ctx context.Context, i int) error {
		begin := time.Now()
		for next := begin.Add(every * time.Duration(i) / time.Duration(len(conns))); next.Before(begin.Add(d)); {
			time.Sleep(time.Until(next))
			trip, err := roundTrip(ctx, conns[i])
			if err != nil {
				return err
			}
			took[i] = append(took[i], trip)
			if next = next.Add(every); every == 0 {
				next = time.Now()
			}
		}
		return nil
	})
	all := slices.Concat(took...)
	slices.Sort(all)
	return all, err
}

var echoMessage = bytes.Repeat([]byte("x"), echoSize)

func roundTrip(ctx context.Context, conn *websocket.Conn) (time.Duration, error) {
	begin := time.Now()
	if err := conn.Write(ctx, websocket.MessageText, echoMessage); err != nil {
		return 0, err
	}
	_, back, err := conn.Read(ctx)
	if err == nil && !bytes.Equal(back, echoMessage) {
		err = fmt.Errorf("of %d bytes, %d others came back", len(echoMessage), len(back))
	}
	return time.Since(begin), err
}
