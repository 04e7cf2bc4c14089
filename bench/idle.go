package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/url"
	"sync"
	"time"
)

// idle is streams that are open and say nothing. They are bare connections: ten
// thousand clients of net/http would need more memory than what is measured.
type idle struct {
	mu    sync.Mutex
	conns []net.Conn
}

// streams opens n streams and waits for the first event of each.
func (i *idle) streams(ctx context.Context, t *target, n int) error {
	return together(ctx, connections, func(ctx context.Context, k int) error {
		for ; k < n && ctx.Err() == nil; k += connections {
			if err := i.open(ctx, t); err != nil {
				return err
			}
		}
		return ctx.Err()
	})
}

func (i *idle) open(ctx context.Context, t *target) error {
	if err := t.tokens.reserve(1); err != nil {
		return err
	}
	token, err := t.tokens.take()
	if err != nil {
		return err
	}
	to, err := url.Parse(t.url)
	if err != nil {
		return err
	}
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", to.Host)
	if err != nil {
		return err
	}
	i.mu.Lock()
	i.conns = append(i.conns, conn)
	i.mu.Unlock()
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\nAuthorization: Bearer %s\r\n\r\n%s",
		to.RequestURI(), to.Host, len(t.body), token, t.body); err != nil {
		return err
	}
	var answer []byte
	for buf := make([]byte, 1024); !bytes.Contains(answer, []byte(eventPrefix)); {
		n, err := conn.Read(buf)
		if answer = append(answer, buf[:n]...); err != nil {
			return fmt.Errorf("a stream does not begin: %w: %s", err, sample(answer))
		}
	}
	return nil
}

func (i *idle) close() {
	for _, conn := range i.conns {
		conn.Close()
	}
}
