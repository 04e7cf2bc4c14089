package bodies

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

func newShare(most int64) (*Budget, Share) {
	budget := &Budget{Most: most}
	return budget, budget.ShareOf(new(atomic.Int64))
}

// zeros never ends.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestRead(t *testing.T) {
	broken := errors.New("broken")
	for name, tt := range map[string]struct {
		r      io.Reader
		length int64
		most   int64
		budget int64
		want   error
	}{
		"empty":                     {strings.NewReader(""), 0, 10, 64 << 20, nil},
		"of unknown length":         {strings.NewReader("abc"), -1, 10, 64 << 20, nil},
		"longer than it says":       {strings.NewReader("abcdef"), 3, 10, 64 << 20, nil},
		"as long as permitted":      {strings.NewReader("abcdef"), 6, 6, 64 << 20, nil},
		"too long":                  {strings.NewReader("abcdef"), 3, 5, 64 << 20, ErrTooLong},
		"without end":               {zeros{}, -1, 8 << 20, 64 << 20, ErrTooLong},
		"over the budget":           {zeros{}, -1, 64 << 20, 8 << 20, ErrFull},
		"that breaks off":           {io.MultiReader(strings.NewReader("abc"), errReader{broken}), 100, 1000, 64 << 20, broken},
		"with an absurd length":     {strings.NewReader("abc"), 1 << 62, 10, 64 << 20, nil},
		"long, and within all":      {io.LimitReader(zeros{}, 5<<20), 5 << 20, 8 << 20, 64 << 20, nil},
		"long, and of unknown size": {io.LimitReader(zeros{}, 5<<20), -1, 8 << 20, 64 << 20, nil},
	} {
		t.Run(name, func(t *testing.T) {
			budget, share := newShare(tt.budget)
			b, err := Read(tt.r, tt.length, tt.most, share)
			if !errors.Is(err, tt.want) || (err == nil) != (tt.want == nil) {
				t.Fatalf("error is %v, want %v", err, tt.want)
			}
			if b != nil {
				if budget.Used() < int64(len(b.Bytes())) {
					t.Errorf("%d bytes are counted, want at least %d", budget.Used(), len(b.Bytes()))
				}
				b.Release()
			}
			if budget.Used() != 0 {
				t.Errorf("%d bytes are still counted, want 0", budget.Used())
			}
		})
	}
}

type errReader struct{ error }

func (r errReader) Read([]byte) (int, error) { return 0, r.error }

// The buffer counts while the body still comes, not only what has come.
func TestRead_CountsTheBufferAhead(t *testing.T) {
	reader, writer := io.Pipe()
	budget, share := newShare(64 << 20)
	done := make(chan error)
	go func() {
		_, err := Read(reader, 1<<20, 32<<20, share)
		done <- err
	}()
	_, _ = writer.Write([]byte("{")) // returns when that is read
	if budget.Used() < 1<<20 {
		t.Errorf("%d bytes are counted, want at least %d", budget.Used(), 1<<20)
	}
	writer.CloseWithError(io.ErrUnexpectedEOF)
	if err := <-done; !errors.Is(err, io.ErrUnexpectedEOF) || budget.Used() != 0 {
		t.Errorf("got %v with %d bytes counted, want the reader's error and 0", err, budget.Used())
	}
}

// A buffer is used for another body only when its owner and all readers have let go.
func TestBody_IsHeldByItsReaders(t *testing.T) {
	budget, share := newShare(64 << 20)
	b, err := Read(strings.NewReader(strings.Repeat("x", 1<<17)), -1, 1<<20, share)
	if err != nil {
		t.Fatal(err)
	}
	retried, late := b.Reader(), b.Reader()
	retried.Close()
	retried.Close()
	b.Release()

	p := make([]byte, 10)
	if n, err := io.ReadFull(late, p); n != 10 || err != nil || budget.Used() == 0 {
		t.Errorf("before Close: read %d bytes, %v, %d counted; want 10, nil, some", n, err, budget.Used())
	}
	late.Close()
	if n, err := late.Read(p); n != 0 || err != http.ErrBodyReadAfterClose || budget.Used() != 0 {
		t.Errorf("after Close: read %d bytes, %v, %d counted; want 0, %v, 0", n, err, budget.Used(), http.ErrBodyReadAfterClose)
	}
}

func TestBody_ReaderAfterTheLastRelease(t *testing.T) {
	b := Of([]byte("x"))
	b.Release()
	if n, err := b.Reader().Read(make([]byte, 1)); n != 0 || err != http.ErrBodyReadAfterClose {
		t.Errorf("read %d bytes, %v; want 0, %v", n, err, http.ErrBodyReadAfterClose)
	}
}

func TestBody_With(t *testing.T) {
	budget, share := newShare(64 << 20)
	b, err := Read(strings.NewReader(`{"model":"large"}`), -1, 1000, share)
	if err != nil {
		t.Fatal(err)
	}
	part := b.With(b.Bytes()[10:15])
	b.Release()
	if got := string(part.Bytes()); got != "large" || budget.Used() != int64(len(got)) {
		t.Errorf("got %q with %d bytes counted, want %q with %d", got, budget.Used(), "large", len("large"))
	}
	part.Release()
	if budget.Used() != 0 {
		t.Errorf("%d bytes are still counted, want 0", budget.Used())
	}
}

// Whoever reads, closes and releases at the same time, nobody sees another's bytes.
func TestBody_IsNeverAnothers(t *testing.T) {
	_, share := newShare(1 << 30)
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			own := byte('a' + worker)
			for range 200 {
				content := bytes.Repeat([]byte{own}, 1+rand.IntN(100_000))
				b, err := Read(bytes.NewReader(content), -1, 1<<20, share)
				if err != nil {
					t.Error(err)
					return
				}
				r := b.Reader()
				reading := make(chan []byte)
				go func() {
					got, _ := io.ReadAll(r) // it may be closed meanwhile
					reading <- got
				}()
				if rand.IntN(2) == 0 {
					r.Close()
				}
				b.Release()
				if got := <-reading; len(bytes.Trim(got, string(own))) > 0 {
					t.Errorf("worker %c read another's bytes", own)
				}
				r.Close()
			}
		})
	}
	wg.Wait()
}

func TestShare_LeavesRoomForOthers(t *testing.T) {
	const most = 512 << 20
	budget := &Budget{Most: most}
	greedy, other := budget.ShareOf(new(atomic.Int64)), budget.ShareOf(new(atomic.Int64))
	for greedy.Take(1 << 20) {
	}
	if n := greedy.own.Load(); n < most/2 || n > most/2+1<<20 {
		t.Errorf("one holder takes %d bytes, want about %d", n, most/2)
	}
	if !other.Take(32 << 20) {
		t.Error("another holder has no room")
	}
	if greedy.Take(1) {
		t.Error("a holder over its share gets more")
	}
	greedy.Take(-most / 2)
	if !greedy.Take(1) {
		t.Error("a holder that has released gets none")
	}
}

func BenchmarkRead(b *testing.B) {
	content := make([]byte, 100<<10)
	for name, release := range map[string]bool{"pooled": true, "new": false} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(content)))
			for b.Loop() {
				body, err := Read(bytes.NewReader(content), int64(len(content)), 1<<20, Share{})
				if err != nil {
					b.Fatal(err)
				}
				if release {
					body.Release()
				}
			}
		})
	}
}
