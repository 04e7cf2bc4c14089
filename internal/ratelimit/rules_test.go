package ratelimit

import (
	"testing"
	"time"
)

func TestRules_KeepTheirCounts(t *testing.T) {
	var rules Rules[string]
	now := time.Now()
	if wait := rules.Of("total", time.Minute, 10).Take("a", 1, now); wait != 0 {
		t.Fatalf("the first request waits %v, want no wait", wait)
	}
	if wait := rules.Of("total", time.Minute, 10).Take("a", 1, now); wait == 0 {
		t.Error("after a reload the rule has forgotten a request")
	}
	if wait := rules.Of("client", time.Minute, 10).Take("a", 1, now); wait != 0 {
		t.Errorf("another rule waits %v, want no wait", wait)
	}
}
