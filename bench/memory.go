package main

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/relayapi/caddy-relayapi/grant"
)

const (
	idleStreams  = 10_000
	activeTokens = 100_000
	wantFiles    = 3 * idleStreams // a proxy has two for each stream
)

// footprint is what something adds to the memory of a process: heap after a
// garbage collection, and resident memory.
type footprint struct{ heap, rss float64 }

func (s *subject) footprint(ctx context.Context) (footprint, error) {
	m, err := s.memory(ctx, true)
	if err != nil {
		return footprint{}, err
	}
	rss, err := s.rss()
	return footprint{float64(m.HeapAlloc), float64(rss)}, err
}

// added measures what do adds to a subject's memory, for each of what it says it
// did.
func (s *subject) added(ctx context.Context, do func() (n int64, err error)) (footprint, error) {
	before, err := s.footprint(ctx)
	if err != nil {
		return footprint{}, err
	}
	n, err := do()
	if err != nil {
		return footprint{}, s.failed(err)
	}
	after, err := s.footprint(ctx)
	return footprint{(after.heap - before.heap) / float64(n), (after.rss - before.rss) / float64(n)}, err
}

// runMemory measures what idle streams and tokens in use take.
func (b *bench) runMemory(ctx context.Context, w io.Writer) error {
	n := min(idleStreams, (b.files-500)/2)
	fmt.Fprintf(w, "\n### memory\n\nWhat each adds, after a garbage collection.\n\n| | bare | relay |\n|---|--:|--:|\n")
	var streams [2]footprint
	for i, name := range []string{bare, relay} {
		var err error
		if streams[i], err = b.idleStreams(ctx, name, n); err != nil {
			return err
		}
	}
	label := "idle stream of " + number(float64(n), 0)
	fmt.Fprintf(w, "| heap of an %s, KiB | %.1f | %.1f |\n", label, streams[0].heap/1024, streams[1].heap/1024)
	fmt.Fprintf(w, "| RSS of an %s, KiB | %.1f | %.1f |\n", label, streams[0].rss/1024, streams[1].rss/1024)
	for _, kind := range []struct {
		name   string
		narrow func(*grant.Claims)
	}{
		{"unlimited", nil},
		{"all-policy", allPolicy},
	} {
		f, l, err := b.activeTokens(ctx, kind.name, kind.narrow)
		if err != nil {
			return err
		}
		fmt.Fprintf(w, "| heap of one of %s tokens in use (%s), each used once within %.0f s, bytes | – | %s |\n",
			number(float64(l.requests), 0), kind.name, l.took.Seconds(), number(f.heap, 0))
	}
	return nil
}

// with opens a session with one subject, which small requests have warmed up.
func (b *bench) with(ctx context.Context, name, label string, narrow func(*grant.Claims)) (*session, *subject, error) {
	one := *b
	one.subjects = []string{name}
	sc := &scenario{name: label, work: small, tokens: 100, narrow: narrow}
	s, err := one.open(ctx, sc, filepath.Join(b.dir, label, name), one.supplyFor(sc))
	if err != nil {
		return nil, nil, err
	}
	return s, s.subjects[0], nil
}

func (b *bench) idleStreams(ctx context.Context, name string, n int) (footprint, error) {
	s, sub, err := b.with(ctx, name, "idle streams", allPolicy)
	if err != nil {
		return footprint{}, err
	}
	defer s.close()
	var open idle
	defer open.close()
	fmt.Fprintf(b.progress, "memory: opening %d streams through %s\n", n, name)
	return sub.added(ctx, func() (int64, error) {
		return int64(n), open.streams(ctx, sseWork{}.target(s, sub, 0, 0), n)
	})
}

// activeTokens uses tokens once each, for a minute at most: the relay forgets some
// of what it knows of a token that was not used for two.
func (b *bench) activeTokens(ctx context.Context, name string, narrow func(*grant.Claims)) (f footprint, l load, err error) {
	s, sub, err := b.with(ctx, relay, "tokens "+name, narrow)
	if err != nil {
		return footprint{}, load{}, err
	}
	defer s.close()
	fmt.Fprintf(b.progress, "memory: %d tokens %s\n", activeTokens, name)
	t := small.target(s, sub)
	t.tokens = &supply{mint: s.tokens.mint, size: activeTokens, uses: 1}
	if err := t.tokens.reserve(activeTokens); err != nil {
		return footprint{}, load{}, err
	}
	f, err = sub.added(ctx, func() (int64, error) {
		l, err = t.saturate(ctx, countPacer(activeTokens), time.Minute)
		return l.requests, err
	})
	return f, l, err
}
