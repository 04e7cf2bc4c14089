package registry_test

import (
	"maps"
	"slices"
	"testing"

	"github.com/relayapi/caddy-relayapi/internal/registry"
)

func TestSet_KnowsItsMembers(t *testing.T) {
	var s registry.Set[string]
	if n, ids := s.Len(), s.IDs(); n != 0 || len(ids) != 0 {
		t.Errorf("an empty set has %d members and the ids %v", n, ids)
	}
	s.Remove("a")
	s.Add("a")
	s.Add("b")
	s.Add("c")
	s.Remove("b")

	var seen []string
	s.Each(func(m string) { seen = append(seen, m) })
	slices.Sort(seen)
	if want := []string{"a", "c"}; !slices.Equal(seen, want) || s.Len() != len(want) {
		t.Errorf("got members %v and %d of them, want %v", seen, s.Len(), want)
	}
	if got := slices.Sorted(maps.Keys(s.IDs())); !slices.Equal(got, seen) {
		t.Errorf("got ids of %v, want of %v", got, seen)
	}
}

// An id that came again could end a call that nobody meant.
func TestSet_GivesNoIDTwice(t *testing.T) {
	var s registry.Set[string]
	s.Add("a")
	before := s.IDs()["a"]
	s.Remove("a")
	s.Add("a")
	if after := s.IDs()["a"]; after == before || after == "" {
		t.Errorf("got id %q after %q, want another", after, before)
	}
}
