package pool

import (
	"errors"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

// value notes whether it is closed.
type value struct{ closed bool }

func (v *value) Destruct() error {
	v.closed = true
	return nil
}

func openValue() (caddy.Destructor, error) { return new(value), nil }

func acquire(t *testing.T, p *Pool) *Hold {
	t.Helper()
	h, err := p.Acquire("key", openValue)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func release(t *testing.T, h *Hold) {
	t.Helper()
	if err := h.Release(); err != nil {
		t.Errorf("Release: got %v, want no error", err)
	}
}

func wantClosed(t *testing.T, when string, h *Hold, want bool) {
	t.Helper()
	if got := h.Value.(*value).closed; got != want {
		t.Errorf("%s: closed is %t, want %t", when, got, want)
	}
}

func TestHold_StaysOpenForRequests(t *testing.T) {
	h := acquire(t, New())
	if !h.Take() {
		t.Fatal("an open value is not held")
	}
	release(t, h)
	wantClosed(t, "with a request in flight", h, false)
	release(t, h)
	wantClosed(t, "after the last request", h, true)
	if h.Take() {
		t.Error("a closed value is held")
	}
}

func TestHold_OutlivesAReload(t *testing.T) {
	p := New()
	old := acquire(t, p)
	next := acquire(t, p)
	if old.Value != next.Value {
		t.Fatal("two configs have two values, want one")
	}
	release(t, old)
	wantClosed(t, "after a reload", next, false)
	if !old.Take() {
		t.Error("a late request of the old config holds nothing, want the open value")
	}
	release(t, next)
	wantClosed(t, "with a late request", next, false)
	release(t, old)
	wantClosed(t, "after all", next, true)
}

func TestHold_RefusesAnotherValue(t *testing.T) {
	p := New()
	old := acquire(t, p)
	release(t, old)
	next := acquire(t, p)
	if old.Take() {
		t.Error("a late request holds the value that was opened after its own, want none")
	}
	release(t, next)
	wantClosed(t, "after all", next, true)
}

func TestPool_KeepsNothingThatDoesNotOpen(t *testing.T) {
	p, broken := New(), errors.New("broken")
	if _, err := p.Acquire("key", func() (caddy.Destructor, error) { return nil, broken }); !errors.Is(err, broken) {
		t.Errorf("Acquire: got %v, want %v", err, broken)
	}
	release(t, acquire(t, p))
}
