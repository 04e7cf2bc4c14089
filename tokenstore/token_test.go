package tokenstore

import (
	"context"
	"testing"
	"time"
)

func contractFirstUseMakesATokenKnown(t *testing.T, k kind) {
	path := k.place(t)
	s := k.openAt(t, path)
	tok := newToken("a")
	admit(t, s, tok)
	s = k.reopen(t, s, path)
	got, seen, known := row(t, s, tok)
	if !known || !got.same(tok) || !seen.Equal(noon) {
		t.Errorf("row %+v, first seen %v; want %+v, %v", got, seen, tok, noon)
	}
}

func contractOneIdentityBelongsToOneToken(t *testing.T, k kind) {
	path := k.place(t)
	s := k.openAt(t, path)
	tok := newToken("a")
	admit(t, s, tok, tok.calls(1, 10))

	other := newToken("a")
	other.Fingerprint[31] ^= 1
	check := func(when string) {
		t.Helper()
		wantRefused(t, s, ErrConflict, other)
		wantRefused(t, s, ErrConflict, other, other.calls(1, 10))
		wantUsed(t, s, TokenCounter("acme", "a"), 1)
		if got, _, _ := row(t, s, tok); !got.same(tok) {
			t.Errorf("%s: the row became %+v", when, got)
		}
	}
	check("remembered")
	s.known.forgetAll()
	check("forgotten")
	s = k.reopen(t, s, path)
	check("reopened")
}

func contractRefreshLivesToTheLatestExpiry(t *testing.T, k kind) {
	tests := []struct {
		name    string
		by      time.Duration
		forget  bool
		charged bool
		want    time.Duration
	}{
		{"later", time.Hour, false, false, time.Hour},
		{"later, charged", time.Hour, false, true, time.Hour},
		{"later, forgotten", time.Hour, true, false, time.Hour},
		{"earlier", -time.Hour, false, true, 0},
		{"earlier, forgotten", -time.Hour, true, true, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := k.openNew(t)
			tok := newToken("a")
			admit(t, s, tok, tok.calls(1, 10))
			if tt.forget {
				s.known.forgetAll()
			}
			again := newToken("a")
			again.IssuedAt = again.IssuedAt.Add(time.Minute)
			again.ExpiresAt = again.ExpiresAt.Add(tt.by)
			want := int64(1)
			if tt.charged {
				want++
				admit(t, s, again, again.calls(1, 10))
			} else {
				admit(t, s, again)
			}
			wantUsed(t, s, TokenCounter("acme", "a"), want)
			got, _, _ := row(t, s, tok)
			if !got.ExpiresAt.Equal(tok.ExpiresAt.Add(tt.want)) {
				t.Errorf("expires %v, want %v", got.ExpiresAt, tok.ExpiresAt.Add(tt.want))
			}
		})
	}
}

func contractDatabaseNeverShortensALife(t *testing.T, k kind) {
	s := k.openNew(t)
	tok := newToken("a")
	admit(t, s, tok)
	earlier := newToken("a")
	earlier.ExpiresAt = earlier.ExpiresAt.Add(-time.Minute)
	s.known.forgetAll()
	admit(t, s, earlier)
	if got, _, _ := row(t, s, tok); !got.ExpiresAt.Equal(tok.ExpiresAt) {
		t.Errorf("expires %v, want %v", got.ExpiresAt, tok.ExpiresAt)
	}
}

func contractLimitedTokenFromBeforeTheStoreIsRefused(t *testing.T, k kind) {
	tests := []struct {
		name    string
		issued  time.Duration // after the store's birth
		charged bool
		want    error
	}{
		{"issued with the store", 0, true, nil},
		{"at the end of the grace", -60 * time.Second, true, nil},
		{"just past the grace", -60*time.Second - 1, true, ErrPredates},
		{"long before", -24 * time.Hour, true, ErrPredates},
		{"long before, unlimited", -24 * time.Hour, false, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := k.openNew(t)
			tok := newToken("a")
			tok.IssuedAt = s.Birth().Add(tt.issued)
			var charges []Charge
			if tt.charged {
				charges = append(charges, tok.calls(1, 10))
			}
			if err := s.charge(context.Background(), tok, charges); err != tt.want {
				t.Errorf("error %v, want %v", err, tt.want)
			}
			if _, _, known := row(t, s, tok); known != (tt.want == nil) {
				t.Errorf("known: %v", known)
			}
		})
	}
}

// changes counts the rows ever written by the connection.
func changes(t *testing.T, s *Ledger) (n int64) {
	t.Helper()
	if err := raw(s).QueryRow(`SELECT total_changes()`).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestKnownTokenWithoutChargesTakesNoDurableStep(t *testing.T) {
	s := openNew(t)
	tok := newToken("a")
	admit(t, s, tok)
	before := changes(t, s)

	admit(t, s, tok)
	if after := changes(t, s); after != before {
		t.Errorf("%d rows written", after-before)
	}
}
