package eccrypto

import (
	"context"
	"net"
	"runtime"
	"slices"
	"testing"
	"time"
)

func BenchmarkSeal(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Seal([]byte(testClaims), "backend", ecIssuerKey, relayKey.Public()); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	o := newTestOpener(b)
	for _, tt := range []struct {
		name, token string
		ok          bool
	}{
		{"ES256", seal(b, "backend", ecIssuerKey, relayKey), true},
		{"EdDSA", seal(b, "edge", edIssuerKey, relayKey), true},
		// Garbage is refused before any curve operation.
		{"garbage", forgery{outer: member(`"zip":"DEF"`)}.token(b), false},
	} {
		b.Run(tt.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := o.Open(b.Context(), tt.token); (err == nil) != tt.ok {
					b.Fatal(err)
				}
			}
		})
	}
}

// slots is the alternative to [threads]: openings run on the caller's goroutine,
// as many at once as the channel has room for.
type slots chan struct{}

func (s slots) run(ctx context.Context, job func()) error {
	select {
	case s <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-s }()

	job()
	return nil
}

// BenchmarkLightCallBesideOpenings measures a round trip over loopback while 32
// goroutines open one token after the other. Use -benchtime 600x.
func BenchmarkLightCallBesideOpenings(b *testing.B) {
	n := max(1, runtime.GOMAXPROCS(0)/2)
	pool := startThreads(n)
	defer close(pool)

	for _, bound := range []struct {
		name string
		run  func(context.Context, func()) error
	}{{"slots", make(slots, n).run}, {"threads", pool.run}} {
		b.Run(bound.name, func(b *testing.B) {
			stop := openAll(b, bound.run)
			defer stop()
			measureRoundTrips(b)
		})
	}
}

// openAll keeps 32 goroutines busy with openings until stop is called.
func openAll(b *testing.B, run func(context.Context, func()) error) (stop func()) {
	o := newTestOpener(b)
	token := seal(b, "backend", ecIssuerKey, relayKey)
	ctx, cancel := context.WithCancel(b.Context())
	open := func() {
		if _, err := o.openOuter(token, relayKey.public.id); err != nil {
			b.Error(err)
		}
	}

	done := make(chan struct{})
	const openers = 32
	for range openers {
		go func() {
			defer func() { done <- struct{}{} }()
			for run(ctx, open) == nil && ctx.Err() == nil {
			}
		}()
	}
	return func() {
		cancel()
		for range openers {
			<-done
		}
	}
}

// measureRoundTrips reports quantiles of the time that an echo takes.
func measureRoundTrips(b *testing.B) {
	client, server := connect(b)
	go func() {
		buf := make([]byte, 16)
		for {
			if _, err := server.Read(buf); err != nil {
				return
			}
			_, _ = server.Write(buf)
		}
	}()

	buf := make([]byte, 16)
	var took []time.Duration
	for b.Loop() {
		time.Sleep(3 * time.Millisecond) // light: 300 calls a second at most
		begun := time.Now()
		_, err := client.Write(buf)
		must(b, err)
		_, err = client.Read(buf)
		must(b, err)
		took = append(took, time.Since(begun))
	}

	slices.Sort(took)
	quantile := func(q float64) float64 {
		return float64(took[int(q*float64(len(took)-1))].Microseconds())
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(quantile(.5), "p50-µs")
	b.ReportMetric(quantile(.9), "p90-µs")
	b.ReportMetric(quantile(.99), "p99-µs")
}

// connect returns both ends of a TCP connection over loopback.
func connect(b *testing.B) (client, server net.Conn) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(b, err)
	client, err = net.Dial("tcp", l.Addr().String())
	must(b, err)
	server, err = l.Accept()
	must(b, err)
	b.Cleanup(func() { _, _, _ = client.Close(), server.Close(), l.Close() })
	return client, server
}
