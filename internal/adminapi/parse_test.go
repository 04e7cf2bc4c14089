package adminapi

import (
	"testing"
	"time"
)

func TestParseBefore(t *testing.T) {
	now := time.Date(2026, 1, 31, 12, 0, 0, 5e8, time.UTC)
	tests := []struct{ before, want string }{
		{"", "2026-01-31T12:00:01Z"}, // what was issued in this second is meant
		{"2026-01-31T11:00:00Z", "2026-01-31T11:00:00Z"},
		{"2026-01-31T11:00:00.25Z", "2026-01-31T11:00:01Z"},
		{"2026-01-31T12:00:00+01:00", "2026-01-31T11:00:00Z"},
		{"2026-01-31T12:01:01Z", "2026-01-31T12:01:01Z"}, // an issuer's clock may be ahead
		{"2026-01-31T12:01:02Z", "error"},
	}
	for _, test := range tests {
		text := map[string]string{"before": test.before}
		if test.before == "" {
			text = nil
		}
		got, err := parseBefore(text, now)
		if s := got.Format(time.RFC3339Nano); s != test.want && (err == nil || test.want != "error") {
			t.Errorf("%q is %s, %v; want %s", test.before, s, err, test.want)
		}
	}
}
